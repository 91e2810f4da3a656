"""When cameras' pictures were taken: by how many frames, and parts of one, a camera runs behind another.

The videos of two cameras are moved against each other by whole frames, and the board's pose, moved over from one camera
to the other, tells which move fits. The rest is found by epipolar lines: each corner's way through three frames is a
parabola, and the time is looked for at which corners lie on the lines that the other camera's corners draw. A move that
fits one part of the videos only tells of frames that were lost between the parts.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from poseloop.train.calibrate import graph
from poseloop.train.calibrate.board import Float64
from poseloop.train.calibrate.detect import Sightings
from poseloop.train.calibrate.geometry import Motion, exponential, normalise, skew
from poseloop.train.calibrate.graph import Pair
from poseloop.train.calibrate.solve import Scene

__all__ = ["late", "lost", "offsets"]

_REACH = 15
"""Moments by which videos are moved against each other."""
_FEWEST = 8
"""Moments that both cameras have to share to be compared."""
_TRIED = 12
"""Moments that a motion between two cameras is searched with."""
_FOLLOWED = 60
"""Moments whose corners are followed."""
_CORNERS = 60
"""Corners that have to be followed at least."""
_LEVEL = 35.0
"""Percentile of the moments' errors that judges a motion: the rest may be out of step in another way."""
_GAIN = 0.7
"""Of the error in step: a move by whole frames has to lower it to that."""
_LEAST_PX = 1.0
"""Errors below this need no move by whole frames."""
_PART = 0.2
"""Frames: less is no fault of a rig, and is not told."""
_SURE = 4.0
"""Standard deviations."""
_LOWER = 0.85
"""Of the distance from the epipolar lines: a part of a frame has to lower it to that."""
_MOVING = 4.0
"""Times what corners miss their lines by: a quarter of them has to move by more, from one moment to the next."""
_SOFT_PX = 0.5
"""Where corners' distances from their lines begin to count less."""
_ODD = 0.15
"""Share of moments that do not fit, from which on a change is looked for."""


def offsets(scene: Scene, every: int) -> list[dict[str, Any]]:
    """How the pictures of each two cameras fit in time.

    Args:
        scene: cameras, and how they stand to each other as long as nothing is moved.
        every: distance of the moments that were searched.

    Returns:
        For each pair: ``cameras``; ``error_px`` by shift in moments (the second camera's moment minus the first's);
        ``best``, the shift in whole moments that fits best; ``behind``, by how many frames the second is behind the
        first, with its standard deviation ``spread`` (None: not known better than ``best``); ``fit_px``, the error in
        step and that at ``behind``; ``changes``, [moment, shift] where shifts begin, if there is more than one.
    """
    return [entry for pair in scene.pairs if (entry := _between(scene, pair, every)) is not None]


def _between(scene: Scene, pair: Pair, every: int) -> dict[str, Any] | None:
    a, b = pair.first, pair.second
    found: dict[int, tuple[Motion, float]] = {}
    for shift in range(-_REACH * every, _REACH * every + 1, every):
        shared = sorted(moment for moment in scene.poses[a] if moment + shift in scene.poses[b])
        if len(shared) >= _FEWEST:
            best = graph.best(scene.poses[a], scene.poses[b], *_of(scene, b), shared, shift, _TRIED, _LEVEL)
            if best is not None and np.isfinite(best[1]):
                found[shift] = best
    if 0 not in found:
        return None
    errors = {shift: error for shift, (_, error) in found.items()}
    best_shift = min(errors, key=lambda shift: errors[shift])
    if not (errors[best_shift] < _GAIN * errors[0] and errors[0] > _LEAST_PX):
        best_shift = 0
    changes = _changes(scene, pair, *found[best_shift], best_shift, every)
    if len(changes) == 1 and changes[0][1] in found:
        # A board that was held still most of the time fits at any shift: what moved decides.
        best_shift = changes[0][1]
    entry: dict[str, Any] = {
        "cameras": [scene.names[a], scene.names[b]],
        "error_px": {str(shift): round(error, 4) for shift, error in errors.items()},
        "best": best_shift,
        "behind": float(best_shift),
        "spread": None,
        "fit_px": [round(errors[0], 3), round(errors[best_shift], 3)],
        "changes": changes if len(changes) > 1 else [],
    }
    if not entry["changes"]:
        _add_part(entry, scene, pair, {shift: motion for shift, (motion, _) in found.items()}, every)
    return entry


def _of(scene: Scene, c: int) -> tuple[Sightings, Any, Float64, bool]:
    return scene.sightings[c], scene.board, scene.lenses[c].values, scene.lenses[c].fisheye


