"""Keypoints of several cameras to points in the world: undistortion, linear solution, refinement, in one kernel.

For each point:

1. Directions: undistorted pixels. A view counts with its score as weight; one that is NaN, or whose score is not above
   0, is none.
2. Linear: weighted least squares of ``x·r₃ − r₁`` and ``y·r₃ − r₂`` (Hartley and Zisserman, *Multiple View Geometry*,
   12.2, inhomogeneous).
3. Refined: Gauss–Newton on the distances in the picture, px, lens included, with the weights of a Cauchy loss whose
   scale is a third of ``gate_px`` (`LOSS`): a view that is somewhat off pulls less.
4. If a view then is further off than ``gate_px``, at least one lies, and it may have pulled all others with it. Every
   pair of views proposes a point; the one with the least truncated squares over all views wins (MSAC: Torr and
   Zisserman, CVIU 2000), and is refined from the views that agree with it.

Fewer than two views that agree within ``gate_px``, all with the point before them: NaN, 0 views. Two views meet by
chance now and then, three hardly ever: two that m other views contradict have to agree within ``gate_px / m``.

Steps 1 and 2 alone are there, too, for points that are known to be good, such as a board's corners: ``robust=False``.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from poseloop.live.geometry.calibration import Calibration
from poseloop.live.geometry.lens import CX, CY, FX, FY, R, T, camera_point, distort, slopes, undistort
from poseloop.live.jit import kernel

__all__ = ["GATE_PX", "LOSS", "Triangulator", "triangulate"]

GATE_PX = 15.0

LOSS = 1 / 3
"""Scale of the Cauchy loss in gates."""
_STEPS = 8
_ROUNDS = 3
_ANY_PX = 1e300
"""A gate that every view passes which can see the point at all."""
_SETTLED = 1e-7
"""Refinement ends when a step is shorter than this share of the distance to the nearest camera."""
_PARALLEL = 1e-9
"""Least ratio of the normal matrix's determinant to that of a sphere: below it all rays run side by side."""

_Float64 = npt.NDArray[np.float64]


class Triangulator:
    """Triangulates N points at a time for one calibration; its scratch memory is allocated once. For one thread."""

    def __init__(self, calibration: Calibration, points: int, gate_px: float = GATE_PX, *, robust: bool = True) -> None:
        """Allocate and compile.

        Args:
            calibration: two cameras or more.
            points: N.
            gate_px: a view further than this from where the others put the point does not count.
            robust: False: the linear solution of all views, without refinement, loss or gate; NaN where one of them
                cannot see it.
        """
        cameras = len(calibration.cameras)
        if cameras < 2:
            raise ValueError(f"expected a calibration of two cameras or more, but got {calibration!r}")
        self._rig = calibration.rig
        self._shape = (cameras, points)
        self._gate_px = float(gate_px)
        self._robust = robust
        self._rays: _Float64 = np.empty((cameras, 5))
        # Copied to: arrays that are laid out otherwise, or read-only, would each be compiled for, in the loop.
        self._xy: _Float64 = np.empty((*self._shape, 2))
        self._score: _Float64 = np.ones(self._shape)
        self.errors_px: _Float64 = np.full(self._shape, np.nan)
        """(C, N) px: distance of each view from the point that was found, of the views that were passed over too.
        Infinite where it cannot see that point, and where views agree on none; NaN where it saw nothing."""
        self.score: _Float64 = np.full(points, np.nan)
        """(N,): mean score of the views that were used; NaN where views agree on no point."""
        self.run(np.full((*self._shape, 2), np.nan), None)

    def run(
        self, xy: npt.NDArray[np.floating], score: npt.NDArray[np.floating] | None
    ) -> tuple[_Float64, _Float64, npt.NDArray[np.uint8]]:
        """Triangulate.

        Args:
            xy: (C, N, 2) px; NaN = not seen.
            score: (C, N), weights; None = all alike.

        Returns:
            Fresh arrays: xyz (N, 3) in the calibration's unit; residual_px (N,), the root of the mean square over the
            views that were used; views (N,), how many those were.
        """
        cameras, points = self._shape
        if xy.shape != (cameras, points, 2) or (score is not None and score.shape != self._shape):
            scored = "" if score is None else f" and {list(score.shape)}"
            raise ValueError(
                f"expected xy [{cameras}, {points}, 2] and score [{cameras}, {points}], "
                f"but got {list(xy.shape)}{scored}"
            )
        xyz = np.empty((points, 3))
        residual_px = np.empty(points)
        used = np.empty(points, np.uint8)
        self._xy[:] = xy
        self._score[:] = 1.0 if score is None else score
        _triangulate(
            self._rig,
            self._xy,
            self._score,
            self._gate_px,
            self._robust,
            self._rays,
            xyz,
            residual_px,
            used,
            self.score,
            self.errors_px,
        )
        return xyz, residual_px, used


