"""Puts a network's score where a gate of 0.5 means something.

What a score map's peak reaches depends on how long a network was trained and how sure a label's place can be: the
order is right, the level is arbitrary. So each keypoint's logits are shifted by a constant: 0 is put between the
lowest scores of points that are there and the highest of points that are not. (Platt 1999 fits a slope as well; here
it stays 1, because it would change the shape of the peaks, and so the points.)

Whole pictures of the training are used, as they are, with the animals painted over, and pictures of something else:
what a rig will show the network are whole pictures, too, and the highest of their many cells decides.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from poseloop.live.types import Float32, Image
from poseloop.live.vision import Network
from poseloop.train.absent import empty_scenes, paint_over
from poseloop.train.labels import Labels
from poseloop.train.pictures import Pictures
from poseloop.train.textures import texture

__all__ = ["scores", "shift_logits", "shifts"]

_LOW, _HIGH = 0.02, 0.99
"""Of present points, the share that may lie under the level; of absent ones, the share that should."""
_SHARE, _MOST_MARGIN = 0.25, 0.5
"""How far under the present points' scores the level goes: this share of the way to the absent ones', in logits, and no
further than this. A laser that fires at nothing is worse than one that does not fire, and things that the training has
not seen score higher than those it has; and raising all logits would flatten the peaks."""
_FEWEST = 8
"""Fewer points than this say nothing."""
_MOST_FRAMES = 40
_MOST_SHIFT = 3.0
"""A network that needs more has learned nothing, and its score shall say so."""


def scores(network: Network, labels: Labels, seed: int) -> tuple[Float32, npt.NDArray[np.bool_], Float32]:
    """Score labelled pictures as they are, and pictures without animals.

    Args:
        network: any that takes such pictures.
        labels: the frames to take.
        seed: of what is painted.

    Returns:
        (N, K) scores of the labelled pictures, (N, K) which of these points are labelled, (M, K) scores without
        animals.
    """
    rng = np.random.default_rng(seed)
    pictures = Pictures(network.info.colour)
    frames = labels.frames[:: -(-len(labels.frames) // _MOST_FRAMES)]
    scenes = empty_scenes(labels, pictures)
    columns = [labels.keypoints.index(name) for name in network.keypoints]

    def score(picture: Image) -> Float32:
        return np.asarray(network.infer([picture]).score[0, 0], np.float32)

    def without() -> Iterator[Image]:
        for frame in frames:
            yield paint_over(pictures(frame), frame.xy, scenes.get(frame.video), rng)
        for frame in frames[::2]:
            yield texture(pictures(frame).shape, rng, rich=0.7)
        yield from scenes.values()

    present = np.stack([score(pictures(frame)) for frame in frames])
    labelled = np.stack([~np.isnan(frame.xy).any(axis=-1).all(axis=0) for frame in frames])[:, columns]
    return present, labelled, np.stack([score(picture) for picture in without()])


def shifts(present: Float32, labelled: npt.NDArray[np.bool_], absent: Float32) -> npt.NDArray[np.float32]:
    """Find what to add to the logits, (K,), from what `scores` returns."""
    found = np.zeros(present.shape[1], np.float32)
    for k in range(len(found)):
        seen = _logit(present[labelled[:, k], k])
        if len(seen) < _FEWEST or len(absent) < _FEWEST:
            continue
        low, high = np.quantile(seen, _LOW), np.quantile(_logit(absent[:, k]), _HIGH)
        level = low - min(_SHARE * (low - high), _MOST_MARGIN)
        found[k] = np.clip(-level, -_MOST_SHIFT, _MOST_SHIFT)
    return found


def shift_logits(network: Any, by: npt.NDArray[np.float32]) -> None:
    """Add (K,) to the logits of a `poseloop.train.model.build` network."""
    layer = network.get_layer("logits")
    kernel, bias = layer.get_weights()
    layer.set_weights([kernel, bias + by])


def _logit(score: Float32) -> npt.NDArray[np.float64]:
    clipped = np.clip(np.nan_to_num(score.astype(np.float64)), 1e-6, 1 - 1e-6)
    return np.asarray(np.log(clipped / (1 - clipped)))
