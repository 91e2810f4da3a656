"""The host's side of a board that this computer times: a driver without a device, which talks to its keeper."""

from __future__ import annotations

import logging
import queue
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, ClassVar

from poseloop.drivers.host_timed.way import HostTimedSettings, Way
from poseloop.live.clock import now_ns
from poseloop.live.errors import ConnectError, DeviceError, DeviceLost, DeviceTimeout, SettingRefused
from poseloop.live.interfaces import BoardState
from poseloop.live.process import Child, Message
from poseloop.live.types import (
    ALL_LINES,
    BoardEvent,
    Command,
    CommandKind,
    InputEvent,
    LineSettings,
    Outcome,
    OutcomeKind,
    PinEdge,
)

Event = InputEvent | Outcome | PinEdge | BoardEvent

START_S = 20.0
"""A keeper that has not opened its device after this long hangs."""

REQUEST_S = 1.0
OFF_WAITS_S = 0.1
END_S = 2.0

ANSWER_NS = 1_000_000_000
"""An on-command without an answer for this long counts as lost. There is no hurry: the keeper answers every one, and
refuses those that reach it too late to act."""

SILENCE_NS = 2_000_000_000
"""A keeper that says nothing for this long counts as gone."""

OUTBOX_EVENTS = 8192
"""Events that wait for ``events``; when there are more, the oldest are dropped and counted."""

LEASE_MS = (10, 10_000)

SIGNALS = {CommandKind.CAMERA, CommandKind.SYNC}

MAY_BE_ON = "ITS LINES MAY STILL BE ON: see to it now"


