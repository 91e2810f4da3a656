"""A session's videos, read from the first picture to the last that is whole."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from poseloop.live.errors import DataError
from poseloop.live.output.session import Footage
from poseloop.live.types import Colour, Image

__all__ = ["Scan", "pictures", "scan"]

_PIXELS = {Colour.GREY: "gray", Colour.RGB: "rgb24", Colour.BGR: "bgr24"}
"""FFmpeg's names."""

_MAX_THREADS = 4


@dataclass(frozen=True, slots=True)
class Scan:
    """What a video holds."""

    times_ns: npt.NDArray[np.int64]
    """(F,) time that the file gives to each picture, since the file's own zero."""
    broken: str
    """Why it cannot be read further; empty at its proper end."""


def pictures(footage: Footage, colour: Colour | None = None) -> Generator[Image, None, None]:
    """Every picture in turn, (H, W) or (H, W, 3) uint8; ends at the last one that can be read.

    Args:
        footage: which.
        colour: channels wanted; None = what the network saw.

    Raises:
        DataError: there is no such file, or it holds no video.
    """
    wanted = footage.colour if colour is None else colour
    reformatter = VideoReformatter()
    for frame in _decoded(footage.file, []):
        made = reformatter.reformat(frame, format=_PIXELS[wanted], threads=1)
        plane = made.planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[: made.height]
        picture = rows[:, : made.width * wanted.channels]
        if wanted is not Colour.GREY:
            picture = picture.reshape(made.height, made.width, 3)
        # The plane is the decoder's own.
        yield picture.copy()


def scan(file: Path, decode: bool = True, done: Callable[[int], object] = lambda count: None) -> Scan:
    """Count a video's pictures and read their times.

    Args:
        file: the video.
        decode: decode every picture, which proves it; otherwise only count what the file lists, which is quick.
        done: called with 1 for each picture.

    Raises:
        DataError: there is no such file, or it holds no video.
    """
    why: list[str] = []
    times = []
    for frame in (_decoded if decode else _listed)(file, why):
        times.append(_time_ns(frame.pts, frame.time_base))
        done(1)
    # Packets lie in the order of decoding; shown they are in order of time.
    return Scan(np.array(times if decode else sorted(times), np.int64), why[0] if why else "")


def _decoded(file: Path, why: list[str]) -> Iterator[VideoFrame]:
    with _opened(file) as container:
        stream = _stream(file, container)
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = min(_MAX_THREADS, os.cpu_count() or 1)
        try:
            for frame in container.decode(stream):
                if frame.is_corrupt:
                    why.append("a picture is damaged")
                    return
                yield frame
        except av.FFmpegError as error:
            why.append(error.strerror or type(error).__name__)


def _listed(file: Path, why: list[str]) -> Iterator[av.Packet[VideoStream]]:
    with _opened(file) as container:
        try:
            for packet in container.demux(_stream(file, container)):
                if packet.size and not packet.is_corrupt:
                    yield packet
        except av.FFmpegError as error:
            why.append(error.strerror or type(error).__name__)


def _opened(file: Path) -> av.container.InputContainer:
    try:
        return av.open(file)
    except FileNotFoundError:
        raise DataError(f"{file}: there is no such video") from None
    except (av.FFmpegError, OSError) as error:
        raise DataError(f"{file}: expected a video, but its head cannot be read ({error.strerror})") from error


def _stream(file: Path, container: av.container.InputContainer) -> VideoStream:
    if not container.streams.video:
        raise DataError(f"{file}: expected a video, but it holds no pictures")
    return container.streams.video[0]


def _time_ns(pts: int | None, base: object) -> int:
    return -1 if pts is None or base is None else int(pts * base * 1_000_000_000)  # type: ignore[operator]
