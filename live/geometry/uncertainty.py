"""How exactly points in the world are known.

Triangulation minimises the views' distances in the pictures, each with a weight w: its score, times that of the Cauchy
loss (`poseloop.live.geometry.triangulation`). If views err independently by σ px in x and in y, whatever their weights,
its solution scatters by the sandwich (Huber, *Robust statistics*, 6.3), linear in the errors::

    σ² A⁻¹ B A⁻¹,  A = Σ w JᵀJ,  B = Σ w² JᵀJ,  J = d (px in the picture) / d (point), lens included

over the views within the gate. With equal weights that is σ² (Σ JᵀJ)⁻¹, the Cramér–Rao bound. σ is a property of the
network and the rig; no single point tells it: three views leave three degrees of freedom. It is stated, or estimated
from all points at hand (`noise_px`).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from poseloop.live.geometry.calibration import Calibration
from poseloop.live.geometry.lens import slopes_all
from poseloop.live.geometry.triangulation import GATE_PX, LOSS

__all__ = ["covariance", "noise_px"]

_SINGULAR = 1e12
"""Condition of a normal matrix from which nothing can be said any more."""

_Float64 = npt.NDArray[np.float64]


def covariance(
    calibration: Calibration,
    xyz: npt.ArrayLike,
    xy: npt.ArrayLike,
    score: npt.ArrayLike | None = None,
    gate_px: float = GATE_PX,
    noise_px: float | None = None,
) -> _Float64:
    """How exactly points are known that `triangulate` (or a rig) found.

    Args:
        calibration: C cameras, in the order of ``xy``.
        xyz: (N, 3), the points.
        xy: (C, N, 2) px, the views that they were found from; NaN = not seen.
        score: (C, N), as given to `triangulate`; None = all alike.
        gate_px: as given to `triangulate`.
        noise_px: standard deviation of a view's error in x, and in y. None = estimated from these points, which have to
            be a hundred or so: for one pose, state what `noise_px` of a recording says.

    Returns:
        (N, 3, 3) in the calibration's unit squared; NaN where there is no point. 90 % of the true places lie where
        dᵀ C⁻¹ d < 6.25 (χ² of 3), if views err as assumed: errors that last, such as a wrong calibration or a keypoint
        that is always put a little to one side, are not in it.
    """
    points, spread = _spread(calibration, xyz, xy, score, gate_px)
    sigma = _noise(points) if noise_px is None else float(noise_px)
    if noise_px is not None and not (np.isfinite(sigma) and sigma > 0):
        raise ValueError(f"expected noise_px > 0, but got {noise_px}")
    return spread * sigma**2


def noise_px(
    calibration: Calibration,
    xyz: npt.ArrayLike,
    xy: npt.ArrayLike,
    score: npt.ArrayLike | None = None,
    gate_px: float = GATE_PX,
) -> float:
    """By how much views err in x, and in y: the standard deviation, px; NaN if there are no points.

    A point's sum of squared distances to v views is σ² times a χ² of 2 v − 3. The median of its ratio to that χ²'s own
    median is σ²; views that lie, and agree with others by chance, hardly change it. Arguments as of `covariance`.
    """
    return _noise(_spread(calibration, xyz, xy, score, gate_px)[0])


def _noise(points: _Float64) -> float:
    freedom, squares = 2 * points[:, 0] - 3, points[:, 1]
    found = freedom > 0
    if not found.any():
        return float("nan")
    freedom = freedom[found]
    # Wilson and Hilferty, PNAS 1931: the cube root of χ² is nearly normal.
    usual = freedom * (1 - 2 / (9 * freedom)) ** 3
    return float(np.sqrt(np.median(squares[found] / usual)))


def _spread(
    calibration: Calibration,
    xyz: npt.ArrayLike,
    xy: npt.ArrayLike,
    score: npt.ArrayLike | None,
    gate_px: float,
) -> tuple[_Float64, _Float64]:
    """(N, 2): views within the gate and the sum of their squared distances, px²; (N, 3, 3): covariance for σ = 1."""
    places, views = np.ascontiguousarray(xyz, np.float64), np.asarray(xy, np.float64)
    count = len(calibration.cameras), len(places)
    weights = np.ones(count) if score is None else np.asarray(score, np.float64)
    if places.shape != (count[1], 3) or views.shape != (*count, 2) or weights.shape != count:
        raise ValueError(
            f"expected xyz (N, 3), xy ({count[0]}, N, 2) and score ({count[0]}, N), but got {list(places.shape)}, "
            f"{list(views.shape)} and {list(weights.shape)}"
        )
    there, slope = np.empty_like(views), np.empty((*count, 2, 3))
    slopes_all(calibration.rig, places, there, slope)
    off = np.linalg.norm(there - views, axis=-1)
    # Written this way round since NaN is not below anything.
    used = (off <= gate_px) & (weights > 0) & np.isfinite(weights)
    pull = np.where(used, weights / (1 + (off / (LOSS * gate_px)) ** 2), 0)
    slope[~used] = 0
    bread, meat = (np.einsum("cn,cnij,cnik->njk", w, slope, slope, optimize=True) for w in (pull, pull**2))
    views_used = used.sum(axis=0)
    # Cameras side by side say nothing about the depth.
    known = (views_used >= 2) & (np.linalg.cond(bread) < _SINGULAR)
    bread[~known] = np.nan
    inverse = np.linalg.inv(bread)
    return np.stack([views_used, np.where(used, off**2, 0).sum(axis=0)], axis=-1), inverse @ meat @ inverse