class HostTimedBoard:
    """Base of the boards that a keeper times (`poseloop.live.interfaces.Board`).

    A subclass names itself (``use``), its options (``Settings``) and its way out (``way``).
    """

    use: ClassVar[str]
    """Its name among the installed boards, by which the keeper finds it."""
    uses_pins: ClassVar[bool] = False
    """Its lines have no number in the rig file, and nothing reads them back (`poseloop.live.interfaces.Board`)."""
    Settings: ClassVar[type[HostTimedSettings]]

    def __init__(self, name: str, settings: Any) -> None:
        self._name = name
        self._settings = settings
        self._numbered = 0
        self._inbox: queue.SimpleQueue[tuple[str, Message]] = queue.SimpleQueue()
        self._child: Child | None = None
        self._out: deque[Event] = deque(maxlen=OUTBOX_EVENTS)
        self._forget()

    def _forget(self) -> None:
        self._ready = self._configured = self._armed = self._closing = False
        self._is_off = self._rescued = False
        self._lost = ""
        self._done_with = 0
        self._ons: dict[int, int] = {}
        self._offs: set[int] = set()
        self._heard_ns = 0
        self._dropped = 0

    @classmethod
    def way(cls, name: str, settings: Any) -> Way:
        """Construct what carries the commands; touches no device."""
        raise NotImplementedError(f"{cls.__name__} must implement way(name, settings)")

    @classmethod
    def discover(cls) -> Sequence[str]:
        """Devices of this kind that can be opened now; none, where only opening one tells."""
        return []

    @property
    def name(self) -> str:
        """Name in the rig file."""
        return self._name

    @property
    def pid(self) -> int:
        """Process id of the keeper; 0 while it does not run."""
        return self._child.pid if self._child else 0

    def open(self) -> None:
        """Start the keeper, which connects and switches everything off.

        Raises:
            ConnectError: it could not.
            DeviceTimeout: it did neither within 20 s.
        """
        self.close()
        self._forget()
        self._out.clear()
        self._inbox = queue.SimpleQueue()
        self._child = Child("keeper", self._inbox)
        settings = self._settings.model_dump(mode="json")
        self._child.start({"event": "open", "use": self.use, "name": self._name, "settings": settings, "folder": "."})
        ends = time.monotonic() + START_S
        while not self._ready and not self._lost and time.monotonic() < ends:
            self._hear_one(ends - time.monotonic())
        if self._ready and not self._lost:
            return
        self._closing = True
        why = self._lost
        self._child.close(END_S if why else 0)
        self._child = None
        self._out.clear()
        if not why:
            raise DeviceTimeout(self._name, f"expected the device to be open within {START_S:g} s")
        raise ConnectError(self._name, why)

    def configure(self, lines: Sequence[LineSettings], lease_ms: int) -> None:
        """Give the keeper its lines and lease."""
        self._check()
        if self._armed:
            raise SettingRefused(self._name, "settings", "new ones", "its old ones", "Only while it is disarmed.")
        self._configured = False
        if not LEASE_MS[0] <= lease_ms <= LEASE_MS[1]:
            raise SettingRefused(self._name, "lease_ms", lease_ms, f"{LEASE_MS[0]} to {LEASE_MS[1]}")
        known = self.way(self._name, self._settings).lines
        for line in lines:
            key = f"lines.{line.name}"
            if line.direction != "output":
                raise SettingRefused(self._name, f"{key}.direction", line.direction, "outputs only")
            if SIGNALS & set(line.kinds):
                advice = "It needs the timer of a board with our firmware."
                raise SettingRefused(self._name, line.name, "camera triggers or a sync code", "neither", advice)
            if not line.active_high:
                advice = "What is sent for on and for off is yours to choose."
                raise SettingRefused(self._name, f"{key}.active", "low", "no level of its own", advice)
            if line.max_on_us <= 0 or not 0.001 <= line.max_duty <= 1 or line.window_us < 1000:
                raise SettingRefused(self._name, key, line, "max_on_ms > 0, max_duty of 0.001 to 1, window_ms >= 1")
            if line.name not in known:
                advice = "Say what is to be sent for it."
                raise SettingRefused(self._name, key, line.name, f"entries for {', '.join(known) or 'nothing'}", advice)
        if unused := set(known) - {line.name for line in lines}:
            raise SettingRefused(self._name, "lines", ", ".join(sorted(unused)), "no such line in its table of lines")
        self._request("configure", REQUEST_S, lines=[asdict(line) for line in lines], lease_ms=lease_ms)
        self._configured = True

    def arm(self) -> None:
        """Allow on-commands and start the lease."""
        self._check()
        if not self._configured:
            raise SettingRefused(self._name, "state", "armed", "disarmed", "Its lines were not set up.")
        self._request("arm", REQUEST_S)
        self._armed = True

    def disarm(self) -> None:
        """Switch everything off and refuse on-commands."""
        self._check()
        self._armed = False
        self._request("disarm", REQUEST_S)

    def renew(self) -> None:
        """Renew the lease; nothing happens while the board counts as disarmed."""
        self._check()
        if self._armed:
            self._say("renew")

    def send(self, command: Command) -> int:
        """Hand one command to the keeper; its outcome comes through ``events``."""
        self._check()
        ticket = self._number()
        if not self._configured:
            reason = "the board has no lines yet"
            if command.kind is CommandKind.OFF:
                self.off()
                reason += ". To be safe, all its outputs were switched off"
            self._emit(Outcome(self._name, ticket, OutcomeKind.REFUSED, reason, 0, 0))
            return ticket
        if command.kind is CommandKind.OFF:
            self._offs.add(ticket)
        else:
            self._ons[ticket] = now_ns()
        self._say("command", command=asdict(command), ticket=ticket)
        return ticket

    def events(self) -> Sequence[Event]:
        """Everything since the last call; also sees to lost commands and to a keeper that says nothing."""
        if self._child is not None:
            while self._hear_one(0):
                pass
            now = now_ns()
            for ticket in [ticket for ticket, sent_ns in self._ons.items() if now - sent_ns > ANSWER_NS]:
                self._give_up(ticket, f"no answer within {ANSWER_NS // 1_000_000} ms")
            if not self._lost and now - self._heard_ns > SILENCE_NS:
                self._lose("the process that times its lines hangs")
        if not self._out:
            return ()
        events = list(self._out)
        self._out.clear()
        if self._dropped:
            text = f"{self._dropped} events were dropped because nobody took them in time"
            events.append(BoardEvent(self._name, BoardState.EVENTS_LOST, text, now_ns()))
            self._dropped = 0
        return events

    def off(self) -> None:
        """Switch every line off, and wait up to 100 ms for the keeper to have done so."""
        if self._child is None:
            return
        if self._lost:
            self._rescue()
            return
        everything = Command(self._name, ALL_LINES, CommandKind.OFF)
        self._await_done(self._ask("command", command=asdict(everything), ticket=0), OFF_WAITS_S)

    def close(self) -> None:
        """Switch off, end the keeper, give the device back."""
        child = self._child
        if child is None:
            return
        self.off()
        self._closing, self._armed = True, False
        child.close(END_S)
        while self._hear_one(0):
            pass
        self._rescue()
        if not self._is_off and self._ready:
            logging.getLogger(__name__).critical("%s: closed, but %s", self._name, MAY_BE_ON)
        self._child = None

    def _rescue(self) -> None:
        """Where the keeper could not say that everything is off: take the device over and switch it off from here."""
        if self._is_off or self._rescued:
            return
        self._rescued = True
        if self._child is not None:
            self._child.close(0)  # a device has one owner
        way = self.way(self._name, self._settings)
        try:
            way.open()
            self._is_off = False not in [way.off(line) for line in way.lines]
        except DeviceError:
            return
        finally:
            way.close()

    def _check(self) -> None:
        if self._child is None:
            raise DeviceLost(self._name, "the board is not open")
        if self._lost:
            raise DeviceLost(self._name, self._lost)

    def _number(self) -> int:
        self._numbered += 1
        return self._numbered

    def _say(self, event: str, **values: Any) -> None:
        assert self._child is not None
        self._child.say(event, at_us=now_ns() // 1000, **values)

    def _ask(self, event: str, **values: Any) -> int:
        """Say something that the keeper has to answer when it is done with it."""
        number = self._number()
        self._say(event, number=number, **values)
        return number

    def _request(self, event: str, timeout_s: float, **values: Any) -> None:
        if not self._await_done(self._ask(event, **values), timeout_s):
            self._check()
            raise DeviceTimeout(self._name, f"expected an answer to {event} within {timeout_s:g} s")

    def _await_done(self, number: int, timeout_s: float) -> bool:
        ends = time.monotonic() + timeout_s
        while self._done_with < number and not self._lost:
            left_s = ends - time.monotonic()
            if left_s <= 0 or not self._hear_one(left_s):
                break
        return self._done_with >= number

    def _hear_one(self, timeout_s: float) -> bool:
        """Take one message of the keeper's; False = there is none."""
        try:
            _, message = self._inbox.get(block=timeout_s > 0, timeout=max(timeout_s, 0))
        except queue.Empty:
            return False
        self._heard_ns = now_ns()
        match message["event"]:
            case "ready":
                self._ready = True
            case "done_with":
                self._done_with = message["number"]
            case "outcome":
                self._answered(message)
            case "state":
                state = BoardState(message["state"])
                if state in (BoardState.DISARMED, BoardState.LEASE_LAPSED):
                    self._armed = False
                self._emit(BoardEvent(self._name, state, message["detail"], message["at_us"] * 1000))
            case "ended":
                self._is_off = message["off"]
                if not self._closing:
                    self._lose("the process that times its lines was ended")
            case "lost":
                self._is_off = message["off"]
                self._lose(message["why"])
            case "error":
                text = str(message["text"]).removeprefix(f"{self._name}: ")
                self._lose(text)
            case "exit" if not self._closing:
                self._lose("the process that times its lines was killed")
        return True

    def _answered(self, message: Message) -> None:
        ticket, kind = message["ticket"], OutcomeKind(message["kind"])
        if self._ons.pop(ticket, None) is None and ticket not in self._offs:
            return
        self._offs.discard(ticket)
        acknowledged_ns = message["told_ns"] if kind is OutcomeKind.ACKNOWLEDGED else 0
        self._emit(Outcome(self._name, ticket, kind, message["reason"], message["written_ns"], acknowledged_ns))

    def _give_up(self, ticket: int, reason: str) -> None:
        self._offs.discard(ticket)
        self._emit(Outcome(self._name, ticket, OutcomeKind.LOST, reason, self._ons.pop(ticket, 0), 0))

    def _lose(self, why: str) -> None:
        if self._lost:
            return
        self._lost, self._armed = why, False
        for ticket in (*self._ons, *self._offs):
            self._give_up(ticket, why)
        if self._ready:
            self._rescue()
            sure = "its lines were switched off" if self._is_off else MAY_BE_ON
            self._lost = f"{why}; {sure}"
        self._emit(BoardEvent(self._name, BoardState.LINK_LOST, self._lost, now_ns()))

    def _emit(self, event: Event) -> None:
        self._dropped += len(self._out) == OUTBOX_EVENTS
        self._out.append(event)
