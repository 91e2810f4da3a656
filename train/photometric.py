"""What light, lens, sensor and codec do to a picture: every step leaves all points where they are.

All take and return (S, S) or (S, S, 3) uint8, take their chances from the generator they are given, and may return what
they were given, or overwrite it.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field

from poseloop.live.config import Settings
from poseloop.live.types import Float32, Image

__all__ = ["Blur", "Compression", "Light", "Noise", "blur", "compress", "relight", "roughen", "texture"]

_LEVELS = np.linspace(0, 1, 256)[:, None]
_BANK = 1 << 21


class Light(Settings):
    """Exposure and white balance."""

    share: float = Field(0.9, ge=0, le=1)
    """Of the pictures that are changed."""
    brightness: float = Field(0.12, ge=0, le=1)
    """Greatest shift, of the full range."""
    contrast: tuple[float, float] = (0.7, 1.4)
    """Factor around the picture's mean; drawn evenly on a logarithmic scale, as gamma is."""
    gamma: tuple[float, float] = (0.6, 1.6)
    tint: float = Field(0.06, ge=0, lt=1)
    """Greatest change of one colour channel; nothing for grey pictures."""


class Blur(Settings):
    """Focus, and movement during the exposure."""

    share: float = Field(0.25, ge=0, le=1)
    """Of the pictures that are out of focus."""
    sigma_px: tuple[float, float] = (0.4, 1.6)
    motion_share: float = Field(0.15, ge=0, le=1)
    """Of the pictures that are smeared along a line."""
    motion_px: tuple[int, int] = (3, 11)
    """Length of the line."""


class Noise(Settings):
    """Of the sensor."""

    share: float = Field(0.4, ge=0, le=1)
    sigma: tuple[float, float] = (1.0, 10.0)
    """Grey levels of 255."""


class Compression(Settings):
    """What a video codec leaves of a picture; JPEG stands in for it."""

    share: float = Field(0.2, ge=0, le=1)
    quality: tuple[int, int] = (25, 90)
    """JPEG's 0..100."""


def _logarithmic(rng: np.random.Generator, span: tuple[float, float]) -> float:
    return math.exp(rng.uniform(math.log(span[0]), math.log(span[1])))


def relight(image: Image, light: Light, rng: np.random.Generator) -> Image:
    """Change brightness, contrast, gamma and colour balance, by one table."""
    if rng.random() >= light.share:
        return image
    channels = 1 if image.ndim == 2 else 3
    gain = 1 + rng.uniform(-light.tint, light.tint, channels) if channels == 3 else np.ones(1)
    exponent = _logarithmic(rng, light.gamma)
    middle = (float(np.mean(cv2.mean(image)[:channels])) / 255) ** exponent
    level = (_LEVELS**exponent - middle) * _logarithmic(rng, light.contrast) + middle
    level += rng.uniform(-1, 1) * light.brightness
    table = np.clip(level * gain * 255 + 0.5, 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(image, table.reshape(1, 256, channels) if channels == 3 else table[:, 0]), np.uint8)


def blur(image: Image, settings: Blur, rng: np.random.Generator) -> Image:
    """Defocus and smear; both kernels are symmetric, so nothing moves."""
    if rng.random() < settings.share:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(*settings.sigma_px)), np.uint8)
    if rng.random() < settings.motion_share:
        length = int(rng.integers(settings.motion_px[0], settings.motion_px[1] + 1))
        image = np.asarray(cv2.filter2D(image, -1, _line(length, rng.uniform(0, math.pi))), np.uint8)
    return image


def _line(length: int, angle: float) -> Float32:
    """A kernel that is a line of this length through its middle."""
    half = max(1, math.ceil((length - 1) / 2))
    kernel = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
    right, down = (length - 1) / 2 * math.cos(angle), (length - 1) / 2 * math.sin(angle)
    ends = [(round((half + s * right) * 16), round((half + s * down) * 16)) for s in (-1, 1)]
    # OpenCV draws smooth lines on bytes only.
    drawn = np.zeros(kernel.shape, np.uint8)
    cv2.line(drawn, ends[0], ends[1], 255, 1, cv2.LINE_AA, 4)
    kernel = drawn.astype(np.float32)
    kernel += kernel[::-1, ::-1]
    return np.asarray(kernel / kernel.sum(), np.float32)


_bank: list[npt.NDArray[np.float32]] = []


def _noise(count: int, rng: np.random.Generator) -> Float32:
    """Normal numbers out of a bank: drawing 200,000 fresh ones would take longer than all other steps together."""
    if not _bank:
        _bank.append(np.random.default_rng(0).standard_normal(_BANK, np.float32))
    start = int(rng.integers(0, max(_BANK - count, 0) + 1))
    return np.resize(_bank[0][start:], count) if count > _BANK - start else _bank[0][start : start + count]


def roughen(image: Image, noise: Noise, rng: np.random.Generator) -> Image:
    """Add the noise of a sensor."""
    if rng.random() >= noise.share:
        return image
    sigma = rng.uniform(*noise.sigma) * (1 if rng.random() < 0.5 else -1)
    rough = _noise(image.size, rng).reshape(image.shape) * np.float32(sigma)
    return np.asarray(cv2.add(image, rough, dtype=cv2.CV_8U), np.uint8)


