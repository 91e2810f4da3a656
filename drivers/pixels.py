"""Pixel formats of machine-vision cameras, by their GenICam names, and how they become frames."""

from __future__ import annotations

import cv2
import numpy as np

from poseloop.live.types import Colour, Image

__all__ = ["COLOURS", "PIXELS", "fill"]

PIXELS = {
    "Mono8": ("Mono8",),
    "Bayer8": ("BayerRG8", "BayerGB8", "BayerGR8", "BayerBG8"),
    "RGB8": ("RGB8", "RGB8Packed"),
    "BGR8": ("BGR8", "BGR8Packed"),
}
"""Key of the rig file → what cameras call it. A colour sensor has one of the four Bayer patterns."""

COLOURS = {
    "Mono8": Colour.GREY,
    **dict.fromkeys(PIXELS["Bayer8"] + PIXELS["RGB8"], Colour.RGB),
    **dict.fromkeys(PIXELS["BGR8"], Colour.BGR),
}
"""What a frame is, for every format that can be read: a Bayer pattern becomes RGB."""

_DEMOSAIC = {
    "BayerRG8": cv2.COLOR_BAYER_RGGB2RGB,
    "BayerGB8": cv2.COLOR_BAYER_GBRG2RGB,
    "BayerGR8": cv2.COLOR_BAYER_GRBG2RGB,
    "BayerBG8": cv2.COLOR_BAYER_BGGR2RGB,
}


def fill(into: Image, pixels: Image, pixel_format: str) -> None:
    """Copy a camera's buffer into a frame; a Bayer pattern is interpolated on the way."""
    code = _DEMOSAIC.get(pixel_format)
    if code is None:
        np.copyto(into, pixels)
    else:
        cv2.cvtColor(pixels, code, dst=into)
