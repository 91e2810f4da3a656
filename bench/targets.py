"""Every number that Poseloop has set itself, beside its target: measured here, or read from what was measured.

``poseloop bench targets --into FOLDER`` runs each benchmark that has a target, which takes an hour and more, leaves its
report in the folder and prints one table: what, measured, target, met or missed, and the file that says so. With
``--only NAME ...`` some are run and the others read. ``--from FOLDER`` runs nothing. What could not be measured is
listed with the reason.

``--machine LABEL`` is put behind each file's name (NAME-LABEL.json), so that one folder can hold several machines';
with ``--from`` it may be given several times: the first one that has a file is taken. ``--write FILE.md`` puts the
table into a page, between its lines ``<!-- targets -->`` and ``<!-- /targets -->``.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from poseloop.bench.options import make_parser, save
from poseloop.bench.short import SHORT
from poseloop.bench.target_list import TARGETS, Report, Target
from poseloop.bench.target_runs import NEEDS, RUNS, Places, Run
from poseloop.live.errors import ConfigError, DataError

__all__ = ["Row", "main", "markdown", "read", "rows", "written"]

_FAILED = "it failed"
_MARKED = re.compile(r"(<!-- targets -->\n).*?(<!-- /targets -->)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    target: Target
    value: float | None
    """None = not measured."""
    file: Path | None
    """That it was read from."""
    why: str = ""
    """It was not measured."""
    awake: bool = False
    """Processors were kept awake meanwhile."""

    @property
    def met(self) -> bool | None:
        """None = not measured."""
        return None if self.value is None else self.target.met(self.value)

    @property
    def verdict(self) -> str:
        """For people."""
        return "not measured" if self.met is None else "met" if self.met else "missed"


def file_of(run: Run, folder: Path, machine: str | None) -> Path:
    """Where a run leaves its report."""
    return folder / (f"{run.name}-{machine}.json" if machine else f"{run.name}.json")


def measure(run: Run, places: Places, file: Path, added: Sequence[str]) -> str:
    """Run a benchmark in a process of its own; returns why there is no report, or nothing.

    Args:
        run: which.
        places: for its arguments.
        file: for its report; an old one stays until there is a new one.
        added: arguments behind its own.
    """
    if missing := [need for need in run.needed if need.find(places) is None]:
        return "; ".join(f"needs {need.what} ({need.how})" for need in missing)
    fresh = file.with_suffix(".new.json")
    fresh.unlink(missing_ok=True)
    words = [*run.words(places), *added]
    print(f"\n== {run.name}: poseloop bench {run.bench} {' '.join(words)}", flush=True)
    command = (sys.executable, "-m", f"poseloop.bench.{run.bench}", *words, "--report", str(fresh))
    code = subprocess.run(command, check=False).returncode
    # One that found something wrong has an exit code, too, and a report that says what.
    if not fresh.is_file():
        return f"{_FAILED} with exit code {code}; what it said stands above"
    fresh.replace(file)
    return ""


def read(run: Run, folder: Path, machines: Sequence[str | None]) -> tuple[Path, Report] | str:
    """A run's report in the folder, of the first machine that has one; or how to get it.

    Raises:
        DataError: the file is no report.
    """
    for file in (file_of(run, folder, machine) for machine in machines):
        if file.is_file():
            try:
                report: Report = json.loads(file.read_text(encoding="utf-8"))
            except ValueError as error:
                raise DataError(f"{file}: expected a report (JSON), but {error}") from error
            return file, report
    needs = ", ".join(need.what for need in run.needed)
    return f"`--only {run.name}` measures it" + (f"; needs {needs}" if needs else "")


def rows(found: Mapping[str, tuple[Path, Report] | str]) -> list[Row]:
    """The table's lines.

    Args:
        found: name of a run → its file and report, or why there is none.

    Raises:
        DataError: a report is of another benchmark.
    """
    beside = {run.name: ", ".join(NEEDS[name].what for name in run.beside) for run in RUNS}
    lines = []
    for target in TARGETS:
        one = found[target.run]
        if isinstance(one, str):
            lines.append(Row(target, None, None, one))
            continue
        file, report = one
        if report.get("short"):
            lines.append(Row(target, None, file, f"{file.name} is of a short run"))
            continue
        try:
            lines.append(Row(target, target.read(report), file, awake=bool(report.get("awake"))))
        except (KeyError, IndexError):
            needs = f"; needs {beside[target.run]}" if beside[target.run] else ""
            lines.append(Row(target, None, file, f"{file.name} does not hold it{needs}"))
        except (TypeError, ValueError, AttributeError) as error:
            raise DataError(f"{file}: expected a report of {target.run}, but {error}") from error
    return lines


def _number(value: float, unit: str) -> str:
    whole, tiny = abs(value) >= 100 or value == int(value), abs(value) < 1e-3
    text = f"{value:,.0f}" if whole else f"{value:.5f}" if tiny else f"{value:.3g}"
    return f"{text} {unit}".rstrip()


def _cells(row: Row) -> tuple[str, str, str]:
    target = row.target
    bar = "0" if target.bar == 0 else f"{'≥' if target.least else '≤'} {_number(target.bar, target.unit)}"
    return "–" if row.value is None else _number(row.value, target.unit), bar, row.verdict


def show(table: Sequence[Row]) -> None:
    """Print it, in lines as wide as the terminal."""
    width = max(shutil.get_terminal_size().columns, 60)
    print(f"\n{'':<14}{'measured':>10}{'target':>12}")
    for part, lines in groupby(table, key=lambda row: row.target.part):
        print(part)
        for row in lines:
            value, bar, verdict = _cells(row)
            source = row.why or (f"{row.file.name}{', awake' * row.awake}" if row.file else "")
            start = f"  {verdict:<12}{value:>10}{bar:>12}  "
            text = f"{start}{row.target.what} ({source})"
            print(textwrap.fill(text, width, subsequent_indent=" " * len(start), break_on_hyphens=False))
    print(_count(table))


def _count(table: Sequence[Row]) -> str:
    met, missed = sum(row.met is True for row in table), sum(row.met is False for row in table)
    return f"Of {len(table)} targets {met} are met, {missed} missed, {len(table) - met - missed} not measured."


def markdown(table: Sequence[Row], folder: Path) -> str:
    """The same for a page in ``folder``, which has links to the files; what is missed stands out."""
    lines = [_count(table), "", "| | measured | target | | from |", "|---|---|---|---|---|"]
    for part, of_it in groupby(table, key=lambda row: row.target.part):
        lines.append(f"| *{part}* | | | | |")
        for row in of_it:
            value, bar, verdict = _cells(row)
            verdict = verdict if row.met else f"**{verdict}**"
            source = row.why
            if row.file is not None and not row.why:
                link = Path(os.path.relpath(row.file.resolve(), folder.resolve())).as_posix()
                source = f"[{row.target.run}]({link}){', awake' * row.awake}"
            lines.append(f"| {row.target.what} | {value} | {bar} | {verdict} | {source} |")
    return "\n".join(lines) + "\n"


def written(page: Path, table: Sequence[Row]) -> str:
    """The page's text with the table in its place.

    Raises:
        DataError: it has no place for it.
    """
    text = page.read_text(encoding="utf-8")
    if not _MARKED.search(text):
        raise DataError(f"{page}: expected the lines <!-- targets --> and <!-- /targets -->, but found no such pair")
    return _MARKED.sub(lambda match: match[1] + "\n" + markdown(table, page.parent) + "\n" + match[2], text)


def _chosen(names: Sequence[str] | None) -> list[Run]:
    known = {run.name: run for run in RUNS}
    if unknown := [name for name in names or () if name not in known]:
        raise ConfigError(f"--only: expected some of {', '.join(known)}, but got {', '.join(unknown)}")
    return [run for run in RUNS if names is None or run.name in names]


def main() -> int:
    """Measure or read, print the table; 0 = whatever was to be measured here was, met or missed."""
    parser = make_parser(__doc__)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--into", type=Path, metavar="FOLDER", help="measure; reports go here")
    where.add_argument("--from", type=Path, metavar="FOLDER", dest="source", help="measure nothing; reports lie here")
    parser.add_argument("--only", nargs="+", metavar="NAME", help=f"measure these: {', '.join(r.name for r in RUNS)}")
    parser.add_argument("--short", action="store_true", help="do everything, measure nothing of worth")
    parser.add_argument("--machine", action="append", metavar="LABEL", help="behind the name of each file")
    parser.add_argument("--write", type=Path, metavar="FILE.md", help="put the table into this page, too")
    peers = parser.add_argument_group("the peers")
    peers.add_argument("--peers", type=Path, default=Path("~/peers"), help="their environments (default: ~/peers)")
    peers.add_argument("--checkpoint", type=Path, metavar="FILE.npz", help="of a training; for the same weights")
    peers.add_argument("--int8", type=Path, metavar="FILE.onnx", help="an export of openfield that competes, too")
    arguments = parser.parse_args()
    # What a short run leaves must never be taken for a measurement.
    if arguments.short and arguments.write is not None:
        parser.error("--short measures nothing that a page should hold: leave --write out")
    machines: list[str | None] = ["short"] if arguments.short else arguments.machine or [None]
    places = Places(arguments.peers.expanduser(), arguments.checkpoint, arguments.int8)
    chosen = _chosen(arguments.only)
    if arguments.source is not None and not arguments.source.is_dir():
        raise ConfigError(f"--from {arguments.source}: there is no such folder")
    why: dict[str, str] = {}
    if arguments.into is not None:
        arguments.into.mkdir(parents=True, exist_ok=True)
        for run in chosen:
            added = [*(SHORT[run.bench] if arguments.short else ()), *(["--awake"] if arguments.awake else ())]
            why[run.name] = measure(run, places, file_of(run, arguments.into, machines[0]), added)
    folder: Path = arguments.into or arguments.source
    table = rows({run.name: why.get(run.name) or read(run, folder, machines) for run in RUNS})
    show(table)
    if arguments.short:
        print("Short runs: these numbers say nothing.")
    if arguments.write is not None:
        arguments.write.write_text(written(arguments.write, table), encoding="utf-8")
    save({"targets": [_as_report(row) for row in table]}, arguments.report)
    return 1 if any(text.startswith(_FAILED) for text in why.values()) else 0


def _as_report(row: Row) -> dict[str, Any]:
    target = row.target
    return {
        "what": target.what,
        "run": target.run,
        "value": row.value,
        "unit": target.unit,
        "at_least" if target.least else "at_most": target.bar,
        "met": row.met,
        "awake": row.awake,
        "why_not": row.why or None,
    }


if __name__ == "__main__":
    sys.exit(main())
