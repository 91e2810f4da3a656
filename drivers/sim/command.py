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
from poseloop.live.errors import DataError, DeviceTimeout

__all__ = ["HELP", "add_arguments", "run"]

HELP = "write labelled pictures of the simulated animal: a project to try `poseloop train` on"

_SCORER = "simulation"
_APART_S = 0.7
"""Between two pictures of one walk: long enough for the animal to be elsewhere and turned another way."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="a DeepLabCut project is written here")
    parser.add_argument("--frames", type=_count, default=80, metavar="N", help="pictures (default: 80)")
    parser.add_argument("--walks", type=_count, default=4, metavar="N", help="that they are of (default: 4)")
    parser.add_argument("--width", type=_count, default=320, metavar="PX", help="of a picture (default: 320)")
    parser.add_argument("--height", type=_count, default=240, metavar="PX", help="of a picture (default: 240)")


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
    try:
        for walk in range(arguments.walks):
            # As even as can be: the first walks have one more where the number cannot be divided.
            frames = (arguments.frames - walk + arguments.walks - 1) // arguments.walks
            if frames:
                _write_walk(folder / "labeled-data" / f"walk{walk}", walk, frames, arguments.width, arguments.height)
        _write_config(folder / "config.yaml")
    except OSError as error:
        raise DataError(f"{folder}: the project cannot be written: {error}") from error
    sys.stdout.write(
        f"{arguments.frames} pictures with the truth as their labels are in {folder}\n\n"
        f'  poseloop train "{folder}" --out animal.onnx --minutes 5\n'
    )
    return 0


def _write_walk(folder: Path, seed: int, frames: int, width: int, height: int) -> None:
    folder.mkdir(parents=True)
    settings = SimulatedCamera.Settings(
        width=width, height=height, fps=1 / _APART_S, seed=seed, frames=frames, pace="none"
    )
    camera = SimulatedCamera(folder.name, settings)
    camera.open()
    try:
        camera.start("free")
        image = np.empty(camera.format.shape, np.uint8)
        rows = []
        for number in range(frames):
            if camera.grab(image, 5.0) is None:
                raise DeviceTimeout(folder.name, f"expected picture {number} of {frames} to be drawn, but it was not")
            name = f"img{number:04d}.png"
            _, coded = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
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
