"""``poseloop predict MODEL VIDEO...``: the points of every frame, in files that DeepLabCut and SLEAP read."""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from poseloop.live.errors import DataError
from poseloop.live.output import report as reports
from poseloop.live.types import Float32
from poseloop.live.vision import Network
from poseloop.train import predict, trackfiles, videos
from poseloop.train.posestore import PoseStore
from poseloop.train.predict import Target
from poseloop.train.progress import Progress

__all__ = ["HELP", "add_arguments", "run"]

HELP = "find the points in every frame of videos; an ended run goes on where it was"

_MAX_THREADS = 8
_BATCH = {"cpu": 4}
_GPU_BATCH = 16


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("model", help="a name in the zoo, or an .onnx file")
    parser.add_argument("videos", nargs="+", metavar="VIDEO", help="videos, folders of them, or patterns")
    parser.add_argument(
        "--to",
        nargs="+",
        choices=tuple(predict.FORMATS),
        default=["csv"],
        help="csv and h5 as DeepLabCut writes them, SLEAP's analysis h5; the h5 files need the extra `tracks` "
        "(default: csv)",
    )
    parser.add_argument("--overlay", action="store_true", help="write the video with the points drawn in, too (.mp4)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for the results (default: beside each video)")
    parser.add_argument("--individuals", type=int, default=1, metavar="N", help="animals to look for (default: 1)")
    parser.add_argument("--again", action="store_true", help="also videos whose results are there already")
    parser.add_argument(
        "--keep-damaged", action="store_true", help="of a damaged video, write the points up to the damage"
    )
    parser.add_argument("--provider", default="cpu", help="what runs the model: cpu, cuda, tensorrt, openvino")
    parser.add_argument(
        "--threads", type=int, help=f"for the model (default: all cores but one, {_MAX_THREADS} at most)"
    )
    parser.add_argument("--batch", type=int, help="pictures in one run (default: 4 on a CPU, 16 elsewhere)")
    parser.add_argument("--report", type=Path, metavar="FILE.json", help="write all numbers here")


@dataclass(frozen=True, slots=True)
class _Wanted:
    kinds: tuple[str, ...]
    batch: int
    names: tuple[str, ...]
    """Of the individuals, if there are several."""
    again: bool
    keep_damaged: bool


def run(arguments: argparse.Namespace) -> int:
    """Predict one video after the other; a video that cannot be read does not stop the others."""
    if "h5" in arguments.to:
        trackfiles.needs("deeplabcut")
    if "slp-analysis" in arguments.to:
        trackfiles.needs("sleap")
    if arguments.report is not None:
        reports.check_target(arguments.report)
    batch = arguments.batch or _BATCH.get(arguments.provider, _GPU_BATCH)
    threads = arguments.threads or min(max((os.cpu_count() or 1) - 1, 1), _MAX_THREADS)
    count = arguments.individuals
    names = tuple(f"individual{number}" for number in range(1, count + 1)) if count > 1 else ()
    kinds = tuple(dict.fromkeys([*arguments.to, *(["overlay"] if arguments.overlay else [])]))
    wanted = _Wanted(kinds, batch, names, arguments.again, arguments.keep_damaged)
    with Network.open(arguments.model, arguments.provider, threads, individuals=count) as network:
        targets = _targets(arguments, predict.scorer(arguments.model, count))
        rows = [_one(network, target, wanted) for target in targets]
        provider = network.provider
    failed = [row for row in rows if row["error"]]
    for row in failed:
        print(f"poseloop: error: {row['error']}", file=sys.stderr)
    if arguments.report is not None:
        report = {"model": arguments.model, "provider": provider, "batch": batch, "threads": threads, "videos": rows}
        reports.write(report | {"versions": reports.versions(), "machine": reports.machine()}, arguments.report)
    if failed and len(rows) > 1:
        print(f"{len(failed)} of {len(rows)} videos failed, see above", file=sys.stderr)
    return 1 if failed else 0


def _targets(arguments: argparse.Namespace, scorer: str) -> list[Target]:
    found = [Target(video, arguments.out or video.parent, scorer) for video in videos.find(arguments.videos)]
    owners: dict[Path, Path] = {}
    for target in found:
        file = target.file("csv").resolve()
        if file in owners:
            raise DataError(
                f"expected videos whose names differ, but {owners[file]} and {target.video} would both be written to "
                f"{file}: leave --out away, or predict them into two folders"
            )
        owners[file] = target.video
    return found


def _one(network: Network, target: Target, wanted: _Wanted) -> dict[str, Any]:
    """Predict one video and write its files; gives its row of the report."""
    files = {kind: target.file(kind) for kind in wanted.kinds}
    row: dict[str, Any] = {"video": str(target.video), "files": {}, "error": None}
    if not wanted.again and all(file.is_file() for file in files.values()):
        print(f"{target.video}: its results are there already (--again makes them anew)")
        return row | {"files": {kind: str(file) for kind, file in files.items()}, "skipped": True}
    try:
        with target.store(network.individuals, len(network.keypoints)) as store:
            row |= _find(network, target, store, wanted)
            poses = store.read()
            row["files"] = {kind: str(_write(kind, target, poses, network, wanted)) for kind in wanted.kinds}
            del poses  # Windows does not delete a file that is mapped.
        store.file.unlink()
    except DataError as error:
        return row | {"error": str(error)}
    print(
        f"{target.video}: {row['frames']} frames, {row['passed']:.1%} of the points pass the model's gate; "
        f"{', '.join(Path(file).name for file in row['files'].values())}"
    )
    return row


def _find(network: Network, target: Target, store: PoseStore, wanted: _Wanted) -> dict[str, Any]:
    before = len(store)
    if before:
        print(f"{target.video}: on from frame {before}", file=sys.stderr)
    start, damage = time.perf_counter(), None
    try:
        with (
            videos.opened(target.video) as video,
            Progress(target.video.name, video.length, done=before) as progress,
        ):
            predict.predict(network, video, store, wanted.batch, progress.step)
    except KeyboardInterrupt:
        print(f"\n{target.video}: {len(store)} frames are done; the same command goes on from there", file=sys.stderr)
        raise
    except DataError as error:
        if not (wanted.keep_damaged and len(store)):
            hint = "" if wanted.keep_damaged or not len(store) else "; --keep-damaged writes what is before that"
            raise DataError(f"{error}{hint}") from error
        damage = str(error)
        print(f"warning: {damage}; the frames before that are written", file=sys.stderr)
    seconds = time.perf_counter() - start
    poses = store.read()
    return {
        "frames": len(poses),
        "resumed_at": before,
        "seconds": round(seconds, 3),
        "frames_per_s": round((len(poses) - before) / seconds, 2),
        "passed": _passed(poses, network.info.gate),
        "damage": damage,
    }


def _passed(poses: Float32, gate: float) -> float:
    """Share of points at or above the gate."""
    return round(float(np.mean(poses[..., 2] >= gate)), 4)


def _write(kind: str, target: Target, poses: Float32, network: Network, wanted: _Wanted) -> Path:
    keypoints, skeleton = network.keypoints, network.info.skeleton
    if kind != "overlay":
        return predict.write(kind, target, poses, keypoints, skeleton, wanted.names)
    with Progress(f"draw {target.video.name}", len(poses)) as progress:
        return predict.draw(target, poses, keypoints, skeleton, network.info.gate, progress.step)
