"""``poseloop triangulate CALIBRATION CAMERA=FILE…``: 2D keypoints of several videos to points in the world."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from poseloop.live.errors import ConfigError, DataError
from poseloop.live.geometry.calibration import Calibration
from poseloop.live.geometry.drift import POSES, Drift
from poseloop.live.geometry.triangulation import GATE_PX, Triangulator
from poseloop.live.output.report import as_world, check_target
from poseloop.train.tracks import read_tracks, together

__all__ = ["HELP", "add_arguments", "run", "triangulate_tracks"]

HELP = "turn the 2D keypoints of several cameras' videos into points in the world, by the kernel that a rig uses"

_Float64 = npt.NDArray[np.float64]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("calibration", type=Path, help="the cameras' calibration (TOML)")
    parser.add_argument(
        "tracks",
        nargs="+",
        metavar="CAMERA=FILE",
        help="name of a camera in the calibration, and its keypoints: SLEAP's analysis h5, DeepLabCut's h5 or CSV",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="where to write: .csv or .h5")
    parser.add_argument(
        "--score", type=float, default=0.5, help="views with a lower score do not count (default: %(default)s)"
    )
    parser.add_argument(
        "--gate-px",
        type=float,
        default=GATE_PX,
        metavar="PX",
        help="a view further than this from where the other cameras put a point does not count (default: %(default)s)",
    )
    parser.add_argument(
        "--corrected",
        action="store_true",
        help="people have set or corrected the points: all count alike, whatever score the network had given",
    )
    parser.add_argument("--animal", help="which one, by its name in the files, where there are several")


def run(arguments: argparse.Namespace) -> int:
    """Triangulate, write the table, say how well the cameras agree."""
    if arguments.out.suffix.lower() not in (".csv", ".h5"):
        raise ConfigError(f"--out: expected a file that ends in .csv or .h5, but got {arguments.out}")
    if not 0 <= arguments.score <= 1:
        raise ConfigError(f"--score: expected 0..1, but got {arguments.score:g}")
    if not arguments.gate_px > 0:
        raise ConfigError(f"--gate-px: expected more than 0, but got {arguments.gate_px:g}")
    check_target(arguments.out)
    files = _files(arguments.tracks)
    whole = Calibration.load(arguments.calibration)
    calibration = whole.select(list(files))
    if unused := [name for name in whole.names if name not in files]:
        print(f"cameras of the calibration without tracks: {', '.join(unused)}", file=sys.stderr)
    tracks = {camera: read_tracks(file, arguments.animal) for camera, file in files.items()}
    keypoints, xy, score = together(tracks)
    if left := {name for one in tracks.values() for name in one.keypoints} - set(keypoints):
        print(f"left out, since not all cameras have them: {', '.join(sorted(left))}", file=sys.stderr)
    if arguments.corrected:
        # A file that was corrected may keep the network's scores: they would weigh down what a person has moved.
        score = np.where(np.isnan(score), np.nan, 1.0)
    _check_seen(list(files), xy, score, arguments.score)
    columns, world = triangulate_tracks(calibration, keypoints, xy, score, arguments.score, arguments.gate_px)
    if not any(columns[f"{name}_ncams"].any() for name in keypoints):
        raise DataError(
            f"no two cameras agree on any point within {arguments.gate_px:g} px: are calibration and tracks of the "
            "same rig, and each camera's tracks given to its own name?"
        )
    _write(columns, arguments.out)
    print(f"{len(xy[0])} frames, {len(keypoints)} keypoints, {len(files)} cameras")
    print("\n".join(as_world(world)))
    print(f"wrote {arguments.out}")
    return 0


def triangulate_tracks(
    calibration: Calibration,
    keypoints: tuple[str, ...],
    xy: _Float64,
    score: _Float64,
    least_score: float = 0.0,
    gate_px: float = GATE_PX,
) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    """Triangulate frame by frame, as a rig does pose by pose.

    Args:
        calibration: C cameras, in the order of ``xy``.
        keypoints: K names.
        xy: (C, F, K, 2) px; NaN = not seen.
        score: (C, F, K).
        least_score: views with a lower one do not count.
        gate_px: see `poseloop.live.geometry.triangulation`.

    Returns:
        Columns as anipose names them, (F,) each: of every keypoint ``_x``, ``_y``, ``_z`` in the calibration's unit,
        ``_error`` px, ``_ncams`` and ``_score``, then ``fnum``, the frame's number from 0 on; and how well the cameras
        agree (`poseloop.live.geometry.drift.Drift.as_report`).
    """
    frames, count = xy.shape[1:3]
    triangulator = Triangulator(calibration, count, gate_px)
    drift = Drift(calibration.names, count, every=max(1, frames // POSES))
    # Written this way round since a NaN score is not above anything.
    weights = np.where(score >= least_score, score, np.nan)
    xyz, mean_score = np.empty((frames, count, 3)), np.empty((frames, count))
    residual_px, views = np.empty((frames, count)), np.empty((frames, count), np.uint8)
    for f in range(frames):
        xyz[f], residual_px[f], views[f] = triangulator.run(xy[:, f], weights[:, f])
        mean_score[f] = triangulator.score
        drift.add(triangulator.errors_px)
    columns: dict[str, npt.NDArray[Any]] = {}
    for k, name in enumerate(keypoints):
        columns |= {f"{name}_{axis}": xyz[:, k, number] for number, axis in enumerate("xyz")}
        columns |= {
            f"{name}_error": residual_px[:, k],
            f"{name}_ncams": views[:, k],
            f"{name}_score": mean_score[:, k],
        }
    columns["fnum"] = np.arange(frames)
    return columns, drift.as_report()


def _check_seen(cameras: list[str], xy: _Float64, score: _Float64, least_score: float) -> None:
    """Refuse tracks of which nothing can come.

    Raises:
        DataError: no point is seen by two cameras at a time; says what each of them sees.
    """
    seen = np.isfinite(xy).all(axis=-1) & (score >= least_score)
    if not (seen.sum(axis=0) >= 2).any():
        counts = ", ".join(f"{camera} {part.mean():.1%}" for camera, part in zip(cameras, seen, strict=True))
        raise DataError(
            f"no point is seen by two cameras at a time with a score of {least_score:g} or more; of their points the "
            f"cameras see: {counts}. See --score and --corrected"
        )


def _files(given: list[str]) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for text in given:
        camera, equals, file = text.partition("=")
        if not (camera and equals and file):
            raise ConfigError(f"expected CAMERA=FILE, such as top=top.analysis.h5, but got {text!r}")
        if camera in files:
            raise ConfigError(f"expected one file for each camera, but {camera} is given twice")
        files[camera] = Path(file)
    if len(files) < 2:
        raise ConfigError("expected the tracks of two cameras or more, but got one")
    return files


def _write(columns: Mapping[str, npt.NDArray[Any]], file: Path) -> None:
    """Write the table whole or not at all."""
    import pandas

    table = pandas.DataFrame(columns)
    part = file.with_name(file.name + ".part")
    try:
        if file.suffix.lower() == ".csv":
            table.to_csv(part, index=False)
        else:
            table.to_hdf(part, key="points3d", mode="w")
        part.replace(file)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise DataError(f"{file}: the points cannot be written: {error.strerror}") from error