def triangulate(
    calibration: Calibration,
    xy: npt.ArrayLike,
    score: npt.ArrayLike | None = None,
    gate_px: float = GATE_PX,
) -> tuple[_Float64, _Float64, npt.NDArray[np.uint8]]:
    """Find points in the world from where the cameras see them; see `Triangulator.run`.

    Args:
        calibration: C cameras, in the order of ``xy``.
        xy: (C, N, 2) px; NaN = not seen.
        score: (C, N) in 0..1; None = all alike.
        gate_px: a view further than this from where the others put the point does not count.

    Returns:
        xyz (N, 3), residual_px (N,), views (N,); NaN and 0 where fewer than two views agree.
    """
    points = np.asarray(xy, np.float64)
    if points.ndim != 3:
        raise ValueError(f"expected xy (C, N, 2), but got {list(points.shape)}")
    weights = None if score is None else np.asarray(score, np.float64)
    return Triangulator(calibration, points.shape[1], gate_px).run(points, weights)


# Columns of what is known of each view of the point at hand.
_X, _Y, _WEIGHT, _USED, _ERROR = 0, 1, 2, 3, 4


@kernel(fast=True)
def _triangulate(
    rig: _Float64,
    xy: _Float64,
    score: _Float64,
    gate_px: float,
    robust: bool,
    rays: _Float64,
    xyz: _Float64,
    residual_px: _Float64,
    used: npt.NDArray[np.uint8],
    mean_score: _Float64,
    errors_px: _Float64,
) -> None:
    """Triangulate N points from C views.

    Args:
        rig: (C, ROW), the cameras.
        xy: (C, N, 2) px.
        score: (C, N).
        gate_px: how far apart views may be that agree.
        robust: False: the linear solution only.
        rays: (C, 5), scratch: direction x, y, weight, used, error in px.
        xyz: (N, 3), output.
        residual_px: (N,), output.
        used: (N,), output.
        mean_score: (N,), output.
        errors_px: (C, N), output.
    """
    cameras, points, _ = xy.shape
    for n in range(points):
        seen = 0
        for c in range(cameras):
            rays[c, _WEIGHT] = 0.0
            if score[c, n] > 0 and np.isfinite(score[c, n]):
                x, y = undistort(rig, c, xy[c, n, 0], xy[c, n, 1])
                if np.isfinite(x) and np.isfinite(y):
                    rays[c, _X], rays[c, _Y], rays[c, _WEIGHT] = x, y, score[c, n]
                    seen += 1
            rays[c, _USED] = 1.0 if rays[c, _WEIGHT] > 0 else 0.0
        count = 0
        point = (np.nan, np.nan, np.nan)
        if seen >= 2:
            point = _solve(rig, xy, n, gate_px, robust, rays)
            count = _agreeing(rays, gate_px if robust else _ANY_PX, False)
            if count < seen and not robust:
                count = 0
            elif count < seen:
                point = _consensus(rig, xy, n, gate_px, rays)
                count = _agreeing(rays, gate_px, True)
                if count == 2:
                    count = _agreeing(rays, gate_px / (seen - 2), True)
        if count < 2:
            count = 0
            point = (np.nan, np.nan, np.nan)
        total, scores = 0.0, 0.0
        for c in range(cameras):
            errors_px[c, n] = np.nan
            if seen >= 2 and rays[c, _WEIGHT] > 0:
                errors_px[c, n] = rays[c, _ERROR] if count else np.inf
            if count and rays[c, _USED] > 0:
                total += rays[c, _ERROR] ** 2
                scores += rays[c, _WEIGHT]
        xyz[n, 0], xyz[n, 1], xyz[n, 2] = point
        residual_px[n] = np.sqrt(total / count) if count else np.nan
        mean_score[n] = scores / count if count else np.nan
        used[n] = count


