"""How far a model's points are from labels, by the runtime's own decoding: what is measured is what a rig runs.

A distance is Euclidean, px of the full picture. ``rmse_px`` is what DeepLabCut calls so: the *mean* distance over all
labelled points. Where several animals are labelled, the nearest one's point counts: a network without identities cannot
know which was meant.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from poseloop.live.errors import DataError, ModelError
from poseloop.live.types import Colour
from poseloop.live.vision import Network
from poseloop.live.vision.metadata import ModelInfo
from poseloop.train import pictures
from poseloop.train.labels import LabelledFrame, Labels

__all__ = ["WITHIN_PX", "Predictions", "choose", "compare", "measure", "predict", "table", "worst"]

WITHIN_PX = 10.0
"""A point nearer than this counts as right where the score is judged."""

_PCK_PX = (2.0, 5.0, 10.0, 20.0)
_BINS = 10
_DRAWS = 2000
"""Of the bootstrap."""

Float64 = npt.NDArray[np.float64]
Which = Literal["held-out", "all"]


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """What a model says about labelled frames."""

    frames: tuple[LabelledFrame, ...]
    keypoints: tuple[str, ...]
    """Those that the model and the labels both know, in the model's order."""
    label: Float64 = field(repr=False)
    """(N, I, K, 2) px; NaN = unlabelled."""
    xy: Float64 = field(repr=False)
    """(N, K, 2) px; NaN = not seen."""
    score: Float64 = field(repr=False)
    """(N, K) in 0..1."""
    inference_ms: Float64 = field(repr=False)
    """(N,): pictures in, points out."""

    @property
    def labelled(self) -> npt.NDArray[np.bool_]:
        """(N, K): somebody said where it is."""
        labelled: npt.NDArray[np.bool_] = np.asarray(np.isfinite(self.label).all(axis=-1))
        return np.asarray(labelled.any(axis=1))

    @property
    def error_px(self) -> Float64:
        """(N, K): distance to the nearest individual's label; NaN where unlabelled or not seen."""
        distance = np.linalg.norm(self.label - self.xy[:, None], axis=-1)
        nearest = np.where(np.isnan(distance), np.inf, distance).min(axis=1)
        return np.where(np.isinf(nearest), np.nan, nearest)


def choose(info: ModelInfo, labels: Labels, which: Which | None = None) -> tuple[Labels, str]:
    """Choose the frames to evaluate a model on.

    Args:
        info: the model's description; ``training`` may hold ``data_digest`` and ``held_out``, a list of frame names.
        labels: all of a project.
        which: ``held-out`` or ``all``; None: the held-out ones if the model was trained on this very project, else all.

    Returns:
        The frames, and in words which they are.

    Raises:
        ModelError: held-out frames are wanted, but the model does not say which they are.
        DataError: a held-out frame is not there.
    """
    held_out = info.training.get("held_out")
    names = [str(name) for name in held_out] if isinstance(held_out, (list, tuple)) else []
    own = info.training.get("data_digest") == labels.digest
    if which == "held-out" and not names:
        raise ModelError(f"{info.name} does not say which frames were held out: evaluate it with --frames all")
    if which == "held-out" or (which is None and own and names):
        changed = "" if own else "; the labels have changed since"
        return labels.only(names), f"held out when the model was trained{changed}"
    if own:
        return labels, "all frames of the project that the model was trained on"
    there = set(names) & {frame.name for frame in labels.frames}
    if there:
        return labels, (
            f"all frames; {len(there)} of the model's {len(names)} held-out frames are among them, so that it may have "
            f"been trained on the others, and the labels have changed since: see --frames held-out"
        )
    return labels, "all frames; the model does not say that it was trained on any of them"


