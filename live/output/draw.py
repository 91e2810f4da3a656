"""Draws poses, regions and stimuli on pictures, for people to look at; never in the loop."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from poseloop.live.output.wire import Header
from poseloop.live.types import Float32, Image

__all__ = ["Canvas"]

_SUBPIXEL_BITS = 4
# Okabe and Ito's palette in BGR: told apart by colour-blind people too.
_PALETTE = (
    (0, 159, 230),
    (233, 180, 86),
    (115, 158, 0),
    (66, 228, 240),
    (178, 114, 0),
    (0, 94, 213),
    (167, 121, 204),
)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_FONT_SCALE = 0.55
_INK = (245, 245, 245)
_STIMULUS = (255, 170, 60)


class Canvas:
    """A picture scaled up so that lines are thin, in OpenCV's BGR; coordinates are those of the original picture."""

    def __init__(self, picture: Image, width: int = 960) -> None:
        """Enlarge ``picture`` (h, w, 3) to about ``width`` px, by a whole factor."""
        self._factor = max(1, round(width / picture.shape[1]))
        size = (picture.shape[1] * self._factor, picture.shape[0] * self._factor)
        self.image: Image = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC), np.uint8)

    def _at(self, xy: Float32) -> tuple[int, int]:
        fixed = ((np.asarray(xy, np.float64) + 0.5) * self._factor - 0.5) * 2**_SUBPIXEL_BITS
        return round(float(fixed[0])), round(float(fixed[1]))

    def wireframe(
        self, corners: Float32, edges: Sequence[tuple[int, int]], on: bool, colour: tuple[int, int, int] = _STIMULUS
    ) -> None:
        """Draw edges between corners ((N, 2) px), and tint what they enclose while the stimulus is on."""
        seen = [bool(np.isfinite(corner).all()) for corner in corners]
        if on and sum(seen) > 2:
            points = [self._at(corner) for corner, is_seen in zip(corners, seen, strict=True) if is_seen]
            tinted = self.image.copy()
            outline = cv2.convexHull(np.array(points, np.int32))
            cv2.fillConvexPoly(tinted, outline, colour, cv2.LINE_AA, _SUBPIXEL_BITS)
            cv2.addWeighted(tinted, 0.35, self.image, 0.65, 0, dst=self.image)
        for a, b in edges:
            if seen[a] and seen[b]:
                ends = self._at(corners[a]), self._at(corners[b])
                cv2.line(self.image, *ends, colour, 1, cv2.LINE_AA, _SUBPIXEL_BITS)

    def animal(self, header: Header, xy: Float32, score: Float32, gate: float) -> None:
        """Draw one individual: xy (K, 2) px, score (K,). Points under the gate are hollow, unseen ones absent."""
        for a, b in header.skeleton:
            ends = [header.keypoints.index(a), header.keypoints.index(b)]
            if not np.isnan(xy[ends]).any() and (score[ends] >= gate).all():
                cv2.line(self.image, self._at(xy[ends[0]]), self._at(xy[ends[1]]), _INK, 2, cv2.LINE_AA, _SUBPIXEL_BITS)
        for number, point in enumerate(xy):
            if np.isnan(point).any():
                continue
            colour = _PALETTE[number % len(_PALETTE)]
            thickness = cv2.FILLED if score[number] >= gate else 2
            radius = 6 * 2**_SUBPIXEL_BITS
            cv2.circle(self.image, self._at(point), radius, colour, thickness, cv2.LINE_AA, _SUBPIXEL_BITS)
            if thickness == cv2.FILLED:
                cv2.circle(self.image, self._at(point), radius, (30, 30, 30), 1, cv2.LINE_AA, _SUBPIXEL_BITS)

    def border(self) -> None:
        """Frame the picture: a stimulus is on."""
        height, width = self.image.shape[:2]
        cv2.rectangle(self.image, (2, 2), (width - 3, height - 3), _STIMULUS, 5)

    def legend(self, header: Header) -> None:
        """Name the keypoints in their colours, top right."""
        widest = max(self._size(name)[0] for name in header.keypoints)
        left, row = self.image.shape[1] - widest - 44, 24
        self._darken(left, 8, self.image.shape[1] - 8, 16 + row * len(header.keypoints))
        for number, name in enumerate(header.keypoints):
            middle = 12 + row * number + row // 2
            colour = _PALETTE[number % len(_PALETTE)]
            cv2.circle(self.image, (left + 14, middle), 6, colour, cv2.FILLED, cv2.LINE_AA)
            self._write(name, (left + 28, middle + 5), _INK)

    def text(self, text: str, at: tuple[int, int], strong: bool = False) -> None:
        """Write text at canvas pixels (lower left corner), on a dark ground that keeps it readable on any picture."""
        width, height = self._size(text)
        self._darken(at[0] - 8, at[1] - height - 8, at[0] + width + 8, at[1] + 9)
        self._write(text, at, _STIMULUS if strong else _INK)

    @staticmethod
    def _size(text: str) -> tuple[int, int]:
        (width, height), _ = cv2.getTextSize(text, _FONT, _FONT_SCALE, 1)
        return width, height

    def _write(self, text: str, at: tuple[int, int], colour: tuple[int, int, int]) -> None:
        cv2.putText(self.image, text, at, _FONT, _FONT_SCALE, colour, 1, cv2.LINE_AA)

    def _darken(self, x0: int, y0: int, x1: int, y1: int) -> None:
        ground = self.image[max(y0, 0) : y1, max(x0, 0) : x1]
        np.multiply(ground, 0.35, out=ground, casting="unsafe")
