"""What goes over a simulated picture: dye marks and noise.

All else is grey, so a mark's colour alone says where it is.
"""

from __future__ import annotations

from math import ceil

import cv2
import numpy as np
import numpy.typing as npt

from poseloop.live.types import Image

__all__ = ["DYES", "DYE_RADIUS_MM", "Noise", "lay_dye"]

Float64 = npt.NDArray[np.float64]

DYES = ((235, 45, 60), (140, 215, 35), (40, 205, 215), (150, 65, 235))
"""RGB of the dye mark on each keypoint: four hues, a quarter of the colour circle apart."""

DYE_RADIUS_MM = 4.6

_NOISE_MARGIN = 61
"""The noise of a frame is cut out of a larger field, at one of 61 x 61 places."""


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