@kernel(fast=True)
def _agreeing(rays: _Float64, gate_px: float, mark: bool) -> int:
    """Count the views within the gate (NaN and infinity are not); with ``mark``, use those and no others."""
    count = 0
    for c in range(rays.shape[0]):
        agrees = rays[c, _WEIGHT] > 0 and rays[c, _ERROR] <= gate_px
        count += 1 if agrees else 0
        if mark:
            rays[c, _USED] = 1.0 if agrees else 0.0
    return count


@kernel(fast=True)
def _solve(
    rig: _Float64, xy: _Float64, n: int, gate_px: float, refined: bool, rays: _Float64
) -> tuple[float, float, float]:
    """The point of the used views; leaves the errors of all views."""
    px, py, pz = _linear(rig, rays)
    if refined:
        px, py, pz = _refine(rig, xy, n, LOSS * gate_px, rays, px, py, pz)
    _measure(rig, xy, n, rays, px, py, pz)
    return px, py, pz


@kernel(fast=True)
def _consensus(rig: _Float64, xy: _Float64, n: int, gate_px: float, rays: _Float64) -> tuple[float, float, float]:
    """The point on which most views agree, refined from those; leaves the errors of all views."""
    cameras = rays.shape[0]
    least = np.inf
    best_a, best_b = -1, -1
    for a in range(cameras):
        for b in range(a + 1, cameras):
            if not (rays[a, _WEIGHT] > 0 and rays[b, _WEIGHT] > 0):
                continue
            for c in range(cameras):
                rays[c, _USED] = 1.0 if c in (a, b) else 0.0
            px, py, pz = _linear(rig, rays)
            _measure(rig, xy, n, rays, px, py, pz)
            if not (rays[a, _ERROR] <= gate_px and rays[b, _ERROR] <= gate_px):
                continue
            cost = 0.0
            for c in range(cameras):
                if rays[c, _WEIGHT] > 0:
                    cost += rays[c, _WEIGHT] * min(rays[c, _ERROR], gate_px) ** 2
            if cost < least:
                least, best_a, best_b = cost, a, b
    for c in range(cameras):
        rays[c, _USED] = 1.0 if c in (best_a, best_b) else 0.0
    if best_a < 0:
        for c in range(cameras):
            rays[c, _ERROR] = np.inf
        return np.nan, np.nan, np.nan
    px, py, pz = _linear(rig, rays)
    _measure(rig, xy, n, rays, px, py, pz)
    before = 0
    for _ in range(_ROUNDS):
        count = _agreeing(rays, gate_px, True)
        if count < 2 or count == before:
            break
        before = count
        px, py, pz = _refine(rig, xy, n, LOSS * gate_px, rays, px, py, pz)
        _measure(rig, xy, n, rays, px, py, pz)
    return px, py, pz


@kernel(fast=True)
def _linear(rig: _Float64, rays: _Float64) -> tuple[float, float, float]:
    """The point nearest to the used rays in the algebraic sense; NaN where they run side by side."""
    a00, a01, a02, a11, a12, a22 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    b0, b1, b2 = 0.0, 0.0, 0.0
    for c in range(rays.shape[0]):
        if rays[c, _USED] == 0:
            continue
        weight = rays[c, _WEIGHT]
        for axis in range(2):
            along = rays[c, axis]
            g0 = along * rig[c, R + 6] - rig[c, R + 3 * axis]
            g1 = along * rig[c, R + 7] - rig[c, R + 3 * axis + 1]
            g2 = along * rig[c, R + 8] - rig[c, R + 3 * axis + 2]
            rest = weight * (rig[c, T + axis] - along * rig[c, T + 2])
            a00 += weight * g0 * g0
            a01 += weight * g0 * g1
            a02 += weight * g0 * g2
            a11 += weight * g1 * g1
            a12 += weight * g1 * g2
            a22 += weight * g2 * g2
            b0 += g0 * rest
            b1 += g1 * rest
            b2 += g2 * rest
    found: tuple[float, float, float] = _solve3(a00, a01, a02, a11, a12, a22, b0, b1, b2)
    return found


