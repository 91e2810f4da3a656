"""Rotations, rigid motions and lenses in plain arrays, for many at once.

A rigid motion is a pair (R, t) with ``x' = R·x + t``. A lens is a vector of `LENS` numbers: fx, fy, cx, cy and the
distortion in OpenCV's order; a fisheye lens uses the first four of the distortion.
"""

from __future__ import annotations

import cv2
import numpy as np

from poseloop.train.calibrate.board import Float64

__all__ = ["LENS", "Motion", "compose", "exponential", "inverse", "matrix", "normalise", "pnp", "project", "transform"]

LENS = 12
"""fx, fy, cx, cy, k1, k2, p1, p2, k3, k4, k5, k6; or fx, fy, cx, cy, k1 … k4 and zeros."""
Motion = tuple[Float64, Float64]

_NONE = np.zeros(3)
_NEWTON = 20


def exponential(w: Float64) -> Float64:
    """Rotation matrices (…, 3, 3) of rotation vectors (…, 3), by Rodrigues' formula."""
    angle = np.linalg.norm(w, axis=-1)[..., None, None]
    cross = skew(w)
    small = angle < 1e-8
    safe = np.where(small, 1.0, angle)
    a = np.where(small, 1.0, np.sin(safe) / safe)
    b = np.where(small, 0.5, (1 - np.cos(safe)) / safe**2)
    turn: Float64 = np.eye(3) + a * cross + b * (cross @ cross)
    return turn


def skew(v: Float64) -> Float64:
    """(…, 3, 3) matrices of the cross product with (…, 3)."""
    out = np.zeros((*v.shape[:-1], 3, 3))
    out[..., 0, 1], out[..., 0, 2], out[..., 1, 2] = -v[..., 2], v[..., 1], -v[..., 0]
    out[..., 1, 0], out[..., 2, 0], out[..., 2, 1] = v[..., 2], -v[..., 1], v[..., 0]
    return out


def compose(a: Motion, b: Motion) -> Motion:
    """``a`` after ``b``."""
    return a[0] @ b[0], a[0] @ b[1] + a[1]


def inverse(a: Motion) -> Motion:
    """Undo a motion."""
    return a[0].T, -a[0].T @ a[1]


def transform(a: Motion, x: Float64) -> Float64:
    """Move points (n, 3)."""
    return x @ a[0].T + a[1]


def matrix(lens: Float64) -> Float64:
    """Camera matrix (3, 3)."""
    return np.array([[lens[0], 0, lens[2]], [0, lens[1], lens[3]], [0, 0, 1.0]])


def project(lens: Float64, fisheye: bool, x: Float64) -> tuple[Float64, Float64, Float64]:
    """Project points of the camera's frame, with derivatives; OpenCV has the models.

    Args:
        lens: (LENS,).
        fisheye: which model.
        x: (n, 3).

    Returns:
        Pixels (n, 2), their derivatives by ``x`` (n, 2, 3), and by the lens (n, 2, LENS).
    """
    by_lens = np.zeros((len(x), 2, LENS))
    if len(x) == 0:
        return np.zeros((0, 2)), np.zeros((0, 2, 3)), by_lens
    points = x.reshape(-1, 1, 3)
    if fisheye:
        uv, jacobian = cv2.fisheye.projectPoints(points, _NONE, _NONE, matrix(lens), lens[4:8])
        parts = jacobian.reshape(-1, 2, 15)
        by_lens[:, :, :8] = parts[:, :, :8]
        by_point = parts[:, :, 11:14]
    else:
        uv, jacobian = cv2.projectPoints(points, _NONE, _NONE, matrix(lens), lens[4:])
        parts = jacobian.reshape(-1, 2, 10 + LENS - 4)
        by_lens[:] = parts[:, :, 6:]
        by_point = parts[:, :, 3:6]
    return np.asarray(uv, np.float64).reshape(-1, 2), np.asarray(by_point, np.float64), by_lens


def normalise(lens: Float64, fisheye: bool, xy: Float64) -> Float64:
    """Undo lens and distortion: pixels (n, 2) to the plane z = 1."""
    if fisheye:
        points = np.ascontiguousarray(xy, np.float64).reshape(-1, 1, 2)
        return np.asarray(cv2.fisheye.undistortPoints(points, matrix(lens), lens[4:8]), np.float64).reshape(-1, 2)
    rays = (xy - lens[2:4]) / lens[:2]
    for _ in range(_NEWTON):
        uv, by_point, _ = project(lens, False, np.column_stack([rays, np.ones(len(rays))]))
        # A bent model may have no answer here: the slope is kept off zero and steps stay small, so all stays finite.
        slope = by_point[:, :, :2]
        a, b, c, d = slope[:, 0, 0], slope[:, 0, 1], slope[:, 1, 0], slope[:, 1, 1]
        determinant = np.maximum(a * d - b * c, 0.01 * lens[0] * lens[1])
        u, v = (xy - uv).T
        step = np.column_stack([d * u - b * v, a * v - c * u]) / determinant[:, None]
        rays = rays + np.clip(step, -0.5, 0.5)
        if np.abs(step).max(initial=0) < 1e-12:
            break
    return rays


def pnp(plane: Float64, rays: Float64) -> list[Motion]:
    """Where a flat board is, from its corners on the plane z = 1: both of the two answers, the better one first.

    Collins and Bartoli, "Infinitesimal plane-based pose estimation", IJCV 2014, as OpenCV has it. Without an answer
    that is in front of the camera the list is empty.
    """
    count, turns, moves, _ = cv2.solvePnPGeneric(
        plane.reshape(-1, 1, 3), rays.reshape(-1, 1, 2), np.eye(3), None, flags=cv2.SOLVEPNP_IPPE
    )
    motions = []
    for turn, move in zip(turns[:count], moves[:count], strict=True):
        motion = (cv2.Rodrigues(turn)[0].astype(np.float64), move.reshape(3).astype(np.float64))
        if np.isfinite(motion[0]).all() and np.isfinite(motion[1]).all() and transform(motion, plane)[:, 2].min() > 0:
            motions.append(motion)
    return motions
