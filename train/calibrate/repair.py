"""Repair a calibration with nothing but an animal: cameras that were moved are placed anew by the others.

Cameras that agree with each other are kept as they are, so world and scale stay. They give the keypoints in 3D; a
camera that disagrees is placed so that it sees these points where it says it does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import cv2
import numpy as np

from poseloop.live.errors import CalibrationError
from poseloop.live.geometry import Calibration, triangulate
from poseloop.live.geometry.calibration import CameraModel
from poseloop.train.calibrate import bundle, formats, lenses
from poseloop.train.calibrate.board import Float64
from poseloop.train.calibrate.bundle import CAMERA, Observations, State
from poseloop.train.calibrate.geometry import compose, inverse, normalise, project, skew

__all__ = ["Repair", "repair"]

_FEWEST = 30
"""Points that a camera is placed by."""
_MOST = 1000
_GATE = 2.5
"""Times the error of the best pair: a pair with more does not agree."""
_LEAST_PX = 3.0
_BETTER = 0.8
"""A lens is changed if that lowers the error to less than this share."""
_MOVED = 0.6
"""A camera is moved if that lowers its error to less than this share: else it is the keypoints that are inexact."""
_ZOOM = np.geomspace(0.6, 1.7, 15)


@dataclass(frozen=True, slots=True)
class Repair:
    """What was done."""

    calibration: Calibration
    kept: tuple[str, ...]
    moved: dict[str, tuple[float, float]]
    """Camera that was placed anew → median error in px before and after."""
    lens_changed: tuple[str, ...]
    """Of those, the ones whose focal length and bend had to change, too."""
    pairs: dict[tuple[str, str], float]
    """Two cameras → median distance from the epipolar line, px, before."""


def repair(calibration: Calibration, xy: Float64) -> Repair:
    """Find the cameras that do not fit the others, and place them anew.

    Args:
        calibration: the one that went wrong.
        xy: (C, N, 2) px, keypoints in the calibration's order of cameras; NaN = not seen.

    Raises:
        CalibrationError: no two cameras agree, or a camera sees too few points that the others see.
    """
    pairs = _pairs(calibration, xy)
    good = _agreeing(calibration, pairs)
    base = calibration.select([calibration.names[c] for c in good])
    points, _, views = triangulate(base, xy[good], None)
    usable = (views >= 2) & np.isfinite(points).all(axis=1)
    cameras = list(calibration.cameras)
    moved: dict[str, tuple[float, float]] = {}
    changed: list[str] = []
    kept = list(base.names)
    for c, camera in enumerate(cameras):
        if c in good:
            continue
        rows = np.flatnonzero(usable & np.isfinite(xy[c]).all(axis=1))
        if len(rows) < _FEWEST:
            raise CalibrationError(
                f"camera {camera.name!r} shares {len(rows)} points with {', '.join(base.names)}, at least {_FEWEST} "
                "are needed: give longer tracks, or calibrate with a board"
            )
        rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _MOST)).round().astype(int))]
        before = _median(camera, points[rows], xy[c, rows])
        placed, other_lens = _placed(camera, base, xy[np.ix_([*good, c], rows)], points[rows])
        after = _median(placed, points[rows], xy[c, rows])
        if after > _MOVED * before:
            kept.append(camera.name)
            continue
        cameras[c] = placed
        moved[camera.name] = before, after
        if other_lens:
            changed.append(camera.name)
    names = calibration.names
    return Repair(
        Calibration(cameras, calibration.unit),
        tuple(name for name in names if name in kept),
        moved,
        tuple(changed),
        {(names[a], names[b]): error for (a, b), error in pairs.items()},
    )


def _pairs(calibration: Calibration, xy: Float64) -> dict[tuple[int, int], float]:
    rays = [
        normalise(lens.values, lens.fisheye, np.nan_to_num(places))
        for lens, places in zip(map(formats.lens_of, calibration.cameras), xy, strict=True)
    ]
    out = {}
    for a, b in combinations(range(len(rays)), 2):
        both = np.isfinite(xy[[a, b]]).all(axis=(0, 2))
        if both.sum() < _FEWEST:
            continue
        one, two = calibration.cameras[a], calibration.cameras[b]
        turn, shift = compose((two.rotation, two.translation), inverse((one.rotation, one.translation)))
        left, right = (np.column_stack([rays[c][both], np.ones(both.sum())]) for c in (a, b))
        lines = left @ (skew(shift) @ turn).T
        length = np.maximum(np.linalg.norm(lines[:, :2], axis=1), 1e-12)
        distance = float(np.median(np.abs((lines * right).sum(axis=1)) / length) * two.matrix[0, 0])
        # Two cameras at one place agree with everything.
        out[a, b] = distance if np.linalg.norm(shift) > 1e-6 * np.abs(two.translation).max() else float("inf")
    return out


def _agreeing(calibration: Calibration, pairs: dict[tuple[int, int], float]) -> list[int]:
    """The largest set of cameras that all agree with each other; of several, the one with the least error."""
    if not pairs or min(pairs.values()) == np.inf:
        raise CalibrationError(f"no two of the cameras {', '.join(calibration.names)} see the same keypoints")
    gate = max(_GATE * min(pairs.values()), _LEAST_PX)
    for count in range(len(calibration.names), 1, -1):
        sets = []
        for cameras in combinations(range(len(calibration.names)), count):
            errors = [pairs.get(pair, np.inf) for pair in combinations(cameras, 2)]
            if max(errors) <= gate:
                sets.append((max(errors), list(cameras)))
        if sets:
            return min(sets)[1]
    raise CalibrationError("no two cameras agree: calibrate with a board")


def _median(camera: CameraModel, points: Float64, xy: Float64) -> float:
    seen = Calibration([camera]).project(points)[0]
    distance = np.linalg.norm(seen - xy, axis=1)
    # Behind the camera is farther off than any place in the picture.
    return float(np.median(np.where(np.isnan(distance), max(camera.size), distance)))


def _placed(camera: CameraModel, base: Calibration, xy: Float64, points: Float64) -> tuple[CameraModel, bool]:
    """Place one camera; with its own lens, or with another one if that fits much better."""
    lens = formats.lens_of(camera)
    best: list[tuple[float, CameraModel]] = []
    for zooms in ((1.0,), _ZOOM):
        starts = []
        for zoom in zooms:
            values = lens.values.copy()
            values[:2] *= zoom
            rays = normalise(values, lens.fisheye, xy[-1])
            found, turn, shift, _ = cv2.solvePnPRansac(
                points,
                rays,
                np.eye(3),
                None,
                iterationsCount=300,
                reprojectionError=20 / values[0],
                flags=cv2.SOLVEPNP_EPNP,
            )
            if not found:
                continue
            motion = np.asarray(cv2.Rodrigues(turn)[0], np.float64), np.asarray(shift, np.float64).reshape(3)
            uv, _, _ = project(values, lens.fisheye, points @ motion[0].T + motion[1])
            starts.append((float(np.median(np.linalg.norm(uv - xy[-1], axis=1))), values, motion))
        if not starts:
            best.append((np.inf, camera))
            continue
        _, values, motion = min(starts, key=lambda start: start[0])
        best.append(_adjusted(camera, base, xy, points, values, motion, free=len(zooms) > 1))
    (own, with_own), (other, with_other) = best
    if not np.isfinite(min(own, other)):
        raise CalibrationError(
            f"camera {camera.name!r}: no place was found from which it sees the keypoints where it says"
        )
    return (with_other, True) if other < _BETTER * own else (with_own, False)


def _adjusted(
    camera: CameraModel,
    base: Calibration,
    xy: Float64,
    points: Float64,
    values: Float64,
    motion: tuple[Float64, Float64],
    free: bool,
) -> tuple[float, CameraModel]:
    others: Sequence[CameraModel] = base.cameras
    known = [formats.lens_of(one) for one in others]
    fisheye = (*(lens.fisheye for lens in known), camera.fisheye)
    state = State(
        np.array([*(lens.values for lens in known), values]),
        fisheye,
        np.array([*(one.rotation for one in others), motion[0]]),
        np.array([*(one.translation for one in others), motion[1]]),
        np.zeros((len(points), 3, 3)),
        points,
    )
    seen_by, block = np.nonzero(np.isfinite(xy).all(axis=2))
    seen = Observations.sorted(seen_by, block, None, xy[seen_by, block])
    unknown = np.zeros((len(fisheye), CAMERA), bool)
    unknown[-1, :6] = True
    if free:
        unknown[-1, 6:8] = True
        unknown[-1, 10] = True
    about = lenses.prior([*(one.size for one in others), camera.size], fisheye)
    state = bundle.adjust(state, seen, unknown, bundle.usual(bundle.residuals(state, seen)), about)
    placed = formats.model(camera.name, camera.size, state.lens[-1], camera.fisheye, state.turn[-1], state.shift[-1])
    return _median(placed, points, xy[-1]), placed
