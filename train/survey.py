"""What the labels themselves say about how to train on them: how large the crops, and how far the pictures turn."""

from __future__ import annotations

import itertools
import math

import numpy as np

from poseloop.train.labels import Labels

__all__ = ["crop_size", "length_px", "view"]

_LEAST, _MOST = 256, 512
"""Crops in px a side: smaller ones teach too little of the surroundings, larger ones take a laptop too long."""
_AROUND = 1.5
"""Sides of a crop in animals: all of it has to be in, wherever in the crop it lies and however it is zoomed."""
_UPRIGHT = 0.85
"""Mean resultant length of directions within an animal from which on it counts as never turned: 0.74 for a mouse in an
open field, 0.97 and more for those filmed from beside or held in their place."""
_BOTH_WAYS = 0.7
"""The same of doubled angles: an animal that runs to the left and to the right."""
_FEWEST = 8
"""Frames in which both points of a pair have to be labelled to say anything."""


def length_px(labels: Labels) -> float:
    """Largest distance between two labelled points of one animal, exceeded by a tenth of the animals only."""
    lengths = []
    for frame in labels.frames:
        for points in frame.xy:
            found = points[~np.isnan(points).any(axis=-1)]
            if len(found) > 1:
                lengths.append(float(np.hypot(*np.moveaxis(found[:, None] - found[None], -1, 0)).max()))
    return float(np.quantile(lengths, 0.9)) if lengths else 0.0


def crop_size(labels: Labels) -> int:
    """Choose the side of the training's crops, px; a multiple of 32.

    One and a half animals, so that none is cut in two; but no more than the pictures hold, and 256 to 512.
    """
    largest = max(max(frame.width, frame.height) for frame in labels.frames)
    wanted = min(max(_AROUND * length_px(labels), _LEAST), largest, _MOST)
    return math.ceil(wanted / 32) * 32


def view(labels: Labels) -> str:
    """Tell from the labels whether animals turn all ways (``top``) or are upright in every frame (``side``).

    The direction from one point of an animal to another is compared between the frames of a video (a camera's: others
    may be hung otherwise), for every pair of points: its mean resultant length is 1 where it never changes and 0 where
    all directions are alike (Fisher 1993, *Statistical analysis of circular data*, section 2.3). The median over pairs
    and videos decides; angles are also doubled, which makes one direction of an animal that runs both ways. Too few
    labels to tell: ``top``.
    """
    once, doubled = [], []
    for video in {frame.video for frame in labels.frames}:
        animals = np.stack([points for frame in labels.frames if frame.video == video for points in frame.xy])
        for one, other in itertools.combinations(range(len(labels.keypoints)), 2):
            step = animals[:, other] - animals[:, one]
            turn = step[:, 0] + 1j * step[:, 1]
            turn = turn[np.abs(turn) > 0]  # NaN is not
            if len(turn) >= _FEWEST:
                turn /= np.abs(turn)
                once.append(abs(turn.mean()))
                doubled.append(abs((turn**2).mean()))
    upright = bool(once) and (np.median(once) > _UPRIGHT or np.median(doubled) > _BOTH_WAYS)
    return "side" if upright else "top"
