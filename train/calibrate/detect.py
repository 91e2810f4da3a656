"""The board in all pictures of all cameras."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

import cv2
import numpy as np

from poseloop.live.errors import DataError
from poseloop.live.types import Image
from poseloop.train.calibrate.board import Board, Detector, Float64, Int64
from poseloop.train.calibrate.sources import Source

__all__ = ["Sightings", "View", "look"]

_BATCH = 16
"""Pictures that are decoded ahead; more would only cost memory."""


@dataclass(frozen=True, slots=True)
class View:
    """The board as one camera saw it at one moment."""

    numbers: Int64  # (n,) which corners
    xy: Float64  # (n, 2) px
    sharpness: float
    """Steepest edges' slope in the board's part of the picture, in shares of its contrast per px."""


@dataclass(slots=True)
class Sightings:
    """All views of one camera."""

    camera: str
    size: tuple[int, int]
    """Width and height, px."""
    looked: int = 0
    """Pictures that were searched."""
    views: dict[int, View] = field(default_factory=dict)
    """Moment → view."""


def look(
    source: Source,
    board: Board,
    every: int = 1,
    step: Callable[[], None] | None = None,
) -> Sightings:
    """Search a camera's pictures for the board.

    Args:
        source: the pictures.
        board: what to look for.
        every: search each moment that this divides.
        step: called after each picture.

    Raises:
        DataError: a picture cannot be read, or has another size than the first.
    """
    frames = source.frames(every)
    sightings: Sightings | None = None
    workers = max(cv2.getNumberOfCPUs(), 1)
    # OpenCV's detector object keeps buffers: one for each thread.
    detectors = [Detector(board) for _ in range(workers)]
    with ThreadPoolExecutor(workers, "board") as pool:
        while batch := list(islice(frames, _BATCH * workers)):
            if sightings is None:
                sightings = Sightings(source.camera, (batch[0][1].shape[1], batch[0][1].shape[0]))
            for moment, picture in batch:
                _same_size(source, sightings, moment, picture)
            parts = [batch[k::workers] for k in range(workers)]
            for found in pool.map(_search, detectors, parts):
                for moment, view in found:
                    sightings.looked += 1
                    if view is not None:
                        sightings.views[moment] = view
                    if step is not None:
                        step()
    if sightings is None:
        raise DataError(f"camera {source.camera!r}: there are no pictures to search")
    sightings.views = dict(sorted(sightings.views.items()))
    return sightings


def _same_size(source: Source, sightings: Sightings, moment: int, picture: Image) -> None:
    size = (picture.shape[1], picture.shape[0])
    if size != sightings.size:
        raise DataError(
            f"camera {source.camera!r}: {source.name_of(moment)} has {size[0]} x {size[1]} px, but the pictures before "
            f"it {sightings.size[0]} x {sightings.size[1]}: calibrate with pictures of one size, the one of the "
            "experiment"
        )


def _search(detector: Detector, pictures: Sequence[tuple[int, Image]]) -> list[tuple[int, View | None]]:
    out: list[tuple[int, View | None]] = []
    for moment, picture in pictures:
        found = detector(picture)
        out.append((moment, None if found is None else View(*found, sharpness(picture, found[1]))))
    return out


def sharpness(picture: Image, xy: Float64) -> float:
    """How steep the board's edges are: of two pictures of one board, the blurred one has the smaller number."""
    low = np.maximum(np.floor(xy.min(axis=0)).astype(int), 0)
    high = np.ceil(xy.max(axis=0)).astype(int) + 1
    part = picture[low[1] : high[1], low[0] : high[0]]
    if min(part.shape) < 5:
        return 0.0
    contrast = float(np.subtract(*np.percentile(part, [95, 5])))
    dx, dy = cv2.Sobel(part, cv2.CV_32F, 1, 0, scale=1 / 8), cv2.Sobel(part, cv2.CV_32F, 0, 1, scale=1 / 8)
    return float(np.percentile(np.hypot(dx, dy), 97)) / max(contrast, 1.0)
