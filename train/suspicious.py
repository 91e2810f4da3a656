"""Labels that may be wrong: places that do not fit the animal's shape, sides that are swapped, a model that disagrees.

What is found is for people to look at; nothing is changed. Each test compares a label with the other labels of the same
project, so it needs a dozen frames or more to say anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from poseloop.train.evaluate import Predictions
from poseloop.train.labels import LabelledFrame, Labels
from poseloop.train.mirror import partners

__all__ = ["Suspicion", "find"]

_Float64 = npt.NDArray[np.float64]

_FEWEST = 12
"""Labels of a kind from which on it is known what is usual."""
_FAR = 5.0
"""Robust standard deviations beyond which a point does not fit the others."""
_ONE_WAY = 0.9
"""Share of frames in which three points lie in the same turning direction, for it to be a rule."""
_DISAGREES_PX = 20.0
_SPREAD = 1.4826
"""Median absolute deviation of a normal distribution → its standard deviation."""


@dataclass(frozen=True, slots=True)
class Suspicion:
    """One label, or a pair of them, to look at."""

    frame: LabelledFrame
    individual: int
    keypoints: tuple[str, ...]
    kind: str
    """``place``, ``sides`` or ``model``."""
    badness: float
    """How far beyond the limit, in limits: 1 and more."""
    text: str
    seen: tuple[float, float] | None = None
    """Where a model sees the point."""

    def __str__(self) -> str:
        return f"{self.frame.file}:{self.frame.row}: {self.frame.name}: {', '.join(self.keypoints)}: {self.text}"


def find(labels: Labels, predictions: Predictions | None = None, gate: float = 0.5) -> list[Suspicion]:
    """Look for labels that may be wrong, the worst first.

    Args:
        labels: all of a project.
        predictions: what a model says about the same frames.
        gate: score from which on the model is believed.
    """
    found = _places(labels)
    # A point that is out of place is on the wrong side of the others, too: that says nothing more.
    known = {(one.frame.name, one.individual) for one in found}
    found += [one for one in _sides(labels) if (one.frame.name, one.individual) not in known]
    if predictions is not None:
        found += _model(labels, predictions, gate)
    return sorted(found, key=lambda one: -one.badness)


def _places(labels: Labels) -> list[Suspicion]:
    """Points whose distances from most other points of their animal are unusual."""
    xy = labels.xy
    distance = np.linalg.norm(xy[:, :, :, None] - xy[:, :, None], axis=-1)
    with np.errstate(divide="ignore"):
        size = np.where(distance > 0, np.log(distance), np.nan)
    enough = np.isfinite(size).sum(axis=(0, 1)) >= _FEWEST
    if not enough.any():
        return []
    unusual = np.full(size.shape, np.nan)
    for a, b in np.argwhere(enough):
        values = size[:, :, a, b]
        middle = np.nanmedian(values)
        # Labels are a pixel or two off: a part that is always equally long is not known better than that.
        spread = max(_SPREAD * float(np.nanmedian(np.abs(values - middle))), 0.1)
        unusual[:, :, a, b] = np.abs(values - middle) / spread
    found = []
    known = np.isfinite(unusual).sum(axis=-1)
    for n, i, k in np.argwhere(known >= 2):
        far = float(np.nanmedian(unusual[n, i, k]))
        if far > _FAR:
            text = f"too far from, or too near to, the animal's other points ({far:.0f} times the usual spread)"
            found.append(Suspicion(labels.frames[n], int(i), (labels.keypoints[k],), "place", far / _FAR, text))
    return found


def _sides(labels: Labels) -> list[Suspicion]:
    """Pairs of left and right that lie the other way round than in nearly all frames."""
    xy, names = labels.xy, labels.keypoints
    other = partners(names)
    pairs = [(k, p) for k, p in enumerate(other) if k < p]
    middles = [k for k, p in enumerate(other) if k == p]
    found = []
    for left, right in pairs:
        against: list[npt.NDArray[np.float64]] = []
        ends = [*combinations(middles, 2), *((a, None) for a in middles)]
        for a, b in ends:
            turn = _turn(xy, left, right, a, b)
            there = np.isfinite(turn) & (turn != 0)
            if there.sum() < _FEWEST:
                continue
            usual = np.sign(np.median(np.sign(turn[there])))
            if usual and np.mean(np.sign(turn[there]) == usual) >= _ONE_WAY:
                against.append(np.where(there, np.sign(turn) == -usual, np.nan))
        if not against:
            continue
        known = np.isfinite(against).sum(axis=0)
        share = np.nansum(against, axis=0) / np.maximum(known, 1)
        for n, i in np.argwhere((known > 0) & (share > 0.5)):
            text = f"left and right may be swapped ({share[n, i]:.0%} of what tells sides apart says so)"
            pair = (names[left], names[right])
            found.append(Suspicion(labels.frames[n], int(i), pair, "sides", 1 + float(share[n, i]), text))
    return found


def _turn(xy: _Float64, left: int, right: int, a: int, b: int | None) -> _Float64:
    """(N, I): on which side of the animal's axis left lies, seen from right: the sign of a cross product."""
    across = xy[:, :, left] - xy[:, :, right]
    along = xy[:, :, a] - (xy[:, :, b] if b is not None else (xy[:, :, left] + xy[:, :, right]) / 2)
    return np.asarray(across[..., 0] * along[..., 1] - across[..., 1] * along[..., 0])


def _model(labels: Labels, predictions: Predictions, gate: float) -> list[Suspicion]:
    """Points that a model, sure of itself, sees elsewhere."""
    frames = {frame.name: frame for frame in labels.frames}
    error = np.where(predictions.score >= gate, predictions.error_px, np.nan)
    found = []
    for n, k in np.argwhere(error > _DISAGREES_PX):
        one = predictions.frames[n]
        far = float(error[n, k])
        text = f"a model sees it {far:.0f} px away, with a score of {predictions.score[n, k]:.2f}"
        nearest = int(np.nanargmin(np.linalg.norm(predictions.label[n, :, k] - predictions.xy[n, k], axis=-1)))
        name = (predictions.keypoints[k],)
        seen = (float(predictions.xy[n, k, 0]), float(predictions.xy[n, k, 1]))
        found.append(Suspicion(frames[one.name], nearest, name, "model", far / _DISAGREES_PX, text, seen))
    return found
