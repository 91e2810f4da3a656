"""The safety table of drivers/arduino/README.md: who may switch on, rows 1 to 11; with the proof of each test.

Every test says what has to be changed in the firmware for its rule to be gone. `test_it_fails_without_its_rule`, at the
end, does so in a copy, builds it, and runs the test on it.
"""

import pytest
from simavr import emulator
from simavr.emulator import Script, input_line, output, variant
from simavr.rules import MS, Removal, Rules, Talk, fails, talk, told

from poseloop.drivers.arduino.framing import encode
from poseloop.drivers.arduino.tables import ALL, KindFlag, LineFlag, Reason, State, ToBoard, ToHost

LASER, OTHER = 8, 9
PULSE = (ToBoard.PULSE, 0, 0, 20 * MS)
LEVEL = (ToBoard.LEVEL, 0, 0)
ONS = (PULSE, (ToBoard.TRAIN, 0, 0, 5 * MS, 10 * MS, 3), LEVEL)
RULES = Rules()


@RULES.fails_without("1 pins float at the start", {"  inputsStart();\n": "  inputsStart();\n  DDRB = 0xFF;\n"})
@RULES.fails_without("1 disarmed at the start", {"bool greeted, armed;": "bool greeted = true, armed = true;"})
def test_start() -> None:
    script = Talk()
    script.wait(50 * MS)
    asked = script.ask(*PULSE)
    run = script.run()
    assert not [change for change in run.changes if change.driven]
    assert told(run, asked) is Reason.NO_HELLO
    assert [(heard.kind, heard.seq) for heard in run.heard] == [(ToHost.BOOT, 0), (ToHost.REFUSED, asked)]


@RULES.fails_without(
    "2 HELLO forgets settings and disarms", {"  forgetSettings();\n  greeted = true;": "  greeted = true;"}
)
@RULES.fails_without(
    "2 HELLO switches off",
    {
        "  outputsEnd(outputsOfKinds(TIMED | FREE_RUNNING), seq);\n": "",
        "  outputsEnd(outputsOfKinds(TIMED | FREE_RUNNING), 0);\n": "",
    },
)
def test_hello() -> None:
    script = talk()
    script.say(*LEVEL)
    script.wait(5 * MS)
    arrived = script.say(ToBoard.HELLO, 1)
    script.wait(5 * MS)
    pulse = script.ask(*PULSE)
    run = script.run()
    assert run.edges(LASER)[1][0] - arrived < MS
    assert told(run, pulse) is Reason.NOT_ARMED


@RULES.fails_without("3 CONFIG only while disarmed", {"  if (armed) return STILL_ARMED;\n  if (lease": "  if (lease"})
@RULES.fails_without(
    "3 LINE only while disarmed", {"  if (armed) return STILL_ARMED;\n  if (lineCount": "  if (lineCount"}
)
def test_settings_only_while_disarmed() -> None:
    script = talk()
    longer = script.ask(ToBoard.LINE, 0, *output(LASER, max_on_us=60_000_000))
    fewer = script.ask(ToBoard.CONFIG, 10_000, 1)
    pulse = script.ask(*PULSE)
    run = script.run()
    assert [told(run, seq) for seq in (longer, fewer)] == [Reason.ARMED] * 2
    assert told(run, pulse) is None, "the old settings still stand"


@RULES.fails_without(
    "4 level before direction",
    {
        "    write(&output, false);\n    *direction |=": "    *direction |=",
        "|= output.mask;\n  }\n}": "|= output.mask;\n    write(&output, false);\n  }\n}",
    },
)
def test_the_level_is_written_before_the_direction() -> None:
    run = talk(output(LASER), output(OTHER, flags=LineFlag.OUTPUT)).run()
    assert [(change.pin, change.high) for change in run.changes if change.driven] == [(LASER, False), (OTHER, True)]


@RULES.fails_without("5 ceiling of max_on", {"settings.maxOnUs > POSELOOP_MAX_ON_US ? CEILING : OBEYED": "OBEYED"})
@RULES.fails_without("5 floor of the lease", {"lease < POSELOOP_MIN_LEASE_MS || ": ""})
@RULES.fails_without("5 ceiling of the lease", {" || lease > POSELOOP_MAX_LEASE_MS": ""})
def test_compiled_ceilings() -> None:
    """Also lower ones than the usual: settings can go below, never above."""
    usual, lower = emulator.current, {"MAX_ON_US 3600000000UL": "MAX_ON_US 50000UL", "LEASE_MS 10000": "LEASE_MS 200"}
    for sketch, max_on_us, max_lease_ms in (
        (usual, 3_600_000_000, 10_000),
        (variant(lower, of=usual), 50_000, 200),
    ):
        script = talk(output(LASER, max_on_us=max_on_us), lease_ms=max_lease_ms, arm=False)
        at_the_ceiling = script.ask(ToBoard.ARM, script.checksum)
        script.ask(ToBoard.DISARM)
        above = [
            script.ask(ToBoard.LINE, 0, *output(LASER, max_on_us=max_on_us + 1)),
            script.ask(ToBoard.CONFIG, max_lease_ms + 1, 1),
            script.ask(ToBoard.CONFIG, 9, 1),
        ]
        kept = script.ask(ToBoard.ARM, script.checksum)
        run = script.run(sketch=sketch)
        assert told(run, at_the_ceiling) is None
        assert [told(run, seq) for seq in above] == [Reason.CEILING] * 3
        assert told(run, kept) is None, "a refused setting changes nothing"


