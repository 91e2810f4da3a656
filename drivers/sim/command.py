"""``poseloop simulate``: labelled pictures or videos of the simulated animal, to try a training on before your own."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

from poseloop.drivers.sim import projects
from poseloop.drivers.sim.camera import SimulatedCamera
from poseloop.drivers.sim.world import KEYPOINTS, SKELETON
from poseloop.live.config import Record, load_rig
from poseloop.live.errors import ConfigError, DataError
from poseloop.live.geometry import Calibration
from poseloop.live.output.video import VideoWriter, find_encoder

__all__ = ["HELP", "add_arguments", "run"]

HELP = "write labelled pictures of the simulated animal, or videos: a project to try `poseloop train` on"

_SCORER = "simulation"
_APART_S = 0.7
"""Between two pictures of one walk: long enough for the animal to be elsewhere and turned another way."""
_PICTURES, _FRAMES = 80, 1200
_FPS = 30.0
"""Of videos."""
_TRUTH = "truth"


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
                _write_walk(project, name, of_walk, video)
        projects.write_config(project, "simulated animal", _SCORER, KEYPOINTS, SKELETON)
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


def _write_walk(project: Path, name: str, settings: SimulatedCamera.Settings, video: Path | None) -> None:
    """Write the pictures of one walk, or its video, and the truth into the project."""
    frames = settings.frames or 0
    digits = max(4, len(str(frames - 1)))  # as the pictures that `poseloop frames` takes out of a video
    with closing(SimulatedCamera(name, settings)) as camera:
        camera.open()
        shots: Iterable[projects.Labelled] = projects.film(camera, frames)
        if video is not None:
            shots = _filmed(video, camera, frames)
        projects.write_video(project, _SCORER, name, KEYPOINTS, shots, digits=digits)


def _filmed(file: Path, camera: SimulatedCamera, frames: int) -> Iterator[projects.Labelled]:
    """Write the pictures into a video, and give the truth alone."""
    record = Record(encoder="software")
    video = VideoWriter(file, camera.format, find_encoder(record, camera.format, camera.name), record.quality)
    with closing(video):
        for number, (image, points) in enumerate(projects.film(camera, frames)):
            video.write(image, round(number * 1e9 / camera.format.fps))
            yield None, points
