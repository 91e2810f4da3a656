"""One camera's lens from views of the board: focal length found by search, all else by bundle adjustment.

No start value is needed and no view can spoil it: for each of many focal lengths the board's pose in every view is
found in closed form, and the length that explains the corners best is where the adjustment starts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from poseloop.live.errors import CalibrationError
from poseloop.train.calibrate import bundle
from poseloop.train.calibrate.board import Board, Float64
from poseloop.train.calibrate.bundle import CAMERA, Observations, Prior, State
from poseloop.train.calibrate.detect import Sightings, View
from poseloop.train.calibrate.geometry import LENS, Motion, normalise, pnp, project, transform

__all__ = ["Lens", "board_pose", "estimate", "free_lens", "miss", "prior"]

_FEWEST = 4
"""Views from which a lens is estimated at all."""
_MOST = 40
"""Views that it is estimated from: more add time and no knowledge."""
_TRIED = 16
"""Views that the search for the focal length uses."""
_FOCAL = np.geomspace(0.25, 6.0, 40)
"""Of the picture's longer side."""
_KNOWN = 0.1
"""Of the focal length: a lens that is known worse is not given out."""
_TURNED_DEG = 5.0
"""Views that are turned from each other by less are one angle."""
_START_PX = 0.5
"""Sigma of corners before it is known."""


@dataclass(frozen=True, slots=True)
class Lens:
    """A lens, and how well it is known."""

    values: Float64  # (LENS,)
    fisheye: bool
    given: bool = False
    """Taken from a file, not estimated."""
    sigma_px: float = float("nan")
    """Usual error of the corners along one axis when this camera is adjusted alone."""
    focal_spread: float = 0.0
    """Standard deviation of the focal length in shares of it: large when the board was always at one angle."""


def prior(sizes: Sequence[tuple[int, int]], fisheye: Sequence[bool]) -> Prior:
    """What every lens is like: axis near the middle, square pixels, a moderate distortion."""
    rows = np.zeros((LENS - 1, LENS))
    rows[0, :2] = 1, -1
    rows[range(1, LENS - 1), range(2, LENS)] = 1
    value, sigma = np.zeros((len(sizes), LENS - 1)), np.ones((len(sizes), LENS - 1))
    for c, (width, height) in enumerate(sizes):
        value[c, 1:3] = (width - 1) / 2, (height - 1) / 2
        sigma[c, 0] = 0.02 * width
        sigma[c, 1:3] = 0.025 * width
        sigma[c, 3:] = [0.5, 0.5, 0.02, 0.02, 0.5, 0.5, 0.5, 0.5]
        if fisheye[c]:
            sigma[c, 3:7] = 0.1
    return Prior(rows, value, sigma)


def free_lens(fisheye: bool) -> npt.NDArray[np.bool_]:
    """(LENS,) the numbers that are estimated: focal lengths, axis, k1 k2 p1 p2 k3, or a fisheye's k1 … k4."""
    free = np.zeros(LENS, bool)
    free[: 8 if fisheye else 9] = True
    return free


def board_pose(view: View, board: Board, lens: Float64, fisheye: bool) -> list[tuple[Motion, float]]:
    """Where the board is, seen from the camera: up to two answers with their median errors in px, the better first."""
    plane = board.points[view.numbers]
    out = []
    for motion in pnp(plane, normalise(lens, fisheye, view.xy)):
        uv, _, _ = project(lens, fisheye, transform(motion, plane))
        out.append((motion, float(np.median(np.linalg.norm(uv - view.xy, axis=1)))))
    return sorted(out, key=lambda pair: pair[1])


def miss(sightings: Sightings, board: Board, lens: Lens) -> float:
    """By how much a lens misses the corners of its camera's own views, each of them alone: median, px."""
    answers = [board_pose(view, board, lens.values, lens.fisheye) for view in sightings.views.values()]
    return float(np.median([found[0][1] if found else np.inf for found in answers]))