def predict(network: Network, labels: Labels, done: Callable[[], object] = lambda: None) -> Predictions:
    """Run a model over labelled frames.

    Args:
        network: opened; prepared for each size of picture in turn.
        labels: the frames.
        done: called after each frame.

    Raises:
        ModelError: model and labels have no keypoint in common, or it cannot take such pictures.
        DataError: a picture cannot be read, or there is no frame.
    """
    known = tuple(name for name in network.keypoints if name in labels.keypoints)
    if not known:
        raise ModelError(
            f"the model finds {', '.join(network.keypoints)}, but the labels of {labels.project} are of "
            f"{', '.join(labels.keypoints)}: expected a keypoint in common"
        )
    if not labels.frames:
        raise DataError(f"{labels.project}: expected labelled frames, but there are none")
    columns = [network.keypoints.index(name) for name in known]
    # By size: a change of it loads the network again.
    frames = sorted(labels.frames, key=lambda frame: (frame.height, frame.width, frame.name))
    xy = np.full((len(frames), len(known), 2), np.nan)
    score = np.full((len(frames), len(known)), np.nan)
    times = np.zeros(len(frames))
    size = None
    for number, frame in enumerate(frames):
        picture = pictures.read(frame.path, Colour.RGB)
        if size != picture.shape:
            size = picture.shape
            network.infer([picture])  # loads, and warms up
        start = time.perf_counter_ns()
        found = network.infer([picture])
        times[number] = (time.perf_counter_ns() - start) / 1e6
        xy[number], score[number] = found.xy[0, 0, columns], found.score[0, 0, columns]
        done()
    label = np.stack([frame.xy for frame in frames])[:, :, [labels.keypoints.index(name) for name in known]]
    return Predictions(tuple(frames), known, label, xy, score, times)


def measure(predictions: Predictions, gate: float) -> dict[str, Any]:
    """Sum a model's errors up.

    Args:
        predictions: what it said.
        gate: the score from which on a point is trusted.

    Returns:
        For a report: ``rmse_px, median_px, p95_px, n, not_seen, pck, per_keypoint, reliability, gate, inference_ms``.
        ``n`` counts labelled points; those that the model did not see have no distance and count as wrong in ``pck``
        and the shares.
    """
    error, labelled = predictions.error_px, predictions.labelled
    names = predictions.keypoints
    milliseconds = predictions.inference_ms
    return {
        **_distances(error[labelled]),
        "pck": {f"{px:g}": _share(error[labelled] <= px) for px in _PCK_PX},
        "per_keypoint": {
            name: {
                **_distances(error[labelled[:, k], k]),
                "score": _number(_mean(predictions.score[labelled[:, k], k])),
            }
            for k, name in enumerate(names)
        },
        "reliability": _reliability(error[labelled], predictions.score[labelled]),
        "gate": _gate(error[labelled], predictions.score[labelled], gate),
        "inference_ms": {"p50": _number(np.median(milliseconds)), "p95": _number(np.percentile(milliseconds, 95))},
    }


def _number(value: float | np.floating[Any], digits: int = 4) -> float | None:
    """For JSON, which knows no NaN."""
    return round(float(value), digits) if math.isfinite(value) else None


def _mean(values: Float64) -> float:
    return float(np.mean(values)) if len(values) else math.nan


def _share(values: npt.NDArray[np.bool_]) -> float | None:
    return _number(_mean(values.astype(np.float64)))


def _distances(error: Float64) -> dict[str, Any]:
    seen = error[~np.isnan(error)]
    return {
        "rmse_px": _number(_mean(seen)),
        "median_px": _number(np.median(seen)) if len(seen) else None,
        "p95_px": _number(np.percentile(seen, 95)) if len(seen) else None,
        "n": len(error),
        "not_seen": len(error) - len(seen),
    }


