"""One camera's video: pictures in, a Matroska file that a crash leaves readable.

No picture refers to a later one (no B-frames), so each leaves the encoder at once and picture i of the file is the
i-th that went in. Matroska collects pictures in clusters; one is written out every `_CLUSTER_MS`, and then it stays.
The pictures' times in the file are their exposures to a millisecond; the exact ones stand in the session's log.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.codec.context import CodecContext
from av.container import OutputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from poseloop.live.config import Record
from poseloop.live.errors import ConfigError, DataError
from poseloop.live.types import CameraFormat, Colour, Image

__all__ = ["LOSSLESS", "VideoWriter", "find_encoder"]

LOSSLESS = ("ffv1", "raw")
"""Codecs from which every pixel comes back."""

_CLUSTER_MS = 300
_KEY_S = 1.0
"""Time between pictures that refer to no other: how exactly a player can jump."""

_PIXELS = {Colour.GREY: "gray", Colour.RGB: "rgb24", Colour.BGR: "bgr24"}
"""FFmpeg's names for what cameras deliver."""

_MS = Fraction(1, 1000)
_FULL_RANGE = 2
"""FFmpeg's AVCOL_RANGE_JPEG: 0 is black and 255 is white, as in the cameras' pictures."""


@dataclass(frozen=True, slots=True)
class Encoder:
    """One of FFmpeg's encoders, and how it is told to be quick and to keep no picture back."""

    name: str
    grey: str
    """What grey pictures are handed over as."""
    colour: str
    options: Mapping[str, str]
    quality: str = ""
    """The option that takes the quality; empty = lossless."""
    hardware: bool = False


_QUICK = {"preset": "ultrafast", "tune": "zerolatency"}
_NVENC = {"preset": "p2", "tune": "ll", "rc": "vbr", "delay": "0", "zerolatency": "1"}
_QSV = {"preset": "veryfast", "async_depth": "1"}
_AMF = {"quality": "speed", "rc": "cqp"}

ENCODERS: Mapping[str, tuple[Encoder, ...]] = {
    "h264": (
        Encoder("h264_nvenc", "yuv420p", "yuv420p", _NVENC, "cq", hardware=True),
        Encoder("h264_qsv", "nv12", "nv12", _QSV, "global_quality", hardware=True),
        Encoder("h264_amf", "yuv420p", "yuv420p", _AMF, "qp_p", hardware=True),
        # One plane instead of three costs a third less; decoders give it out as any other picture.
        Encoder("libx264", "gray", "yuv420p", _QUICK, "crf"),
    ),
    "hevc": (
        Encoder("hevc_nvenc", "yuv420p", "yuv420p", _NVENC, "cq", hardware=True),
        Encoder("hevc_qsv", "nv12", "nv12", _QSV, "global_quality", hardware=True),
        Encoder("hevc_amf", "yuv420p", "yuv420p", _AMF, "qp_p", hardware=True),
        Encoder("libx265", "gray", "yuv420p", {**_QUICK, "x265-params": "log-level=error:bframes=0"}, "crf"),
    ),
    "ffv1": (Encoder("ffv1", "gray", "bgr0", {"level": "3", "slicecrc": "1"}),),
    "raw": (Encoder("rawvideo", "gray", "bgr24", {}),),
}
"""Codec → its encoders, the best first."""


def find_encoder(record: Record, camera: CameraFormat, name: str) -> Encoder:
    """Choose what encodes a camera's pictures, by trying: that a driver is installed says nothing of the card.

    Args:
        record: the rig's.
        camera: what it delivers.
        name: of the camera.

    Raises:
        ConfigError: no encoder of this codec works here.
    """
    faults = []
    for encoder in ENCODERS[record.codec]:
        if record.codec not in LOSSLESS and encoder.hardware and record.encoder == "software":
            continue
        if record.encoder == "hardware" and not encoder.hardware:
            continue
        try:
            _try(encoder, camera, record.quality)
        except (av.FFmpegError, ValueError) as error:
            faults.append(f"{encoder.name}: {error}")
            continue
        return encoder
    what = "on the graphics card " if record.encoder == "hardware" else ""
    text = f"cannot encode {camera.width} x {camera.height} {camera.colour} pictures {what}with {record.codec!r}"
    raise ConfigError(f"record: camera {name}: {text}:\n  " + "\n  ".join(faults))


def _try(encoder: Encoder, camera: CameraFormat, quality: int) -> None:
    context = CodecContext.create(encoder.name, "w")
    assert isinstance(context, VideoCodecContext)
    _set(context, encoder, camera, quality, threads=1)
    frame = VideoFrame(camera.width, camera.height, _format(encoder, camera))
    frame.pts, frame.time_base = 0, _MS
    if len(context.encode(frame)) != 1:
        raise ValueError("it keeps pictures back")


def _format(encoder: Encoder, camera: CameraFormat) -> str:
    wanted = encoder.grey if camera.colour is Colour.GREY else encoder.colour
    # Half of the colour's resolution cannot be had of an odd number of pixels.
    odd = camera.width % 2 or camera.height % 2
    return "yuv444p" if odd and wanted in ("yuv420p", "nv12") else wanted