def estimate(sightings: Sightings, chosen: Sequence[int], board: Board, fisheye: bool) -> Lens:
    """Estimate a camera's lens.

    Args:
        sightings: its views.
        chosen: the moments to use, the most telling first.
        board: what was seen.
        fisheye: which model.

    Raises:
        CalibrationError: there are too few views, none of them can be explained, or all are at one angle.
    """
    name = sightings.camera
    if len(chosen) < _FEWEST:
        raise CalibrationError(
            f"camera {name!r}: its lens cannot be estimated from {len(chosen)} views of the board (searched "
            f"{sightings.looked} pictures, at least {_FEWEST} views are needed): film the board near this camera, all "
            "over its picture and tilted, or give its lens with --given"
        )
    moments = list(chosen[:_MOST])
    start = _search(sightings, moments[:_TRIED], board, fisheye)
    state, seen, kept = _started(sightings, moments, board, start, fisheye)
    if len(kept) < _FEWEST:
        raise CalibrationError(
            f"camera {name!r}: only {len(kept)} of {len(moments)} views show a flat board in front of the camera; "
            "is the board file right?"
        )
    about = prior([sightings.size], [fisheye])
    free = np.zeros((1, CAMERA), bool)
    # First what matters most, so that a start far off does not bend the distortion.
    free[0, 6:8] = True
    free[0, 10] = True
    state = bundle.adjust(state, seen, free, 4 * _START_PX, about, steps=15)
    free[0, 6:] = free_lens(fisheye)
    state = bundle.adjust(state, seen, free, _START_PX, about)
    sigma = bundle.usual(bundle.residuals(state, seen))
    state = bundle.adjust(state, seen, free, sigma, about)
    known = bundle.spread(state, seen, free, sigma, about)
    focal_spread = float(known[0, 6] / state.lens[0, 0])
    facing = state.block_turn[:, :, 2]
    middle = facing.mean(axis=0)
    # Errors that views share, such as a bent board, are as large in a hundred views of one angle as in one of them.
    apart = np.degrees(np.arccos(np.clip(facing @ (middle / np.linalg.norm(middle)), -1, 1))).max()
    if not (focal_spread < _KNOWN and apart >= _TURNED_DEG):
        tilt = np.degrees(np.arccos(np.clip(np.abs(facing[:, 2]), 0, 1)))
        how = f"would be known to ±{100 * min(focal_spread, 9.99):.0f} % only" if apart >= _TURNED_DEG else "is open"
        raise CalibrationError(
            f"camera {name!r}: its focal length {how}, because the board was always at one angle ({tilt.min():.0f} "
            f"to {tilt.max():.0f}° to the picture, turned by {apart:.1f}° in {len(kept)} views): tilt it by 20 to 45° "
            "to all sides, and come nearer"
        )
    return Lens(
        state.lens[0],
        fisheye,
        sigma_px=sigma,
        focal_spread=focal_spread,
    )


def _guess(size: tuple[int, int], focal: float) -> Float64:
    lens = np.zeros(LENS)
    lens[:2] = focal * max(size)
    lens[2:4] = (size[0] - 1) / 2, (size[1] - 1) / 2
    return lens


def _search(sightings: Sightings, moments: Sequence[int], board: Board, fisheye: bool) -> Float64:
    best, least = _guess(sightings.size, 1.0), np.inf
    for focal in _FOCAL:
        for bend in (0.0,) if fisheye else (0.0, -0.25):
            lens = _guess(sightings.size, float(focal))
            lens[4] = bend
            errors = []
            for moment in moments:
                poses = board_pose(sightings.views[moment], board, lens, fisheye)
                errors.append(poses[0][1] if poses else np.inf)
            error = float(np.mean(np.minimum(errors, 0.1 * max(sightings.size))))
            if error < least:
                best, least = lens, error
    return best


def _started(
    sightings: Sightings, moments: Sequence[int], board: Board, lens: Float64, fisheye: bool
) -> tuple[State, Observations, list[int]]:
    kept: list[int] = []
    turns, shifts, places, pixels, blocks = [], [], [], [], []
    for moment in moments:
        view = sightings.views[moment]
        poses = board_pose(view, board, lens, fisheye)
        if not poses:
            continue
        (turn, shift), _ = poses[0]
        blocks.append(np.full(len(view.numbers), len(kept)))
        kept.append(moment)
        turns.append(turn)
        shifts.append(shift)
        places.append(board.points[view.numbers])
        pixels.append(view.xy)
    if not kept:
        empty = np.zeros((0, 3))
        none = np.zeros(0, np.int64)
        return (
            State(lens[None], (fisheye,), np.eye(3)[None], np.zeros((1, 3)), np.zeros((0, 3, 3)), empty),
            Observations(none, none, empty, np.zeros((0, 2))),
            kept,
        )
    block = np.concatenate(blocks)
    seen = Observations.sorted(np.zeros(len(block), np.int64), block, np.concatenate(places), np.concatenate(pixels))
    state = State(lens[None], (fisheye,), np.eye(3)[None], np.zeros((1, 3)), np.array(turns), np.array(shifts))
    return state, seen, kept
