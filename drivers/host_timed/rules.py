"""What a board with our firmware does by itself, done here: arming, lease, limits, pulses, trains and levels.

The rules and their words are the firmware's (``drivers/arduino/README.md``). The time is handed in, in µs on the host's
clock, so that a test can control it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from poseloop.drivers.arduino.tables import REASONS, Reason
from poseloop.drivers.host_timed.way import Way
from poseloop.drivers.sim.duty import Duty
from poseloop.live.clock import now_ns
from poseloop.live.errors import DeviceLost
from poseloop.live.interfaces import BoardState
from poseloop.live.types import ALL_LINES, Command, CommandKind, LineSettings, OutcomeKind

MIN_ON_US = 1000
"""Shortest pulse, and shortest pause in a train: below it, a computer's own hiccups are as long as the pulse."""

LATE_US = 50_000
"""An on-command that was sent longer ago than this is refused: a late laser is worse than none."""

GRACE_US = 5000
"""Where the device ends a pulse itself, the keeper's "off" comes so much later: it protects, and shortens no pulse."""

OFF_AGAIN_US = 20_000
OFF_GIVES_UP_US = 1_000_000
"""An "off" that was not confirmed is repeated this often, and for this long."""

UNCONFIRMED = "it was sent, but nothing on this way out can confirm it"
DENIED = "the device did not confirm it in time; the line was switched off again"

Tell = Callable[..., None]


class _Line:
    """An output, and the command that it carries out."""

    def __init__(self, settings: LineSettings) -> None:
        self.settings = settings
        self.name = settings.name
        # As the firmware has it: a duty is rounded down to a thousandth, a limit may only become lower.
        self.duty = Duty(settings.window_us, math.floor(settings.max_duty * 1000 + 1e-9))
        self.on = False
        self.since_us = 0
        self.command: Command | None = None
        self.ticket = 0
        """Whose command it carries out, until that has been answered; 0 = nobody waits."""
        self.left = 0
        """Pulses that are still to come."""
        self.due_us: int | None = None
        self.limit = ""
        """What cuts the running level."""
        self.unsure_us: int | None = None
        """Since when an "off" has not been confirmed."""
        self.again_us = 0

    def objection(self, command: Command, now_us: int) -> Reason | None:
        """Say why a command cannot be obeyed, in the firmware's order."""
        if command.kind not in self.settings.kinds:
            return Reason.KIND_NOT_ALLOWED
        train = command.kind is CommandKind.TRAIN
        if command.kind is not CommandKind.LEVEL:
            if command.on_us < MIN_ON_US or (train and command.period_us - command.on_us < MIN_ON_US):
                return Reason.TOO_SHORT
            if command.on_us > self.settings.max_on_us:
                return Reason.TOO_LONG
        if self.command is not None or self.unsure_us is not None:
            return Reason.BUSY
        if train:
            allowed = self.duty.allows_train(now_us, command.on_us, command.period_us, command.count)
        else:
            allowed = self.duty.allows_pulse(now_us, command.on_us or 1)
        return None if allowed else Reason.DUTY


class _Off:
    """An "off" that somebody waits for."""

    def __init__(self, ticket: int, lines: Sequence[_Line]) -> None:
        self.ticket = ticket
        self.waits_for = {line.name for line in lines}
        self.confirmed = True


