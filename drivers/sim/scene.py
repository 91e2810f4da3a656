"""Draws the simulated arena and animal: the floor pixel by pixel, the body as hulls of spheres with light from above.

The dye marks are drawn over the body, the far ones first: they shine through it, so that a mark is hidden by nothing
but a nearer mark.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from poseloop.drivers.sim.painter import DYE_RADIUS_MM, DYES, Noise, lay_dye
from poseloop.drivers.sim.view import View
from poseloop.drivers.sim.world import Arena, Body
from poseloop.live.types import Image

__all__ = ["Scene"]

Float64 = npt.NDArray[np.float64]

_AROUND, _EDGE, _FLOOR, _SHADOW = 58, 120, 206, 168
_EDGE_MM = 2.5
_TEXTURE_MM = 2.0
"""Size of the floor's grain. It lies in the world: every camera sees the same floor."""

_TRUNK_MM = np.array([[11.0], [15.0], [18.0], [18.5], [15.5], [11.0]])
_TRUNK = np.column_stack([[-6.0, 0.0, 12.0, 26.0, 40.0, 52.0], np.zeros(6), _TRUNK_MM[:, 0] - 14.0])
"""Radii (N, 1) and centres of its spheres from the hips: the belly is on the floor while the animal does not rear."""
_HEAD_MM = np.array([[11.0], [10.5], [8.0], [4.0]])
_HEAD = np.array([[2.0, 0.0, -3.0], [10.0, 0.0, -3.0], [20.0, 0.0, -4.0], [30.0, 0.0, -5.0]])
"""Likewise, from the neck."""
_EAR_MM = np.array([[7.0]])
_FUR = ((1.0, 58), (0.84, 68), (0.66, 80), (0.46, 92))
"""Outside to inside: share of the radius, grey level."""
_SKIN = ((1.0, 112), (0.72, 150))
_LIGHT = 0.55
"""Inner layers lie higher, by this share of what they are smaller."""
_TAIL, _TAIL_MM = 122, 3.2

_CIRCLE = np.array([[np.cos(angle), np.sin(angle)] for angle in np.arange(16) * np.pi / 8])
_SHIFT = 4
"""Bits behind the point in the coordinates given to OpenCV."""


class Scene:
    """Draws frames of one camera; everything that does not move is made once."""

    def __init__(self, arena: Arena, view: View, noise: float, seed: int, noise_seed: int) -> None:
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
        trunk = body.hips + _TRUNK @ body.trunk
        head = body.neck + _HEAD @ body.head
        ears = [(ear[np.newaxis], _EAR_MM, _SKIN) for ear in body.keypoints[1:3]]
        parts = [(trunk, _TRUNK_MM, _FUR), (head, _HEAD_MM, _FUR), *ears]
        layers = [
            _Layer(part.mean(axis=0), part + (0.0, 0.0, 1.0) * (_LIGHT * (1 - size) * radii), size * radii[:, 0], grey)
            for part, radii, shades in parts
            for size, grey in shades
        ]
        # Everything goes through the lens at once: it is the number of calls that takes time.
        shadow = _shadow(trunk)
        points = np.vstack([shadow, body.tail, body.keypoints, *(layer.centres for layer in layers)])
        px, scale, depth = self._view.to_px(points), self._view.scale(points), self._view.depth_mm(points)
        begins = np.cumsum([0, len(shadow), len(body.tail), len(body.keypoints), *(len(la.centres) for la in layers)])
        cut = [slice(*ends) for ends in itertools.pairwise(begins.tolist())]
        _fill(into, px[cut[0]], _SHADOW)
        _tail(into, px[cut[1]], _TAIL_MM * scale[cut[1]][0])
        # Sorting is stable: the layers of a part, which have one depth, stay in their order.
        far = self._view.depth_mm(np.array([layer.part for layer in layers]))
        for i in np.argsort(-far, kind="stable"):
            its = cut[3 + i]
            rim = px[its, np.newaxis] + (layers[i].radii * scale[its])[:, np.newaxis, np.newaxis] * _CIRCLE
            _fill(into, rim.reshape(-1, 2), layers[i].grey)
        for i in np.argsort(-depth[cut[2]]):
            at, radius_px = px[cut[2]][i], DYE_RADIUS_MM * scale[cut[2]][i]
            if np.isfinite(at).all():
                lay_dye(into, at, float(radius_px), DYES[i])


