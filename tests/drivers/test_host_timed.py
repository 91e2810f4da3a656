"""The keeper's rules, µs by µs on a clock that the test turns; and what each way out says when it cannot be used."""

import json
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from boards import ANY_KIND, Ear, level, off, patiently, pulse, train
from ways import OpenEphys, OscReceiver, Seen, Sketch, Subscribed, TeensyLaser, edges, give, standins

from poseloop.drivers.host_timed import rules as rules_module
from poseloop.drivers.host_timed.rules import DENIED, GRACE_US, LATE_US, OFF_AGAIN_US, UNCONFIRMED, Rules
from poseloop.drivers.host_timed.way import HostTimedSettings
from poseloop.drivers.message.osc import OscBoard
from poseloop.drivers.message.zeromq import ZeromqBoard
from poseloop.drivers.nidaq.board import NidaqBoard
from poseloop.drivers.openephys.board import OpenEphysBoard
from poseloop.drivers.serial_bytes.board import SerialBytesBoard
from poseloop.drivers.teensy.board import TeensyBoard
from poseloop.drivers.teensy.board import TeensyLaser as TeensyWay
from poseloop.live.errors import ConnectError, DeviceLost
from poseloop.live.interfaces import BoardState
from poseloop.live.types import ALL_LINES, Command, LineSettings, OutcomeKind

LASER = LineSettings("laser", kinds=ANY_KIND, max_on_us=500_000)
VALVE = LineSettings("valve", kinds=ANY_KIND, max_on_us=500_000)
LEASE_MS = 100

posix = pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are a POSIX thing")


@dataclass
class Desk:
    """A way that notes what it is told, and answers as a test wants."""

    lines: tuple[str, ...] = ("laser", "valve")
    says_on: bool | None = True
    says_off: bool | None = True
    ends_pulses: bool = False
    gone: bool = False
    told: list[tuple[int, str, str]] = field(default_factory=list)
    limits: list[tuple[int, int]] = field(default_factory=list)
    now: int = 0

    def open(self) -> None: ...

    def close(self) -> None: ...

    def check(self) -> None: ...

    def times_pulses(self, line: str) -> bool:
        return self.ends_pulses

    def on(self, line: str, on_us: int, limit_us: int) -> bool | None:
        self._note(line, "on")
        self.limits.append((on_us, limit_us))
        return self.says_on

    def off(self, line: str) -> bool | None:
        self._note(line, "off")
        return self.says_off

    def _note(self, line: str, what: str) -> None:
        if self.gone:
            raise DeviceLost("board", "pulled")
        self.told.append((self.now, line, what))


class Clock:
    """Rules at a desk, with a clock to turn."""

    def __init__(self, lines: tuple[LineSettings, ...] = (LASER, VALVE), armed: bool = True, **desk: Any) -> None:
        self.desk = Desk(**desk)
        self.heard: list[tuple[str, dict[str, Any]]] = []
        self.rules = Rules(
            "board", self.desk, lines, LEASE_MS, lambda event, **values: self.heard.append((event, values)), lambda: 7
        )
        self.now = 0
        self.ticket = 0
        self.turn(1_000_000)
        if armed:
            self.rules.arm(self.now)

    def turn(self, us: int, renew: bool = True, step: int = 1000) -> None:
        """Let time pass in small steps, in which the rules are looked at."""
        ends = self.now + us
        while self.now < ends:
            due = self.rules.due_us
            self.now = min(ends, self.now + step, max(due, self.now) if due is not None else ends)
            self.desk.now = self.now
            if renew:
                self.rules.renew(self.now)
            self.rules.run(self.now)

    def send(self, command: Command, sent_us: int | None = None) -> int:
        self.ticket += 1
        self.desk.now = self.now
        self.rules.obey(command, self.ticket, self.now if sent_us is None else sent_us)
        return self.ticket

    def outcome(self, ticket: int) -> tuple[OutcomeKind, str]:
        (found,) = [values for event, values in self.heard if event == "outcome" and values["ticket"] == ticket]
        return found["kind"], found["reason"]

    def answered(self, ticket: int) -> bool:
        return any(values["ticket"] == ticket for event, values in self.heard if event == "outcome")

    def states(self) -> list[str]:
        return [values["state"] for event, values in self.heard if event == "state"]

    def told(self, line: str = "laser") -> list[tuple[int, str]]:
        """Relative to the first."""
        mine = [(at, what) for at, name, what in self.desk.told if name == line]
        return [(at - mine[0][0], what) for at, what in mine]


