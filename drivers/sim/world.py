"""A simulated animal in its arena: where its body parts are at any time, in mm, exactly.

World coordinates are right-handed: the origin lies on the floor in the middle of the arena; seen from above, x points
right and y away from the viewer; z points up. Everything is a function of time and seed alone, so that any frame can be
asked for in any order and the truth is known without a picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import atan2, cos, remainder, sin, tau

import numpy as np
import numpy.typing as npt

__all__ = ["KEYPOINTS", "SKELETON", "Animal", "Arena", "Body"]

Float64 = npt.NDArray[np.float64]

KEYPOINTS = ("snout", "leftear", "rightear", "tailbase")
SKELETON = (("snout", "leftear"), ("snout", "rightear"), ("leftear", "tailbase"), ("rightear", "tailbase"))

_PERIOD_S = 5.0
"""One figure of eight: twice through the middle, once into each quarter of the arena."""

# Millimetres along and to the left of the axis of the body or head, and above the floor.
_NECK = (22.0, 0.0, 15.0)
_TAILBASE = (-38.0, 0.0, 12.0)
_SNOUT = (30.0, 0.0, 10.0)
_LEFT_EAR = (8.0, 11.5, 20.0)
_RIGHT_EAR = (8.0, -11.5, 20.0)
_REACH_MM = 54.0
"""From the middle of the body to the farthest part of it."""

_TAIL_STEPS = 7
_TAIL_MM = 62.0


@dataclass(frozen=True, slots=True)
class Arena:
    """The floor."""

    width_mm: float = 400.0
    height_mm: float = 300.0


@dataclass(frozen=True, slots=True)
class Body:
    """The whole animal at one time."""

    centre: Float64
    """(2,) mm, on the floor."""
    heading: float
    """Direction of the trunk, rad, counter-clockwise from x."""
    head: float
    """Direction of the head, rad."""
    neck: Float64
    """(2,) mm: where the head turns."""
    keypoints: Float64
    """(K, 3) mm."""
    tail: Float64
    """(T, 2) mm, from the tail base to the tip."""


class Animal:
    """Runs figures of eight that vary a little, and looks around."""

    def __init__(self, arena: Arena, seed: int) -> None:
        """Fix how this animal moves.

        Raises:
            ValueError: the arena is too small to turn round in.
        """
        self._reach_x = arena.width_mm / 2 - _REACH_MM
        self._reach_y = arena.height_mm / 2 - _REACH_MM
        if min(self._reach_x, self._reach_y) <= 0:
            raise ValueError(f"expected an arena wider than {2 * _REACH_MM:g} mm both ways, but got {arena}")
        self._phases = np.random.default_rng(seed).uniform(0, tau, 6).tolist()

    def keypoints(self, t: float) -> Float64:
        """(K, 3) mm at ``t`` seconds, in the order of `KEYPOINTS`; z is the height."""
        return self.body(t).keypoints

    def body(self, t: float) -> Body:
        """Everything that a picture of the animal needs, at ``t`` seconds."""
        x, y, dx, dy = self._path(t)
        heading = atan2(dy, dx)
        head = heading + 0.30 * sin(tau * t / 1.7 + self._phases[4]) + 0.12 * sin(tau * t / 0.61 + self._phases[5])
        neck = _placed(_NECK, x, y, heading)
        on_head = [_placed(part, neck[0], neck[1], head) for part in (_SNOUT, _LEFT_EAR, _RIGHT_EAR)]
        base = _placed(_TAILBASE, x, y, heading)
        return Body(
            centre=np.array([x, y]),
            heading=heading,
            head=head,
            neck=np.array(neck[:2]),
            keypoints=np.array([*on_head, base]),
            tail=self._tail(t, base[0], base[1], heading),
        )

    def _path(self, t: float) -> tuple[float, float, float, float]:
        """Position in mm, and its derivative in mm/s."""
        p = self._phases
        slow, wide, tall = tau / 11.3, tau / 7.9, tau / 6.1
        angle = tau * t / _PERIOD_S + p[0] + 0.25 * sin(slow * t + p[1])
        turning = tau / _PERIOD_S + 0.25 * slow * cos(slow * t + p[1])
        # Either sum of sines stays within -1..1, and so the animal within its arena.
        return (
            self._reach_x * (0.90 * sin(angle) + 0.10 * sin(wide * t + p[2])),
            self._reach_y * (0.92 * sin(2 * angle) + 0.08 * sin(tall * t + p[3])),
            self._reach_x * (0.90 * turning * cos(angle) + 0.10 * wide * cos(wide * t + p[2])),
            self._reach_y * (1.84 * turning * cos(2 * angle) + 0.08 * tall * cos(tall * t + p[3])),
        )

    def _tail(self, t: float, x: float, y: float, heading: float) -> Float64:
        """Bend the tail into the way that the body came."""
        step = _TAIL_MM / (_TAIL_STEPS - 1)
        points = [(x, y)]
        for i in range(1, _TAIL_STEPS):
            _, _, dx, dy = self._path(t - 0.09 * i)
            back = atan2(dy, dx) + 0.18 * sin(tau * t / 1.1 - 0.7 * i)
            direction = heading + i / (_TAIL_STEPS - 1) * remainder(back - heading, tau)
            x, y = x - step * cos(direction), y - step * sin(direction)
            points.append((x, y))
        return np.array(points)


def _placed(part: tuple[float, float, float], x: float, y: float, angle: float) -> tuple[float, float, float]:
    """Turn a part from the frame of body or head, whose origin is at x, y, into the world's."""
    along, left, height = part
    return x + along * cos(angle) - left * sin(angle), y + along * sin(angle) + left * cos(angle), height