@RULES.fails_without("6 ARM with all lines", {"    if (!lines[line].given) return NOT_CONFIGURED;\n": ""})
@RULES.fails_without(
    "6 ARM with the right checksum", {"  if (u16At(payload) != checksum()) return SETTINGS_DIFFER;\n": ""}
)
@RULES.fails_without("6 ARM starts the lease", {"  renewedUs = nowUs();\n  say(ACK, seq);": "  say(ACK, seq);"})
def test_arming() -> None:
    script = talk(arm=False, lease_ms=100)
    script.wait(300 * MS)
    wrong = script.ask(ToBoard.ARM, script.checksum ^ 1)
    right = script.ask(ToBoard.ARM, script.checksum)
    armed_us = script.us
    script.wait(150 * MS)
    script.ask(ToBoard.CONFIG, 100, 2)
    script.ask(ToBoard.LINE, 0, *output(LASER))
    half = [script.ask(ToBoard.ARM, checksum) for checksum in (script.checksum, half_a_checksum())]
    run = script.run()
    assert told(run, wrong) is Reason.SETTINGS_DIFFER
    assert told(run, right) is None
    (lapsed,) = [state for state in run.of(ToHost.STATE) if state.values[0] == State.LEASE_LAPSED]
    assert 90 * MS < lapsed.us - armed_us < 110 * MS
    assert [told(run, seq) for seq in half] == [Reason.NOT_CONFIGURED] * 2


def half_a_checksum() -> int:
    """What a board that forgets to look whether all lines were given would compute."""
    never_given = (0,) * 6
    script = Script()
    script.configure(output(LASER), never_given, lease_ms=100, arm=False)
    return script.checksum


@RULES.fails_without(
    "7 a lapsed lease switches off",
    {"  outputsEnd(outputsOfKinds(TIMED), 0);\n  disarm(LEASE": "  disarm(LEASE"},
)
@RULES.fails_without(
    "7 a lapsed lease disarms", {"  armed = false;\n  sayState(state, cause": "  sayState(state, cause"}
)
@RULES.fails_without(
    "7 the lease lapses", {"  if (!armed || nowUs() - renewedUs < leaseMs * 1000UL) return;": "  return;"}
)
def test_lease() -> None:
    for command in ((ToBoard.PULSE, 0, 0, 900 * MS), LEVEL):
        script = talk(lease_ms=100)
        script.say(*command)
        renewed = script.say(ToBoard.RENEW)
        script.wait(150 * MS)
        late = script.ask(*PULSE)
        run = script.run()
        (_, (ended, _)) = run.edges(LASER)
        assert 0 <= ended - renewed - 100 * MS <= MS
        assert told(run, late) is Reason.NOT_ARMED


@RULES.fails_without(
    "7 a renewal in that instant comes too late", {"  lookAtLease();  // while a frame comes in nobody does\n": ""}
)
def test_a_renewal_that_comes_in_while_the_lease_lapses() -> None:
    """Its first byte comes before, its last one after; while a frame comes in, nothing else is begun."""
    script = talk(lease_ms=100)
    script.ask(*LEVEL)
    renewed = script.say(ToBoard.RENEW)
    late = script.say(ToBoard.RENEW, at=renewed + 100_000)
    seq = script.seq
    script.wait(20 * MS)
    run = script.run()
    (_, (ended, _)) = run.edges(LASER)
    assert 0 < ended - late < MS
    assert told(run, seq) is Reason.NOT_ARMED


@RULES.fails_without("8 RENEW only while armed", {"nobody does\n  if (!armed) return NOT_ARMED;": "nobody does"})
@RULES.fails_without(
    "8 nothing but RENEW renews",
    {"  if (kind == PING_CLOCK) {": "  renewedUs = nowUs();\n  if (kind == PING_CLOCK) {"},
)
def test_only_a_renewal_renews() -> None:
    script = talk(lease_ms=100)
    script.say(*LEVEL)
    armed_us = script.us
    for _ in range(75):
        script.ask(ToBoard.PING)
        script.ask(ToBoard.PULSE, 7, 0, 100)
    late = script.ask(ToBoard.RENEW)
    run = script.run()
    (_, (ended, _)) = run.edges(LASER)
    assert ended - armed_us < 105 * MS
    assert told(run, late) is Reason.NOT_ARMED


