"""The region protocol, driven by tracks of which the right commands are plain to see."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from matplotlib.path import Path as Polygon
from pydantic import ValidationError

from poseloop.live.config import validate
from poseloop.live.errors import ConfigError
from poseloop.live.types import Command, CommandKind, Keypoints, Pose, Trace
from poseloop.protocols.region import Region
from poseloop.protocols.shapes import contains

SQUARE = [[10, 10], [20, 10], [20, 20], [10, 20]]
IN, OUT, UNSEEN = (15.0, 15.0), (5.0, 5.0), (np.nan, np.nan)


def make(**settings: object) -> Region:
    table = {"keypoint": "snout", "polygon": SQUARE, "output": "box.laser", **settings}
    region = Region("test", validate(Region.Settings, json.loads(json.dumps(table)), Path()))
    region.bind(["tail", "snout"], ["top", "side"], 0.5)
    region.reset(0)
    return region


def pose_at(point: tuple[float, float], ms: float, score: float = 1.0) -> Pose:
    xy = np.array([[[(1, 1), point]]], np.float32)
    ones = np.full((1, 2), score, np.float32)
    return Pose(
        sequence=0, index=0, keypoints=Keypoints(xy, ones[None]), xyz=None, score=ones, residual_px=ones,
        views=np.ones((1, 2), np.uint8), predicted=xy, predicted_for_ns=0, missing=0, skew_ns=0,
        trace=Trace(exposed_ns=int(1e9 + ms * 1e6)),
    )  # fmt: skip


def run(region: Region, track: Sequence[tuple[float, float]], step_ms: float = 10) -> list[tuple[int, Command]]:
    return [(i, c) for i, point in enumerate(track) for c in region.decide(pose_at(point, i * step_ms), ())]


def test_enter_fires_once_for_each_entry() -> None:
    commands = run(make(pulse_ms=20), [OUT, IN, IN, OUT, IN])
    assert [i for i, _ in commands] == [1, 4]
    assert commands[0][1] == Command("box", "laser", CommandKind.PULSE, on_us=20_000)


def test_an_animal_that_is_inside_at_the_start_has_not_entered() -> None:
    assert run(make(), [IN, IN]) == []
    assert run(make(), [UNSEEN, IN]) == []


def test_an_unseen_point_changes_nothing() -> None:
    assert [i for i, _ in run(make(), [OUT, UNSEEN, IN, UNSEEN, IN, UNSEEN, OUT, IN])] == [2, 7]


def test_leave() -> None:
    assert [i for i, _ in run(make(when="leave"), [OUT, IN, IN, OUT, OUT, IN, UNSEEN, OUT])] == [3, 7]


def test_dwell_fires_once_after_the_time_and_again_after_a_new_entry() -> None:
    track = [OUT, *[IN] * 8, OUT, *[IN] * 4, OUT]
    assert [i for i, _ in run(make(when="dwell", dwell_ms=30), track)] == [4, 13]


def test_refractory_time_holds_back_the_next_pulse() -> None:
    assert [i for i, _ in run(make(refractory_ms=35), [OUT, IN, OUT, IN, OUT, IN])] == [1, 5]


def test_inside_switches_on_and_off() -> None:
    kinds = [(i, c.kind) for i, c in run(make(when="inside"), [OUT, IN, IN, UNSEEN, OUT])]
    assert kinds == [(1, CommandKind.LEVEL), (4, CommandKind.OFF)]


def test_inside_goes_off_when_the_animal_is_lost_and_on_again_when_it_is_found() -> None:
    track = [OUT, IN, IN, *[UNSEEN] * 6, IN, OUT]
    kinds = [(i, c.kind) for i, c in run(make(when="inside", lost_ms=30), track)]
    # Seen last in frame 2; lost 30 ms later, in frame 5; found in frame 9.
    assert kinds == [(1, CommandKind.LEVEL), (5, CommandKind.OFF), (9, CommandKind.LEVEL), (10, CommandKind.OFF)]


@pytest.mark.parametrize("score", [0.4, np.nan])
def test_a_point_under_the_gate_is_not_seen(score: float) -> None:
    region = make()
    assert not region.decide(pose_at(OUT, 0), ())
    assert not region.decide(pose_at(IN, 10, score), ())
    # So the true entry, a frame later, is one.
    assert region.decide(pose_at(IN, 20), ())


def test_the_camera_is_found_by_name() -> None:
    assert make().camera == 0
    assert make(camera="side").camera == 1
    with pytest.raises(ConfigError, match="expected one of top, side, but got 'left'"):
        make(camera="left")


def test_a_polygon_without_inside_is_refused() -> None:
    with pytest.raises(ValidationError, match="has no inside"):
        make(polygon=[[0, 0], [10, 10], [20, 20]])


def test_reset_forgets() -> None:
    region = make()
    first = run(region, [OUT, IN, OUT])
    region.reset(0)
    assert run(region, [OUT, IN, OUT]) == first


@pytest.mark.parametrize("seed", range(5))
def test_contains_agrees_with_an_independent_implementation(seed: int) -> None:
    random = np.random.default_rng(seed)
    polygon = random.uniform(0, 100, (3 + seed, 2))
    points = random.uniform(-20, 120, (500, 2))
    ours = [contains([(x, y) for x, y in polygon], x, y) for x, y in points]
    # Edges cross here; matplotlib fills by winding number, so only convex or simple outlines may be compared.
    if seed == 0:
        np.testing.assert_array_equal(ours, Polygon(polygon).contains_points(points))
    else:
        import cv2

        mask = np.zeros((141 * 8, 141 * 8), np.uint8)
        cv2.fillPoly(mask, [np.round((polygon + 20) * 8).astype(np.int32)], 1)  # even-odd, at 1/8 px
        theirs = [bool(mask[int((y + 20) * 8), int((x + 20) * 8)]) for x, y in points]
        # They may differ on the drawn outline alone.
        assert np.mean(np.array(ours) != np.array(theirs)) < 0.02
