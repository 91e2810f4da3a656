"""What the firmware promises in numbers, in cycles of the simulated chip."""

import random
from statistics import median

import pytest
from boards import damage
from simavr.emulator import BYTE_US, MEGA, UNO, Chip, Script, input_line, output

from poseloop.drivers.arduino.tables import ALL, KindFlag, Reason, State, ToBoard, ToHost

CAMERA_PIN = 4
CAMERA_LINE = output(CAMERA_PIN, kinds=KindFlag.CAMERA)


def tolerance_us(width_us: float) -> float:
    return max(10.0, width_us / 1000)


@pytest.mark.parametrize("chip", [UNO, MEGA], ids=lambda chip: chip.mcu)
def test_from_the_last_byte_to_the_edge(chip: Chip) -> None:
    """300 pulses at every phase of the main loop, while the lease is renewed and an input changes."""
    chance = random.Random(1)
    script = Script()
    script.configure(output(), output(9, kinds=KindFlag.PULSE, duty=500), input_line())
    arrived = []
    for number in range(300):
        script.say(ToBoard.RENEW)
        script.drive(7, bool(number % 2), at=script.us + 900)
        script.wait(100 + chance.random() * 700)
        arrived.append(script.say(ToBoard.PULSE, number % 2, 0, 1000))
        script.wait(3000)
    run = script.run(chip)
    # A line with a duty limit has more to check, the same amount each time.
    for line, pin in enumerate((8, 9)):
        delays = [start - last for last, (start, _) in zip(arrived[line::2], run.pulses(pin), strict=True)]
        assert max(delays) <= 150
        assert max(delays) - min(delays) <= 50
    assert run.lost == 0


@pytest.mark.parametrize("seed", range(2))
def test_there_is_memory_to_spare(seed: int) -> None:
    """Every kind of line, command and report, at random moments; what is left is for paths that these did not take."""
    chance = random.Random(seed)
    script = Script()
    outputs = [output(8), output(9, duty=300), output(10, duty=100)]
    script.configure(*outputs, CAMERA_LINE, output(5, kinds=KindFlag.SYNC), *(input_line(pin) for pin in (2, 6, 7)))
    script.say(ToBoard.CAMERA, 3, 3000, 100, 0)
    script.wait(1500)
    for number in range(400):
        for pin in (2, 6, 7):
            script.drive(pin, chance.random() < 0.5, at=script.us + chance.random() * 900)
        line = chance.randrange(3)
        orders = (
            (ToBoard.PULSE, line, chance.choice([0, 500]), chance.randrange(50, 3000)),
            (ToBoard.TRAIN, line, 0, chance.randrange(50, 300), 900, 5),
            (ToBoard.LEVEL, line, 0),
            (ToBoard.LEVEL, 7, 0),
            (ToBoard.SYNC, 4, number, 200),
            (ToBoard.OFF, chance.choice([line, ALL])),
            (ToBoard.RENEW,),
            (ToBoard.PING,),
        )
        script.say(*chance.choice(orders))
        script.wait(chance.choice([0, 0, 100, 700, 2000]))
        if number % 40 == 39:
            script.say(ToBoard.DISARM)
            script.wait(800)
            script.say(ToBoard.ARM, script.checksum)
            script.wait(600)
    script.say(ToBoard.HELLO, 1)
    script.wait(5000)
    assert script.run().stack >= 200


def test_round_trip() -> None:
    script = Script()
    script.configure(output())
    sent = []
    for _ in range(200):
        sent.append((script.us, script.seq + 1))
        script.say(ToBoard.PING)
        script.wait(1500)
    run = script.run()
    assert median(run.answer(seq).us + BYTE_US - at for at, seq in sent) <= 1000


