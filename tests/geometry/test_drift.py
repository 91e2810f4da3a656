"""Which camera was moved: named when it was, and nobody when none was."""

import json

import numpy as np
import pytest

from poseloop.live.geometry.drift import Drift

NAMES = ("back", "mid", "side", "top")


def watch(names: tuple[str, ...], *phases: tuple[float, ...] | np.ndarray, poses: int = 500) -> Drift:
    """Phases of 500 poses, each with these root-mean-square errors in px for the cameras; reports in between."""
    random = np.random.default_rng(0)
    drift = Drift(names, 6)
    for phase in phases:
        for _ in range(poses):
            drift.add(np.hypot(*random.normal(0, 1, (2, len(names), 6))) * np.array(phase)[:, None])
        report = drift.as_report()
        json.dumps(report, allow_nan=False)
    return drift


def moved(drift: Drift) -> list[str]:
    return list(drift.as_report()["moved"])


def test_the_median_is_that_of_the_errors() -> None:
    drift = watch(NAMES, (1.0, 2.0, 3.0, 0.5))
    # Of a Rayleigh distribution; 3000 values.
    for name, scale in zip(NAMES, (1.0, 2.0, 3.0, 0.5), strict=True):
        assert drift.as_report()["residual_px"][name] == pytest.approx(scale * np.sqrt(2 * np.log(2)), rel=0.06)


@pytest.mark.parametrize(
    ("phases", "expected"),
    [
        ([(1, 1, 1, 1)], []),
        ([(1, 1, 1.4, 1), (1, 1, 1.4, 1)], []),
        ([(1, 1, 30, 1)], ["side"]),  # from the start
        ([(1, 1, 1, 1), (1, 1, 30, 1)], ["side"]),
        ([(3, 2, 4, 3), (3, 2, 9, 3)], ["side"]),  # not out of the others', but of its own at the start
        ([(2, 2, 3, 2), (8, 8, 12, 8)], []),  # all alike: the light went out
        ([(0.1, 0.1, 0.1, 0.1), (0.1, 0.1, 1, 0.1)], []),  # so little that nobody minds
        ([(1, 1, 30, 1), (1, 1, 1, 1)], []),  # put back
        ([(1, 25, 30, 1)], ["mid", "side"]),
    ],
)
def test_cameras_that_were_moved_are_named_and_no_others(phases: list, expected: list[str]) -> None:
    assert moved(watch(NAMES, *phases)) == expected


@pytest.mark.parametrize(
    ("phases", "expected"), [([(2, 2)], []), ([(2, 2), (2, 2)], []), ([(2, 2), (8, 8)], ["left, right"])]
)
def test_of_two_cameras_both_are_named(phases: list, expected: list[str]) -> None:
    assert moved(watch(("left", "right"), *phases)) == expected


def test_views_that_contradict_each_other_altogether_are_told() -> None:
    drift = Drift(("left", "right"), 6)
    for _ in range(100):
        drift.add(np.full((2, 6), np.inf))
    report = drift.as_report()
    assert report["found"] == 0
    assert report["residual_px"] == {"left": None, "right": None}
    assert "agree on only 0% of the points" in report["moved"]["left, right"]


def test_little_is_no_evidence() -> None:
    drift = watch(NAMES, (1, 1, 300, 1), poses=10)
    assert drift.as_report() == {"residual_px": dict.fromkeys(NAMES), "found": 1.0, "moved": {}}
    assert Drift(NAMES, 6).as_report()["found"] is None


def test_two_views_of_many_tell_nothing_of_either() -> None:
    drift = Drift(NAMES, 6)
    errors = np.full((4, 6), np.nan)
    errors[:2] = 20.0
    for _ in range(200):
        drift.add(errors)
    assert drift.as_report()["residual_px"] == dict.fromkeys(NAMES)
    assert moved(drift) == []


def test_only_some_poses_are_looked_at() -> None:
    drift = Drift(NAMES, 6, every=4)
    for number in range(400):
        drift.add(np.full((4, 6), 2.0 if number % 4 == 0 else 50.0))
    assert set(drift.as_report()["residual_px"].values()) == {2.0}
