"""Which frames of a video to label: few, and as different as a network needs them.

A video is decoded once, in order; of each frame a thumbnail is kept. When there are too many thumbnails every other one
is forgotten, so that memory does not grow with the video. Three ways to choose:

- ``uniform``: at equal distances.
- ``kmeans``: thumbnails are put into groups (k-means++, Arthur and Vassilvitskii 2007, then Lloyd's algorithm), and the
  frame nearest to each group's middle is taken: rare postures come in, long rests come in once.
- ``motion``: at equal amounts of change, so that resting stretches give few frames and active ones many.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from poseloop.live.errors import DataError
from poseloop.live.types import Colour, Float32, Image
from poseloop.train import drawing
from poseloop.train.trackfiles import whole
from poseloop.train.videos import Video

__all__ = [
    "HOWS",
    "How",
    "Thumbnails",
    "choose",
    "groups",
    "name",
    "number_of",
    "save",
    "save_picture",
    "thumbnails",
    "together",
]

How = Literal["uniform", "kmeans", "motion"]
HOWS: tuple[How, ...] = ("kmeans", "uniform", "motion")

_SIDE = 32
"""Longer side of a thumbnail, px: an animal is a few of them."""
_MOST = 20_000
"""Thumbnails in memory: 20 MB, and as much again while they are grouped."""
_ITERATIONS = 20
_STILL = 10
"""Percentile of the change from frame to frame that is taken for the camera's noise."""
_NAME = re.compile(r"^img0*(\d+)\.(?:png|jpe?g|bmp|tiff?)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True, eq=False)
class Thumbnails:
    """A video, small."""

    numbers: npt.NDArray[np.int64]
    """(N,) of the frames that are kept, rising."""
    small: npt.NDArray[np.uint8] = field(repr=False)
    """(N, P) their pixels, grey."""
    length: int
    """Frames of the whole video."""


def thumbnails(video: Video, done: Callable[[int], object] = lambda n: None, most: int = _MOST) -> Thumbnails:
    """Decode a video and keep its frames small, ``most`` of them at most, at equal distances.

    Raises:
        DataError: the video is damaged.
    """
    scale = _SIDE / max(video.width, video.height)
    size = max(round(scale * video.width), 1), max(round(scale * video.height), 1)
    small = np.empty((most, size[0] * size[1]), np.uint8)
    step, count, number = 1, 0, -1
    for number in video.numbers():
        done(1)
        if number % step:
            continue
        if count == most:
            # What is left are the multiples of twice the step.
            count = (most + 1) // 2
            small[:count] = small[::2]
            step *= 2
            if number % step:
                continue
        small[count] = video.picture(Colour.GREY, size).ravel()
        count += 1
    return Thumbnails(step * np.arange(count, dtype=np.int64), small[:count], number + 1)


def choose(kept: Thumbnails, how: How, count: int, there: Collection[int] = (), seed: int = 0) -> list[int]:
    """Choose frames of a video.

    Args:
        kept: the video.
        how: see above.
        count: how many; all that are left, where there are fewer.
        there: numbers of frames that were chosen before: they are not chosen again, nor what is in their groups as
            long as there are other groups.
        seed: of the k-means.

    Returns:
        Their numbers, rising.
    """
    free = ~np.isin(kept.numbers, np.fromiter(there, np.int64, len(there)))
    count = min(count, int(free.sum()))
    if count == 0:
        return []
    if how == "kmeans":
        chosen = _kmeans(kept, free, count, seed)
    else:
        weights = np.ones(len(kept.numbers)) if how == "uniform" else _change(kept.small)
        chosen = _evenly(np.where(free, weights, 0.0), count)
    return sorted(int(number) for number in kept.numbers[chosen])


def _evenly(weights: npt.NDArray[np.float64], count: int) -> list[int]:
    """Places in the middle of ``count`` stretches of equal weight; never one of weight 0, never one twice."""
    chosen: list[int] = []
    weights = weights.copy()
    for _ in range(2):
        # The second round is for stretches so heavy that one place was the middle of several.
        left = count - len(chosen)
        if left == 0:
            break
        total = np.cumsum(weights)
        middles = (np.arange(left) + 0.5) / left * total[-1]
        places = np.unique(np.searchsorted(total, middles, side="right"))
        chosen.extend(int(place) for place in places)
        weights[places] = 0.0
    free = np.flatnonzero(weights)
    chosen.extend(int(place) for place in free[np.linspace(0, len(free) - 1, count - len(chosen)).astype(int)])
    return chosen


def _change(small: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """(N,) mean absolute difference from the thumbnail before, less what a still picture has; never quite 0."""
    change = np.zeros(len(small))
    for n in range(1, len(small)):
        change[n] = np.abs(small[n].astype(np.int16) - small[n - 1]).mean()
    still = float(np.percentile(change[1:], _STILL)) if len(small) > 1 else 0.0
    return np.asarray(np.maximum(change - still, 0.0) + 1e-9)


def groups(values: npt.NDArray[np.float32], count: int, seed: int) -> tuple[npt.NDArray[np.int32], Float32]:
    """Put small pictures (N, P) into at most ``count`` groups: (N,) which group, (N,) distance to its middle."""
    cv2.setRNGSeed(seed)
    criteria = (cv2.TERM_CRITERIA_MAX_ITER | cv2.TERM_CRITERIA_EPS, _ITERATIONS, 0.1)
    nothing = np.empty((0,), np.int32)
    _, labels, centres = cv2.kmeans(values, min(count, len(values)), nothing, criteria, 1, cv2.KMEANS_PP_CENTERS)
    label = np.asarray(labels.ravel(), np.int32)
    return label, np.asarray(np.linalg.norm(values - centres[label], axis=1), np.float32)


def _kmeans(kept: Thumbnails, free: npt.NDArray[np.bool_], count: int, seed: int) -> list[int]:
    values = kept.small.astype(np.float32)
    label, distance = groups(values, count + int((~free).sum()), seed)
    number = int(label.max()) + 1
    distance[~free] = np.inf
    known = np.bincount(label[~free], minlength=number) > 0
    size = np.bincount(label[free], minlength=number)
    chosen: list[int] = []
    while len(chosen) < count:
        # New groups first, then large ones; as many rounds as it takes.
        for group in np.lexsort((-size, known)).tolist():
            nearest = int(np.argmin(np.where(label == group, distance, np.inf)))
            if len(chosen) < count and label[nearest] == group and np.isfinite(distance[nearest]):
                chosen.append(nearest)
                distance[nearest] = np.inf
    return chosen


def number_of(picture: str) -> int | None:
    """Which frame a picture is: ``img0123.png`` is frame 123, as in DeepLabCut; None: its name does not say."""
    match = _NAME.match(picture)
    return int(match[1]) if match else None


def name(number: int, length: int) -> str:
    """What a frame's picture is called, in a video of so many frames."""
    return f"img{number:0{max(4, len(str(length - 1)))}d}.png"


def save_picture(file: Path, picture: Image) -> None:
    """Write a picture (H, W) or (H, W, 3) RGB as PNG, whole or not at all."""
    ok, content = cv2.imencode(".png", drawing.as_bgr(picture))
    with whole(file) as part:
        part.write_bytes(content.tobytes() if ok else b"")


@contextmanager
def together(files: Collection[Path]) -> Iterator[None]:
    """Take files away again that were written, if what follows fails or is ended: all of them are there, or none."""
    try:
        yield
    except BaseException:
        for file in files:
            file.unlink(missing_ok=True)
        raise


def save(video: Video, numbers: Collection[int], folder: Path, length: int) -> list[Path]:
    """Write frames as PNG, all of them or none.

    Args:
        video: open, nothing read of it.
        numbers: of the frames.
        folder: where; made if it is not there.
        length: of the video, frames; see `name`.

    Raises:
        DataError: the video is damaged, has no such frame, or a file cannot be written.
    """
    wanted: set[int] = set(numbers)
    files: list[Path] = []
    with together(files):
        for place in video.numbers():
            if place in wanted:
                wanted.remove(place)
                file = folder / name(place, length)
                if not file.exists():
                    files.append(file)
                save_picture(file, video.picture(Colour.RGB))
            if not wanted:
                break
        if wanted:
            raise DataError(f"{video.file}: expected frames {sorted(wanted)}, but it has {place + 1}")
    return [folder / name(place, length) for place in sorted(numbers)]
