"""A model on whole videos: every frame's points, in batches, and on from where a run before was ended."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import zip_longest
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt

from poseloop.live.errors import DataError
from poseloop.live.types import Colour, Float32, Image, Keypoints
from poseloop.live.vision import Network
from poseloop.live.vision.coords import View
from poseloop.live.vision.individuals import keep_places
from poseloop.live.vision.network import find_model
from poseloop.train import drawing, videos
from poseloop.train.posestore import PoseStore
from poseloop.train.trackfiles import whole, write_deeplabcut, write_sleap_analysis
from poseloop.train.videos import Video

__all__ = ["FORMATS", "Target", "draw", "predict", "scorer", "write"]

FORMATS: Mapping[str, str] = {"csv": ".csv", "h5": ".h5", "slp-analysis": ".analysis.h5"}
"""What can be written, and how its files' names end."""


def scorer(model: str | Path, individuals: int = 1) -> str:
    """Name what finds the points: it stands in names of files and in DeepLabCut's tables, and changes with the model.

    Raises:
        ModelError: there is no such model.
    """
    file = find_model(model)
    digest = hashlib.sha256(file.read_bytes() + bytes([individuals])).hexdigest()
    return f"Poseloop_{file.stem}_{digest[:8]}"


@dataclass(frozen=True, slots=True)
class Target:
    """Where the results of one video go."""

    video: Path
    folder: Path
    scorer: str

    def file(self, kind: str) -> Path:
        """Name of a result: a key of `FORMATS`, or ``overlay``."""
        ending = ".mp4" if kind == "overlay" else FORMATS[kind]
        return self.folder / f"{self.video.stem}{self.scorer}{ending}"

    @contextmanager
    def store(self, individuals: int, keypoints: int) -> Iterator[PoseStore]:
        """Open what is known of this video so far."""
        about = {"scorer": self.scorer, "video": videos.fingerprint(self.video)}
        file = self.folder / f"{self.video.stem}{self.scorer}.poses"
        with PoseStore(file, about, individuals, keypoints) as store:
            yield store


def predict(
    network: Network, video: Video, store: PoseStore, batch: int, done: Callable[[int], object] = lambda n: None
) -> None:
    """Find the points of all frames that the store does not have yet.

    Args:
        network: opened with the number of individuals to look for, and no gate.
        video: open, nothing read of it.
        store: what there is; frames are added to it.
        batch: pictures in one run of the network.
        done: called with the number of frames after every batch.

    Raises:
        DataError: the video is damaged (the frames before that are in the store), or the disk is full.
        ModelError: the model does not take such pictures.
    """
    network.prepare([View(video.height, video.width, Colour.RGB)] * batch)
    places = _Places(store.read()) if network.individuals > 1 else None
    with videos.batches(video, batch, len(store)) as given:
        for pictures in given:
            xy, score = run(network, pictures, batch)
            if places is not None:
                xy, score = places.keep(xy, score)
            store.append(xy, score)
            done(len(xy))


def run(network: Network, pictures: Image, batch: int) -> tuple[Float32, Float32]:
    """Run a prepared network on (n, H, W, 3), n ≤ ``batch``: xy (n, I, K, 2) px, score (n, I, K)."""
    network.load([picture for picture, _ in zip_longest(pictures, range(batch))])
    network.run()
    found: Keypoints = network.decode()
    return found.xy[: len(pictures)], found.score[: len(pictures)]