@RULES.fails_without(
    "9 undamaged",
    {"whole && crc_ == (body_[length_ - 2] | static_cast<uint16_t>(body_[length_ - 1]) << 8)": "whole"},
)
@RULES.fails_without("9 of the right length", {"  if (length != wanted) return BAD_LENGTH;\n": ""})
@RULES.fails_without("9 newer", {"  if (!newer) return OLD_SEQ;\n": ""})
@RULES.fails_without(
    "9 for a configured output",
    {"  if (!isOutput(line)) return BAD_LINE;\n  const Settings": "  const Settings"},
)
@RULES.fails_without("9 of an allowed kind", {"  if (!(settings.kinds & flag)) return KIND_NOT_ALLOWED;\n": ""})
@RULES.fails_without("9 after HELLO", {"  if (!greeted) return NO_HELLO;\n": "", "greeted && seq != 0": "seq != 0"})
def test_on_commands_that_must_not_act() -> None:
    script = Talk()
    early = script.ask(ToBoard.CONFIG, 100, 1)
    script.seq = 0
    script.configure(output(LASER, kinds=KindFlag.TRAIN), output(OTHER, kinds=KindFlag.PULSE), input_line(7))
    damaged = bytearray(script.frame(ToBoard.PULSE, 1, 0, 20 * MS))
    damaged[9] ^= 4
    script.raw(bytes(damaged))
    script.wait(2 * MS)
    script.raw(encode(ToBoard.PULSE, script.seq + 1, bytes((1, 0, 0, 0, 0, 0, 50, 0, 0, 0))))
    long = script.seq = script.seq + 1
    script.wait(2 * MS)
    old = script.ask(ToBoard.PULSE, 1, 0, 20 * MS, seq=script.seq - 1)
    no_output = script.ask(ToBoard.PULSE, 2, 0, 20 * MS)
    kinds = [script.ask(ToBoard.PULSE, 0, 0, 20 * MS), script.ask(ToBoard.LEVEL, 1, 0)]
    kinds.append(script.ask(ToBoard.TRAIN, 1, 0, 500, 1000, 2))
    script.wait(10 * MS)
    run = script.run()
    assert not run.edges(LASER)
    assert not run.edges(OTHER)
    answers = [heard for heard in run.heard if heard.kind == ToHost.REFUSED]
    assert [(heard.seq, heard.values[0]) for heard in answers] == [
        (early, Reason.NO_HELLO),
        (long, Reason.BAD_LENGTH),
        (old, Reason.OLD_SEQ),
        (no_output, Reason.BAD_LINE),
        *((seq, Reason.KIND_NOT_ALLOWED) for seq in kinds),
    ]


@RULES.fails_without("9 while armed", {"  if (!armed) return NOT_ARMED;\n  // What lies": "  // What lies"})
def test_on_commands_only_while_armed() -> None:
    script = talk(arm=False)
    asked = [script.ask(*on) for on in ONS]
    run = script.run()
    assert [told(run, seq) for seq in asked] == [Reason.NOT_ARMED] * len(ONS)
    assert not run.edges(LASER)


@RULES.fails_without("10 OFF with any number", {"  if (kind == OFF) {": "  if (kind == OFF && newer) {"})
@RULES.fails_without(
    "10 OFF of no output is for all",
    {"named ? _BV(payload[0]) : outputsOfKinds(TIMED)": "named ? _BV(payload[0]) : 0"},
)
@RULES.fails_without(
    "10 OFF ends what is delayed",
    {"        output->on = false;\n        output->kind = 0;": "if (output->on) output->kind = output->on = 0;"},
)
@RULES.fails_without(
    "10 DISARM switches off",
    {"    outputsEnd(outputsOfKinds(TIMED), seq);\n    say(ACK, seq);\n    disarm(": "    say(ACK, seq);\n    disarm("},
)
def test_off() -> None:
    endings = (
        lambda script: script.ask(ToBoard.OFF, 0, seq=1),
        lambda script: script.ask(ToBoard.OFF, 0, seq=0),
        lambda script: script.ask(ToBoard.OFF, 55),
        lambda script: script.ask(ToBoard.OFF, ALL),
        lambda script: script.ask(ToBoard.DISARM),
        lambda script: script.raw(encode(ToBoard.OFF, 1, bytes(5))),
    )
    for end in endings:
        script = talk(output(LASER), output(OTHER))
        script.ask(*LEVEL)
        script.ask(ToBoard.PULSE, 1, 15 * MS, 5 * MS)
        begun = script.us
        end(script)
        script.say(ToBoard.OFF, 1)
        script.wait(40 * MS)
        run = script.run()
        (_, (ended, _)) = run.edges(LASER)
        assert ended - begun < 600
        assert not run.edges(OTHER)


@RULES.fails_without("10 OFF before HELLO", {"  if (kind == OFF) {": "  if (kind == OFF && greeted) {"})
def test_off_before_hello() -> None:
    script = Talk()
    off = script.ask(ToBoard.OFF, ALL)
    assert told(script.run(), off) is None


@RULES.fails_without("11 a busy line refuses", {"  if (outputKind(line)) return BUSY;\n": ""})
def test_busy() -> None:
    for first in (*ONS, (ToBoard.PULSE, 0, 30 * MS, 20 * MS)):
        script = talk()
        script.ask(*first)
        second = script.ask(ToBoard.PULSE, 0, 0, MS)
        assert told(script.run(), second) is Reason.BUSY


@pytest.mark.parametrize("removal", RULES, ids=lambda removal: removal.name)
def test_it_fails_without_its_rule(removal: Removal) -> None:
    assert fails(removal)
