"""The driver of a board with Poseloop's firmware: Arduino Uno, Nano, Mega, or the simulated one.

The reader's thread only decodes and stamps; everything is interpreted in the calls of the board's owner, so one thread
holds all state and there are no locks. The owner has to call ``events`` regularly: lost commands, repeated ``off`` and
the clock are seen to there.
"""

from __future__ import annotations

import contextlib
import struct
from collections import deque
from collections.abc import Sequence

from pydantic import Field

from poseloop.drivers.arduino.board_clock import BoardClock
from poseloop.drivers.arduino.conversation import Conversation
from poseloop.drivers.arduino.framing import crc16, encode
from poseloop.drivers.arduino.greeting import describe_restart, explain_silence, read_boot
from poseloop.drivers.arduino.ledger import OFF_AGAIN_NS, Ledger, Sent
from poseloop.drivers.arduino.link import Arrival, is_socket, ports
from poseloop.drivers.arduino.orders import order
from poseloop.drivers.arduino.settings import config_payload, line_payload, refused_setting
from poseloop.drivers.arduino.tables import (
    ALL,
    BAUD,
    LAYOUTS,
    PROTOCOL_VERSION,
    REASONS,
    Boot,
    Cause,
    Reason,
    State,
    ToBoard,
    ToHost,
)
from poseloop.live import config
from poseloop.live.clock import now_ns
from poseloop.live.errors import ConnectError, DeviceError, DeviceLost, DeviceTimeout, SettingRefused
from poseloop.live.interfaces import BoardState
from poseloop.live.types import (
    ALL_LINES,
    BoardEvent,
    CameraTrigger,
    Command,
    CommandKind,
    InputEvent,
    LineSettings,
    Outcome,
    OutcomeKind,
    PinEdge,
)

Event = InputEvent | Outcome | PinEdge | CameraTrigger | BoardEvent

OFF_WAITS_NS = 100_000_000
"""How long the call `ArduinoBoard.off` waits for the acknowledgement."""

PING_NS = 1_000_000_000

SILENCE = 3
"""Pings in a row without an answer after which the link counts as lost."""

_UNLEASED = frozenset((CommandKind.CAMERA, CommandKind.SYNC))

OUTBOX_EVENTS = 8192
"""Events that wait for ``events``; when there are more, the oldest are dropped and counted."""

_CLOCK_SAMPLES = 10
_BITS_OF_A_BYTE = 10
_U32 = 4294967295

_OFF = LAYOUTS[ToBoard.OFF]
_STATES = {
    State.DISARMED: BoardState.DISARMED,
    State.ARMED: BoardState.ARMED,
    State.LEASE_LAPSED: BoardState.LEASE_LAPSED,
    State.LIMIT: BoardState.LIMIT,
}


