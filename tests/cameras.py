"""A user's own cameras with faults, as a rig file names them: ``use = "cameras.py:Gappy"``."""

import threading
from dataclasses import replace

from poseloop.drivers.sim.camera import SimulatedCamera
from poseloop.live.errors import ConnectError, DeviceLost, SettingRefused
from poseloop.live.types import Image, Stamp
from poseloop.live.vision import Network


class Gappy(SimulatedCamera):
    """Loses every third frame, as a camera does whose cable is bad."""

    def grab(self, into: Image, timeout_s: float) -> Stamp | None:
        stamp = super().grab(into, timeout_s)
        return super().grab(into, timeout_s) if stamp is not None and stamp.index % 3 == 2 else stamp


class Recounts(SimulatedCamera):
    """Counts what triggers it, which is switched off and on after 30 pulses; and gives its 45th frame twice."""

    last: Stamp | None = None

    def grab(self, into: Image, timeout_s: float) -> Stamp | None:
        if self.last is not None and self.last.device_ns == -1:
            self.last = replace(self.last, device_ns=0)
            return self.last
        stamp = super().grab(into, timeout_s)
        if stamp is None:
            return None
        self.last = replace(stamp, index=stamp.index % 30, device_ns=-1 if stamp.index == 44 else stamp.device_ns)
        return replace(self.last, device_ns=0)


class Late(SimulatedCamera):
    """Delivers its first frame when the other camera has long finished."""

    def grab(self, into: Image, timeout_s: float) -> Stamp | None:
        if not self._delivery.stopped:
            self._delivery._stopped.wait(0.6)
        return super().grab(into, timeout_s)


class Unplugged(SimulatedCamera):
    """Is gone at its sixth frame."""

    def grab(self, into: Image, timeout_s: float) -> Stamp | None:
        stamp = super().grab(into, timeout_s)
        if stamp is not None and stamp.index == 5:
            raise DeviceLost(self.name, "the camera was unplugged")
        return stamp


class Returns(Unplugged):
    """Is gone at its sixth frame; cannot be opened once, then goes on, counting from 0, at the time that it is."""

    opened = 0
    lost_ns = 0

    def open(self) -> None:
        self.opened += 1
        if self.opened == 2:
            raise ConnectError(self.name, "it is not back yet")
        super().open()

    def grab(self, into: Image, timeout_s: float) -> Stamp | None:
        return super().grab(into, timeout_s) if self.opened == 1 else SimulatedCamera.grab(self, into, timeout_s)


class Hangs(SimulatedCamera):
    """Does not return from its sixth grab, whatever anybody does, until a test lets it go."""

    closed = False

    def __init__(self, name: str, settings: object) -> None:
        super().__init__(name, settings)
        self.let_go = threading.Event()

    def grab(self, into: Image, timeout_s: float) -> Stamp | None:
        if self._delivery.index == 5:
            self.let_go.wait()
            return None
        return super().grab(into, timeout_s)

    def close(self) -> None:
        super().close()
        self.closed = True


class Sabotages(SimulatedCamera):
    """Breaks the network at its 60th frame, as a driver of a graphics card does that crashes."""

    def grab(self, into: Image, timeout_s: float) -> Stamp | None:
        if self._delivery.index == 60:
            Network.run = _fail
        return super().grab(into, timeout_s)


def _fail(network: Network) -> None:
    raise RuntimeError("CUDA failure 719: unspecified launch failure")


class Stalls(SimulatedCamera):
    """Hangs the network at its 60th frame, as a graphics card does that waits for ever."""

    def grab(self, into: Image, timeout_s: float) -> Stamp | None:
        if self._delivery.index == 60:
            Network.run = _hang
        return super().grab(into, timeout_s)


def _hang(network: Network) -> None:
    threading.Event().wait()


class Untriggered(SimulatedCamera):
    """Waits for a pulse that never comes."""

    def grab(self, into: Image, timeout_s: float) -> Stamp | None:
        self._delivery._stopped.wait(timeout_s)
        return None


class Absent(SimulatedCamera):
    """Cannot be opened."""

    def open(self) -> None:
        raise ConnectError(self.name, "there is no such camera")


class Slow(SimulatedCamera):
    """Cannot be triggered as fast as it is asked for."""

    def start(self, trigger: str) -> None:
        raise SettingRefused(self.name, "fps", 60, 45)


class Watched(SimulatedCamera):
    """Notes that it was closed."""

    closed = False

    def close(self) -> None:
        super().close()
        self.closed = True