# Parts of a frame.


@dataclass(frozen=True, slots=True)
class _Part:
    frames: float
    """By which the second camera is behind the first, beyond the whole frames that it was moved by."""
    spread: float
    """Its standard deviation."""
    without_px: float
    """Usual distance of corners from their epipolar lines without it."""
    with_px: float


def _add_part(entry: dict[str, Any], scene: Scene, pair: Pair, motions: Mapping[int, Motion], every: int) -> None:
    shift = entry["best"]
    start = _part(scene, pair, motions[shift], shift, every)
    answer = start
    for _ in range(3):
        if answer is None:
            return
        # A parabola through three frames is only good near the middle one.
        near = shift + every * round(answer.frames / every)
        if abs(answer.frames) < 0.75 * every or near not in motions:
            break
        shift = near
        answer = _part(scene, pair, motions[shift], shift, every)
    if start is None or answer is None:
        return
    behind = shift + answer.frames
    if abs(behind - entry["best"]) > _SURE * answer.spread and answer.with_px < _LOWER * start.without_px:
        entry.update(behind=round(behind, 3), spread=round(answer.spread, 4))
    in_step = start if entry["best"] == 0 else _part(scene, pair, motions[0], 0, every)
    if in_step is not None:
        entry["fit_px"] = [round(in_step.without_px, 3), round(answer.with_px, 3)]


def _part(scene: Scene, pair: Pair, motion: Motion, shift: int, every: int) -> _Part | None:
    """Find the time that is left between two cameras when they are moved by whole frames; None: nothing tells it.

    Motion and time are found together, since a motion that was found out of step makes up for a part of the time.
    """
    a, b = pair.first, pair.second
    here, there = (_table(scene.sightings[c], len(scene.board.points)) for c in (a, b))
    moments = [t for t in here if all(t + shift + step in there for step in (-every, 0, every))]
    if len(moments) < _FEWEST:
        return None
    moments = graph.spaced(moments, _FOLLOWED)
    seen = np.stack(
        [np.stack([here[t], there[t + shift - every], there[t + shift], there[t + shift + every]]) for t in moments],
        axis=1,
    )  # (4, T, P, 2)
    seen = seen[:, np.isfinite(seen).all(axis=(0, 3))]
    if seen.shape[1] < _CORNERS:
        return None
    from scipy.optimize import least_squares  # takes longer to import than all of ours that --help needs

    focal = scene.lenses[b].values[0]
    rays = np.column_stack(
        [normalise(scene.lenses[a].values, scene.lenses[a].fisheye, seen[0]), np.ones(seen.shape[1])]
    )
    early, now, after = (normalise(scene.lenses[b].values, scene.lenses[b].fisheye, xy) for xy in seen[1:])
    speed, bend = (after - early) / (2 * every), (after - 2 * now + early) / every**2
    turn, move = motion
    along = move / max(float(np.linalg.norm(move)), 1e-12)
    across = np.linalg.svd(along[None])[2][1:]

    def distance(unknown: Float64) -> Float64:
        time = unknown[5] if len(unknown) > 5 else 0.0
        essential = skew(along + unknown[3:5] @ across) @ exponential(unknown[:3]) @ turn
        lines = rays @ essential.T
        place = now + speed * time + 0.5 * bend * time**2
        miss = (lines[:, :2] * place).sum(axis=1) + lines[:, 2]
        out: Float64 = focal * miss / np.maximum(np.linalg.norm(lines[:, :2], axis=1), 1e-9)
        return out

    def fit(start: Float64) -> Any:
        return least_squares(distance, start, loss="soft_l1", f_scale=_SOFT_PX, x_scale="jac", max_nfev=50)

    still = fit(np.zeros(5))
    free = fit(np.append(still.x, 0.0))
    without, with_it = (float(np.sqrt(2 * one.cost / len(rays))) for one in (still, free))
    moving = focal * every * float(np.percentile(np.linalg.norm(speed, axis=1), 75))
    if moving < _MOVING * with_it:
        # Between frames that show the same, a parabola is the mean of several: less noisy, which looks like a better
        # time (0.7 frames, where one camera is noisier than the other).
        return None
    slopes = free.jac.T @ free.jac
    # Corners of one view err together: there are as many independent ones as there are moments.
    share = seen.shape[1] / len(moments)
    variance = 2 * free.cost / max(len(rays) - 6, 1) * share * np.linalg.pinv(slopes)[5, 5]
    spread = float(np.sqrt(max(variance, 1e-12)))
    return _Part(float(np.clip(free.x[5], -2 * every, 2 * every)), spread, without, with_it)


