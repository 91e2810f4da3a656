"""The lines of a simulated board, and what their settings have against a command. Standard library only."""

from __future__ import annotations

from poseloop.drivers.arduino.tables import (
    FREE_RUNNING,
    LOAD_BUDGET,
    LOAD_US,
    MIN_ON_US,
    SYNC_BITS,
    TIMED,
    Cause,
    KindFlag,
    LineFlag,
    Reason,
    ToBoard,
)
from poseloop.drivers.sim.duty import Duty

MAX_ON_US = 3_600_000_000

_FLAGS = {
    ToBoard.PULSE: KindFlag.PULSE,
    ToBoard.TRAIN: KindFlag.TRAIN,
    ToBoard.LEVEL: KindFlag.LEVEL,
    ToBoard.CAMERA: KindFlag.CAMERA,
    ToBoard.SYNC: KindFlag.SYNC,
}


def load(kind: ToBoard, period_us: int) -> int:
    """What a command costs of `LOAD_BUDGET` while it runs."""
    return -(-LOAD_US[kind] // period_us) if kind in LOAD_US else 0


class OutputLine:
    """An output and the command that it carries out."""

    def __init__(self, index: int, pin: int, flags: int, kinds: int, max_on_us: int, duty: Duty) -> None:
        self.index = index
        self.pin = pin
        self.active_high = bool(flags & LineFlag.ACTIVE_HIGH)
        self.kinds = kinds
        self.max_on_us = max_on_us
        self.duty = duty
        self.on = False
        self.since_us = 0
        """Last time that it went on."""
        self.kind = 0
        """Kind of the command that is carried out; 0 = the line is free."""
        self.seq = 0
        self.on_us = self.period_us = 0
        self.count = 0
        """Pulses to come, for a sync bits; from 0 downwards: without end."""
        self.code = 0
        """A sync's bits to come; the number of a camera's next trigger."""
        self.load = 0
        """What the running command costs, see `load`."""
        self.due_us: int | None = None
        """When the next edge is due."""
        self.limit = Cause.MAX_ON
        """What cuts the running level."""

    @property
    def leased(self) -> bool:
        """Do lease, disarming and off for all lines reach it?"""
        return not self.kinds & FREE_RUNNING

    def begin(self, kind: ToBoard, seq: int, due_us: int, on_us: int, period_us: int, count: int, code: int) -> None:
        """Carry a command out from ``due_us`` on."""
        self.kind, self.seq, self.due_us = kind, seq, due_us
        self.on_us, self.period_us, self.count, self.code = on_us, period_us, count, code
        self.load = load(kind, period_us)

    def free(self) -> None:
        """Forget the command."""
        self.kind, self.load, self.due_us = 0, 0, None

    def objection(
        self, kind: ToBoard, on_us: int, period_us: int, count: int, now_us: int, others: int
    ) -> Reason | None:
        """Say why a command cannot be obeyed. The order of these checks is part of the protocol.

        Args:
            kind: of the command.
            on_us: length of a pulse or bit.
            period_us: start to start.
            count: of pulses.
            now_us: when it came.
            others: what the other lines' commands cost together, see `load`.
        """
        if not self.kinds & _FLAGS[kind]:
            return Reason.KIND_NOT_ALLOWED
        train = kind == ToBoard.TRAIN
        repeats = train or kind == ToBoard.CAMERA
        if kind != ToBoard.LEVEL:
            if on_us == 0 or (repeats and period_us <= on_us) or (train and count == 0):
                return Reason.BAD_VALUE
            if on_us < MIN_ON_US or (repeats and period_us - on_us < MIN_ON_US):
                return Reason.TOO_SHORT
            if (on_us * (SYNC_BITS + 1) if kind == ToBoard.SYNC else on_us) > self.max_on_us:
                return Reason.TOO_LONG
        if self.kind:
            return Reason.BUSY
        if kind in LOAD_US and others + load(kind, period_us) > LOAD_BUDGET:
            return Reason.TOO_FAST
        if train:
            allowed = self.duty.allows_train(now_us, on_us, period_us, count)
        else:
            allowed = self.duty.allows_pulse(now_us, on_us or 1)
        return None if allowed else Reason.DUTY


class InputLine:
    """An input and what was last reported of it."""

    def __init__(self, index: int, pin: int, flags: int) -> None:
        self.index = index
        self.pin = pin
        self.active_high = bool(flags & LineFlag.ACTIVE_HIGH)
        self.pull_up = bool(flags & LineFlag.PULL_UP)
        self.reported = False
        self.reported_us = 0
        self.changed_us = 0
        self.due_us: int | None = None
        """When a change that came too soon after the last report will be reported."""


def make_line(
    index: int, pin: int, flags: int, kinds: int, thousandths: int, max_on_us: int, window_us: int
) -> OutputLine | InputLine | Reason:
    """Make a line of the values of a LINE, but for its pin's; or say what is wrong with them."""
    if not flags & LineFlag.OUTPUT:
        foreign = flags & ~int(LineFlag.ACTIVE_HIGH | LineFlag.PULL_UP)
        if foreign or kinds or thousandths or max_on_us or window_us:
            return Reason.BAD_VALUE
        return InputLine(index, pin, flags)
    if flags & ~int(LineFlag.OUTPUT | LineFlag.ACTIVE_HIGH) or kinds & ~int(TIMED | FREE_RUNNING):
        return Reason.BAD_VALUE
    if not 1 <= thousandths <= 1000 or window_us < 1000 or max_on_us == 0:
        return Reason.BAD_VALUE
    if kinds & FREE_RUNNING and (kinds & TIMED or thousandths != 1000):
        return Reason.BAD_VALUE
    if max_on_us > MAX_ON_US:
        return Reason.CEILING
    return OutputLine(index, pin, flags, kinds, max_on_us, Duty(window_us, thousandths))
