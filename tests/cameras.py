"""A user's own cameras with faults, as a rig file names them: ``use = "cameras.py:Gappy"``."""

from poseloop.drivers.sim.camera import SimulatedCamera
from poseloop.live.errors import ConnectError, DeviceLost
from poseloop.live.types import Image, Stamp


class Gappy(SimulatedCamera):
    """Loses every third frame, as a camera does whose cable is bad."""

    def grab(self, into: Image, timeout_s: float) -> Stamp | None:
        stamp = super().grab(into, timeout_s)
        return super().grab(into, timeout_s) if stamp is not None and stamp.index % 3 == 2 else stamp


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


class Absent(SimulatedCamera):
    """Cannot be opened."""

    def open(self) -> None:
        raise ConnectError(self.name, "there is no such camera")


class Watched(SimulatedCamera):
    """Notes that it was closed."""

    closed = False

    def close(self) -> None:
        super().close()
        self.closed = True
