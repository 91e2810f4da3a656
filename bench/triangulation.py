"""Triangulation: what one call costs for 12 keypoints of 4 cameras, and how much lying views spoil.

``python -m poseloop.bench.triangulation --report FILE.json``

The rig is made up (four cameras with barrel distortion around a stage), so the truth is known; noise is 1 px. All rows
are timed in turns in one run. Beside them stand OpenCV's own two-view triangulation of the same points, undistortion
included (``cv2.undistortPoints`` and ``cv2.triangulatePoints`` for one pair of the cameras), and, if it is installed,
aniposelib's ``triangulate`` in its fast mode and its RANSAC.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from poseloop.bench.options import make_parser
from poseloop.live.clock import now_ns
from poseloop.live.geometry import Calibration, triangulate
from poseloop.live.geometry.calibration import CameraModel
from poseloop.live.geometry.triangulation import Triangulator
from poseloop.live.output import report as reports

__all__ = ["errors", "main", "speed"]

_CAMERAS = 4
_POINTS = 12
_NOISE_PX = 1.0

_Float64 = npt.NDArray[np.float64]


def ring(count: int = _CAMERAS) -> Calibration:
    """Cameras 700 mm from the middle of a stage, looking at it from above."""
    models = []
    for number in range(count):
        angle = 2 * np.pi * number / count + 0.3
        centre = 700 * np.array([np.cos(angle), np.sin(angle), 0.6])
        forward = -centre / np.linalg.norm(centre)
        right = np.cross([0.0, 0.0, 1.0], forward)
        right /= np.linalg.norm(right)
        rotation = np.stack([right, np.cross(forward, right), forward])
        matrix = np.array([[1400.0, 0, 640], [0, 1400, 512], [0, 0, 1]])
        lens = np.array([-0.28, 0.1, 0.001, -0.001, 0.0])
        models.append(CameraModel(f"camera{number}", (1280, 1024), matrix, lens, rotation, -rotation @ centre))
    return Calibration(models)


def corrupted(xy: _Float64, share: float, random: np.random.Generator) -> _Float64:
    """Move this share of all views by 30 to 200 px; with 1, one view of every point."""
    lies = np.zeros(xy.shape[:2], bool)
    if share >= 1:
        lies[random.integers(xy.shape[0], size=xy.shape[1]), np.arange(xy.shape[1])] = True
    else:
        lies = random.random(xy.shape[:2]) < share
    angle = random.uniform(0, 2 * np.pi, lies.sum())
    bad = xy.copy()
    bad[lies] += random.uniform(30, 200, (lies.sum(), 1)) * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    return bad


def speed(rounds: int) -> dict[str, dict[str, float]]:
    """Time of one call, us, each row in turn with the others."""
    random = np.random.default_rng(0)
    calibration = ring()
    xy = calibration.project(random.uniform(-100, 100, (_POINTS, 3)))
    xy += random.normal(0, _NOISE_PX, xy.shape)
    bad = corrupted(xy, 1, random)
    triangulator = Triangulator(calibration, _POINTS)
    rows: dict[str, Callable[[], Any]] = {
        "4 views, clean": lambda: triangulator.run(xy, None),
        "4 views, one of every point lies": lambda: triangulator.run(bad, None),
        "OpenCV, 2 of the views, clean": lambda: _opencv(calibration, xy),
    }
    if find_spec("aniposelib") is not None:
        rows |= _aniposelib(calibration, xy, bad)
    taken: dict[str, list[float]] = {name: [] for name in rows}
    for name, call in rows.items():
        call()
        slow = "RANSAC" in name
        taken[name] = [_time(call) for _ in range(5 if slow else 50)]
    for turn in range(rounds):
        for name, call in rows.items():
            if "RANSAC" not in name or turn % 100 == 0:
                taken[name].append(_time(call))
    return {
        name: {share: round(float(np.percentile(values, at)), 1) for share, at in (("p50", 50), ("p99", 99))}
        for name, values in taken.items()
    }


def _time(call: Callable[[], Any]) -> float:
    began = now_ns()
    call()
    return (now_ns() - began) / 1000


def _opencv(calibration: Calibration, xy: _Float64) -> Any:
    rays, poses = [], []
    for model, points in zip(calibration.cameras[:2], xy, strict=False):
        rays.append(cv2.undistortPoints(points[None], model.matrix, model.distortion).reshape(-1, 2).T)
        poses.append(np.hstack([model.rotation, model.translation[:, None]]))
    return cv2.triangulatePoints(poses[0], poses[1], rays[0], rays[1])


def _aniposelib(calibration: Calibration, xy: _Float64, bad: _Float64) -> dict[str, Callable[[], Any]]:
    from aniposelib.cameras import Camera, CameraGroup

    cameras = [
        Camera(
            matrix=model.matrix,
            dist=model.distortion,
            size=model.size,
            rvec=cv2.Rodrigues(model.rotation)[0].ravel(),
            tvec=model.translation,
            name=model.name,
        )
        for model in calibration.cameras
    ]
    group = CameraGroup(cameras)
    return {
        "aniposelib, fast, clean": lambda: group.triangulate(xy, undistort=True, progress=False, fast=True),
        "aniposelib, RANSAC, one of every point lies": lambda: group.triangulate_ransac(bad, progress=False),
    }


def errors(points: int) -> dict[str, dict[str, float]]:
    """Median distance to the truth, mm, and the share of points that are given up, for shares of lying views."""
    random = np.random.default_rng(1)
    calibration = ring()
    truth = random.uniform(-100, 100, (points, 3))
    xy = calibration.project(truth) + random.normal(0, _NOISE_PX, (_CAMERAS, points, 2))
    found = {}
    for share in (0.0, 0.05, 0.1, 0.2, 0.3):
        bad = corrupted(xy, share, random)
        honest = np.where((bad != xy).any(axis=-1, keepdims=True), np.nan, xy)
        row = {}
        for name, given in (("lies", bad), ("left_out", honest)):
            distance = np.linalg.norm(triangulate(calibration, given)[0] - truth, axis=1)
            row[f"{name}_median_mm"] = round(float(np.nanmedian(distance)), 4)
            row[f"{name}_given_up"] = round(float(np.isnan(distance).mean()), 4)
        found[f"{share:.0%}"] = row
    return found


def main() -> int:
    """Measure, print two tables, write JSON."""
    parser = make_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--points", type=int, default=20_000, help="for the errors")
    arguments = parser.parse_args()
    result: dict[str, Any] = {"us": speed(arguments.rounds), "errors": errors(arguments.points)}
    print(f"{f'{_POINTS} keypoints, us':<48}{'p50':>10}{'p99':>10}")
    for name, taken in result["us"].items():
        print(f"  {name:<46}{taken['p50']:>10.1f}{taken['p99']:>10.1f}")
    print(f"\n{'error, median mm (given up)':<32}{'views lie':>18}{'the same, left out':>22}")
    for share, row in result["errors"].items():
        print(f"  {share + ' of the views':<30}", end="")
        for name, width in (("lies", 10), ("left_out", 14)):
            print(f"{row[f'{name}_median_mm']:>{width}.3f} ({row[f'{name}_given_up']:.1%})", end="")
        print()
    if arguments.report is not None:
        result |= {"versions": reports.versions() | reports.versions(("aniposelib",)), "machine": reports.machine()}
        reports.write(result, arguments.report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
