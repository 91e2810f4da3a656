"""Draws the simulated arena and animal. All is grey but the dye marks, so a mark's colour alone says where it is."""

from __future__ import annotations

from math import ceil, cos, pi, sin

import cv2
import numpy as np
import numpy.typing as npt

from poseloop.drivers.sim.view import TopView
from poseloop.drivers.sim.world import Arena, Body
from poseloop.live.types import Image

__all__ = ["DYES", "DYE_RADIUS_MM", "Noise", "Painter", "lay_dye", "pear"]

Float64 = npt.NDArray[np.float64]

DYES = ((235, 45, 60), (140, 215, 35), (40, 205, 215), (150, 65, 235))
"""RGB of the dye mark on each keypoint: four hues, a quarter of the colour circle apart."""

DYE_RADIUS_MM = 4.6

_WALL, _EDGE, _FLOOR = 58, 120, 206
_TAIL = 122
_SHADOW = np.array([3.0, -4.0])
"""Where it falls, mm."""
_EARS = (118, 150)
_FUR = (58, 70, 82, 93, 102)
"""Outside to inside."""

_SHIFT = 6
"""Bits behind the point in the coordinates given to OpenCV."""

_NOISE_MARGIN = 61
"""The noise of a frame is cut out of a larger field, at one of 61 x 61 places."""


class Painter:
    """Draws frames of one view; everything that does not move is made once."""

    def __init__(self, width: int, height: int, arena: Arena, view: TopView, noise: float, seed: int) -> None:
        """Prepare background, outlines and noise.

        Args:
            width: px.
            height: px.
            arena: what is seen.
            view: how it is seen.
            noise: standard deviation in grey levels, of every channel by itself.
            seed: of floor texture and noise.
        """
        self._view = view
        rng = np.random.default_rng(seed)
        self._background = _background(width, height, arena, view, rng)
        self._noise = Noise(width, height, noise, rng)
        self._trunk = pear(length=78.0, width=37.0, centre=-4.0, taper=0.22)
        self._head = pear(length=42.0, width=21.0, centre=12.0, taper=0.42)
        self._ear = pear(length=15.0, width=15.0, centre=0.0, taper=0.0)
        self._radius_px = DYE_RADIUS_MM * view.px_per_mm

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
        self._fill(into, self._trunk * 1.06, body.centre + _SHADOW, body.heading, _FLOOR - 34)
        tail = self._view.to_px(body.tail)
        thick = 3.2 * self._view.px_per_mm
        for taper, steps in ((1.0, 3), (0.75, 5), (0.5, len(tail))):
            line = self._fixed(tail[:steps])
            cv2.polylines(into, [line], False, (_TAIL,) * 3, max(1, round(thick * taper)), cv2.LINE_AA, _SHIFT)
        ears = body.keypoints[1:3, :2]
        shades = len(_FUR)
        for i, grey in enumerate(_FUR):
            self._fill(into, self._trunk * (1 - i / shades), body.centre, body.heading, grey)
        for ear in ears:
            for size, grey in zip((1.0, 0.72), _EARS, strict=True):
                self._fill(into, self._ear * size, ear, body.head, grey)
        for i, grey in enumerate(_FUR[:3]):
            self._fill(into, self._head * (1 - 0.8 * i / shades), body.neck, body.head, grey + 4)
        for centre, dye in zip(self._view.to_px(body.keypoints), DYES, strict=True):
            lay_dye(into, centre, self._radius_px, dye)

    def _fill(self, into: Image, outline: Float64, origin: Float64, angle: float, grey: int) -> None:
        """Fill an outline ((N, 2) mm along and left of an axis)."""
        turn = np.array([[cos(angle), sin(angle)], [-sin(angle), cos(angle)]])
        points = self._fixed(self._view.to_px(outline @ turn + origin))
        cv2.fillConvexPoly(into, points, (grey,) * 3, cv2.LINE_AA, _SHIFT)

    @staticmethod
    def _fixed(points: Float64) -> npt.NDArray[np.int32]:
        return np.rint(points * (1 << _SHIFT)).astype(np.int32)


