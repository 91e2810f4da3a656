"""Filters against known motion: gaps, outliers, NaN, irregular times; and against the textbook's matrices."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numba.core.runtime import _nrt_python, rtsys

from poseloop.live.config import FilterTable
from poseloop.live.motion import filters
from poseloop.live.motion.filters import Filter

MS = 1_000_000
START = 5_000_000_000_000_000
KINDS = ("one-euro", "kalman-cv", "kalman-ca")
KALMAN = KINDS[1:]
PLAIN = {"fade_ms": 0.0}
BOLD = {"caution_sigma": 0.0, **PLAIN}


def make(use: str, shape: tuple[int, ...] = (1, 1, 1, 2), gate: float = 0.5, **keys: float | bool) -> Filter:
    return Filter(FilterTable(use=use, **keys), shape, gate)


def follow(
    motion: Filter, at_ns: np.ndarray, points: np.ndarray, ahead_ns: int = 0, score: np.ndarray | None = None
) -> np.ndarray:
    """All poses through a filter: (T, …) in, (T, …) out."""
    points = points.astype(np.float32)
    score = np.ones(points.shape[:-1], np.float32) if score is None else score.astype(np.float32)
    steps = zip(at_ns.tolist(), points, score, strict=True)
    return np.stack([motion.step(p, s, at, at + ahead_ns) for at, p, s in steps])


def times(count: int, irregular: bool = True, mean_ms: float = 5.0) -> np.ndarray:
    random = np.random.default_rng(3)
    steps = random.uniform(0.3, 1.7, count) if irregular else np.ones(count)
    return START + np.cumsum(steps * mean_ms * MS).astype(np.int64)


def straight(at_ns: np.ndarray, velocity: tuple[float, ...] = (300.0, -200.0)) -> np.ndarray:
    s = (at_ns - at_ns[0])[:, None] * 1e-9
    return (100 + s * np.array(velocity)).reshape(len(at_ns), 1, 1, 1, -1)


@pytest.mark.parametrize(("use", "keys"), [("one-euro", PLAIN), ("kalman-cv", BOLD), ("kalman-ca", BOLD)])
def test_steady_motion_is_predicted_at_irregular_times(use: str, keys: dict[str, float]) -> None:
    at = times(200)
    ahead = 20 * MS
    found = follow(make(use, **keys), at, straight(at), ahead)
    truth = straight(np.concatenate([at[:1], at + ahead]))[1:]
    lag = np.linalg.norm(found - truth, axis=-1)[100:]
    # One-Euro lags by its nature; not predicting at all would be 7.2 px off.
    assert lag.max() < (3.0 if use == "one-euro" else 0.05)


def test_acceleration_is_what_the_ca_filter_adds() -> None:
    at = times(200)
    s = (at - at[0])[:, None] * 1e-9
    curve = lambda s: (50 + 100 * s + 0.5 * 2000 * s * s * [1, -1]).reshape(len(s), 1, 1, 1, 2)  # noqa: E731
    error = {
        use: np.abs(follow(make(use, **BOLD), at, curve(s), 20 * MS) - curve(s + 0.02))[100:].max() for use in KALMAN
    }
    assert error["kalman-ca"] < 0.2
    assert error["kalman-ca"] < error["kalman-cv"]


def reference(use: str, at_ns: np.ndarray, points: np.ndarray, r: float, q: float) -> np.ndarray:
    """The textbook's filter, matrix by matrix, one axis at a time, from the same start."""
    order = 2 if use == "kalman-cv" else 3
    noise = {
        2: lambda s: np.array([[s**3 / 3, s**2 / 2], [s**2 / 2, s]]),
        3: lambda s: np.array(
            [[s**5 / 20, s**4 / 8, s**3 / 6], [s**4 / 8, s**3 / 3, s**2 / 2], [s**3 / 6, s**2 / 2, s]]
        ),
    }[order]
    H = np.eye(order)[:1]
    P = q * q * noise(0.1)
    P[0, :] = P[:, 0] = 0
    P[0, 0] = r * r
    x = np.zeros((order, points.shape[1]))
    x[0] = points[0]
    found = [x[0].copy()]
    for dt, z in zip(np.diff(at_ns) * 1e-9, points[1:], strict=True):
        F = np.array([[1, dt, dt * dt / 2], [0, 1, dt], [0, 0, 1]])[:order, :order]
        x, P = F @ x, F @ P @ F.T + q * q * noise(dt)
        K = P @ H.T / (H @ P @ H.T + r * r)
        x = x + K @ (z[None] - H @ x)
        P = (np.eye(order) - K @ H) @ P
        found.append(x[0].copy())
    return np.array(found)


