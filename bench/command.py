"""``poseloop bench``: which benchmarks there are, run one of them, and see what has changed since an earlier run."""

from __future__ import annotations

import argparse
import ast
import importlib
import json
import math
import sys
import tempfile
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from poseloop.bench.short import SHORT
from poseloop.live.errors import ConfigError, DataError
from poseloop.live.output import report as reports

__all__ = ["HELP", "Row", "add_arguments", "benchmarks", "differences", "rows", "run"]

HELP = "measure latency on this machine: list the benchmarks, run one, compare with an earlier run"

_FOLDERS = (".", "peers")
_PERCENTILES = ("p50", "p90", "p99", "p999", "max")
_NOTABLE = 1.1
"""A median that is longer by this factor is pointed at; less is the machine's own unrest."""

Row = tuple[str, dict[str, float]]
"""(where in the report, percentile → value)."""


def benchmarks() -> dict[str, str]:
    """Name → first sentence of each script that can be run; nothing is imported."""
    found = {}
    for folder in _FOLDERS:
        for file in sorted((Path(__file__).parent / folder).glob("*.py")):
            tree = ast.parse(file.read_text(encoding="utf-8"))
            functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
            # What runs in a peer's own environment has a main, too, but gives no exit code.
            if any(one.name == "main" and getattr(one.returns, "id", "") == "int" for one in functions):
                name = file.stem if folder == "." else f"{folder}.{file.stem}"
                found[name] = (ast.get_docstring(tree) or "").splitlines()[0]
    return found


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("name", nargs="?", help="which benchmark; without it all are listed")
    _add_own(parser)
    parser.add_argument(
        "options", nargs=argparse.REMAINDER, metavar="OPTIONS", help="the benchmark's own; NAME --help lists them"
    )


def _add_own(parser: argparse.ArgumentParser) -> None:
    """What every benchmark can be asked for, before its name or after it."""
    default: Any = argparse.SUPPRESS
    parser.add_argument("--report", type=Path, metavar="FILE.json", default=default, help="write all numbers here")
    parser.add_argument(
        "--compare", type=Path, metavar="OLD.json", default=default, help="show durations beside an earlier report's"
    )
    parser.add_argument(
        "--with", type=Path, metavar="NEW.json", dest="new", default=default, help="compare this one, run nothing"
    )
    parser.add_argument(
        "--short", action="store_true", default=default, help="see that it works; its numbers say nothing"
    )
    parser.add_argument(
        "--plot", type=Path, metavar="FILE.png", default=default, help="draw medians and tails (needs the extra train)"
    )


def run(arguments: argparse.Namespace) -> int:
    """List, run or compare; returns the benchmark's own exit code, 0 otherwise."""
    parser = argparse.ArgumentParser(prog="poseloop bench", add_help=False, allow_abbrev=False)
    _add_own(parser)
    # What stands after the name is the benchmark's, but for these.
    options = parser.parse_known_args(arguments.options, arguments)[1]
    files: list[Path | None] = [getattr(arguments, key, None) for key in ("report", "compare", "new", "plot")]
    report, compare, given, plot = files
    if given is not None and compare is None:
        raise ConfigError("expected --compare OLD.json beside --with NEW.json")
    if given is None and arguments.name is None:
        if compare or report or plot:
            raise ConfigError(f"expected the name of a benchmark, one of: {', '.join(benchmarks())}")
        _list()
        return 0
    # Read before the run: it may be the very file that is about to be written.
    old = None if compare is None else _read(compare)
    short = getattr(arguments, "short", False)
    if short:
        # What was typed comes last, and wins.
        options = [*SHORT.get(arguments.name, ()), *options]
    code, new = (0, _read(given)) if given is not None else _run(arguments.name, options, report, short)
    if old is not None and compare is not None:
        _compare(old, new, compare)
    if plot is not None:
        _plot(new, plot)
    return code


def _list() -> None:
    for name, about in benchmarks().items():
        print(textwrap.fill(about, 80, initial_indent=f"  {name:<20}", subsequent_indent=" " * 22))
    print("\nRun one with: poseloop bench NAME --report FILE.json")
    print("Its own options: poseloop bench NAME --help")