class ArduinoBoard:
    """One board on a serial port (`poseloop.live.interfaces.Board`)."""

    class Settings(config.Settings):
        """``[boards.NAME]`` with ``use = "arduino"``."""

        port: str = Field(min_length=1)
        """``/dev/ttyACM0``, ``COM7``, or a URL such as ``socket://127.0.0.1:4000``."""
        baud: int = Field(BAUD, ge=9600, le=4_000_000)
        """Must be what the firmware was compiled with."""
        timeout_s: float = Field(5.0, gt=0, le=60)
        """How long a board may take to start; an Arduino restarts when its port is opened."""

    def __init__(self, name: str, settings: Settings) -> None:
        self._name = name
        self._settings = settings
        self._talk: Conversation | None = None
        self._numbered = 0
        self._out: deque[Event] = deque(maxlen=OUTBOX_EVENTS)
        self._forget()

    def _forget(self) -> None:
        self._boot: Boot | None = None
        self._greeted = False
        self._armed = False
        self._names: list[str] = []
        self._outputs: dict[str, int] = {}
        self._unleased: list[int] = []
        self._checksum = 0
        self._lease_ms = 0
        self._dropped = self._dropped_told = 0
        self._ledger = Ledger()
        self._forget_clock()

    def _forget_clock(self) -> None:
        self._clock = BoardClock()
        self._ping: tuple[int, int] | None = None
        self._ping_due_ns = 0
        self._unanswered = 0

    @property
    def name(self) -> str:
        """Name in the rig file."""
        return self._name

    @property
    def command_us(self) -> float:
        """How long a pulse is on the wire: start bit, eight bits and stop bit of every byte; 0 through a socket."""
        if is_socket(self._settings.port):
            return 0.0
        kind, payload = order(Command(self._name, "", CommandKind.PULSE, on_us=1), 0)
        return len(encode(kind, 1, payload)) * _BITS_OF_A_BYTE * 1e6 / self._settings.baud

    def ping_ns(self) -> int:
        """Ask for the board's time, and say how long the answer took."""
        before_ns = now_ns()
        return self._checked().request(ToBoard.PING, repeat=False).at_ns - before_ns

    @classmethod
    def discover(cls) -> Sequence[str]:
        """Serial ports of this computer; which firmware is behind them shows only when one is opened."""
        return ports()

    def open(self) -> None:
        """Connect, wait for the board to start, and learn its clock."""
        self.close()
        self._forget()
        settings = self._settings
        self._talk = Conversation(self._name, settings.port, settings.baud, self._hear, self._lose, self._numbered)
        try:
            self._greet(self._talk)
        except BaseException:
            self._let_go()
            self._out.clear()
            raise

    def configure(self, lines: Sequence[LineSettings], lease_ms: int) -> None:
        """Give the board its lines and lease; each is refused or taken as it is, never changed."""
        talk = self._checked()
        if not self._greeted:
            self._greet(talk)
        assert self._boot is not None
        orders = [(ToBoard.CONFIG, config_payload(self._name, lines, lease_ms))]
        orders += [(ToBoard.LINE, line_payload(self._name, at, line)) for at, line in enumerate(lines)]
        self._outputs, self._unleased = {}, []
        self._names = [line.name for line in lines]  # the board reports inputs as soon as it knows them
        for at, (kind, payload) in enumerate(orders):
            reason = _refusal(talk.request(kind, payload))
            if reason is not None:
                line = lines[at - 1] if at else None
                raise refused_setting(self._name, reason, self._boot, line, len(lines), lease_ms)
        self._checksum = crc16(b"".join(payload for _, payload in orders))
        self._outputs = {line.name: at for at, line in enumerate(lines) if line.direction == "output"}
        self._unleased = [at for at, line in enumerate(lines) if _UNLEASED & set(line.kinds)]
        self._lease_ms = lease_ms

    def arm(self) -> None:
        """Allow on-commands and start the lease.

        Raises:
            DeviceTimeout: no answer; the board counts as disarmed.
            SettingRefused: the board does not hold the settings that it was given.
        """
        talk = self._checked()
        try:
            answer = talk.request(ToBoard.ARM, LAYOUTS[ToBoard.ARM].pack(self._checksum), repeat=False)
        except DeviceTimeout:
            talk.post(ToBoard.DISARM)
            raise
        reason = _refusal(answer)
        if reason is not None:
            raise SettingRefused(self._name, "state", "armed", "disarmed", f"The board says: {_words(reason)}.")
        self._armed = True

    def disarm(self) -> None:
        """Switch everything off and refuse on-commands.

        Raises:
            DeviceTimeout: no answer; what is on goes off when the lease lapses.
        """
        self._armed = False
        self._checked().request(ToBoard.DISARM)

    def renew(self) -> None:
        """Renew the lease; nothing happens while the board counts as disarmed."""
        talk = self._checked()
        if not self._armed:
            return
        talk.post(ToBoard.RENEW)
        if self._ledger.offs:
            self._repeat_offs(talk)

    def send(self, command: Command) -> int:
        """Write one command. A line that does not exist is answered with a refusal, like any other mistake."""
        talk = self._checked()
        if command.kind is CommandKind.OFF:
            return self._send_off(talk, command.line)
        ticket, seq = talk.number()
        try:
            kind, payload = order(command, self._outputs[command.line])
            frame = encode(kind, seq, payload)
        except KeyError:
            self._refuse(ticket, self._no_such_line(command.line))
            return ticket
        except struct.error:
            self._refuse(ticket, f"a time or a count is larger than the board can hold ({_U32})")
            return ticket
        self._ledger.add_on(seq, ticket, now_ns(), frame)
        if not talk.write(frame):
            self._give_up([self._ledger.take(seq)], "the port takes no more bytes")
        return ticket

    def events(self) -> Sequence[Event]:
        """Everything since the last call; also sees to lost commands, repeated ``off`` and the clock."""
        if self._talk is not None:
            self._talk.drain()
            with contextlib.suppress(DeviceLost):  # its event is on the list
                self._see_to(self._talk, now_ns())
        if not self._out:
            return ()
        events = (*self._out, *self._dropped_since())
        self._out.clear()
        return events

    def off(self) -> None:
        """Switch every leased output off and wait up to 100 ms for the board to say so."""
        self._switch_off(ALL)

    def _switch_off(self, *lines: int) -> None:
        if self._talk is None:
            return
        ends_ns = now_ns() + OFF_WAITS_NS
        with contextlib.suppress(DeviceError):
            seqs = [self._write_off(self._talk, line, 0) for line in lines]
            while not self._ledger.offs.keys().isdisjoint(seqs) and (left_ns := ends_ns - now_ns()) > 0:
                self._talk.wait(min(left_ns, OFF_AGAIN_NS) / 1e9)
                self._repeat_offs(self._talk)

    def close(self) -> None:
        """Switch everything off, disarm, free the port."""
        if self._talk is None:
            return
        self._switch_off(ALL, *self._unleased)
        with contextlib.suppress(DeviceError):
            self._talk.request(ToBoard.DISARM, timeout_s=OFF_WAITS_NS / 1e9, again_s=0.02)
        self._let_go()

    def _let_go(self) -> None:
        self._armed = self._greeted = False
        if self._talk is not None:
            self._talk.close()
            self._numbered = self._talk.numbered
        self._talk = None

    def _checked(self) -> Conversation:
        """Return the link, or raise DeviceLost."""
        if self._talk is None:
            raise DeviceLost(self._name, "the board is not open")
        self._talk.check()
        return self._talk

    def _greet(self, talk: Conversation) -> None:
        """Say HELLO until the board says who it is (it may still be starting), then compare clocks."""
        port, baud, wait_s = self._settings.port, self._settings.baud, self._settings.timeout_s
        hello = LAYOUTS[ToBoard.HELLO].pack(PROTOCOL_VERSION)
        try:
            answer = talk.request(ToBoard.HELLO, hello, timeout_s=wait_s)
        except DeviceTimeout:
            raise explain_silence(self._name, port, baud, wait_s, talk.decoder) from None
        except DeviceLost:
            raise ConnectError(self._name, f"{port} was opened, but {talk.lost}") from None
        self._boot = read_boot(self._name, port, answer.frame)
        self._greeted, self._armed = True, False
        self._forget_clock()
        for _ in range(_CLOCK_SAMPLES):
            before_ns = now_ns()
            pong = talk.request(ToBoard.PING, repeat=False)
            self._clock.learn(before_ns, int.from_bytes(pong.frame.payload[:4], "little"), pong.at_ns)
        self._ping_due_ns = now_ns() + PING_NS

    def _send_off(self, talk: Conversation, line: str) -> int:
        if line == ALL_LINES or line in self._outputs:
            ticket = talk.numbered + 1
            self._write_off(talk, self._outputs.get(line, ALL), ticket)
            return ticket
        ticket, _ = talk.number()
        self._refuse(ticket, f"{self._no_such_line(line)}. To be safe, all its outputs were switched off")
        self._write_off(talk, ALL, 0)
        return ticket

    def _write_off(self, talk: Conversation, index: int, ticket: int) -> int:
        _, seq = talk.number()
        frame = encode(ToBoard.OFF, seq, _OFF.pack(index))
        self._ledger.add_off(seq, ticket, now_ns(), frame)
        talk.write(frame)  # where the port is full, it is repeated
        return seq

    def _repeat_offs(self, talk: Conversation) -> None:
        talk.drain()
        now = now_ns()
        if hopeless := self._ledger.take_hopeless(now):
            self._give_up(hopeless, "no answer within 1 s")
            # Something may be on that was to be off: whoever owns the board must not go on as if nothing were.
            talk.lose("the board has not acknowledged an off command for 1 s")
            return
        for sent in self._ledger.due_again(now):
            talk.write(sent.frame)

    def _see_to(self, talk: Conversation, now: int) -> None:
        """Do what is due: give commands up, repeat ``off``, ask for the time."""
        if talk.lost:
            return
        self._give_up(self._ledger.take_overdue(now), "no answer within 50 ms")
        if self._ledger.offs:
            self._repeat_offs(talk)
        if now < self._ping_due_ns or not self._greeted:
            return
        if self._ping is not None:
            self._unanswered += 1
            if self._unanswered >= SILENCE:
                talk.lose(f"the board has not answered {SILENCE} pings")
                return
        self._ping_due_ns = now + PING_NS
        before_ns = now_ns()
        self._ping = (talk.post(ToBoard.PING), before_ns)

    def _hear(self, arrival: Arrival) -> None:
        """Take a frame that is no answer to a request."""
        (kind, seq, payload), at_ns = arrival
        if not self._greeted:
            return
        if kind == ToHost.BOOT:
            if seq == 0:
                self._restarted(payload)
            return
        layout = LAYOUTS.get(kind)
        if layout is None or len(payload) != layout.size:
            return
        values = layout.unpack(payload)
        if kind in (ToHost.ACK, ToHost.REFUSED):
            self._answered(arrival, values)
        elif kind == ToHost.EDGE and values[0] < len(self._names):
            name, times = self._names[values[0]], self._clock.both_ns(values[2], at_ns)
            ticket = self._ledger.ticket(seq)
            self._emit(PinEdge(self._name, name, bool(values[1]), times[0], ticket, times[1]))
        elif kind == ToHost.FRAME and values[0] < len(self._names):
            name, times = self._names[values[0]], self._clock.both_ns(values[2], at_ns)
            self._emit(CameraTrigger(self._name, name, values[1], *times))
        elif kind == ToHost.INPUT and values[0] < len(self._names):
            name, change_ns = self._names[values[0]], self._clock.host_ns(values[2], at_ns)
            self._emit(InputEvent(self._name, name, bool(values[1]), change_ns))
        elif kind == ToHost.STATE:
            state, cause, line, time_us = values
            self._changed(state, cause, line, self._clock.host_ns(time_us, at_ns))
        elif kind == ToHost.PONG and self._ping is not None and seq == self._ping[0]:
            self._clock.learn(self._ping[1], values[0], at_ns)
            self._ping, self._unanswered = None, 0

    def _answered(self, arrival: Arrival, values: Sequence[int]) -> None:
        refused = arrival.frame.kind == ToHost.REFUSED
        reason = values[0] if refused else 0
        sent = self._ledger.take(arrival.frame.seq)
        if sent is not None and sent.ticket:
            kind = OutcomeKind.REFUSED if refused else OutcomeKind.ACKNOWLEDGED
            text = _words(reason) if refused else ""
            self._emit(Outcome(self._name, sent.ticket, kind, text, sent.written_ns, arrival.at_ns))
        if not refused:
            return
        if reason == Reason.NO_HELLO:
            self._restarted(b"")
        elif self._armed and (reason == Reason.OLD_SEQ or values[1] == ToBoard.RENEW):
            self._armed = False
            self._greeted = reason != Reason.OLD_SEQ  # then configure() has to begin anew
            self._say(BoardState.DISARMED, _words(reason))

    def _changed(self, state: int, cause: int, line: int, at_ns: int) -> None:
        if state not in _STATES:
            return
        detail = ""
        if state in (State.DISARMED, State.LEASE_LAPSED):
            self._armed = False
        if state == State.LEASE_LAPSED:
            detail = f"no renewal within {self._lease_ms} ms: all outputs are off"
        elif state == State.LIMIT:
            name = self._names[line] if line < len(self._names) else f"line {line}"
            limit = "max_duty" if cause == Cause.DUTY else "max_on_ms"
            detail = f"{name} reached its {limit} and was switched off"
        self._say(_STATES[State(state)], detail, at_ns)

    def _restarted(self, payload: bytes) -> None:
        """Note that the board has forgotten everything; it waits for ``configure`` and ``arm``."""
        self._greeted = self._armed = False
        self._give_up(self._ledger.take_all(), "the board restarted")
        self._say(BoardState.RESET, describe_restart(payload), now_ns())

    def _lose(self, why: str) -> None:
        self._greeted = self._armed = False
        self._give_up(self._ledger.take_all(), why)
        self._say(BoardState.LINK_LOST, why)

    def _emit(self, event: Event) -> None:
        if len(self._out) == OUTBOX_EVENTS:
            self._dropped += 1
        self._out.append(event)

    def _say(self, state: BoardState, detail: str, at_ns: int | None = None) -> None:
        self._emit(BoardEvent(self._name, state, detail, now_ns() if at_ns is None else at_ns))

    def _refuse(self, ticket: int, reason: str) -> None:
        self._emit(Outcome(self._name, ticket, OutcomeKind.REFUSED, reason, 0, 0))

    def _give_up(self, commands: Sequence[Sent | None], reason: str) -> None:
        for sent in commands:
            if sent is not None and sent.ticket:
                self._emit(Outcome(self._name, sent.ticket, OutcomeKind.LOST, reason, sent.written_ns, 0))

    def _dropped_since(self) -> Sequence[BoardEvent]:
        dropped = self._dropped + (self._talk.overflow if self._talk else 0)
        news, self._dropped_told = dropped - self._dropped_told, dropped
        text = f"{news} events were dropped because nobody took them in time"
        return [BoardEvent(self._name, BoardState.EVENTS_LOST, text, now_ns())] if news > 0 else []

    def _no_such_line(self, line: str) -> str:
        return f"{self._name} has no output line {line!r}; it has: {', '.join(self._outputs) or 'none yet'}"


def _refusal(answer: Arrival) -> int | None:
    """Reason of a REFUSED; None for any other answer."""
    frame = answer.frame
    return frame.payload[0] if frame.kind == ToHost.REFUSED and frame.payload else None


def _words(reason: int) -> str:
    return REASONS.get(reason, f"reason {reason}, which this version of Poseloop does not know")
