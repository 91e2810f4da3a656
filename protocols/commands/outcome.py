"""What comes of a replay: the table of commands, notes, counts, and what differs from another table."""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from poseloop.live.config import Rig
from poseloop.live.errors import DataError
from poseloop.live.types import CommandKind, InputEvent
from poseloop.protocols.commands.compare import Score, differences, read_truth, score
from poseloop.protocols.commands.offline import Decision, Source, rehearse
from poseloop.protocols.tables import Row

__all__ = ["COLUMNS", "as_row", "progress", "rehearsed", "show_differences", "write_table"]

COLUMNS = ("frame", "time_s", "protocol", "output", "command", "on_ms", "period_ms", "count", "delay_ms", "outcome")
_SHOWN = 20
"""Differences that are printed; all of them are counted."""


def rehearsed(
    arguments: argparse.Namespace, rig: Rig, source: Source, inputs: Sequence[InputEvent], out: Path
) -> tuple[dict[str, Any], Sequence[Row]]:
    """Decide on a source's poses, write the table, judge it; returns the report so far, and the table's rows."""
    decisions, times_ns, failures = rehearse(rig, source, inputs, progress)
    if not times_ns:
        raise DataError(f"{arguments.recording[0]}: expected a recording, but it has no frames")
    rows = [as_row(decision) for decision in decisions if decision.command is not None]
    write_table(out, rows)
    if arguments.notes is not None:
        notes = (decision for decision in decisions if decision.command is None)
        _write(arguments.notes, "".join(json.dumps(_note(note)) + "\n" for note in notes))
    sent = [row for row in rows if row["outcome"] == "sent" and row["command"] != CommandKind.OFF]
    held = [row for row in rows if row["outcome"] != "sent"]
    print(
        f"{len(times_ns)} frames, {times_ns[-1] / 1e9:.2f} s: {len(sent)} on-commands, {len(held)} held back by gates"
    )
    print(f"table      {out}")
    report: dict[str, Any] = {"frames": len(times_ns), "sent": len(sent), "held": len(held), "failures": failures}
    for name, why in failures.items():
        print(f"protocol   {name} failed: {why}")
    if arguments.truth is not None:
        report["truth"] = _judge(arguments, sent, times_ns)
    return report, rows


def show_differences(
    before: Sequence[Row], rows: Sequence[Row], whose: str, report: dict[str, Any]
) -> Sequence[tuple[str, Row]]:
    """Print what two tables do not share, count it in the report, return it."""
    found = differences(before, rows)
    report["differences"] = len(found)
    print(f"\n{len(found) or 'no'} differences from {whose}")
    for sign, row in found[:_SHOWN]:
        print(f"  {sign} " + ",".join(row[column] for column in COLUMNS))
    return found


def as_row(decision: Decision) -> dict[str, str]:
    """One command as a row of the table."""
    command = decision.command
    assert command is not None
    return {
        "frame": str(decision.index),
        "time_s": _seconds(decision.at_ns),
        "protocol": decision.protocol,
        "output": f"{command.device}.{command.line}",
        "command": command.kind.value,
        "on_ms": _milliseconds(command.on_us),
        "period_ms": _milliseconds(command.period_us),
        "count": str(command.count),
        "delay_ms": _milliseconds(command.delay_us),
        "outcome": decision.outcome,
    }


def write_table(file: Path, rows: Sequence[Row]) -> None:
    """Write the table of commands.

    Raises:
        DataError: it cannot be written.
    """
    _write(file, _as_csv(rows))


def _note(decision: Decision) -> dict[str, Any]:
    return {
        "frame": decision.index,
        "time_s": decision.at_ns / 1e9,
        "protocol": decision.protocol,
        "note": decision.outcome,
        **decision.values,
    }


def _seconds(at_ns: int) -> str:
    # Whole numbers all the way: a float's last digit is no part of a time.
    return f"{at_ns // 1_000_000_000}.{at_ns % 1_000_000_000:09d}"


def _milliseconds(us: int) -> str:
    return f"{us // 1000}.{us % 1000:03d}"


def _as_csv(rows: Sequence[Mapping[str, str]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _write(file: Path, text: str) -> None:
    try:
        file.write_bytes(text.encode())
    except OSError as error:
        raise DataError(f"{file}: cannot be written: {error.strerror}") from error


def _judge(
    arguments: argparse.Namespace, sent: Sequence[Mapping[str, str]], times_ns: Sequence[int]
) -> dict[str, dict[str, Any]]:
    """Print one line for each protocol, beside the labels; returns the counts."""
    truth = read_truth(arguments.truth, [at / 1e9 for at in times_ns])
    names = list(dict.fromkeys(row["protocol"] for row in sent)) or ["none"]
    print(f"\n{len(truth)} labelled times{'on time':>14}{'late':>8}{'missed':>8}{'extra':>8}{'median delay, ms':>18}")
    counts = {}
    for name in names:
        # A delay that the board times is part of when the trigger comes.
        triggers = [float(row["time_s"]) + float(row["delay_ms"]) / 1e3 for row in sent if row["protocol"] == name]
        result = score(triggers, truth, arguments.tolerance_ms / 1e3, arguments.late_ms / 1e3)
        counts[name] = _counts(result)
        delay = counts[name]["median_delay_ms"]
        cells = "".join(f"{counts[name][key]:>8}" for key in ("late", "missed", "extra"))
        print(f"  {name:<16}{counts[name]['on_time']:>13}{cells}{'–' if delay is None else f'{delay:.1f}':>18}")
        for what, times in (("missed", result.missed), ("extra", result.extra), ("late", [t for _, t in result.late])):
            if times:
                print(f"    {what}: " + ", ".join(f"{at:.3f} s" for at in times[:_SHOWN]))
    return counts


def _counts(result: Score) -> dict[str, Any]:
    delays = sorted(at - label for label, at in (*result.on_time, *result.late))
    return {
        "on_time": len(result.on_time),
        "late": len(result.late),
        "missed": len(result.missed),
        "extra": len(result.extra),
        "median_delay_ms": round(delays[len(delays) // 2] * 1e3, 3) if delays else None,
    }


def progress(frames: int) -> None:
    """Show how far a replay is, where somebody looks."""
    if frames % 50 == 0 and sys.stderr.isatty():
        sys.stderr.write(f"\r{frames} frames")