@pytest.mark.parametrize("use", KALMAN)
def test_kalman_is_the_textbooks(use: str) -> None:
    at = times(300)
    random = np.random.default_rng(0)
    points = (straight(at) + random.normal(0, 2, (300, 1, 1, 1, 2))).astype(np.float32)
    motion = make(use, measurement_noise=2.0, process_noise=800.0, outlier_sigma=1e6, adapt_ms=0.0)
    found = follow(motion, at, points)
    expected = reference(use, at, points[:, 0, 0, 0].astype(np.float64), 2.0, 800.0)
    # Results are float32: half a unit in the last place of a number near 500.
    np.testing.assert_allclose(found[:, 0, 0, 0], expected, atol=5e-5)


@pytest.mark.parametrize("use", KALMAN)
def test_covariance_says_how_good_it_is(use: str) -> None:
    """Motion made of the noise that the filter assumes: normalised squared errors have the mean that they should."""
    order = 2 if use == "kalman-cv" else 3
    q, r, dt, points = 50.0, 1.0, 0.01, 400
    motion = make(use, (points, 1, 1, 2), process_noise=q, measurement_noise=r, adapt_ms=0.0)
    random = np.random.default_rng(1)
    fine = 20
    state = np.zeros((order, points, 2))
    for step in range(60):
        for _ in range(fine):
            for i in range(order - 1):
                state[i] += state[i + 1] * dt / fine
            state[-1] += random.normal(0, q * math.sqrt(dt / fine), state[-1].shape)
        seen = state[0] + random.normal(0, r, state[0].shape)
        at = START + round(step * dt * 1e9)
        found = motion.step(
            seen.reshape(points, 1, 1, 2).astype(np.float32), np.ones((points, 1, 1), np.float32), at, at
        )
    squared = (found[:, 0, 0] - state[0]) ** 2 / motion._covariance[:, 0, :1]
    # 800 squared standard normal numbers: their mean is 1 ± 0.05.
    assert abs(squared.mean() - 1) < 0.2


@pytest.mark.parametrize("use", KALMAN)
def test_noise_of_a_still_point_is_not_predicted_into_movement(use: str) -> None:
    at = times(2000)
    points = 100 + np.random.default_rng(0).normal(0, 1, (2000, 1, 1, 1, 2))
    rms = {}
    for caution in (0.0, 2.0):
        found = follow(make(use, caution_sigma=caution), at, points, 40 * MS)
        rms[caution] = np.sqrt(((found[100:] - 100) ** 2).mean())
    assert rms[2.0] < 0.75 * rms[0.0]


@pytest.mark.parametrize("use", KALMAN)
def test_what_is_faster_than_its_noise_is_predicted_nearly_in_full(use: str) -> None:
    at = times(200)
    speed = 5000.0
    found = follow(make(use, **PLAIN), at, straight(at, (speed, 0.0)), 20 * MS)
    share = (found[100:, 0, 0, 0, 0] - straight(at, (speed, 0.0))[100:, 0, 0, 0, 0]) / (speed * 0.02)
    assert (share > 0.9).all()
    assert (share < 1.0).all()