def test_a_pulse_to_the_microsecond() -> None:
    clock = Clock()
    ticket = clock.send(replace(pulse(on_us=3000), delay_us=700))
    clock.turn(20_000)
    assert [what for _, what in clock.told()] == ["on", "off"]
    assert clock.told()[1][0] == 3000
    assert clock.desk.told[0][0] == 1_000_700
    assert clock.outcome(ticket) == (OutcomeKind.ACKNOWLEDGED, "")
    assert clock.desk.limits == [(3000, 3000)]


def test_a_train_does_not_drift() -> None:
    clock = Clock()
    clock.send(train(on_us=1000, period_us=2500, count=100))
    clock.turn(300_000)
    assert [at for at, what in clock.told() if what == "on"] == [2500 * n for n in range(100)]
    assert [at for at, what in clock.told() if what == "off"] == [2500 * n + 1000 for n in range(100)]


def test_where_the_device_ends_a_pulse_the_keeper_comes_later_but_it_comes() -> None:
    clock = Clock(ends_pulses=True)
    clock.send(pulse(on_us=3000))
    clock.turn(20_000)
    assert clock.told() == [(0, "on"), (3000 + GRACE_US, "off")]
    clock.send(train(on_us=3000, period_us=6000, count=2))
    clock.turn(20_000)
    assert clock.told()[3][0] - clock.told()[2][0] == 3000


@pytest.mark.parametrize(
    ("answer", "kind", "reason"),
    [
        (True, OutcomeKind.ACKNOWLEDGED, ""),
        (None, OutcomeKind.LOST, UNCONFIRMED),
        (False, OutcomeKind.LOST, DENIED),
    ],
)
def test_acknowledged_is_only_what_the_far_end_has_said(answer, kind, reason) -> None:
    clock = Clock(says_on=answer)
    ticket = clock.send(level())
    assert clock.outcome(ticket) == (kind, reason)
    clock.turn(50_000)
    if answer is False:
        assert clock.told() == [(0, "on"), (0, "off")]
        assert clock.answered(clock.send(pulse()))
    else:
        assert clock.told() == [(0, "on")]


@pytest.mark.parametrize(("answer", "kind"), [(True, OutcomeKind.ACKNOWLEDGED), (None, OutcomeKind.LOST)])
def test_off_is_told_even_where_nothing_is_on(answer, kind) -> None:
    clock = Clock(armed=False, says_off=answer)
    ticket = clock.send(off(ALL_LINES))
    assert {name for _, name, what in clock.desk.told if what == "off"} == {"laser", "valve"}
    assert clock.outcome(ticket)[0] is kind


def test_an_off_is_repeated_until_it_is_confirmed() -> None:
    clock = Clock(says_off=False)
    clock.send(level())
    ticket = clock.send(off())
    clock.turn(3 * OFF_AGAIN_US)
    assert [what for _, what in clock.told()] == ["on", "off", "off", "off", "off"]
    assert not clock.answered(ticket)
    busy = clock.send(pulse())
    assert "earlier command" in clock.outcome(busy)[1]
    clock.desk.says_off = True
    clock.turn(OFF_AGAIN_US)
    assert clock.outcome(ticket)[0] is OutcomeKind.ACKNOWLEDGED
    count = len(clock.told())
    clock.turn(200_000)
    assert len(clock.told()) == count


def test_an_off_that_is_never_confirmed_ends_the_session() -> None:
    clock = Clock(says_off=False)
    clock.send(pulse(on_us=1000))
    with pytest.raises(DeviceLost, match="may still be on"):
        clock.turn(2_000_000)


def test_a_train_ends_where_an_off_is_not_confirmed() -> None:
    clock = Clock()
    clock.send(train(on_us=1000, period_us=100_000, count=3))
    clock.desk.says_off = False
    clock.turn(50_000)
    clock.desk.says_off = True
    clock.turn(400_000)
    assert [what for _, what in clock.told()].count("on") == 1


