"""Pictures without the animal, so that the score learns to fall: empty scenes, animals painted over, other things.

Where a camera stands still and the animal moves about, the median of a video's labelled frames is the empty scene. That
this is so is checked, not believed: an animal that stays in its place would be in the median, and to be taught that it
is absent would be the worst of all lessons.
"""

from __future__ import annotations

import math
from collections import defaultdict

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field

from poseloop.live.config import Settings
from poseloop.live.types import Image
from poseloop.train.labels import LabelledFrame, Labels
from poseloop.train.pictures import Pictures
from poseloop.train.textures import texture

__all__ = ["Absent", "body", "empty_scenes", "free_shift", "paint_over"]

_FEWEST = 8
"""Frames of a video that make a median."""
_MOST = 31
"""More of them would cost memory and change nothing."""
_FREE = 0.25
"""Smallest share of a video's frames, and `_FEWEST` / 2 of them, in which each pixel must be free of the animal."""
_CHANGED = 30
"""Grey levels by which a pixel differs from the median where something moved."""
_MOVED = 0.1
"""Largest share of pixels, outside the animal, that may have changed in a frame of a camera that stands still."""
_MARGIN = 0.4
"""Of the animal's length: how far a body reaches beyond its outermost keypoints."""


class Absent(Settings):
    """How many pictures show no animal, beside the crops that miss it."""

    painted: float = Field(0.10, ge=0, le=1)
    """Share of pictures whose animals are painted over, or that show the empty scene."""
    other: float = Field(0.12, ge=0, le=1)
    """Share of pictures that show something else altogether."""
    decoys: float = Field(0.5, ge=0, le=1)
    """Share of the pictures without an animal, of either kind, in which there are bodies of its colours."""


def body(xy: npt.NDArray[np.floating], shape: tuple[int, int], least_px: float = 12) -> Image:
    """Mark where animals are, roughly: the hull of each one's keypoints, widened by a part of its length.

    Args:
        xy: (I, K, 2) px; NaN = not labelled.
        shape: height and width of the mask.
        least_px: the least that a hull is widened by.

    Returns:
        (h, w), 255 on animals.
    """
    mask = np.zeros(shape, np.uint8)
    for points in xy:
        points = points[~np.isnan(points).any(axis=-1)]
        if not len(points):
            continue
        length = float(np.hypot(*(points[:, None] - points[None]).T).max())
        margin = max(_MARGIN * length, least_px)
        hull = np.round(cv2.convexHull(points.astype(np.float32)).reshape(-1, 2)).astype(np.int32)
        cv2.fillPoly(mask, [hull], 255)
        cv2.polylines(mask, [hull], True, 255, max(1, round(2 * margin)))
    return mask


def empty_scenes(labels: Labels, pictures: Pictures) -> dict[str, Image]:
    """Median picture of each video whose camera stands still and whose animal leaves every place.

    Returns:
        video → (H, W) or (H, W, 3); the other videos are left out.
    """
    videos: dict[str, list[LabelledFrame]] = defaultdict(list)
    for frame in labels.frames:
        videos[frame.video].append(frame)
    scenes = {}
    for video, frames in videos.items():
        if len(frames) < _FEWEST or len({(frame.width, frame.height) for frame in frames}) > 1:
            continue
        some = frames[:: math.ceil(len(frames) / _MOST)]
        scene = _scene(some, pictures)
        if scene is not None:
            scenes[video] = scene
    return scenes


def _scene(frames: list[LabelledFrame], pictures: Pictures) -> Image | None:
    shape = (frames[0].height, frames[0].width)
    bodies = np.stack([body(frame.xy, shape) > 0 for frame in frames])
    free = len(frames) - bodies.sum(axis=0)
    if free.min() < max(_FREE * len(frames), _FEWEST / 2):
        return None
    shots = np.stack([pictures(frame) for frame in frames])
    median = np.empty(shots.shape[1:], np.uint8)
    for row in range(0, shape[0], 16):  # a slice at a time: the median's own copies stay small
        part = np.s_[row : row + 16]
        median[part] = np.median(shots[:, part], axis=0).astype(np.uint8)
        # Where the animal often is, only the frames in which it is elsewhere count.
        often = free[part] < 0.75 * len(frames)
        if often.any():
            values = shots[:, part][:, often].astype(np.float32)
            values[bodies[:, part][:, often]] = np.nan
            median[part][often] = np.nanmedian(values, axis=0).astype(np.uint8)
    for shot, mask in zip(shots, bodies, strict=True):
        difference = cv2.absdiff(shot, median)
        changed = (difference if difference.ndim == 2 else difference.max(axis=-1)) > _CHANGED
        if changed[~mask].mean() > _MOVED:
            return None
    return median


def paint_over(
    crop: Image, xy: npt.NDArray[np.floating], cover: Image | None, rng: np.random.Generator, least_px: float = 12
) -> Image:
    """Paint over the animals of a crop.

    Args:
        crop: (S, S) or (S, S, 3).
        xy: (I, K, 2) px in the crop, also of points outside it; NaN = not labelled.
        cover: what is seen there instead, of the crop's shape; None: something made up.
        rng: where chance comes from.
        least_px: the least that a body reaches beyond its keypoints.
    """
    mask = body(xy, (crop.shape[0], crop.shape[1]), least_px)
    soft = cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), float(rng.uniform(1, 5)))
    other = texture(crop.shape, rng, rich=0.3) if cover is None else cover
    return np.asarray(cv2.blendLinear(crop, other, 1 - soft, soft), np.uint8).reshape(crop.shape)


def free_shift(
    xy: npt.NDArray[np.floating], width: int, height: int, least_px: float, rng: np.random.Generator
) -> tuple[float, float] | None:
    """Find a place in the picture that is as large as the animals, and has none of them.

    Returns:
        How far it is from the animals, px along x and y; None: there is no such place.
    """
    points = xy[~np.isnan(xy).any(axis=-1)]
    if not len(points):
        return None
    low, high = points.min(axis=0), points.max(axis=0)
    margin = max(_MARGIN * float(np.hypot(*(high - low))), least_px)
    low, high = low - margin, high + margin
    first, last = -low, np.array([width, height]) - 1 - high
    if (first > last).any():
        return None
    for _ in range(8):
        shift = rng.uniform(first, last)
        if (np.abs(shift) >= high - low).any():
            return float(shift[0]), float(shift[1])
    return None
