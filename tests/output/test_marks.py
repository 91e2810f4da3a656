"""What is marked for a person's look."""

import json

import numpy as np
import pytest
import synthetic
from synthetic import Plan

from poseloop.live.output.marks import Marker, lowest
from poseloop.live.output.wire import Wire

NAN = np.nan


@pytest.mark.parametrize(
    ("score", "least"),
    [
        ([[0.9, 0.8]], 0.8),
        ([[0.9, NAN]], 0.0),
        ([[NAN, NAN]], 0.0),
        # One animal of two is in the arena.
        ([[0.9, 0.8], [NAN, NAN]], 0.8),
        ([[0.9, 0.8], [0.0, 0.0]], 0.8),
        ([[0.9, 0.8], [NAN, 0.7]], 0.0),
        ([[NAN, NAN], [NAN, NAN]], 0.0),
    ],
)
def test_the_least_sure_keypoint_of_the_animals_that_are_there(score: list, least: float) -> None:
    assert lowest(np.array([score], np.float32))[0] == pytest.approx(least)


def note(**values: object) -> tuple:
    return (7, "host", "note", json.dumps(values))


def trigger(reason: str) -> tuple:
    return (12, "box", "laser", "pulse", 5000, 0, 0, 0, "refused", reason, *[0] * 8)


@pytest.mark.parametrize(
    ("table", "row", "mark"),
    [
        ("trigger", trigger("held: low score"), (12, "held")),
        ("trigger", trigger("held: stale"), None),
        ("event", note(name="alarm", index=70), (70, "alarm")),
        ("event", note(name="entry", index=70), None),
        ("event", note(name="alarm"), None),
        ("event", (7, "engine", "health", "{}"), None),
        ("frame", (0, 0, 12, 1, 2, 3, ""), None),
    ],
)
def test_rows_give_marks(table: str, row: tuple, mark: tuple | None) -> None:
    assert Marker(0.5).look(table, row) == mark


@pytest.mark.parametrize(("gate", "marked"), [(0.5, True), (0.05, False), (0.0, True)])
def test_a_pose_under_the_gate_is_marked(gate: float, marked: bool) -> None:
    # Every tenth pose of a synthetic session has a keypoint of score 0.1.
    for index, low in ((8, False), (9, True)):
        pose = synthetic.pose_at(Plan(), index, index)
        row = (index, index, 1, 2, Wire().pose(pose), b"")
        assert Marker(gate).look("pose", row) == ((index, "score") if low and marked else None)
