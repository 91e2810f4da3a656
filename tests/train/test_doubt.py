"""Doubt rises where something is wrong, and what is chosen is doubtful and different."""

import numpy as np
import pytest
from viewpoints import ring

from poseloop.train import doubt

GATE = 0.5


def walk(frames: int = 200) -> np.ndarray:
    """(N, 1, 2, 3): two points that move evenly, seen with a score of 0.9; a little noise, as of a network."""
    noise = np.random.default_rng(1).normal(0, 0.3, (frames, 1, 2, 2))
    line = 2.0 * np.arange(frames)[:, None, None, None] + np.array([[0.0, 0.0], [30.0, 5.0]])
    return np.concatenate([line + noise, np.full((frames, 1, 2, 1), 0.9)], axis=-1).astype(np.float32)


def test_what_is_wrong_with_a_frame_is_what_it_is_doubted_for() -> None:
    poses = walk()
    poses[50, 0, 1, 2] = 0.1
    poses[120, 0, 0, :2] += 60
    found = doubt.doubts(poses, GATE, rate=100)
    assert int(np.argmax(found["score"])) == 50
    assert found["score"][50] == pytest.approx((0.1 + 0.9) / 2, abs=1e-6)
    # There, and back.
    assert set(np.argsort(-found["jump"])[:2].tolist()) == {120, 121}
    assert int(np.argmax(found["filter"])) == 120
    assert all(values.min() >= 0 and values.max() <= 1 for values in found.values())


def test_a_point_that_is_not_seen_is_doubted_for_its_score_alone() -> None:
    poses = walk()
    poses[30:40, 0, 0, :2] = np.nan
    poses[60:70, 0, 0, 2] = np.nan
    found = doubt.doubts(poses, GATE, rate=100)
    assert np.isfinite(list(found.values())).all()
    assert found["score"][65] == pytest.approx(0.55, abs=1e-6)
    assert doubt.doubts(poses, GATE).keys() == {"score"}


def test_a_camera_that_sees_a_point_elsewhere_is_doubted() -> None:
    calibration = ring(3)
    world = np.random.default_rng(2).uniform(-20, 20, (40, 2, 3))
    xy = calibration.project(world.reshape(-1, 3)).reshape(3, 40, 2, 2)
    poses = np.concatenate([xy, np.full((3, 40, 2, 1), 0.9)], axis=-1).astype(np.float32)
    poses[1, 17, 0, :2] += 60
    # What is under the gate counts for nothing.
    poses[2, 30, 1] = (0, 0, 0.1)
    found = doubt.views(calibration, list(poses), GATE)
    assert int(np.argmax(found[1])) == 17
    assert found[1][17] > 0.4
    assert max(float(np.delete(values, 17).max()) for values in found) < 0.01


def test_frames_that_look_alike_are_chosen_once() -> None:
    # Ten bad moments of four nearly equal pictures each; the worst pictures of all are those of the first moment.
    rng = np.random.default_rng(3)
    scenes = rng.integers(0, 255, (10, 64))
    small = np.clip(np.repeat(scenes, 4, axis=0) + rng.integers(-2, 3, (40, 64)), 0, 255).astype(np.uint8)
    total = np.repeat(np.linspace(1.0, 0.5, 10), 4)
    chosen = doubt.pick(total, small, 4)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == 4
    assert len({place // 4 for place in chosen}) >= 3
    assert max(chosen) < 24
    assert doubt.pick(total[:4], small[:4], 9) == [0, 1, 2, 3]


def test_videos_get_frames_by_how_doubtful_they_are() -> None:
    totals = {"good": np.full(100, 0.1), "bad": np.full(100, 0.9), "short": np.array([0.95])}
    given = doubt.share(totals, 10)
    assert sum(given.values()) == 10
    assert given["bad"] >= 9
    assert given["good"] == 0
    assert doubt.share({"a": np.zeros(3), "b": np.zeros(0)}, 10) == {"a": 3, "b": 0}
