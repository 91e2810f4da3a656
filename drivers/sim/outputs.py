"""What the outputs of a simulated board do, edge by edge, and what they tell of it. Standard library only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from poseloop.drivers.arduino.tables import SYNC_BITS, Cause, State, ToBoard, ToHost
from poseloop.drivers.sim.lines import OutputLine


class Edge(NamedTuple):
    """One output changed its level."""

    at_us: int
    """On the caller's clock."""
    board_us: int
    """On the board's own clock, which starts at power-up; not wrapped."""
    line: int
    pin: int
    active: bool
    high: bool
    seq: int
    """Sequence number of the command that caused it; 0 = none did."""


class Clock:
    """The caller's time, and the board's own, which starts at power-up and wraps on the wire."""

    def __init__(self, start_us: int) -> None:
        self._start_us = start_us
        self.now_us = 0
        """On the caller's clock."""
        self.powered_us = 0
        """When the board started, on the caller's clock."""

    @property
    def board_us(self) -> int:
        """On the board's clock; not wrapped."""
        return self._start_us + self.now_us - self.powered_us

    def wire_us(self, at_us: int | None = None) -> int:
        """A time of the caller's, or now, as the board tells it."""
        ago = 0 if at_us is None else self.now_us - at_us
        return (self.board_us - ago) & 0xFFFFFFFF


class Outputs:
    """Makes the edges of all lines."""

    def __init__(self, clock: Clock, send: Callable[..., None]) -> None:
        """Keep the clock, and who sends a frame: kind, sequence number, values."""
        self._clock = clock
        self._send = send
        self.edges: list[Edge] = []
        """Since they were last taken."""

    def act(self, line: OutputLine) -> None:
        """Make the edge that is due, and find out when the next one is."""
        if line.kind == ToBoard.SYNC:
            self._write_bit(line)
            return
        if not line.on:
            self._set(line, True, line.seq)
            line.due_us = self._clock.now_us + line.on_us
            if line.kind == ToBoard.LEVEL:
                line.due_us, line.limit = self._clock.now_us + line.max_on_us, Cause.MAX_ON
                spent_us = line.duty.spent_us(self._clock.now_us)
                if spent_us is not None and spent_us < line.due_us:
                    line.due_us, line.limit = spent_us, Cause.DUTY
            return
        cut = line.kind == ToBoard.LEVEL
        self._set(line, False, 0 if cut else line.seq)
        line.count -= 1
        if line.count == 0:
            line.free()
        else:
            line.due_us = line.since_us + line.period_us
        if cut:
            self._send(ToHost.STATE, 0, State.LIMIT, line.limit, line.index, self._clock.wire_us())

    def _write_bit(self, line: OutputLine) -> None:
        """Write the start bit, the next bit of the code, or the end of the last one; only first and last are told."""
        first, last = line.count == SYNC_BITS + 1, line.count == 0
        active = first or (not last and bool(line.code & 1))
        if active != line.on:
            self._move(line, active, line.seq)
        if first or last:
            self._send(ToHost.EDGE, line.seq, line.index, active, self._clock.wire_us())
        if last:
            line.free()
            return
        if not first:
            line.code >>= 1
        line.count -= 1
        line.due_us = self._clock.now_us + line.on_us

    def _set(self, line: OutputLine, active: bool, seq: int) -> None:
        """Move a pin, and tell of it as its command wants."""
        self._move(line, active, seq)
        if line.kind != ToBoard.CAMERA:
            self._send(ToHost.EDGE, seq, line.index, active, self._clock.wire_us())
        elif active:
            self._send(ToHost.FRAME, seq, line.index, line.code & 0xFFFFFFFF, self._clock.wire_us())
            line.code += 1

    def _move(self, line: OutputLine, active: bool, seq: int) -> None:
        line.on = active
        if active:
            line.since_us = self._clock.now_us
        else:
            line.duty.add(line.since_us, self._clock.now_us)
        high = active == line.active_high
        self.edges.append(Edge(self._clock.now_us, self._clock.board_us, line.index, line.pin, active, high, seq))

    def switch_off(self, lines: Sequence[OutputLine], seq: int) -> None:
        """End what the lines do, because of the command with that number."""
        for line in lines:
            # A sync tells where it begins and ends, whatever its bits are.
            if line.kind == ToBoard.SYNC and line.count <= SYNC_BITS and not line.on:
                self._send(ToHost.EDGE, seq, line.index, False, self._clock.wire_us())
            if line.on:
                self._set(line, False, seq)
            line.free()
