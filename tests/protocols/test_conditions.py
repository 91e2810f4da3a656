"""Shapes, limits and conditions against independent references, in pictures and in the world."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poseloop.live.errors import ConfigError
from poseloop.protocols import Protocol, Rehearsal, Settings
from poseloop.protocols.conditions import AnyCondition, all_hold, make
from poseloop.protocols.shapes import area, box_distance, polygon_distance, round_distance

NUMBER = st.floats(-100, 100)


class Watch(Protocol):
    """Notes what a condition answers."""

    class Settings(Settings):
        condition: AnyCondition

    def bind(self, keypoints, cameras, score_gate):
        super().bind(keypoints, cameras, score_gate)
        self.condition = make(self.settings.condition)
        self.condition.bind(keypoints, cameras, score_gate)

    def reset(self, seed):
        super().reset(seed)
        self.condition.reset()
        self.answers = []

    def decide(self, pose, events):
        self.answers.append(self.condition.holds(pose, events))
        return ()


def answers(tracks: dict, fps: float = 100, world: bool = False, **condition) -> list:
    task = Rehearsal(Watch, fps=fps, world=world, condition=condition)
    task.run(tracks)
    return task.protocol.answers


def test_area_has_the_sign_of_the_turn() -> None:
    assert area([(0, 0), (2, 0), (2, 1), (0, 1)]) == 2
    assert area([(0, 1), (2, 1), (2, 0), (0, 0)]) == -2


@given(NUMBER, NUMBER)
def test_a_polygon_of_many_corners_measures_like_a_circle(x: float, y: float) -> None:
    angles = np.linspace(0, math.tau, 721)[:-1]
    corners = [(50 * math.cos(a), 50 * math.sin(a)) for a in angles]
    # Its edges lie at most 50 (1 - cos(0.25 deg)) = 0.0005 inside the circle.
    assert abs(polygon_distance(corners, x, y) - round_distance((0, 0), 50, (x, y))) < 0.001


@given(NUMBER, NUMBER)
def test_a_square_measures_like_a_flat_box(x: float, y: float) -> None:
    corners = [(-10, -20), (30, -20), (30, 40), (-10, 40)]
    expected = box_distance((-10, -20), (30, 40), (x, y))
    assert polygon_distance(corners, x, y) == pytest.approx(expected, abs=1e-9)


@given(NUMBER, NUMBER, NUMBER)
def test_the_distance_to_a_box_is_that_to_its_nearest_point(x: float, y: float, z: float) -> None:
    low, high = np.array([-10, -20, -30]), np.array([10, 20, 30])
    place = np.array([x, y, z])
    outside = np.linalg.norm(place - np.clip(place, low, high))
    depth = min((place - low).min(), (high - place).min())
    expected = outside if depth < 0 else -depth
    assert box_distance(tuple(low), tuple(high), (x, y, z)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("shape", "world", "inside", "outside"),
    [
        ({"polygon": [[0, 0], [10, 0], [10, 10]]}, False, (8, 2), (2, 8)),
        ({"circle": [50, 50, 10]}, False, (57, 57), (58, 58)),
        ({"circle": [50, 50, 10], "space": "world"}, True, (57, 57, 400), (58, 58, 0)),
        ({"box": [[10, 10, 10], [0, 0, 0]]}, True, (5, 5, 5), (5, 5, 11)),
        ({"sphere": [0, 0, 0, 10]}, True, (5, 5, 7), (6, 6, 6)),
    ],
    ids=str,
)
def test_shapes(shape: dict, world: bool, inside: tuple, outside: tuple) -> None:
    track = {"p": [outside, inside, None, inside]}
    assert answers(track, world=world, use="region", keypoint="p", **shape) == [False, True, None, True]


def test_hysteresis_holds_on_to_what_is_inside_and_only_to_that() -> None:
    track = {"p": [(11, 5), (9, 5), (11.5, 5), (12.5, 5), (11, 5)]}
    square = [[0, 0], [10, 0], [10, 10], [0, 10]]
    found = answers(track, use="region", keypoint="p", polygon=square, hysteresis=2)
    assert found == [False, True, True, False, False]


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({}, "exactly one of polygon, circle, box and sphere, but got none"),
        ({"circle": [0, 0, 1], "sphere": [0, 0, 0, 1]}, "but got circle, sphere"),
        ({"circle": [0, 0, 0]}, "the circle has no inside"),
        ({"box": [[0, 0, 0], [1, 1, 0]]}, "the box has no inside"),
        ({"box": [[0, 0, 0], [1, 1, 1]], "camera": "top"}, "camera cannot be set"),
    ],
)
def test_a_region_that_is_none_is_refused(wrong: dict, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        answers({"p": []}, use="region", keypoint="p", **wrong)


def test_speed_of_a_straight_run_is_exact_with_gaps_and_unseen_points() -> None:
    run = [(3.0 * i, 4.0 * i) for i in range(40)]  # 5 px a frame, 100 frames a second: 500 px/s
    run[15:20] = [None] * 5
    limits = {"use": "speed", "keypoint": "p", "window_ms": 100}
    found = answers({"p": run}, above=499.99, below=500.01, **limits)
    assert found[0] is None, "one sighting is no speed"
    assert found[1:15] + found[20:] == [True] * 34
    assert found[15:20] == [None] * 5


def test_acceleration_has_a_sign() -> None:
    speeding = [(0.5 * 2000 * (i / 100) ** 2 + 10 * i / 100, 0) for i in range(60)]
    slowing = [(-x, 0) for x, _ in reversed(speeding)]
    for track, low, high in ((speeding, 1999, 2001), (slowing, -2001, -1999)):
        found = answers({"p": track}, use="speed", quantity="acceleration", keypoint="p", above=low, below=high)
        assert found[:2] == [None, None]
        assert all(found[3:])


def test_speed_in_the_world_counts_the_height() -> None:
    track = {"p": [(0, 3.0 * i, 4.0 * i) for i in range(20)]}
    found = answers(track, world=True, space="world", use="speed", keypoint="p", above=499.99, below=500.01)
    assert all(found[1:])


def test_posture_angle_distance_and_height() -> None:
    tracks = {"hip": [(0, 0)] * 3, "knee": [(10, 0)] * 3, "foot": [(10, 10), (20, 0), None]}
    angle = {"use": "posture", "measure": "angle", "keypoints": ["hip", "knee", "foot"]}
    assert answers(tracks, above=89, below=91, **angle) == [True, False, None]
    distance = {"use": "posture", "measure": "distance", "keypoints": ["knee", "foot"]}
    assert answers({"knee": [(0, 0)], "foot": [(3, 4)]}, above=4.9, below=5.1, **distance) == [True]
    height = {"use": "posture", "measure": "height", "keypoints": ["p"]}
    assert answers({"p": [(5, 90), (5, 60)]}, floor_px=100, above=30, **height) == [False, True]
    assert answers({"p": [(5, 90, 29), (5, 60, 31)]}, world=True, space="world", above=30, **height) == [False, True]


@pytest.mark.parametrize("turn_deg", [-179, -90, -1, 0, 45, 120, 180])
def test_heading_wraps_around(turn_deg: float) -> None:
    angle = math.radians(turn_deg)
    tracks = {"tail": [(50, 50)] * 2, "head": [(50 + 10 * math.cos(angle + off), 50 + 10 * math.sin(angle + off))
                                               for off in (math.radians(9), math.radians(11))]}  # fmt: skip
    heading = {"use": "heading", "tail": "tail", "head": "head", "within_deg": 10}
    assert answers(tracks, direction_deg=turn_deg, **heading) == [True, False]
    far = [50 + 1000 * math.cos(angle), 50 + 1000 * math.sin(angle)]
    assert answers(tracks, place=far, **heading) == [True, False]
    assert answers({**tracks, "other": [far] * 2}, towards="other", **heading) == [True, False]


def test_facing_tells_nothing_of_an_animal_without_length() -> None:
    tracks = {"tail": [(5, 5), None], "head": [(5, 5), (6, 6)]}
    assert answers(tracks, use="heading", tail="tail", head="head", direction_deg=0) == [None, None]


def test_an_input_is_what_was_told_last() -> None:
    task = Rehearsal(Watch, condition={"use": "input", "input": "box.door"})
    for inputs in ({}, {"box.door": True}, {"box.light": False}, {"box.door": False}):
        task.show(inputs)
    assert task.protocol.answers == [False, True, True, False]


def test_three_answers() -> None:
    assert all_hold([True, True]) is True
    assert all_hold([True, None]) is None
    assert all_hold([None, False]) is False


def test_names_that_the_rig_lacks() -> None:
    with pytest.raises(ConfigError, match=r"keypoints of the model .tail., but got 'p'"):
        Rehearsal(Watch, model=["tail"], condition={"use": "region", "keypoint": "p", "circle": [0, 0, 1]})
    with pytest.raises(ConfigError, match="expected one of camera, but got 'side'"):
        Rehearsal(Watch, condition={"use": "region", "keypoint": "p", "circle": [0, 0, 1], "camera": "side"})


def test_points_in_the_world_of_a_rig_without_calibration() -> None:
    with pytest.raises(LookupError, match="in the world"):
        answers({"p": [(1, 1)]}, use="region", keypoint="p", sphere=[0, 0, 0, 1])