def test_an_off_for_all_waits_for_every_line() -> None:
    class Stubborn(Desk):
        def off(self, line: str) -> bool | None:
            super().off(line)
            return line != "laser" or self.says_off

    clock = Clock()
    clock.rules._way = clock.desk = Stubborn(says_off=False)
    ticket = clock.send(off(ALL_LINES))
    clock.turn(50_000)
    assert not clock.answered(ticket)
    clock.desk.says_off = True
    clock.turn(50_000)
    assert clock.outcome(ticket)[0] is OutcomeKind.ACKNOWLEDGED


def test_the_lease_counts_from_when_a_renewal_was_sent() -> None:
    clock = Clock()
    clock.send(level())
    clock.rules.renew(clock.now + 40_000)
    clock.turn(139_999, renew=False)
    assert clock.told() == [(0, "on")]
    clock.turn(1, renew=False)
    assert clock.told() == [(0, "on"), (140_000, "off")]
    assert clock.states()[-1] == BoardState.LEASE_LAPSED
    clock.rules.renew(clock.now)
    assert "not armed" in clock.outcome(clock.send(pulse()))[1]


def test_a_renewal_that_was_sent_too_late_does_not_count() -> None:
    """Both lie in the queue of a keeper that was kept from running: the lease had lapsed before it was sent."""
    clock = Clock()
    clock.send(level())
    late_us = clock.now + LEASE_MS * 1000 + 1
    clock.rules.renew(late_us)
    clock.rules.run(late_us)
    assert clock.states()[-1] == BoardState.LEASE_LAPSED


def test_a_late_command_is_refused_and_a_late_off_is_not() -> None:
    clock = Clock()
    assert "after it was sent" in clock.outcome(clock.send(pulse(), clock.now - LATE_US - 1))[1]
    assert clock.desk.told == []
    assert clock.outcome(clock.send(off(), clock.now - 10 * LATE_US))[0] is OutcomeKind.ACKNOWLEDGED


def test_a_delayed_command_that_is_switched_off_has_switched_nothing_on() -> None:
    clock = Clock()
    ticket = clock.send(replace(pulse(), delay_us=40_000))
    clock.send(off())
    clock.turn(100_000)
    assert clock.outcome(ticket)[0] is OutcomeKind.REFUSED
    assert [what for _, what in clock.told()] == ["off"]


def test_a_level_is_cut_at_its_limits() -> None:
    clock = Clock()
    clock.send(level())
    clock.turn(600_000)
    assert clock.told() == [(0, "on"), (500_000, "off")]
    assert clock.desk.limits == [(0, 500_000)]
    assert clock.states()[-1] == BoardState.LIMIT
    clock = Clock(lines=(replace(LASER, max_duty=0.1, window_us=1_000_000),))
    clock.send(level())
    clock.turn(200_000)
    assert clock.told() == [(0, "on"), (100_000, "off")]
    assert "max_duty" in clock.heard[-1][1]["detail"]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (pulse(on_us=500_001), "max_on_ms"),
        (pulse(on_us=999), "shorter"),
        (train(on_us=1000, period_us=1999), "shorter"),
    ],
)
def test_what_a_line_does_not_do_is_refused_and_nothing_is_sent(command, words) -> None:
    clock = Clock()
    kind, reason = clock.outcome(clock.send(command))
    assert kind is OutcomeKind.REFUSED
    assert words in reason
    assert clock.desk.told == []


def test_all_lines_are_tried_when_one_fails() -> None:
    clock = Clock()

    class HalfGone(Desk):
        def off(self, line: str) -> bool | None:
            self.gone = line == "laser"
            return super().off(line)

    clock.rules._way = way = HalfGone()
    with pytest.raises(DeviceLost):
        clock.rules.off()
    assert [name for _, name, _ in way.told] == ["valve"]


def test_every_board_has_to_be_told_that_the_host_times_it() -> None:
    with pytest.raises(ValueError, match=r'expected timed_by = "host": .*crashes leaves a line on'):
        HostTimedSettings()


# Each way out when things go wrong.


def board_of(kind: Any, **settings: Any) -> Any:
    return kind("board", kind.Settings(timed_by="host", **settings))


def message_of(kind: Any, **settings: Any) -> str:
    """Fail to open, and see that nothing is left of it."""
    board = board_of(kind, **settings)
    with pytest.raises(ConnectError) as caught:
        board.open()
    board.off()
    board.close()
    assert list(board.events()) == []
    assert str(caught.value).startswith("board: ")
    assert str(caught.value).count("board: ") == 1
    return str(caught.value)