@pytest.mark.parametrize(("use", "keys"), [("one-euro", {}), ("kalman-cv", {"caution_sigma": 0.0})])
def test_what_is_predicted_fades_and_has_an_end(use: str, keys: dict[str, float]) -> None:
    at = times(200)
    moved = {}
    for ahead_ms in (5, 40, 90):
        found = follow(make(use, fade_ms=30.0, **keys), at, straight(at), ahead_ms * MS)
        here = follow(make(use, fade_ms=30.0, **keys), at, straight(at))
        moved[ahead_ms] = np.linalg.norm((found - here)[150:], axis=-1).mean()
    # One-Euro takes a point for somewhat faster than it is; the ratios are the fading's alone.
    assert moved[90] == pytest.approx(math.hypot(300, 200) * 0.03 * (1 - math.exp(-3)), rel=0.1)
    assert moved[5] / moved[90] == pytest.approx((1 - math.exp(-5 / 30)) / (1 - math.exp(-3)), rel=0.01)
    assert moved[40] / moved[90] == pytest.approx((1 - math.exp(-40 / 30)) / (1 - math.exp(-3)), rel=0.01)


def test_each_points_process_noise_follows_its_own_movement() -> None:
    """One rests, one runs to and fro at 5 Hz: both are followed well by one setting, which no fixed noise can do."""
    at = times(800, irregular=False)
    s = (at - at[0])[:, None] * 1e-9
    rests = np.full((800, 2), 100.0)
    runs = 300 + 60 * np.sin(2 * np.pi * 5 * s * [1, 1] + [0, 1.5])
    truth = np.stack([rests, runs], axis=1)[:, None, None]
    seen = truth + np.random.default_rng(4).normal(0, 1, truth.shape)
    rms = {}
    for name, keys in (
        ("adapts", {}),
        ("stiff", {"adapt_ms": 0.0, "process_noise": 60.0}),
        ("loose", {"adapt_ms": 0.0, "process_noise": 15000.0}),
    ):
        found = follow(make("kalman-cv", (1, 1, 2, 2), measurement_noise=1.0, **keys), at, seen)
        rms[name] = np.sqrt(((found - truth)[200:] ** 2).mean(axis=(0, 1, 2, 4)))
    assert rms["adapts"][0] < 0.75 * rms["loose"][0]
    assert rms["adapts"][1] < 0.6 * rms["stiff"][1]


@pytest.mark.parametrize("use", KALMAN)
def test_an_outlier_is_passed_over(use: str) -> None:
    at = times(200)
    points = straight(at)
    bad = points.copy()
    bad[100] += 80
    bad[150:152] -= 60
    clean, spoilt = (follow(make(use, **BOLD), at, p, 10 * MS) for p in (points, bad))
    assert np.abs(clean - spoilt).max() < 1.0


@pytest.mark.parametrize("use", KALMAN)
def test_a_point_that_stays_elsewhere_is_followed_there(use: str) -> None:
    at = times(200)
    points = straight(at)
    points[100:] += 400
    found = follow(make(use), at, points)
    error = np.abs(found - points).max(axis=(1, 2, 3, 4))
    assert (error[100:102] > 300).all()
    assert error[102] < 1e-3
    assert error[110:].max() < 3


@pytest.mark.parametrize("use", KALMAN)
def test_a_first_sighting_that_was_wrong_does_not_last(use: str) -> None:
    at = times(50)
    points = straight(at)
    points[0] += 500
    found = follow(make(use), at, points)
    assert np.abs(found - points)[1:].max() < 3


@pytest.mark.parametrize("use", KINDS)
@pytest.mark.parametrize("nothing", [math.nan, math.inf, -math.inf])
def test_a_gap_is_bridged_for_so_long_and_then_starts_anew(use: str, nothing: float) -> None:
    at = START + np.arange(300) * 5 * MS
    points = straight(at)
    truth = points.copy()
    points[100:110, ..., 0] = nothing  # 50 ms
    points[200:240] = nothing  # 200 ms, twice as long as a gap may be
    keys = {"gap_ms": 100.0, **(PLAIN if use == "one-euro" else BOLD)}
    found = follow(make(use, **keys), at, points)
    assert np.isfinite(found[:220]).all()
    assert np.abs(found - truth)[100:110].max() < (25 if use == "one-euro" else 3)
    # Last seen in frame 199: from frame 220 on it is more than 100 ms ago.
    assert np.isnan(found[220:240]).all()
    fresh = follow(make(use, **keys), at[240:], points[240:])
    np.testing.assert_array_equal(found[240:], fresh)


