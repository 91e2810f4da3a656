"""From the cameras' trigger to the pin, by the board's own clock."""

from dataclasses import replace

import pytest

from poseloop.live.types import CameraTrigger, Command, CommandKind, Outcome, OutcomeKind, PinEdge, Trace
from poseloop.protocols.triggers import Triggers

PULSE = Command("box", "laser", CommandKind.PULSE, on_us=1000)
MS = 1_000_000

EXPOSED = CameraTrigger("box", "camera_trigger", 7, 100 * MS, device_ns=5 * MS)
PIN = PinEdge("box", "laser", True, 121 * MS, ticket=1, device_ns=25 * MS)


def traced(exposed: CameraTrigger | None, pin: PinEdge = PIN, index: int = 7) -> Trace:
    told: list[dict] = []
    triggers = Triggers(lambda event, **values: told.append(values))
    if exposed is not None:
        triggers.exposed(exposed)
    triggers.sent(PULSE, 1, index, Trace(exposed_ns=100 * MS))
    triggers.answered(Outcome("box", 1, OutcomeKind.ACKNOWLEDGED, "", 119 * MS, 120 * MS))
    triggers.edge(pin)
    assert len(told) == 1
    return Trace(**told[0]["trace"])


def test_between_two_edges_of_one_board_counts_its_own_clock() -> None:
    """How its clock is mapped to the host's has changed by a millisecond in between."""
    trace = traced(EXPOSED)
    assert trace.pin_ns == 121 * MS
    assert trace.pin_ns - trace.triggered_ns == 20 * MS


@pytest.mark.parametrize(
    "exposed",
    [replace(EXPOSED, board="cameras"), replace(EXPOSED, device_ns=0)],
    ids=["another board", "a board without a clock"],
)
def test_else_the_mapped_times_do(exposed: CameraTrigger) -> None:
    assert traced(exposed).triggered_ns == 100 * MS


@pytest.mark.parametrize("exposed", [None, replace(EXPOSED, index=6), replace(EXPOSED, index=7 + 4096)])
def test_a_trigger_that_was_not_reported_is_not_guessed(exposed: CameraTrigger | None) -> None:
    assert traced(exposed).triggered_ns == 0