def _table(sightings: Sightings, count: int) -> dict[int, Float64]:
    """Moment → (count, 2) px of all corners, NaN where not seen."""
    out = {}
    for moment, view in sightings.views.items():
        out[moment] = np.full((count, 2), np.nan)
        out[moment][view.numbers] = view.xy
    return out


# Changes.


def _changes(scene: Scene, pair: Pair, motion: Motion, error: float, best: int, every: int) -> list[list[int]]:
    """Which shift fits from which moment of the second camera on; empty where ``best`` fits throughout."""
    a, b = pair.first, pair.second
    moments = sorted(moment for moment in scene.poses[a] if moment + best in scene.poses[b])
    limit = max(4 * error, 2 * _LEAST_PX)
    fits = graph.moved(motion, moments, best, scene.poses[a], *_of(scene, b))
    if len(moments) < 2 * _FEWEST or (fits > limit).mean() < _ODD:
        return []
    moments = sorted(scene.poses[a])
    shifts = range(-_REACH * every, _REACH * every + 1, every)
    cost = np.full((len(moments), len(shifts)), limit)
    for column, shift in enumerate(shifts):
        rows = [row for row, moment in enumerate(moments) if moment + shift in scene.poses[b]]
        errors = graph.moved(motion, [moments[row] for row in rows], shift, scene.poses[a], *_of(scene, b))
        cost[rows, column] = np.minimum(errors, limit)
    way = _cheapest(cost, 4 * limit)
    starts = [0, *(np.flatnonzero(np.diff(way)) + 1).tolist()]
    return [[moments[row] + shifts[way[row]], shifts[way[row]]] for row in starts]


def _cheapest(cost: Float64, change: float) -> npt.NDArray[np.int64]:
    """(T,) columns of the way through ``cost`` (T, S) that costs least, where each change of the column has its price.

    Viterbi's algorithm.
    """
    total = cost[0].copy()
    origin = np.empty(cost.shape, np.int64)
    for row in range(len(cost)):
        cheapest = int(total.argmin())
        # Of ways that cost the same, the one that changes late: frames that were lost fit nowhere.
        stay = total < total[cheapest] + change - 1e-9
        origin[row] = np.where(stay, np.arange(cost.shape[1]), cheapest)
        origin[row, cheapest] = cheapest
        total = np.minimum(total, total[cheapest] + change) + (cost[row] if row else 0.0)
    way = np.empty(len(cost), np.int64)
    way[-1] = total.argmin()
    for row in range(len(cost) - 1, 0, -1):
        way[row - 1] = origin[row, way[row]]
    return way


# Cameras.


def late(names: Sequence[str], found: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """By how many frames each camera is behind most of the others; only those that are.

    Args:
        names: of the cameras.
        found: from `offsets`.
    """
    behind = {names[0]: 0.0}
    # The best known pairs first, as far as they lead.
    while ways := [entry for entry in found if len(behind.keys() & set(entry["cameras"])) == 1]:
        entry = min(ways, key=lambda entry: entry["spread"] or 1.0)
        one, two = entry["cameras"]
        if one in behind:
            behind[two] = behind[one] + entry["behind"]
        else:
            behind[one] = behind[two] - entry["behind"]
    # The time that most cameras share; of two that differ, the first one's.
    near = {name: [x for x in behind.values() if abs(x - own) < _PART] for name, own in behind.items()}
    usual = float(np.median(near[max(near, key=lambda name: len(near[name]))]))
    return {name: round(shift - usual, 3) for name, shift in behind.items() if abs(shift - usual) >= _PART}


def lost(found: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple[int, int]]]:
    """Cameras that changed their step: for each (its frame, by how many frames it is behind more than before).

    Args:
        found: from `offsets`. Of a pair that changed, that camera is named which changed, or is moved, in more pairs.
    """
    changed = [entry for entry in found if entry["changes"]]
    counts = Counter(name for entry in changed for name in entry["cameras"])
    moved = Counter(name for entry in found if entry["best"] for name in entry["cameras"])
    out: dict[str, list[tuple[int, int]]] = {}
    for entry in changed:
        one, two = entry["cameras"]
        name = max((two, one), key=lambda name: (counts[name], moved[name]))
        sign = -1 if name == one else 1
        steps = entry["changes"]
        jumps = [
            (moment - (shift if sign < 0 else 0), sign * (shift - before))
            for (_, before), (moment, shift) in itertools.pairwise(steps)
        ]
        out.setdefault(name, jumps)
    return out
