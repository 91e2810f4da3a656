"""What a model is unsure of, and which frames to label because of it.

A frame's doubt is the sum of up to four shares, each the mean over its points of a number from 0 (no doubt) to 1:

- ``score``: one minus the score; a point that is not seen counts 1.
- ``jump``: how far a point is from where it was one frame before.
- ``filter``: how far it is from where the rig's own filter (`poseloop.live.motion`) expected it.
- ``views``: how far it is from where the other cameras put it.

A distance d turns into ``d⁴ / (d⁴ + limit⁴)``. The limit of jumps and of the filter is each point's own: five robust
standard deviations of its usual distance, so that an animal that runs is no news.

Doubt alone would choose the same bad moment ten times over. So the most doubtful frames, several times as many as are
wanted, are put into groups by their pictures (k-means), and of each group the most doubtful one is taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from poseloop.live.config import FilterTable
from poseloop.live.geometry.calibration import Calibration
from poseloop.live.geometry.triangulation import Triangulator
from poseloop.live.motion.filters import Filter
from poseloop.live.types import Float32
from poseloop.train import frames

__all__ = ["VIEWS_PX", "doubts", "pick", "share", "views"]

_Float64 = npt.NDArray[np.float64]

VIEWS_PX = 5.0
"""Distance from where other cameras put a point that counts one half."""
_LEAST_PX = 2.0
"""No limit is lower: so far apart are two people's labels."""
_FAR = 5.0
_SPREAD = 1.4826
"""Median absolute deviation of a normal distribution → its standard deviation."""
_YOUNG = 3
"""Sightings in a row from which on a filter's expectation counts."""
_POOL = 6
"""Times as many frames as are wanted go into the groups, but no more than half of all."""


def doubts(poses: Float32, gate: float, rate: float = 0.0) -> dict[str, _Float64]:
    """Say how unsure a model is of each frame.

    Args:
        poses: (N, I, K, 3) x, y px, score; NaN = not seen.
        gate: score from which on a point is believed, and so may jump.
        rate: frames a second; 0: the frames are no film, and only the scores count.

    Returns:
        What → (N,) in 0..1.
    """
    xy, score = poses[..., :2], np.nan_to_num(poses[..., 2])
    found = {"score": _mean(1.0 - np.asarray(score, np.float64))}
    if rate > 0:
        seen = (score >= gate) & np.isfinite(xy).all(axis=-1)
        believed = np.where(seen[..., None], xy, np.nan).astype(np.float32)
        before = np.full_like(believed, np.nan)
        before[1:] = believed[:-1]
        for name, expected in (("jump", before), ("filter", _expected(believed, rate))):
            distance = np.linalg.norm((believed - expected).astype(np.float64), axis=-1)
            found[name] = _mean(_half(distance, _limits(distance)))
    return found


def views(calibration: Calibration, poses: Sequence[Float32], gate: float) -> list[_Float64]:
    """Say how far each camera's points are from where the others put them.

    Args:
        calibration: C cameras.
        poses: for each of them (N, K, 3), the same moments; NaN = not seen, or no picture.
        gate: score from which on a view counts.

    Returns:
        For each camera (N,) in 0..1.
    """
    count, points = poses[0].shape[:2]
    triangulator = Triangulator(calibration, points)
    every = np.stack(poses).astype(np.float64)
    weights = np.where(every[..., 2] >= gate, every[..., 2], np.nan)
    errors = np.full(every.shape[:3], np.nan)
    for n in range(count):
        triangulator.run(every[:, n, :, :2], weights[:, n])
        errors[:, n] = triangulator.errors_px
    # Views that agree on no point at all are infinitely far from it.
    return [_mean(_half(error, np.full(points, VIEWS_PX))) for error in errors]


def _expected(believed: Float32, rate: float) -> Float32:
    """(N, I, K, 2): where a Kalman filter that saw the frames before expects each point."""
    table = FilterTable(use="kalman-cv")
    follow = Filter(table, believed.shape[1:])
    step_ns = round(1e9 / rate)
    score = np.ones(believed.shape[1:-1], np.float32)
    expected = np.full_like(believed, np.nan)
    for n in range(len(believed) - 1):
        # From 1 on: at 0 the filter has been allocated.
        expected[n + 1] = follow.step(believed[n], score, (n + 1) * step_ns, (n + 2) * step_ns)
    # A filter that has just begun takes what it follows to be at rest.
    known = np.asarray(np.isfinite(believed).all(axis=-1))
    for before in range(1, _YOUNG + 1):
        expected[:before] = np.nan
        expected[before:][~known[:-before]] = np.nan
    return expected


def _limits(distance: _Float64) -> _Float64:
    """(I, K): what is far, of distances (N, I, K) px."""
    known = np.isfinite(distance)
    limits = np.full(distance.shape[1:], _LEAST_PX)
    for place in np.argwhere(known.any(axis=0)):
        values = distance[(slice(None), *place)][known[(slice(None), *place)]]
        middle = float(np.median(values))
        limits[tuple(place)] = max(middle + _FAR * _SPREAD * float(np.median(np.abs(values - middle))), _LEAST_PX)
    return limits


def _half(distance: _Float64, limit: _Float64) -> _Float64:
    """0 at no distance, one half at the limit, 1 far away; 0 where there is no distance."""
    far = np.where(np.isnan(distance), 0.0, distance)
    power = np.where(np.isinf(far), 0.0, far) ** 4
    return np.asarray(np.where(np.isinf(far), 1.0, power / (power + limit**4)))


def _mean(values: _Float64) -> _Float64:
    """Mean over all but the first axis."""
    return np.asarray(values.reshape(len(values), -1).mean(axis=1))


def _pool(total: _Float64, count: int) -> npt.NDArray[np.int64]:
    """Places of the most doubtful frames, the worst first."""
    most = min(_POOL * count, max(len(total) // 2, count))
    return np.asarray(np.argsort(-total, kind="stable")[:most], np.int64)


def share(totals: Mapping[str, _Float64], count: int) -> dict[str, int]:
    """Part ``count`` frames among videos, by how many of the most doubtful frames of all are theirs.

    Args:
        totals: video → (N,) doubt of the frames that may be chosen.
        count: frames together.

    Returns:
        Video → how many; together ``count``, or all that there are.
    """
    names = [name for name, values in totals.items() for _ in values]
    every = np.concatenate([np.zeros(0), *totals.values()])
    pool = _pool(every, count)
    count = min(count, len(every))
    theirs = {name: sum(names[place] == name for place in pool) for name in totals}
    exact = {name: count * theirs[name] / max(len(pool), 1) for name in totals}
    given = {name: int(exact[name]) for name in totals}
    # Largest remainders; a video never gets more than it has, since its share of the pool is no larger.
    for name in sorted(totals, key=lambda name: given[name] - exact[name])[: count - sum(given.values())]:
        given[name] += 1
    return given


def pick(total: _Float64, small: npt.NDArray[np.uint8], count: int, seed: int = 0) -> list[int]:
    """Choose frames that are doubtful, and different.

    Args:
        total: (N,) doubt.
        small: (N, P) their pictures, small and grey.
        count: how many.
        seed: of the k-means.

    Returns:
        Their places, rising.
    """
    pool = _pool(total, count)
    if len(pool) <= count:
        return sorted(pool.tolist())
    group = frames.groups(small[pool].astype(np.float32), count, seed)[0]
    # The pool is in order of doubt: the first of each group is its most doubtful frame.
    first = np.unique(group, return_index=True)[1].tolist()
    rest = [place for place in range(len(pool)) if place not in set(first)]
    return sorted(pool[[*first, *rest][:count]].tolist())
