"""Where cameras are to each other: pairs that see the board at the same moment, and the best tree through them.

The pose of a flat board from one view has two answers that can be hard to tell apart, so no single frame is trusted:
each frame's answer is tried on all other frames of the pair, and the one that moves the board best from the one
camera's pictures into the other's is taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from poseloop.train.calibrate.board import Board, Float64
from poseloop.train.calibrate.detect import Sightings
from poseloop.train.calibrate.geometry import Motion, compose, inverse, project, transform
from poseloop.train.calibrate.lenses import board_pose

__all__ = ["Pair", "Poses", "board_in_world", "groups", "in_step", "pairs", "poses", "tree"]

Poses = Mapping[int, Sequence[tuple[Motion, float]]]
"""Moment → where the board is, seen from one camera: both answers with their errors in px."""

_MOST = 40
"""Moments of a pair that are tried and compared."""
_CLEAR = 1.5
"""A second answer whose error is more times that of the first is not worth trying."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two cameras that saw the board at the same moments."""

    first: int
    second: int
    moments: tuple[int, ...]
    motion: Motion
    """From the first camera's frame to the second's."""
    error_px: float
    """Median distance, over moments, between corners seen and those moved over from the other camera."""


def poses(sightings: Sightings, board: Board, lens: Float64, fisheye: bool) -> Poses:
    """Both poses of the board in all of a camera's views."""
    out = {}
    for moment, view in sightings.views.items():
        answers = board_pose(view, board, lens, fisheye)
        if answers:
            limit = _CLEAR * answers[0][1] + 0.05
            out[moment] = [answer for answer in answers if answer[1] <= limit]
    return out


def _score(
    motion: Motion,
    moments: Sequence[int],
    shift: int,
    near: Poses,
    far: Sightings,
    board: Board,
    lens: Float64,
    fisheye: bool,
) -> Float64:
    """(moments,) px: how far the board, moved over from one camera, is from where the other one sees it."""
    out = np.empty(len(moments))
    for row, moment in enumerate(moments):
        view = far.views[moment + shift]
        least = np.inf
        for pose, _ in near[moment]:
            x = transform(compose(motion, pose), board.points[view.numbers])
            if x[:, 2].min() > 0:
                uv, _, _ = project(lens, fisheye, x)
                least = min(least, float(np.median(np.linalg.norm(uv - view.xy, axis=1))))
        out[row] = least
    return out


def _spaced(items: Sequence[int], most: int) -> list[int]:
    return [items[k] for k in np.unique(np.linspace(0, len(items) - 1, min(most, len(items))).round().astype(int))]


def _best(
    shared: Sequence[int],
    shift: int,
    near: Poses,
    far: Poses,
    sightings: Sightings,
    board: Board,
    lens: Float64,
    fisheye: bool,
    most: int = _MOST,
) -> tuple[Motion, float] | None:
    moments = _spaced(shared, most)
    best: tuple[Motion, float] | None = None
    for moment in moments:
        for there, _ in far[moment + shift]:
            for here, _ in near[moment]:
                motion = compose(there, inverse(here))
                error = float(np.median(_score(motion, moments, shift, near, sightings, board, lens, fisheye)))
                if best is None or error < best[1]:
                    best = motion, error
    return best


def pairs(
    sightings: Sequence[Sightings], all_poses: Sequence[Poses], board: Board, lens: Float64, fisheye: Sequence[bool]
) -> list[Pair]:
    """Every two cameras that share a view of the board, and how they stand to each other."""
    out = []
    for a in range(len(sightings)):
        for b in range(a + 1, len(sightings)):
            shared = sorted(set(all_poses[a]) & set(all_poses[b]))
            if not shared:
                continue
            best = _best(shared, 0, all_poses[a], all_poses[b], sightings[b], board, lens[b], fisheye[b])
            if best is not None and np.isfinite(best[1]):
                out.append(Pair(a, b, tuple(shared), *best))
    return out


def groups(count: int, edges: Sequence[Pair]) -> list[list[int]]:
    """Cameras that are joined by pairs, the largest group first."""
    group = list(range(count))
    for edge in edges:
        old, new = group[edge.second], group[edge.first]
        group = [new if g == old else g for g in group]
    members = [[c for c in range(count) if group[c] == g] for g in sorted(set(group))]
    return sorted(members, key=lambda cameras: (-len(cameras), cameras))


def tree(cameras: Sequence[int], edges: Sequence[Pair]) -> dict[int, Motion]:
    """World to camera for each camera of a group, through its most reliable pairs; the first camera is the world.

    Prim's algorithm; a pair is the better, the smaller its error and the more moments it has.
    """

    def cost(edge: Pair) -> float:
        return float((edge.error_px + 0.1) / np.sqrt(min(len(edge.moments), _MOST)))

    placed: dict[int, Motion] = {cameras[0]: (np.eye(3), np.zeros(3))}
    while len(placed) < len(cameras):
        open_edges = [edge for edge in edges if (edge.first in placed) != (edge.second in placed)]
        edge = min(open_edges, key=cost)
        if edge.first in placed:
            placed[edge.second] = compose(edge.motion, placed[edge.first])
        else:
            placed[edge.first] = compose(inverse(edge.motion), placed[edge.second])
    return placed


def board_in_world(
    moment: int,
    cameras: Mapping[int, Motion],
    sightings: Sequence[Sightings],
    all_poses: Sequence[Poses],
    board: Board,
    lens: Float64,
    fisheye: Sequence[bool],
) -> tuple[Motion, float] | None:
    """Where the board was at a moment: the answer of one camera that suits all of them best, with its error in px."""
    seers = [c for c in cameras if moment in all_poses[c]]
    best: tuple[Motion, float] | None = None
    for c in seers:
        for pose, _ in all_poses[c][moment]:
            world = compose(inverse(cameras[c]), pose)
            errors = []
            for other in seers:
                view = sightings[other].views[moment]
                x = transform(compose(cameras[other], world), board.points[view.numbers])
                if x[:, 2].min() <= 0:
                    errors.append(np.inf)
                    continue
                uv, _, _ = project(lens[other], fisheye[other], x)
                errors.append(float(np.median(np.linalg.norm(uv - view.xy, axis=1))))
            error = float(np.mean(errors))
            if np.isfinite(error) and (best is None or error < best[1]):
                best = world, error
    return best


def in_step(
    pair: Pair,
    sightings: Sequence[Sightings],
    all_poses: Sequence[Poses],
    board: Board,
    lens: Float64,
    fisheye: Sequence[bool],
    reach: int,
    every: int = 1,
) -> dict[int, float]:
    """How well two cameras agree when one is moved against the other in time.

    Returns:
        Shift in moments (the second camera's moment minus the first's) → median error in px. Two videos in step have
        their least error at 0.
    """
    a, b = pair.first, pair.second
    out = {}
    for step in range(-reach, reach + 1):
        shift = step * every
        shared = sorted(moment for moment in all_poses[a] if moment + shift in all_poses[b])
        if len(shared) < 8:
            continue
        best = _best(shared, shift, all_poses[a], all_poses[b], sightings[b], board, lens[b], fisheye[b], most=12)
        if best is not None:
            out[shift] = best[1]
    return out
