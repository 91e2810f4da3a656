"""What tests of boards share: lines, waiting for events, and the trace of the simulated pins."""

import contextlib
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from poseloop.drivers.arduino.board import ArduinoBoard
from poseloop.drivers.sim.firmware_process import FirmwareProcess
from poseloop.live.types import Command, CommandKind, LineSettings, Outcome, PinEdge

PATIENCE_S = 5.0
"""Longest wait for something that comes within milliseconds on an idle machine."""

LEASE_MS = 100

ANY_KIND = (CommandKind.PULSE, CommandKind.TRAIN, CommandKind.LEVEL)
LASER = LineSettings("laser", 8, kinds=ANY_KIND, max_on_us=2_000_000)
VALVE = LineSettings("valve", 9, active_high=False, kinds=(CommandKind.PULSE,), max_on_us=50_000)
LICK = LineSettings("lick", 7, direction="input", kinds=())
LINES = (LASER, VALVE, LICK)

T = TypeVar("T")


def pulse(line: str = "laser", on_us: int = 1000, delay_us: int = 0) -> Command:
    return Command("board", line, CommandKind.PULSE, on_us=on_us, delay_us=delay_us)


def train(line: str = "laser", on_us: int = 1000, period_us: int = 2000, count: int = 3) -> Command:
    return Command("board", line, CommandKind.TRAIN, on_us=on_us, period_us=period_us, count=count)


def level(line: str = "laser") -> Command:
    return Command("board", line, CommandKind.LEVEL)


def off(line: str = "laser") -> Command:
    return Command("board", line, CommandKind.OFF)


class Ear:
    """Collects a board's events until one that a test waits for has come."""

    def __init__(self, board: Any) -> None:
        self.board = board
        self.heard: list[Any] = []

    def until(self, wanted: Callable[[Any], bool], what: str = "event", renew: bool = False) -> Any:
        """Return the first event, of all since the beginning, that is wanted."""
        deadline = time.perf_counter() + PATIENCE_S
        seen = 0
        while True:
            self.heard += self.board.events()
            for event in self.heard[seen:]:
                if wanted(event):
                    return event
            seen = len(self.heard)
            assert time.perf_counter() < deadline, f"expected {what}, but heard only {self.heard}"
            if renew:
                self.board.renew()
            time.sleep(0.001)

    def outcome(self, ticket: int, renew: bool = False) -> Outcome:
        return self.until(lambda e: isinstance(e, Outcome) and e.ticket == ticket, f"answer {ticket}", renew)

    def edge(self, ticket: int, value: bool, renew: bool = False) -> PinEdge:
        return self.until(lambda e: isinstance(e, PinEdge) and e.ticket == ticket and e.value is value, "edge", renew)

    def state(self, state: str, renew: bool = False) -> Any:
        return self.until(lambda e: getattr(e, "state", None) == state, state, renew)

    def edges(self) -> list[PinEdge]:
        return [event for event in self.heard if isinstance(event, PinEdge)]


@dataclass(frozen=True)
class TraceEdge:
    """One edge, as the pin itself saw it."""

    host_ns: int
    board_us: int
    pin: int
    active: bool


def read_trace(file: Path) -> list[TraceEdge]:
    rows = (json.loads(line) for line in file.read_text(encoding="utf-8").splitlines())
    return [TraceEdge(row["host_ns"], row["board_us"], row["pin"], row["active"]) for row in rows]


def patiently(get: Callable[[], T], what: str) -> T:
    """Return the first true value of `get`."""
    deadline = time.perf_counter() + PATIENCE_S
    while not (value := get()):
        assert time.perf_counter() < deadline, f"expected {what}"
        time.sleep(0.002)
    return value


@contextlib.contextmanager
def firmware(*arguments: str, pty: bool = False) -> Iterator[tuple[FirmwareProcess, str]]:
    """Run the simulated firmware; gives the process and the port to open."""
    with FirmwareProcess("board", *(("--pty",) if pty else ()), *arguments) as process:
        where = process.start()
        yield process, where if pty else f"socket://127.0.0.1:{where}"


@contextlib.contextmanager
def opened(
    *arguments: str, pty: bool = False, lines: Sequence[LineSettings] = LINES, lease_ms: int = LEASE_MS
) -> Iterator[tuple[ArduinoBoard, Ear, FirmwareProcess]]:
    """Open, configure and arm the true driver on simulated firmware."""
    with firmware(*arguments, pty=pty) as (process, port):
        board = ArduinoBoard("board", ArduinoBoard.Settings(port=port))
        board.open()
        try:
            board.configure(lines, lease_ms)
            board.arm()
            yield board, Ear(board), process
        finally:
            board.close()


def damage(clean: bytes, chance: random.Random) -> bytes:
    """Change, lose, double or cut bytes until the frame is another one."""
    wire = bytearray(clean)
    while wire == clean:
        at = chance.randrange(len(wire))
        match chance.randrange(4):
            case 0:
                wire[at] = chance.randrange(256)
            case 1:
                del wire[at]
            case 2:
                wire.insert(at, wire[at])
            case 3:
                del wire[at:]
        if chance.random() < 0.3 and wire:
            wire[chance.randrange(len(wire))] ^= 1 << chance.randrange(8)
    return bytes(wire)
