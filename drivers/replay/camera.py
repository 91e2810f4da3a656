"""A recording as a camera: a video file, or a folder of pictures, at its own pace or as fast as it is asked for.

Nothing is skipped: frames that are fetched late are delivered at once, one after the other (see
`poseloop.drivers.paced`). Recordings of one rig begin together. With ``trigger = "free"`` each keeps its own frame
times; with a trigger they are recordings of cameras that had one, so that frame i of all of them was taken at one time.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import Field

from poseloop.drivers.named import NamedCamera
from poseloop.drivers.paced import Delivery, Pace
from poseloop.drivers.replay.pictures import Pictures
from poseloop.drivers.replay.video import Video
from poseloop.live import config
from poseloop.live.errors import ConnectError, DataError
from poseloop.live.types import CameraFormat, Colour, Image, Stamp

__all__ = ["Recording", "ReplayCamera"]


class Recording(Protocol):
    """What the camera needs of a file format."""

    def open(self) -> CameraFormat:
        """Check the recording and go to before its first frame. Raises DataError."""

    @property
    def period_ns(self) -> int:
        """From the last frame to the first of the next round; 0 = unknown."""

    def rewind(self) -> None:
        """Go to before the first frame. Raises DataError."""

    def advance(self) -> int | None:
        """Decode the next frame; its time since the first one in ns, or None at the end. Raises DataError."""

    def copy_to(self, into: Image) -> None:
        """Write the current frame."""

    def close(self) -> None:
        """Let go of the files; idempotent."""


class ReplayCamera(NamedCamera):
    """Delivers a recording's frames; see `poseloop.live.interfaces.Camera`."""

    class Settings(config.Settings):
        """``use = "replay"``."""

        path: config.RigPath
        """A video file, or a folder of pictures."""
        pace: Pace = "recorded"
        """``recorded``: at the recording's own frame times. ``none``: as fast as the loop asks."""
        fps: config.Fps | None = None
        """Frames a second; required for a folder, overrides the recorded times of a video."""
        colour: Literal["grey", "rgb"] = "rgb"
        skip: int = Field(0, ge=0)
        """Frames at the beginning that are left out: it brings a video that was begun earlier into step."""
        frames: int | None = Field(None, ge=1)
        """How many are delivered, and then it ends (or begins again); none = all."""
        loop: bool = False
        """Begin again at the end, for ever; the index goes on counting."""

    def __init__(self, name: str, settings: Any) -> None:
        super().__init__(name)
        self._settings: ReplayCamera.Settings = settings
        self._delivery = Delivery(self._settings.pace)
        self._recording: Recording | None = None
        self._finished = False
        self._rewound = True
        self._next_ns: int | None = None
        self._first_ns = 0
        self._last_ns = 0
        self._round_ns = 0
        self._in_round = 0

    @property
    def waits(self) -> bool:
        """True: the next frame is decoded when it is asked for."""
        return True

    @property
    def finished(self) -> bool:
        """True once ``grab`` has met the recording's end."""
        return self._finished

    def open(self) -> None:
        """Open the recording and decode its first frame; again: does nothing.

        Raises:
            ConnectError: there is nothing at ``path``, or it is a folder and ``fps`` is missing.
            DataError: it cannot be read.
        """
        with self._delivery.lock:
            if self._recording is not None:
                return
            recording = self._choose(self._settings.path)
            try:
                self._format = recording.open()
            except DataError:
                recording.close()
                raise
            self._recording = recording

    def start(self, trigger: str) -> None:
        """Begin at the first frame; frame times count from the start of the rig's first camera.

        Raises:
            ConnectError: the camera is not open, or its rate is not that of the others with the same trigger.
            DataError: the recording is gone, or ``skip`` leaves nothing of it.
        """
        with self._delivery.lock:
            if self._recording is None:
                raise ConnectError(self._name, "expected open() before start()")
            if not self._rewound:
                self._recording.rewind()
            self._rewound = False
            self._finished = False
            self._round_ns = 0
            # Decoders take a while to get going: the first frame must not be late for that.
            self._next_ns = self._begin(self._recording)
            self._delivery.start(trigger, self._name, self.format.fps)
            # A camera that comes back to a rig that runs goes on where the others are.
            for _ in range(self._delivery.passed):
                if self._next_ns is not None:
                    self._last_ns, self._next_ns = self._next_ns, self._advance(self._recording)
            self._finished = self._next_ns is None

    def grab(self, into: Image, timeout_s: float) -> Stamp | None:
        """Deliver the next frame at its time.

        Raises:
            DataError: the recording is damaged here; it counts as finished then.
        """
        with self._delivery.lock:
            recording = self._recording
            if recording is None or self._finished or self._delivery.stopped:
                return None
            try:
                if self._next_ns is None:
                    self._delivery.rest(timeout_s)
                    self._next_ns = self._advance(recording)
                if self._next_ns is None:
                    self._finished = True
                    return None
                stamp = self._delivery.deliver(self._next_ns, lambda: recording.copy_to(into), timeout_s)
            except DataError:
                self._finished = True
                raise
            if stamp is not None:
                self._last_ns, self._next_ns = self._next_ns, None
            return stamp

    def stop(self) -> None:
        """Unblock ``grab``; from any thread, and twice."""
        self._delivery.stop()

    def close(self) -> None:
        """Let go of the files; idempotent."""
        self.stop()
        with self._delivery.lock:
            if self._recording is not None:
                self._recording.close()
            self._recording = None
            self._format = None
            self._rewound = True

    @classmethod
    def discover(cls) -> Sequence[str]:
        """Nothing: a recording is named by its path."""
        return ()

    def _choose(self, path: Path) -> Recording:
        colour, fps = Colour(self._settings.colour), self._settings.fps
        if not path.exists():
            raise ConnectError(self._name, f"expected a video or a folder of pictures, but there is no {path}")
        if not path.is_dir():
            return Video(path, colour, fps)
        if fps is None:
            raise ConnectError(self._name, f"{path} is a folder of pictures, which have no times: give fps")
        return Pictures(path, colour, fps)

    def _begin(self, recording: Recording) -> int:
        """Go to the first frame that is delivered; its time is 0."""
        for _ in range(self._settings.skip + 1):
            offset_ns = recording.advance()
            if offset_ns is None:
                raise DataError(f"{self._settings.path}: expected more than {self._settings.skip} frames (skip)")
        self._first_ns = offset_ns or 0
        self._in_round = 1
        return 0

    def _advance(self, recording: Recording) -> int | None:
        """Time of the next frame since the start; None at the end."""
        most = self._settings.frames
        offset_ns = recording.advance() if most is None or self._in_round < most else None
        if offset_ns is not None:
            self._in_round += 1
            return self._round_ns + offset_ns - self._first_ns
        if not self._settings.loop:
            return None
        self._check_round()
        self._round_ns = self._last_ns + recording.period_ns
        recording.rewind()
        return self._round_ns + self._begin(recording)

    def _check_round(self) -> None:
        """Recordings of one trigger must be equally long to begin again together."""
        other, frames = self._delivery.schedule.round_of(self._name, self._in_round)
        if self._delivery.triggered and frames != self._in_round:
            raise DataError(
                f"{self._settings.path}: has {self._in_round} frames, but {other}'s recording {frames}, so they would "
                f"not begin again together: give all of them the same number of frames"
            )
