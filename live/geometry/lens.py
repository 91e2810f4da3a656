"""From the world to the picture and back: projection, distortion, and its inverse, as kernels.

Two lens models, with OpenCV's coefficients in OpenCV's order, so that its calibrations can be used as they are:

- ``pinhole``: k1 k2 p1 p2 k3 k4 k5 k6 (radial, tangential, rational). Brown, *Decentering distortion of lenses*, 1966.
- ``fisheye``: k1 k2 k3 k4 of the angle to the axis. Kannala and Brandt, IEEE TPAMI 2006.

Points behind a camera, or beyond the angle up to which a lens model is one-to-one, have no place in the picture: NaN.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from poseloop.live.jit import kernel

__all__ = [
    "CX",
    "CY",
    "FISHEYE",
    "FX",
    "FY",
    "ROW",
    "K",
    "R",
    "T",
    "camera_point",
    "distort",
    "project",
    "slopes",
    "slopes_all",
    "undistort",
    "undistort_all",
]

_STEPS = 20
_CONVERGED = 1e-12

_Float64 = npt.NDArray[np.float64]


FX, FY, CX, CY = 0, 1, 2, 3
K = 4
FISHEYE = 12
R = 13
T = 22
ROW = 25
"""Columns of a camera's row, and how many: focal lengths and principal point, px; 8 coefficients, 0 where there are
fewer; 1 = fisheye; rotation, row by row; translation. One array, since kernels pay for each that they touch."""


@kernel(fast=True)
def distort(rig: _Float64, c: int, x: float, y: float) -> tuple[float, float, float, float, float, float]:
    """Where the lens of camera ``c`` puts the direction (x, y, 1), and how that changes.

    Args:
        rig: (C, ROW).
        c: camera.
        x: to the right, at z = 1.
        y: down, at z = 1.

    Returns:
        u, v (in focal lengths from the principal point), du/dx, du/dy, dv/dx, dv/dy.
    """
    k1, k2, k3, k4 = rig[c, K], rig[c, K + 1], rig[c, K + 2], rig[c, K + 3]
    r2 = x * x + y * y
    if rig[c, FISHEYE] > 0:
        r = np.sqrt(r2)
        if r < 1e-9:
            return x, y, 1.0, 0.0, 0.0, 1.0
        angle = np.arctan(r)
        a2 = angle * angle
        bent = angle * (1 + a2 * (k1 + a2 * (k2 + a2 * (k3 + a2 * k4))))
        slope = 1 + a2 * (3 * k1 + a2 * (5 * k2 + a2 * (7 * k3 + a2 * 9 * k4)))
        scale = bent / r
        # d scale / d r², doubled.
        change = (slope / (1 + r2) - scale) / r2
        across = x * y * change
        return x * scale, y * scale, scale + x * x * change, across, across, scale + y * y * change
    p1, p2, k3, k4, k5, k6 = k3, k4, rig[c, K + 4], rig[c, K + 5], rig[c, K + 6], rig[c, K + 7]
    above = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    below = 1 + r2 * (k4 + r2 * (k5 + r2 * k6))
    scale = above / below
    change = 2 * (k1 + r2 * (2 * k2 + r2 * 3 * k3) - scale * (k4 + r2 * (2 * k5 + r2 * 3 * k6))) / below
    u = x * scale + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
    v = y * scale + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
    across = x * y * change + 2 * p1 * x + 2 * p2 * y
    along_x = scale + x * x * change + 2 * p1 * y + 6 * p2 * x
    along_y = scale + y * y * change + 6 * p1 * y + 2 * p2 * x
    return u, v, along_x, across, across, along_y


@kernel(fast=True)
def undistort(rig: _Float64, c: int, px: float, py: float) -> tuple[float, float]:
    """The direction (x, y, 1) that camera ``c`` shows at a pixel, by Newton's method; NaN where there is none."""
    u, v = (px - rig[c, CX]) / rig[c, FX], (py - rig[c, CY]) / rig[c, FY]
    x, y = u, v
    if not (np.isfinite(u) and np.isfinite(v)):
        return np.nan, np.nan
    if rig[c, FISHEYE] > 0:
        bent = np.sqrt(u * u + v * v)
        if bent > 1e-9:
            # Near a right angle the plane z = 1 is far away: start from an angle that can be reached.
            x, y = u * np.tan(min(bent, 1.4)) / bent, v * np.tan(min(bent, 1.4)) / bent
    missed = np.inf
    for _ in range(_STEPS):
        found_u, found_v, ux, uy, vx, vy = distort(rig, c, x, y)
        left, down = u - found_u, v - found_v
        determinant = ux * vy - uy * vx
        # Beyond the fold of a lens model its image runs backwards.
        if not (determinant > 0 and ux > 0):
            return np.nan, np.nan
        missed = left * left + down * down
        if missed < _CONVERGED * _CONVERGED:
            return x, y
        x += (vy * left - uy * down) / determinant
        y += (ux * down - vx * left) / determinant
    return (x, y) if missed < 1e-18 else (np.nan, np.nan)