def armed(board: Any, *lines: LineSettings) -> Ear:
    board.open()
    board.configure(lines or [LASER], 3000)
    board.arm()
    return Ear(board)


@posix
def test_serial_words_pulses_and_greeting() -> None:
    words = {"laser": {"on": "H", "off": "L", "pulse": "P{ms},{us};"}, "valve": {"on": "\u00ff", "off": "\u0001"}}
    way = SerialBytesBoard.way(
        "board",
        SerialBytesBoard.Settings(timed_by="host", port="-", bytes=words),
    )
    said: list[bytes] = []
    way._line.write = said.append  # type: ignore[method-assign]
    way.on("laser", 2700, 2700)
    way.on("laser", 0, 9000)
    way.on("valve", 2000, 2000)
    way.off("valve")
    assert said == [b"P2,2700;", b"H", b"\xff", b"\x01"]
    assert way.times_pulses("laser")
    assert not way.times_pulses("valve")


@posix
def test_a_sketch_is_waited_for_by_its_greeting() -> None:
    words = {"laser": {"on": "H", "off": "L"}}
    with Sketch(greeting=b"hello") as sketch:
        board = board_of(SerialBytesBoard, port=sketch.port, starts_s=10, greeting="hello", bytes=words)
        board.open()
        patiently(lambda: sketch.seen, "off at the start")
        assert not sketch.seen[0].on
        board.close()
    with Sketch(greeting=b"other") as sketch:
        message = message_of(SerialBytesBoard, port=sketch.port, starts_s=0.3, greeting="hello", bytes=words)
        assert "expected b'hello'" in message
        assert "but got b'other" in message


@posix
def test_a_port_that_is_not_there_in_use_or_pulled() -> None:
    words = {"laser": {"on": "H", "off": "L"}}
    assert "there is no port /dev/absent" in message_of(SerialBytesBoard, port="/dev/absent", starts_s=0, bytes=words)
    with Sketch() as sketch:
        board = board_of(SerialBytesBoard, port=sketch.port, starts_s=0, bytes=words)
        ear = armed(board)
        assert "in use" in message_of(SerialBytesBoard, port=sketch.port, starts_s=0, bytes=words)
        give(ear, level())
        patiently(lambda: edges(sketch.seen), "on")
        sketch.unplug()
        board.send(off())
        assert "MAY STILL BE ON" in ear.state(BoardState.LINK_LOST).detail
        with pytest.raises(DeviceLost):
            board.send(pulse())
        board.close()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ({"on": "T", "off": "T"}, "toggles"),
        ({"on": "€", "off": "L"}, "U\\+00FF"),
        ({"on": "H", "off": "L", "pulse": "P"}, "{ms} or {us}"),
        ({"on": "H", "off": "L", "on_reply": "ok", "off_reply": "ok"}, "must differ"),
        ({"on": "", "off": "L"}, "at least 1"),
    ],
)
def test_bytes_that_cannot_be_safe_are_refused(words, text) -> None:
    with pytest.raises(ValueError, match=text):
        SerialBytesBoard.Settings(timed_by="host", port="-", bytes={"laser": words})


@posix
def test_the_teensy_ends_by_itself_what_nobody_ends() -> None:
    with TeensyLaser() as teensy:
        way = TeensyWay(
            "board",
            TeensyBoard.Settings(
                timed_by="host", port=teensy.port, bursts={"laser": (BURST := {"hz": 40, "width_ms": 5})}
            ),
        )
        way.open()
        try:
            assert way.on("laser", 0, 50_000)
            assert teensy.commands[-1] == b"O" + bytes([BURST["hz"], 0, 5, 0, 50, 0])
            patiently(lambda: teensy.ended_by_itself, "its own end")
            assert way.on("laser", 0, 3_600_000_000)
            assert int.from_bytes(teensy.commands[-1][5:7], "little") == 65_000
        finally:
            way.off("laser")
            way.close()


