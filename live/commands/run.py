"""``poseloop run RIG``: run a rig until Ctrl-C, the end of its recordings, or ``--seconds``."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from poseloop.live.config import read_text
from poseloop.live.output import report as reports
from poseloop.live.process import Message
from poseloop.live.supervisor import Supervisor

__all__ = ["HELP", "add_arguments", "run", "run_rig"]

HELP = "run a rig file: cameras, network, protocols and boards"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("rig", type=Path, help="the rig file (TOML)")
    add_run_arguments(parser)


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what every command that runs a rig has."""
    parser.add_argument("--seconds", type=_positive, help="how long, after warm-up; default: until Ctrl-C or the end")
    parser.add_argument("--report", type=Path, metavar="FILE.json", help="write the report here, too")
    parser.add_argument("--headless", action="store_true", help="no live status line")


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number of seconds > 0, but got {text}")
    return value


def run(arguments: argparse.Namespace) -> int:
    """Run the rig, print the report."""
    report = run_rig(read_text(arguments.rig), arguments.rig, arguments)
    return 1 if failures(report) else 0


def failures(report: dict[str, Any]) -> dict[str, str]:
    """Protocols that were disabled, and why."""
    return {name: state for name, state in report["protocols"].items() if state != "ok"}


def run_rig(
    text: str,
    file: Path,
    arguments: argparse.Namespace,
    listener: Callable[[str, Message], None] = lambda process, message: None,
) -> dict[str, Any]:
    """Run a rig from its text with a status line, then print and write its report; returns it.

    Raises:
        PoseloopError: the rig could not start or failed; outputs are off.
    """
    with _interruptible() as stop, _Status(sys.stderr, quiet=arguments.headless) as status:

        def hear(process: str, message: Message) -> None:
            status.hear(process, message)
            listener(process, message)

        supervisor = Supervisor(text, file, hear)
        status.say(f"starting {supervisor.rig.name} …")
        report = supervisor.run(arguments.seconds, stop)
    print(reports.as_text(report) if report["frames"]["captured"] else "stopped before the first frame")
    for name, reason in failures(report).items():
        print(f"poseloop: protocol {name} was disabled: {reason}", file=sys.stderr)
    if arguments.report is not None:
        reports.write(report, arguments.report)
    return report


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Turn Ctrl-C and a request to terminate into an event, so that nothing is cut off in the middle."""
    stop = threading.Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, lambda number, frame: stop.set())
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Status:
    """One line on a terminal that is written over; on a file, a line now and then."""

    _EVERY = 20
    """On a file: one line for this many updates (5 s)."""

    def __init__(self, stream: Any, quiet: bool) -> None:
        self._stream = stream
        self._quiet = quiet
        self._terminal = stream.isatty()
        self._width = 0
        self._updates = 0
        self._last: Message | None = None
        self._triggers: dict[str, int] = {}
        self._armed: dict[str, bool] = {}
        self._fps = 0.0

    def __enter__(self) -> _Status:
        return self

    def __exit__(self, *_: object) -> None:
        if self._width:
            self._stream.write("\n")

    def say(self, text: str) -> None:
        """Show a line that stays."""
        if not self._quiet:
            self._clear()
            self._stream.write(f"{text}\n")
            self._stream.flush()

    def hear(self, process: str, message: Message) -> None:
        """Update from what a process told."""
        match message["event"]:
            case "health":
                self._health(message)
            case "status":
                self._triggers, self._armed = message["triggers"], message["armed"]
            case "board":
                detail = f": {message['detail']}" if message["detail"] else ""
                self.say(f"board {message['board']}: {message['state'].replace('_', ' ')}{detail}")
            case "protocol_failed":
                self.say(f"protocol {message['protocol']} failed and is disabled: {message['error']}")

    def _health(self, health: Message) -> None:
        last, self._last = self._last, health
        if last is None or self._quiet:
            return
        rate = (health["processed"] - last["processed"]) / max((health["at_ns"] - last["at_ns"]) / 1e9, 1e-3)
        self._fps = rate if self._fps == 0 else 0.7 * self._fps + 0.3 * rate
        self._updates += 1
        if not self._terminal and self._updates % self._EVERY != 1:
            return
        latency = (
            "no pose" if health["p50_ms"] is None else f"pose in {health['p50_ms']:.1f} ms (p99 {health['p99_ms']:.1f})"
        )
        dropped = sum(health["dropped"].values())
        armed = "  ".join(f"{name} {'armed' if state else 'safe'}" for name, state in self._armed.items())
        triggers = self._triggers
        line = (
            f"{health['processed']:>7} sets  {self._fps:6.1f}/s  {latency}  {dropped} dropped  "
            f"triggers {triggers.get('acknowledged', 0)}/{triggers.get('sent', 0)}  {armed}"
        )
        if self._terminal:
            self._stream.write("\r" + line.ljust(self._width))
            self._width = len(line)
        else:
            self._stream.write(line + "\n")
        self._stream.flush()

    def _clear(self) -> None:
        if self._width:
            self._stream.write("\r" + " " * self._width + "\r")
            self._width = 0
