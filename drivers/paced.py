"""Paced delivery for cameras whose next frame can be made at any time: recorded ones and simulated ones.

A real camera loses a frame that nobody fetches. These never do: a ``grab`` that comes late gets the next frame at
once, until the deadlines are caught up, and it is the frame-set stage that keeps the newest and counts what it skips.
So the index is the frame's number, and a run sees the same frames however loaded the machine is.

Such cameras of one rig begin together: they share a `Schedule`.
"""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Callable
from typing import Literal

from poseloop.live.clock import Pacer, now_ns
from poseloop.live.errors import ConnectError
from poseloop.live.types import Stamp

__all__ = ["Delivery", "Pace", "Schedule"]

Pace = Literal["recorded", "none"]
"""``recorded``: each frame at its own time after the start. ``none``: the next frame whenever it is asked for."""

_TOGETHER_NS = 2_000_000_000
"""A rig's cameras are started one after the other; who comes later than this comes back to a rig that runs."""

_TRIGGERS = 4096
"""Triggers that are remembered: far more than cameras of one rig can be apart, since their slots are bounded."""

_SAME_RATE = 0.01


class Schedule:
    """What the recorded or simulated cameras of one process share: when their rig began, and its triggers' times.

    It begins when the first of them is started and ends when the last one is stopped. With a trigger (``hardware`` or
    ``software``) frames of one number were taken at one time: the first camera that gets there fixes it for the others.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._members: weakref.WeakSet[Delivery] = weakref.WeakSet()
        self._start_ns = 0
        self._rate: tuple[str, float] | None = None
        self._round: tuple[str, int] | None = None
        self._times: list[tuple[int, int]] = []

    def join(self, member: Delivery, name: str, fps: float, triggered: bool) -> int:
        """Take part, and learn when the rig began.

        Raises:
            ConnectError: with one trigger for all, this camera has another rate than the others.
        """
        with self._lock:
            self._members.discard(member)
            if not self._members:
                self._start_ns = now_ns()
                self._rate = self._round = None
                self._times = [(-1, 0)] * _TRIGGERS
            if triggered and fps:
                other, rate = self._rate = self._rate or (name, fps)
                if abs(fps - rate) > _SAME_RATE * rate:
                    raise ConnectError(
                        name,
                        f"has {fps:g} frames a second, but {other} has {rate:g}; cameras of one trigger have the same "
                        f'rate. Give fps, or set sync.trigger = "free"',
                    )
            self._members.add(member)
            return self._start_ns

    def leave(self, member: Delivery) -> None:
        """Take part no longer; idempotent."""
        with self._lock:
            self._members.discard(member)

    def time_of(self, number: int, proposed_ns: int) -> int:
        """When trigger ``number`` was: as proposed, unless another camera was there before."""
        with self._lock:
            known, at_ns = self._times[number % _TRIGGERS]
            if known == number:
                return at_ns
            if known < number:
                self._times[number % _TRIGGERS] = (number, proposed_ns)
            return proposed_ns

    def round_of(self, name: str, frames: int) -> tuple[str, int]:
        """Whose round was the first to end, and after how many frames; from then on this one's if nobody's was."""
        with self._lock:
            self._round = self._round or (name, frames)
            return self._round


_SCHEDULES: dict[Pace, Schedule] = {"recorded": Schedule(), "none": Schedule()}
"""A camera without pace has no time of its own, so it must not say when the others began."""


class Delivery:
    """Counts frames, waits for their times, and can be stopped from any thread.

    ``lock`` is held while a frame is delivered: whoever takes it after ``stop`` knows that no grab is under way.
    """

    def __init__(self, pace: Pace) -> None:
        self.lock = threading.Lock()
        self.index: int
        """Index of the next frame: its number since ``start``."""
        self.passed: int
        """Frames of the rig that were over when this camera was started; > 0 only for one that comes back."""
        self._pace = pace
        self.schedule = _SCHEDULES[pace]
        self.triggered = False
        """Frames of one number have one time in all cameras."""
        self._stopped = threading.Event()
        self._stopped.set()
        self._pacer = Pacer(0, stop=self._stopped)
        self._forget()

    def _forget(self) -> None:
        self.index = 0
        self.passed = 0
        self._offset_ns = 0
        self._interval_ns = 0
        self._began_ns = 0
        self._making_ns = 0

    @property
    def stopped(self) -> bool:
        """True before ``start`` and after ``stop``."""
        return self._stopped.is_set()

    @property
    def number(self) -> int:
        """The next frame's number since the rig began."""
        return self.passed + self.index

    def start(self, trigger: str = "free", name: str = "", fps: float = 0.0) -> None:
        """Count from 0; frame times are measured from the rig's start.

        Args:
            trigger: the rig's; see `Schedule`.
            name: of the camera, for errors.
            fps: its rate; 0 = unknown.

        Raises:
            ConnectError: this camera does not fit the rig's other ones.
        """
        self._forget()
        self.triggered = trigger != "free"
        start_ns = self.schedule.join(self, name, fps, self.triggered)
        late_ns = now_ns() - start_ns
        if self._pace == "recorded" and late_ns > _TOGETHER_NS:
            if fps:
                self.passed = math.ceil(late_ns * fps / 1e9)
            else:
                start_ns += late_ns
        self._stopped.clear()
        self._pacer = Pacer(start_ns, stop=self._stopped)

    def stop(self) -> None:
        """End a waiting ``deliver`` and refuse further ones until ``start``."""
        self._stopped.set()
        self.schedule.leave(self)

    def skip(self) -> None:
        """The next frame is lost: its index will be missing."""
        self.index += 1

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

    def deliver(self, offset_ns: int, fill: Callable[[], None], timeout_s: float, late_ns: int = 0) -> Stamp | None:
        """Fill the caller's buffer and return at the frame's time.

        The pixels are written before the wait, so that they are complete when the time comes.

        Args:
            offset_ns: the frame's time since the rig's start.
            fill: writes the pixels; called once, and only if the frame will be delivered unless stopped.
            timeout_s: longest wait for the frame's time.
            late_ns: how much later than its time it arrives.

        Returns:
            The stamp, with the scheduled time as exposure (unpaced: the arrival); None after the time-out or ``stop``.
        """
        if self.stopped:
            return None
        paced = self._pace == "recorded"
        if paced and self.triggered:
            offset_ns = self.schedule.time_of(self.number, self._pacer.start_ns + offset_ns) - self._pacer.start_ns
        due_ns = offset_ns + late_ns
        if paced and self._pacer.left_s(due_ns) > timeout_s:
            self._pacer.wait_until(due_ns, timeout_s)
            return None
        fill()
        self._making_ns = now_ns() - self._began_ns
        if paced and not self._pacer.wait_until(due_ns):
            return None
        arrived_ns = now_ns()
        exposed_ns = self._pacer.start_ns + offset_ns if paced else arrived_ns
        if not paced and self.triggered:
            exposed_ns = self.schedule.time_of(self.number, arrived_ns)
        # Another thread may have looked at the clock a moment later and been here a moment earlier.
        # Its own clock is the recording's.
        stamp = Stamp(self.index, exposed_ns, max(arrived_ns, exposed_ns), device_ns=offset_ns)
        self.index += 1
        self._interval_ns, self._offset_ns = offset_ns - self._offset_ns, offset_ns
        return stamp
