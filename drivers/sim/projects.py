"""Projects of labelled pictures, in DeepLabCut's layout: written from what is known already."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from itertools import count
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from poseloop.drivers.sim.camera import SimulatedCamera
from poseloop.live.errors import DataError, DeviceTimeout
from poseloop.live.types import Image

__all__ = ["Labelled", "animal", "film", "write_config", "write_video"]

Labelled = tuple[Image | None, npt.NDArray[np.float64]]
"""A picture, grey or RGB (None: it is not written), and its (K, 2) points, px; NaN = not labelled."""

_FOLDER = "labeled-data"
_PAINTED_S = 5.0


def film(camera: SimulatedCamera, frames: int) -> Iterator[tuple[Image, npt.NDArray[np.float64]]]:
    """Give one picture of an open camera after the other, each in the same memory, and where its keypoints truly are.

    Raises:
        DeviceTimeout: one was not drawn.
    """
    camera.start("free")
    image = np.empty(camera.format.shape, np.uint8)
    for number in range(frames):
        if camera.grab(image, _PAINTED_S) is None:
            raise DeviceTimeout(camera.name, f"expected picture {number} of {frames} to be drawn, but it was not")
        yield image, camera.truth(number)


def animal(settings: SimulatedCamera.Settings) -> Iterator[tuple[Image, npt.NDArray[np.float64]]]:
    """Do the same with a camera that is opened for it, for all of its ``frames``."""
    with closing(SimulatedCamera("painter", settings)) as camera:
        camera.open()
        yield from film(camera, settings.frames or 0)


def write_video(
    project: Path,
    scorer: str,
    video: str,
    names: Sequence[str],
    labelled: Iterable[Labelled],
    first: int = 0,
    digits: int = 4,
) -> None:
    """Write pictures and labels of one video.

    Args:
        project: folder; it is made.
        scorer: who labelled.
        video: name of its folder.
        names: of the keypoints.
        labelled: the pictures in their order.
        first: number of the first one.
        digits: of the numbers in the pictures' names, at least.

    Raises:
        DataError: a file cannot be written.
    """
    folder = project / _FOLDER / video
    rows = [
        ["scorer", *(scorer for _ in names for _ in "xy")],
        ["bodyparts", *(name for name in names for _ in "xy")],
        ["coords", *(axis for _ in names for axis in "xy")],
    ]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number, (picture, points) in zip(count(first), labelled, strict=False):
            name = f"img{number:0{digits}d}.png"
            if picture is not None:
                bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR if picture.ndim == 3 else cv2.COLOR_GRAY2BGR)
                # OpenCV's own imwrite() does not take every path on Windows.
                (folder / name).write_bytes(cv2.imencode(".png", bgr)[1].tobytes())
            cells = ("" if np.isnan(value) else f"{value:.3f}" for value in points.ravel())
            rows.append([f"{_FOLDER}/{video}/{name}", *cells])
        with (folder / f"CollectedData_{scorer}.csv").open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows(rows)
    except OSError as error:
        raise DataError(f"{folder}: the labels cannot be written: {error}") from error


def write_config(
    project: Path, task: str, scorer: str, names: Sequence[str], skeleton: Sequence[tuple[str, str]] = ()
) -> None:
    """Write ``config.yaml``."""
    parts = "".join(f"- {name}\n" for name in names)
    bones = "skeleton:\n" + "".join(f"- - {one}\n  - {other}\n" for one, other in skeleton) if skeleton else ""
    (project / "config.yaml").write_text(
        f"Task: {task}\nscorer: {scorer}\nmultianimalproject: false\nbodyparts:\n{parts}{bones}", encoding="utf-8"
    )
