"""Pictures for people: samples with their targets, frames with label and prediction, bars. OpenCV's BGR throughout."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from poseloop.live.errors import DataError
from poseloop.live.types import Float32, Image

__all__ = ["bars", "beside", "colours", "comparison", "contact", "grid", "line", "sample", "save", "titled"]

Colour = tuple[int, int, int]

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_BITS = 4
_INK: Colour = (245, 245, 245)
_GROUND: Colour = (32, 32, 32)


def colours(count: int) -> list[Colour]:
    """As many colours as there are keypoints, neighbours far apart."""
    hues = [(0.12 + k * 0.618) % 1 for k in range(count)]
    return [
        tuple(round(255 * part) for part in reversed(colorsys.hsv_to_rgb(hue, 0.85, 1)))  # type: ignore[misc]
        for hue in hues
    ]


def save(picture: Image, file: Path) -> None:
    """Write a picture; the file's ending says how.

    Raises:
        DataError: the ending is unknown, or the file cannot be written.
    """
    try:
        ok, content = cv2.imencode(file.suffix or ".png", picture)
    except cv2.error as error:
        raise DataError(f"{file}: expected the ending of a picture, such as .png") from error
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.tobytes() if ok else b"")
    except OSError as error:
        raise DataError(f"{file}: the picture cannot be written: {error}") from error


def as_bgr(picture: Image, rgb: bool = True) -> Image:
    """(H, W), (H, W, 1) or (H, W, 3) as a fresh (H, W, 3) in BGR."""
    if picture.ndim == 2 or picture.shape[2] == 1:
        return np.asarray(cv2.cvtColor(picture.reshape(picture.shape[:2]), cv2.COLOR_GRAY2BGR), np.uint8)
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR) if rgb else picture.copy(), np.uint8)


def text(picture: Image, words: str, at: tuple[int, int], colour: Colour = _INK, scale: float = 0.4) -> None:
    """Write words on a darkened ground; ``at`` is their lower left corner."""
    (width, height), _ = cv2.getTextSize(words, _FONT, scale, 1)
    ground = picture[max(at[1] - height - 4, 0) : at[1] + 5, max(at[0] - 3, 0) : at[0] + width + 3]
    np.multiply(ground, 0.4, out=ground, casting="unsafe")
    cv2.putText(picture, words, at, _FONT, scale, colour, 1, cv2.LINE_AA)


def _fixed(xy: npt.NDArray[np.floating], factor: float = 1) -> tuple[int, int]:
    x, y = ((float(v) + 0.5) * factor - 0.5 for v in xy)
    return round(x * 2**_BITS), round(y * 2**_BITS)


def cross(picture: Image, xy: npt.NDArray[np.floating], colour: Colour, radius: float = 5, factor: float = 1) -> None:
    """A cross: a label."""
    x, y = _fixed(xy, factor)
    r = round(radius * 2**_BITS)
    for ends in (((x - r, y - r), (x + r, y + r)), ((x - r, y + r), (x + r, y - r))):
        cv2.line(picture, *ends, (0, 0, 0), 3 if factor == 1 else 5, cv2.LINE_AA, _BITS)
        cv2.line(picture, *ends, colour, 1 if factor == 1 else 2, cv2.LINE_AA, _BITS)


def ring(
    picture: Image, xy: npt.NDArray[np.floating], colour: Colour, radius: float = 4, factor: float = 1, thick: int = 2
) -> None:
    """A ring: a prediction, or a point that is masked. ``thick`` < 0 fills it."""
    cv2.circle(picture, _fixed(xy, factor), round(radius * 2**_BITS), colour, thick, cv2.LINE_AA, _BITS)


def line(
    picture: Image, start: npt.NDArray[np.floating], end: npt.NDArray[np.floating], colour: Colour, factor: float = 1
) -> None:
    """A line from a label to where it may belong, with a small disc there."""
    cv2.line(picture, _fixed(start, factor), _fixed(end, factor), colour, 1, cv2.LINE_AA, _BITS)
    ring(picture, end, colour, 4, factor, thick=-1)


def beside(picture: Image, words: str, xy: npt.NDArray[np.floating], radius: float, factor: float = 1) -> None:
    """Write words to the right of a ring, or to the left of it where the picture ends."""
    (width, height), _ = cv2.getTextSize(words, _FONT, 0.45, 1)
    x, y = ((float(value) + 0.5) * factor - 0.5 for value in xy)
    right = x + radius + 6
    left = right if right + width + 3 < picture.shape[1] else x - radius - 6 - width
    below = min(max(round(y) + height // 2, height + 4), picture.shape[0] - 5)
    text(picture, words, (max(round(left), 3), below), scale=0.45)


def titled(picture: Image, lines: Sequence[str]) -> Image:
    """A picture under lines of words; what is too long for its width is cut off."""
    head = np.empty((8 + 20 * len(lines), picture.shape[1], 3), np.uint8)
    head[:] = _GROUND
    for number, words in enumerate(lines):
        cv2.putText(head, words, (6, 18 + 20 * number), _FONT, 0.45, _INK, 1, cv2.LINE_AA)
    return np.vstack([head, picture])


def sample(
    image: Image,
    maps: Float32,
    weights: Float32,
    xy: npt.NDArray[np.floating],
    visible: npt.NDArray[np.bool_],
    words: str,
) -> Image:
    """A training sample twice: with its points, and with its score maps in the keypoints' colours.

    Args:
        image: (S, S, c) in RGB or grey.
        maps: (S / stride, S / stride, K).
        weights: (K,): masked keypoints are listed.
        xy: (I, K, 2) px, also of points that are not visible.
        visible: (I, K): these get a cross, the others a ring where they would be.
        words: above it.
    """
    palette = colours(maps.shape[2])
    points = as_bgr(image)
    for animal, seen in zip(xy, visible, strict=True):
        for k, point in enumerate(animal):
            if np.isnan(point).any():
                continue
            if seen[k]:
                cross(points, point, palette[k])
            else:
                ring(points, point, palette[k], thick=1)
    side = image.shape[0]
    glow = np.einsum("hwk,kc->hwc", maps, np.array(palette, np.float32))
    glow = cv2.resize(np.minimum(glow, 255), (side, side), interpolation=cv2.INTER_NEAREST)
    shown = np.clip(as_bgr(image) * 0.45 + glow * 0.8, 0, 255).astype(np.uint8)
    for animal, seen in zip(xy, visible, strict=True):
        for point in animal[seen]:
            ring(shown, point, (255, 255, 255), 1.5, thick=-1)
    masked = int((weights == 0).sum())
    text(points, words, (5, 14))
    text(shown, f"{masked} of {len(weights)} masked" if masked else "all known", (5, 14))
    return np.hstack([points, shown])


def grid(tiles: Sequence[Image], columns: int, gap: int = 4) -> Image:
    """Tiles of one size, row by row."""
    height, width = tiles[0].shape[:2]
    rows = math.ceil(len(tiles) / columns)
    sheet = np.empty((rows * (height + gap) + gap, columns * (width + gap) + gap, 3), np.uint8)
    sheet[:] = _GROUND
    for number, tile in enumerate(tiles):
        y, x = (gap + (number // columns) * (height + gap)), (gap + (number % columns) * (width + gap))
        sheet[y : y + height, x : x + width] = tile
    return sheet


def contact(shots: Sequence[tuple[Image, str]], columns: int = 5, width: int = 200) -> Image:
    """Pictures (H, W, 3) in BGR, small and of one width, each with its words above it; their heights may differ."""
    tiles = []
    for picture, words in shots:
        size = (width, max(round(picture.shape[0] * width / picture.shape[1]), 1))
        small = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
        text(small, words, (4, 13))
        tiles.append(small)
    height = max(tile.shape[0] for tile in tiles)
    even = [cv2.copyMakeBorder(tile, 0, height - tile.shape[0], 0, 0, cv2.BORDER_CONSTANT) for tile in tiles]
    return grid([np.asarray(tile, np.uint8) for tile in even], columns)


def comparison(
    picture: Image,
    label: npt.NDArray[np.floating],
    prediction: npt.NDArray[np.floating],
    score: npt.NDArray[np.floating],
    names: Sequence[str],
    words: str,
    width: int = 960,
) -> Image:
    """A frame with its labels (crosses) and what a model says (rings), joined by lines.

    Args:
        picture: (H, W, 3) RGB, or (H, W).
        label: (I, K, 2) px; NaN = unlabelled.
        prediction: (K, 2) px; NaN = not seen.
        score: (K,).
        names: of the keypoints.
        words: above it.
        width: of the result, about.
    """
    factor = max(1, round(width / picture.shape[1]))
    size = (picture.shape[1] * factor, picture.shape[0] * factor)
    canvas = np.asarray(cv2.resize(as_bgr(picture), size, interpolation=cv2.INTER_CUBIC), np.uint8)
    palette = colours(len(names))
    panel = np.empty((max(canvas.shape[0], 44 + 20 * len(names)), 330, 3), np.uint8)
    panel[:] = _GROUND
    for k, name in enumerate(names):
        labelled = [points[k] for points in label if not np.isnan(points[k]).any()]
        seen = not np.isnan(prediction[k]).any()
        words_here = "not labelled" if not labelled else "not seen"
        if seen and labelled:
            nearest = min(labelled, key=lambda point: float(np.hypot(*(point - prediction[k]))))
            words_here = f"{np.hypot(*(nearest - prediction[k])):.1f} px"
            ends = _fixed(nearest, factor), _fixed(prediction[k], factor)
            cv2.line(canvas, *ends, palette[k], 1, cv2.LINE_AA, _BITS)
        for point in labelled:
            cross(canvas, point, palette[k], 6, factor)
        if seen:
            ring(canvas, prediction[k], palette[k], 6, factor)
        y = 40 + 20 * k
        cv2.circle(panel, (14, y - 4), 5, palette[k], -1, cv2.LINE_AA)
        cv2.putText(panel, name[:18], (26, y), _FONT, 0.42, _INK, 1, cv2.LINE_AA)
        value = "" if np.isnan(score[k]) else f"score {score[k]:.2f}"
        cv2.putText(panel, words_here, (168, y), _FONT, 0.42, _INK, 1, cv2.LINE_AA)
        cv2.putText(panel, value, (256, y), _FONT, 0.38, _INK, 1, cv2.LINE_AA)
    text(canvas, words, (8, 18), scale=0.5)
    below = np.full((panel.shape[0] - canvas.shape[0], canvas.shape[1], 3), _GROUND, np.uint8)
    return np.hstack([np.vstack([canvas, below]), panel])


def bars(values: Mapping[str, tuple[float, float]], title: str, unit: str, width: int = 900) -> Image:
    """Horizontal bars: name → value, and a second value marked by a tick."""
    row = 26
    canvas = np.empty((60 + row * len(values), width, 3), np.uint8)
    canvas[:] = _GROUND
    cv2.putText(canvas, title, (12, 28), _FONT, 0.6, _INK, 1, cv2.LINE_AA)
    finite = [value for pair in values.values() for value in pair if math.isfinite(value)]
    full = max([*finite, 1e-9])
    left, right = 200, width - 110
    for number, ((name, (value, tick)), colour) in enumerate(zip(values.items(), colours(len(values)), strict=True)):
        y = 48 + row * number
        cv2.putText(canvas, name[:24], (12, y + 14), _FONT, 0.45, _INK, 1, cv2.LINE_AA)
        if math.isfinite(value):
            end = left + round((right - left) * value / full)
            cv2.rectangle(canvas, (left, y + 2), (end, y + 16), colour, -1)
            cv2.putText(canvas, f"{value:.2f} {unit}", (end + 8, y + 14), _FONT, 0.45, _INK, 1, cv2.LINE_AA)
        if math.isfinite(tick):
            at = left + round((right - left) * tick / full)
            cv2.line(canvas, (at, y - 1), (at, y + 19), _INK, 2)
    return canvas