@posix
def test_a_command_that_the_teensy_got_in_two_parts_is_switched_off_again() -> None:
    """The sketch takes what has not arrived as zero: a duration of 65 s."""
    with TeensyLaser() as teensy:
        way = TeensyWay(
            "board",
            TeensyBoard.Settings(timed_by="host", port=teensy.port, bursts={"laser": {"hz": 50, "width_ms": 5}}),
        )
        way.open()
        whole = way._line.write
        way._line.write = lambda data: whole(data[:5])  # type: ignore[method-assign]
        try:
            assert way.on("laser", 0, 50_000) is False
        finally:
            way._line.write = whole  # type: ignore[method-assign]
            way.off("laser")
            patiently(lambda: not teensy.seen[-1].on, "off")
            way.close()


def test_open_ephys_that_does_not_acquire_confirms_nothing() -> None:
    with OpenEphys() as plugin:
        board = board_of(OpenEphysBoard, endpoint=plugin.endpoint, ttl={"laser": 3})
        ear = armed(board)
        plugin.acquires = False
        assert ear.outcome(board.send(pulse())).kind in (OutcomeKind.LOST, OutcomeKind.REFUSED)
        plugin.acquires = True
        asked = [text for text in plugin.asked if text.startswith("TTL")]
        assert set(asked) <= {"TTL Line=3 State=0", "TTL Line=3 State=1"}
        board.close()


def test_open_ephys_absent_old_or_deaf() -> None:
    with Subscribed() as nobody:
        message = message_of(OpenEphysBoard, endpoint=nobody.endpoint, ttl={"laser": 3})
        assert "no answer came within 2 s" in message
        assert "Is the GUI running" in message
    with OpenEphys(old=True) as plugin:
        assert "Update Network Events" in message_of(OpenEphysBoard, endpoint=plugin.endpoint, ttl={"laser": 3})
    with OpenEphys() as plugin:
        board = board_of(OpenEphysBoard, endpoint=plugin.endpoint, ttl={"laser": 3})
        ear = armed(board)
        patiently(lambda: ear.outcome(board.send(pulse())).kind is OutcomeKind.ACKNOWLEDGED, "a pulse")
        plugin.deaf.set()
        patiently(lambda: plugin.is_deaf, "nobody who answers")
        board.send(off())
        assert "MAY STILL BE ON" in ear.state(BoardState.LINK_LOST).detail
        board.close()


def test_late_answers_of_open_ephys_are_not_taken_for_others() -> None:
    with OpenEphys() as plugin:
        way = OpenEphysBoard.way(
            "board", OpenEphysBoard.Settings(timed_by="host", endpoint=plugin.endpoint, ttl={"laser": 3})
        )
        way.open()
        try:
            plugin.deaf.set()
            assert way.on("laser", 0, 1000) is False
            assert way.off("laser") is False
            plugin.deaf.clear()
            patiently(lambda: way.off("laser"), "an answer of its own")
            assert plugin.asked[-1] == "TTL Line=3 State=0"
        finally:
            way.close()


def test_osc_says_on_with_its_length_and_off_three_times() -> None:
    with OscReceiver() as ear:
        board = board_of(OscBoard, port=ear.port, addresses={"laser": "/rig1/laser"})
        board.open()
        board.configure([LASER], 3000)
        board.arm()
        give(Ear(board), pulse(on_us=12_500))
        patiently(lambda: len(ear.said) >= 7, "off, on, off")
        assert (
            ear.said[:7] == [["/rig1/laser", 0, 0.0]] * 3 + [["/rig1/laser", 1, 12.5]] + [["/rig1/laser", 0, 0.0]] * 3
        )
        board.close()


def test_osc_to_a_host_that_has_no_address() -> None:
    assert "cannot send to" in message_of(OscBoard, host="no such host", port=9000, addresses={"laser": "/laser"})


def test_a_zeromq_message_says_what_a_subscriber_needs() -> None:
    with Subscribed() as ear:
        board = board_of(ZeromqBoard, endpoint=ear.endpoint, topics={"laser": "rig1.laser"})
        host = armed(board)
        patiently(lambda: board.off() or ear.said, "a subscription")
        give(host, pulse(on_us=12_500))
        patiently(lambda: any(message["on"] for message in ear.said), "on")
        (on,) = [message for message in ear.said if message["on"]]
        counts = [message["count"] for message in ear.said]
        board.close()
    assert (on["topic"], on["v"], on["board"], on["line"]) == ("rig1.laser", 1, "board", "laser")
    assert (on["on_us"], on["limit_us"]) == (12_500, 12_500)
    assert counts == list(range(counts[0], counts[0] + len(counts)))


