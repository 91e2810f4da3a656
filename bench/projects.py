"""Projects of labelled pictures, in DeepLabCut's layout: written from what is known already."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from poseloop.drivers.sim.camera import SimulatedCamera
from poseloop.drivers.sim.world import KEYPOINTS
from poseloop.live.errors import DataError
from poseloop.live.types import Image

__all__ = ["Labelled", "animal", "simulated", "write_config", "write_video"]

Labelled = tuple[Image, npt.NDArray[np.float64]]
"""A picture, grey or BGR as OpenCV writes it, and its (K, 2) points, px; NaN = not labelled."""


def animal(pictures: int, fps: float = 15.0, width: int = 320, height: int = 240, seed: int = 0) -> Iterator[Labelled]:
    """Paint the simulated animal, and tell where its keypoints truly are.

    Args:
        pictures: how many.
        fps: pictures in a second of the animal's life.
        width: of a picture, px.
        height: of a picture, px.
        seed: of its way.
    """
    settings = SimulatedCamera.Settings(fps=fps, frames=pictures, width=width, height=height, seed=seed, pace="none")
    camera = SimulatedCamera("painter", settings)
    camera.open()
    try:
        camera.start("free")
        image = np.empty(camera.format.shape, np.uint8)
        for number in range(pictures):
            camera.grab(image, 1.0)
            yield image[..., ::-1], camera.truth(number)
    finally:
        camera.close()


def write_video(
    project: Path, scorer: str, video: str, names: Sequence[str], labelled: Iterable[Labelled], first: int = 0
) -> None:
    """Write pictures and labels of one video.

    Args:
        project: folder; it is made.
        scorer: who labelled.
        video: name of its folder.
        names: of the keypoints.
        labelled: the pictures in their order.
        first: number of the first one.

    Raises:
        DataError: a picture cannot be written.
    """
    folder = project / "labeled-data" / video
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        ["scorer", *(scorer for _ in names for _ in "xy")],
        ["bodyparts", *(name for name in names for _ in "xy")],
        ["coords", *(axis for _ in names for axis in "xy")],
    ]
    for number, (picture, points) in zip(count(first), labelled, strict=False):
        name = f"labeled-data/{video}/img{number:04d}.png"
        if not cv2.imwrite(str(project / name), picture):
            raise DataError(f"{project / name}: cannot be written")
        rows.append([name, *("" if np.isnan(value) else f"{value:.3f}" for value in points.ravel())])
    with (folder / f"CollectedData_{scorer}.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows(rows)


def write_config(project: Path, task: str, scorer: str, names: Sequence[str]) -> None:
    """Write ``config.yaml``."""
    parts = "".join(f"- {name}\n" for name in names)
    (project / "config.yaml").write_text(f"Task: {task}\nscorer: {scorer}\nbodyparts:\n{parts}", encoding="utf-8")


def simulated(project: Path, frames: int, width: int = 640, height: int = 480) -> None:
    """Write a project of the simulated animal, whose labels are the truth."""
    # Slow, so that no two pictures are alike.
    write_video(project, "truth", "simulated", KEYPOINTS, animal(frames, 0.7, width, height))
    write_config(project, "simulated", "truth", KEYPOINTS)
