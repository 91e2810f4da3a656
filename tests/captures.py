"""A USB camera behind the seam of `cv2.VideoCapture`, with the habits of real ones."""

import threading
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import pytest


@dataclass
class UsbCamera:
    """What is plugged in: its state, and what it takes."""

    sizes: tuple[tuple[int, int], ...] = ((640, 480), (64, 48))
    rates: tuple[float, ...] = (30.0, 60.0)
    codes: tuple[str, ...] = ("YUYV", "MJPG")
    exposures: tuple[float, float] = (1.0, 5000.0)
    backend: str = "V4L2"
    lies: bool = False
    """Says that it took a size, and goes on with its own."""
    there: bool = True
    frames: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    """One for each frame that it will give."""
    patience_s: float = 0.7
    """How long a read waits for a frame; with V4L2 it is 10 s."""
    taken_ms: float = 0.0
    """What it tells as a frame's time; 0 = nothing."""
    opened: int = 0
    released: int = 0
    held: dict[int, float] = field(default_factory=dict)
    size: tuple[int, int] = (640, 480)
    count: int = 0

    def plug_in(self, patch: pytest.MonkeyPatch) -> None:
        """From now on OpenCV opens this one."""
        patch.setattr(cv2, "VideoCapture", lambda source, backend=0: _Capture(self, source))

    def picture(self, number: int) -> np.ndarray:
        """What frame ``number`` shows."""
        width, height = self.size
        return np.add.outer(np.arange(height), np.arange(width)).astype(np.uint8)[..., None] + np.array(
            [number, 0, 100], np.uint8
        )


class _Capture:
    def __init__(self, device: UsbCamera, source: object) -> None:
        self.device, self.source = device, source
        device.opened += 1
        device.held = {cv2.CAP_PROP_FPS: 30.0, cv2.CAP_PROP_FOURCC: cv2.VideoWriter.fourcc(*"YUYV")}
        self.wished = list(device.size)
        self.number = 0

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return self.device.there

    def getBackendName(self) -> str:  # noqa: N802 - OpenCV's name
        return self.device.backend

    def set(self, prop: int, value: float) -> bool:
        device = self.device
        if prop in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT):
            self.wished[prop == cv2.CAP_PROP_FRAME_HEIGHT] = round(value)
            # The nearest size that it has, as V4L2 does.
            if not device.lies:
                device.size = min(device.sizes, key=lambda s: abs(s[0] - self.wished[0]) + abs(s[1] - self.wished[1]))
        elif prop == cv2.CAP_PROP_FPS:
            device.held[prop] = min(device.rates, key=lambda rate: abs(rate - value))
        elif prop == cv2.CAP_PROP_FOURCC:
            code = round(value).to_bytes(4, "little").decode()
            if code not in device.codes:
                return False
            device.held[prop] = value
        elif prop == cv2.CAP_PROP_EXPOSURE:
            device.held[prop] = min(max(value, device.exposures[0]), device.exposures[1])
        else:
            device.held[prop] = value
        return True

    def get(self, prop: int) -> float:
        if prop == cv2.CAP_PROP_POS_MSEC:
            return self.device.taken_ms
        if prop in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT):
            side = prop == cv2.CAP_PROP_FRAME_HEIGHT
            return float(self.wished[side] if self.device.lies else self.device.size[side])
        return float(self.device.held.get(prop, 0.0))

    def grab(self) -> bool:
        came = self.device.frames.acquire(timeout=self.device.patience_s) and self.device.there
        if came:
            self.number = self.device.count
            self.device.count += 1
        return came

    def retrieve(self, image: Any = None) -> tuple[bool, Any]:
        return True, self.device.picture(self.number)

    def read(self, image: Any = None) -> tuple[bool, Any]:
        return self.retrieve(image) if self.grab() else (False, None)

    def release(self) -> None:
        self.device.released += 1
