"""A camera that looks at the simulated animal: from above, or in perspective. The truth of every frame is known.

Cameras of one seed look at one animal, and those that are started together see it at the same times: a rig of several
such cameras is a synchronised one. Everything is a function of seed, camera name and frame number.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from poseloop.drivers.named import NamedCamera
from poseloop.drivers.paced import Delivery, Pace
from poseloop.drivers.sim.scene import Scene
from poseloop.drivers.sim.view import PerspectiveView, TopView
from poseloop.drivers.sim.world import KEYPOINTS, Animal, Arena, Body
from poseloop.live import config
from poseloop.live.errors import ConnectError
from poseloop.live.geometry.calibration import CameraModel
from poseloop.live.types import CameraFormat, Colour, Image, Stamp

__all__ = ["SimulatedCamera"]

Float64 = npt.NDArray[np.float64]
Vector = tuple[float, float, float]


class SimulatedCamera(NamedCamera):
    """Draws frame i of the animal at ``i / fps`` seconds; see `poseloop.live.interfaces.Camera`.

    Nothing is skipped when frames are fetched late (see `poseloop.drivers.paced`), and every trigger is accepted.
    """

    class Settings(config.Settings):
        """``use = "sim"``."""

        width: int = Field(320, ge=32, le=4096)
        height: int = Field(240, ge=32, le=4096)
        fps: float = Field(60.0, ge=0.001, le=10_000)
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
        position_mm: Vector | None = None
        """Where the camera is; none = far above, without perspective. The origin is in the middle of the floor, x
        points right, y to the back, z up."""
        target_mm: Vector = (0.0, 0.0, 10.0)
        """What a camera with a position looks at."""
        focal_px: float = Field(400.0, gt=0)
        """Its focal length."""
        distortion: tuple[float, float, float, float, float] = (0.0, 0.0, 0.0, 0.0, 0.0)
        """Of its lens: k1, k2, p1, p2, k3."""
        jitter_ms: float = Field(0.0, ge=0, le=1000)
        """Frames arrive late by up to this, at random; the times of exposure stay exact."""
        loss: float = Field(0.0, ge=0, le=1)
        """Share of the frames that never arrive, at random: gaps in the index."""

        @model_validator(mode="after")
        def _looks_somewhere(self) -> SimulatedCamera.Settings:
            if self.position_mm == self.target_mm:
                raise ValueError("position_mm and target_mm must differ")
            if self.position_mm is not None and self.position_mm[2] <= 0:
                raise ValueError("position_mm must be above the floor (z > 0)")
            return self

    keypoints = KEYPOINTS
    """What `truth` tells, in its order."""

    def __init__(self, name: str, settings: Any) -> None:
        super().__init__(name)
        self._settings: SimulatedCamera.Settings = settings
        self._delivery = Delivery(self._settings.pace)
        self._painter: Scene | None = None
        self._frame = -1
        self._lost = False
        self._late_ns = 0
        arena = Arena(self._settings.arena_width_mm, self._settings.arena_height_mm)
        self._animal = Animal(arena, self._settings.seed)
        s = self._settings
        self._view: TopView | PerspectiveView
        if s.position_mm is None:
            self._view = TopView(s.width, s.height, arena)
        else:
            self._view = PerspectiveView(s.width, s.height, s.focal_px, s.distortion, s.position_mm, s.target_mm)
        # Cameras of one rig must not lose the same frames, nor have the same noise.
        self._own_seed = zlib.crc32(f"{s.seed} {name}".encode())

    @property
    def waits(self) -> bool:
        """True: the next frame is drawn when it is asked for."""
        return True

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
                self._painter = Scene(arena, self._view, s.noise, s.seed, self._own_seed)
                self._canvas = np.empty((s.height, s.width, 3), np.uint8)
                self._format = CameraFormat(s.width, s.height, Colour(s.colour), s.fps)

    def start(self, trigger: str) -> None:
        """Begin at frame 0; frame times count from the start of the rig's first camera.

        Raises:
            ConnectError: the camera is not open, or its rate is not that of the others with the same trigger.
        """
        with self._delivery.lock:
            if self._painter is None:
                raise ConnectError(self._name, "expected open() before start()")
            self._delivery.start(trigger, self._name, self._settings.fps)

    def grab(self, into: Image, timeout_s: float) -> Stamp | None:
        """Draw the next frame and return at its time."""
        with self._delivery.lock:
            painter = self._painter
            while painter is not None and not self._delivery.stopped and self._draw_lots():
                self._delivery.skip()
            if painter is None or self.finished:
                return None
            self._delivery.rest(timeout_s)
            number = self._delivery.number
            body = self._animal.body(number / self._settings.fps) if self._settings.animal else None
            return self._delivery.deliver(
                round(number * 1e9 / self._settings.fps),
                lambda: self._paint(painter, into, body, number),
                timeout_s,
                self._late_ns,
            )

    def _draw_lots(self) -> bool:
        """What becomes of the next frame: True = it is lost. Asked again, the answer is the same."""
        s, number = self._settings, self._delivery.number
        if number != self._frame and (s.loss or s.jitter_ms) and not self.finished:
            lost, late = np.random.default_rng((self._own_seed, number)).random(2)
            self._frame, self._lost, self._late_ns = number, lost < s.loss, round(late * s.jitter_ms * 1e6)
        return self._lost and number == self._frame

    def _paint(self, painter: Scene, into: Image, body: Body | None, index: int) -> None:
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
            self._painter = self._format = None

    @classmethod
    def discover(cls) -> Sequence[str]:
        """One line: it is always there."""
        return ("simulated animal in its arena, seen from above or from any side",)

    @property
    def view(self) -> TopView | PerspectiveView:
        """How world becomes picture; in perspective with the matrices of a calibration."""
        return self._view

    @property
    def model(self) -> CameraModel | None:
        """The same as a calibration has it; None for the view from far above, which no lens has."""
        view = self._view
        if not isinstance(view, PerspectiveView):
            return None
        return CameraModel(self._name, view.size, view.matrix, view.distortion, view.rotation, view.translation)

    def truth(self, index: int) -> Float64:
        """(K, 2) px: where the keypoints of frame ``index`` are; x right, y down, pixel centres at integers.

        An index counts from the rig's start: where this camera came back later, add `Delivery.passed`.
        """
        return self._view.to_px(self.truth_xyz(index))

    def truth_xyz(self, index: int) -> Float64:
        """(K, 3) mm: the same in the world."""
        return self._animal.keypoints(index / self._settings.fps)
