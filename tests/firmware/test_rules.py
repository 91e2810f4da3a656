"""The rules of the safety table: the firmware against the state machine, and what only the firmware has."""

import random
import re

import pytest
from simavr.emulator import HIGH, LEONARDO, MEGA, SKETCH, UNO, Chip, Script, firmware, input_line, output

from poseloop.drivers.arduino import tables
from poseloop.drivers.arduino.framing import Decoder, crc16
from poseloop.drivers.arduino.tables import ALL, LAYOUTS, KindFlag, LineFlag, Reason, State, ToBoard, ToHost
from poseloop.drivers.sim.machine import Firmware

MS = 1000
CAMERA_PIN = 4
SYNC_PIN = 5
CAMERA_LINE = output(CAMERA_PIN, kinds=KindFlag.CAMERA)
SYNC_LINE = output(SYNC_PIN, kinds=KindFlag.SYNC)


def reason(run, seq) -> Reason:
    answer = run.answer(seq)
    assert answer.kind == ToHost.REFUSED
    return Reason(answer.values[0])


@pytest.mark.parametrize("chip", [UNO, MEGA], ids=lambda chip: chip.mcu)
def test_it_starts_and_says_who_it_is(chip: Chip) -> None:
    script = Script()
    script.wait(50 * MS)
    run = script.run(chip)
    (boot,) = run.heard
    assert (boot.kind, boot.seq) == (ToHost.BOOT, 0)
    found = tables.Boot(*boot.values)
    assert found.board == (1 if chip is UNO else 2)
    assert (found.protocol, found.reset_cause, found.min_on_us) == (tables.PROTOCOL_VERSION, 1, tables.MIN_ON_US)
    assert not [change for change in run.changes if change.driven], "every pin floats"


def test_it_builds_for_a_leonardo() -> None:
    assert firmware(LEONARDO).stat().st_size > 0


@pytest.mark.parametrize("pin", [2, 14, 22, 44, 69])
def test_pins_of_a_mega(pin) -> None:
    script = Script()
    script.configure(output(pin))
    script.say(ToBoard.PULSE, 0, 0, 2000)
    script.wait(5 * MS)
    ((_, width),) = script.run(MEGA).pulses(pin)
    assert width == pytest.approx(2000, abs=10)


# A conversation of random frames: the machine and the firmware have to give the same answers to each of them.

LINES = (
    output(8, max_on_us=30 * MS),
    output(9, flags=LineFlag.OUTPUT, kinds=1, duty=300, max_on_us=20 * MS, window_us=100 * MS),
    output(10, kinds=7, duty=500, max_on_us=50 * MS, window_us=80 * MS),
    input_line(),
    CAMERA_LINE,
    SYNC_LINE,
)
STEP = 43_700
"""Time between two frames; no limit falls on a multiple of it, so that the order of what happens is certain."""


def order(chance: random.Random) -> tuple[int, ...]:
    on = chance.choice([0, 49, 50, 700, 3 * MS, 21 * MS, 31 * MS, 60 * MS])
    line = chance.choice([0, 0, 1, 1, 2, 2, 3, 4, 5, 6, ALL])
    free = chance.choice([4, 4, 5, 5, line])
    delay = chance.choice([0, 0, 0, 2 * MS, 55 * MS])
    period = chance.choice([on + 49, on + 50, 2 * on + 100, 2 * on + 300, on])
    count = chance.choice([1, 2, 3])
    return chance.choice(
        [
            (ToBoard.PULSE, line, delay, on),
            (ToBoard.PULSE, line, delay, on),
            (ToBoard.TRAIN, line, delay, on, period, chance.choice([0, 1, 2])),
            (ToBoard.LEVEL, line, delay),
            (ToBoard.OFF, line),
            (ToBoard.OFF, free),
            (ToBoard.CAMERA, free, chance.choice([0, 249, 250, 7 * MS, 20 * MS]), chance.choice([0, 100, 200]), count),
            (ToBoard.SYNC, free, chance.getrandbits(32), chance.choice([0, 49, 124, 500, 3 * MS, 70 * MS])),
            (ToBoard.RENEW,),
            (ToBoard.RENEW,),
            (ToBoard.PING,),
            (ToBoard.DISARM,),
            (ToBoard.CONFIG, chance.choice([5, 100, 20_000]), chance.choice([0, 1, 9])),
            (ToBoard.LINE, chance.choice([0, 4]), *output(chance.choice([1, 11, 13, 99]), duty=chance.choice([0, 7]))),
            (ToBoard.ARM, 12345),
        ]
    )


