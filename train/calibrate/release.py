"""Cameras placed by rays alone, for when the board does not seem rigid.

Where cameras are out of step or lenses are given that do not quite fit, the board's pose seen from one camera is not
the one seen from another, and the adjustment would move cameras to make up for it. Then every corner of every moment
becomes a point of its own: where rays meet decides where cameras stand, and of the board only its size is used.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from poseloop.train.calibrate import bundle
from poseloop.train.calibrate.board import Board, Float64
from poseloop.train.calibrate.bundle import CAMERA, Observations, State

__all__ = ["place"]


def place(
    state: State, seen: Observations, corner: npt.NDArray[np.int64], board: Board, free: npt.NDArray[np.bool_]
) -> State:
    """Place cameras by the corners that two or more of them see, then the boards by the cameras.

    Args:
        state: the result with a rigid board.
        seen: corners.
        corner: (M,) their numbers on the board.
        board: gives the scale.
        free: (C, CAMERA); only turns and shifts are used.
    """
    count = len(board.points)
    key = seen.block * count + corner
    known, index, views = np.unique(key, return_inverse=True, return_counts=True)
    shared = views[index] > 1
    known = known[views > 1]
    points = np.einsum("nij,nj->ni", state.block_turn[known // count], board.points[known % count])
    points += state.block_shift[known // count]
    rays = Observations.sorted(seen.camera[shared], np.searchsorted(known, key[shared]), None, seen.xy[shared])
    start = replace(state, block_turn=np.zeros((len(points), 3, 3)), block_shift=points)
    only_poses = free.copy()
    only_poses[:, 6:] = False
    moved = bundle.adjust(start, rays, only_poses, bundle.usual(bundle.residuals(start, rays)))
    scale = _scale(moved.block_shift, known, board)
    state = replace(state, turn=moved.turn, shift=moved.shift / scale)
    return bundle.adjust(
        state, seen, np.zeros((len(state.lens), CAMERA), bool), bundle.usual(bundle.residuals(state, seen))
    )


def _scale(points: Float64, known: npt.NDArray[np.int64], board: Board) -> float:
    """How much too large the points' boards are: the median over moments of all distances on a board."""
    count = len(board.points)
    sizes = []
    for moment in np.unique(known // count):
        rows = np.flatnonzero(known // count == moment)
        found, printed = points[rows], board.points[known[rows] % count]
        lengths = [np.linalg.norm(x[:, None] - x[None], axis=-1).sum() for x in (found, printed)]
        if lengths[1] > 0:
            sizes.append(lengths[0] / lengths[1])
    return float(np.median(sizes))
