"""A camera for benchmarks: pictures drawn beforehand, so that it costs what a real one does, a copy into the slot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from poseloop.drivers.paced import Delivery
from poseloop.drivers.sim.camera import SimulatedCamera
from poseloop.live.types import CameraFormat, Image, Stamp

__all__ = ["PreparedCamera"]

_PICTURES = 64


class PreparedCamera:
    """Shows 64 pictures of the simulated animal over and over; see `poseloop.live.interfaces.Camera`."""

    Settings = SimulatedCamera.Settings

    def __init__(self, name: str, settings: Any) -> None:
        self.name = name
        self._settings: SimulatedCamera.Settings = settings
        self._source = SimulatedCamera(name, settings.model_copy(update={"pace": "none"}))
        self._delivery = Delivery(settings.pace)
        self._pictures: list[Image] = []

    @property
    def format(self) -> CameraFormat:
        """Size and colour, as the simulated camera's."""
        return self._source.format

    @property
    def finished(self) -> bool:
        """True once all ``frames`` have been delivered."""
        return self._settings.frames is not None and self._delivery.index >= self._settings.frames

    def open(self) -> None:
        """Draw the pictures."""
        self._source.open()
        self._source.start("free")
        for _ in range(_PICTURES):
            picture = np.empty(self.format.shape, np.uint8)
            self._source.grab(picture, 1.0)
            self._pictures.append(picture)

    def start(self, trigger: str) -> None:
        """Begin at the first picture; times count from now."""
        self._delivery.start()

    def grab(self, into: Image, timeout_s: float) -> Stamp | None:
        """Copy the next picture and return at its time."""
        if self.finished:
            return None
        index = self._delivery.index
        picture = self._pictures[index % _PICTURES]
        self._delivery.rest(timeout_s)
        at_ns = round(index * 1e9 / self._settings.fps)
        return self._delivery.deliver(at_ns, lambda: np.copyto(into, picture), timeout_s)

    def stop(self) -> None:
        """Unblock ``grab``."""
        self._delivery.stop()

    def close(self) -> None:
        """Forget the pictures; idempotent."""
        self.stop()
        self._source.close()
        self._pictures = []

    @classmethod
    def discover(cls) -> Sequence[str]:
        """Nothing: it is for benchmarks."""
        return ()
