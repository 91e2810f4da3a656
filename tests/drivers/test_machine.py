"""Every row of the safety table in drivers/arduino/README.md, at exact times."""

import random
from dataclasses import dataclass
from itertools import pairwise

import pytest
from boards import damage

from poseloop.drivers.arduino.framing import Decoder, crc16, encode
from poseloop.drivers.arduino.tables import (
    ALL,
    LAYOUTS,
    MIN_ON_US,
    NO_LINE,
    Boot,
    Cause,
    KindFlag,
    LineFlag,
    Reason,
    State,
    ToBoard,
    ToHost,
)
from poseloop.drivers.sim.lines import MAX_ON_US
from poseloop.drivers.sim.machine import MAX_LEASE_MS, MIN_LEASE_MS, Firmware
from poseloop.drivers.sim.outputs import Edge

MS = 1000
LEASE_US = 100 * MS
ANY_KIND = KindFlag.PULSE | KindFlag.TRAIN | KindFlag.LEVEL
HIGH = LineFlag.OUTPUT | LineFlag.ACTIVE_HIGH


@dataclass(frozen=True)
class Heard:
    kind: int
    seq: int
    values: tuple[int, ...]


class Desk:
    """A board on the desk, with a hand on its clock."""

    def __init__(self, start_us: int = 0) -> None:
        self.now = 0
        self.seq = 0
        self.heard: list[Heard] = []
        self.edges: list[Edge] = []
        self._decoder = Decoder()
        self.board = Firmware(start_us=start_us)
        self._take(self.board.power_up(0))

    def _take(self, step) -> list[Heard]:
        news = [Heard(kind, seq, LAYOUTS[kind].unpack(payload)) for kind, seq, payload in self._decoder.feed(step.sent)]
        self.heard += news
        self.edges += step.edges
        return news

    def raw(self, data: bytes, at: int | None = None) -> list[Heard]:
        self.now = self.now if at is None else at
        return self._take(self.board.receive(data, self.now))

    def say(self, kind: ToBoard, *values: int, at: int | None = None, seq: int | None = None) -> list[Heard]:
        if seq is None:
            self.seq = seq = self.seq + 1
        return self.raw(encode(kind, seq, LAYOUTS[kind].pack(*values)), at)

    def until(self, at: int) -> list[Heard]:
        self.now = at
        return self._take(self.board.advance(at))

    def drive(self, pin: int, high: bool, at: int) -> list[Heard]:
        self.now = at
        return self._take(self.board.drive(pin, high, at))

    def lines(self, *lines: tuple[int, ...], lease_ms: int = 100) -> None:
        """Configure; `lines` are the values of LINE after its index."""
        settings = [LAYOUTS[ToBoard.CONFIG].pack(lease_ms, len(lines))]
        assert only(self.say(ToBoard.CONFIG, lease_ms, len(lines))).kind == ToHost.ACK
        for index, line in enumerate(lines):
            assert self.say(ToBoard.LINE, index, *line)[0].kind == ToHost.ACK
            settings.append(LAYOUTS[ToBoard.LINE].pack(index, *line))
        self.checksum = crc16(b"".join(settings))

    def pins(self) -> list[tuple[int, bool]]:
        return [(edge.at_us, edge.active) for edge in self.edges]


def only(heard: list[Heard]) -> Heard:
    assert len(heard) == 1
    return heard[0]


def refused(heard: list[Heard]) -> Reason:
    frame = only(heard)
    assert frame.kind == ToHost.REFUSED
    return Reason(frame.values[0])


def output(pin=8, flags=HIGH, kinds=ANY_KIND, duty=1000, max_on_us=500 * MS, window_us=1000 * MS) -> tuple[int, ...]:
    return (pin, flags, kinds, duty, max_on_us, window_us)


def input_line(pin=7, flags=LineFlag.ACTIVE_HIGH) -> tuple[int, ...]:
    return (pin, flags, 0, 0, 0, 0)


@pytest.fixture
def desk() -> Desk:
    """Greeted and configured: line 0 takes every kind, line 1 pulses only, line 2 is an input."""
    desk = Desk()
    desk.say(ToBoard.HELLO, 1)
    desk.lines(output(), output(pin=9, kinds=KindFlag.PULSE, max_on_us=20 * MS), input_line())
    return desk


