"""A Basler camera that pylon emulates, with a wire to its trigger input and pictures of one's own.

The emulation has no input pins: ``TriggerSoftware`` stands for the edge at ``Line1``; all the rest is the real driver
in the configuration of real cameras. The wire is a UDP port: each datagram is a rising edge.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any

from pydantic import Field

from poseloop.drivers.pylon.camera import BaslerCamera
from poseloop.live import config
from poseloop.live.errors import ConnectError

__all__ = ["WiredCamera", "free_port"]

_LOOK_S = 0.1
"""The wire's thread looks this often whether it is to end."""

_READY_MS = 100
"""How long a pulse waits at a time for a camera that is not ready. A real one would lose the pulse, and a rig's pulse
rate has to leave cameras the time; here it is the computer's load that makes them late."""

_EDGE_BYTES = 64


def free_port() -> int:
    """A UDP port of this computer at which nobody listens."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class WiredCamera(BaslerCamera):
    """See the module; everything that is not about wire and pictures is `BaslerCamera`'s."""

    class Settings(BaslerCamera.Settings):
        """``use = ".../wired.py:WiredCamera"``."""

        wire: int = Field(ge=1, le=65535)
        """The UDP port of 127.0.0.1 at which edges arrive."""
        pictures: config.RigPath
        """Folder of pictures of the camera's size, shown in the order of their names, over and over."""

    def __init__(self, name: str, settings: Any) -> None:
        super().__init__(name, settings)
        self._wire: _Wire | None = None

    def open(self) -> None:
        """Open the camera, and give it its pictures."""
        super().open()
        folder = self._settings.pictures  # type: ignore[attr-defined]
        if not folder.is_dir():
            raise ConnectError(self._name, f"pictures: there is no folder {folder}")
        self.device.TestImageSelector.Value = "Off"
        self.device.ImageFileMode.Value = "On"
        self.device.ImageFilename.Value = str(folder)

    def start(self, trigger: str) -> None:
        """Begin to grab, and lay the wire."""
        self._cut()
        super().start(trigger)
        self._wire = _Wire(self.name, self._edge, self._settings.wire)  # type: ignore[attr-defined]
        self._wire.start()

    def stop(self) -> None:
        """Cut the wire, and unblock ``grab``."""
        self._cut()
        super().stop()

    def _edge(self) -> bool:
        """Pass an edge on; False = the camera is not ready for it yet."""
        if not self.device.WaitForFrameTriggerReady(_READY_MS, self._pylon.TimeoutHandling_Return):
            return False
        self.device.TriggerSoftware.Execute()
        return True

    def _cut(self) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.cut()


class _Wire(threading.Thread):
    """Hands edges to a camera's trigger."""

    def __init__(self, name: str, edge: Callable[[], bool], port: int) -> None:
        super().__init__(name=f"wire of {name}")
        self._edge = edge
        self._ending = threading.Event()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.bind(("127.0.0.1", port))
        except OSError as error:
            self._socket.close()
            raise ConnectError(name, f"wire: UDP port {port} cannot be opened: {error.strerror}") from error
        self._socket.settimeout(_LOOK_S)

    def run(self) -> None:
        """Until the wire is cut."""
        while not self._ending.is_set():
            try:
                self._socket.recv(_EDGE_BYTES)
            except TimeoutError:
                continue
            while not self._ending.is_set() and not self._edge():
                pass

    def cut(self) -> None:
        """No further edges; the thread has ended when it returns."""
        self._ending.set()
        self.join()
        self._socket.close()
