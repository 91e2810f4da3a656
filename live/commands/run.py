"""``poseloop run RIG``: run a rig until Ctrl-C, the end of its recordings, or ``--seconds``."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from poseloop.live.commands.status import Status
from poseloop.live.config import read_text
from poseloop.live.output import report as reports
from poseloop.live.process import Message
from poseloop.live.supervisor import Stop, Supervisor

__all__ = ["HELP", "add_arguments", "run", "run_rig"]

HELP = "run a rig file: cameras, network, protocols and boards"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("rig", type=Path, help="the rig file (TOML)")
    add_run_arguments(parser, seconds=None)


def add_run_arguments(parser: argparse.ArgumentParser, seconds: float | None) -> None:
    """Declare what every command that runs a rig has."""
    default = "until Ctrl-C or the end of the recordings" if seconds is None else f"{seconds:g}"
    parser.add_argument(
        "--seconds", type=_seconds, default=seconds, help=f"how long, after warm-up; default: {default}"
    )
    parser.add_argument("--report", type=Path, metavar="FILE.json", help="write the report here, too")
    parser.add_argument("--headless", action="store_true", help="no live status line")


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number of seconds > 0, but got {text!r}")
    return value


def run(arguments: argparse.Namespace) -> int:
    """Run the rig, print the report."""
    report = run_rig(read_text(arguments.rig), arguments.rig, arguments)
    return exit_code(report)


def exit_code(report: dict[str, Any]) -> int:
    """0 if every protocol and every camera lived to the end, and the recording did."""
    alive = all(state == "ok" for state in report["protocols"].values())
    there = not any(counts["state"] in ("lost", "hung") for counts in report["cameras"].values())
    recorded = not report["record"].get("fault")
    return 0 if alive and there and recorded else 1


def run_rig(
    text: str,
    file: Path,
    arguments: argparse.Namespace,
    listener: Callable[[str, Message], None] = lambda process, message: None,
) -> dict[str, Any]:
    """Run a rig from its text with a status line, then print and write its report; returns it.

    Raises:
        PoseloopError: the rig could not start or failed; outputs are off. What it had done by then has been reported.
    """
    if arguments.report is not None:
        reports.check_target(arguments.report)
    with _interruptible() as stop, Status(sys.stderr, quiet=arguments.headless, debug=arguments.debug) as status:

        def hear(process: str, message: Message) -> None:
            status.hear(process, message)
            listener(process, message)

        supervisor = Supervisor(text, file, hear)
        status.say(f"starting {supervisor.rig.name} …")
        report = supervisor.run(arguments.seconds, stop)
    # First: whoever reads the text may be gone, or the disk under it full.
    if arguments.report is not None:
        reports.write(report, arguments.report)
    if report["frames"]["captured"]:
        print(reports.as_text(report))
    elif supervisor.error is None:
        print("stopped before the first frame")
    if arguments.report is not None:
        print(f"\nreport     {arguments.report}")
    if supervisor.error is not None:
        raise supervisor.error
    return report


@contextmanager
def _interruptible() -> Iterator[Stop]:
    """Turn Ctrl-C and a request to terminate into an event, so that nothing is cut off in the middle."""
    stop = Stop()
    # SIGHUP: the terminal was closed. SIGBREAK: Ctrl-Break on Windows.
    names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {number: signal.signal(number, lambda number, frame: stop.again()) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
