"""The safety table of drivers/arduino/README.md: for how long, and by what; rows 12 to 18, proved as in test_safety."""

import pytest
from simavr.emulator import output
from simavr.rules import MS, Removal, Rules, fails, talk, told

from poseloop.drivers.arduino.tables import ALL, Cause, KindFlag, Reason, State, ToBoard, ToHost

LASER, OTHER = 8, 9
LEVEL = (ToBoard.LEVEL, 0, 0)
CAMERA = output(4, kinds=KindFlag.CAMERA)
SYNC = output(5, kinds=KindFlag.SYNC)
RULES = Rules()


@RULES.fails_without("12 no pulse longer than max_on", {"    if (order.onUs > longest) return TOO_LONG;\n": ""})
@RULES.fails_without(
    "12 a level is cut at max_on",
    {"    order.onUs = lines[line].settings.maxOnUs;": "    order.onUs = 0xFFFFFFFF;"},
)
def test_max_on() -> None:
    script = talk(output(LASER, max_on_us=30 * MS))
    long = [script.ask(ToBoard.PULSE, 0, 0, 30 * MS + 1), script.ask(ToBoard.TRAIN, 0, 0, 31 * MS, 99 * MS, 2)]
    script.say(*LEVEL)
    script.wait(60 * MS)
    run = script.run()
    assert [told(run, seq) for seq in long] == [Reason.TOO_LONG] * 2
    ((_, width),) = run.pulses(LASER)
    assert width == pytest.approx(30 * MS, abs=20)
    assert run.of(ToHost.STATE)[-1].values[:2] == (State.LIMIT, Cause.MAX_ON)


@RULES.fails_without("13 duty of pulses and trains", {"    if (!duty.allows(onUs)) return DUTY_SPENT;\n": ""})
@RULES.fails_without("13 duty of a level", {"      if (left < order.onUs) {": "      if (false) {"})
@RULES.fails_without("13 what was on counts", {"  duties[line].add(spent, us);\n": ""})
def test_duty() -> None:
    script = talk(output(LASER, duty=100, window_us=200 * MS))
    script.say(ToBoard.PULSE, 0, 0, 12 * MS)
    script.wait(20 * MS)
    refused = [script.ask(ToBoard.PULSE, 0, 0, 9 * MS), script.ask(ToBoard.TRAIN, 0, 0, 3 * MS, 10 * MS, 3)]
    script.say(*LEVEL)
    script.wait(40 * MS)
    run = script.run()
    assert [told(run, seq) for seq in refused] == [Reason.DUTY] * 2
    (_, pulse), (_, level) = run.pulses(LASER)
    assert pulse == pytest.approx(12 * MS, abs=20)
    assert 7 * MS <= level <= 8 * MS + 20, "what the pulse left of the budget, at most a millisecond less"


@RULES.fails_without(
    "14 edges by the compare interrupt", {"  TIMSK1 = _BV(OCIE1A) | _BV(OCIE1B);": "  TIMSK1 = _BV(OCIE1B);"}
)
@RULES.fails_without("14 an edge whose match was missed is made", {"  if (until(wake) > 2) return;": "  return;"})
def test_widths() -> None:
    script = talk(output(LASER), output(OTHER))
    for width in (50, 300, 1234, 7000):
        script.say(ToBoard.PULSE, 0, 0, width)
        script.say(ToBoard.PULSE, 1, 0, width)
        for _ in range(10):
            script.say(ToBoard.PING)
        script.wait(9 * MS)
    run = script.run()
    for pin in (LASER, OTHER):
        assert [width for _, width in run.pulses(pin)] == pytest.approx([50, 300, 1234, 7000], abs=20)


@RULES.fails_without("14 lines go on being looked at", {"    case 2: outputsGoOn(); break;\n": ""})
def test_a_long_pulse_beside_trains_that_run_in_step() -> None:
    """Twelve edges in a row, every 1.75 ms: one that is due meanwhile must not wait for the timer's next round."""
    trains = 6
    script = talk(*(output(pin) for pin in range(2, 2 + trains)), output(LASER), lease_ms=10_000)
    begin = script.us + 20 * MS
    for line in range(trains):
        script.say(ToBoard.TRAIN, line, round(begin - script.us), 50, 1750, 2000)
        script.wait(MS)
    script.wait(20 * MS)
    for _ in range(10):
        script.say(ToBoard.PULSE, trains, 0, 20 * MS)
        script.wait(70 * MS)
    widths = [width for _, width in script.run().pulses(LASER)]
    assert len(widths) >= 5, "a command may get lost while so many edges are made"
    assert widths == pytest.approx([20 * MS] * len(widths), abs=20)


@RULES.fails_without("15 watchdog", {"  wdt_enable(WDTO_250MS);\n": ""})
@RULES.fails_without(
    "15 the main loop alone feeds it",
    {"  OCR1B += LOOK;\n": '  OCR1B += LOOK;\n  __asm__ __volatile__("wdr");\n'},
)
def test_watchdog() -> None:
    script = talk()
    script.ask(*LEVEL)
    script.hang("main")
    hung = script.us
    script.wait(320 * MS)
    run = script.run()
    (reset,) = run.resets or [0.0]
    assert 0 < reset - hung <= 300 * MS
    assert run.edges(LASER)[-1][0] - hung <= 300 * MS
    boot = run.of(ToHost.BOOT)[-1]
    assert (boot.seq, boot.values[6]) == (0, 4)


