"""Speed, acceleration, angles and heading: what a protocol asks of the points of recent poses.

Angles are in radians. In a picture y points down, so a positive angle turns clockwise as one sees it; in the plane of
a right-handed world, seen from +z, it turns counter-clockwise. NaN in = NaN out, wherever an answer hangs on it.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

__all__ = ["Track", "heading", "joint_angle", "turn"]

_Float64 = npt.NDArray[np.float64]
_Point = npt.ArrayLike


class Track:
    """Where one point was lately; its memory is allocated once.

    Velocity and acceleration are those of the line and of the parabola that fit the sightings in the window best, so
    intervals may be irregular and gaps do no harm. Both lag: the line's velocity is that of half a window ago, the
    parabola's acceleration too; a longer window is steadier and later.
    """

    def __init__(self, window_ms: float, dimensions: int = 2, capacity: int = 256) -> None:
        """Allocate.

        Args:
            window_ms: how far back sightings count.
            dimensions: coordinates of the point: 2 px or 3 mm.
            capacity: sightings that are kept at most; more in a window, and the oldest are forgotten.
        """
        self._window_ns = round(window_ms * 1e6)
        self._at_ns = np.zeros(capacity, np.int64)
        self._points: _Float64 = np.zeros((capacity, dimensions))
        self._next = 0
        self._filled = 0

    def add(self, at_ns: int, point: _Point) -> None:
        """Take in one pose's point; forget what has left the window, all of it if time ran backwards.

        Args:
            at_ns: middle of the exposure.
            point: (D,); NaN = not seen.
        """
        capacity = len(self._at_ns)
        if self._filled and at_ns < self._at_ns[self._next - 1]:
            self._filled = 0
        where = np.asarray(point, np.float64)
        if np.isfinite(where).all():
            self._at_ns[self._next] = at_ns
            self._points[self._next] = where
            self._next = (self._next + 1) % capacity
            self._filled = min(self._filled + 1, capacity)
        while self._filled and self._at_ns[self._next - self._filled] < at_ns - self._window_ns:
            self._filled -= 1

    def __len__(self) -> int:
        """Sightings in the window."""
        return self._filled

    def velocity(self) -> _Float64:
        """(D,) units a second; NaN with fewer than two sightings at different times."""
        return self._derivative(1)

    def speed(self) -> float:
        """Length of the velocity, units a second."""
        return float(np.linalg.norm(self.velocity()))

    def acceleration(self) -> _Float64:
        """(D,) units a second squared; NaN with fewer than three sightings at different times."""
        return self._derivative(2)

    def _derivative(self, order: int) -> _Float64:
        rows = np.arange(self._next - self._filled, self._next)
        at = self._at_ns[rows]
        if len(np.unique(at)) <= order:
            return np.full(self._points.shape[1], np.nan)
        newest_ns = int(at[-1])
        span = max(newest_ns - int(at[0]), 1)
        # Times from -1 to 0: powers of nanoseconds would leave nothing of the fit.
        s = (at - newest_ns) / span
        fit = np.linalg.lstsq(np.vander(s, order + 1), self._points[rows], rcond=None)[0]
        scale = math.factorial(order) / (span * 1e-9) ** order
        return np.asarray(fit[0] * scale, np.float64)


def heading(tail: _Point, head: _Point) -> float:
    """Direction from ``tail`` to ``head`` in the plane of their first two coordinates, in (−π, π]; 0 = along +x.

    NaN where they are the same point: it has no direction.
    """
    dx, dy = (np.asarray(head, np.float64) - np.asarray(tail, np.float64))[:2]
    if dx == 0 and dy == 0:
        return math.nan
    angle = math.atan2(dy, dx)
    return math.pi if angle == -math.pi else angle


def turn(before: float, after: float) -> float:
    """By how much a heading turned, the shorter way round, in [−π, π)."""
    return (after - before + math.pi) % (2 * math.pi) - math.pi


def joint_angle(a: _Point, joint: _Point, b: _Point) -> float:
    """Angle at ``joint`` between the limbs to ``a`` and to ``b``, in [0, π]; 2D or 3D.

    By atan2 of cross and dot product: the arc cosine loses half of the digits near 0 and π. NaN where a limb has no
    length.
    """
    u = np.asarray(a, np.float64) - np.asarray(joint, np.float64)
    v = np.asarray(b, np.float64) - np.asarray(joint, np.float64)
    if not u.any() or not v.any():
        return math.nan
    flat = len(u) == 2
    across = abs(float(u[0] * v[1] - u[1] * v[0])) if flat else float(np.linalg.norm(np.cross(u, v)))
    return math.atan2(across, float(u @ v))
