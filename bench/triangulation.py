"""Triangulation: what one call costs for 12 keypoints of 4 cameras, and how much lying views spoil.

``python -m poseloop.bench.triangulation --aniposelib PYTHON --report FILE.json``

The rig is made up (four cameras with barrel distortion around a stage), so the truth is known; noise is 1 px. All rows
are timed in turns in one run: the linear solution alone, the one that a rig uses on clean views and with one lying view
in every point, and OpenCV's two-view triangulation of the same points. All include undistortion. With
``--aniposelib`` its ``triangulate`` in the fast mode (clean views) and its RANSAC (lying views) take part, in a process
and an environment of their own: PYTHON is the interpreter of one that holds aniposelib
(``python -m venv peer``, ``peer/bin/python -m pip install aniposelib``).
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from poseloop.bench.options import make_parser, save
from poseloop.live.clock import now_ns
from poseloop.live.geometry import Calibration, triangulate
from poseloop.live.geometry.calibration import CameraModel
from poseloop.live.geometry.triangulation import Triangulator

__all__ = ["CLEAN", "LIES", "PLAIN", "errors", "main", "speed"]

_CAMERAS = 4
_POINTS = 12
_NOISE_PX = 1.0
_WORKER = Path(__file__).parent / "peers" / "aniposelib_worker.py"
PLAIN, CLEAN, LIES = "linear only, clean", "robust, clean", "robust, one view of every point lies"
_FAST, _RANSAC = "aniposelib, fast, clean", "aniposelib, RANSAC, one of every point lies"

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


def speed(rounds: int, aniposelib: Path | None = None) -> dict[str, Any]:
    """Time of one call, us, each row in turn with the others; how far its points are off; how often it is faster.

    Args:
        rounds: calls of each row; of RANSAC a hundredth.
        aniposelib: Python of an environment that holds it; None = without.
    """
    random = np.random.default_rng(0)
    calibration = ring()
    truth = random.uniform(-100, 100, (_POINTS, 3))
    xy = calibration.project(truth)
    xy += random.normal(0, _NOISE_PX, xy.shape)
    bad = corrupted(xy, 1, random)
    plain = Triangulator(calibration, _POINTS, robust=False)
    robust = Triangulator(calibration, _POINTS)
    with contextlib.ExitStack() as stack:
        rows: dict[str, Callable[[], tuple[float, _Float64]]] = {
            PLAIN: lambda: _timed(lambda: plain.run(xy, None)[0]),
            CLEAN: lambda: _timed(lambda: robust.run(xy, None)[0]),
            LIES: lambda: _timed(lambda: robust.run(bad, None)[0]),
            "OpenCV, 2 of the views, clean": lambda: _timed(lambda: _opencv(calibration, xy)),
        }
        versions: dict[str, str] = {}
        if aniposelib is not None:
            ask, versions = stack.enter_context(_worker(aniposelib, calibration, {"clean": xy, "lies": bad}))
            rows |= {_FAST: lambda: ask("fast clean"), _RANSAC: lambda: ask("ransac lies")}
        taken: dict[str, list[float]] = {name: [] for name in rows}
        off: dict[str, float] = {}
        # Compiles, and shows that all solve the same problem.
        for name, call in rows.items():
            off[name] = float(np.nanmedian(np.linalg.norm(call()[1] - truth, axis=1)))
        for turn in range(rounds):
            for name, call in rows.items():
                if name == _RANSAC and turn % 100:
                    continue
                if name != _RANSAC:
                    # Whoever comes after a slow one or another process would find cold caches.
                    call()
                taken[name].append(call()[0])
    us = {
        name: {"p50": _share(values, 50), "p99": _share(values, 99), "error_mm": round(off[name], 3)}
        for name, values in taken.items()
    }
    ratios = {
        f"{slow} / {quick}": round(us[slow]["p50"] / us[quick]["p50"], 1)
        for slow, quick in ((_FAST, CLEAN), (_RANSAC, LIES))
        if slow in us
    }
    return {"us": us, "ratios": ratios, "peer": versions}


def _share(values: list[float], at: int) -> float:
    return round(float(np.percentile(values, at)), 1)


def _timed(call: Callable[[], _Float64]) -> tuple[float, _Float64]:
    began = now_ns()
    points = call()
    return (now_ns() - began) / 1000, points


def _opencv(calibration: Calibration, xy: _Float64) -> _Float64:
    rays, poses = [], []
    for model, points in zip(calibration.cameras[:2], xy, strict=False):
        rays.append(cv2.undistortPoints(points[None], model.matrix, model.distortion).reshape(-1, 2).T)
        poses.append(np.hstack([model.rotation, model.translation[:, None]]))
    found = np.asarray(cv2.triangulatePoints(poses[0], poses[1], rays[0], rays[1]), np.float64)
    middle: _Float64 = (found[:3] / found[3]).T
    return middle


@contextlib.contextmanager
def _worker(
    python: Path, calibration: Calibration, views: dict[str, _Float64]
) -> Iterator[tuple[Callable[[str], tuple[float, _Float64]], dict[str, str]]]:
    """Start aniposelib's process; gives what asks it, and its versions."""
    cameras = [
        {
            "name": model.name,
            "size": model.size,
            "matrix": model.matrix.tolist(),
            "distortion": model.distortion.tolist(),
            "rotation_vector": cv2.Rodrigues(model.rotation)[0].ravel().tolist(),
            "translation": model.translation.tolist(),
        }
        for model in calibration.cameras
    ]
    with tempfile.TemporaryDirectory() as folder:
        problem = Path(folder) / "problem.json"
        problem.write_text(json.dumps({"cameras": cameras, "views": {n: xy.tolist() for n, xy in views.items()}}))
        with subprocess.Popen(
            [python, _WORKER, problem], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise SystemExit(f"{python}: aniposelib could not be started; what it said stands above")

            def ask(words: str) -> tuple[float, _Float64]:
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.write(words + "\n")
                process.stdin.flush()
                answer = json.loads(process.stdout.readline())
                return answer["us"], np.array([p or [np.nan] * 3 for p in answer["xyz"]])

            try:
                yield ask, json.loads(line)["versions"]
            finally:
                process.stdin.close()


def errors(points: int, seeds: int) -> dict[str, dict[str, Any]]:
    """How much lying views cost, over several seeds.

    Returns:
        Share of lying views → for ``lies`` (the views as they are) and ``left_out`` (an oracle that knows which lie):
        median distance to the truth, mm, and share of points that are given up, means over the seeds; ``growth``, of
        the median over that without lies, for each seed.
    """
    calibration = ring()
    shares = (0.0, 0.05, 0.1, 0.2, 0.3)
    medians = np.empty((len(shares), 2, seeds))
    given_up = np.empty_like(medians)
    for seed in range(seeds):
        random = np.random.default_rng(seed + 1)
        truth = random.uniform(-100, 100, (points, 3))
        xy = calibration.project(truth) + random.normal(0, _NOISE_PX, (_CAMERAS, points, 2))
        for row, share in enumerate(shares):
            bad = corrupted(xy, share, random)
            honest = np.where((bad != xy).any(axis=-1, keepdims=True), np.nan, xy)
            for column, views in enumerate((bad, honest)):
                distance = np.linalg.norm(triangulate(calibration, views)[0] - truth, axis=1)
                medians[row, column, seed] = np.nanmedian(distance)
                given_up[row, column, seed] = np.isnan(distance).mean()
    growth = medians / medians[0] - 1
    return {
        f"{share:.0%}": {
            name: {
                "median_mm": round(float(medians[row, column].mean()), 4),
                "given_up": round(float(given_up[row, column].mean()), 4),
                "growth": [round(float(one), 4) for one in growth[row, column]],
            }
            for column, name in enumerate(("lies", "left_out"))
        }
        for row, share in enumerate(shares)
    }


def main() -> int:
    """Measure, print two tables, write JSON."""
    parser = make_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--points", type=int, default=20_000, help="of each seed, for the errors")
    parser.add_argument("--seeds", type=int, default=5, help="for the errors")
    parser.add_argument("--aniposelib", type=Path, metavar="PYTHON", help="of an environment that holds it")
    arguments = parser.parse_args()
    result = speed(arguments.rounds, arguments.aniposelib) | {"errors": errors(arguments.points, arguments.seeds)}
    print(f"{f'{_POINTS} keypoints x {_CAMERAS} cameras, us':<48}{'p50':>12}{'p99':>12}{'error mm':>10}")
    for name, taken in result["us"].items():
        print(f"  {name:<46}{taken['p50']:>12,.1f}{taken['p99']:>12,.1f}{taken['error_mm']:>10.3f}")
    for name, ratio in result["ratios"].items():
        print(f"  {name}: {ratio:,.1f}")
    print(f"\n{'error, median mm (growth) [given up]':<38}{'views lie':>30}{'the same, left out':>30}")
    for share, row in result["errors"].items():
        print(f"  {share + ' of the views':<36}", end="")
        for name in ("lies", "left_out"):
            one = row[name]
            grown = f"{min(one['growth']):+.1%} to {max(one['growth']):+.1%}"
            print(f"{one['median_mm']:>8.3f} ({grown}) [{one['given_up']:.1%}]", end="")
        print()
    save(result, arguments.report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
