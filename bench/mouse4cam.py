"""The four-camera rig `docs/rigs/mouse4cam.toml`: how far off its points are, in the pictures and in the world.

``poseloop bench mouse4cam --labels FOLDER`` writes the first 80 frames' points, which people have corrected, as a
project for ``poseloop train``. ``poseloop bench mouse4cam --report FILE.json`` looks at frames 80 to 119, which the
model was not trained on, as the rig does (its regions, size, gate, calibration and kernel), and compares:

1. *In the pictures*: each camera's points with the corrected ones, px of the full picture, and whether the score tells
   right from wrong.
2. *In the world*: the rig's points with those that the same kernel makes of the corrected ones, mm. Since the mouse
   hardly moves, a guess that has learned nothing but the mean pose of the frames trained on stands beside it.
3. *Where no mouse is*: the pictures of the board, by the same cameras, before the cage was put in.

The recordings are the test data of the project sleap-anipose: 4 cameras, 120 frames. POSELOOP_DATA is the folder that
holds `sleap_anipose_mouse4cam/`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from poseloop.bench import mouse4cam_plots
from poseloop.bench.options import make_parser, save
from poseloop.drivers.replay.video import Video
from poseloop.drivers.sim import projects
from poseloop.live.config import Rig, load_rig
from poseloop.live.errors import DataError
from poseloop.live.geometry import Calibration
from poseloop.live.geometry.triangulation import Triangulator
from poseloop.live.types import CameraFormat, Colour, Image, Keypoints
from poseloop.live.vision.rig import RigNetwork
from poseloop.train.pictures import read as read_picture
from poseloop.train.tracks import read_tracks

__all__ = ["HELD_OUT", "LEARNED", "RIGHT_PX", "WRONG_PX", "Seen", "corrected", "judge", "look", "main", "write_labels"]

LEARNED = range(80)
"""Frames that the model was trained on."""
HELD_OUT = range(80, 120)
"""Frames that it is judged on."""
RIGHT_PX = 10.0
"""A point nearer to the corrected one than this is right, in the full picture."""
WRONG_PX = 20.0
"""One further away than this is wrong."""

_RIG = Path("docs/rigs/mouse4cam.toml")
_REDUCED = 2
"""Raw pixels for one of the network's, along x and along y: what `model.size` of the rig makes of `model.roi`."""
_SHOWN = 100
"""Frame of the picture with the pose drawn in."""
_BODY = ("Nose", "TTI")
"""Nose and base of the tail (tail-torso interface)."""

_Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """Points of F frames, as a rig of C cameras sees them; NaN = not seen, or not by two cameras that agree."""

    xy: _Float64 = field(repr=False)
    """(C, F, K, 2) px in the full pictures, those under the gate, too."""
    score: _Float64 = field(repr=False)
    """(C, F, K)."""
    xyz: _Float64 = field(repr=False)
    """(F, K, 3) mm, of what is over the gate."""
    views: npt.NDArray[np.int64] = field(repr=False)
    """(F, K): how many cameras agree."""


def session() -> Path:
    """Return the folder of the recordings.

    Raises:
        DataError: it is not there.
    """
    folder = Path(os.environ.get("POSELOOP_DATA", ".")) / "sleap_anipose_mouse4cam" / "minimal_session"
    if not folder.is_dir():
        raise DataError(f"{folder}: expected the recordings here; POSELOOP_DATA is the folder they are in")
    return folder


def corrected(cameras: Iterable[str], keypoints: Sequence[str] | None = None) -> tuple[tuple[str, ...], _Float64]:
    """Read the points that people have corrected.

    Args:
        cameras: C names.
        keypoints: K names, in the order wanted; None = as in the files.

    Returns:
        The names, and (C, F, K, 2) px in the full pictures; NaN = nobody has set it.
    """
    tracks = [read_tracks(session() / name / f"minimal_{name}_proofread.analysis.h5") for name in cameras]
    names = tuple(keypoints or tracks[0].keypoints)
    return names, np.stack([one.xy[:, [one.keypoints.index(name) for name in names]] for one in tracks])