@pytest.mark.parametrize("seed", range(3))
def test_firmware_and_state_machine_say_the_same(seed) -> None:
    chance = random.Random(seed)
    script, frames = Script(), []

    def say(kind: int, *values: int, seq: int | None = None) -> None:
        frame = script.frame(kind, *values, seq=seq)
        frames.append((script.us, frame))
        script.raw(frame)
        script.wait(STEP - len(frame) * 10)

    def set_up() -> None:
        say(ToBoard.HELLO, 1)
        settings = [LAYOUTS[ToBoard.CONFIG].pack(250, len(LINES))]
        say(ToBoard.CONFIG, 250, len(LINES))
        for index, line in enumerate(LINES):
            say(ToBoard.LINE, index, *line)
            settings.append(LAYOUTS[ToBoard.LINE].pack(index, *line))
        say(ToBoard.ARM, crc16(b"".join(settings)))

    for number in range(300):
        if number % 12 == 0:
            set_up()
        kind, *values = order(chance)
        old = chance.random() < 0.1
        say(kind, *values, seq=chance.choice([0, 1, script.seq, script.seq + 40_000]) & 0xFFFF if old else None)
    run = script.run()

    machine, decoder, expected = Firmware(), Decoder(), []
    steps = [machine.power_up(0)]
    for at, frame in frames:
        steps.append(machine.receive(frame, round(at) + len(frame) * 10))
    steps.append(machine.advance(round(script.us)))
    for step in steps:
        expected += [(f.kind, f.seq, what(f.kind, LAYOUTS[f.kind].unpack(f.payload))) for f in decoder.feed(step.sent)]
    assert [(heard.kind, heard.seq, what(heard.kind, heard.values)) for heard in run.heard] == expected
    assert {kind for kind, _, _ in expected} == set(ToHost), "everything that a board can say was said"
    edges = sorted((edge.at_us, edge.pin, edge.active) for step in steps for edge in step.edges)
    assert len(edges) > 15
    for pin, active_high in ((8, True), (9, False), (10, True), (CAMERA_PIN, True), (SYNC_PIN, True)):
        found = run.edges(pin, active_high)
        wanted = [(at, active) for at, number, active in edges if number == pin]
        assert [active for _, active in found] == [active for _, active in wanted]
        for (at, _), (expected_at, _) in zip(found, wanted, strict=True):
            assert at == pytest.approx(expected_at, abs=1300), "the latency, and a millisecond for limits and lease"


def what(kind: int, values: tuple[int, ...]) -> tuple[int, ...]:
    """The content of a frame without its times and without what differs from board to board."""
    match kind:
        case ToHost.BOOT:
            return values[:2]
        case ToHost.PONG:
            return values[1:]
        case _:
            return values[:-1]


def test_hello_switches_off_and_says_so_before_it_answers() -> None:
    script = Script()
    script.configure(output(8))
    script.say(ToBoard.LEVEL, 0, 0)
    script.wait(3 * MS)
    arrived = script.say(ToBoard.HELLO, 1)
    script.wait(3 * MS)
    run = script.run()
    assert run.edges(8)[-1][0] - arrived < 400
    edge, boot = run.heard[-2:]
    assert (edge.kind, edge.seq, edge.values[:2]) == (ToHost.EDGE, script.seq, (0, 0))
    assert (boot.kind, boot.seq) == (ToHost.BOOT, script.seq)


