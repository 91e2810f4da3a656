"""The firmware as a state machine: bytes and time in, bytes and pin changes out.

It keeps every rule of the table in ``drivers/arduino/README.md`` and does no input or output, so that tests run it at
exact times and at any speed. Times are microseconds on the caller's clock, which never goes back. Standard library
only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from poseloop.drivers.arduino.framing import Decoder, WireFrame, crc16, encode
from poseloop.drivers.arduino.tables import (
    ALL,
    INPUT_HOLD_US,
    LAYOUTS,
    MIN_ON_US,
    NO_LINE,
    PROTOCOL_VERSION,
    RESERVED_PINS,
    SIMULATED,
    SYNC_BITS,
    Boot,
    Cause,
    KindFlag,
    Reason,
    State,
    ToBoard,
    ToHost,
)
from poseloop.drivers.sim.lines import MAX_ON_US, InputLine, OutputLine, make_line
from poseloop.drivers.sim.outputs import Clock, Edge, Outputs

LINES = 8
PINS = 70
"""As many as an Arduino Mega has."""
MIN_LEASE_MS = 10
MAX_LEASE_MS = 10_000

POWER_UP = 1
"""Cause of a reset, see `poseloop.drivers.arduino.tables.RESET_CAUSES`."""


class Step(NamedTuple):
    """What one call of the state machine brought about."""

    sent: bytes
    edges: Sequence[Edge]


class Firmware:
    """One board, from power-up on. Every call first does what was due until ``now_us``."""

    def __init__(self, protocol: int = PROTOCOL_VERSION, start_us: int = 0) -> None:
        """Make a board without power.

        Args:
            protocol: the version that it claims to speak.
            start_us: what its clock shows at power-up.
        """
        self._protocol = protocol
        self._clock = Clock(start_us)
        self._outputs = Outputs(self._clock, self._send)
        self._world: dict[int, bool] = {}
        self._out = bytearray()
        self.armed = False
        self._lease_us = self._lease_ends_us = 0
        self._lines: list[OutputLine | InputLine | None] = []
        self._settings: list[bytes] = []
        self._decoder = Decoder()
        self._greeted = False
        self._last_seq = 0
        self._reset_cause = 0
        self._handlers: dict[int, Callable[..., Reason | None]] = {
            ToBoard.CONFIG: self._config,
            ToBoard.LINE: self._line,
            ToBoard.ARM: self._arm,
            ToBoard.RENEW: self._renew,
            ToBoard.PULSE: self._pulse,
            ToBoard.TRAIN: self._train,
            ToBoard.LEVEL: self._level,
            ToBoard.CAMERA: self._camera,
            ToBoard.SYNC: self._sync,
        }

    @property
    def deadline_us(self) -> int | None:
        """When the board next acts by itself; None = not before it hears something."""
        return min(self._deadlines(), default=None)

    @property
    def safe(self) -> bool:
        """True while nothing that is leased is on or can come on."""
        return not self.armed and not any(line.on for line in self._leased())

    def power_up(self, now_us: int, cause: int = POWER_UP) -> Step:
        """Start, or restart: outputs safe, everything forgotten, and BOOT sent."""
        self._run(now_us)
        self._restart(cause)
        return self._step()

    def receive(self, data: bytes, now_us: int) -> Step:
        """Take bytes that came from the host."""
        self._run(now_us)
        for frame in self._decoder.feed(data):
            self._obey(frame)
            self._run(now_us)
        return self._step()

    def drive(self, pin: int, high: bool, now_us: int) -> Step:
        """Let the world outside set the level of a pin."""
        self._run(now_us)
        self._world[pin] = high
        for line in self._lines:
            if isinstance(line, InputLine) and line.pin == pin:
                line.changed_us = now_us
                self._look(line)
        return self._step()

    def advance(self, now_us: int) -> Step:
        """Do what was due until ``now_us``."""
        self._run(now_us)
        return self._step()

    def _deadlines(self) -> list[int]:
        found = [line.due_us for line in self._lines if line is not None and line.due_us is not None]
        if self.armed:
            found.append(self._lease_ends_us)
        return found

    def _run(self, until_us: int) -> None:
        while (deadline := self.deadline_us) is not None and deadline <= until_us:
            self._clock.now_us = deadline
            if self.armed and self._lease_ends_us <= deadline:
                self._disarm_now(State.LEASE_LAPSED, Cause.LEASE, 0)
                continue
            for line in self._lines:
                if line is not None and line.due_us == deadline:
                    if isinstance(line, OutputLine):
                        self._outputs.act(line)
                    else:
                        self._look(line)
        self._clock.now_us = until_us

    def _look(self, line: InputLine) -> None:
        active = self._active(line)
        line.due_us = None
        if active == line.reported:
            return
        if self._clock.now_us < line.reported_us + INPUT_HOLD_US:
            line.due_us = line.reported_us + INPUT_HOLD_US
            return
        self._report(line, active)

    def _active(self, line: InputLine) -> bool:
        return self._world.get(line.pin, line.pull_up) == line.active_high

    def _report(self, line: InputLine, active: bool) -> None:
        line.reported, line.reported_us = active, self._clock.now_us
        self._send(ToHost.INPUT, 0, line.index, active, self._clock.wire_us(line.changed_us))

    def _obey(self, frame: WireFrame) -> None:
        kind, seq, payload = frame
        if kind == ToBoard.HELLO and payload:
            self._outputs.switch_off(self._output_lines(), seq)
            self._forget_settings()
            self._greeted, self._last_seq = True, seq
            self._boot(seq)
            return
        newer = self._greeted and seq != 0 and 0 < (seq - self._last_seq) & 0xFFFF < 0x8000
        if newer:
            self._last_seq = seq
        if kind == ToBoard.OFF:
            self._off(seq, payload)
            return
        if kind == ToBoard.DISARM:
            self._ack(seq)
            self._disarm_now(State.DISARMED, Cause.COMMAND, seq)
            return
        reason = self._refusal(kind, seq, payload, newer)
        if reason is not None:
            self._send(ToHost.REFUSED, seq, reason, kind, self._clock.wire_us())

    def _refusal(self, kind: int, seq: int, payload: bytes, newer: bool) -> Reason | None:
        """Carry a command out, or say why not. The order of these checks is part of the protocol."""
        handler = self._handlers.get(kind)
        if handler is None and kind not in (ToBoard.PING, ToBoard.HELLO):
            return Reason.UNKNOWN_KIND
        if len(payload) != LAYOUTS[kind].size:
            return Reason.BAD_LENGTH
        if handler is None:
            self._send(ToHost.PONG, seq, self._clock.wire_us(), min(self._decoder.damaged, 0xFFFF), 0)
            return None
        if not self._greeted:
            return Reason.NO_HELLO
        if not newer:
            return Reason.OLD_SEQ
        if handler in (self._config, self._line):
            return handler(seq, payload, *LAYOUTS[kind].unpack(payload))
        return handler(seq, *LAYOUTS[kind].unpack(payload))

    def _config(self, seq: int, payload: bytes, lease_ms: int, lines: int) -> Reason | None:
        if self.armed:
            return Reason.ARMED
        if not MIN_LEASE_MS <= lease_ms <= MAX_LEASE_MS:
            return Reason.CEILING
        if not 1 <= lines <= LINES:
            return Reason.BAD_LINE
        self._ack(seq)
        self._forget_settings()
        self._lease_us = lease_ms * 1000
        self._lines = [None] * lines
        self._settings = [payload] + [b""] * lines
        return None

    def _line(
        self, seq: int, payload: bytes, index: int, pin: int, flags: int, kinds: int, thousandths: int,
        max_on_us: int, window_us: int,
    ) -> Reason | None:  # fmt: skip
        if self.armed:
            return Reason.ARMED
        if not self._settings:
            return Reason.NOT_CONFIGURED
        if index >= len(self._lines):
            return Reason.BAD_LINE
        others = {line.pin for line in self._lines if line is not None and line.index != index}
        if pin in RESERVED_PINS or pin >= PINS or pin in others:
            return Reason.BAD_PIN
        line = make_line(index, pin, flags, kinds, thousandths, max_on_us, window_us)
        if isinstance(line, Reason):
            return line
        before, self._lines[index] = self._lines[index], line
        self._settings[index + 1] = payload
        self._ack(seq)
        if isinstance(before, OutputLine):
            self._outputs.switch_off([before], 0)
        if isinstance(line, InputLine):
            line.changed_us = self._clock.now_us
            self._report(line, self._active(line))
        return None

    def _arm(self, seq: int, checksum: int) -> Reason | None:
        if not self._settings or None in self._lines:
            return Reason.NOT_CONFIGURED
        if checksum != crc16(b"".join(self._settings)):
            return Reason.SETTINGS_DIFFER
        self._lease_ends_us = self._clock.now_us + self._lease_us
        self._ack(seq)
        if not self.armed:
            self.armed = True
            self._send(ToHost.STATE, seq, State.ARMED, Cause.COMMAND, NO_LINE, self._clock.wire_us())
        return None

    def _renew(self, seq: int) -> Reason | None:
        if not self.armed:
            return Reason.NOT_ARMED
        self._lease_ends_us = self._clock.now_us + self._lease_us
        return None

    def _pulse(self, seq: int, line: int, delay_us: int, on_us: int) -> Reason | None:
        return self._start(ToBoard.PULSE, seq, line, delay_us, on_us, 0, 1)

    def _train(self, seq: int, line: int, delay_us: int, on_us: int, period_us: int, count: int) -> Reason | None:
        return self._start(ToBoard.TRAIN, seq, line, delay_us, on_us, period_us, count)

    def _level(self, seq: int, line: int, delay_us: int) -> Reason | None:
        return self._start(ToBoard.LEVEL, seq, line, delay_us, 0, 0, 1)

    def _start(
        self, kind: ToBoard, seq: int, index: int, delay_us: int, on_us: int, period_us: int, count: int
    ) -> Reason | None:
        if not self.armed:
            return Reason.NOT_ARMED
        return self._begin(kind, seq, index, delay_us, on_us, period_us, count)

    def _camera(self, seq: int, index: int, period_us: int, width_us: int, count: int) -> Reason | None:
        if period_us:
            return self._begin(ToBoard.CAMERA, seq, index, 0, width_us, period_us, count)
        line = self._output(index)
        if line is None:
            return Reason.BAD_LINE
        if not line.kinds & KindFlag.CAMERA:
            return Reason.KIND_NOT_ALLOWED
        self._outputs.switch_off([line], seq)
        self._ack(seq)
        return None

    def _sync(self, seq: int, index: int, code: int, bit_us: int) -> Reason | None:
        return self._begin(ToBoard.SYNC, seq, index, 0, bit_us, bit_us, SYNC_BITS + 1, code)

    def _begin(
        self, kind: ToBoard, seq: int, index: int, delay_us: int, on_us: int, period_us: int, count: int, code: int = 0
    ) -> Reason | None:
        line = self._output(index)
        if line is None:
            return Reason.BAD_LINE
        others = sum(other.load for other in self._output_lines())
        reason = line.objection(kind, on_us, period_us, count, self._clock.now_us, others)
        if reason is not None:
            return reason
        line.begin(kind, seq, self._clock.now_us + delay_us, on_us, period_us, count, code)
        self._ack(seq)
        return None

    def _off(self, seq: int, payload: bytes) -> None:
        """Switch off; whatever does not name exactly one output means all of them."""
        index = payload[0] if len(payload) == 1 else ALL
        named = [line for line in self._output_lines() if line.index == index]
        self._ack(seq)
        self._outputs.switch_off(named or self._leased(), seq)

    def _output(self, index: int) -> OutputLine | None:
        line = self._lines[index] if index < len(self._lines) else None
        return line if isinstance(line, OutputLine) else None

    def _leased(self) -> list[OutputLine]:
        return [line for line in self._output_lines() if line.leased]

    def _output_lines(self) -> list[OutputLine]:
        return [line for line in self._lines if isinstance(line, OutputLine)]

    def _disarm_now(self, state: State, cause: Cause, seq: int) -> None:
        self._outputs.switch_off(self._leased(), seq)
        if self.armed:
            self.armed = False
            self._send(ToHost.STATE, seq, state, cause, NO_LINE, self._clock.wire_us())

    def _forget_settings(self) -> None:
        self._outputs.switch_off(self._output_lines(), 0)
        self.armed = False
        self._lease_us = self._lease_ends_us = 0
        self._lines = []
        self._settings = []

    def _forget_all(self, cause: int) -> None:
        self._forget_settings()
        self._decoder = Decoder()
        self._greeted = False
        self._last_seq = 0
        self._reset_cause = cause

    def _restart(self, cause: int) -> None:
        said = len(self._out)
        self._outputs.switch_off(self._output_lines(), 0)
        del self._out[said:]  # the pins change, but a board that restarts does not report it
        self._forget_all(cause)
        self._clock.powered_us = self._clock.now_us
        self._boot(0)

    def _boot(self, seq: int) -> None:
        boot = Boot(
            self._protocol, 1, 0, 0, SIMULATED, LINES, self._reset_cause, MIN_ON_US, MAX_ON_US, MIN_LEASE_MS,
            MAX_LEASE_MS, self._clock.wire_us(),
        )  # fmt: skip
        self._send(ToHost.BOOT, seq, *boot)

    def _ack(self, seq: int) -> None:
        self._send(ToHost.ACK, seq, self._clock.wire_us())

    def _send(self, kind: ToHost, seq: int, *values: int) -> None:
        self._out += encode(kind, seq, LAYOUTS[kind].pack(*values))

    def _step(self) -> Step:
        step = Step(bytes(self._out), tuple(self._outputs.edges))
        self._out.clear()
        self._outputs.edges.clear()
        return step
