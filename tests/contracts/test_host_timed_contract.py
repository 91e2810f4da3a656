"""One suite over the boards that this computer times: the same rules as a board's, seen from the far end."""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from boards import ANY_KIND, PATIENCE_S, Ear, level, off, patiently, pulse, train
from ways import (
    OpenEphys,
    OscReceiver,
    Seen,
    Sketch,
    Subscribed,
    TeensyLaser,
    edges,
    standins,
)

from poseloop.drivers.host_timed.rules import UNCONFIRMED
from poseloop.drivers.message.osc import OscBoard
from poseloop.drivers.message.zeromq import ZeromqBoard
from poseloop.drivers.nidaq.board import NidaqBoard
from poseloop.drivers.openephys.board import OpenEphysBoard
from poseloop.drivers.serial_bytes.board import SerialBytesBoard
from poseloop.drivers.teensy.board import TeensyBoard
from poseloop.live.clock import now_ns
from poseloop.live.errors import DeviceLost, SettingRefused
from poseloop.live.interfaces import Board, BoardState
from poseloop.live.types import ALL_LINES, Command, CommandKind, LineSettings, Outcome, OutcomeKind

LASER = LineSettings("laser", kinds=ANY_KIND, max_on_us=2_000_000)
LONG_LEASE_MS = 3000
LEASE_MS = 150

posix = pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals and stopped processes are POSIX things")