class Rules:
    """The lines of one board, and by which rules a way switches them."""

    def __init__(
        self,
        board: str,
        way: Way,
        lines: Sequence[LineSettings],
        lease_ms: int,
        tell: Tell,
        clock: Callable[[], int] = now_ns,
    ) -> None:
        """Take the lines over, all of them off.

        Args:
            board: its name, for errors.
            way: what switches them.
            lines: outputs only.
            lease_ms: how long on-commands are allowed after the newest renewal.
            tell: called with ``"outcome"`` or ``"state"`` and values, once for each.
            clock: what time it truly is, in ns; for the time-stamp of what was written.
        """
        self._board = board
        self._way = way
        self._lines = {line.name: _Line(line) for line in lines}
        self._lease_us = lease_ms * 1000
        self._lease_ends_us = 0
        self._tell = tell
        self._clock = clock
        self._now = 0
        self._offs: list[_Off] = []
        self.armed = False

    @property
    def due_us(self) -> int | None:
        """When something is to be done next; None = nothing is."""
        due = [line.due_us for line in self._lines.values() if line.due_us is not None]
        due += [line.again_us for line in self._lines.values() if line.unsure_us is not None]
        return min((*due, self._lease_ends_us) if self.armed else due, default=None)

    def run(self, now_us: int) -> None:
        """Do what was due until now, in the order in which it was.

        Raises:
            DeviceLost: the device is gone, or does not confirm that something is off.
        """
        while (due_us := self.due_us) is not None and due_us <= now_us:
            self._now = max(due_us, self._now)
            if self.armed and self._lease_ends_us <= self._now:
                lease_ms = self._lease_us // 1000
                self._disarm(BoardState.LEASE_LAPSED, f"no renewal within {lease_ms} ms: all outputs are off")
                continue
            for line in self._lines.values():
                if line.unsure_us is not None and line.again_us <= self._now:
                    # By the true time: one that comes late to its deadlines does not make up for them all.
                    self._now = now_us
                    self._off(line)
                elif line.due_us is not None and line.due_us <= self._now:
                    self._act(line)
        self._now = max(now_us, self._now)

    def arm(self, at_us: int) -> None:
        """Allow on-commands; the lease runs from when it was asked for."""
        self._lease_ends_us = at_us + self._lease_us
        if not self.armed:
            self.armed = True
            self._tell("state", state=BoardState.ARMED, detail="", at_us=self._now)

    def renew(self, at_us: int) -> None:
        """Lengthen the lease from when the renewal was sent; one that was sent too late changes nothing."""
        if self.armed and at_us <= self._lease_ends_us:
            self._lease_ends_us = max(self._lease_ends_us, at_us + self._lease_us)

    def disarm(self) -> None:
        """Switch everything off and refuse on-commands."""
        self._disarm(BoardState.DISARMED, "")

    def obey(self, command: Command, ticket: int, sent_us: int) -> None:
        """Carry a command out, or say why not; its outcome is told, now or when it is known."""
        if command.kind is CommandKind.OFF:
            self._obey_off(command.line, ticket)
            return
        line = self._lines.get(command.line)
        if line is None:
            self._answer(ticket, OutcomeKind.REFUSED, self._no_such_line(command.line))
            return
        reason = line.objection(command, self._now) if self.armed else Reason.NOT_ARMED
        if reason is not None:
            self._answer(ticket, OutcomeKind.REFUSED, REASONS[reason])
            return
        late_us = self._now - sent_us
        if late_us > LATE_US:
            self._answer(ticket, OutcomeKind.REFUSED, f"it came {late_us / 1000:.0f} ms after it was sent")
            return
        line.command, line.ticket, line.left = command, ticket, max(command.count, 1)
        line.due_us = self._now + command.delay_us
        self.run(self._now)

    def off(self) -> bool:
        """Switch every line off, also those that should be; False = not all are confirmed. Tries all, whatever happens.

        Raises:
            DeviceLost: it may not have worked.
        """
        lost = None
        for line in self._lines.values():
            try:
                self._release(line)
                self._off(line)
            except DeviceLost as error:
                lost = error
        if lost is not None:
            raise lost
        return all(line.unsure_us is None for line in self._lines.values())

    def _obey_off(self, name: str, ticket: int) -> None:
        known = name in self._lines
        named = [self._lines[name]] if known else list(self._lines.values())
        if known or name == ALL_LINES:
            self._offs.append(_Off(ticket, named))
        for line in named:
            self._release(line)
            self._off(line)
        if not known and name != ALL_LINES:
            text = f"{self._no_such_line(name)}. To be safe, all its outputs were switched off"
            self._answer(ticket, OutcomeKind.REFUSED, text)

    def _act(self, line: _Line) -> None:
        """Make the edge that is due, and find out when the next one is."""
        command = line.command
        assert command is not None
        level = command.kind is CommandKind.LEVEL
        if not line.on:
            self._on(line, command)
            return
        began_us = line.since_us
        line.left -= 1
        line.due_us = None
        if level or line.left == 0:
            line.command = None
        else:
            line.due_us = began_us + command.period_us
        self._off(line)
        if line.unsure_us is not None:  # no further pulse of a train
            line.command, line.due_us = None, None
        if level:
            text = f"{line.name} reached its {line.limit} and was switched off"
            self._tell("state", state=BoardState.LIMIT, detail=text, at_us=self._now)

    def _on(self, line: _Line, command: Command) -> None:
        line.on, line.since_us = True, self._now
        if command.kind is CommandKind.LEVEL:
            line.due_us, line.limit = self._now + line.settings.max_on_us, "max_on_ms"
            spent_us = line.duty.spent_us(self._now)
            if spent_us is not None and spent_us < line.due_us:
                line.due_us, line.limit = spent_us, "max_duty"
        else:
            alone = command.kind is CommandKind.PULSE and self._way.times_pulses(line.name)
            line.due_us = self._now + command.on_us + (GRACE_US if alone else 0)
        written_ns = self._clock()
        confirmed = self._way.on(line.name, command.on_us, command.on_us or line.settings.max_on_us)
        ticket, line.ticket = line.ticket, 0
        if confirmed:
            self._answer(ticket, OutcomeKind.ACKNOWLEDGED, "", written_ns)
        elif confirmed is None:
            self._answer(ticket, OutcomeKind.LOST, UNCONFIRMED, written_ns)
        else:
            self._answer(ticket, OutcomeKind.LOST, DENIED, written_ns)
            self._release(line)
            self._off(line)

    def _off(self, line: _Line) -> None:
        if line.on:
            line.on = False
            line.duty.add(line.since_us, self._now)
        written_ns = self._clock()
        confirmed = self._way.off(line.name)
        if confirmed is False:
            if line.unsure_us is None:
                line.unsure_us = self._now
            elif self._now - line.unsure_us > OFF_GIVES_UP_US:
                raise DeviceLost(
                    self._board, f"the device has not confirmed for 1 s that {line.name} is off: it may still be on"
                )
            line.again_us = self._now + OFF_AGAIN_US
            return
        line.unsure_us = None
        for off in self._offs:
            off.waits_for.discard(line.name)
            off.confirmed = off.confirmed and bool(confirmed)
        for off in [off for off in self._offs if not off.waits_for]:
            self._offs.remove(off)
            if off.confirmed:
                self._answer(off.ticket, OutcomeKind.ACKNOWLEDGED, "", written_ns)
            else:
                self._answer(off.ticket, OutcomeKind.LOST, UNCONFIRMED, written_ns)

    def _release(self, line: _Line) -> None:
        """Take the running command away."""
        line.command, line.due_us = None, None
        ticket, line.ticket = line.ticket, 0
        if ticket:
            self._answer(ticket, OutcomeKind.REFUSED, "the line was switched off before it began")

    def _disarm(self, state: BoardState, detail: str) -> None:
        was_armed, self.armed = self.armed, False
        for line in self._lines.values():
            if line.on or line.command is not None:
                self._release(line)
                self._off(line)
        if was_armed:
            self._tell("state", state=state, detail=detail, at_us=self._now)

    def _answer(self, ticket: int, kind: OutcomeKind, reason: str, written_ns: int = 0) -> None:
        if ticket:
            self._tell("outcome", ticket=ticket, kind=kind, reason=reason, written_ns=written_ns)

    def _no_such_line(self, name: str) -> str:
        return f"{self._board} has no output line {name!r}; it has: {', '.join(self._lines)}"
