"""The lines of a simulated board, and what their settings have against a command. Standard library only."""

from __future__ import annotations

from poseloop.drivers.arduino.tables import MIN_ON_US, Cause, KindFlag, LineFlag, Reason, ToBoard
from poseloop.drivers.sim.duty import Duty

_FLAGS = {
    ToBoard.PULSE: KindFlag.PULSE,
    ToBoard.TRAIN: KindFlag.TRAIN,
    ToBoard.LEVEL: KindFlag.LEVEL,
}


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
        self.on_us = self.period_us = self.count = 0
        self.due_us: int | None = None
        """When the next edge is due."""
        self.limit = Cause.MAX_ON
        """What cuts the running level."""

    def objection(self, kind: ToBoard, on_us: int, period_us: int, count: int, now_us: int) -> Reason | None:
        """Say why a command cannot be obeyed. The order of these checks is part of the protocol."""
        if not self.kinds & _FLAGS[kind]:
            return Reason.KIND_NOT_ALLOWED
        train = kind == ToBoard.TRAIN
        if kind != ToBoard.LEVEL:
            if on_us == 0 or count == 0 or (train and period_us <= on_us):
                return Reason.BAD_VALUE
            if on_us < MIN_ON_US or (train and period_us - on_us < MIN_ON_US):
                return Reason.TOO_SHORT
            if on_us > self.max_on_us:
                return Reason.TOO_LONG
        if self.kind:
            return Reason.BUSY
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