def _run(name: str, options: Sequence[str], report: Path | None, short: bool) -> tuple[int, dict[str, Any]]:
    known = benchmarks()
    if name not in known:
        raise ConfigError(f"expected one of the benchmarks {', '.join(known)}, but got {name!r}")
    if report is not None:
        reports.check_target(report)
    module = importlib.import_module(f"poseloop.bench.{name}")
    with tempfile.TemporaryDirectory() as folder:
        file = report or Path(folder) / "report.json"
        before, sys.argv = sys.argv, [f"poseloop bench {name}", *options, "--report", str(file)]
        try:
            code: int = module.main()
        finally:
            sys.argv = before
        found = _read(file) if file.exists() else {}
        if short and found:
            # So that nobody takes it for a measurement.
            found["short"] = True
            reports.write(found, file)
        return code, found


def _read(file: Path) -> dict[str, Any]:
    try:
        report = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise DataError(f"{file}: expected a report (JSON), but {error}") from error
    if not isinstance(report, dict):
        raise DataError(f"{file}: expected the report of a benchmark, but it holds no JSON object")
    return report


def rows(report: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[Row]:
    """Every distribution of durations in a report: each object that has a ``p50``."""
    for key, value in report.items():
        here = (*path, key)
        if isinstance(value, Mapping):
            found = {
                name: float(value[name])
                for name in _PERCENTILES
                if isinstance(value.get(name), int | float) and math.isfinite(value[name])
            }
            if "p50" in found:
                yield " / ".join(here), found
            else:
                yield from rows(value, here)
        elif isinstance(value, list):
            yield from rows({str(number): item for number, item in enumerate(value)}, here)


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, float, float, float]]:
    """Durations that both reports have: (where, old p50, new p50, new / old)."""
    before = dict(rows(old))
    return [
        (where, before[where]["p50"], found["p50"], found["p50"] / before[where]["p50"])
        for where, found in rows(new)
        if where in before and before[where]["p50"] > 0
    ]


def _compare(old: Mapping[str, Any], new: Mapping[str, Any], file: Path) -> None:
    for key in ("machine", "versions"):
        changed = {
            part: (old.get(key, {}).get(part), value)
            for part, value in new.get(key, {}).items()
            if old.get(key, {}).get(part) != value
        }
        for part, (was, now) in changed.items():
            print(f"not the same {key}: {part} was {was}, is {now}")
    found = differences(old, new)
    if not found:
        raise DataError(f"{file}: expected a report of the same benchmark, but it has no duration in common")
    width = max(len(where) for where, *_ in found)
    print(f"\n{'median':<{width}}{'before':>12}{'now':>12}{'now / before':>14}")
    for where, before, now, factor in found:
        mark = "  slower" if factor > _NOTABLE else "  faster" if factor < 1 / _NOTABLE else ""
        print(f"{where:<{width}}{before:>12.4g}{now:>12.4g}{factor:>14.2f}{mark}")


def _plot(report: Mapping[str, Any], file: Path) -> None:
    found = list(rows(report))
    if not found:
        raise DataError(f"{file}: nothing to draw: the report has no distribution of durations")
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise ConfigError('expected matplotlib for --plot; install it with: pip install "poseloop[train]"') from error
    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 1.2 + 0.28 * len(found)), layout="constrained")
    for place, (_, values) in enumerate(reversed(found)):
        tail = max(values.values())
        axes.plot([values["p50"], tail], [place, place], color="0.6", linewidth=2, zorder=1)
        axes.scatter([values["p50"]], [place], color="tab:blue", zorder=2)
        for name, marker in (("p99", "|"), ("max", "x")):
            if name in values:
                axes.scatter([values[name]], [place], color="tab:red", marker=marker, zorder=2)
    axes.set_yticks(range(len(found)), [where for where, _ in reversed(found)], fontsize=8)
    axes.set_xscale("log")
    axes.set_xlabel("as in the table; ● median   | p99   × largest")
    axes.grid(axis="x", which="both", alpha=0.3)
    try:
        figure.savefig(file, dpi=120)
    except OSError as error:
        raise DataError(f"{file}: cannot be written: {error.strerror}") from error
    finally:
        pyplot.close(figure)
