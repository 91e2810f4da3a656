"""``poseloop simulate``: labelled pictures of the simulated animal, to try a training on before any of your own."""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

import cv2
import numpy as np

from poseloop.drivers.sim.camera import SimulatedCamera
from poseloop.drivers.sim.world import KEYPOINTS, SKELETON
from poseloop.live.config import load_rig
from poseloop.live.errors import ConfigError, DataError, DeviceTimeout
from poseloop.live.geometry import Calibration

__all__ = ["HELP", "add_arguments", "run"]

HELP = "write labelled pictures of the simulated animal: a project to try `poseloop train` on"

_SCORER = "simulation"
_APART_S = 0.7
"""Between two pictures of one walk: long enough for the animal to be elsewhere and turned another way."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="a DeepLabCut project is written here")
    parser.add_argument("--frames", type=_count, default=80, metavar="N", help="pictures of each camera (default: 80)")
    parser.add_argument("--walks", type=_count, default=4, metavar="N", help="that they are of (default: 4)")
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
    try:
        for walk in range(arguments.walks):
            # As even as can be: the first walks have one more where the number cannot be divided.
            frames = (arguments.frames - walk + arguments.walks - 1) // arguments.walks
            for name, settings in cameras.items() if frames else ():
                of_walk = settings.model_copy(update={"seed": walk, "frames": frames})
                _write_walk(folder / "labeled-data" / "-".join([f"walk{walk}", *([name] if name else [])]), of_walk)
        _write_config(folder / "config.yaml")
    except OSError as error:
        raise DataError(f"{folder}: the project cannot be written: {error}") from error
    models = [model for model in (SimulatedCamera(*camera).model for camera in cameras.items()) if model is not None]
    if models:
        Calibration(models).save(folder / "calibration.toml")
    sys.stdout.write(
        f"{arguments.frames * len(cameras)} pictures with the truth as their labels are in {folder}\n\n"
        f'  poseloop train "{folder}" --out animal.onnx --minutes 5\n'
    )
    return 0


def _cameras(arguments: argparse.Namespace) -> dict[str, SimulatedCamera.Settings]:
    """Name → camera, with pictures so far apart that no two of them look alike; "" = the one from above."""
    asked = {side: getattr(arguments, side) for side in ("width", "height") if getattr(arguments, side) is not None}
    asked |= {"fps": 1 / _APART_S, "pace": "none", "loss": 0.0}
    if arguments.rig is None:
        return {"": SimulatedCamera.Settings(**asked)}
    tables = load_rig(arguments.rig).cameras
    if others := [name for name, table in tables.items() if table.plugin is not SimulatedCamera]:
        raise ConfigError(f'{arguments.rig}: expected simulated cameras (use = "sim"), but {others[0]} is none')
    return {name: table.options.model_copy(update=asked) for name, table in tables.items()}


def _write_walk(folder: Path, settings: SimulatedCamera.Settings) -> None:
    folder.mkdir(parents=True)
    camera = SimulatedCamera(folder.name, settings)
    camera.open()
    frames = settings.frames or 0
    try:
        camera.start("free")
        image = np.empty(camera.format.shape, np.uint8)
        rows = []
        for number in range(frames):
            if camera.grab(image, 5.0) is None:
                raise DeviceTimeout(folder.name, f"expected picture {number} of {frames} to be drawn, but it was not")
            name = f"img{number:04d}.png"
            colours = cv2.COLOR_RGB2BGR if image.ndim == 3 else cv2.COLOR_GRAY2BGR
            _, coded = cv2.imencode(".png", cv2.cvtColor(image, colours))
            (folder / name).write_bytes(coded.tobytes())
            points = [f"{value:.3f}" for value in camera.truth(number).ravel()]
            rows.append([f"labeled-data/{folder.name}/{name}", *points])
    finally:
        camera.close()
    with (folder / f"CollectedData_{_SCORER}.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["scorer", *[_SCORER] * (2 * len(KEYPOINTS))])
        writer.writerow(["bodyparts", *(name for name in KEYPOINTS for _ in "xy")])
        writer.writerow(["coords", *"xy" * len(KEYPOINTS)])
        writer.writerows(rows)


def _write_config(path: Path) -> None:
    parts = "".join(f"- {name}\n" for name in KEYPOINTS)
    bones = "".join(f"- - {one}\n  - {other}\n" for one, other in SKELETON)
    path.write_text(
        f"Task: simulated animal\nscorer: {_SCORER}\nmultianimalproject: false\nbodyparts:\n{parts}skeleton:\n{bones}",
        encoding="utf-8",
    )
