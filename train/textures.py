"""Pictures of something that is no animal, painted: what a network is to say nothing to.

Clouds, stripes, tiles, shapes, heaps of leaves, boards of squares before them: none is a picture of anything, but
between them they have the edges, corners, round things and shades of which pictures of the world are made.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from poseloop.live.types import Image

__all__ = ["decoys", "texture"]


def texture(shape: tuple[int, ...], rng: np.random.Generator, rich: float = 0.0) -> Image:
    """Paint something that is no animal.

    Args:
        shape: (h, w) or (h, w, 3).
        rng: where chance comes from.
        rich: share of pictures full of things: heaps of leaves, half of them with a board before them. They take the
            longest to paint, and are the hardest to tell from a scene.
    """
    height, width = shape[:2]
    canvas = np.empty(shape, np.uint8)
    if rng.random() < rich:
        canvas = _leaves(canvas, rng)
        return _board(canvas, rng) if rng.random() < 0.5 else canvas
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


def decoys(image: Image, colours: Image, rng: np.random.Generator) -> Image:
    """Put smooth bodies in an animal's colours into a picture: fur, limbs and heads, but no animal.

    What else is round, dark and hairy (a person's head) is what a network takes for the mouse that it has learned, when
    nothing else in its training was round, dark and hairy.

    Args:
        image: (S, S) or (S, S, 3).
        colours: (n,) or (n, 3): of the animal's places.
        rng: where chance comes from.
    """
    size = image.shape[0]
    turn = np.linspace(0, 2 * math.pi, 64, endpoint=False)
    for _ in range(int(rng.integers(1, 6))):
        radius = size * math.exp(rng.uniform(math.log(0.03), math.log(0.5)))
        waves = [rng.normal(0, 0.35 / k) * np.cos(k * turn + rng.uniform(0, 2 * math.pi)) for k in range(2, 7)]
        outline = radius * np.maximum(1 + np.sum(waves, axis=0), 0.1)
        flat, angle = rng.uniform(0.35, 1), rng.uniform(0, 2 * math.pi)
        x, y = outline * np.cos(turn), flat * outline * np.sin(turn)
        middle = rng.uniform(-0.1, 1.1, 2) * size
        rim = np.stack([x * math.cos(angle) - y * math.sin(angle), x * math.sin(angle) + y * math.cos(angle)], axis=-1)
        mask = np.zeros((size, size), np.float32)
        cv2.fillPoly(mask, [(rim + middle).round().astype(np.int32)], 1.0)
        soft = cv2.GaussianBlur(mask, (0, 0), float(rng.uniform(0.6, 3)))
        colour = colours[int(rng.integers(len(colours)))].astype(np.float32) + np.float32(rng.normal(0, 8))
        # Hair is fine, light is not.
        hair = cv2.resize(rng.normal(0, rng.uniform(0, 12), (size // 3, size // 2)).astype(np.float32), (size, size))
        light = cv2.resize(
            rng.uniform(0.7, 1.3, (3, 3)).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC
        )
        one = hair if image.ndim == 2 else cv2.merge([hair] * 3)
        fill = (one + colour) * (light if image.ndim == 2 else light[..., None])
        body = np.clip(fill, 0, 255).astype(np.uint8)
        image = np.asarray(cv2.blendLinear(image, body, 1 - soft, soft), np.uint8).reshape(image.shape)
    return image


def _leaves(canvas: Image, rng: np.random.Generator) -> Image:
    """Cover a canvas with ellipses and polygons whose sizes follow a power law, the last ones on top.

    Leaves of all sizes that hide each other have edges and shades as pictures of the world have them (Lee, Mumford and
    Huang 2001, *Occlusion models for natural images*).
    """
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


def _board(canvas: Image, rng: np.random.Generator) -> Image:
    """Hold a board with dark squares, or dark discs, before a picture, at any angle, in uneven light."""
    height, width = canvas.shape[:2]
    columns, rows = (int(n) for n in rng.integers(2, 13, 2))
    cell = 24
    board = np.full(((rows + 2) * cell, (columns + 2) * cell), rng.integers(120, 256), np.uint8)
    dark = float(rng.integers(0, 90))
    discs = rng.random() < 0.25
    for row, column in np.ndindex(rows, columns):
        left, top = (column + 1) * cell, (row + 1) * cell
        if discs:
            cv2.circle(board, (left + cell // 2, top + cell // 2), int(rng.integers(5, 11)), dark, -1, cv2.LINE_AA)
        elif (row + column) % 2 == 0:
            board[top : top + cell, left : left + cell] = dark
    high, wide = board.shape
    # Its corners: a rectangle of any size that is turned, moved, and then seen from anywhere.
    long = rng.uniform(0.3, 2.0) * max(height, width)
    corners = np.array([[-wide, -high], [wide, -high], [wide, high], [-wide, high]]) / max(wide, high) * long / 2
    angle = rng.uniform(0, 2 * math.pi)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    seen = corners @ turn.T + rng.uniform(0.2, 0.8, 2) * (width, height) + rng.normal(0, 0.08 * long, (4, 2))
    flat = np.array([[0, 0], [wide, 0], [wide, high], [0, high]], np.float32)
    to_picture = cv2.getPerspectiveTransform(flat, seen.astype(np.float32))
    mask = cv2.warpPerspective(np.full_like(board, 255), to_picture, (width, height))
    drawn = cv2.warpPerspective(board, to_picture, (width, height), flags=cv2.INTER_AREA)
    light = rng.uniform(0.6, 1.2, (2, 2)).astype(np.float32)
    drawn = cv2.multiply(drawn, cv2.resize(light, (width, height)), dtype=cv2.CV_8U)
    tinted = drawn if canvas.ndim == 2 else cv2.merge([cv2.multiply(drawn, t) for t in rng.uniform(0.85, 1.0, 3)])
    return np.asarray(cv2.copyTo(np.asarray(tinted, np.uint8).reshape(canvas.shape), mask, canvas), np.uint8)


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