def lay_dye(into: Image, centre: Float64, radius_px: float, dye: tuple[int, int, int]) -> None:
    """Lay a disc of dye on a centre ((2,) px).

    OpenCV's own discs are up to 0.1 px off their centre; here the share of each pixel follows from its distance.
    """
    height, width = into.shape[:2]
    x, y = float(centre[0]), float(centre[1])
    reach = ceil(radius_px + 1)
    left, top = round(x) - reach, round(y) - reach
    rows = slice(max(top, 0), min(top + 2 * reach + 1, height))
    columns = slice(max(left, 0), min(left + 2 * reach + 1, width))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return
    distance = np.hypot(
        np.arange(columns.start, columns.stop) - x, (np.arange(rows.start, rows.stop) - y)[:, np.newaxis]
    )
    share = np.clip(radius_px + 0.5 - distance, 0, 1)[..., np.newaxis]
    under = into[rows, columns]
    np.copyto(under, np.rint(under + share * (np.array(dye, np.float64) - under)), casting="unsafe")


class Noise:
    """Pixel noise that is another one in every frame, for the price of two sums."""

    def __init__(self, width: int, height: int, strength: float, rng: np.random.Generator) -> None:
        """Draw a field of normal noise; ``strength`` is its standard deviation in grey levels, 0 = none."""
        self._fields: tuple[Image, Image] | None = None
        if strength > 0:
            field = rng.normal(0, strength, (height + _NOISE_MARGIN, width + _NOISE_MARGIN, 3)).round()
            # Sums of unsigned pictures are what OpenCV adds fastest: the two signs lie apart.
            self._fields = (np.clip(field, 0, 255).astype(np.uint8), np.clip(-field, 0, 255).astype(np.uint8))

    def add(self, into: Image, number: int) -> None:
        """Add the noise of frame ``number``."""
        if self._fields is None:
            return
        # A multiplicative hash (Knuth, The Art of Computer Programming 3, 6.4) scatters successive numbers.
        place = number * 2654435761 % 2**32 // 2**8
        row, column = place % _NOISE_MARGIN, place // _NOISE_MARGIN % _NOISE_MARGIN
        cut = np.s_[row : row + into.shape[0], column : column + into.shape[1]]
        more, less = self._fields if place & 1 else self._fields[::-1]
        cv2.add(into, more[cut], dst=into)
        cv2.subtract(into, less[cut], dst=into)


def pear(length: float, width: float, centre: float, taper: float) -> Float64:
    """Outline (N, 2) mm of an ellipse that is broader behind, by ``taper``; ``centre`` lies along the axis."""
    at = np.linspace(0, 2 * pi, 40, endpoint=False)
    along = np.cos(at)
    return np.column_stack([centre + length / 2 * along, width / 2 * np.sin(at) * (1 - taper * along)])


def _background(width: int, height: int, arena: Arena, view: TopView, rng: np.random.Generator) -> Image:
    grey = np.full((height, width), float(_WALL))
    corners = np.array([[-0.5, 0.5], [0.5, -0.5]]) * (arena.width_mm, arena.height_mm)
    (left, top), (right, bottom) = view.to_px(corners)
    x, y = np.arange(width), np.arange(height)[:, np.newaxis]
    # Distance into the floor, px; its first two pixels are the wall's edge.
    depth = np.minimum(np.minimum(x - left, right - x), np.minimum(y - top, bottom - y))
    texture = cv2.GaussianBlur(rng.normal(0, 1, (height, width)), (0, 0), max(width / 320, 0.5) * 1.6)
    light = 1 - 0.13 * (((x - width / 2) / width) ** 2 + ((y - height / 2) / height) ** 2) * 2
    floor = _FLOOR * light + 9 * texture
    # The wall's own shadow on the floor.
    floor -= 26 * np.exp(-np.maximum(depth, 0) / (9 * view.px_per_mm))
    grey += (_EDGE - _WALL) * np.clip(depth + 2.5, 0, 1)
    share = np.clip(depth, 0, 1)
    grey += share * (floor - grey)
    pixels: Image = np.repeat(np.rint(grey).clip(0, 255).astype(np.uint8)[..., np.newaxis], 3, axis=2)
    return pixels
