"""One suite over every board: what a host may rely on, whatever is behind the driver."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from benches import ROWS, Bench, Row
from boards import (
    LASER,
    LEASE_MS,
    LINES,
    VALVE,
    Ear,
    TraceEdge,
    level,
    off,
    patiently,
    pulse,
    train,
)

from poseloop.live.clock import now_ns
from poseloop.live.errors import DeviceLost, SettingRefused
from poseloop.live.interfaces import Board, BoardState
from poseloop.live.types import ALL_LINES, BoardEvent, Outcome, OutcomeKind, PinEdge

LONG_LEASE_MS = 3000
"""For tests that are not about the lease: a busy machine must not make it lapse."""

LAPSE_SLACK_US = 50_000
CLOCK_SLACK_NS = 20_000_000
"""The mapped time of an edge is off by less than one round trip; causality is checked with much more room."""


@pytest.fixture(params=ROWS, ids=lambda row: row.name)
def bench(request, tmp_path) -> Iterator[Bench]:
    row: Row = request.param
    row.skip_where_it_cannot_run()
    with row.setup(tmp_path, {line.pin: line.active_high for line in LINES}) as bench:
        yield bench


@pytest.fixture
def board(bench) -> Any:
    bench.board.open()
    return bench.board


@pytest.fixture
def armed(board) -> Ear:
    board.configure(LINES, LONG_LEASE_MS)
    board.arm()
    return Ear(board)


def widths(trace: list[TraceEdge], pin: int) -> list[int]:
    edges = [edge for edge in trace if edge.pin == pin]
    assert [edge.active for edge in edges] == [True, False] * (len(edges) // 2)
    return [down.board_us - up.board_us for up, down in zip(edges[::2], edges[1::2], strict=True)]


def test_it_is_a_board_and_its_constructor_touches_nothing(bench) -> None:
    board = bench.board
    assert isinstance(board, Board)
    assert board.name == "board"
    assert list(board.events()) == []
    board.off()
    board.close()
    with pytest.raises(DeviceLost):
        board.send(pulse())


def test_discover_gives_lines_of_text(bench) -> None:
    assert all(isinstance(line, str) for line in type(bench.board).discover())


def test_opened_twice_and_closed_twice(bench) -> None:
    for _ in range(2):
        bench.board.open()
        bench.board.close()
        bench.board.close()


def test_nothing_acts_before_arming(board, bench) -> None:
    board.configure(LINES, LEASE_MS)
    ear = Ear(board)
    for command in (pulse(), train(), level()):
        outcome = ear.outcome(board.send(command))
        assert outcome.kind is OutcomeKind.REFUSED
        assert "not armed" in outcome.reason
    assert not bench.trace()


def test_arming_needs_settings(board) -> None:
    with pytest.raises(SettingRefused):
        board.arm()


def test_pulse_from_command_to_pin(armed, bench) -> None:
    before_ns = now_ns()
    ticket = armed.board.send(pulse(on_us=3000))
    up, down = armed.edge(ticket, True), armed.edge(ticket, False)
    outcome = armed.outcome(ticket)
    assert outcome.kind is OutcomeKind.ACKNOWLEDGED
    assert outcome.reason == ""
    assert before_ns <= outcome.written_ns <= outcome.acknowledged_ns <= now_ns()
    assert up.line == down.line == "laser"
    assert before_ns - CLOCK_SLACK_NS < up.at_ns < down.at_ns < now_ns() + CLOCK_SLACK_NS
    assert [event for event in armed.heard if isinstance(event, Outcome | PinEdge)] == [outcome, up, down]
    assert widths(bench.trace(), LASER.pin) == [pytest.approx(3000, abs=bench.width_error_us)]


def test_train_and_active_low_line(armed, bench) -> None:
    armed.edge(armed.board.send(pulse("valve", on_us=2000)), False, renew=True)
    ticket = armed.board.send(train(on_us=1000, period_us=3000, count=4))
    armed.until(lambda _: len(armed.edges()) == 10, "ten edges", renew=True)
    assert {edge.ticket for edge in armed.edges()[2:]} == {ticket}
    assert widths(bench.trace(), VALVE.pin) == [pytest.approx(2000, abs=bench.width_error_us)]
    assert widths(bench.trace(), LASER.pin) == [pytest.approx(1000, abs=bench.width_error_us)] * 4


def test_level_lasts_while_renewed_and_off_ends_it(board, bench) -> None:
    lease_ms = 200
    board.configure(LINES, lease_ms)
    board.arm()
    ear = Ear(board)
    ear.edge(board.send(level()), True)
    ends = time.perf_counter() + 3 * lease_ms / 1000
    while time.perf_counter() < ends:
        board.renew()
        time.sleep(0.005)
    ticket = board.send(off())
    assert ear.edge(ticket, False).line == "laser"
    assert ear.outcome(ticket).kind is OutcomeKind.ACKNOWLEDGED
    (width,) = widths(bench.trace(), LASER.pin)
    assert width > 2 * lease_ms * 1000


def test_off_for_all_lines(armed) -> None:
    armed.edge(armed.board.send(level()), True)
    armed.edge(armed.board.send(off(ALL_LINES)), False)


def test_off_works_disarmed_and_twice(board) -> None:
    board.configure(LINES, LEASE_MS)
    ear = Ear(board)
    for _ in range(2):
        assert ear.outcome(board.send(off())).kind is OutcomeKind.ACKNOWLEDGED
    board.off()
    board.off()


def test_the_call_off_waits_until_all_is_off(armed, bench) -> None:
    armed.edge(armed.board.send(level()), True)
    armed.board.off()
    assert [edge.active for edge in bench.trace()] == [True, False]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (pulse("valve", on_us=50_001), "max_on_ms"),
        (train("valve"), "does not allow"),
        (level("valve"), "does not allow"),
        (pulse("lick"), "no output line 'lick'"),
        (pulse("lazer"), "it has: laser, valve"),
        (pulse(on_us=2**32), "larger than the board can hold"),
        (pulse(on_us=1), "shorter than"),
    ],
)
def test_a_mistake_is_an_answer_not_an_exception(armed, bench, command, words) -> None:
    outcome = armed.outcome(armed.board.send(command))
    assert outcome.kind is OutcomeKind.REFUSED
    assert words in outcome.reason
    assert not bench.trace()


def test_a_busy_line_refuses(armed) -> None:
    first, second = armed.board.send(pulse(on_us=20_000)), armed.board.send(pulse())
    assert armed.outcome(second).kind is OutcomeKind.REFUSED
    assert "earlier command" in armed.outcome(second).reason
    armed.edge(first, False)
    assert {edge.ticket for edge in armed.edges()} == {first}


def test_off_for_a_line_that_does_not_exist_switches_all_off(armed) -> None:
    armed.edge(armed.board.send(level()), True)
    outcome = armed.outcome(armed.board.send(off("lazer")))
    assert outcome.kind is OutcomeKind.REFUSED
    assert "all its outputs were switched off" in outcome.reason
    armed.until(lambda event: isinstance(event, PinEdge) and not event.value, "the laser off")


def test_tickets_never_come_twice(armed) -> None:
    commands = [pulse(), off(), pulse("nothing"), off(ALL_LINES), off("nothing"), level("valve")] * 5
    tickets = [armed.board.send(command) for command in commands]
    assert tickets == sorted(set(tickets))
    assert {armed.outcome(ticket).ticket for ticket in tickets} == set(tickets)


def test_lease_lapses_without_renewal(board, bench) -> None:
    board.configure(LINES, LEASE_MS)
    board.arm()
    ear = Ear(board)
    ear.edge(board.send(level()), True)
    assert "100 ms" in ear.state(BoardState.LEASE_LAPSED).detail
    (width,) = widths(bench.trace(), LASER.pin)
    assert width < LEASE_MS * 1000 + LAPSE_SLACK_US
    assert ear.edges()[-1].ticket == 0
    board.renew()
    assert "not armed" in ear.outcome(board.send(pulse())).reason
    board.arm()
    assert ear.outcome(board.send(pulse())).kind is OutcomeKind.ACKNOWLEDGED


def test_disarm_switches_off(armed, bench) -> None:
    armed.edge(armed.board.send(level()), True)
    armed.board.disarm()
    assert [edge.active for edge in bench.trace()] == [True, False]
    armed.state(BoardState.DISARMED)
    assert "not armed" in armed.outcome(armed.board.send(pulse())).reason


def test_max_on_cuts_a_level(board, bench) -> None:
    board.configure([replace(LASER, max_on_us=20_000)], LONG_LEASE_MS)
    board.arm()
    ear = Ear(board)
    ear.edge(board.send(level()), True)
    assert "max_on_ms" in ear.state(BoardState.LIMIT).detail
    assert ear.edges()[-1].ticket == 0
    assert widths(bench.trace(), LASER.pin) == [pytest.approx(20_000, abs=1000 + bench.width_error_us)]
    assert not [e for e in ear.heard if isinstance(e, BoardEvent) and e.state == BoardState.LEASE_LAPSED]


def test_max_duty_refuses(board, bench) -> None:
    board.configure([replace(LASER, max_duty=0.01, window_us=1_000_000)], LONG_LEASE_MS)
    board.arm()
    ear = Ear(board)
    assert "max_duty" in ear.outcome(board.send(pulse(on_us=10_001))).reason
    ear.edge(board.send(pulse(on_us=9_000)), False)
    assert "max_duty" in ear.outcome(board.send(train(on_us=1_000, count=2))).reason
    assert len(bench.trace()) == 2


@pytest.mark.parametrize(
    ("line", "key"),
    [
        (replace(LASER, pin=0), "lines.laser.pin: expected 0"),
        (replace(LASER, pin=13), "lines.laser.pin: expected 13"),
        (replace(LASER, pin=200), "lines.laser.pin: expected 200"),
        (replace(LASER, pin=VALVE.pin), "lines.valve.pin: expected 9"),
        (replace(LASER, max_on_us=3_600_000_001), "lines.laser.max_on_ms: expected 3600000.001"),
        (replace(LASER, max_on_us=2**32), "lines.laser"),
        (replace(LASER, max_duty=0.0001), "lines.laser"),
    ],
)
def test_settings_that_the_board_does_not_take(board, line, key) -> None:
    with pytest.raises(SettingRefused) as caught:
        board.configure([line, VALVE], LEASE_MS)
    assert f"board: {key}" in str(caught.value)
    with pytest.raises(SettingRefused):
        board.arm()


@pytest.mark.parametrize("lease_ms", [5, 20_000, 70_000])
def test_lease_that_the_board_does_not_take(board, lease_ms) -> None:
    with pytest.raises(SettingRefused, match=f"lease_ms: expected {lease_ms}"):
        board.configure(LINES, lease_ms)


def test_settings_only_while_disarmed(armed) -> None:
    with pytest.raises(SettingRefused, match="disarmed"):
        armed.board.configure(LINES, LEASE_MS)


def test_closing_leaves_everything_off(armed, bench) -> None:
    armed.edge(armed.board.send(level()), True)
    armed.board.close()
    armed.board.close()
    assert patiently(lambda: [edge.active for edge in bench.trace()] == [True, False], "the laser off")