@pytest.fixture
def armed(desk) -> Desk:
    desk.say(ToBoard.ARM, desk.checksum)
    desk.heard.clear()
    return desk


# Starting, and who owns the board


def test_power_up_says_who_it_is_and_touches_no_pin() -> None:
    desk = Desk()
    boot = only(desk.heard)
    assert (boot.kind, boot.seq) == (ToHost.BOOT, 0)
    assert Boot(*boot.values) == Boot(1, 1, 0, 0, 255, 8, 1, MIN_ON_US, MAX_ON_US, MIN_LEASE_MS, MAX_LEASE_MS, 0)
    assert desk.board.safe
    assert desk.board.deadline_us is None


@pytest.mark.parametrize("kind", ToBoard)
def test_before_hello_only_harmless_frames_are_obeyed(kind) -> None:
    desk = Desk()
    answer = only(desk.say(kind, *[1] * len(LAYOUTS[kind].unpack(bytes(LAYOUTS[kind].size)))))
    expected = {
        ToBoard.HELLO: ToHost.BOOT,
        ToBoard.PING: ToHost.PONG,
        ToBoard.OFF: ToHost.ACK,
        ToBoard.DISARM: ToHost.ACK,
    }
    assert answer.kind == expected.get(kind, ToHost.REFUSED)
    if answer.kind == ToHost.REFUSED:
        assert answer.values[:2] == (Reason.NO_HELLO, kind)
    assert not desk.edges


def test_hello_from_a_new_host_switches_off_disarms_and_forgets(armed) -> None:
    armed.say(ToBoard.LEVEL, 0, 0)
    heard = armed.say(ToBoard.HELLO, 1, at=5 * MS)
    assert [frame.kind for frame in heard] == [ToHost.EDGE, ToHost.BOOT]
    assert heard[-1].seq == armed.seq
    assert armed.pins() == [(0, True), (5 * MS, False)]
    assert armed.board.safe
    assert refused(armed.say(ToBoard.ARM, armed.checksum)) == Reason.NOT_CONFIGURED


def test_a_later_version_may_make_hello_longer() -> None:
    desk = Desk()
    assert only(desk.raw(encode(ToBoard.HELLO, 5, b"\x02more"))).kind == ToHost.BOOT


def test_restart_switches_off_and_forgets(armed) -> None:
    armed.say(ToBoard.LEVEL, 0, 0)
    step = armed.board.power_up(7 * MS)
    assert [(edge.at_us, edge.active) for edge in step.edges] == [(7 * MS, False)]
    assert Decoder().feed(step.sent)[0][:2] == (ToHost.BOOT, 0)
    assert refused(armed.say(ToBoard.PULSE, 0, 0, MS, at=8 * MS)) == Reason.NO_HELLO


# Settings


def test_settings_only_while_disarmed(armed) -> None:
    assert refused(armed.say(ToBoard.CONFIG, 50, 1)) == Reason.ARMED
    assert refused(armed.say(ToBoard.LINE, 0, *output(pin=10))) == Reason.ARMED
    armed.say(ToBoard.PULSE, 0, 0, MS)
    assert [edge.pin for edge in armed.edges] == [8]


def test_arming_needs_every_line() -> None:
    desk = Desk()
    desk.say(ToBoard.HELLO, 1)
    assert refused(desk.say(ToBoard.ARM, 0)) == Reason.NOT_CONFIGURED
    assert refused(desk.say(ToBoard.LINE, 0, *output())) == Reason.NOT_CONFIGURED
    desk.say(ToBoard.CONFIG, 100, 2)
    desk.say(ToBoard.LINE, 0, *output())
    assert refused(desk.say(ToBoard.ARM, 0)) == Reason.NOT_CONFIGURED
    assert desk.board.safe


def test_arming_needs_the_checksum_of_the_settings(desk) -> None:
    assert refused(desk.say(ToBoard.ARM, desk.checksum ^ 1)) == Reason.SETTINGS_DIFFER
    ack, state = desk.say(ToBoard.ARM, desk.checksum)
    assert ack.kind == ToHost.ACK
    assert (state.kind, *state.values[:3]) == (ToHost.STATE, State.ARMED, Cause.COMMAND, NO_LINE)


