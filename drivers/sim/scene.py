"""Draws the simulated arena and animal in perspective: the floor pixel by pixel, the body as spheres.

The dye marks are drawn over the body, the far ones first: they shine through it, so that a mark is hidden by nothing
but a nearer mark.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import cos, sin

import cv2
import numpy as np
import numpy.typing as npt

from poseloop.drivers.sim.painter import DYE_RADIUS_MM, DYES, Noise, lay_dye, pear
from poseloop.drivers.sim.view import PerspectiveView
from poseloop.drivers.sim.world import Arena, Body
from poseloop.live.types import Image

__all__ = ["Scene"]

Float64 = npt.NDArray[np.float64]

_AROUND, _FLOOR, _SHADOW = 58, 200, 150
_TAIL = 122
_TEXTURE_MM = 2.0
"""Size of the floor's grain. It lies in the world: every camera sees the same floor."""

_TRUNK = ((-30.0, 14.0), (-18.0, 17.0), (-4.0, 18.0), (10.0, 15.0), (20.0, 12.0))
"""Spheres of the trunk: millimetres along its axis, radius."""
_HEAD = ((6.0, 11.0), (15.0, 9.0), (23.0, 6.0))
_EAR_MM = 6.5

_SHIFT = 6
"""Bits behind the point in the coordinates given to OpenCV."""


class Scene:
    """Draws frames of one camera; everything that does not move is made once."""

    def __init__(self, arena: Arena, view: PerspectiveView, noise: float, seed: int, noise_seed: int) -> None:
        """Prepare floor and noise.

        Args:
            arena: what is seen.
            view: how it is seen.
            noise: standard deviation in grey levels, of every channel by itself.
            seed: of the floor.
            noise_seed: of this camera's noise.
        """
        self._view = view
        self._background = _background(arena, view, np.random.default_rng(seed))
        self._noise = Noise(*view.size, noise, np.random.default_rng(noise_seed))
        self._outline = pear(length=78.0, width=37.0, centre=-4.0, taper=0.22)

    def paint(self, into: Image, body: Body | None, number: int) -> None:
        """Draw a whole frame.

        Args:
            into: (H, W, 3) RGB.
            body: the animal; None = an empty arena.
            number: chooses the noise.
        """
        np.copyto(into, self._background)
        if body is not None:
            self._animal(into, body)
        self._noise.add(into, number)

    def _animal(self, into: Image, body: Body) -> None:
        turn = np.array([[cos(body.heading), sin(body.heading)], [-sin(body.heading), cos(body.heading)]])
        shadow = self._outline @ turn + body.centre
        cv2.fillPoly(into, [self._fixed(_at_height(shadow, 0.0))], (_SHADOW,) * 3, cv2.LINE_AA, _SHIFT)
        tail = self._fixed(_at_height(body.tail, 3.0))
        thick = max(1, round(3.2 * self._px_per_mm(_at_height(body.tail[:1], 3.0))[0]))
        cv2.polylines(into, [tail], False, (_TAIL,) * 3, thick, cv2.LINE_AA, _SHIFT)
        centres, radii, greys = (np.array(part) for part in zip(*_spheres(body), strict=True))
        depth = self._view.depth_mm(centres)
        at, radii_px = self._view.to_px(centres), radii * self._px_per_mm(centres)
        for i in np.argsort(-depth):
            # Two discs, the smaller one lighter: round enough for a network to see a body.
            for size, lighter in ((1.0, 0), (0.6, 14)):
                self._disc(into, at[i], size * radii_px[i], int(greys[i]) + lighter)
        marks = self._view.to_px(body.keypoints)
        marks_px = DYE_RADIUS_MM * self._px_per_mm(body.keypoints)
        for i in np.argsort(-self._view.depth_mm(body.keypoints)):
            if np.isfinite(marks[i]).all():
                lay_dye(into, marks[i], float(marks_px[i]), DYES[i])

    def _px_per_mm(self, points: Float64) -> Float64:
        scale: Float64 = self._view.matrix[0, 0] / np.maximum(self._view.depth_mm(points), 1.0)
        return scale

    def _disc(self, into: Image, at: Float64, radius_px: float, grey: int) -> None:
        if np.isfinite(at).all() and np.abs(at).max() < 1e5:
            x, y = (round(float(value) * (1 << _SHIFT)) for value in at)
            cv2.circle(into, (x, y), round(radius_px * (1 << _SHIFT)), (grey,) * 3, -1, cv2.LINE_AA, _SHIFT)

    def _fixed(self, points: Float64) -> npt.NDArray[np.int32]:
        px = np.nan_to_num(self._view.to_px(points), nan=-1e4).clip(-1e4, 1e4)
        fixed: npt.NDArray[np.int32] = np.rint(px * (1 << _SHIFT)).astype(np.int32)
        return fixed


def _spheres(body: Body) -> Iterator[tuple[Float64, float, int]]:
    """Centre (3,) mm, radius in mm and grey level of everything round."""
    trunk, head = (np.array([cos(angle), sin(angle)]) for angle in (body.heading, body.head))
    for along, radius in _TRUNK:
        yield np.array([*(body.centre + along * trunk), radius]), radius, 78
    for along, radius in _HEAD:
        yield np.array([*(body.neck + along * head), 12.0]), radius, 88
    for ear in body.keypoints[1:3]:
        yield ear, _EAR_MM, 120


def _at_height(points: Float64, z: float) -> Float64:
    return np.column_stack([points, np.full(len(points), z)])


def _background(arena: Arena, view: PerspectiveView, rng: np.random.Generator) -> Image:
    width, height = arena.width_mm, arena.height_mm
    grain = rng.normal(0, 1, (round(height / _TEXTURE_MM), round(width / _TEXTURE_MM))).astype(np.float32)
    blurred = cv2.GaussianBlur(grain, (0, 0), 1.6)
    x, y = view.floor_mm()
    column, row = (x + width / 2) / _TEXTURE_MM - 0.5, (height / 2 - y) / _TEXTURE_MM - 0.5
    columns, rows = (np.nan_to_num(value, nan=-1.0).clip(-1e4, 1e4).astype(np.float32) for value in (column, row))
    texture = cv2.remap(blurred, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    # Distance into the floor, mm; NaN and negative outside.
    depth = np.minimum(width / 2 - np.abs(x), height / 2 - np.abs(y))
    inside = np.nan_to_num(depth, nan=-1.0) > 0
    floor = _FLOOR + 9 * texture - 26 * np.exp(-np.where(inside, depth, 0.0) / 9)
    grey = np.where(inside, floor, float(_AROUND))
    pixels: Image = np.repeat(np.rint(grey).clip(0, 255).astype(np.uint8)[..., np.newaxis], 3, axis=2)
    return pixels