@pytest.mark.parametrize("use", KINDS)
def test_a_low_score_is_not_taken_in_and_nan_is_no_score(use: str) -> None:
    at = times(60)
    points = straight(at)
    wrong = points.copy()
    score = np.ones(points.shape[:-1])
    wrong[20] += 5
    wrong[40] += 5
    score[20], score[40] = 0.4, math.nan
    unseen = points.copy()
    unseen[[20, 40]] = math.nan
    np.testing.assert_array_equal(follow(make(use), at, wrong, score=score), follow(make(use), at, unseen))


@pytest.mark.parametrize("use", KINDS)
def test_points_do_not_know_each_other(use: str) -> None:
    """Any shape, 2D and 3D: each point is followed as if it were alone."""
    at = times(80)
    random = np.random.default_rng(5)
    for shape in ((2, 3, 4, 2), (2, 5, 3)):
        points = random.normal(0, 2, (80, *shape)) + straight(at, (200.0,)).reshape(80, *[1] * len(shape))
        points[random.random(points.shape[:-1]) < 0.2] = math.nan
        together = follow(make(use, shape), at, points, 10 * MS)
        assert together.shape == points.shape
        assert together.dtype == np.float32
        flat = points.reshape(80, -1, shape[-1])
        for n in (0, 3, flat.shape[1] - 1):
            alone = follow(make(use, (1, 1, shape[-1])), at, flat[:, n].reshape(80, 1, 1, -1), 10 * MS)
            np.testing.assert_array_equal(together.reshape(flat.shape)[:, n], alone[:, 0, 0])


@pytest.mark.parametrize("use", KINDS)
def test_results_do_not_depend_on_how_the_axes_lie(use: str) -> None:
    at = times(80)
    points = straight(at) + np.random.default_rng(2).normal(0, 1, (80, 1, 1, 1, 2))
    c, s = math.cos(0.7), math.sin(0.7)
    turned = points @ np.array([[c, s], [-s, c]])
    expected = follow(make(use), at, points, 10 * MS) @ np.array([[c, s], [-s, c]])
    np.testing.assert_allclose(follow(make(use), at, turned, 10 * MS), expected, atol=1e-3)


@pytest.mark.parametrize("use", KINDS)
def test_replay_gives_the_same_bits(use: str) -> None:
    at = times(300)
    points = straight(at) + np.random.default_rng(2).normal(0, 5, (300, 1, 1, 1, 2))
    points[50:90] = math.nan
    first, second = (follow(make(use), at, points, 15 * MS) for _ in range(2))
    assert first.tobytes() == second.tobytes()


@pytest.mark.parametrize("use", KINDS)
def test_time_that_runs_backwards_starts_anew(use: str) -> None:
    at = times(40)
    motion = make(use)
    follow(motion, at, straight(at))
    again = follow(motion, at, straight(at))
    np.testing.assert_array_equal(again, follow(make(use), at, straight(at)))


@pytest.mark.parametrize("use", KINDS)
@settings(max_examples=60)
@given(
    arrays.arrays(np.float32, (12, 1, 1, 2, 2), elements=st.floats(width=32, allow_nan=True, allow_infinity=True)),
    arrays.arrays(np.float32, (12, 1, 1, 2), elements=st.floats(0, 1, width=32) | st.just(math.nan)),
    st.lists(st.integers(-(10**10), 10**10), min_size=12, max_size=12),
    st.integers(0, 10**9),
)
def test_nothing_poisons_a_filter(
    use: str, points: np.ndarray, score: np.ndarray, steps: list[int], ahead: int
) -> None:
    motion = make(use, (1, 1, 2, 2))
    at = START
    for p, s, step in zip(points, score, steps, strict=True):
        at = max(at + step, 0)
        found = motion.step(p, s, at, at + ahead)
        assert not np.isinf(found).any()
    # A second later it cannot be told from one that has just been made.
    after = at + 1000 * MS + np.arange(20) * 5 * MS
    good = np.repeat(straight(after), 2, axis=3)
    np.testing.assert_array_equal(follow(motion, after, good), follow(make(use, (1, 1, 2, 2)), after, good))