def test_config_forgets_the_lines_before(desk) -> None:
    desk.say(ToBoard.CONFIG, 100, 1)
    assert refused(desk.say(ToBoard.ARM, desk.checksum)) == Reason.NOT_CONFIGURED


def test_a_line_may_be_given_again_before_arming(desk) -> None:
    desk.lines(output(pin=8))
    desk.say(ToBoard.LINE, 0, *output(pin=8))
    assert desk.say(ToBoard.ARM, desk.checksum)[0].kind == ToHost.ACK


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (output(pin=0), Reason.BAD_PIN),
        (output(pin=1), Reason.BAD_PIN),
        (output(pin=13), Reason.BAD_PIN),
        (output(pin=70), Reason.BAD_PIN),
        (output(pin=9), Reason.BAD_PIN),  # line 1 uses it
        (input_line(pin=13), Reason.BAD_PIN),
        (output(kinds=32), Reason.BAD_VALUE),
        (output(kinds=KindFlag.CAMERA | KindFlag.PULSE), Reason.BAD_VALUE),
        (output(kinds=KindFlag.SYNC, duty=999), Reason.BAD_VALUE),
        (output(flags=HIGH | LineFlag.PULL_UP), Reason.BAD_VALUE),
        (output(flags=HIGH | 8), Reason.BAD_VALUE),
        (output(duty=0), Reason.BAD_VALUE),
        (output(duty=1001), Reason.BAD_VALUE),
        (output(window_us=999), Reason.BAD_VALUE),
        (output(max_on_us=0), Reason.BAD_VALUE),
        (output(max_on_us=MAX_ON_US + 1), Reason.CEILING),
        ((6, 0, KindFlag.PULSE, 0, 0, 0), Reason.BAD_VALUE),
        ((6, 0, 0, 0, 1, 0), Reason.BAD_VALUE),
        ((6, 8, 0, 0, 0, 0), Reason.BAD_VALUE),
    ],
)
def test_settings_are_refused_never_changed(desk, line, reason) -> None:
    assert refused(desk.say(ToBoard.LINE, 0, *line)) == reason
    assert desk.say(ToBoard.ARM, desk.checksum)[0].kind == ToHost.ACK, "the settings before still stand"


@pytest.mark.parametrize(
    ("lease_ms", "lines", "reason"),
    [
        (MIN_LEASE_MS - 1, 1, Reason.CEILING),
        (MAX_LEASE_MS + 1, 1, Reason.CEILING),
        (0, 1, Reason.CEILING),
        (100, 0, Reason.BAD_LINE),
        (100, 9, Reason.BAD_LINE),
    ],
)
def test_config_keeps_to_what_was_compiled_in(desk, lease_ms, lines, reason) -> None:
    assert refused(desk.say(ToBoard.CONFIG, lease_ms, lines)) == reason


def test_a_line_beyond_the_announced_ones_is_refused(desk) -> None:
    assert refused(desk.say(ToBoard.LINE, 3, *output(pin=10))) == Reason.BAD_LINE


# On-commands


def test_pulse_has_its_length_to_the_microsecond(armed) -> None:
    ack, edge = armed.say(ToBoard.PULSE, 0, 0, 10 * MS, at=1 * MS)
    assert (ack.kind, ack.values) == (ToHost.ACK, (1 * MS,))
    assert (edge.kind, edge.seq, edge.values) == (ToHost.EDGE, armed.seq, (0, 1, 1 * MS))
    off = only(armed.until(11 * MS))
    assert (off.kind, off.seq, off.values) == (ToHost.EDGE, armed.seq, (0, 0, 11 * MS))
    assert armed.pins() == [(1 * MS, True), (11 * MS, False)]


def test_delay_and_train(armed) -> None:
    armed.say(ToBoard.TRAIN, 0, 2 * MS, 1 * MS, 5 * MS, 3)
    armed.until(50 * MS)
    assert armed.pins() == [
        (2 * MS, True), (3 * MS, False), (7 * MS, True), (8 * MS, False), (12 * MS, True), (13 * MS, False),
    ]  # fmt: skip


def test_active_low_line_is_safe_when_high() -> None:
    desk = Desk()
    desk.say(ToBoard.HELLO, 1)
    desk.lines(output(flags=LineFlag.OUTPUT))
    desk.say(ToBoard.ARM, desk.checksum)
    desk.say(ToBoard.PULSE, 0, 0, MS)
    desk.until(2 * MS)
    assert [edge.high for edge in desk.edges] == [False, True]


