"""From a camera's picture to the network's input and back: the only place that changes 2D coordinates or pixels.

In this order::

    raw image ──crop──▶ part of it ──resize──▶ content ──pad──▶ network input ──stride──▶ cells of the score map

The part is fixed (a camera's region of interest) or moves with the animal (`Track`, inside the region); a part that
moves keeps its size, so that of everything below only ``x0`` changes.

Pixel centres lie at integers everywhere, so pixel i of n covers i - 0.5 … i + 0.5, and each step, per axis, is

- crop: ``x_part = x_image - x0``
- resize by s = part / content: ``x_part = (x_net + 0.5) * s - 0.5``
- pad: below and to the right only, so it moves nothing
- stride t: ``x_net = (x_cell + 0.5) * t - 0.5``

which makes every way back a line, ``x_image = x_cell * (t * s) + (x0 - 0.5 + 0.5 * t * s)``. What is padded repeats the
last row and column: a black rim would look like a wall or an animal to a network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import cv2
import numpy as np

from poseloop.live.errors import ModelError
from poseloop.live.jit import kernel
from poseloop.live.types import CameraFormat, Colour, Float32, Image

__all__ = ["Placement", "Track", "View", "Writer", "cells_to_image", "place"]

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

    def shows_all_of(self, view: View) -> bool:
        """Is the network shown the whole raw image as it is, nothing cut off, resized or padded?"""
        content = (self.width, self.height)
        whole = (self.x, self.y, self.part_width, self.part_height) == (0, 0, view.width, view.height)
        return whole and content == (view.width, view.height) == (self.padded_width, self.padded_height)

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


@dataclass(frozen=True, slots=True)
class Track:
    """Where a part of fixed size may lie in a view's region of interest."""

    region: Placement
    """The whole region in the network's input."""
    part: Placement
    """The part, at its first place: the region's upper left corner."""
    step: tuple[float, float]
    """Raw pixels between two places, along x and y."""

    @classmethod
    def of(cls, view: View, size: tuple[int, int], size_multiple: int = 1) -> Track:
        """Lay a part that fills the network's input over a view.

        Its places are ``size_multiple`` network pixels apart, counted from the region's corner: there a network lays
        its cells and all its coarser maps over the same pixels as in the whole region, and answers the same.

        Args:
            view: region of interest and the size it is resized to, which says how many raw pixels one network pixel is.
            size: width and height of the network's input, px.
            size_multiple: of the model's input sides.

        Raises:
            ModelError: the size is no multiple, or greater than the region.
        """
        region = Placement.of(view, size_multiple)
        if any(side < 1 or side % size_multiple for side in size):
            raise ModelError(
                f"expected a crop whose sides are multiples of {size_multiple} px, as the model asks, but got "
                f"{size[0]}x{size[1]}"
            )
        if size[0] > region.width or size[1] > region.height:
            raise ModelError(
                f"expected a crop within the {region.width}x{region.height} px that the network is shown, but got "
                f"{size[0]}x{size[1]}; choose a smaller crop or none"
            )
        x, y, _, _ = view.part
        scale_x, scale_y = region.scale
        # Whole raw pixels; what rounding changes in the scale, the part's own placement knows.
        width, height = max(round(size[0] * scale_x), 1), max(round(size[1] * scale_y), 1)
        part = Placement.of(replace(view, crop=(x, y, width, height), size=size), size_multiple)
        return cls(region, part, (size_multiple * scale_x, size_multiple * scale_y))

    def around(self, x: float, y: float) -> Placement:
        """Place the part as centrally around a point of the raw image as its places and the region allow."""
        at = []
        for middle, start, side, room, step in (
            (x, self.region.x, self.part.part_width, self.region.part_width, self.step[0]),
            (y, self.region.y, self.part.part_height, self.region.part_height, self.step[1]),
        ):
            steps = round((middle + 0.5 - 0.5 * side - start) / step)
            # At the far rim it is shifted inside, off its places: there is nothing to show beyond.
            at.append(start + min(max(round(steps * step), 0), room - side))
        return replace(self.part, x=at[0], y=at[1])


@kernel
def cells_to_image(
    cells: Float32,
    cell_score: Float32,
    cameras: Sequence[int],
    lines: Float32,
    shown: Sequence[bool],
    gate: float,
    xy: Float32,
    score: Float32,
) -> None:
    """Write the points of one run to their cameras' places, in pixels of the raw images.

    Args:
        cells: (I, B, K, 2) points in cells.
        cell_score: (I, B, K).
        cameras: (B,) intp: camera of each picture of the run.
        lines: (B, 2, 2) float64: factor and offset, each for x and y (`Placement.cells_to_image`).
        shown: (C,) bool: cameras whose picture was in this run; what the others have is left alone.
        gate: a point whose score is lower becomes NaN; its score stays.
        xy: (C, I, K, 2), output.
        score: (C, I, K), output.
    """
    for i in range(cells.shape[0]):
        for b in range(cells.shape[1]):
            c = cameras[b]
            if not shown[c]:
                continue
            for k in range(cells.shape[2]):
                value = cell_score[i, b, k]
                seen = value >= gate
                xy[c, i, k, 0] = cells[i, b, k, 0] * lines[b, 0, 0] + lines[b, 1, 0] if seen else np.nan
                xy[c, i, k, 1] = cells[i, b, k, 1] * lines[b, 0, 1] + lines[b, 1, 1] if seen else np.nan
                score[c, i, k] = value


class Writer(Protocol):
    """Writes one part of a picture into the network's input."""

    def __call__(self, image: Image, x: int = ..., y: int = ...) -> None:
        """Write the part whose left column and upper row are x and y; those of the placement if not given."""


def place(view: View, placement: Placement, colour: Colour, into: Image) -> Writer:
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
    part_width, part_height = placement.part_width, placement.part_height
    conversion = _CONVERSIONS.get((view.colour, colour))
    resized = (placement.width, placement.height) != (part_width, part_height)
    # Where one axis grows, OpenCV's INTER_AREA moves the other by up to half a pixel.
    interpolation = cv2.INTER_AREA if min(placement.scale) >= 1 else cv2.INTER_LINEAR
    buffer_shape = (part_height, part_width) if channels == 1 else (part_height, part_width, channels)
    converted = np.empty(buffer_shape, np.uint8) if conversion is not None and resized else None
    pad_down = placement.padded_height > placement.height
    pad_right = placement.padded_width > placement.width

    def write(image: Image, x: int = placement.x, y: int = placement.y) -> None:
        source: Any = image[y : y + part_height, x : x + part_width]
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