def _set(context: VideoCodecContext, encoder: Encoder, camera: CameraFormat, quality: int, threads: int) -> None:
    rate = Fraction(camera.fps).limit_denominator(1000) if camera.fps > 0 else Fraction(30)
    context.width, context.height, context.pix_fmt = camera.width, camera.height, _format(encoder, camera)
    context.time_base, context.framerate = _MS, rate
    context.gop_size = max(1, round(rate * _KEY_S))
    context.max_b_frames = 0
    context.thread_count = threads
    if camera.colour is Colour.GREY:
        context.color_range = _FULL_RANGE
    context.options = dict(encoder.options) | ({encoder.quality: str(quality)} if encoder.quality else {})


class VideoWriter:
    """Writes one video; for one thread."""

    def __init__(self, file: Path, camera: CameraFormat, encoder: Encoder, quality: int, threads: int = 1) -> None:
        """Create the file.

        Args:
            file: ends in ``.mkv``; must not exist.
            camera: what is written.
            encoder: from `find_encoder`.
            quality: as in `Record.quality`.
            threads: for encoding.

        Raises:
            DataError: it exists, or cannot be written.
        """
        if file.exists():
            raise DataError(f"{file}: expected a new session, but there is a video already; it is not overwritten")
        self._file = file
        self._camera = camera
        # Matroska has no name of its own for raw colours, but takes Windows'.
        options = {"cluster_time_limit": str(_CLUSTER_MS), "flush_packets": "1", "allow_raw_vfw": "1"}
        try:
            self._container: OutputContainer | None = av.open(str(file), "w", format="matroska", options=options)
            stream = self._container.add_stream(encoder.name)
            assert isinstance(stream, VideoStream)
            _set(stream.codec_context, encoder, camera, quality, threads)
            stream.time_base = _MS
            self._stream = stream
            self._container.start_encoding()
        except (av.FFmpegError, OSError) as error:
            raise self._broken(error) from error
        self._format = _format(encoder, camera)
        self._grey = VideoFrame(camera.width, camera.height, self._format) if camera.colour is Colour.GREY else None
        if self._grey is not None:
            self._grey.color_range = _FULL_RANGE
            for plane in self._grey.planes[1:]:
                # No colour.
                np.frombuffer(memoryview(plane), np.uint8)[:] = 128
        self._reformatter = VideoReformatter()
        self._first_ns: int | None = None
        self._last_ms = -1
        self.written = 0
        """Pictures in the file."""

    def write(self, image: Image, exposed_ns: int) -> None:
        """Encode the next picture; its memory is not looked at any more afterwards.

        Args:
            image: (H, W) or (H, W, 3), as the camera's format says.
            exposed_ns: middle of its exposure.

        Raises:
            DataError: the encoder or the disk failed.
        """
        if self._first_ns is None:
            self._first_ns = exposed_ns
        # Players need times that rise; a camera's clock may be set.
        self._last_ms = max(round((exposed_ns - self._first_ns) / 1e6), self._last_ms + 1)
        frame = self._colour_frame(image) if self._grey is None else self._grey_frame(self._grey, image)
        frame.pts, frame.time_base = self._last_ms, _MS
        if (count := self._encode(frame)) != 1:
            # Then picture i would not be row i.
            raise self._broken(ValueError(f"expected one picture out for one in, but got {count}"))
        self.written += 1

    def _grey_frame(self, frame: VideoFrame, image: Image) -> VideoFrame:
        # The encoder may still hold the frame before.
        frame.make_writable()
        plane = frame.planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        np.copyto(rows[: self._camera.height, : self._camera.width], image)
        return frame

    def _colour_frame(self, image: Image) -> VideoFrame:
        frame = VideoFrame.from_numpy_buffer(image, format=_PIXELS[self._camera.colour])
        if self._format == _PIXELS[self._camera.colour]:
            frame = VideoFrame.from_ndarray(image, format=self._format)
        return self._reformatter.reformat(frame, format=self._format, threads=1)

    def _encode(self, frame: VideoFrame | None) -> int:
        assert self._container is not None, "the video is closed"
        count = 0
        try:
            for packet in self._stream.encode(frame):
                # The end of a stream may come as an empty packet.
                count += packet.size > 0
                self._container.mux(packet)
        except (av.FFmpegError, OSError) as error:
            raise self._broken(error) from error
        return count

    def close(self) -> None:
        """Write the index; idempotent.

        Raises:
            DataError: the encoder or the disk failed.
        """
        if self._container is None:
            return
        try:
            self._encode(None)
        finally:
            container, self._container = self._container, None
            try:
                container.close()
            except (av.FFmpegError, OSError) as error:
                raise self._broken(error) from error

    def _broken(self, error: Exception) -> DataError:
        return DataError(f"{self._file}: the video cannot be written: {getattr(error, 'strerror', None) or error}")