ON = {
    "pulse": (ToBoard.PULSE, 0, 0, MS),
    "train": (ToBoard.TRAIN, 0, 0, MS, 2 * MS, 2),
    "level": (ToBoard.LEVEL, 0, 0),
}


@pytest.mark.parametrize("command", ON.values(), ids=ON)
def test_nothing_comes_on_while_disarmed(desk, command) -> None:
    assert refused(desk.say(*command)) == Reason.NOT_ARMED
    desk.until(10 * MS)
    assert not desk.edges


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ((ToBoard.PULSE, 3, 0, MS), Reason.BAD_LINE),
        ((ToBoard.PULSE, ALL, 0, MS), Reason.BAD_LINE),
        ((ToBoard.PULSE, 2, 0, MS), Reason.BAD_LINE),  # an input
        ((ToBoard.LEVEL, 1, 0), Reason.KIND_NOT_ALLOWED),
        ((ToBoard.TRAIN, 1, 0, MS, 2 * MS, 2), Reason.KIND_NOT_ALLOWED),
        ((ToBoard.PULSE, 0, 0, 0), Reason.BAD_VALUE),
        ((ToBoard.TRAIN, 0, 0, MS, 2 * MS, 0), Reason.BAD_VALUE),
        ((ToBoard.TRAIN, 0, 0, MS, MS, 2), Reason.BAD_VALUE),
        ((ToBoard.PULSE, 0, 0, MIN_ON_US - 1), Reason.TOO_SHORT),
        ((ToBoard.TRAIN, 0, 0, MS, MS + MIN_ON_US - 1, 2), Reason.TOO_SHORT),
        ((ToBoard.PULSE, 0, 0, 500 * MS + 1), Reason.TOO_LONG),
        ((ToBoard.TRAIN, 0, 0, 500 * MS + 1, 1000 * MS, 2), Reason.TOO_LONG),
        ((ToBoard.PULSE, 1, 0, 20 * MS + 1), Reason.TOO_LONG),
    ],
)
def test_what_the_line_does_not_allow_is_refused(armed, command, reason) -> None:
    assert refused(armed.say(*command)) == reason
    armed.until(50 * MS)
    assert not armed.edges


@pytest.mark.parametrize("first", ON.values(), ids=ON)
@pytest.mark.parametrize("second", ON.values(), ids=ON)
def test_a_busy_line_refuses_and_goes_on(armed, first, second) -> None:
    armed.say(*first)
    assert refused(armed.say(*second, at=500)) == Reason.BUSY
    armed.until(50 * MS)
    assert armed.pins()[:1] == [(0, True)]
    assert {edge.seq for edge in armed.edges} == {armed.seq - 1}


def test_a_delayed_command_makes_the_line_busy_too(armed) -> None:
    armed.say(ToBoard.PULSE, 0, 5 * MS, MS)
    assert refused(armed.say(ToBoard.PULSE, 0, 0, MS, at=MS)) == Reason.BUSY
    assert armed.say(ToBoard.PULSE, 1, 0, MS)[0].kind == ToHost.ACK, "another line is free"
    assert armed.say(ToBoard.PULSE, 0, 0, MS, at=6 * MS)[-2].kind == ToHost.ACK, "free again as the pulse ends"


@pytest.mark.parametrize("kind", [0x00, 0x22, 0x7F, 0x82])
def test_unknown_kinds_are_refused(armed, kind) -> None:
    armed.seq += 1
    assert refused(armed.raw(encode(kind, armed.seq, bytes(9)))) == Reason.UNKNOWN_KIND
    assert not armed.edges


@pytest.mark.parametrize("kind", [ToBoard.PULSE, ToBoard.TRAIN, ToBoard.LEVEL, ToBoard.ARM, ToBoard.RENEW])
@pytest.mark.parametrize("change", [-1, 1])
def test_a_wrong_length_is_refused(armed, kind, change) -> None:
    armed.seq += 1
    size = max(LAYOUTS[kind].size + change, 0)
    if size == LAYOUTS[kind].size:
        size += 2
    assert refused(armed.raw(encode(kind, armed.seq, bytes(size)))) == Reason.BAD_LENGTH
    assert not armed.edges


