"""Boards on the bench: the rows of the contract suites, each with what its pins really did."""

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from boards import TraceEdge, firmware, read_trace
from simavr.emulator import on_terminal

from poseloop.drivers.arduino.board import ArduinoBoard
from poseloop.drivers.sim.board import SimulatedBoard


@dataclass(frozen=True)
class Bench:
    """One board on the bench, and what its pins really did."""

    board: Any
    trace: Callable[[], list[TraceEdge]]
    width_error_us: int
    """How far the board may be off when it times a pulse, by its own clock."""


@dataclass(frozen=True)
class Row:
    """One kind of board; add a row to put another one under the contract."""

    name: str
    setup: Callable[[Path, Mapping[int, bool]], contextlib.AbstractContextManager[Bench]]
    """Folder, and pin → is it active at its high level?"""
    posix_only: bool = False

    def skip_where_it_cannot_run(self) -> None:
        if self.posix_only and sys.platform == "win32":
            pytest.skip("pseudo-terminals are a POSIX thing")


@contextlib.contextmanager
def simulated_over_tcp(folder: Path, active_high: Mapping[int, bool]) -> Iterator[Bench]:
    trace = folder / "trace.jsonl"
    board = SimulatedBoard("board", SimulatedBoard.Settings(trace=trace))
    try:
        yield Bench(board, lambda: read_trace(trace), width_error_us=0)
    finally:
        board.close()


@contextlib.contextmanager
def arduino_over_pty(folder: Path, active_high: Mapping[int, bool]) -> Iterator[Bench]:
    trace = folder / "trace.jsonl"
    with firmware("--stay", "--trace", str(trace), pty=True) as (_, port):
        board = ArduinoBoard("board", ArduinoBoard.Settings(port=port))
        try:
            yield Bench(board, lambda: read_trace(trace), width_error_us=0)
        finally:
            board.close()


@contextlib.contextmanager
def firmware_over_pty(folder: Path, active_high: Mapping[int, bool]) -> Iterator[Bench]:
    trace = folder / "trace.jsonl"
    with on_terminal(trace) as port:
        board = ArduinoBoard("board", ArduinoBoard.Settings(port=port))
        try:
            # The emulator counts cycles; an edge that meets another line's may be this late.
            yield Bench(board, lambda: read_pins(trace, active_high), width_error_us=20)
        finally:
            board.close()


def read_pins(trace: Path, active_high: Mapping[int, bool]) -> list[TraceEdge]:
    """What the emulated chip's pins did, as a board that knows the lines' active levels tells it."""
    text = trace.read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    found: list[TraceEdge] = []
    on: set[int] = set()
    for row in rows:
        pin = row.get("pin")
        if pin not in active_high:
            continue
        active = row["driven"] and row["high"] == active_high[pin]
        if active != (pin in on):
            found.append(TraceEdge(row["host_ns"], row["board_us"], pin, active))
            on ^= {pin}
    return found


ROWS = (
    Row("simulated-tcp", simulated_over_tcp),
    Row("arduino-pty", arduino_over_pty, posix_only=True),
    pytest.param(Row("firmware", firmware_over_pty), marks=pytest.mark.firmware),
)