@RULES.fails_without("16 pins 0, 1 and 13", {"pin <= 1 || pin == 13 || ": ""})
@RULES.fails_without("16 pins that there are", {"pin >= NUM_DIGITAL_PINS || ": ""})
@RULES.fails_without(
    "16 a pin for one line",
    {"other != line && lines[other].given && ": "other != line && !lines[other].given && "},
)
def test_pins() -> None:
    script = talk(output(LASER), output(OTHER), arm=False)
    asked = [script.ask(ToBoard.LINE, 0, *output(pin)) for pin in (0, 1, 13, 20, 99, OTHER)]
    run = script.run()
    assert [told(run, seq) for seq in asked] == [Reason.BAD_PIN] * len(asked)


@RULES.fails_without(
    "17 a line without lease obeys nothing else",
    {"settings.kinds & FREE_RUNNING && (settings.kinds & TIMED || ": "settings.kinds & FREE_RUNNING && ("},
)
@RULES.fails_without(
    "17 a line without lease has no duty limit",
    {"(settings.kinds & TIMED || settings.maxDuty != 1000)": "settings.kinds & TIMED"},
)
def test_what_is_not_leased_is_no_stimulus() -> None:
    script = talk(output(LASER), arm=False)
    kinds = [free | timed for free in (KindFlag.CAMERA, KindFlag.SYNC) for timed in (KindFlag.PULSE, KindFlag.LEVEL)]
    asked = [script.ask(ToBoard.LINE, 0, *output(LASER, kinds=both)) for both in kinds]
    asked += [script.ask(ToBoard.LINE, 0, *output(LASER, kinds=kind, duty=999)) for kind in (8, 16)]
    run = script.run()
    assert [told(run, seq) for seq in asked] == [Reason.BAD_VALUE] * len(asked)


@RULES.fails_without(
    "17 CAMERA only on its lines", {"objection(line, order, MAY_CAMERA)": "objection(line, order, 0xFF)"}
)
@RULES.fails_without(
    "17 SYNC only on its lines",
    {"objection(wanted.line, order, MAY_SYNC)": "objection(wanted.line, order, 0xFF)"},
)
def test_nothing_without_a_lease_moves_a_stimulus_line() -> None:
    script = talk(output(LASER), CAMERA, SYNC, arm=False)
    asked = [script.ask(ToBoard.CAMERA, line, 2000, 100, 1) for line in (0, 2)]
    asked += [script.ask(ToBoard.SYNC, line, 5, 100) for line in (0, 1)]
    script.wait(20 * MS)
    run = script.run()
    assert [told(run, seq) for seq in asked] == [Reason.KIND_NOT_ALLOWED] * 4
    assert not [run.edges(pin) for pin in (LASER, 4, 5) if run.edges(pin)]


@RULES.fails_without(
    "17 cameras go on", {"const uint8_t TIMED = MAY_PULSE | MAY_TRAIN | MAY_LEVEL;": "const uint8_t TIMED = 31;"}
)
def test_cameras_go_on_when_a_lease_lapses() -> None:
    script = talk(output(LASER), CAMERA, lease_ms=20)
    script.ask(ToBoard.CAMERA, 1, 5 * MS, 500, 0)
    script.wait(50 * MS)
    script.ask(ToBoard.DISARM)
    script.ask(ToBoard.OFF, ALL)
    script.wait(50 * MS)
    assert len(script.run().pulses(4)) >= 20


@RULES.fails_without(
    "17 a new host ends cameras",
    {
        "outputsEnd(outputsOfKinds(TIMED | FREE_RUNNING), seq)": "outputsEnd(outputsOfKinds(TIMED), seq)",
        "outputsEnd(outputsOfKinds(TIMED | FREE_RUNNING), 0)": "outputsEnd(outputsOfKinds(TIMED), 0)",
    },
)
def test_a_new_host_ends_cameras() -> None:
    script = talk(output(LASER), CAMERA)
    script.ask(ToBoard.CAMERA, 1, 5 * MS, 500, 0)
    script.ask(ToBoard.HELLO, 1)
    script.wait(20 * MS)
    assert len(script.run().pulses(4)) == 1


@RULES.fails_without("18 trains leave time", {"  if (sum > LOAD_BUDGET) return false;\n": ""})
@RULES.fails_without("18 all lines count together", {"    if (outputKind(other)) sum += loads[other];\n": ""})
def test_too_fast() -> None:
    script = talk(output(LASER), output(OTHER))
    asked = [script.ask(ToBoard.TRAIN, 0, 0, 50, 150, 50)]
    script.ask(ToBoard.TRAIN, 0, 0, 100, 300, 1000)
    asked.append(script.ask(ToBoard.TRAIN, 1, 0, 100, 300, 1000))
    run = script.run()
    assert [told(run, seq) for seq in asked] == [Reason.TOO_FAST] * 2


@RULES.fails_without("18 pulses that can be timed", {"order.onUs < MIN_ON_US || ": ""})
@RULES.fails_without("18 pauses that can be timed", {" || (repeats && order.periodUs - order.onUs < MIN_ON_US)": ""})
def test_too_short() -> None:
    script = talk()
    asked = [script.ask(ToBoard.PULSE, 0, 0, 49), script.ask(ToBoard.TRAIN, 0, 0, 500, 549, 2)]
    run = script.run()
    assert [told(run, seq) for seq in asked] == [Reason.TOO_SHORT] * 2


@pytest.mark.parametrize("removal", RULES, ids=lambda removal: removal.name)
def test_it_fails_without_its_rule(removal: Removal) -> None:
    assert fails(removal)
