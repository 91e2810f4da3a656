"""Kinematics against closed forms."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poseloop.live.motion.kinematics import Track, heading, joint_angle, turn

MS = 1_000_000
START = 5_000_000_000_000_000
"""A clock that has run for two months: nanoseconds squared no longer fit a double."""


def parabola(at_ns: int) -> np.ndarray:
    s = (at_ns - START) * 1e-9
    return np.array([3.0 + 20 * s + 0.5 * 400 * s * s, -1.0 - 5 * s + 0.5 * 60 * s * s])


def test_a_parabola_is_followed_at_irregular_times_with_gaps() -> None:
    track = Track(window_ms=100)
    random = np.random.default_rng(0)
    at = START
    for _ in range(40):
        at += int(random.integers(1, 9)) * MS
        seen = random.random() > 0.3
        track.add(at, parabola(at) if seen else (math.nan, 4.0))
    np.testing.assert_allclose(track.acceleration(), [400, 60], rtol=1e-5)
    newest = track._at_ns[track._next - 1]
    oldest = track._at_ns[track._next - len(track)]
    assert newest - oldest <= 100 * MS
    # A line through a parabola has the slope at the sightings' middle, which lies inside the window.
    slopes = [20 + 400 * (t - START) * 1e-9 for t in (oldest, newest)]
    assert slopes[0] < track.velocity()[0] < slopes[1]


def test_a_line_is_exact() -> None:
    track = Track(window_ms=50, dimensions=3)
    for i in range(10):
        track.add(START + i * 4 * MS, np.array([1.0, 2.0, 3.0]) + i * 0.004 * np.array([30.0, 0.0, -40.0]))
    np.testing.assert_allclose(track.velocity(), [30, 0, -40], atol=1e-6)
    assert track.speed() == pytest.approx(50)
    np.testing.assert_allclose(track.acceleration(), 0, atol=1e-3)


def test_too_few_sightings_have_no_speed() -> None:
    track = Track(window_ms=50)
    assert len(track) == 0
    assert math.isnan(track.speed())
    track.add(START, (1, 1))
    track.add(START, (2, 2))
    assert math.isnan(track.speed())
    track.add(START + MS, (3, 3))
    assert track.speed() > 0
    assert np.isnan(track.acceleration()).all()


def test_what_left_the_window_is_forgotten_even_if_nothing_is_seen() -> None:
    track = Track(window_ms=50)
    for i in range(5):
        track.add(START + i * 10 * MS, (i, 0))
    assert len(track) == 5
    track.add(START + 1000 * MS, (math.nan, 0))
    assert len(track) == 0


def test_memory_is_bounded_and_keeps_the_newest() -> None:
    track = Track(window_ms=1e6, capacity=8)
    for i in range(100):
        track.add(START + i * MS, (float(i), 0))
    assert len(track) == 8
    assert track.speed() == pytest.approx(1000)


def test_time_that_runs_backwards_starts_anew() -> None:
    track = Track(window_ms=50)
    for i in range(5):
        track.add(START + i * MS, (i, 0))
    track.add(START - 1000 * MS, (0, 0))
    assert len(track) == 1


@pytest.mark.parametrize(
    ("head", "angle"),
    [((1, 0), 0), ((0, 1), math.pi / 2), ((-1, 0), math.pi), ((-1, -0.0), math.pi), ((0, -1), -math.pi / 2)],
)
def test_headings(head: tuple[float, float], angle: float) -> None:
    assert heading((0, 0), head) == pytest.approx(angle)


def test_nan_and_points_that_coincide_have_no_angle() -> None:
    assert math.isnan(heading((1, 1), (1, 1)))
    assert math.isnan(heading((1, math.nan), (1, 1)))
    assert math.isnan(joint_angle((0, 0), (0, 0), (1, 0)))
    assert math.isnan(joint_angle((0, 1), (0, 0), (math.nan, 0)))
    assert math.isnan(turn(math.nan, 0.0))


@given(st.floats(-10, 10), st.floats(-3, 3))
def test_turns_take_the_shorter_way(before: float, by: float) -> None:
    assert turn(before, before + by + 4 * math.pi) == pytest.approx(by, abs=1e-9)


@given(st.floats(0, math.pi), st.floats(-math.pi, math.pi), st.floats(0.1, 100), st.floats(0.1, 100))
def test_joint_angles_do_not_depend_on_lengths_or_direction(angle: float, turned: float, a: float, b: float) -> None:
    u = (a * math.cos(turned), a * math.sin(turned))
    v = (b * math.cos(turned + angle), b * math.sin(turned + angle))
    assert joint_angle(u, (0, 0), v) == pytest.approx(angle, abs=1e-9)
    assert joint_angle((*u, 0), (0, 0, 0), (*v, 0)) == pytest.approx(angle, abs=1e-9)
