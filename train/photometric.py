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

__all__ = ["Blur", "Compression", "Light", "Noise", "blur", "compress", "relight", "roughen"]

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
