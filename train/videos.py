"""Videos read offline: every frame, in order, numbered from 0, as it is shown to people and to a rig.

A frame's number is its place in the file, found by decoding from the start: seeking by time is not exact in all files.
What is skipped is decoded, but not converted, which costs a tenth of what a network does with a frame.
"""

from __future__ import annotations

import glob
import hashlib
import math
import os
import queue
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter

from poseloop.live.errors import DataError
from poseloop.live.types import Colour, Image

__all__ = ["ENDINGS", "Video", "batches", "find", "fingerprint", "opened"]

ENDINGS = frozenset({".mp4", ".avi", ".mov", ".mkv", ".m4v", ".mpg", ".mpeg", ".wmv", ".webm"})

_DRAWN = re.compile(r"Poseloop_.+_[0-9a-f]{8}$")
"""How names of overlay videos end: in `poseloop.train.predict.scorer`."""
_PIXELS = {Colour.GREY: "gray", Colour.RGB: "rgb24", Colour.BGR: "bgr24"}
"""FFmpeg's names."""
_MAX_THREADS = 4
_FEWEST = 3
"""Batches in memory: one in the network, one that waits, one that is being filled."""
_SAMPLE = 1 << 20
"""Bytes at a video's start and end that tell it from others."""
_AHEAD_BYTES = 64 << 20
"""So much may wait, so that a decoder that is held up for a while does not hold up the network."""


def find(words: Sequence[str]) -> list[Path]:
    """Find the videos that a command line names: files, folders of them, or patterns such as ``day1/*.mp4``.

    Patterns are for Windows, whose shell leaves them as they are. What `poseloop predict` drew is no recording: it is
    found by its own name only.

    Raises:
        DataError: a word names no video.
    """
    found: list[Path] = []
    for word in words:
        path = Path(word).expanduser()
        if path.is_dir():
            here = sorted(file for file in path.iterdir() if file.suffix.lower() in ENDINGS)
        elif path.is_file():
            here = [path]
        else:
            here = [Path(file) for file in sorted(glob.glob(str(path)))]  # noqa: PTH207  (the pattern may be absolute)
        if not path.is_file():
            here = [file for file in here if _DRAWN.search(file.stem) is None]
        if not here:
            raise DataError(f"{word}: expected a video, or a folder of videos, but there is none")
        found.extend(here)
    return list(dict.fromkeys(found))


def fingerprint(file: Path) -> str:
    """Tell a video from others, wherever it lies: its size, and a hash of its start and end.

    Raises:
        DataError: it cannot be read.
    """
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            content = stream.read(_SAMPLE)
            stream.seek(max(size - _SAMPLE, 0))
            content += stream.read(_SAMPLE)
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror}") from error
    return f"{size}:{hashlib.sha256(content).hexdigest()}"


