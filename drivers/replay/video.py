"""A video file as a recording: exact frame times, and an error where it is damaged."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from poseloop.live.errors import DataError
from poseloop.live.types import CameraFormat, Colour, Image

__all__ = ["Video"]

_PIXELS = {Colour.GREY: "gray", Colour.RGB: "rgb24", Colour.BGR: "bgr24"}
"""FFmpeg's names."""

_MAX_THREADS = 4
"""Decoding threads: enough for 100 full-HD frames a second, and the network keeps the other cores."""


class Video:
    """Frames of one video file, in order."""

    def __init__(self, path: Path, colour: Colour, fps: float | None) -> None:
        """Keep what to read.

        Args:
            path: the file.
            colour: channels wanted.
            fps: frame times instead of the recorded ones; None = the recorded ones.
        """
        self._path = path
        self._colour = colour
        self._fps = fps
        self._container: InputContainer | None = None
        self._frames: Iterator[VideoFrame] = iter(())
        self._frame: VideoFrame | None = None
        self._reformatter = VideoReformatter()
        self._first_pts = 0
        self._count = 0
        self._offset_ns = 0
        self._announced: int | None = None
        self._duration_s = 0.0
        self._end_s = 0.0
        self._rate = Fraction(0)
        self._turns = 0
        self._ready = False

    def open(self) -> CameraFormat:
        """Open the file and decode its first frame.

        Raises:
            DataError: there is none, or it is no video that can be decoded.
        """
        self.rewind()
        self.advance()
        frame = self._current
        # Multiples of 90 degrees, counter-clockwise, that a phone asks the player to turn the picture by.
        self._turns = round(frame.rotation / 90) % 4
        width, height = (frame.height, frame.width) if self._turns % 2 else (frame.width, frame.height)
        # The first frame stays: decoders take a while to get going, and that must not delay the start.
        self._ready = True
        return CameraFormat(width, height, self._colour, self._fps or float(self._rate))

    @property
    def period_ns(self) -> int:
        """From the last frame to the first of the next round; 0 = the file does not say."""
        rate = self._fps or self._rate
        return round(1_000_000_000 / rate) if rate else 0

    def rewind(self) -> None:
        """Go to before the first frame.

        Raises:
            DataError: the file is not there (any more), or no video.
        """
        self.close()
        try:
            container = av.open(self._path)
        except FileNotFoundError:
            raise DataError(f"{self._path}: there is no such video") from None
        except (av.FFmpegError, OSError) as error:
            raise DataError(
                f"{self._path}: expected a video, but its head cannot be read ({error.strerror}). "
                f"Perhaps it is no video, or the recording of it was broken off before its index was written"
            ) from error
        self._container = container
        if not container.streams.video:
            self.close()
            raise DataError(f"{self._path}: expected a video, but it holds no pictures")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = min(_MAX_THREADS, os.cpu_count() or 1)
        self._rate = stream.average_rate or stream.guessed_rate or Fraction(0)
        self._announced = stream.frames or None
        self._duration_s = _duration_s(container, stream)
        self._end_s = 0.0
        self._frames = container.decode(stream)
        self._frame = None
        self._count = 0
        self._offset_ns = 0

    def advance(self) -> int | None:
        """Decode the next frame and return its time since the first one in ns; None at the end.

        Raises:
            DataError: the file is damaged here, or ends before it should.
        """
        if self._ready:
            self._ready = False
            return self._offset_ns
        before = self._frame
        try:
            self._frame = next(self._frames, None)
        except av.FFmpegError as error:
            raise self._damaged(f"cannot be decoded ({error.strerror})") from error
        frame = self._frame
        if frame is None:
            self._check_end()
            return None
        if frame.is_corrupt:
            raise self._damaged("is damaged")
        if before is not None and (before.width, before.height) != (frame.width, frame.height):
            raise self._damaged(
                f"has {frame.width} x {frame.height} px, but the one before {before.width} x {before.height}"
            )
        self._offset_ns = self._time_ns(frame)
        self._end_s = (frame.time or 0.0) + (float(1 / self._rate) if self._rate else 0.0)
        self._count += 1
        return self._offset_ns

    def copy_to(self, into: Image) -> None:
        """Convert the current frame's colours into ``into``."""
        frame = self._reformatter.reformat(self._current, format=_PIXELS[self._colour], threads=1)
        plane = frame.planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[: frame.height]
        picture = rows[:, : frame.width * self._colour.channels]
        if self._colour is not Colour.GREY:
            picture = picture.reshape(frame.height, frame.width, 3)
        np.copyto(into, np.rot90(picture, self._turns) if self._turns else picture)

    def close(self) -> None:
        """Close the file; idempotent."""
        self._frames, self._frame, self._ready = iter(()), None, False
        if self._container is not None:
            with contextlib.suppress(av.FFmpegError):
                self._container.close()
            self._container = None

    @property
    def _current(self) -> VideoFrame:
        if self._frame is None:
            raise DataError(f"{self._path}: expected a video, but it holds no pictures")
        return self._frame

    def _time_ns(self, frame: VideoFrame) -> int:
        if self._fps is not None:
            return round(self._count * 1e9 / self._fps)
        # Decoders of old containers give the packet's time only.
        pts = frame.pts if frame.pts is not None else frame.dts
        if pts is None or frame.time_base is None:
            raise self._damaged("has no recorded time; give fps")
        if self._count == 0:
            self._first_pts = pts
        at_ns = int((pts - self._first_pts) * frame.time_base * 1_000_000_000)
        if at_ns < self._offset_ns:
            raise self._damaged("was recorded before the one before it, says the file; give fps")
        return at_ns

    def _check_end(self) -> None:
        total = self._total()
        # A counted file may lack what an edit list hides, a duration is a rounded number.
        if total - self._count > max(2, total // (200 if self._announced else 50)):
            raise self._damaged("is missing: the file ends here, perhaps it was cut off")
        if self._count == 0:
            raise DataError(f"{self._path}: expected a video, but it holds no pictures")

    def _total(self) -> int:
        """Number of frames that the file's head announces, or that fit into the time left of what it announces."""
        left_s = max(self._duration_s - self._end_s, 0.0)
        return self._announced or self._count + round(left_s * self._rate)

    def _damaged(self, what: str) -> DataError:
        return DataError(f"{self._path}: frame {self._count} of {max(self._total(), self._count + 1)} {what}")


def _duration_s(container: InputContainer, stream: VideoStream) -> float:
    """Announced length of the pictures; 0 = the file does not say."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    # The file's length is that of its longest stream, so it says nothing of pictures beside sound.
    if container.duration is not None and len(container.streams) == 1:
        return container.duration / av.time_base
    return 0.0