# Sequence numbers


@pytest.mark.parametrize(
    ("seq", "acts"),
    [(1, True), (0x7FFF, True), (0, False), (-1, False), (-0x7FFF, False), (0x8000, False)],
)
def test_only_newer_sequence_numbers_act(seq, acts) -> None:
    """Newer is 1..0x7FFF ahead of the newest accepted one, modulo 65536."""
    desk = Desk()
    desk.seq = 30_000
    desk.say(ToBoard.HELLO, 1)
    desk.lines(output())
    desk.say(ToBoard.ARM, desk.checksum)
    heard = desk.say(ToBoard.PULSE, 0, 0, MS, seq=(desk.seq + seq) & 0xFFFF)
    assert bool(desk.edges) == acts
    if not acts:
        assert refused(heard) == Reason.OLD_SEQ


def test_zero_is_no_sequence_number() -> None:
    desk = Desk()
    desk.seq = 65_530
    desk.say(ToBoard.HELLO, 1)
    desk.lines(output())
    desk.say(ToBoard.ARM, desk.checksum)
    assert refused(desk.say(ToBoard.PULSE, 0, 0, MS, seq=0)) == Reason.OLD_SEQ
    assert desk.say(ToBoard.PULSE, 0, 0, MS, seq=1)[0].kind == ToHost.ACK, "65535 is followed by 1"


def test_a_refused_frame_uses_its_number_up(armed) -> None:
    assert refused(armed.say(ToBoard.PULSE, 1, 0, 21 * MS)) == Reason.TOO_LONG
    assert refused(armed.say(ToBoard.PULSE, 1, 0, MS, seq=armed.seq)) == Reason.OLD_SEQ


def test_an_old_renewal_does_not_renew(armed) -> None:
    assert refused(armed.say(ToBoard.RENEW, at=90 * MS, seq=armed.seq)) == Reason.OLD_SEQ
    armed.until(LEASE_US)
    assert armed.board.safe


# Off


@pytest.mark.parametrize("command", ON.values(), ids=ON)
@pytest.mark.parametrize("named", [0, ALL])
def test_off_ends_everything_at_once(armed, command, named) -> None:
    armed.say(*command)
    heard = armed.say(ToBoard.OFF, named, at=500)
    assert [frame.kind for frame in heard] == [ToHost.ACK, ToHost.EDGE]
    assert {frame.seq for frame in heard} == {armed.seq}
    armed.until(50 * MS)
    assert armed.pins() == [(0, True), (500, False)]


def test_off_cancels_what_has_not_begun(armed) -> None:
    armed.say(ToBoard.PULSE, 0, 5 * MS, MS)
    armed.say(ToBoard.OFF, 0, at=MS)
    armed.until(50 * MS)
    assert not armed.edges


def test_off_leaves_other_lines_alone(armed) -> None:
    armed.say(ToBoard.PULSE, 0, 0, 5 * MS)
    armed.say(ToBoard.PULSE, 1, 0, 5 * MS)
    armed.say(ToBoard.OFF, 1, at=MS)
    armed.until(50 * MS)
    assert [(edge.line, edge.at_us) for edge in armed.edges if not edge.active] == [(1, MS), (0, 5 * MS)]


def test_off_is_idempotent_and_takes_any_number(armed) -> None:
    armed.say(ToBoard.LEVEL, 0, 0)
    for seq in (armed.seq - 5, armed.seq, 0, armed.seq + 1):
        assert armed.say(ToBoard.OFF, 0, seq=seq)[0].kind == ToHost.ACK
    assert armed.pins() == [(0, True), (0, False)]


@pytest.mark.parametrize("payload", [b"", b"\x00\x00", b"\x02", b"\x07"])
def test_an_off_that_names_no_output_means_all(armed, payload) -> None:
    armed.say(ToBoard.LEVEL, 0, 0)
    assert armed.raw(encode(ToBoard.OFF, 1, payload), at=MS)[0].kind == ToHost.ACK
    assert armed.pins()[-1] == (MS, False)


def test_off_acts_while_disarmed(desk) -> None:
    assert only(desk.say(ToBoard.OFF, ALL)).kind == ToHost.ACK


