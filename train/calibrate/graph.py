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

__all__ = ["Pair", "Poses", "best", "board_in_world", "groups", "moved", "pairs", "poses", "spaced", "tree"]

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


def moved(
    motion: Motion,
    moments: Sequence[int],
    shift: int,
    near: Poses,
    far: Sightings,
    board: Board,
    lens: Float64,
    fisheye: bool,
) -> Float64:
    """(moments,) px: how far the board, moved over from one camera, is from where the other one sees it.

    Args:
        motion: from the one camera's frame to the other's.
        moments: of the one camera, at which it saw the board.
        shift: the other's moment minus the one's.
        near: the one's poses of the board.
        far: the other's views; at all of the shifted moments.
        board: what was seen.
        lens: the other's.
        fisheye: whether that is one.
    """
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


def spaced(items: Sequence[int], most: int) -> list[int]:
    """At most so many of the items, at equal distances."""
    return [items[k] for k in np.unique(np.linspace(0, len(items) - 1, min(most, len(items))).round().astype(int))]


def best(
    near: Poses,
    far: Poses,
    sightings: Sightings,
    board: Board,
    lens: Float64,
    fisheye: bool,
    shared: Sequence[int],
    shift: int = 0,
    most: int = _MOST,
    level: float = 50.0,
) -> tuple[Motion, float] | None:
    """Of all motions between two cameras that a single moment says, the one that suits the moments best.

    Args:
        near: one camera's poses of the board.
        far: the other's.
        sightings: the other's views.
        board: what was seen.
        lens: the other's.
        fisheye: whether that is one.
        shared: moments of the one camera; the other saw the board at all of them, shifted.
        shift: the other's moment minus the one's.
        most: so many of them are tried.
        level: percentile of the moments' errors that judges; less than 50 where few are known to fit.

    Returns:
        The motion from the one camera's frame to the other's, and that percentile in px.
    """
    moments = spaced(shared, most)
    out: tuple[Motion, float] | None = None
    for moment in moments:
        for there, _ in far[moment + shift]:
            for here, _ in near[moment]:
                motion = compose(there, inverse(here))
                errors = moved(motion, moments, shift, near, sightings, board, lens, fisheye)
                error = float(np.percentile(errors, level, method="higher"))  # not between two: one may be infinite
                if out is None or error < out[1]:
                    out = motion, error
    return out


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
            found = best(all_poses[a], all_poses[b], sightings[b], board, lens[b], fisheye[b], shared)
            if found is not None and np.isfinite(found[1]):
                out.append(Pair(a, b, tuple(shared), *found))
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
    suited: tuple[Motion, float] | None = None
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
            if np.isfinite(error) and (suited is None or error < suited[1]):
                suited = world, error
    return suited