# Inputs


def test_inputs_are_stamped_when_they_change_and_bounce_once_a_millisecond() -> None:
    script = Script()
    script.configure(input_line(7), output(8))
    at = []
    for number in range(20):
        at.append(script.us + number * 5003.7)
        script.drive(7, number % 2 == 0, at=at[-1])
    script.wait(110 * MS)
    for number in range(21):
        script.drive(7, number % 2 == 0, at=script.us + number * 100)
    script.wait(20 * MS)
    run = script.run()
    inputs = [heard.values for heard in run.of(ToHost.INPUT)]
    assert [level for _, level, _ in inputs] == [number % 2 for number in range(len(inputs))]
    offsets = [us - change for (_, _, us), change in zip(inputs[1:21], at, strict=True)]
    assert max(offsets) - min(offsets) <= 20
    assert len(inputs) in (22, 24)


def test_a_short_pulse_at_an_input_is_seen() -> None:
    script = Script()
    script.configure(input_line(7), output(8))
    for number in range(20):
        begins = script.us + number * 5003.3
        script.drive(7, True, at=begins)
        script.drive(7, False, at=begins + 20)
    script.wait(120 * MS)
    inputs = [heard.values[1] for heard in script.run().of(ToHost.INPUT)]
    assert inputs == [0] + [1, 0] * 20


def test_pull_up_and_active_low() -> None:
    script = Script()
    script.configure(input_line(6, LineFlag.PULL_UP), output(8))
    script.drive(6, False)
    script.wait(5 * MS)
    assert [heard.values[:2] for heard in script.run().of(ToHost.INPUT)] == [(0, 0), (0, 1)]


# Camera and sync


def test_a_camera_outlives_lease_disarm_and_off() -> None:
    script = Script()
    script.configure(output(8), CAMERA_LINE, lease_ms=20)
    script.say(ToBoard.LEVEL, 0, 0)
    script.say(ToBoard.CAMERA, 1, 5 * MS, 500, 0)
    script.wait(50 * MS)
    script.say(ToBoard.DISARM)
    script.say(ToBoard.OFF, ALL)
    script.wait(52 * MS)
    ended = script.say(ToBoard.OFF, 1)
    script.wait(50 * MS)
    run = script.run()
    starts = [start for start, _ in run.pulses(CAMERA_PIN)]
    assert len(starts) in (20, 21)
    assert 0 < ended - starts[-1] < 6 * MS
    assert run.of(ToHost.STATE)[-1].values[0] == State.LEASE_LAPSED


@pytest.mark.parametrize(
    "end", [(ToBoard.HELLO, 1), (ToBoard.CONFIG, 100, 1), (ToBoard.CAMERA, 1, 0, 0, 0), (ToBoard.OFF, 1)]
)
def test_what_ends_a_camera(end) -> None:
    script = Script()
    script.configure(output(8), CAMERA_LINE, arm=False)
    script.say(ToBoard.CAMERA, 1, 5 * MS, 500, 0)
    script.wait(12_300)
    script.say(*end)
    script.wait(30 * MS)
    run = script.run()
    assert len(run.pulses(CAMERA_PIN)) == 3
    assert run.edges(CAMERA_PIN)[-1][1] is False