def test_disarm_switches_off_and_takes_any_number(armed) -> None:
    armed.say(ToBoard.LEVEL, 0, 0)
    ack, edge, state = armed.say(ToBoard.DISARM, at=MS, seq=0)
    assert (ack.kind, edge.kind, state.values[:2]) == (ToHost.ACK, ToHost.EDGE, (State.DISARMED, Cause.COMMAND))
    assert refused(armed.say(*ON["pulse"])) == Reason.NOT_ARMED
    assert only(armed.say(ToBoard.DISARM)).kind == ToHost.ACK, "again: no change, no STATE"


# The lease


@pytest.mark.parametrize(
    "command", [(ToBoard.LEVEL, 0, 0), (ToBoard.PULSE, 0, 0, 400 * MS), (ToBoard.TRAIN, 0, 0, 90 * MS, 95 * MS, 4)]
)
def test_lease_lapses_exactly_and_ends_leased_and_timed_outputs(armed, command) -> None:
    armed.say(*command)
    armed.until(LEASE_US - 1)
    assert not armed.board.safe
    state = armed.until(LEASE_US)[-1]
    assert state.values == (State.LEASE_LAPSED, Cause.LEASE, NO_LINE, LEASE_US)
    assert armed.pins()[-1] == (LEASE_US, False)
    assert armed.edges[-1].seq == 0
    assert armed.board.deadline_us is None
    assert refused(armed.say(ToBoard.RENEW)) == Reason.NOT_ARMED, "a renewal cannot bring it back"
    assert refused(armed.say(*command)) == Reason.NOT_ARMED
    assert armed.say(ToBoard.ARM, armed.checksum)[0].kind == ToHost.ACK


def test_lease_cancels_what_has_not_begun(armed) -> None:
    armed.say(ToBoard.PULSE, 0, LEASE_US, MS)
    armed.until(10 * LEASE_US)
    assert not armed.edges


def test_renewal_counts_from_its_arrival(armed) -> None:
    armed.say(ToBoard.LEVEL, 0, 0)
    armed.say(ToBoard.RENEW, at=60 * MS)
    armed.until(1000 * MS)
    assert armed.pins() == [(0, True), (160 * MS, False)]


def test_a_renewal_in_the_very_microsecond_comes_too_late(armed) -> None:
    assert armed.say(ToBoard.RENEW, at=LEASE_US)[-1].values[0] == Reason.NOT_ARMED


def test_arming_again_renews_and_changes_nothing_else(armed) -> None:
    armed.say(ToBoard.LEVEL, 0, 0)
    assert only(armed.say(ToBoard.ARM, armed.checksum, at=50 * MS)).kind == ToHost.ACK
    armed.until(1000 * MS)
    assert armed.pins() == [(0, True), (150 * MS, False)]


@pytest.mark.parametrize("kind", [ToBoard.PING, ToBoard.OFF, ToBoard.PULSE])
def test_nothing_but_renew_and_arm_keeps_the_lease(armed, kind) -> None:
    values = {ToBoard.PING: (), ToBoard.OFF: (1,), ToBoard.PULSE: (1, 0, MS)}[kind]
    armed.say(ToBoard.LEVEL, 0, 0)
    for at in range(10, 100, 10):
        armed.say(kind, *values, at=at * MS)
    armed.until(LEASE_US)
    assert armed.board.safe


# Limits


def test_a_level_is_cut_at_max_on() -> None:
    desk = Desk()
    desk.say(ToBoard.HELLO, 1)
    desk.lines(output(max_on_us=30 * MS))
    desk.say(ToBoard.ARM, desk.checksum)
    desk.say(ToBoard.LEVEL, 0, 0)
    edge, state = desk.until(50 * MS)
    assert edge.values == (0, 0, 30 * MS)
    assert state.values == (State.LIMIT, Cause.MAX_ON, 0, 30 * MS)
    assert desk.say(ToBoard.LEVEL, 0, 0)[0].kind == ToHost.ACK, "the board stays armed"


def test_a_level_is_cut_when_its_duty_is_spent() -> None:
    desk = Desk()
    desk.say(ToBoard.HELLO, 1)
    desk.lines(output(duty=50, window_us=1000 * MS))
    desk.say(ToBoard.ARM, desk.checksum)
    desk.say(ToBoard.PULSE, 0, 0, 20 * MS)
    desk.say(ToBoard.LEVEL, 0, 0, at=40 * MS)
    _, state = desk.until(90 * MS)
    assert desk.pins() == [(0, True), (20 * MS, False), (40 * MS, True), (70 * MS, False)]
    assert state.values == (State.LIMIT, Cause.DUTY, 0, 70 * MS)
    for command in ON.values():
        assert refused(desk.say(*command)) == Reason.DUTY


