"""Keypoints to score maps: what a network should answer.

A map holds a Gaussian around each point, 1 where a cell's centre meets it; the centre of cell i lies at
``(i + 0.5) * stride - 0.5`` px, as everywhere (`poseloop.live.vision.coords`). Maps are made after a picture's
transform, from the exact points: nothing is resampled.

`poseloop.live.vision.peaks.centroid` gives the points back, less what the Gaussian has outside its window. In a window
of 5 cells that pulls a point half way between two cells by 0.36 px at sigma 1 and stride 8, by 0.08 px at sigma 0.8; in
one of 7 cells by 0.03 px at sigma 1. `window` says which one a sigma needs.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from poseloop.live.types import Float32

__all__ = ["score_maps", "weights", "window"]


def score_maps(
    xy: npt.NDArray[np.floating], visible: npt.NDArray[np.bool_], height: int, width: int, stride: int, sigma: float
) -> Float32:
    """Draw the points of all individuals.

    Args:
        xy: (I, K, 2) px in the picture, pixel centres at integers; NaN where not visible.
        visible: (I, K): points that have a Gaussian; of the others nothing is drawn.
        height: of the picture, px; a multiple of ``stride``.
        width: of the picture, px; a multiple of ``stride``.
        stride: px a cell.
        sigma: of the Gaussian, in cells.

    Returns:
        (height / stride, width / stride, K) in 0..1; where individuals overlap, the higher value.
    """
    points = np.where(visible[..., None], xy, 0)
    across, down = (
        np.exp(-0.5 * ((_centres(side, stride) - points[..., axis, None]) / (sigma * stride)) ** 2)
        for axis, side in ((0, width), (1, height))
    )
    down = down * visible[..., None]
    maps = down.transpose(0, 2, 1)[:, :, None, :] * across.transpose(0, 2, 1)[:, None, :, :]
    return np.ascontiguousarray(maps.max(axis=0), np.float32)


def _centres(side: int, stride: int) -> npt.NDArray[np.float64]:
    return (np.arange(side // stride, dtype=np.float64) + 0.5) * stride - 0.5


def weights(known: npt.NDArray[np.bool_], doubtful: npt.NDArray[np.bool_]) -> Float32:
    """Say which maps may be learned from: 1 or, masked, 0.

    Args:
        known: (I, K): where a point is, or that it is not in the picture, is known.
        doubtful: (I, K): the point was labelled, but what the picture shows of it now is open (behind an occluder, cut
            by the rim): a map with such a point would teach that there is nothing.

    Returns:
        (K,): 1 where at least one individual's point is known and none is doubtful.
    """
    return np.asarray(known.any(axis=0) & ~doubtful.any(axis=0), np.float32)


def window(sigma: float) -> int:
    """Side in cells of the smallest centroid window that gives points back within a hundredth of a cell.

    Args:
        sigma: of the Gaussian, in cells.
    """
    # A Gaussian seen through ± a sigma keeps 1 - 2 a phi(a) of a small offset.
    for side in range(3, 100, 2):
        a = side / (2 * sigma)
        if 0.5 * 2 * a * math.exp(-0.5 * a * a) / math.sqrt(2 * math.pi) < 0.01:
            return side
    raise ValueError(f"expected a sigma of a few cells, but got {sigma}")