def _reliability(error: Float64, score: Float64) -> dict[str, Any]:
    """Compare score and share of right points, bin by bin (Guo et al. 2017, *On calibration*, section 2)."""
    score = np.nan_to_num(score, nan=0.0)
    right = error <= WITHIN_PX
    place = np.minimum((score * _BINS).astype(int), _BINS - 1)
    bins = []
    gap = 0.0
    for number in range(_BINS):
        here = place == number
        bins.append(
            {
                "from": number / _BINS,
                "to": (number + 1) / _BINS,
                "n": int(here.sum()),
                "score": _number(_mean(score[here])),
                "right": _share(right[here]),
            }
        )
        if here.any():
            gap += here.mean() * abs(float(score[here].mean()) - float(right[here].mean()))
    return {"within_px": WITHIN_PX, "bins": bins, "expected_calibration_error": _number(gap)}


def _gate(error: Float64, score: Float64, gate: float) -> dict[str, Any]:
    right, passed = error <= WITHIN_PX, score >= gate
    return {
        "score": gate,
        "right_that_pass": _share(passed[right]),
        "wrong_that_pass": _share(passed[~right]),
        "passed_that_are_right": _share(right[passed]),
        "passed": _share(passed),
    }


def worst(predictions: Predictions, count: int) -> list[int]:
    """Numbers of the frames with the largest single errors, the worst first; a point not seen comes before all."""
    error = np.where(np.isnan(predictions.error_px), np.inf, predictions.error_px)
    largest = np.where(predictions.labelled, error, -1).max(axis=1)
    return [int(number) for number in np.argsort(-largest, kind="stable")[:count]]


def compare(one: Predictions, other: Predictions) -> dict[str, Any]:
    """Compare two models on the points that both saw.

    Returns:
        For a report: ``difference_px`` (mean distance of ``other`` minus that of ``one``: above 0, ``one`` is better),
        its 95 % interval by a bootstrap over frames, the share of points on which ``one`` is nearer, and n.

    Raises:
        ModelError: they have no keypoint in common.
    """
    common = [name for name in one.keypoints if name in other.keypoints]
    if not common:
        raise ModelError("the two models have no keypoint in common: expected one to compare them by")
    first = one.error_px[:, [one.keypoints.index(name) for name in common]]
    second = other.error_px[:, [other.keypoints.index(name) for name in common]]
    difference = second - first
    seen = ~np.isnan(difference)
    sums, counts = np.where(seen, difference, 0).sum(axis=1), seen.sum(axis=1)
    # Points of one frame are not independent of each other, frames nearly are.
    drawn = np.random.default_rng(0).integers(0, len(sums), (_DRAWS, len(sums)))
    means = sums[drawn].sum(axis=1) / np.maximum(counts[drawn].sum(axis=1), 1)
    low, high = np.percentile(means, [2.5, 97.5])
    values = difference[seen]
    return {
        "difference_px": _number(_mean(values)),
        "interval_px": [_number(low), _number(high)],
        "nearer": _share(values > 0),
        "n": len(values),
        "keypoints": common,
    }


def table(result: Mapping[str, Any]) -> str:
    """Write what `measure` found for a terminal."""
    width = max(len(name) for name in (*result["per_keypoint"], "keypoint"))
    lines = [
        f"{'keypoint':<{width}}  {'n':>5}  {'mean px':>8}  {'median':>8}  {'p95':>8}  {'not seen':>8}  {'score':>6}"
    ]
    rows = [*result["per_keypoint"].items(), ("all", result)]
    for name, row in rows:
        numbers = "  ".join(f"{_text(row[key]):>8}" for key in ("rmse_px", "median_px", "p95_px"))
        score = _text(row["score"]) if "score" in row else ""
        lines.append(f"{name:<{width}}  {row['n']:>5}  {numbers}  {row['not_seen']:>8}  {score:>6}".rstrip())
    pck = "  ".join(f"{px} px {_percent(share)}" for px, share in result["pck"].items())
    gate = result["gate"]
    lines += [
        f"within     {pck}",
        f"gate {gate['score']:.2f}  {_percent(gate['right_that_pass'])} of the points within {WITHIN_PX:g} px pass, "
        f"{_percent(gate['wrong_that_pass'])} of the others",
        f"inference  {_text(result['inference_ms']['p50'])} ms a picture (median)",
    ]
    return "\n".join(lines)


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"