@kernel(fast=True)
def camera_point(rig: _Float64, c: int, px: float, py: float, pz: float) -> tuple[float, float, float]:
    """A point of the world in the coordinates of camera ``c``."""
    return (
        rig[c, R] * px + rig[c, R + 1] * py + rig[c, R + 2] * pz + rig[c, T],
        rig[c, R + 3] * px + rig[c, R + 4] * py + rig[c, R + 5] * pz + rig[c, T + 1],
        rig[c, R + 6] * px + rig[c, R + 7] * py + rig[c, R + 8] * pz + rig[c, T + 2],
    )


@kernel(fast=True)
def slopes(
    rig: _Float64, c: int, x: float, y: float, z: float
) -> tuple[float, float, float, float, float, float, float, float]:
    """Where camera ``c`` sees a point, and how that changes when the point moves in the world.

    Args:
        rig: (C, ROW).
        c: camera.
        x: of `camera_point`.
        y: of `camera_point`.
        z: of `camera_point`; above 0.

    Returns:
        u, v px; the three slopes of u, then those of v, px per unit of the world.
    """
    once = 1 / z
    x *= once
    y *= once
    u, v, ux, uy, vx, vy = distort(rig, c, x, y)
    # d(x, y) / d point, then through the lens.
    h0, h1, h2 = rig[c, R + 6], rig[c, R + 7], rig[c, R + 8]
    x0, x1, x2 = rig[c, R] - x * h0, rig[c, R + 1] - x * h1, rig[c, R + 2] - x * h2
    y0, y1, y2 = rig[c, R + 3] - y * h0, rig[c, R + 4] - y * h1, rig[c, R + 5] - y * h2
    f, g = rig[c, FX] * once, rig[c, FY] * once
    return (
        rig[c, FX] * u + rig[c, CX],
        rig[c, FY] * v + rig[c, CY],
        f * (ux * x0 + uy * y0),
        f * (ux * x1 + uy * y1),
        f * (ux * x2 + uy * y2),
        g * (vx * x0 + vy * y0),
        g * (vx * x1 + vy * y1),
        g * (vx * x2 + vy * y2),
    )


@kernel(fast=True)
def project(rig: _Float64, xyz: _Float64, xy: _Float64) -> None:
    """Write where every camera sees every point.

    Args:
        rig: (C, ROW).
        xyz: (N, 3).
        xy: (C, N, 2) px, output; NaN where a point is behind the camera or beyond its lens.
    """
    for c in range(rig.shape[0]):
        for n in range(xyz.shape[0]):
            x, y, z = camera_point(rig, c, xyz[n, 0], xyz[n, 1], xyz[n, 2])
            xy[c, n, 0] = np.nan
            xy[c, n, 1] = np.nan
            if z > 0:
                u, v, ux, uy, vx, vy = distort(rig, c, x / z, y / z)
                if ux * vy - uy * vx > 0 and ux > 0:
                    xy[c, n, 0] = rig[c, FX] * u + rig[c, CX]
                    xy[c, n, 1] = rig[c, FY] * v + rig[c, CY]


@kernel(fast=True)
def undistort_all(rig: _Float64, xy: _Float64, directions: _Float64) -> None:
    """Write the direction in which every camera sees every point.

    Args:
        rig: (C, ROW).
        xy: (C, N, 2) px.
        directions: (C, N, 2), output: x / z and y / z in the camera's coordinates; NaN where there is none.
    """
    for c in range(xy.shape[0]):
        for n in range(xy.shape[1]):
            directions[c, n, 0], directions[c, n, 1] = undistort(rig, c, xy[c, n, 0], xy[c, n, 1])


@kernel(fast=True)
def slopes_all(rig: _Float64, xyz: _Float64, xy: _Float64, slope: _Float64) -> None:
    """Write where every camera sees every point, and how that changes when the point moves; NaN behind a camera.

    Args:
        rig: (C, ROW).
        xyz: (N, 3).
        xy: (C, N, 2) px, output.
        slope: (C, N, 2, 3) px per unit of the world, output.
    """
    for c in range(rig.shape[0]):
        for n in range(xyz.shape[0]):
            x, y, z = camera_point(rig, c, xyz[n, 0], xyz[n, 1], xyz[n, 2])
            if not z > 0:
                z = np.nan
            to, of = xy[c, n], slope[c, n]
            to[0], to[1], of[0, 0], of[0, 1], of[0, 2], of[1, 0], of[1, 1], of[1, 2] = slopes(rig, c, x, y, z)
