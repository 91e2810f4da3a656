"""Paced delivery for cameras whose next frame can be made at any time: recorded ones and simulated ones.

A real camera loses a frame that nobody fetches. These never do: a ``grab`` that comes late gets the next frame at
once, until the deadlines are caught up, and it is the frame-set stage that keeps the newest and counts what it skips.
So the index is the frame's number, and a run sees the same frames however loaded the machine is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Literal

from poseloop.live.clock import Pacer, now_ns
from poseloop.live.types import Stamp

__all__ = ["Delivery", "Pace"]

Pace = Literal["recorded", "none"]
"""``recorded``: each frame at its own time after the start. ``none``: the next frame whenever it is asked for."""


class Delivery:
    """Counts frames, waits for their times, and can be stopped from any thread.

    ``lock`` is held while a frame is delivered: whoever takes it after ``stop`` knows that no grab is under way.
    """

    def __init__(self, pace: Pace) -> None:
        self.lock = threading.Lock()
        self.index: int
        """Number of the next frame."""
        self._pace = pace
        self._stopped = threading.Event()
        self._stopped.set()
        self._pacer = Pacer(0, stop=self._stopped)
        self._forget()

    def _forget(self) -> None:
        self.index = 0
        self._offset_ns = 0
        self._interval_ns = 0
        self._began_ns = 0
        self._making_ns = 0

    @property
    def stopped(self) -> bool:
        """True before ``start`` and after ``stop``."""
        return self._stopped.is_set()

    def start(self) -> None:
        """Count from 0; frame times are measured from now."""
        self._forget()
        self._stopped.clear()
        self._pacer = Pacer(now_ns(), stop=self._stopped)

    def stop(self) -> None:
        """End a waiting ``deliver`` and refuse further ones until ``start``."""
        self._stopped.set()

    def rest(self, timeout_s: float) -> None:
        """Leave the processor to the frame just delivered; call it before the next one is decoded or drawn.

        The thread of a real camera sleeps meanwhile. This one rests for half of the time to the next frame, or less if
        making that takes long: work done right after a delivery would slow down the loop, and make its latency that
        of no rig.
        """
        pause_ns = min(self._interval_ns // 2, self._interval_ns - 2 * self._making_ns)
        if self._pace == "recorded" and pause_ns > 0:
            self._pacer.wait_until(self._offset_ns + pause_ns, timeout_s)
        self._began_ns = now_ns()

    def deliver(self, offset_ns: int, fill: Callable[[], None], timeout_s: float) -> Stamp | None:
        """Fill the caller's buffer and return at the frame's time.

        The pixels are written before the wait, so that they are complete when the time comes.

        Args:
            offset_ns: the frame's time since the start.
            fill: writes the pixels; called once, and only if the frame will be delivered unless stopped.
            timeout_s: longest wait for the frame's time.

        Returns:
            The stamp, with the scheduled time as exposure (unpaced: the arrival); None after the time-out or ``stop``.
        """
        if self.stopped:
            return None
        paced = self._pace == "recorded"
        if paced and self._pacer.left_s(offset_ns) > timeout_s:
            self._pacer.wait_until(offset_ns, timeout_s)
            return None
        fill()
        self._making_ns = now_ns() - self._began_ns
        if paced and not self._pacer.wait_until(offset_ns):
            return None
        arrived_ns = now_ns()
        exposed_ns = self._pacer.start_ns + offset_ns if paced else arrived_ns
        stamp = Stamp(index=self.index, exposed_ns=exposed_ns, arrived_ns=arrived_ns)
        self.index += 1
        self._interval_ns, self._offset_ns = offset_ns - self._offset_ns, offset_ns
        return stamp
