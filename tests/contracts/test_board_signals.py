"""The contract of boards that trigger cameras and write sync: what is not leased, whoever is behind the driver."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from benches import ROWS, Bench, Row
from boards import LASER, LICK, PATIENCE_S, Ear, TraceEdge, level, patiently, pulse

from poseloop.drivers.sim.board import SimulatedBoard
from poseloop.live.interfaces import BoardState
from poseloop.live.types import ALL_LINES, CameraTrigger, Command, CommandKind, LineSettings, OutcomeKind, PinEdge

CAMERA = LineSettings("camera_trigger", 4, kinds=(CommandKind.CAMERA,), max_on_us=5000)
SYNC = LineSettings("sync", 5, kinds=(CommandKind.SYNC,), max_on_us=100_000)
LINES = (LASER, CAMERA, SYNC, LICK)
ACTIVE_HIGH = {line.pin: line.active_high for line in LINES}
LEASE_MS = 100


def camera(count: int = 0, period_us: int = 10_000, on_us: int = 1000) -> Command:
    return Command("board", "camera_trigger", CommandKind.CAMERA, on_us=on_us, period_us=period_us, count=count)


def sync(code: int, on_us: int = 500) -> Command:
    return Command("board", "sync", CommandKind.SYNC, on_us=on_us, code=code)


def off(line: str) -> Command:
    return Command("board", line, CommandKind.OFF)


@pytest.fixture(params=ROWS, ids=lambda row: row.name)
def bench(request, tmp_path: Path) -> Iterator[Bench]:
    row: Row = request.param
    row.skip_where_it_cannot_run()
    with row.setup(tmp_path, ACTIVE_HIGH) as bench:
        yield bench


@pytest.fixture
def ear(bench) -> Ear:
    """Configured, not armed."""
    bench.board.open()
    bench.board.configure(LINES, LEASE_MS)
    return Ear(bench.board)


def at_pin(bench: Bench, pin: int) -> list[TraceEdge]:
    return [edge for edge in bench.trace() if edge.pin == pin]


def triggers(ear: Ear) -> list[CameraTrigger]:
    return [event for event in ear.heard if isinstance(event, CameraTrigger)]


def trigger(ear: Ear, index: int) -> CameraTrigger:
    return ear.until(lambda e: isinstance(e, CameraTrigger) and e.index == index, f"trigger {index}")


def test_triggers_are_even_counted_and_told(ear, bench) -> None:
    ticket = ear.board.send(camera(count=5))
    last = trigger(ear, 4)
    assert ear.outcome(ticket).kind is OutcomeKind.ACKNOWLEDGED
    assert [event.index for event in triggers(ear)] == list(range(5))
    assert {(event.board, event.line) for event in triggers(ear)} == {("board", "camera_trigger")}
    patiently(lambda: len(at_pin(bench, CAMERA.pin)) == 10, "five triggers")
    edges = at_pin(bench, CAMERA.pin)
    ups, downs = edges[::2], edges[1::2]
    assert [edge.active for edge in edges] == [True, False] * 5
    error = bench.width_error_us
    for number, (up, down) in enumerate(zip(ups, downs, strict=True)):
        assert up.board_us - ups[0].board_us == pytest.approx(number * 10_000, abs=error)
        assert down.board_us - up.board_us == pytest.approx(1000, abs=error)
    told_us = (last.at_ns - triggers(ear)[0].at_ns) / 1000
    assert told_us == pytest.approx(40_000, rel=0.2), "the board's times, mapped to the host's clock"
    assert not ear.edges(), "triggers are no edges of a stimulus"


def test_triggers_outlive_lease_disarming_and_off_for_all_lines(ear, bench) -> None:
    board = ear.board
    board.arm()
    board.send(camera())
    ear.edge(board.send(level()), True)
    ear.state(BoardState.LEASE_LAPSED)
    board.disarm()
    assert ear.outcome(board.send(off(ALL_LINES))).kind is OutcomeKind.ACKNOWLEDGED
    board.off()
    seen = len(triggers(ear))
    ear.until(lambda _: len(triggers(ear)) > seen + 5, "more triggers")
    ticket = board.send(off("camera_trigger"))
    assert ear.outcome(ticket).kind is OutcomeKind.ACKNOWLEDGED
    assert_quiet(ear, bench)


def assert_quiet(ear: Ear, bench: Bench) -> None:
    """No trigger is being made any more, and the pin is at its safe level."""
    patiently(lambda: not at_pin(bench, CAMERA.pin)[-1].active, "the pin off")
    before = len(at_pin(bench, CAMERA.pin))
    time.sleep(0.05)
    assert len(at_pin(bench, CAMERA.pin)) == before
    assert [event.index for event in triggers(ear)] == list(range(len(triggers(ear))))


def test_triggers_start_from_0_each_time(ear) -> None:
    for _ in range(2):
        ear.heard.clear()
        ear.board.send(camera())
        trigger(ear, 3)
        ear.outcome(ear.board.send(off("camera_trigger")))
        assert triggers(ear)[0].index == 0


def test_triggers_that_run_refuse_others(ear) -> None:
    ear.board.send(camera())
    answer = ear.outcome(ear.board.send(camera()))
    assert answer.kind is OutcomeKind.REFUSED
    assert "earlier command" in answer.reason


def test_closing_ends_triggers(ear, bench) -> None:
    ear.board.send(camera())
    trigger(ear, 2)
    ear.board.close()
    assert_quiet(ear, bench)


def test_another_host_ends_triggers(ear, bench) -> None:
    """As after a host that was killed: the next one greets the board."""
    ear.board.send(camera())
    trigger(ear, 2)
    ear.board.disarm()
    ear.board.configure(LINES, LEASE_MS)
    assert_quiet(ear, bench)


def test_no_stimulus_comes_from_these_lines(ear, bench) -> None:
    ear.board.arm()
    for line in ("camera_trigger", "sync"):
        assert "does not allow" in ear.outcome(ear.board.send(pulse(line))).reason
        assert "does not allow" in ear.outcome(ear.board.send(level(line))).reason
    swapped = Command("board", "laser", CommandKind.CAMERA, on_us=1000, period_us=10_000)
    assert "does not allow" in ear.outcome(ear.board.send(swapped)).reason
    assert not bench.trace()


@pytest.mark.parametrize("code", [0, 1, 0xFFFFFFFF, 0xA5000001])
def test_sync_writes_its_code(ear, bench, code) -> None:
    bit_us = 500
    ticket = ear.board.send(sync(code, bit_us))
    begun, ended = ear.edge(ticket, True), ear.edge(ticket, False)
    assert [event for event in ear.heard if isinstance(event, PinEdge)] == [begun, ended]
    assert (begun.line, ended.line) == ("sync", "sync")
    assert (ended.at_ns - begun.at_ns) / 1000 == pytest.approx(33 * bit_us, rel=0.2)
    edges = at_pin(bench, SYNC.pin)
    middles = [edges[0].board_us + (number + 0.5) * bit_us for number in range(34)]
    bits = [[edge.active for edge in edges if edge.board_us <= at][-1] for at in middles]
    assert bits == [True, *(bool(code >> number & 1) for number in range(32)), False]


def test_a_sync_that_is_under_way_is_not_disturbed(ear) -> None:
    first, second = ear.board.send(sync(7, 3000)), ear.board.send(sync(8, 3000))
    assert "earlier command" in ear.outcome(second).reason
    ear.edge(first, False)


def test_too_many_edges_are_refused(ear) -> None:
    assert "8,000 edges a second" in ear.outcome(ear.board.send(camera(period_us=249, on_us=100))).reason
    assert ear.outcome(ear.board.send(camera(period_us=250, on_us=100))).kind is OutcomeKind.ACKNOWLEDGED
    assert "8,000 edges a second" in ear.outcome(ear.board.send(sync(1))).reason


def test_a_reset_ends_triggers_and_is_told(tmp_path) -> None:
    """Only the simulated board can be made to restart from here; the firmware's own restart is in tests/firmware."""
    trace = tmp_path / "trace.jsonl"
    board = SimulatedBoard("board", SimulatedBoard.Settings(trace=trace, reset_after=1))
    board.open()
    try:
        board.configure(LINES, 3000)
        board.arm()
        ear = Ear(board)
        board.send(camera())
        trigger(ear, 2)
        board.send(pulse())
        assert "camera triggers too" in ear.state(BoardState.RESET).detail
        told = len(triggers(ear))
        ends = time.perf_counter() + min(0.1, PATIENCE_S)
        while time.perf_counter() < ends:
            ear.heard += board.events()
            time.sleep(0.005)
        assert len(triggers(ear)) == told
    finally:
        board.close()