@dataclass(frozen=True, slots=True)
class _Layer:
    """Spheres in a row; what is drawn is their hull."""

    part: Float64
    """(3,) mm: the middle of what it is a layer of."""
    centres: Float64
    """(N, 3) mm."""
    radii: Float64
    """(N,) mm."""
    grey: int


def _shadow(centres: Float64) -> Float64:
    """Rim (N, 3) mm of what the trunk keeps the light off, which comes from above and a little from one side."""
    under = centres[:, :2] + centres[:, 2:] * (0.16, -0.2)
    rim = under[:, np.newaxis] + _TRUNK_MM[:, np.newaxis] * _CIRCLE
    return np.column_stack([rim.reshape(-1, 2), np.zeros(rim.shape[0] * rim.shape[1])])


def _fill(into: Image, rim: Float64, grey: int) -> None:
    """Fill the hull of points ((N, 2) px)."""
    cv2.fillConvexPoly(into, cv2.convexHull(_fixed(rim)), (grey,) * 3, cv2.LINE_AA, _SHIFT)


def _tail(into: Image, px: Float64, thick: float) -> None:
    points = _fixed(px)
    for taper, steps in ((1.0, 3), (0.75, 5), (0.5, len(px))):
        cv2.polylines(into, [points[:steps]], False, (_TAIL,) * 3, max(1, round(thick * taper)), cv2.LINE_AA, _SHIFT)


def _fixed(values: Float64) -> npt.NDArray[np.int32]:
    """Px as OpenCV takes them, with bits behind the point; what is behind the camera goes far outside."""
    seen = np.where(np.isfinite(values), values, -1e4)
    fixed: npt.NDArray[np.int32] = np.rint(seen.clip(-1e4, 1e4) * (1 << _SHIFT)).astype(np.int32)
    return fixed


def _background(arena: Arena, view: View, rng: np.random.Generator) -> Image:
    width, height = arena.width_mm, arena.height_mm
    grain = rng.normal(0, 1, (round(height / _TEXTURE_MM), round(width / _TEXTURE_MM))).astype(np.float32)
    blurred = cv2.GaussianBlur(grain, (0, 0), 1.6)
    x, y = view.floor_mm()
    column, row = (x + width / 2) / _TEXTURE_MM - 0.5, (height / 2 - y) / _TEXTURE_MM - 0.5
    columns, rows = (np.nan_to_num(value, nan=-1.0).clip(-1e4, 1e4).astype(np.float32) for value in (column, row))
    texture = cv2.remap(blurred, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    # Distance into the floor, mm; negative outside.
    depth = np.nan_to_num(np.minimum(width / 2 - np.abs(x), height / 2 - np.abs(y)), nan=-1e4)
    light = 1 - 0.26 * ((x / width) ** 2 + (y / height) ** 2)
    # The wall's own shadow lies along the edge.
    floor = np.nan_to_num(_FLOOR * light) + 9 * texture - 26 * np.exp(-np.maximum(depth, 0) / 9)
    px_per_mm = view.scale(np.column_stack([np.nan_to_num(x).ravel(), np.nan_to_num(y).ravel(), 0 * x.ravel()]))
    scale = np.nan_to_num(px_per_mm).reshape(depth.shape)
    grey = _AROUND + (_EDGE - _AROUND) * np.clip((depth + _EDGE_MM) * scale, 0, 1)
    grey += np.clip(depth * scale, 0, 1) * (floor - grey)
    pixels: Image = np.repeat(np.rint(grey).clip(0, 255).astype(np.uint8)[..., np.newaxis], 3, axis=2)
    return pixels
