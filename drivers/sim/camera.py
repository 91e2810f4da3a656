"""A camera that looks at the simulated animal from above. The truth of every frame is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field

from poseloop.drivers.paced import Delivery, Pace
from poseloop.drivers.sim.painter import Painter
from poseloop.drivers.sim.view import TopView
from poseloop.drivers.sim.world import KEYPOINTS, Animal, Arena, Body
from poseloop.live import config
from poseloop.live.errors import ConnectError
from poseloop.live.types import CameraFormat, Colour, Image, Stamp

__all__ = ["SimulatedCamera"]


class SimulatedCamera:
    """Draws frame i of the animal at ``i / fps`` seconds; see `poseloop.live.interfaces.Camera`.

    Nothing is skipped when frames are fetched late (see `poseloop.drivers.paced`), and every trigger is accepted.
    """

    class Settings(config.Settings):
        """``use = "sim"``."""

        width: int = Field(320, ge=32, le=4096)
        height: int = Field(240, ge=32, le=4096)
        fps: float = Field(60.0, gt=0, le=10_000)
        colour: Literal["rgb", "grey"] = "rgb"
        """``grey``: as a mono camera sees it; the dyed patches can then not be told apart."""
        seed: int = Field(0, ge=0)
        """Another seed is another walk."""
        noise: float = Field(2.5, ge=0, le=50)
        """Standard deviation of every pixel's every channel, grey levels."""
        frames: int | None = Field(None, ge=1)
        """How many until the end; none = endless."""
        pace: Pace = "recorded"
        """``recorded``: ``fps`` frames a second. ``none``: as fast as the loop asks."""
        animal: bool = True
        """false = an empty arena, to see what a model makes of one."""
        arena_width_mm: float = Field(400.0, ge=150, le=5000)
        arena_height_mm: float = Field(300.0, ge=150, le=5000)

    keypoints = KEYPOINTS
    """What `truth` tells, in its order."""

    def __init__(self, name: str, settings: Any) -> None:
        self._name = name
        self._settings: SimulatedCamera.Settings = settings
        self._delivery = Delivery(self._settings.pace)
        self._painter: Painter | None = None
        arena = Arena(self._settings.arena_width_mm, self._settings.arena_height_mm)
        self._animal = Animal(arena, self._settings.seed)
        self._view = TopView(self._settings.width, self._settings.height, arena)

    @property
    def name(self) -> str:
        """Name in the rig file."""
        return self._name

    @property
    def format(self) -> CameraFormat:
        """Size and colour of every frame.

        Raises:
            ConnectError: the camera is not open.
        """
        if self._painter is None:
            raise ConnectError(self._name, "expected open() before its format is asked for")
        return CameraFormat(
            self._settings.width, self._settings.height, Colour(self._settings.colour), self._settings.fps
        )

    @property
    def finished(self) -> bool:
        """True once all ``frames`` have been delivered."""
        return self._settings.frames is not None and self._delivery.index >= self._settings.frames

    def open(self) -> None:
        """Draw what does not move; again: does nothing."""
        with self._delivery.lock:
            if self._painter is None:
                s = self._settings
                arena = Arena(s.arena_width_mm, s.arena_height_mm)
                self._painter = Painter(s.width, s.height, arena, self._view, s.noise, s.seed)
                self._canvas = np.empty((s.height, s.width, 3), np.uint8)

    def start(self, trigger: str) -> None:
        """Begin at frame 0; frame times count from now.

        Raises:
            ConnectError: the camera is not open.
        """
        with self._delivery.lock:
            if self._painter is None:
                raise ConnectError(self._name, "expected open() before start()")
            self._delivery.start()

    def grab(self, into: Image, timeout_s: float) -> Stamp | None:
        """Draw the next frame and return at its time."""
        with self._delivery.lock:
            painter = self._painter
            if painter is None or self.finished:
                return None
            self._delivery.rest(timeout_s)
            index = self._delivery.index
            body = self._animal.body(index / self._settings.fps) if self._settings.animal else None
            return self._delivery.deliver(
                round(index * 1e9 / self._settings.fps), lambda: self._paint(painter, into, body, index), timeout_s
            )

    def _paint(self, painter: Painter, into: Image, body: Body | None, index: int) -> None:
        if self._settings.colour == "rgb":
            painter.paint(into, body, index)
        else:
            painter.paint(self._canvas, body, index)
            cv2.cvtColor(self._canvas, cv2.COLOR_RGB2GRAY, dst=into)

    def stop(self) -> None:
        """Unblock ``grab``; from any thread, and twice."""
        self._delivery.stop()

    def close(self) -> None:
        """Forget the pictures; idempotent."""
        self.stop()
        with self._delivery.lock:
            self._painter = None

    @classmethod
    def discover(cls) -> Sequence[str]:
        """One line: it is always there."""
        return ("simulated animal in its arena, seen from above",)

    def truth(self, index: int) -> npt.NDArray[np.float64]:
        """(K, 2) px: where the keypoints of frame ``index`` are; x right, y down, pixel centres at integers."""
        return self._view.to_px(self._animal.keypoints(index / self._settings.fps))