class _Places:
    """Keeps animals in their places from frame to frame, as a network that sees one frame after the other does.

    In a batch, the network takes each place of the batch for a camera of its own. So the points are put back into the
    order in which they were found, the highest score first, and are sorted here.
    """

    def __init__(self, poses: Float32) -> None:
        """Take up where the poses so far (N, I, K, 3) ended."""
        count, individuals, points, _ = poses.shape
        self._last = np.full((individuals, points, 2), np.nan, np.float32)
        self._fresh = np.zeros((individuals, points), np.bool_)
        if count:
            seen = np.isfinite(poses[..., 0])
            self._fresh[:] = seen[-1]
            newest = count - 1 - np.argmax(seen[::-1], axis=0)
            i, k = np.nonzero(seen.any(axis=0))
            self._last[i, k] = poses[newest[i, k], i, k, :2]

    def keep(self, xy: Float32, score: Float32) -> tuple[Float32, Float32]:
        order = np.argsort(-score, axis=1, kind="stable")
        xy, score = np.take_along_axis(xy, order[..., None], axis=1), np.take_along_axis(score, order, axis=1)
        for frame_xy, frame_score in zip(xy, score, strict=True):
            keep_places(frame_xy, frame_score, self._last, self._fresh)
        return xy, score


def write(
    kind: str,
    target: Target,
    poses: Float32,
    keypoints: Sequence[str],
    skeleton: Sequence[tuple[str, str]],
    names: Sequence[str],
) -> Path:
    """Write the poses (N, I, K, 3) of a video; ``kind`` is a key of `FORMATS`, ``names`` the individuals' if several.

    Raises:
        DataError: a package is missing, or the file cannot be written.
    """
    file, xy, score = target.file(kind), poses[..., :2], poses[..., 2]
    if kind == "slp-analysis":
        write_sleap_analysis(file, keypoints, xy, score, names, skeleton=skeleton, video=str(target.video))
    else:
        write_deeplabcut(file, target.scorer, keypoints, xy, score, names)
    return file


def draw(
    target: Target,
    poses: Float32,
    keypoints: Sequence[str],
    skeleton: Sequence[tuple[str, str]],
    gate: float,
    done: Callable[[int], object] = lambda n: None,
) -> Path:
    """Write the video with the points (N, I, K, 3) drawn in, as H.264; those under the gate are hollow.

    Raises:
        DataError: the video cannot be read (any more), or the file cannot be written.
    """
    file = target.file("overlay")
    palette = drawing.colours(len(keypoints))
    pairs = [(keypoints.index(a), keypoints.index(b)) for a, b in skeleton]
    with videos.opened(target.video) as video, whole(file) as part, _film(part, video) as add:
        for number in video.numbers():
            if number == len(poses):
                break
            picture = np.ascontiguousarray(video.picture(Colour.BGR))
            for animal in poses[number]:
                _draw(picture, animal[:, :2], animal[:, 2] >= gate, palette, pairs)
            add(picture)
            done(1)
    return file


@contextmanager
def _film(part: Path, video: Video) -> Iterator[Callable[[Image], None]]:
    # Chroma is stored at half the resolution, so both sides have to be even.
    width, height = video.width // 2 * 2, video.height // 2 * 2
    try:
        with av.open(str(part), "w", format="mp4") as container:
            rate = Fraction(video.rate).limit_denominator(10_000)
            stream = container.add_stream("libx264", rate=rate, options={"crf": "20", "preset": "veryfast"})
            stream.pix_fmt = "yuv420p"
            stream.width, stream.height = width, height

            def add(picture: Image) -> None:
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[:height, :width]), format="bgr24")
                container.mux(stream.encode(frame))

            yield add
            container.mux(stream.encode())
    except av.FFmpegError as error:
        raise DataError(f"{part.with_suffix('')}: cannot be written: {error.strerror}") from error


def _draw(
    picture: Image,
    xy: Float32,
    sure: npt.NDArray[np.bool_],
    palette: Sequence[Any],
    pairs: Sequence[tuple[int, int]],
) -> None:
    """Draw one animal's points (K, 2) and its skeleton."""
    there = np.isfinite(xy).all(axis=-1)
    for a, b in pairs:
        if (there & sure)[[a, b]].all():
            ends = [tuple(round(float(value) * 16) for value in xy[end]) for end in (a, b)]
            cv2.line(picture, ends[0], ends[1], (245, 245, 245), 1, cv2.LINE_AA, 4)
    for k in np.flatnonzero(there).tolist():
        drawing.ring(picture, xy[k], palette[k], thick=-1 if sure[k] else 1)
