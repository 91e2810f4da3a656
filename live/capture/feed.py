"""One camera's way into the synchroniser: the work of its thread, its slots, and its return when it is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from poseloop.live.capture.ring import Ring
from poseloop.live.capture.sync import Synchroniser
from poseloop.live.clock import now_ns
from poseloop.live.errors import DeviceError, DeviceLost, PoseloopError, SettingRefused
from poseloop.live.interfaces import Camera
from poseloop.live.types import Frame, Stamp

__all__ = ["Feed"]

_GRAB_S = 0.2
"""How long the thread waits in the driver before it looks whether it should end."""

_LOOK_S = 0.002
"""How often a camera that may wait looks whether the recorder has room again."""

_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 5.0
"""Before a lost camera is opened again; doubled each time that this fails."""

_SILENT_NS = 1_000_000_000
"""A camera that delivers nothing for so long, and for three of its intervals, is called silent."""

_UNHURRIED_NS = 2_000_000
_REST_S = 1e-4
"""After a frame a camera that is no faster than that keeps off Python's lock for a moment: the loop, which was just
woken, gets it 0.02 ms sooner (docs/decisions/latency.md)."""


class Feed:
    """Grabs frames of one camera until it has finished or is stopped; opens it again when it is lost."""

    def __init__(
        self,
        number: int,
        camera: Camera,
        ring: Ring,
        sync: Synchroniser,
        trigger: str,
        may_be_lost: Callable[[Feed], bool] = lambda feed: False,
        waits: bool = False,
    ) -> None:
        """Keep the parts; the camera is open, and not yet started.

        Args:
            number: of the camera, in rig order.
            camera: its driver.
            ring: its slots.
            sync: gets its frames.
            trigger: how it is started.
            may_be_lost: asked when the device is gone: may the rig go on without it? If not, the error is raised.
            waits: the camera may be held up until the recorder has room (``sync.frames = "every"``).
        """
        self.camera = camera
        self.ring = ring
        self.lost = ""
        """Why the camera is not there, while it is opened again and again; empty = it is there."""
        self.losses = 0
        """How often it was lost."""
        self.hung = False
        """It did not come out of its driver when it was stopped."""
        self.record: Callable[[int, int, int, Stamp], None] | None = None
        """Takes what the recorder has to know of a frame: camera number, lent slot (-1: none), index and times."""
        self.overruns = 0
        """Frames whose picture was not recorded, since the recorder held as many slots as it may."""
        self._waits = waits
        self._number = number
        self._sync = sync
        self._trigger = trigger
        self._format = camera.format
        self._may_be_lost = may_be_lost
        self._stopping = threading.Event()
        self.done = False
        """Nothing more will come of it."""
        self._seen_ns = 0
        self._interval_ns = 0

    def start(self) -> None:
        """Start the camera.

        Raises:
            DeviceError: it cannot be started.
        """
        self.camera.start(self._trigger)
        self._seen_ns = now_ns()

    def stop(self) -> None:
        """End `run`; from any thread, idempotent."""
        self._stopping.set()
        self.camera.stop()

    def close(self) -> None:
        """Give the camera back; one that hangs is left alone, since whoever touches it may hang too."""
        if not self.hung:
            self.camera.close()

    @property
    def state(self) -> str:
        """``ok``, ``lost`` (being opened again), ``silent`` (nothing comes), ``hung`` (in its driver, at the end)."""
        if self.hung:
            return "hung"
        if self.lost:
            return "lost"
        quiet_ns = now_ns() - self._seen_ns
        silent = not self.done and self._seen_ns and quiet_ns > max(_SILENT_NS, 3 * self._interval_ns)
        return "silent" if silent else "ok"

    def run(self) -> None:
        """Deliver until the camera has finished or is stopped.

        Raises:
            DeviceLost: the camera is gone and the rig may not go on without it.
            PoseloopError: it cannot be used any more (a damaged recording).
        """
        try:
            while not self._stopping.is_set():
                try:
                    self._deliver()
                    return
                except DeviceLost as error:
                    self.losses += 1
                    self.lost = str(error)
                    if not self._may_be_lost(self):
                        raise
                    self._sync.leave(self._number)
                    if not self._return():
                        raise
        finally:
            self.done = True
            self._sync.finish(self._number)

    def _deliver(self) -> None:
        camera, ring, stopping = self.camera, self.ring, self._stopping
        while not stopping.is_set():
            slot = ring.acquire(_GRAB_S)
            if slot is None:
                continue
            stamp = None
            try:
                while stamp is None and not stopping.is_set() and not camera.finished:
                    stamp = camera.grab(ring.writable(slot), _GRAB_S)
            finally:
                if stamp is None:
                    ring.release(slot)
            if stamp is None:
                return
            # A driver's integers may be NumPy's, which a message cannot hold.
            arrived_ns = int(stamp.arrived_ns)
            self._interval_ns, self._seen_ns = arrived_ns - self._seen_ns, arrived_ns
            frame = Frame(camera.name, int(stamp.index), int(stamp.exposed_ns), arrived_ns, ring.readable(slot), slot)
            # Before the loop has it: from `put` on it may come back at any moment.
            record = self.record
            lent = record is not None and self._lend(slot)
            index, disorder = self._sync.put(self._number, frame)
            if self._interval_ns > _UNHURRIED_NS:
                time.sleep(_REST_S)
            if disorder and lent:
                # In a video pictures stand in their order, and each but once.
                ring.take_back(slot)
            elif record is not None and not disorder:
                self.overruns += not lent
                record(self._number, slot if lent else -1, index, stamp)

    def _lend(self, slot: int) -> bool:
        while not self.ring.lend(slot):
            if not self._waits or self.record is None or self._stopping.wait(_LOOK_S):
                return False
        return True

    def _return(self) -> bool:
        """Open the camera again, with growing pauses, until it is back as it was or the run ends.

        False: it is not back, and the rig may not go on without it any more.
        """
        pause_s = _PAUSE_S
        while not self._stopping.wait(pause_s):
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            if not self._may_be_lost(self):
                return False
            try:
                self._reopen()
            except PoseloopError as error:
                self.lost = str(error)
                continue
            self._seen_ns = now_ns()
            self.lost = ""
            break
        if self._stopping.is_set():
            # It may have been started after stop() had told it to stop.
            self.camera.stop()
        return True

    def _reopen(self) -> None:
        self.camera.stop()
        self.camera.close()
        self.camera.open()
        try:
            if self.camera.format != self._format:
                raise SettingRefused(self.camera.name, "format", self._format, self.camera.format)
            self.camera.start(self._trigger)
        except DeviceError:
            self.camera.close()
            raise
