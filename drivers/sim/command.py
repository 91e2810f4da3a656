"""``poseloop simulate``: labelled pictures or videos of the simulated animal, to try a training on before your own."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np

from poseloop.drivers.sim.camera import SimulatedCamera
from poseloop.drivers.sim.world import KEYPOINTS, SKELETON
from poseloop.live.config import Record, load_rig
from poseloop.live.errors import ConfigError, DataError, DeviceTimeout
from poseloop.live.geometry import Calibration
from poseloop.live.output.video import VideoWriter, find_encoder
from poseloop.live.types import Image

__all__ = ["HELP", "add_arguments", "run"]

HELP = "write labelled pictures of the simulated animal, or videos: a project to try `poseloop train` on"

_SCORER = "simulation"
_APART_S = 0.7
"""Between two pictures of one walk: long enough for the animal to be elsewhere and turned another way."""
_PICTURES, _FRAMES = 80, 1200
_FPS = 30.0
"""Of videos."""
_TRUTH = "truth"
_LABELS = "labeled-data"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="a DeepLabCut project is written here")
    parser.add_argument(
        "--frames",
        type=_count,
        metavar="N",
        help=f"pictures of each camera (default: {_PICTURES}; of videos {_FRAMES})",
    )
    parser.add_argument("--walks", type=_count, default=4, metavar="N", help="that they are of (default: 4)")
    parser.add_argument(
        "--videos",
        action="store_true",
        help=f"a video of each walk, {_FPS:g} frames a second, instead of a project; DIR/{_TRUTH} knows where the "
        f"animal is in every frame, and stands for who labels: `poseloop labels PROJECT take DIR/{_TRUTH} --no-new`",
    )
    parser.add_argument("--width", type=_count, metavar="PX", help="of a picture (default: 320, or the rig's)")
    parser.add_argument("--height", type=_count, metavar="PX", help="of a picture (default: 240, or the rig's)")
    parser.add_argument(
        "--rig",
        type=Path,
        metavar="RIG.toml",
        help="as all cameras of this rig see it, instead of one from above; their calibration is written beside it",
    )


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a number of at least 1, but got {text}")
    return value


def run(arguments: argparse.Namespace) -> int:
    """Draw the pictures and write them with the truth as their labels."""
    folder: Path = arguments.folder
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder}: expected an empty folder, or none, to write a project into, but it holds something")
    cameras = _cameras(arguments)
    total = arguments.frames or (_FRAMES if arguments.videos else _PICTURES)
    project = folder / _TRUTH if arguments.videos else folder
    try:
        for walk in range(arguments.walks):
            # As even as can be: the first walks have one more where the number cannot be divided.
            frames = (total - walk + arguments.walks - 1) // arguments.walks
            for camera, settings in cameras.items() if frames else ():
                name = "-".join([f"walk{walk}", *([camera] if camera else [])])
                of_walk = settings.model_copy(update={"seed": walk, "frames": frames})
                video = folder / f"{name}.mkv" if arguments.videos else None
                _write_walk(project / _LABELS / name, of_walk, video)
        _write_config(project / "config.yaml")
    except OSError as error:
        raise DataError(f"{folder}: the project cannot be written: {error}") from error
    models = [model for model in (SimulatedCamera(*camera).model for camera in cameras.items()) if model is not None]
    if models:
        Calibration(models).save(folder / "calibration.toml")
    sys.stdout.write(_next_step(folder, project, total * len(cameras), arguments.videos))
    return 0


def _next_step(folder: Path, project: Path, count: int, videos: bool) -> str:
    if not videos:
        return (
            f"{count} pictures with the truth as their labels are in {folder}\n\n"
            f'  poseloop train "{folder}" --out animal.onnx --minutes 5\n'
        )
    return (
        f"videos of {count} frames are in {folder}, the truth about each of these is in {project}\n\n"
        f'  poseloop new project mice --keypoints {" ".join(KEYPOINTS)} --videos "{folder}"\n'
        f"  poseloop frames mice\n"
        f'  poseloop labels mice take "{project}" --no-new\n'
    )


def _cameras(arguments: argparse.Namespace) -> dict[str, SimulatedCamera.Settings]:
    """Name → camera; pictures are so far apart that no two of them look alike. "" = the one from above."""
    asked = {side: getattr(arguments, side) for side in ("width", "height") if getattr(arguments, side) is not None}
    asked |= {"fps": _FPS if arguments.videos else 1 / _APART_S, "pace": "none", "loss": 0.0}
    if arguments.rig is None:
        return {"": SimulatedCamera.Settings(**asked)}
    tables = load_rig(arguments.rig).cameras
    if others := [name for name, table in tables.items() if table.plugin is not SimulatedCamera]:
        raise ConfigError(f'{arguments.rig}: expected simulated cameras (use = "sim"), but {others[0]} is none')
    return {name: table.options.model_copy(update=asked) for name, table in tables.items()}


def _write_walk(folder: Path, settings: SimulatedCamera.Settings, video: Path | None) -> None:
    """Write the pictures of one walk, or its video, and the truth into the folder of labels."""
    folder.mkdir(parents=True)
    camera = SimulatedCamera(folder.name, settings)
    camera.open()
    frames = settings.frames or 0
    digits = max(4, len(str(frames - 1)))  # as the pictures that `poseloop frames` takes out of a video
    rows = []
    with closing(camera):
        shots = _pictures(camera, frames)
        if video is not None:
            shots = _filmed(video, camera, shots)
        for number, image in enumerate(shots):
            name = f"img{number:0{digits}d}.png"
            if video is None:
                colours = cv2.COLOR_RGB2BGR if image.ndim == 3 else cv2.COLOR_GRAY2BGR
                _, coded = cv2.imencode(".png", cv2.cvtColor(image, colours))
                (folder / name).write_bytes(coded.tobytes())
            points = [f"{value:.3f}" for value in camera.truth(number).ravel()]
            rows.append([f"{_LABELS}/{folder.name}/{name}", *points])
    with (folder / f"CollectedData_{_SCORER}.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["scorer", *[_SCORER] * (2 * len(KEYPOINTS))])
        writer.writerow(["bodyparts", *(name for name in KEYPOINTS for _ in "xy")])
        writer.writerow(["coords", *"xy" * len(KEYPOINTS)])
        writer.writerows(rows)


def _pictures(camera: SimulatedCamera, frames: int) -> Iterator[Image]:
    """Give one frame after the other, each in the same memory."""
    camera.start("free")
    image = np.empty(camera.format.shape, np.uint8)
    for number in range(frames):
        if camera.grab(image, 5.0) is None:
            raise DeviceTimeout(camera.name, f"expected picture {number} of {frames} to be drawn, but it was not")
        yield image


def _filmed(file: Path, camera: SimulatedCamera, shots: Iterator[Image]) -> Iterator[Image]:
    """Write what comes along into a video."""
    record = Record(encoder="software")
    video = VideoWriter(file, camera.format, find_encoder(record, camera.format, camera.name), record.quality)
    with closing(video):
        for number, image in enumerate(shots):
            video.write(image, round(number * 1e9 / camera.format.fps))
            yield image


def _write_config(path: Path) -> None:
    parts = "".join(f"- {name}\n" for name in KEYPOINTS)
    bones = "".join(f"- - {one}\n  - {other}\n" for one, other in SKELETON)
    path.write_text(
        f"Task: simulated animal\nscorer: {_SCORER}\nmultianimalproject: false\nbodyparts:\n{parts}skeleton:\n{bones}",
        encoding="utf-8",
    )