def test_pulses_and_trains_beyond_the_duty_are_refused() -> None:
    desk = Desk()
    desk.say(ToBoard.HELLO, 1)
    desk.lines(output(duty=100, window_us=1000 * MS), lease_ms=MAX_LEASE_MS)
    desk.say(ToBoard.ARM, desk.checksum)
    assert refused(desk.say(ToBoard.PULSE, 0, 0, 101 * MS)) == Reason.DUTY
    assert refused(desk.say(ToBoard.TRAIN, 0, 0, 11 * MS, 100 * MS, 10**6)) == Reason.DUTY
    desk.say(ToBoard.TRAIN, 0, 0, 10 * MS, 100 * MS, 50)
    desk.until(5000 * MS)
    assert len(desk.edges) == 100
    assert refused(desk.say(ToBoard.PULSE, 0, 0, MS)) == Reason.DUTY, "the train counts"


# Clock, inputs, damage


def test_clock_wraps_at_32_bits(armed) -> None:
    start = 2**32 - 5 * MS
    desk = Desk(start_us=start)
    desk.say(ToBoard.HELLO, 1)
    desk.lines(output())
    desk.say(ToBoard.ARM, desk.checksum)
    desk.say(ToBoard.PULSE, 0, 0, 20 * MS, at=1 * MS)
    off = only(desk.until(21 * MS))
    assert off.values == (0, 0, 16 * MS)
    assert desk.edges[-1].board_us == start + 21 * MS


def test_ping_is_answered_with_time_and_damage(desk) -> None:
    desk.raw(b"noise\0more noise\0")
    pong = only(desk.say(ToBoard.PING, at=3 * MS))
    assert (pong.kind, pong.seq, pong.values) == (ToHost.PONG, desk.seq, (3 * MS, 2, 0))


def test_an_input_is_reported_when_set_up_and_when_it_changes() -> None:
    desk = Desk()
    desk.say(ToBoard.HELLO, 1)
    desk.drive(7, True, MS)
    desk.say(ToBoard.CONFIG, 100, 1)
    assert desk.say(ToBoard.LINE, 0, *input_line())[-1].values == (0, 1, MS)
    assert only(desk.drive(7, False, 10 * MS)).values == (0, 0, 10 * MS)
    assert desk.drive(7, False, 20 * MS) == []


def test_pull_up_makes_an_open_input_high() -> None:
    desk = Desk()
    desk.say(ToBoard.HELLO, 1)
    desk.say(ToBoard.CONFIG, 100, 1)
    heard = desk.say(ToBoard.LINE, 0, *input_line(flags=LineFlag.PULL_UP))
    assert heard[-1].values[:2] == (0, 0), "active low, so an open contact is not active"
    assert only(desk.drive(7, False, 10 * MS)).values == (0, 1, 10 * MS)


def test_a_bouncing_input_reports_once_a_millisecond_and_ends_right(desk) -> None:
    desk.heard.clear()
    for number in range(21):
        desk.drive(7, number % 2 == 0, 10 * MS + number * 100)
    desk.until(50 * MS)
    values = [frame.values for frame in desk.heard]
    assert values[0] == (2, 1, 10 * MS)
    assert values[-1][:2] == (2, 1)
    assert len(values) <= 4
    assert all(later[1] != earlier[1] for earlier, later in pairwise(values))


def test_random_damage_never_moves_a_pin(armed) -> None:
    """10,000 frames, each with some bytes changed, lost, doubled or cut: a board that is armed stays dark."""
    chance = random.Random(20261122)
    for number in range(10_000):
        command = chance.choice(list(ON.values()))
        clean = encode(command[0], armed.seq + 1 + number, LAYOUTS[command[0]].pack(*command[1:]))[1:-1]
        armed.raw(b"\0" + damage(clean, chance) + b"\0", at=armed.now + 5)
    assert not armed.edges
    assert armed.say(*ON["pulse"])[0].kind == ToHost.ACK, "it was listening all the time"