FLOODS = {
    "quiet": lambda script, chance: script.wait(500),
    "renewals": lambda script, chance: script.say(ToBoard.RENEW),
    "refusals": lambda script, chance: script.say(ToBoard.PULSE, 7, 0, 1000),
    "pings": lambda script, chance: script.say(ToBoard.PING),
    "noise": lambda script, chance: script.raw(chance.randbytes(64)),
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
def test_pulses_have_their_width_also_under_a_flood(flood) -> None:
    """The wire is full, without a gap, while two lines pulse."""
    chance = random.Random(2)
    script = Script()
    script.configure(output(), output(9, flags=1))
    widths = [(chance.randrange(50, 3000), chance.randrange(50, 3000)) for _ in range(25)]
    for pair in widths:
        for line, width in enumerate(pair):
            script.say(ToBoard.PULSE, line, 0, width)
        until = script.us + 4000
        while script.us < until:
            flood(script, chance)
        script.raw(b"\0")
        script.wait(3000)
    run = script.run()
    for line, (pin, active_high) in enumerate([(8, True), (9, False)]):
        found = [width for _, width in run.pulses(pin, active_high)]
        assert len(found) == len(widths)
        for width, pair in zip(found, widths, strict=True):
            assert width == pytest.approx(pair[line], abs=tolerance_us(pair[line]))
    assert run.lost <= 3, "a byte that comes while edges are made may be lost, and with it one frame"


def test_a_long_pulse_is_exact() -> None:
    script = Script()
    script.configure(output())
    script.say(ToBoard.PULSE, 0, 70_000, 1_234_567)
    script.wait(1_400_000)
    ((_, width),) = script.run().pulses(8)
    assert width == pytest.approx(1_234_567, abs=10)


def test_a_train_of_a_thousand_pulses_does_not_drift() -> None:
    """With traffic, and another line beside it."""
    script = Script()
    script.configure(output(), output(9))
    script.say(ToBoard.TRAIN, 0, 0, 500, 1700, 1000)
    for _ in range(170):
        script.say(ToBoard.RENEW)
        script.say(ToBoard.PULSE, 1, 0, 700)
        script.wait(10_000)
    script.wait(50_000)
    pulses = script.run().pulses(8)
    assert len(pulses) == 1000
    first = pulses[0][0]
    for number, (start, width) in enumerate(pulses):
        assert start == pytest.approx(first + number * 1700, abs=10)
        assert width == pytest.approx(500, abs=10)


@pytest.mark.parametrize("command", [(ToBoard.LEVEL, 0, 0), (ToBoard.PULSE, 0, 0, 900_000)])
def test_a_lost_lease_switches_off_in_time(command) -> None:
    script = Script()
    script.configure(output(), lease_ms=100)
    script.say(*command)
    renewed = script.say(ToBoard.RENEW)
    script.wait(150_000)
    run = script.run()
    (_, (ended, active)) = run.edges(8)
    assert not active
    assert 0 <= ended - renewed - 100_000 <= 1000
    assert run.of(ToHost.STATE)[-1].values[0] == State.LEASE_LAPSED


@pytest.mark.parametrize("what", ["main", "all"])
@pytest.mark.parametrize("command", [(ToBoard.LEVEL, 0, 0), (ToBoard.TRAIN, 0, 0, 900, 1000, 10_000)])
def test_the_watchdog_ends_what_a_hung_board_left_on(what, command) -> None:
    script = Script()
    script.configure(output())
    script.say(*command)
    script.wait(20_000)
    script.hang(what)
    hung = script.us
    script.wait(320_000)
    run = script.run()
    last, active = run.edges(8)[-1]
    assert not active
    assert last - hung <= 300_000
    assert len(run.resets) == 1
    boot = run.of(ToHost.BOOT)[-1]
    assert boot.us > hung
    assert (boot.seq, boot.values[6]) == (0, 4), "it says that the watchdog restarted it"


def test_camera_triggers_are_even_while_lasers_fire() -> None:
    """100 Hz for two seconds; a train, pulses at random moments, refusals, renewals and an input beside it."""
    chance = random.Random(3)
    script = Script()
    script.configure(output(), output(9), CAMERA_LINE, input_line())
    script.say(ToBoard.CAMERA, 2, 10_000, 1000, 0)
    script.say(ToBoard.TRAIN, 0, 0, 3000, 10_000, 190)  # beats with the camera
    ends = script.us + 2_000_000
    while script.us < ends:
        script.say(ToBoard.RENEW)
        script.say(ToBoard.PULSE, 1, 0, chance.randrange(50, 2000))
        script.say(ToBoard.PULSE, 0, 0, 1000)
        script.drive(7, chance.random() < 0.5, at=script.us + chance.random() * 1000)
        script.wait(chance.random() * 4000)
    run = script.run()
    pulses = run.pulses(CAMERA_PIN)
    assert len(pulses) >= 199
    first = pulses[0][0]
    late = [start - first - number * 10_000 for number, (start, _) in enumerate(pulses)]
    assert max(late) - min(late) <= 10
    assert all(width == pytest.approx(1000, abs=10) for _, width in pulses)
    frames = run.of(ToHost.FRAME)
    assert [frame.values[1] for frame in frames] == list(range(len(frames)))
    offsets = [frame.values[2] - start for frame, (start, _) in zip(frames, pulses, strict=False)]
    assert max(offsets) - min(offsets) <= 10, "each FRAME names the time of its edge"


def test_lines_that_are_due_at_nearly_the_same_time() -> None:
    script = Script()
    pins = range(2, 10)
    script.configure(*[output(pin) for pin in pins])
    together = script.us + 20_000
    for line in range(len(pins)):
        arrives = script.us + len(script.frame(ToBoard.PULSE, line, 1000, 1000, seq=1)) * BYTE_US
        script.say(ToBoard.PULSE, line, round(together - arrives), 1000)
        script.wait(500)
    script.wait(40_000)
    run = script.run()
    starts = []
    for pin in pins:
        ((start, width),) = run.pulses(pin)
        starts.append(start)
        assert width == pytest.approx(1000, abs=20 * len(pins))
    assert max(starts) - min(starts) <= 400


def flipped(clean: bytes, chance: random.Random) -> bytes:
    wire = bytearray(clean)
    bit = chance.randrange(len(wire) * 8)
    wire[bit // 8] ^= 1 << bit % 8
    return bytes(wire)


ORDERS = [
    (ToBoard.PULSE, 0, 0, 1000),
    (ToBoard.TRAIN, 0, 0, 500, 1000, 2),
    (ToBoard.LEVEL, 0, 0),
    (ToBoard.CAMERA, 1, 1000, 100, 5),
]


@pytest.mark.parametrize("harm", [damage, flipped])
def test_ten_thousand_harmed_frames_move_no_pin(harm) -> None:
    chance = random.Random(4)
    script = Script()
    script.configure(output(), CAMERA_LINE)
    for _ in range(10_000):
        script.raw(b"\0" + harm(script.frame(*chance.choice(ORDERS))[1:-1], chance) + b"\0")
    ended = script.us
    script.wait(2000)
    script.say(ToBoard.PULSE, 0, 0, 1000)
    script.wait(5000)
    script.say(ToBoard.PING)
    script.wait(5000)
    run = script.run()
    ((start, _),) = run.pulses(8)
    assert start > ended, "the only pulse is the one that was asked for"
    assert not run.pulses(CAMERA_PIN)
    (pong,) = run.of(ToHost.PONG)
    assert pong.values[1] > 9_000, "some harm leaves nothing at all between two delimiters"
    assert not run.resets
    assert run.lost == 0


def test_off_for_all_lines_reaches_the_pins_quickly() -> None:
    script = Script()
    pins = range(2, 10)
    script.configure(*[output(pin) for pin in pins])
    for line in range(len(pins)):
        script.say(ToBoard.LEVEL, line, 0)
        script.wait(500)
    arrived = script.say(ToBoard.OFF, ALL)
    script.wait(5000)
    run = script.run()
    for pin in pins:
        (_, (ended, _)) = run.edges(pin)
        assert ended - arrived <= 400


@pytest.mark.parametrize("gap_us", [0, 100])
def test_a_busy_wire(gap_us) -> None:
    """A second of frames. Without any gap some are lost, as a whole; with small ones none is."""
    script = Script()
    script.configure(output(), lease_ms=100)
    sent = []
    ends = script.us + 1_000_000
    while script.us < ends:
        sent.append(script.seq + 1)
        script.say(ToBoard.PING)
        for _ in range(9):
            script.wait(gap_us)
            script.say(ToBoard.RENEW)
        script.wait(gap_us)
    run = script.run()
    pongs = [pong.seq for pong in run.of(ToHost.PONG)]
    assert run.of(ToHost.STATE)[-1].values[0] == State.ARMED
    assert not run.resets
    if gap_us:
        assert run.lost == 0
        assert pongs == sent[: len(pongs)]
        assert len(pongs) >= len(sent) - 1
    else:
        assert len(pongs) > len(sent) / 3


@pytest.mark.parametrize(("on_us", "period_us", "lines"), [(50, 500, 2), (50, 250, 1)])
def test_the_clock_is_right_whatever_the_interrupts_do(on_us, period_us, lines) -> None:
    """A clock that lost time would make the lease longer."""
    script = Script()
    script.configure(*[output(pin) for pin in (8, 9)])
    asked = []
    for line in range(lines):
        script.say(ToBoard.TRAIN, line, 0, on_us, period_us, 300_000 // period_us)
    for _ in range(2):
        asked.append(script.say(ToBoard.PING))
        script.wait(500_000)
    run = script.run()
    first, last = run.of(ToHost.PONG)
    assert last.values[0] - first.values[0] == pytest.approx(asked[1] - asked[0], abs=2000)


def test_trains_that_leave_no_time_are_refused() -> None:
    """4,000 pulses a second, over all lines; what has ended does not count."""
    script = Script()
    script.configure(output(8), output(9), CAMERA_LINE)

    def answers(*order: int) -> int:
        script.say(*order)
        script.wait(2130)
        return script.seq

    too_fast = [answers(ToBoard.TRAIN, 0, 0, 50, 249, 1)]
    obeyed = [answers(ToBoard.TRAIN, 0, 0, 100, 500, 100_000), answers(ToBoard.CAMERA, 2, 1000, 100, 0)]
    too_fast += [answers(ToBoard.TRAIN, 1, 0, 100, 999, 1)]
    obeyed += [answers(ToBoard.CAMERA, 2, 0, 0, 0), answers(ToBoard.TRAIN, 1, 0, 100, 500, 100_000)]
    too_fast += [answers(ToBoard.CAMERA, 2, 1_000_000, 1000, 1)]
    run = script.run()
    assert run.lost == 0
    assert [run.answer(seq).kind for seq in obeyed] == [ToHost.ACK] * 4
    assert [run.answer(seq).values[0] for seq in too_fast] == [Reason.TOO_FAST] * 3


@pytest.mark.parametrize(("lines", "period_us"), [(1, 250), (2, 500), (4, 1000)])
def test_the_fastest_trains_leave_time_for_everything_else(lines, period_us) -> None:
    script = Script()
    script.configure(*[output(2 + line) for line in range(lines)], lease_ms=20)
    began = []
    for line in range(lines):
        began.append(script.say(ToBoard.TRAIN, line, 0, 100, period_us, 1_000_000))
        script.wait(1500)
    sent = []
    for _ in range(200):
        script.say(ToBoard.RENEW)
        script.wait(700)
        sent.append((script.us, script.seq + 1))
        script.say(ToBoard.PING)
        script.wait(1700)
    renewed = script.us
    script.wait(30_000)
    run = script.run()
    answers = {pong.seq: pong.us for pong in run.of(ToHost.PONG)}
    trips = [answers[seq] + BYTE_US - at for at, seq in sent if seq in answers]
    assert len(trips) >= 0.98 * len(sent), "a byte that comes while many edges are made may be lost"
    assert median(trips) <= 1000
    for line in range(lines):
        pulses = run.pulses(2 + line)
        assert pulses[0][0] - began[line] <= 500
        # An edge that meets another line's waits for it.
        assert all(width == pytest.approx(100, abs=10 if lines == 1 else 40) for _, width in pulses[:-1])
        ended, _ = run.edges(2 + line)[-1]
        assert ended - renewed <= 21_000
    assert not run.resets
    assert run.of(ToHost.STATE)[-1].values[0] == State.LEASE_LAPSED