@kernel(fast=True)
def _solve3(
    a: float, b: float, c: float, d: float, e: float, f: float, x: float, y: float, z: float
) -> tuple[float, float, float]:
    """Solve a symmetric 3×3 system, rows (a b c), (b d e), (c e f), by its adjugate; NaN where it is singular."""
    aa, ab, ac = d * f - e * e, c * e - b * f, b * e - c * d
    bb, bc, cc = a * f - c * c, b * c - a * e, a * d - b * b
    determinant = a * aa + b * ab + c * ac
    mean = (a + d + f) / 3
    if not determinant > _PARALLEL * mean * mean * mean:
        return np.nan, np.nan, np.nan
    once = 1 / determinant
    return (aa * x + ab * y + ac * z) * once, (ab * x + bb * y + bc * z) * once, (ac * x + bc * y + cc * z) * once


@kernel(fast=True)
def _refine(
    rig: _Float64,
    xy: _Float64,
    n: int,
    scale_px: float,
    rays: _Float64,
    px: float,
    py: float,
    pz: float,
) -> tuple[float, float, float]:
    """Gauss–Newton on the used views' distances in the picture, reweighted for a Cauchy loss."""
    for _ in range(_STEPS):
        a00, a01, a02, a11, a12, a22 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        b0, b1, b2 = 0.0, 0.0, 0.0
        nearest = np.inf
        for c in range(rays.shape[0]):
            if rays[c, _USED] == 0:
                continue
            x, y, z = camera_point(rig, c, px, py, pz)
            if not z > 0:
                return px, py, pz
            nearest = min(nearest, z)
            u, v, g0, g1, g2, h0, h1, h2 = slopes(rig, c, x, y, z)
            left, down = xy[c, n, 0] - u, xy[c, n, 1] - v
            weight = rays[c, _WEIGHT] / (1 + (left * left + down * down) / (scale_px * scale_px))
            a00 += weight * (g0 * g0 + h0 * h0)
            a01 += weight * (g0 * g1 + h0 * h1)
            a02 += weight * (g0 * g2 + h0 * h2)
            a11 += weight * (g1 * g1 + h1 * h1)
            a12 += weight * (g1 * g2 + h1 * h2)
            a22 += weight * (g2 * g2 + h2 * h2)
            b0 += weight * (g0 * left + h0 * down)
            b1 += weight * (g1 * left + h1 * down)
            b2 += weight * (g2 * left + h2 * down)
        d0, d1, d2 = _solve3(a00, a01, a02, a11, a12, a22, b0, b1, b2)
        length = np.sqrt(d0 * d0 + d1 * d1 + d2 * d2)
        # A step beyond half of the way to a camera (or NaN) leaves the region in which the picture is nearly linear.
        if not length < 0.5 * nearest:
            return px, py, pz
        px += d0
        py += d1
        pz += d2
        if length < _SETTLED * nearest:
            break
    return px, py, pz


@kernel(fast=True)
def _measure(rig: _Float64, xy: _Float64, n: int, rays: _Float64, px: float, py: float, pz: float) -> None:
    """Write how far each view is from where it should see the point, px; infinity where it cannot see it."""
    for c in range(rays.shape[0]):
        rays[c, _ERROR] = np.inf
        if rays[c, _WEIGHT] > 0:
            x, y, z = camera_point(rig, c, px, py, pz)
            if z > 0:
                u, v, _, _, _, _ = distort(rig, c, x / z, y / z)
                left = xy[c, n, 0] - (rig[c, FX] * u + rig[c, CX])
                down = xy[c, n, 1] - (rig[c, FY] * v + rig[c, CY])
                error = np.sqrt(left * left + down * down)
                rays[c, _ERROR] = error if np.isfinite(error) else np.inf
