"""``poseloop replay``: what protocols would have commanded on videos or on a session, as a table that can be compared.

Nothing is switched, nothing waits. The same recording, model and settings give the same bytes, as long as the same
computer runs the network on its CPU with one thread. A session alone is replayed as it was: its protocols are given
exactly what they were given, and must ask for the same, bit for bit.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from poseloop.live.errors import DataError
from poseloop.live.output import report as reports
from poseloop.live.output.session import is_session
from poseloop.live.types import InputEvent
from poseloop.protocols.commands import session_replay
from poseloop.protocols.commands.offline import START_NS, VideoSource
from poseloop.protocols.commands.outcome import COLUMNS, rehearsed, show_differences
from poseloop.protocols.commands.rigs import rig_of_videos
from poseloop.protocols.tables import number_in, read_table

__all__ = ["HELP", "add_arguments", "run"]

HELP = "see what a protocol would have commanded on videos; or repeat a session's decisions, bit for bit"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "recording",
        type=Path,
        nargs="+",
        help="a session's folder; or a video, or a folder of pictures, for each camera",
    )
    parser.add_argument(
        "--rig", type=Path, help="the rig file whose model, gates and protocols to use; of a session: its protocols"
    )
    parser.add_argument(
        "--model", help="a name in the zoo or an .onnx file; default: the rig's. Of a session: look at its videos again"
    )
    parser.add_argument(
        "--protocol", help="with a rig file: only the protocol of this name; else which: region, file.py:Class…"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="without --rig: an option of the protocol"
    )
    parser.add_argument("--fps", type=float, help="frames a second; needed for pictures, overrides a video's own times")
    parser.add_argument(
        "--inputs", type=Path, metavar="FILE.csv", help="licks and pokes: time_s, input, value (0 or 1)"
    )
    parser.add_argument("--frames", type=int, help="only so many, from the beginning; default: all")
    parser.add_argument("--latency-ms", type=float, default=0.0, help="from exposure to decision; default: 0")
    parser.add_argument("--out", type=Path, metavar="FILE.csv", help="the table; default: RECORDING.commands.csv, here")
    parser.add_argument("--notes", type=Path, metavar="FILE.jsonl", help="write what the protocols noted here")
    parser.add_argument("--against", type=Path, metavar="FILE.csv", help="show what differs from this earlier table")
    parser.add_argument("--truth", type=Path, metavar="FILE.csv", help="labelled times, as time_s or frame")
    parser.add_argument("--tolerance-ms", type=float, default=50.0, help="how far from a label is on time; default: 50")
    parser.add_argument("--late-ms", type=float, default=1000.0, help="how long after it is late, not missed")
    parser.add_argument("--report", type=Path, metavar="FILE.json", help="write the counts here, too")


def run(arguments: argparse.Namespace) -> int:
    """Replay, write the table, compare; 1 if a protocol failed, a session's decision or the earlier table differs."""
    if any(is_session(path) for path in arguments.recording):
        return session_replay.run(arguments)
    out = arguments.out or Path(f"{arguments.recording[0].stem}.commands.csv")
    for target in (out, arguments.notes, arguments.report):
        if target is not None:
            reports.check_target(target)
    # Read first: the earlier table may be the very file that is about to be written.
    before = None if arguments.against is None else read_table(arguments.against, *COLUMNS)
    rig = rig_of_videos(arguments)
    inputs = [] if arguments.inputs is None else _inputs(arguments.inputs)
    source = VideoSource(rig, round(arguments.latency_ms * 1e6), arguments.frames)
    report, rows = rehearsed(arguments, rig, source, inputs, out)
    found = [] if before is None else show_differences(before, rows, str(arguments.against), report)
    if arguments.report is not None:
        reports.write({**report, "versions": reports.versions()}, arguments.report)
    return 1 if report["failures"] or found else 0


def _inputs(file: Path) -> Sequence[InputEvent]:
    events = []
    for line, row in enumerate(read_table(file, "time_s", "input", "value"), 2):
        board, dot, name = row["input"].partition(".")
        if not dot or row["value"] not in ("0", "1"):
            raise DataError(f"{file}, line {line}: expected board.line as input, and 0 or 1 as value")
        at_ns = START_NS + round(number_in(file, line, row, "time_s") * 1e9)
        events.append(InputEvent(board, name, row["value"] == "1", at_ns))
    return sorted(events, key=lambda event: event.at_ns)
