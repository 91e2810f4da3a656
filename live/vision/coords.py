"""From a camera's picture to the network's input and back: the only place that changes 2D coordinates or pixels.

In this order::

    raw image ──crop──▶ part of it ──resize──▶ content ──pad──▶ network input ──stride──▶ cells of the score map

Pixel centres lie at integers everywhere, so pixel i of n covers i - 0.5 … i + 0.5, and each step, per axis, is

- crop: ``x_part = x_image - x0``
- resize by s = part / content: ``x_part = (x_net + 0.5) * s - 0.5``
- pad: below and to the right only, so it moves nothing
- stride t: ``x_net = (x_cell + 0.5) * t - 0.5``

which makes every way back a line, ``x_image = x_cell * (t * s) + (x0 - 0.5 + 0.5 * t * s)``. What is padded repeats the
last row and column: a black rim would look like a wall or an animal to a network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from poseloop.live.errors import ModelError
from poseloop.live.jit import kernel
from poseloop.live.types import CameraFormat, Colour, Float32, Image

__all__ = ["Placement", "View", "cells_to_image", "place"]

_CONVERSIONS: dict[tuple[Colour, Colour], int] = {
    (Colour.RGB, Colour.GREY): cv2.COLOR_RGB2GRAY,
    (Colour.BGR, Colour.GREY): cv2.COLOR_BGR2GRAY,
    (Colour.GREY, Colour.RGB): cv2.COLOR_GRAY2RGB,
    (Colour.GREY, Colour.BGR): cv2.COLOR_GRAY2BGR,
    (Colour.RGB, Colour.BGR): cv2.COLOR_RGB2BGR,
    (Colour.BGR, Colour.RGB): cv2.COLOR_BGR2RGB,
}


@dataclass(frozen=True, slots=True)
class View:
    """One camera's pictures, and which part of them the network is shown."""

    height: int
    """Pixels of the raw image."""
    width: int
    colour: Colour
    crop: tuple[int, int, int, int] | None = None
    """x, y, width, height of the part in the raw image; None = all of it."""
    size: tuple[int, int] | None = None
    """Width and height that the part is resized to; None = it stays as it is."""

    def __post_init__(self) -> None:
        x, y, width, height = self.part
        inside = min(x, y) >= 0 and x + width <= self.width and y + height <= self.height
        if not inside or width < 1 or height < 1:
            raise ModelError(f"expected a crop inside the {self.width}x{self.height} picture, but got {self.crop}")
        if self.size is not None and min(self.size) < 1:
            raise ModelError(f"expected a network size of at least 1x1, but got {self.size}")

    @classmethod
    def of(cls, camera: CameraFormat) -> View:
        """The whole picture of a camera, at its own size."""
        return cls(camera.height, camera.width, camera.colour)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the raw image."""
        plane = (self.height, self.width)
        return plane if self.colour is Colour.GREY else (*plane, 3)

    @property
    def part(self) -> tuple[int, int, int, int]:
        """x, y, width, height of the part that is shown."""
        return self.crop or (0, 0, self.width, self.height)


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a view's part lies in the network's input."""

    x: int
    """Left column of the part in the raw image."""
    y: int
    part_width: int
    """Raw pixels."""
    part_height: int
    width: int
    """Content: the part after resizing, in network pixels."""
    height: int
    padded_width: int
    """The network's input."""
    padded_height: int

    @classmethod
    def of(cls, view: View, size_multiple: int = 1) -> Placement:
        """Place a view in the smallest input whose sides are multiples of ``size_multiple``."""
        x, y, part_width, part_height = view.part
        width, height = view.size or (part_width, part_height)
        padded = (-(-side // size_multiple) * size_multiple for side in (width, height))
        return cls(x, y, part_width, part_height, width, height, *padded)

    @property
    def scale(self) -> tuple[float, float]:
        """Raw pixels for one network pixel, along x and y."""
        return self.part_width / self.width, self.part_height / self.height

    def cells_to_image(self, stride: int) -> tuple[tuple[float, float], tuple[float, float]]:
        """Factor and offset, each for x and y, of the line from cells to the raw image; stride 1: from pixels."""
        step_x, step_y = (stride * s for s in self.scale)
        return (step_x, step_y), (self.x - 0.5 + 0.5 * step_x, self.y - 0.5 + 0.5 * step_y)

    def to_image(self, xy: Float32) -> Float32:
        """Network pixels (…, 2) to pixels of the raw image."""
        factor, offset = self.cells_to_image(1)
        return np.asarray(xy * np.array(factor) + np.array(offset), xy.dtype)

    def to_network(self, xy: Float32) -> Float32:
        """Pixels of the raw image (…, 2) to network pixels."""
        factor, offset = self.cells_to_image(1)
        return np.asarray((xy - np.array(offset)) / np.array(factor), xy.dtype)

    def cells(self, stride: int) -> tuple[int, int]:
        """Rows and columns of the score map whose centres lie on the content, at least one each."""
        last = 0.5 * stride - 0.5
        rows, columns = (int((side - 1 - last) // stride) + 1 for side in (self.height, self.width))
        return max(rows, 1), max(columns, 1)


@kernel
def cells_to_image(
    cells: Float32,
    cell_score: Float32,
    cameras: Sequence[int],
    lines: Float32,
    missed: Sequence[bool],
    xy: Float32,
    score: Float32,
) -> None:
    """Write the points of one run to their cameras' places, in pixels of the raw images.

    Args:
        cells: (B, K, 2) points in cells.
        cell_score: (B, K).
        cameras: (B,) intp: camera of each picture of the run.
        lines: (B, 2, 2) float64: factor and offset, each for x and y (`Placement.cells_to_image`).
        missed: (C,) bool: cameras without a picture; their points and scores become NaN.
        xy: (C, 1, K, 2), output.
        score: (C, 1, K), output.
    """
    for b in range(cells.shape[0]):
        c = cameras[b]
        for k in range(cells.shape[1]):
            if missed[c]:
                xy[c, 0, k, 0] = np.nan
                xy[c, 0, k, 1] = np.nan
                score[c, 0, k] = np.nan
            else:
                xy[c, 0, k, 0] = cells[b, k, 0] * lines[b, 0, 0] + lines[b, 1, 0]
                xy[c, 0, k, 1] = cells[b, k, 1] * lines[b, 0, 1] + lines[b, 1, 1]
                score[c, 0, k] = cell_score[b, k]


def place(view: View, placement: Placement, colour: Colour, into: Image) -> Callable[[Image], None]:
    """Prepare to write a view's pictures into the network's input, and return what does it.

    Equal size and colour is one copy. Shrinking averages (``INTER_AREA``), so that fine texture does not alias.

    Args:
        view: the pictures to come; their shape and dtype are the caller's to check.
        placement: where they go.
        colour: what the network wants.
        into: (H, W, c) uint8: this picture's place in the input; written by every call.
    """
    channels = colour.channels
    plane = into[:, :, 0] if channels == 1 else into
    content = plane[: placement.height, : placement.width]
    x, y, part_width, part_height = view.part
    part = np.s_[y : y + part_height, x : x + part_width]
    conversion = _CONVERSIONS.get((view.colour, colour))
    resized = (placement.width, placement.height) != (part_width, part_height)
    # Where one axis grows, OpenCV's INTER_AREA moves the other by up to half a pixel.
    interpolation = cv2.INTER_AREA if min(placement.scale) >= 1 else cv2.INTER_LINEAR
    buffer_shape = (part_height, part_width) if channels == 1 else (part_height, part_width, channels)
    converted = np.empty(buffer_shape, np.uint8) if conversion is not None and resized else None
    pad_down = placement.padded_height > placement.height
    pad_right = placement.padded_width > placement.width

    def write(image: Image) -> None:
        source: Any = image[part]
        if conversion is not None:
            source = cv2.cvtColor(source, conversion, dst=content if converted is None else converted)
        if resized:
            cv2.resize(source, (placement.width, placement.height), dst=content, interpolation=interpolation)
        elif conversion is None:
            np.copyto(content, source)
        if pad_right:
            plane[: placement.height, placement.width :] = content[:, -1:]
        if pad_down:
            plane[placement.height :] = plane[placement.height - 1]

    return write
