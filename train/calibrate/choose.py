"""Which of many frames to use: those that show new places, new tilts, and a sharp board."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from poseloop.train.calibrate.board import Board, Float64
from poseloop.train.calibrate.detect import Sightings, View

__all__ = ["GRID", "covered", "for_lens", "for_rig", "slant"]

GRID = (8, 6)
"""Cells that a picture is divided into, across and down."""
_TILTS = 4
_BLURRED = 0.5
"""Of a camera's median sharpness: below this a view counts half."""
_ENOUGH = 3
"""Views of one cell after which another one adds little."""


def covered(view: View, size: tuple[int, int]) -> frozenset[int]:
    """Cells of the picture in which corners are."""
    cell = np.floor(view.xy / size * GRID).astype(int)
    cell = np.clip(cell, 0, np.array(GRID) - 1)
    return frozenset((cell[:, 1] * GRID[0] + cell[:, 0]).tolist())


def slant(view: View, board: Board) -> tuple[int, int]:
    """How the board is tilted, roughly: the bend of parallel lines, by the homography's lowest row."""
    plane = board.points[view.numbers, :2] / board.square_mm
    plane = (plane - plane.mean(axis=0)) / max(float(np.ptp(plane, axis=0).max()), 1.0)
    homography = _homography(plane, view.xy)
    bend = np.clip(np.round(homography[2, :2] / homography[2, 2] * 5), -_TILTS, _TILTS)
    return int(bend[0]), int(bend[1])


def _homography(plane: Float64, xy: Float64) -> Float64:
    """Direct linear transform; Hartley and Zisserman, "Multiple view geometry", section 4.1."""
    middle, scale = xy.mean(axis=0), float(np.std(xy)) + 1e-9
    u, v = ((xy - middle) / scale).T
    x, y = plane.T
    one, nil = np.ones_like(x), np.zeros_like(x)
    rows = np.concatenate(
        [
            np.stack([x, y, one, nil, nil, nil, -u * x, -u * y, -u], axis=1),
            np.stack([nil, nil, nil, x, y, one, -v * x, -v * y, -v], axis=1),
        ]
    )
    flat = np.linalg.svd(rows, full_matrices=False)[2][-1]
    scaled: Float64 = flat / (flat[8] if abs(flat[8]) > 1e-12 else 1e-12)
    return scaled.reshape(3, 3)


def _worth(views: Mapping[int, View]) -> dict[int, float]:
    usual = float(np.median([view.sharpness for view in views.values()])) if views else 0.0
    return {moment: 0.5 if view.sharpness < _BLURRED * usual else 1.0 for moment, view in views.items()}


def _greedy(gains: Mapping[int, Sequence[tuple[object, float]]], most: int) -> list[int]:
    """Take the frame that adds most, again and again; each frame lists what it shows, and how much that is worth."""
    seen: dict[object, int] = {}
    left = dict(gains)
    chosen: list[int] = []
    while left and len(chosen) < most:
        # A cell's n-th view is worth 1 / n², so new ones come first and all come in the end.
        best = max(left, key=lambda moment: sum(worth / (1 + seen.get(what, 0)) ** 2 for what, worth in left[moment]))
        for what, _ in left.pop(best):
            seen[what] = seen.get(what, 0) + 1
        chosen.append(best)
    return chosen


def for_lens(sightings: Sightings, board: Board, most: int) -> list[int]:
    """Moments from which a lens is estimated, the most telling first."""
    worth = _worth(sightings.views)
    gains = {}
    for moment, view in sightings.views.items():
        shown: list[tuple[object, float]] = [
            (cell, worth[moment] * len(view.numbers) / len(board.points))
            for cell in sorted(covered(view, sightings.size))
        ]
        # A new tilt says as much about the focal length as many new cells.
        shown.append((("tilt", *slant(view, board)), 8 * worth[moment]))
        gains[moment] = shown
    return _greedy(gains, most)


def for_rig(sightings: Sequence[Sightings], board: Board, most: int) -> list[int]:
    """Moments for the adjustment of all cameras: new pairs of cameras and new places in their pictures."""
    worth = [_worth(camera.views) for camera in sightings]
    moments = sorted({moment for camera in sightings for moment in camera.views})
    gains: dict[int, list[tuple[object, float]]] = {}
    for moment in moments:
        here = [c for c, camera in enumerate(sightings) if moment in camera.views]
        shown: list[tuple[object, float]] = []
        for c in here:
            view = sightings[c].views[moment]
            full = len(view.numbers) / len(board.points) * worth[c][moment]
            # A view that is alone helps its lens only.
            value = full if len(here) > 1 else 0.3 * full
            shown.extend(((c, cell), value) for cell in sorted(covered(view, sightings[c].size)))
            shown.extend(((c, other), 6 * full) for other in here if other != c)
        gains[moment] = shown
    return sorted(_greedy(gains, most))