def compress(image: Image, compression: Compression, rng: np.random.Generator) -> Image:
    """Encode and decode."""
    if rng.random() >= compression.share:
        return image
    quality = int(rng.integers(compression.quality[0], compression.quality[1] + 1))
    _, coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    flags = cv2.IMREAD_GRAYSCALE if image.ndim == 2 else cv2.IMREAD_COLOR
    return np.asarray(cv2.imdecode(coded, flags), np.uint8)


def texture(shape: tuple[int, ...], rng: np.random.Generator, leaves: float = 0.0) -> Image:
    """Paint something that is no animal: clouds, stripes, tiles, shapes, heaps of leaves, or one over the other.

    Leaves of all sizes that hide each other have edges and shades as pictures of the world have them (Lee, Mumford and
    Huang 2001, *Occlusion models for natural images*), which makes them the hardest of these to tell from a scene.

    Args:
        shape: (h, w) or (h, w, 3).
        rng: where chance comes from.
        leaves: share of heaps of leaves; they take the longest to paint.
    """
    height, width = shape[:2]
    canvas = np.empty(shape, np.uint8)
    if rng.random() < leaves:
        return _leaves(canvas, rng)
    kinds = rng.permutation(4)[: int(rng.integers(1, 3))]
    canvas[:] = _colour(shape, rng)
    for kind in kinds:
        if kind == 0:
            low = rng.integers(0, 256, (int(rng.integers(2, 24)), int(rng.integers(2, 24)), *shape[2:]), np.uint8)
            if len(shape) == 3 and rng.random() < 0.7:  # most scenes have little colour
                low = low // 8 + low[..., :1] // 8 * 7
            canvas = np.asarray(cv2.resize(low, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)
        elif kind == 3:
            for _ in range(int(rng.integers(1, 8))):
                _shape(canvas, rng)
        else:
            mask = _waves(height, width, rng, tiles=kind == 2)
            canvas[mask] = _colour(shape, rng)
    return canvas


def _leaves(canvas: Image, rng: np.random.Generator) -> Image:
    """Cover a canvas with ellipses and polygons whose sizes follow a power law, the last ones on top."""
    height, width = canvas.shape[:2]
    canvas[:] = _colour(canvas.shape, rng)
    count = int(rng.integers(30, 120))
    smallest, largest = 5.0, max(height, width) / 2
    # Inverse of the distribution of r^-2 between the two.
    at = rng.random(count)
    radii = 1 / (at / smallest + (1 - at) / largest)
    middles = rng.uniform(0, 1, (count, 2)) * (width, height)
    flat, turn = rng.uniform(0.3, 1, count), rng.uniform(0, 180, count)
    colours = np.clip(rng.uniform(0, 255, (count, 1)) + rng.normal(0, 15, (count, 3)), 0, 255)
    corners = rng.integers(3, 8, count)  # 7 stands for an ellipse, and so do half of the others
    round_ones = (corners == 7) | (rng.random(count) < 0.5)
    for n in range(count):
        colour = tuple(colours[n].tolist())
        if round_ones[n]:
            axes = (max(1, round(radii[n])), max(1, round(radii[n] * flat[n])))
            place = (round(middles[n, 0]), round(middles[n, 1]))
            cv2.ellipse(canvas, place, axes, turn[n], 0, 360, colour, -1, cv2.LINE_AA)
        else:
            angles = np.sort(rng.uniform(0, 2 * math.pi, corners[n]))
            polygon = middles[n] + radii[n] * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
            cv2.fillPoly(canvas, [polygon.round().astype(np.int32)], colour, cv2.LINE_AA)
    if rng.random() < 0.7:  # shades that run over all of them
        low = rng.uniform(0.5, 1.2, (int(rng.integers(2, 6)), int(rng.integers(2, 6)))).astype(np.float32)
        shade = cv2.resize(low, (width, height), interpolation=cv2.INTER_CUBIC)
        wide = shade if canvas.ndim == 2 else cv2.merge([shade] * 3)
        canvas = np.asarray(cv2.multiply(canvas, wide, dtype=cv2.CV_8U), np.uint8)
    return canvas


def _colour(shape: tuple[int, ...], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """A colour, mostly near grey, as scenes are."""
    grey = rng.integers(0, 256)
    if len(shape) == 2:
        return np.asarray(grey, np.uint8)
    return np.clip(grey + rng.normal(0, 30 if rng.random() < 0.3 else 6, 3), 0, 255).astype(np.uint8)


def _waves(height: int, width: int, rng: np.random.Generator, tiles: bool) -> npt.NDArray[np.bool_]:
    """Where one of two colours of stripes, or of tiles, goes: (h, w)."""
    angle = rng.uniform(0, math.pi)
    period = math.exp(rng.uniform(math.log(6), math.log(120)))
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    one = np.floor((x * math.cos(angle) + y * math.sin(angle)) / period + rng.random()).astype(np.int32)
    if not tiles:
        return np.asarray(one % 2 == 0)
    other = np.floor((y * math.cos(angle) - x * math.sin(angle)) / period + rng.random()).astype(np.int32)
    return np.asarray((one + other) % 2 == 0)


def _shape(canvas: Image, rng: np.random.Generator) -> None:
    height, width = canvas.shape[:2]
    middle = (int(rng.integers(0, width)), int(rng.integers(0, height)))
    axes = tuple(int(a) for a in rng.integers(3, max(4, min(height, width) // 3), 2))
    colour = tuple(float(v) for v in np.atleast_1d(_colour(canvas.shape, rng)))
    cv2.ellipse(canvas, middle, axes, float(rng.uniform(0, 180)), 0, 360, colour, -1, cv2.LINE_AA)