def test_a_zeromq_address_in_use_or_open_to_the_world() -> None:
    with Subscribed() as ear:
        board = board_of(ZeromqBoard, endpoint=ear.endpoint, topics={"laser": "laser"})
        board.open()
        assert "cannot bind" in message_of(ZeromqBoard, endpoint=ear.endpoint, topics={"laser": "laser"})
        board.close()
    with pytest.raises(ValueError, match="endpoint"):
        ZeromqBoard.Settings(timed_by="host", endpoint="tcp://0.0.0.0:5580", topics={"laser": "laser"})


CHANNELS = {
    "laser": {"line": "Dev1/port0/line0"},
    "valve": {"line": "Dev1/port0/line1", "active": "low"},
}


def test_nidaq_line_by_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with standins(tmp_path, monkeypatch) as calls:
        board = board_of(NidaqBoard, channels=CHANNELS)
        ear = armed(board, LASER, VALVE)
        begun = [(call["call"], call["line"], call.get("high")) for call in calls.calls]
        assert begun == [
            ("add_do_chan", "Dev1/port0/line0", None),
            ("write", "Dev1/port0/line0", False),
            ("add_do_chan", "Dev1/port0/line1", None),
            ("write", "Dev1/port0/line1", True),
        ]
        patiently(lambda: ear.outcome(board.send(pulse("valve"))).kind is OutcomeKind.ACKNOWLEDGED, "a drop")
        patiently(lambda: [seen.on for seen in edges(calls.seen, "valve")] == [True, False], "a drop")
        assert not any(seen.on for seen in calls.seen if seen.line == "laser")
        board.close()
        assert [call["call"] for call in calls.calls][-2:] == ["close", "close"]
        assert NidaqBoard.discover() == ["Dev1 (USB-6001)"]


def test_nidaq_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with standins(tmp_path, monkeypatch) as calls:
        message = message_of(NidaqBoard, channels={"laser": {"line": "Dev7/port0/line0"}})
        assert "does not exist" in message
        assert "Devices here: Dev1 (USB-6001)" in message
        board = board_of(NidaqBoard, channels=CHANNELS)
        ear = armed(board, LASER, VALVE)
        calls.file.with_suffix(".jsonl.fault").write_text("Device was removed.", encoding="utf-8")
        give(ear, level())
        lost = ear.state(BoardState.LINK_LOST).detail
        assert "Device was removed" in lost
        assert "MAY STILL BE ON" in lost
        board.close()
        monkeypatch.delenv("NIDAQ_CALLS", raising=False)


@pytest.mark.parametrize(
    ("module", "plugin", "settings", "extra"),
    [
        ("nidaqmx", "nidaq.board:NidaqBoard", {"channels": CHANNELS}, "poseloop[nidaq]"),
        ("pythonosc", "message.osc:OscBoard", {"port": 9000, "addresses": {"laser": "/laser"}}, "poseloop[osc]"),
    ],
)
def test_a_missing_package_is_named(module, plugin, settings, extra) -> None:
    """In a process of its own, in which the package cannot be found."""
    where, name = plugin.split(":")
    text = json.dumps({"timed_by": "host", **settings})
    code = f"""
import sys
sys.modules[{module!r}] = None
from poseloop.drivers.{where} import {name} as kind
way = kind.way("board", kind.Settings.model_validate_json({text!r}))
try:
    way.open()
except Exception as error:
    print(type(error).__name__, error)
print(kind.discover())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "ConnectError" in done.stdout, done.stderr
    assert extra in done.stdout


def test_a_keeper_that_says_nothing_counts_as_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    with OpenEphys() as plugin:
        board = board_of(OpenEphysBoard, endpoint=plugin.endpoint, ttl={"laser": 3})
        ear = armed(board)
        monkeypatch.setattr("poseloop.drivers.host_timed.board.SILENCE_NS", -1)
        assert "hangs" in ear.state(BoardState.LINK_LOST).detail
        patiently(lambda: plugin.asked[-1] == "TTL Line=3 State=0", "the host switches off")
        board.close()


def test_seen_only_counts_changes() -> None:
    seen = [Seen(at, "laser", on) for at, on in enumerate([False, True, True, False, False])]
    assert [edge.on for edge in edges(seen)] == [True, False]
    assert rules_module.MIN_ON_US == 1000