@dataclass
class Bench:
    """One board on the bench, and what its far end was told since the last `forget`."""

    board: Any
    told: Callable[[], list[Seen]]
    forgotten: int = 0

    def forget(self) -> None:
        self.forgotten = len(self.told())

    def seen(self) -> list[Seen]:
        return self.told()[self.forgotten :]

    def edges(self) -> list[bool]:
        return [edge.on for edge in edges(self.seen())]

    def widths_ms(self) -> list[float]:
        found = edges(self.seen())
        assert [edge.on for edge in found] == [True, False] * (len(found) // 2)
        return [(down.host_ns - up.host_ns) / 1e6 for up, down in zip(found[::2], found[1::2], strict=True)]


@dataclass(frozen=True)
class Row:
    """One kind of board."""

    name: str
    setup: Callable[[Path, Any], contextlib.AbstractContextManager[Bench]]
    on: OutcomeKind
    """What becomes of an on-command: acknowledged, where the far end can say so."""
    off: OutcomeKind
    posix_only: bool = False


@contextlib.contextmanager
def with_board(kind: type, seen: Callable[[], list[Seen]], **settings: Any) -> Iterator[Bench]:
    board = kind("board", kind.Settings(timed_by="host", **settings))
    try:
        yield Bench(board, seen)
    finally:
        board.close()


@contextlib.contextmanager
def sketch(folder: Path, monkeypatch: Any) -> Iterator[Bench]:
    words = {"laser": {"on": "H", "off": "L"}}
    with (
        Sketch() as sketch,
        with_board(SerialBytesBoard, lambda: list(sketch.seen), port=sketch.port, starts_s=0, bytes=words) as bench,
    ):
        yield bench


@contextlib.contextmanager
def answering_sketch(folder: Path, monkeypatch: Any) -> Iterator[Bench]:
    words = {"laser": {"on": "H", "off": "L", "on_reply": "on\n", "off_reply": "off\n"}}
    with (
        Sketch(answers=True) as sketch,
        with_board(SerialBytesBoard, lambda: list(sketch.seen), port=sketch.port, starts_s=0, bytes=words) as bench,
    ):
        yield bench


@contextlib.contextmanager
def teensy(folder: Path, monkeypatch: Any) -> Iterator[Bench]:
    bursts = {"laser": {"hz": 50, "width_ms": 5}}
    with (
        TeensyLaser() as teensy,
        with_board(TeensyBoard, lambda: list(teensy.seen), port=teensy.port, bursts=bursts) as bench,
    ):
        yield bench


@contextlib.contextmanager
def open_ephys(folder: Path, monkeypatch: Any) -> Iterator[Bench]:
    with (
        OpenEphys() as plugin,
        with_board(OpenEphysBoard, lambda: list(plugin.seen), endpoint=plugin.endpoint, ttl={"laser": 3}) as bench,
    ):
        yield bench


@contextlib.contextmanager
def osc(folder: Path, monkeypatch: Any) -> Iterator[Bench]:
    with (
        OscReceiver() as ear,
        with_board(OscBoard, lambda: list(ear.seen), port=ear.port, addresses={"laser": "/rig1/laser"}) as bench,
    ):
        yield bench


@contextlib.contextmanager
def zeromq(folder: Path, monkeypatch: Any) -> Iterator[Bench]:
    with (
        Subscribed() as ear,
        with_board(ZeromqBoard, lambda: list(ear.seen), endpoint=ear.endpoint, topics={"laser": "rig1.laser"}) as bench,
    ):
        yield bench


@contextlib.contextmanager
def nidaq(folder: Path, monkeypatch: Any) -> Iterator[Bench]:
    channels = {"laser": {"line": "Dev1/port0/line0"}}
    with (
        standins(folder, monkeypatch) as calls,
        with_board(NidaqBoard, lambda: calls.seen, channels=channels) as bench,
    ):
        yield bench


YES, UNKNOWN = OutcomeKind.ACKNOWLEDGED, OutcomeKind.LOST
ROWS = (
    Row("serial", sketch, UNKNOWN, UNKNOWN, posix_only=True),
    Row("serial-that-answers", answering_sketch, YES, YES, posix_only=True),
    Row("teensy", teensy, YES, UNKNOWN, posix_only=True),
    Row("openephys", open_ephys, YES, YES),
    Row("osc", osc, UNKNOWN, UNKNOWN),
    Row("zeromq", zeromq, UNKNOWN, UNKNOWN),
    Row("nidaq", nidaq, YES, YES),
)


@pytest.fixture(params=ROWS, ids=lambda row: row.name)
def row(request) -> Row:
    if request.param.posix_only and sys.platform == "win32":
        pytest.skip("pseudo-terminals are a POSIX thing")
    return request.param


@pytest.fixture
def bench(row, tmp_path, monkeypatch) -> Iterator[Bench]:
    with row.setup(tmp_path, monkeypatch) as bench:
        yield bench


@pytest.fixture
def board(bench, row) -> Any:
    bench.board.open()
    if row.name == "zeromq":
        # A publisher waits for nobody: its subscriber needs a moment until it hears anything.
        def heard() -> bool:
            bench.board.off()
            return bool(bench.seen())

        patiently(heard, "a subscription")
    return bench.board


@pytest.fixture
def armed(board) -> Ear:
    board.configure([LASER], LONG_LEASE_MS)
    board.arm()
    return Ear(board)


def carry_out(ear: Ear, bench: Bench, row: Row, command: Command) -> Outcome:
    """Give a command until it is carried out: a busy machine may keep keeper or far end from it for too long."""
    ends = time.perf_counter() + 4 * PATIENCE_S
    while True:
        bench.forget()
        outcome = ear.outcome(bench.board.send(command), renew=True)
        if outcome.kind is row.on and outcome.reason in ("", UNCONFIRMED):
            return outcome
        assert time.perf_counter() < ends, outcome
        bench.board.off()
        time.sleep(0.1)
        bench.board.arm()


def test_it_is_a_board_and_its_constructor_touches_nothing(bench) -> None:
    board = bench.board
    assert isinstance(board, Board)
    assert board.name == "board"
    assert list(board.events()) == []
    board.off()
    board.close()
    with pytest.raises(DeviceLost):
        board.send(pulse())
    assert bench.seen() == []
    assert all(isinstance(line, str) for line in type(board).discover())


def test_opened_twice_and_closed_twice(bench) -> None:
    for _ in range(2):
        bench.board.open()
        bench.board.close()
        bench.board.close()
    assert bench.edges() == []


def test_nothing_acts_before_arming_and_arming_needs_settings(board, bench) -> None:
    with pytest.raises(SettingRefused):
        board.arm()
    board.configure([LASER], LEASE_MS)
    ear = Ear(board)
    for command in (pulse(), train(), level()):
        outcome = ear.outcome(board.send(command))
        assert outcome.kind is OutcomeKind.REFUSED
        assert "not armed" in outcome.reason
    assert bench.edges() == []


def test_pulse_from_command_to_the_far_end(armed, bench, row) -> None:
    before_ns = now_ns()
    outcome = carry_out(armed, bench, row, pulse(on_us=60_000))
    assert outcome.kind is row.on
    assert outcome.reason == ("" if row.on is YES else UNCONFIRMED)
    assert before_ns <= outcome.written_ns <= now_ns()
    assert bool(outcome.acknowledged_ns) is (row.on is YES)
    (width_ms,) = patiently(lambda: len(bench.edges()) == 2 and bench.widths_ms(), "a pulse")
    # Half of it, since the far end's own thread may be late; the keeper's clock is tested in test_host_timed.
    assert 30 < width_ms < PATIENCE_S * 1000
    assert not armed.edges(), "nothing reads these lines back"


def test_a_train(armed, bench, row) -> None:
    carry_out(armed, bench, row, train(on_us=10_000, period_us=30_000, count=4))
    patiently(lambda: len(bench.edges()) == 8, "four pulses")
    assert bench.edges() == [True, False] * 4


def test_a_level_lasts_while_renewed_and_off_ends_it(board, bench, row) -> None:
    lease_ms = 500
    board.configure([LASER], lease_ms)
    board.arm()
    ear = Ear(board)
    carry_out(ear, bench, row, level())
    ends = time.perf_counter() + 2.5 * lease_ms / 1000
    while time.perf_counter() < ends:
        board.renew()
        time.sleep(0.005)
    ticket = board.send(off())
    assert ear.outcome(ticket).kind is row.off
    patiently(lambda: bench.edges() == [True, False], "on and off")
    (width_ms,) = bench.widths_ms()
    assert width_ms > 1.5 * lease_ms


def test_the_lease_lapses_without_renewal_and_only_arming_helps(board, bench, row) -> None:
    board.configure([LASER], LEASE_MS)
    board.arm()
    ear = Ear(board)
    carry_out(ear, bench, row, level())
    assert f"{LEASE_MS} ms" in ear.state(BoardState.LEASE_LAPSED).detail
    patiently(lambda: bench.edges() == [True, False], "on and off")
    board.renew()
    assert "not armed" in ear.outcome(board.send(pulse())).reason
    board.arm()
    assert carry_out(ear, bench, row, pulse()).kind is row.on


def test_max_on_cuts_a_level(board, bench, row) -> None:
    board.configure([replace(LASER, max_on_us=50_000)], LONG_LEASE_MS)
    board.arm()
    ear = Ear(board)
    carry_out(ear, bench, row, level())
    assert "max_on_ms" in ear.state(BoardState.LIMIT).detail
    patiently(lambda: bench.edges() == [True, False], "on and off")


def test_max_duty_refuses(board, bench, row) -> None:
    board.configure([replace(LASER, max_duty=0.01, window_us=10_000_000)], LONG_LEASE_MS)
    board.arm()
    ear = Ear(board)
    assert "max_duty" in ear.outcome(board.send(pulse(on_us=100_001))).reason
    carry_out(ear, bench, row, pulse(on_us=60_000))
    patiently(lambda: bench.edges() == [True, False], "a pulse")
    # Where the device ends its pulses itself, the line stays busy for a moment.
    patiently(lambda: "max_duty" in ear.outcome(board.send(pulse(on_us=60_000)), renew=True).reason, "a refusal")
    assert bench.edges() == [True, False]


MISTAKES = (
    (pulse(on_us=2_000_001), "max_on_ms"),
    (pulse(on_us=999), "shorter than"),
    (train(on_us=1000, period_us=1999), "shorter than"),
    (pulse("lazer"), "no output line 'lazer'; it has: laser"),
)


def test_a_mistake_is_an_answer_not_an_exception(armed, bench) -> None:
    for command, words in MISTAKES:
        outcome = armed.outcome(armed.board.send(command))
        assert outcome.kind is OutcomeKind.REFUSED
        assert words in outcome.reason
    assert bench.edges() == []


def test_a_kind_that_the_line_does_not_obey(board, bench) -> None:
    board.configure([LineSettings("laser", max_on_us=1_000_000)], LONG_LEASE_MS)
    board.arm()
    assert "does not allow" in Ear(board).outcome(board.send(level())).reason
    assert bench.edges() == []


def test_a_busy_line_refuses(armed, bench, row) -> None:
    carry_out(armed, bench, row, pulse(on_us=500_000))
    assert "earlier command" in armed.outcome(armed.board.send(pulse())).reason
    patiently(lambda: bench.edges() == [True, False], "one pulse")


@pytest.mark.parametrize("line", ["lazer", ALL_LINES])
def test_off_for_all_lines_and_for_one_that_does_not_exist(armed, bench, row, line) -> None:
    carry_out(armed, bench, row, level())
    outcome = armed.outcome(armed.board.send(off(line)))
    if line == ALL_LINES:
        assert outcome.kind is row.off
    else:
        assert outcome.kind is OutcomeKind.REFUSED
        assert "all its outputs were switched off" in outcome.reason
    patiently(lambda: bench.edges() == [True, False], "on and off")


def test_tickets_never_come_twice(armed) -> None:
    commands = [pulse(), off(), pulse("nothing"), off(ALL_LINES), off("nothing")] * 4
    tickets = [armed.board.send(command) for command in commands]
    assert tickets == sorted(set(tickets))
    assert {armed.outcome(ticket).ticket for ticket in tickets} == set(tickets)


def test_disarming_switches_off(armed, bench, row) -> None:
    carry_out(armed, bench, row, level())
    armed.board.disarm()
    patiently(lambda: bench.edges() == [True, False], "on and off")
    armed.state(BoardState.DISARMED)
    assert "not armed" in armed.outcome(armed.board.send(pulse())).reason


def test_closing_leaves_everything_off(armed, bench, row) -> None:
    carry_out(armed, bench, row, level())
    armed.board.close()
    armed.board.close()
    patiently(lambda: bench.edges() == [True, False], "on and off")


REFUSED_LINES = (
    (replace(LASER, name="lazer"), "lines.lazer"),
    (replace(LASER, direction="input", kinds=(), max_on_us=0), "outputs only"),
    (replace(LASER, active_high=False), "active"),
    (replace(LASER, kinds=(CommandKind.CAMERA,)), "board with our firmware"),
    (replace(LASER, kinds=(CommandKind.SYNC,)), "board with our firmware"),
    (replace(LASER, max_duty=0.0001), "max_duty"),
    (replace(LASER, max_on_us=0), "max_on_ms"),
)


def test_settings_that_it_does_not_take(bench) -> None:
    bench.board.open()
    for line, words in REFUSED_LINES:
        with pytest.raises(SettingRefused, match=words):
            bench.board.configure([line], LEASE_MS)
    with pytest.raises(SettingRefused, match="lease_ms"):
        bench.board.configure([LASER], 5)
    with pytest.raises(SettingRefused, match="no such line"):
        bench.board.configure([], LEASE_MS)
    with pytest.raises(SettingRefused, match="armed"):
        bench.board.arm()


def test_settings_only_while_disarmed(armed) -> None:
    with pytest.raises(SettingRefused, match="disarmed"):
        armed.board.configure([LASER], LEASE_MS)


@posix
def test_a_keeper_that_is_killed_is_told_of_and_the_host_switches_off(armed, bench, row) -> None:
    carry_out(armed, bench, row, level())
    os.kill(armed.board.pid, signal.SIGKILL)
    assert "was killed" in armed.state(BoardState.LINK_LOST).detail
    if "zeromq" not in type(bench.board).__module__:  # its subscribers were connected to the keeper
        patiently(lambda: bench.edges() == [True, False], "on and off")
    with pytest.raises(DeviceLost, match="was killed"):
        armed.board.send(pulse())
    armed.board.off()


@posix
def test_what_a_stalled_keeper_finds_when_it_wakes_is_too_late(armed, bench) -> None:
    pid = armed.board.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        ticket = armed.board.send(pulse())
        time.sleep(0.3)
    finally:
        os.kill(pid, signal.SIGCONT)
    outcome = armed.outcome(ticket)
    assert outcome.kind in (OutcomeKind.LOST, OutcomeKind.REFUSED)
    armed.board.off()
    assert bench.edges() == []