@pytest.mark.parametrize("use", KALMAN)
@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.floats(1e-3, 1e3), st.floats(1e-2, 1e8))
def test_covariances_stay_covariances(use: str, seed: int, measurement: float, process: float) -> None:
    random = np.random.default_rng(seed)
    motion = make(use, (4, 1, 1, 2), measurement_noise=measurement, process_noise=process)
    at = START + np.cumsum(10 ** random.uniform(0, 7.9, 200)).astype(np.int64)
    points = random.normal(0, 3 * measurement, (200, 4, 1, 1, 2))
    points[random.random(points.shape[:-1]) < 0.3] = math.nan
    found = follow(motion, at, points)
    for p in motion._covariance:
        scale = np.sqrt(np.diag(p))
        assert (scale > 0).all()
        correlation = p / np.outer(scale, scale)
        np.testing.assert_allclose(correlation, correlation.T, atol=1e-6)
        assert np.linalg.eigvalsh(correlation).min() > -1e-6
    assert np.isfinite(found[np.isfinite(points)]).all()


@pytest.mark.parametrize("use", KINDS)
def test_a_step_allocates_nothing_in_the_kernel(use: str) -> None:
    motion = make(use, (4, 1, 10, 2))
    points = np.random.default_rng(0).normal(0, 1, (4, 1, 10, 2)).astype(np.float32)
    score = np.ones((4, 1, 10), np.float32)
    motion.step(points, score, START, START)
    _nrt_python.memsys_enable_stats()
    try:
        before = rtsys.get_allocation_stats()
        for i in range(1, 50):
            motion.step(points, score, START + i * MS, START + (i + 20) * MS)
        made = rtsys.get_allocation_stats().alloc - before.alloc
    finally:
        _nrt_python.memsys_disable_stats()
    # Each array that is handed over costs one reference, and nothing else is asked for.
    assert made == 49 * (5 if use == "one-euro" else 8)


def test_no_layout_of_an_array_is_compiled_for_in_the_loop() -> None:
    motion, plain = make("kalman-cv", (2, 1, 4, 2)), make("kalman-cv", (2, 1, 4, 2))
    compiled = len(filters._kalman.signatures)
    points = np.random.default_rng(0).normal(100, 1, (2, 1, 4, 2)).astype(np.float32)
    score = np.ones((2, 1, 4), np.float32)
    locked = points.copy()
    locked.flags.writeable = False
    for i, laid_out in enumerate((points, locked, np.asfortranarray(points), points.astype(np.float64)), 1):
        at = START + i * MS
        np.testing.assert_array_equal(motion.step(laid_out, score, at, at), plain.step(points, score, at, at))
    assert len(filters._kalman.signatures) == compiled


def test_results_are_fresh_and_cannot_be_written() -> None:
    motion = make("kalman-cv")
    at = times(2)
    one, two = (
        motion.step(p.astype(np.float32), np.ones((1, 1, 1), np.float32), t, t)
        for t, p in zip(at, straight(at), strict=True)
    )
    assert not np.shares_memory(one, two)
    with pytest.raises(ValueError, match="read-only"):
        one[0] = 0


def test_none_passes_points_on() -> None:
    motion = make("none")
    points = np.ones((1, 1, 1, 2), np.float32)
    assert motion.step(points, points[..., 0], START, START + 1) is points
    assert motion.target_ns(START, START + 5 * MS) == 0


@pytest.mark.parametrize(
    ("keys", "acts_ms", "target_ms"),
    [
        ({}, 25, 25),
        ({}, -3, 0),  # a camera's clock that is mapped a little late
        ({}, 500, 100),  # no further than a gap
        ({"gap_ms": 700.0}, 500, 500),
        ({"horizon_ms": 12.5}, 25, 12.5),
        ({"predict": False}, 25, 0),
    ],
)
def test_the_time_to_predict_for(keys: dict, acts_ms: float, target_ms: float) -> None:
    target = make("kalman-cv", **keys).target_ns(START, START + round(acts_ms * MS))
    assert target == START + round(target_ms * MS)
