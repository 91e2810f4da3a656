"""``poseloop replay SESSION``: its decisions again, bit for bit; or those of another protocol or network."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from poseloop.live.errors import ConfigError
from poseloop.live.output import report as reports
from poseloop.live.output.session import Session
from poseloop.live.types import Command, CommandKind
from poseloop.protocols.commands.again import Result, decide_again
from poseloop.protocols.commands.outcome import (
    COLUMNS,
    as_row,
    progress,
    rehearsed,
    show_differences,
    write_table,
)
from poseloop.protocols.commands.rigs import rig_of_session
from poseloop.protocols.commands.sources import FootageSource, LogSource, inputs_of, logged
from poseloop.protocols.tables import Row, read_table

__all__ = ["run"]

_ALONE = ("frames", "notes", "against", "truth", "set")
"""Words that have no meaning for decisions that are only repeated."""


def run(arguments: argparse.Namespace) -> int:
    """Replay one session; 1 if decisions that are repeated come out otherwise, or if a protocol fails.

    Raises:
        ConfigError: words that do not fit.
        DataError: the session cannot be used.
    """
    if len(arguments.recording) > 1:
        raise ConfigError(f"expected one session, but got {len(arguments.recording)} recordings")
    if arguments.fps is not None or arguments.inputs is not None or arguments.latency_ms:
        raise ConfigError("--fps, --inputs and --latency-ms are for videos: a session has its own times and inputs")
    for target in (arguments.out, arguments.notes, arguments.report):
        if target is not None:
            reports.check_target(target)
    changed = any(value is not None for value in (arguments.model, arguments.rig, arguments.protocol))
    with Session.open(arguments.recording[0]) as session:
        return (_otherwise if changed else _again)(arguments, session)


def _again(arguments: argparse.Namespace, session: Session) -> int:
    for word in _ALONE:
        if getattr(arguments, word):
            raise ConfigError(f"--{word} is for a replay with another --model, --protocol or --rig")
    result = decide_again(session, rig_of_session(session, arguments), progress)
    fates = ", ".join(f"{count} {fate}" for fate, count in sorted(result.fates.items()))
    print(f"{result.decisions} decisions, {result.commands} commands{f' ({fates})' if fates else ''}")
    for name in {*result.failures, *result.recorded_failures}:
        print(f"protocol   {name} failed in {_where(name, result)}: {_why(name, result)}")
    if result.missing:
        print(
            f"missing    {result.missing} decisions or their poses are not in the log, from number "
            f"{result.first_missing} on; what follows them need not be the same"
        )
    if result.first is None:
        print("replay     all decisions are the same, bit for bit")
    else:
        first = result.first
        print(f"replay     {result.different} decisions differ, first number {first.number} (trigger {first.index}):")
        print(f"  recorded   {_told(first.recorded)}")
        print(f"  again      {_told(first.again)}")
        print(
            "a protocol can be repeated if reset() sets up its state, its time is the pose's and its chance self.random"
        )
    if arguments.out is not None:
        write_table(arguments.out, [as_row(decision) for decision in logged(session)])
        print(f"table      {arguments.out}")
    if arguments.report is not None:
        reports.write({**_as_report(result), "versions": reports.versions()}, arguments.report)
    return 0 if result.same else 1


def _where(name: str, result: Result) -> str:
    if name in result.failures and name in result.recorded_failures:
        return "both, as it should"
    return "the replay only" if name in result.failures else "the session only"


def _why(name: str, result: Result) -> str:
    return result.failures.get(name) or result.recorded_failures[name]


def _told(asked: Sequence[tuple[str, Command]]) -> str:
    if not asked:
        return "nothing"
    return "; ".join(f"{protocol}: {_as_text(command)}" for protocol, command in asked)


def _as_text(command: Command) -> str:
    times = {
        "on_us": command.on_us,
        "period_us": command.period_us,
        "count": command.count,
        "delay_us": command.delay_us,
    }
    given = "".join(f" {name}={value}" for name, value in times.items() if value)
    return f"{command.kind} {command.device}.{command.line}{given}"


def _as_report(result: Result) -> dict[str, Any]:
    return {
        "same": result.same,
        "decisions": result.decisions,
        "commands": result.commands,
        "fates": result.fates,
        "different": result.different,
        "missing": result.missing,
        "first": None
        if result.first is None
        else {
            "number": result.first.number,
            "index": result.first.index,
            "recorded": _told(result.first.recorded),
            "again": _told(result.first.again),
        },
        "failures": result.failures,
    }


def _otherwise(arguments: argparse.Namespace, session: Session) -> int:
    before = [as_row(decision) for decision in logged(session)]
    against = None if arguments.against is None else read_table(arguments.against, *COLUMNS)
    rig = rig_of_session(session, arguments)
    out = arguments.out or Path(f"{session.folder.resolve().name}.commands.csv")
    footage = None if arguments.model is None else FootageSource(session, rig, arguments.frames)
    source = footage or LogSource(session, arguments.frames)
    report, rows = rehearsed(arguments, rig, source, inputs_of(session), out)
    if footage is not None:
        report["poses"] = _poses(footage)
    report["protocols"] = _side_by_side(before, rows)
    if arguments.frames is None:
        show_differences(before, rows, "the session", report)
    found = [] if against is None else show_differences(against, rows, str(arguments.against), report)
    if arguments.report is not None:
        reports.write({**report, "versions": reports.versions()}, arguments.report)
    return 1 if report["failures"] or found else 0


def _poses(source: FootageSource) -> dict[str, Any]:
    """Print how far the poses are from the recorded ones; returns the numbers."""
    numbers = {
        "compared": source.compared,
        "without_pictures": source.unequal_sets,
        "largest_px": source.largest_px,
        "largest_at": source.largest_at,
        "largest_mm": source.largest_mm,
        "largest_score": source.largest_score,
        "seen_otherwise": source.seen_otherwise,
    }
    same = bool(source.shared) and not (
        source.largest_px or source.largest_mm or source.largest_score or source.seen_otherwise
    )
    text = f"poses      {source.compared} compared with the recorded ones: "
    if not source.shared:
        text = "poses      cannot be compared: the two models have no keypoint in common"
    elif same:
        text += "the same, bit for bit"
    else:
        text += f"largest difference {source.largest_px:.3f} px (trigger {source.largest_at})"
        text += f", {source.largest_mm:.3f} mm" if source.largest_mm else ""
        text += f", {source.largest_score:.4f} in score; {source.seen_otherwise} points seen by one of them only"
    print(text)
    if source.unequal_sets:
        print(f"           {source.unequal_sets} left out: not all of their pictures are in the videos")
    return {**numbers, "same": same}


def _side_by_side(before: Sequence[Row], rows: Sequence[Row]) -> dict[str, dict[str, int]]:
    """Print each protocol's stimuli beside the session's; returns the counts."""
    counts = {}
    names = list(dict.fromkeys(row["protocol"] for row in (*before, *rows)))
    print(f"\n{'stimuli sent':<20}{'session':>9}{'replay':>9}{'at one frame':>14}")
    for name in names:
        was, now = (Counter(row["frame"] for row in table if _is_sent(row, name)) for table in (before, rows))
        both = (was & now).total()
        counts[name] = {"session": was.total(), "replay": now.total(), "both": both}
        print(f"  {name:<18}{was.total():>9}{now.total():>9}{both:>14}")
    return counts


def _is_sent(row: Row, protocol: str) -> bool:
    return row["protocol"] == protocol and row["outcome"] == "sent" and row["command"] != CommandKind.OFF
