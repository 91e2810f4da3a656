"""A USB (UVC) camera, or whatever else OpenCV can open as a video.

OpenCV cannot be told to end a wait for a frame, so a thread of the camera's own reads, and ``grab`` waits for it. Such
cameras have no trigger input and no frame numbers: the index counts what was read, and what the camera itself lost is
not known.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import cv2
import numpy as np
from pydantic import Field

from poseloop.drivers.named import NamedCamera
from poseloop.drivers.opencv import usb
from poseloop.live import config
from poseloop.live.clock import now_ns
from poseloop.live.errors import ConnectError, DeviceLost, SettingRefused
from poseloop.live.types import CameraFormat, Colour, Image, Stamp

__all__ = ["OpenCVCamera"]

_BACKENDS = {
    "auto": cv2.CAP_ANY,
    "v4l2": cv2.CAP_V4L2,
    "dshow": cv2.CAP_DSHOW,
    "msmf": cv2.CAP_MSMF,
    "avfoundation": cv2.CAP_AVFOUNDATION,
    "gstreamer": cv2.CAP_GSTREAMER,
    "ffmpeg": cv2.CAP_FFMPEG,
}

_NEAR = 0.01
"""Cameras give rates as fractions, such as 30.00003: a relative difference below this is the same value."""


class OpenCVCamera(NamedCamera):
    """Delivers a USB camera's newest frame; see `poseloop.live.interfaces.Camera`."""

    class Settings(config.Settings):
        """``use = "opencv"``. What is not given stays as the camera has it."""

        EXCLUSIVE = ("device",)

        device: Annotated[int, Field(ge=0, le=99)] | config.RigPath = 0
        """Number of the camera as ``poseloop devices`` lists it, or a path: on Linux ``/dev/v4l/by-id/…`` names one
        camera whatever else is plugged in; a video file works, too."""
        backend: Literal["auto", "v4l2", "dshow", "msmf", "avfoundation", "gstreamer", "ffmpeg"] = "auto"
        """What OpenCV reads it with."""
        width: int | None = Field(None, ge=1)
        height: int | None = Field(None, ge=1)
        fps: config.Fps | None = None
        fourcc: str | None = Field(None, pattern=r"^[\x20-\x7e]{4}$")
        """How the camera packs its pictures: ``MJPG`` or ``YUYV``. Many are fast with ``MJPG`` only."""
        colour: Literal["bgr", "grey"] = "bgr"
        exposure: float | Literal["auto"] | None = None
        """In the backend's own unit: 100 µs with V4L2, log2 of seconds with DirectShow."""
        gain: float | None = None
        """In the camera's own unit."""

    def __init__(self, name: str, settings: Any) -> None:
        super().__init__(name)
        self._settings: OpenCVCamera.Settings = settings
        self._capture: Any = None
        self._thread: threading.Thread | None = None
        self._changed = threading.Condition()
        """Guards what follows; notified when a frame has come or gone, at the end, and by ``stop``."""
        self._stopped = True
        self._ended = False
        self._stamp: Stamp | None = None
        self._held: Image | None = None

    @property
    def waits(self) -> bool:
        """True for a video file; a camera goes on."""
        return self._is_file

    @property
    def finished(self) -> bool:
        """True once a video file's last frame was fetched; a camera goes on."""
        with self._changed:
            return self._is_file and self._ended and self._stamp is None

    def open(self) -> None:
        """Open the camera, set everything, read it back, and look at one frame; again: does nothing.

        Raises:
            ConnectError: there is no such camera, or it gives no picture.
            SettingRefused: it holds another value than asked for.
        """
        if self._capture is not None:
            return
        device = self._settings.device
        if isinstance(device, Path) and not device.exists():
            raise ConnectError(self._name, f"expected a camera or a video, but there is no {device}")
        if isinstance(device, Path) and device.is_dir():
            raise ConnectError(
                self._name, f'expected a camera or a video, but {device} is a folder; use = "replay" reads pictures'
            )
        source = device if isinstance(device, int) else str(device)
        # What OpenCV prints on a camera that is not there is said by the error below.
        level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
        try:
            capture = cv2.VideoCapture(source, _BACKENDS[self._settings.backend])
        finally:
            cv2.utils.logging.setLogLevel(level)
        try:
            if not capture.isOpened():
                why = "it is no video, or it was broken off before its index was written"
                if not self._is_file:
                    why = "it is not there, or another program has it. `poseloop devices` lists what is there"
                raise ConnectError(self._name, f"device {source} cannot be opened: {why}")
            self._configure(capture)
            self._format = self._look(capture)
        except BaseException:
            capture.release()
            raise
        self._capture = capture

    def start(self, trigger: str) -> None:
        """Begin to read.

        Raises:
            ConnectError: the camera is not open.
            SettingRefused: another trigger than ``free`` is asked for.
        """
        if self._capture is None:
            raise ConnectError(self._name, "expected open() before start()")
        if trigger != "free" and not self._is_file:
            raise SettingRefused(self._name, "sync.trigger", trigger, "free", "USB cameras have no trigger.")
        self._end_thread()
        if self._is_file:
            # Its first frame was read by open(). Going back is exact for few kinds of files, a new reader for all.
            self._capture.release()
            self._capture = cv2.VideoCapture(str(self._settings.device), _BACKENDS[self._settings.backend])
        with self._changed:
            self._stopped = self._ended = False
            self._stamp = None
        self._thread = threading.Thread(target=self._read, name=f"{self._name}-reader")
        self._thread.start()

    def grab(self, into: Image, timeout_s: float) -> Stamp | None:
        """Copy the newest frame that was not fetched before; of a file, the next one.

        Raises:
            DeviceLost: the camera gives no more frames.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._ended or self._stamp is not None, timeout_s)
            stamp = self._stamp
            if self._stopped:
                return None
            if stamp is not None and self._held is not None:
                np.copyto(into, self._held)
                self._stamp = None
                self._changed.notify_all()
                return stamp
            if self._ended and not self._is_file:
                raise DeviceLost(self._name, f"device {self._settings.device} gives no more frames; was it unplugged?")
            return None

    def stop(self) -> None:
        """Unblock ``grab``; from any thread, and twice."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def close(self) -> None:
        """Give the camera back; idempotent. Waits for a read that is under way."""
        self.stop()
        self._end_thread()
        if self._capture is not None:
            self._capture.release()
        self._capture = self._format = None

    @classmethod
    def discover(cls) -> Sequence[str]:
        """Number, model and serial number of every USB camera."""
        return usb.cameras()

    @property
    def _is_file(self) -> bool:
        device = self._settings.device
        return isinstance(device, Path) and device.is_file()

    def _configure(self, capture: Any) -> None:
        s = self._settings
        # Old frames are worth nothing here. Not every backend has it; the reading thread keeps the queue empty.
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        if s.fourcc is not None:
            wanted = cv2.VideoWriter.fourcc(*s.fourcc)
            capture.set(cv2.CAP_PROP_FOURCC, wanted)
            got = round(capture.get(cv2.CAP_PROP_FOURCC))
            if got != wanted:
                raise SettingRefused(
                    self._name, "fourcc", s.fourcc, got.to_bytes(4, "little", signed=True).decode("latin1")
                )
        # A size is a pair: a camera that is given one side picks the other by itself.
        for key, prop in (("width", cv2.CAP_PROP_FRAME_WIDTH), ("height", cv2.CAP_PROP_FRAME_HEIGHT)):
            if getattr(s, key) is not None:
                capture.set(prop, getattr(s, key))
        for key, prop in (("width", cv2.CAP_PROP_FRAME_WIDTH), ("height", cv2.CAP_PROP_FRAME_HEIGHT)):
            self._check(key, getattr(s, key), capture.get(prop))
        if s.fps is not None:
            capture.set(cv2.CAP_PROP_FPS, s.fps)
            self._check("fps", s.fps, capture.get(cv2.CAP_PROP_FPS))
        if s.exposure is not None:
            # V4L2 numbers its menu; the other backends round to 0 or 1.
            auto, manual = (3.0, 1.0) if capture.getBackendName() == "V4L2" else (0.75, 0.25)
            mode = auto if s.exposure == "auto" else manual
            if not capture.set(cv2.CAP_PROP_AUTO_EXPOSURE, mode):
                raise SettingRefused(self._name, "exposure", s.exposure, "no such setting")
            if s.exposure != "auto":
                capture.set(cv2.CAP_PROP_EXPOSURE, s.exposure)
                self._check("exposure", s.exposure, capture.get(cv2.CAP_PROP_EXPOSURE))
        if s.gain is not None:
            capture.set(cv2.CAP_PROP_GAIN, s.gain)
            self._check("gain", s.gain, capture.get(cv2.CAP_PROP_GAIN))

    def _check(self, key: str, wanted: float | None, got: float) -> None:
        if wanted is not None and abs(got - wanted) > _NEAR * abs(wanted):
            raise SettingRefused(self._name, key, wanted, got, "Give a value that the camera has, or leave it out.")

    def _look(self, capture: Any) -> CameraFormat:
        """Learn the true size from a picture: some backends believe what they were told."""
        came, picture = capture.read()
        if not came or picture is None:
            raise ConnectError(self._name, f"device {self._settings.device} was opened, but gives no picture")
        height, width = picture.shape[:2]
        self._check("width", self._settings.width, width)
        self._check("height", self._settings.height, height)
        return CameraFormat(
            width, height, Colour(self._settings.colour), max(float(capture.get(cv2.CAP_PROP_FPS)), 0.0)
        )

    def _read(self) -> None:
        """Read until told to stop or the frames end: a thread's work."""
        capture, index, live = self._capture, 0, not self._is_file
        held, spare = (np.empty(self.format.shape, np.uint8) for _ in range(2))
        grey = self.format.colour is Colour.GREY
        raw: Image | None = None
        while not self._stopped:
            try:
                came = capture.grab()
                arrived_ns = now_ns()
                if came:
                    came, raw = capture.retrieve(raw)
                if came and raw is not None:
                    _convert(raw, spare, grey)
            except (cv2.error, ValueError):
                # A picture that cannot be decoded, or of another size: what comes after it cannot be trusted.
                came = False
            with self._changed:
                if not came:
                    self._ended = True
                    self._changed.notify_all()
                    return
                # A camera's next frame takes the place of one that nobody fetched; a file's waits.
                self._changed.wait_for(lambda: live or self._stopped or self._stamp is None)
                held, spare = spare, held
                self._held = held
                self._stamp = Stamp(index, self._exposed_ns(capture, arrived_ns), arrived_ns)
                self._changed.notify_all()
            index += 1

    @staticmethod
    def _exposed_ns(capture: Any, arrived_ns: int) -> int:
        """When the driver took the frame over, where that is told on the host's clock (Linux); else its arrival."""
        if sys.platform == "linux" and capture.getBackendName() == "V4L2":
            taken_ns = round(float(capture.get(cv2.CAP_PROP_POS_MSEC)) * 1e6)
            if 0 <= arrived_ns - taken_ns < 1_000_000_000:
                return taken_ns
        return arrived_ns

    def _end_thread(self) -> None:
        if self._thread is not None:
            self._thread.join()
            self._thread = None


def _convert(picture: Image, into: Image, grey: bool) -> None:
    """Write a picture (H, W, 3) BGR or (H, W) into a frame.

    Raises:
        ValueError: it has another size.
    """
    if picture.shape[:2] != into.shape[:2]:
        raise ValueError(f"expected a picture of {into.shape[:2]}, but got {picture.shape[:2]}")
    if grey == (picture.ndim == 2):
        np.copyto(into, picture)
    else:
        cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY if grey else cv2.COLOR_GRAY2BGR, dst=into)