class Video:
    """One open video; made by `opened`."""

    def __init__(self, file: Path, container: InputContainer) -> None:
        """Decode the first frame."""
        self.file = file
        self.length = 0
        """How many frames the file says that it has, or that fit into its duration; 0 = it does not say."""
        self._stream = container.streams.video[0]
        self._stream.thread_type = "AUTO"
        self._stream.codec_context.thread_count = min(_MAX_THREADS, os.cpu_count() or 1)
        self._frames = container.decode(self._stream)
        self._reformatter = VideoReformatter()
        self._number = -1
        self._time_s = 0.0
        self._frame = self._next()
        if self._frame is None:
            raise DataError(f"{file}: expected a video, but it holds no pictures")
        first = self._frame
        # Multiples of 90 degrees, counter-clockwise, that a phone asks the player to turn the picture by.
        self._turns = round(first.rotation / 90) % 4
        self.width, self.height = (first.height, first.width) if self._turns % 2 else (first.width, first.height)
        self.rate: Fraction = self._stream.average_rate or self._stream.guessed_rate or Fraction(25)
        """Frames a second."""
        self.length = self._stream.frames or round(_duration_s(container) * self.rate)

    def numbers(self, start: int = 0) -> Iterator[int]:
        """Go from frame to frame, and give the number of each from ``start`` on. Can be done once.

        Raises:
            DataError: a frame cannot be decoded, or the file ends long before it should.
        """
        while self._frame is not None:
            if self._number >= start:
                yield self._number
            size = (self._frame.width, self._frame.height)
            self._frame = self._next()
            if self._frame is not None and (self._frame.width, self._frame.height) != size:
                raise self._damaged(f"has {self._frame.width}x{self._frame.height} px, but the one before has others")
        # A counted file may lack what an edit list hides; a duration is a rounded number.
        # Where the file does not count, a camera or a recorder that left some out is no damage: its time went on.
        came = self._number if self._stream.frames else max(self._number, round(self._time_s * self.rate) + 1)
        if self.length - came > max(2, self.length // (200 if self._stream.frames else 50)):
            raise self._damaged("is missing: the file ends here, perhaps it was cut off")

    def copy_to(self, into: Image) -> None:
        """Write the current frame, RGB, into (H, W, 3)."""
        np.copyto(into, self.picture(Colour.RGB))

    def picture(self, colour: Colour, size: tuple[int, int] | None = None) -> Image:
        """Convert the current frame.

        Args:
            colour: of the result.
            size: width and height to shrink it to, by areas; None: its own.

        Returns:
            (H, W) or (H, W, 3), not always contiguous.
        """
        assert self._frame is not None
        width, height = size or (self.width, self.height)
        if self._turns % 2:
            width, height = height, width
        # As it is for a rig's recordings, unless it is shrunk.
        how = None if size is None else Interpolation.AREA
        frame = self._reformatter.reformat(self._frame, width, height, _PIXELS[colour], interpolation=how, threads=1)
        plane = frame.planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[:height]
        image = rows[:, : width * colour.channels]
        if colour is not Colour.GREY:
            image = image.reshape(height, width, 3)
        return np.rot90(image, self._turns) if self._turns else image

    def _next(self) -> VideoFrame | None:
        self._number += 1
        try:
            frame = next(self._frames, None)
        except av.FFmpegError as error:
            raise self._damaged(f"cannot be decoded ({error.strerror})") from error
        if frame is not None and frame.is_corrupt:
            raise self._damaged("is damaged")
        if frame is not None and frame.time is not None:
            self._time_s = frame.time
        return frame

    def _damaged(self, what: str) -> DataError:
        of = f" of {self.length}" if self.length else ""
        return DataError(f"{self.file}: frame {self._number}{of} {what}")


def _duration_s(container: InputContainer) -> float:
    """Announced length of the pictures; 0 = the file does not say."""
    stream = container.streams.video[0]
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    # The file's length is that of its longest stream, so it says nothing of pictures beside sound.
    if container.duration is not None and len(container.streams) == 1:
        return container.duration / av.time_base
    return 0.0


@contextmanager
def opened(file: Path) -> Iterator[Video]:
    """Open a video.

    Raises:
        DataError: there is none, or it is no video that can be decoded.
    """
    try:
        container = av.open(str(file))
    except (av.FFmpegError, OSError) as error:
        raise DataError(f"{file}: expected a video, but it cannot be opened: {error.strerror or error}") from error
    with container:
        if not container.streams.video:
            raise DataError(f"{file}: expected a video, but it holds no pictures")
        yield Video(file, container)


@contextmanager
def batches(video: Video, size: int, start: int = 0) -> Iterator[Iterator[Image]]:
    """Decode in a thread, ahead of whoever uses the pictures.

    Args:
        video: open; nobody else may use it meanwhile.
        size: pictures in a batch; the last one may be shorter.
        start: number of the first frame that is given.

    Returns:
        Gives (n, H, W, 3) in RGB; each batch is overwritten soon after the next is asked for. It raises what
        `Video.numbers` raises, after the last batch before that.
    """
    free: queue.Queue[Image] = queue.Queue()
    full: queue.Queue[Image | Exception | None] = queue.Queue()
    stopping = threading.Event()
    shape = (size, video.height, video.width, 3)
    for _ in range(max(_FEWEST, _AHEAD_BYTES // math.prod(shape))):
        free.put(np.empty(shape, np.uint8))

    def fill() -> None:
        ending: Exception | None = DataError(f"{video.file}: decoding ended by an error of the program's")
        batch, count = free.get(), 0
        try:
            for _ in video.numbers(start):
                if stopping.is_set():
                    return
                video.copy_to(batch[count])
                count += 1
                if count == size:
                    full.put(batch)
                    batch, count = free.get(), 0
            ending = None
        except (DataError, av.FFmpegError) as error:
            ending = error
        finally:
            if count:
                full.put(batch[:count])
            full.put(ending)

    def given() -> Iterator[Image]:
        while isinstance(batch := full.get(), np.ndarray):
            yield batch
            free.put(batch if batch.base is None else batch.base)
        if batch is not None:
            raise batch

    thread = threading.Thread(target=fill, name=f"decode {video.file.name}")
    thread.start()
    try:
        yield given()
    finally:
        stopping.set()
        # It may wait for a free batch.
        free.put(np.empty(shape, np.uint8))
        thread.join()