def test_a_camera_counts() -> None:
    script = Script()
    script.configure(CAMERA_LINE)
    script.say(ToBoard.CAMERA, 0, 2 * MS, 100, 7)
    busy = script.seq + 1
    script.say(ToBoard.CAMERA, 0, 2 * MS, 100, 7)
    script.wait(30 * MS)
    run = script.run()
    assert len(run.pulses(CAMERA_PIN)) == 7
    frames = run.of(ToHost.FRAME)
    assert [frame.values[:2] for frame in frames] == [(0, number) for number in range(7)]
    assert {frame.seq for frame in frames} == {busy - 1}
    assert reason(run, busy) == Reason.BUSY
    assert not run.of(ToHost.EDGE)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (output(3, kinds=KindFlag.CAMERA | KindFlag.PULSE), Reason.BAD_VALUE),
        (output(3, kinds=KindFlag.CAMERA, duty=500), Reason.BAD_VALUE),
        (output(3, kinds=32), Reason.BAD_VALUE),
        (output(3, flags=HIGH | LineFlag.PULL_UP), Reason.BAD_VALUE),
    ],
)
def test_settings_that_are_refused(line, expected) -> None:
    script = Script()
    script.configure(output(8), arm=False)
    script.say(ToBoard.LINE, 0, *line)
    script.wait(2000)
    assert reason(script.run(), script.seq) == expected


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ((ToBoard.CAMERA, 1, 1000, 100, 1), Reason.BAD_LINE),
        ((ToBoard.CAMERA, 2, 1000, 100, 1), Reason.KIND_NOT_ALLOWED),
        ((ToBoard.CAMERA, 0, 1000, 0, 1), Reason.BAD_VALUE),
        ((ToBoard.CAMERA, 0, 1000, 1000, 1), Reason.BAD_VALUE),
        ((ToBoard.CAMERA, 0, 1000, 960, 1), Reason.TOO_SHORT),
        ((ToBoard.CAMERA, 0, 9_000_000, 3_000_000, 1), Reason.TOO_LONG),
        ((ToBoard.SYNC, 2, 1, 0), Reason.BAD_VALUE),
        ((ToBoard.SYNC, 2, 1, 49), Reason.TOO_SHORT),
        ((ToBoard.SYNC, 2, 1, 100_000), Reason.TOO_LONG),
    ],
)
def test_camera_and_sync_that_are_refused(order, expected) -> None:
    script = Script()
    script.configure(CAMERA_LINE, input_line(), SYNC_LINE)
    script.say(*order)
    script.wait(5000)
    run = script.run()
    assert reason(run, script.seq) == expected
    assert not run.edges(CAMERA_PIN)
    assert not run.edges(SYNC_PIN)


@pytest.mark.parametrize("code", [0, 1, 0xFFFFFFFF, 0x80000001, 123456789])
def test_sync_writes_a_start_bit_and_the_code(code) -> None:
    bit_us = 500
    script = Script()
    script.configure(output(8), SYNC_LINE)
    script.say(ToBoard.TRAIN, 0, 0, 300, 900, 20)
    script.say(ToBoard.SYNC, 1, code, bit_us)
    script.wait(40 * bit_us)
    run = script.run()
    edges = run.edges(SYNC_PIN)
    began = edges[0][0]

    def level(at: float) -> bool:
        return [active for us, active in edges if us <= at][-1]

    bits = [level(began + (number + 0.5) * bit_us) for number in range(35)]
    assert bits == [True, *((code >> number & 1) == 1 for number in range(32)), False, False]
    for us, _ in edges:
        assert (us - began) % bit_us == pytest.approx(0, abs=10) or (us - began) % bit_us > bit_us - 10
    told = [edge.values[:2] for edge in run.of(ToHost.EDGE) if edge.values[0] == 1]
    assert told == [(1, 1), (1, 0)]


def test_the_numbers_in_the_sketch_are_those_of_the_tables() -> None:
    text = (SKETCH / "protocol.h").read_text(encoding="utf-8")
    found = {name: int(number, 0) for name, number in re.findall(r"^  ([A-Z_]+) = (\w+),", text, re.M)}
    other = {"INPUT": "INPUT_CHANGE", "PING": "PING_CLOCK"}
    for kind in (*ToBoard, *ToHost):
        assert found[other.get(kind.name, kind.name)] == kind, kind.name
    for reason in Reason:
        assert found[{"ARMED": "STILL_ARMED", "DUTY": "DUTY_SPENT"}.get(reason.name, reason.name)] == reason