def pictures(camera: str) -> Iterator[Image]:
    """Decode a camera's pictures (H, W), as a rig that replays them does."""
    video = Video(session() / camera / f"minimal_{camera}.mp4", Colour.GREY, None)
    try:
        size = video.open()
        while video.advance() is not None:
            picture = np.empty((size.height, size.width), np.uint8)
            video.copy_to(picture)
            yield picture
    finally:
        video.close()


def write_labels(project: Path, cameras: Iterable[str], frames: range) -> None:
    """Write the corrected points of some frames as a project of labels, in DeepLabCut's layout.

    Pictures are halved as the rig halves them: a network learns the size that it will see.

    Raises:
        DataError: the recordings are not there, or a file cannot be written.
    """
    for camera in cameras:
        names, points = corrected([camera])
        shots = islice(pictures(camera), frames.start, frames.stop)
        # Pixel centres are integers, before and after.
        halved = (points[0, frames.start : frames.stop] + 0.5) / _REDUCED - 0.5
        projects.write_video(
            project, "sleap", camera, names, zip(map(_reduced, shots), halved, strict=True), frames.start
        )
    projects.write_config(project, "mouse4cam", "sleap", names)


def _reduced(picture: Image) -> Image:
    size = (picture.shape[1] // _REDUCED, picture.shape[0] // _REDUCED)
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


class _Eyes:
    """The rig's networks, with and without the gate."""

    def __init__(self, rig: Rig) -> None:
        ungated = rig.model.model_copy(update={"gate": 0.0})
        self._network = RigNetwork(rig.model_copy(update={"model": ungated}))
        self._cameras = len(rig.cameras)

    def __call__(self, sets: Iterable[Sequence[Image]]) -> tuple[tuple[str, ...], _Float64, _Float64, float]:
        """Names, xy (C, F, K, 2), score (C, F, K), and the model's gate."""
        found: list[Keypoints] = []
        for images in sets:
            if not found:
                height, width = images[0].shape[:2]
                self._network.open([CameraFormat(width, height, Colour.GREY, 30.0)] * self._cameras)
            self._network.load(images)
            self._network.run()
            found.append(self._network.decode())
        self._network.close()
        xy = np.stack([one.xy[:, 0] for one in found], axis=1).astype(np.float64)
        score = np.stack([one.score[:, 0] for one in found], axis=1).astype(np.float64)
        return self._network.keypoints, xy, np.nan_to_num(score), self._network.info.gate


def look(rig: Rig, frames: range) -> tuple[tuple[str, ...], float, Seen]:
    """Look at frames of the recordings as a rig does.

    Returns:
        The model's keypoints and gate, and what was seen.
    """
    sets = zip(*(islice(pictures(name), frames.start, frames.stop) for name in rig.cameras), strict=True)
    keypoints, xy, score, gate = _Eyes(rig)(sets)
    passed = np.where((score >= gate)[..., None], xy, np.nan)
    xyz, views = triangulate(rig, passed, score)
    return keypoints, gate, Seen(xy, score, xyz, views)


def triangulate(rig: Rig, xy: _Float64, score: _Float64 | None = None) -> tuple[_Float64, npt.NDArray[np.int64]]:
    """Points in the world (F, K, 3), mm, and views (F, K), of xy (C, F, K, 2), with a rig's calibration and gate."""
    if rig.geometry is None:
        raise DataError("expected a rig with [geometry]")
    calibration = Calibration.load(rig.geometry.calibration).select(list(rig.cameras))
    triangulator = Triangulator(calibration, xy.shape[2], rig.geometry.gate_px)
    found = [triangulator.run(xy[:, f], None if score is None else score[:, f]) for f in range(xy.shape[1])]
    return np.stack([xyz for xyz, _, _ in found]), np.stack([views for _, _, views in found]).astype(np.int64)


def judge(rig: Rig, keypoints: Sequence[str], gate: float, seen: Seen, frames: range) -> dict[str, Any]:
    """Compare what a rig has seen with the corrected points.

    Args:
        rig: cameras, calibration and gate between views are taken from it.
        keypoints: K names.
        gate: score from which on a point counts.
        seen: the points of these frames.
        frames: which.

    Returns:
        A report: ``pictures`` per camera, ``score``, ``world``. There, ``agreed`` points are those that all cameras in
        which people have set them agree on; which cameras the kernel believes for the others is nearly chance.
    """
    _, label = corrected(rig.cameras, keypoints)
    truth, agreed = triangulate(rig, label)
    now = slice(frames.start, frames.stop)
    off_px = np.linalg.norm(seen.xy - label[:, now], axis=-1)
    passed = seen.score >= gate
    off_mm = np.linalg.norm(seen.xyz - truth[now], axis=-1)
    together = agreed[now] == np.isfinite(label[:, now, :, 0]).sum(axis=0)
    mean_pose_mm = np.linalg.norm(np.nanmean(truth[LEARNED.start : LEARNED.stop], axis=0) - truth[now], axis=-1)
    body = [list(keypoints).index(name) for name in _BODY]
    return {
        "pictures": {
            name: {**_distances(off_px[c]), "of_those_that_pass": _distances(np.where(passed[c], off_px[c], np.nan))}
            for c, name in enumerate(rig.cameras)
        },
        "score": _score(off_px, passed, gate),
        "world": {
            "reference_points": int(np.isfinite(truth[now, :, 0]).sum()),
            "found": _share(np.isfinite(seen.xyz[..., 0]), np.isfinite(truth[now, :, 0])),
            "mm": _distances(off_mm),
            "agreed_mm": _distances(off_mm[together]),
            "disputed_mm": _distances(off_mm[~together]),
            "views": {str(n): int((seen.views == n).sum()) for n in range(len(rig.cameras) + 1)},
            "labels_views": {str(n): int((agreed[now] == n).sum()) for n in range(len(rig.cameras) + 1)},
            "mean_pose_mm": _distances(mean_pose_mm),
            "mean_pose_agreed_mm": _distances(mean_pose_mm[together]),
            "body_mm": {"rig": _length(seen.xyz, body), "labels": _length(truth[now], body)},
            "per_keypoint": {
                name: {
                    **_distances(off_mm[:, k]),
                    "views": round(float(seen.views[:, k].mean()), 2),
                    "labels_views": round(float(agreed[now][:, k].mean()), 2),
                    "agreed": round(float(together[:, k].mean()), 2),
                }
                for k, name in enumerate(keypoints)
            },
        },
    }


def without_mouse(rig: Rig, gate: float) -> dict[str, Any]:
    """Share of points that pass in the pictures of the board: there is no mouse, but a hand."""
    folders = [session() / name / "calibration_images" for name in rig.cameras]
    files = [sorted(folder.glob("*.jpg"), key=lambda file: int(file.stem.rsplit("-", 1)[-1])) for folder in folders]
    sets = ([read_picture(file, Colour.GREY) for file in moment] for moment in zip(*files, strict=True))
    _, _, score, _ = _Eyes(rig)(sets)
    return {
        "pictures": score.shape[0] * score.shape[1],
        "points": score.size,
        "passed": int((score >= gate).sum()),
        "highest": round(float(score.max()), 4),
    }


def _distances(values: _Float64) -> dict[str, float | int]:
    values = values[np.isfinite(values)]
    if not len(values):
        return {"n": 0}
    median, p95 = np.percentile(values, (50, 95))
    return {
        "n": len(values),
        "mean": round(float(values.mean()), 3),
        "median": round(float(median), 3),
        "p95": round(float(p95), 3),
        "max": round(float(values.max()), 3),
    }


def _score(off_px: _Float64, passed: npt.NDArray[np.bool_], gate: float) -> dict[str, Any]:
    # Comparisons with NaN (nobody has set the point) are False: neither right nor wrong.
    right, wrong, unset = off_px < RIGHT_PX, off_px > WRONG_PX, np.isnan(off_px)
    return {
        "gate": gate,
        "right": int(right.sum()),
        "right_that_pass": _share(passed, right),
        "wrong": int(wrong.sum()),
        "wrong_that_pass": _share(passed, wrong),
        "passed": int(passed.sum()),
        "passed_that_are_wrong": _share(wrong, passed),
        "unset": int(unset.sum()),
        "unset_that_pass": _share(passed, unset),
    }


def _share(what: npt.NDArray[np.bool_], among: npt.NDArray[np.bool_]) -> float | None:
    return round(float(what[among].mean()), 4) if among.any() else None


def _length(xyz: _Float64, ends: Sequence[int]) -> dict[str, float | int]:
    length = np.linalg.norm(xyz[:, ends[0]] - xyz[:, ends[1]], axis=-1)
    return {**_distances(length), "sd": round(float(np.nanstd(length)), 3)}


def _table(report: dict[str, Any]) -> str:
    lines = ["in the pictures, px     n   mean  median    95 %     max"]
    lines += [f"  {name:18}{_cells(row)}" for name, row in report["pictures"].items()]
    world = report["world"]
    lines.append("in the world, mm        n   mean  median    95 %     max   views   agreed on")
    for name, row in world["per_keypoint"].items():
        lines.append(f"  {name:18}{_cells(row)}   {row['views']:5.2f}   {100 * row['agreed']:5.0f} %")
    rows = {"all": "mm", "where all agree": "agreed_mm", "where they do not": "disputed_mm"}
    rows |= {"mean pose": "mean_pose_mm", "  where all agree": "mean_pose_agreed_mm"}
    lines += [f"  {name:18}{_cells(world[key])}" for name, key in rows.items()]
    for who, row in world["body_mm"].items():
        lines.append(f"  nose to tail base, {who:7}{row['median']:.1f} mm, sd {row['sd']:.1f}")
    lines.append(f"found {100 * world['found']:.1f} %; by how many cameras agree: {world['views']}")
    lines.append(f"the same of the corrected points: {world['labels_views']}")
    lines += [f"score: {report['score']}", f"without a mouse: {report['without_mouse']}"]
    return "\n".join(lines)


def _cells(row: dict[str, Any]) -> str:
    return f"{row['n']:7}" + "".join(f"{row[key]:8.2f}" for key in ("mean", "median", "p95", "max") if key in row)


def _draw(rig: Rig, folder: Path) -> None:
    frames = range(HELD_OUT.stop)
    keypoints, gate, seen = look(rig, frames)
    assert rig.geometry is not None
    calibration = Calibration.load(rig.geometry.calibration).select(list(rig.cameras))
    shots = [next(islice(pictures(name), _SHOWN, None)) for name in rig.cameras]
    passed = np.where((seen.score >= gate)[..., None], seen.xy, np.nan)
    folder.mkdir(parents=True, exist_ok=True)
    mouse4cam_plots.reprojected(
        shots, calibration, keypoints, passed[:, _SHOWN], seen.xyz[_SHOWN], folder / "mouse4cam_pose.jpg"
    )
    truth, _ = triangulate(rig, corrected(rig.cameras, keypoints)[1])
    for table in rig.protocols.values():
        mouse4cam_plots.trajectory(
            keypoints,
            seen.xyz,
            truth,
            HELD_OUT.start,
            table.options.keypoint,
            table.options.box,
            folder / "mouse4cam_way.png",
        )


def _frames(text: str) -> range:
    first, _, end = text.partition(":")
    try:
        return range(int(first), int(end))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected FIRST:END, such as 0:80, but got {text!r}") from None


def main(arguments: list[str] | None = None) -> int:
    """Write labels, or judge and print a table."""
    parser = make_parser(__doc__)
    parser.add_argument("--rig", type=Path, default=_RIG, help="default: %(default)s")
    parser.add_argument("--labels", type=Path, metavar="FOLDER", help="write labels to train with here; judge nothing")
    parser.add_argument("--frames", type=_frames, default=LEARNED, help="with --labels, FIRST:END (default: 0:80)")
    parser.add_argument("--model", type=Path, help="another one than the rig's")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="write pictures of poses in the world here")
    given = parser.parse_args(arguments)
    rig = load_rig(given.rig)
    if given.labels is not None:
        write_labels(given.labels, rig.cameras, given.frames)
        report: dict[str, Any] = {"project": str(given.labels), "frames": len(given.frames)}
    else:
        if given.model is not None:
            rig = rig.model_copy(update={"model": rig.model.model_copy(update={"file": given.model})})
        keypoints, gate, seen = look(rig, HELD_OUT)
        report = {**judge(rig, keypoints, gate, seen, HELD_OUT), "without_mouse": without_mouse(rig, gate)}
        print(_table(report))
        if given.plots is not None:
            _draw(rig, given.plots)
    save(report, given.report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
