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

_REAR_EVERY_S = 2.1
_REAR = 0.95
"""How far the trunk is raised at most, rad."""
_NOD = 0.5
"""The head is raised by this share of that."""
_HASTE = 0.75
"""By so much slower than on average it walks at the height of a rearing, and faster in between."""

_HIPS = (-30.0, 14.0)
"""Millimetres forward of the body's middle, and above the floor: the trunk is raised about them."""
_ON_TRUNK = np.array([[52.0, 0.0, 1.0], [-8.0, 0.0, -2.0]])
"""Neck and tail base: millimetres forward, left and up from the hips."""
_ON_HEAD = np.array([[30.0, 0.0, -5.0], [8.0, 11.5, 5.0], [8.0, -11.5, 5.0]])
"""Snout, left and right ear, from the neck."""
_REACH_MM = 54.0
"""From the middle of the body to the farthest part of it."""

_TAIL_STEPS = 7
_TAIL_MM = 62.0
_TAIL_Z_MM = 3.0


@dataclass(frozen=True, slots=True)
class Arena:
    """The floor."""

    width_mm: float = 400.0
    height_mm: float = 300.0


@dataclass(frozen=True, slots=True)
class Body:
    """The whole animal at one time."""

    hips: Float64
    """(3,) mm: where the trunk is raised."""
    trunk: Float64
    """(3, 3): rows are its forward, left and up in the world, so that a part of it is at ``hips + part @ trunk``."""
    neck: Float64
    """(3,) mm: where the head turns."""
    head: Float64
    """(3, 3): like ``trunk``."""
    keypoints: Float64
    """(K, 3) mm."""
    tail: Float64
    """(T, 3) mm, from the tail base to the tip."""


class Animal:
    """Runs figures of eight that vary a little, looks around, and rears now and then: then it all but stops."""

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
        walked = self._walked(t)
        x, y, dx, dy = self._path(walked)
        heading = atan2(dy, dx)
        turned = heading + 0.30 * sin(tau * t / 1.7 + self._phases[4]) + 0.12 * sin(tau * t / 0.61 + self._phases[5])
        raised = _REAR * ((1 + cos(tau * t / _REAR_EVERY_S + self._phases[1])) / 2) ** 4
        trunk, head = _axes(heading, raised), _axes(turned, _NOD * raised)
        hips = np.array([x + _HIPS[0] * cos(heading), y + _HIPS[0] * sin(heading), _HIPS[1]])
        neck, base = hips + _ON_TRUNK @ trunk
        keypoints = np.vstack([neck + _ON_HEAD @ head, base])
        return Body(hips, trunk, neck, head, keypoints, self._tail(t, base, heading))

    def _walked(self, t: float) -> float:
        """The time on its way: it passes more slowly while the animal rears."""
        turns = tau / _REAR_EVERY_S
        return t - _HASTE / turns * sin(turns * t + self._phases[1])

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

    def _tail(self, t: float, base: Float64, heading: float) -> Float64:
        """Bend the tail into the way that the body came, down to the floor."""
        step = _TAIL_MM / (_TAIL_STEPS - 1)
        walked = self._walked(t)
        x, y, z = base.tolist()
        points = [(x, y, z)]
        for i in range(1, _TAIL_STEPS):
            _, _, dx, dy = self._path(walked - 0.09 * i)
            back = atan2(dy, dx) + 0.18 * sin(tau * t / 1.1 - 0.7 * i)
            direction = heading + i / (_TAIL_STEPS - 1) * remainder(back - heading, tau)
            x, y = x - step * cos(direction), y - step * sin(direction)
            points.append((x, y, max(_TAIL_Z_MM, z * (1 - i / 3))))
        return np.array(points)


def _axes(yaw: float, pitch: float) -> Float64:
    """(3, 3): forward, left and up of something that looks along ``yaw`` and is raised by ``pitch``, rad."""
    cy, sy, cp, sp = cos(yaw), sin(yaw), cos(pitch), sin(pitch)
    return np.array([[cp * cy, cp * sy, sp], [-sy, cy, 0.0], [-sp * cy, -sp * sy, cp]])
