"""Frames → frame sets, by trigger count or by time (`poseloop.live.capture.matching`).

Cameras deliver in order, so a set is closed as soon as every camera has delivered its frame or a later one (which
proves that it missed this), or when the wait for a missing camera is over: then the set goes on with a gap. Every frame
is accounted for: it belongs to a set that is processed or dropped for a reason, or it is dropped by itself:

=============== =======================================================================================================
``repeated``    its camera has delivered it before
``swapped``     it came after a later one of its camera
``late``        its set has gone on without it
``out_of_step`` its exposure is not that of the other frames with its index
``unmatched``   without a trigger: a faster camera's frame for which the others had none to give
``superseded``  a newer set was there before this one was taken
``failed``      the loop failed on its set
``shutdown``    the run ended first
=============== =======================================================================================================
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from poseloop.live.capture.matching import ByCount, ByTime, Group, Matcher
from poseloop.live.clock import now_ns
from poseloop.live.types import Frame, FrameSet

__all__ = ["Counts", "Synchroniser"]

_SILENT_NS = 1_000_000_000
"""A camera that has delivered nothing for so long is not waited for until it delivers again."""


@dataclass(slots=True)
class Counts:
    """What became of a camera's frames, or of the sets: after `Synchroniser.drain`, captured = processed + dropped."""

    captured: int = 0
    processed: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    """Reason → how many."""

    def as_report(self) -> dict[str, object]:
        """In the words of a report."""
        return {"captured": self.captured, "processed": self.processed, "dropped": dict(self.dropped)}


class Synchroniser:
    """Collects frames from the camera threads and hands whole sets to the inference thread.

    Bounded by the rings' slots. With ``newest`` one closed set waits at most; a newer one replaces it and the old one
    is dropped as ``superseded``. With ``every`` closed sets queue up until no slot is free, which holds the cameras.
    """

    def __init__(
        self,
        cameras: Sequence[str],
        release: Callable[[Frame], None],
        *,
        every: bool = False,
        by_time: bool = False,
        tolerance_ns: int = 5_000_000,
        wait_ns: int = 20_000_000,
        clock: Callable[[], int] = now_ns,
        tell: Callable[[int | None, int, str], None] | None = None,
    ) -> None:
        """Keep one place for each camera.

        Args:
            cameras: names in rig order.
            release: gives a frame's slot back to its ring.
            every: no set is skipped.
            by_time: match exposure times, not trigger counts.
            tolerance_ns: how far the exposures of one set may lie apart.
            wait_ns: how long a set waits for a missing camera; unused with ``every``, where cameras cannot be late.
            clock: host clock.
            tell: called with camera number (None: a whole set), index and reason of all that is dropped; must be
                quick, and may come from any thread.
        """
        self._tell = tell
        self._names = tuple(cameras)
        self._release = release
        self._every = every
        self._tolerance_ns = tolerance_ns
        self._wait_ns = wait_ns
        self._clock = clock
        self._lock = threading.Lock()
        # A bare lock as a flag: its waiter sleeps in C. A Condition runs some Python on either side of every wait.
        self._wake = threading.Lock()
        self._wake.acquire()
        self._matcher: Matcher = (ByTime if by_time else ByCount)(len(cameras), tolerance_ns, self._drop_frame)
        self._ready: deque[FrameSet] = deque()
        self._finished = [False] * len(cameras)
        self._drained = ""
        self._seen_ns = [clock()] * len(cameras)
        self.sets = Counts()
        self.cameras = {name: Counts() for name in cameras}
        self.incomplete = 0
        """Sets that were closed with a camera missing."""
        self.missing = dict.fromkeys(cameras, 0)
        """Sets that were closed without each camera."""

    @property
    def lost(self) -> dict[str, int]:
        """Triggers for which a camera delivered nothing, seen as gaps in its count."""
        return {name: track.lost for name, track in zip(self._names, self._matcher.tracks, strict=True)}

    @property
    def restarts(self) -> dict[str, int]:
        """How often each camera began to count again: it was restarted, or what triggers it was."""
        return {name: track.restarts for name, track in zip(self._names, self._matcher.tracks, strict=True)}

    @property
    def realigned(self) -> dict[str, int]:
        """How often a camera's count had slipped (it missed triggers without counting them) and was put right."""
        return {name: track.realigned for name, track in zip(self._names, self._matcher.tracks, strict=True)}

    def put(self, camera: int, frame: Frame) -> tuple[int, str]:
        """Take over one frame of camera number ``camera``; called by that camera's thread.

        Args:
            camera: number in rig order.
            frame: with the index that the driver gave it.

        Returns:
            Its index in the session, which goes on where the camera's own count begins again, and why it was dropped
            if it came out of its camera's order: that index then belongs to another frame, or to an earlier place.
        """
        with self._lock:
            self.cameras[frame.camera].captured += 1
            track = self._matcher.tracks[camera]
            index, disorder = track.place(frame, self._tolerance_ns)
            if index != frame.index:
                frame = replace(frame, index=index)
            if self._drained:
                # From a camera that hung in its driver while the run ended.
                self._drop_frame(frame, self._drained)
                return index, disorder
            now = self._clock()
            self._seen_ns[camera] = now
            track.away = False
            if disorder:
                # It was counted as lost when a later one came.
                track.lost -= disorder == "swapped"
                self._drop_frame(frame, disorder)
                return index, disorder
            waiting = len(self._matcher.pending)
            self._matcher.add(camera, frame, now)
            self._close_what_can_be(now)
            if len(self._matcher.pending) > waiting:
                # The taker sleeps until the next deadline, and this is a new one.
                self._notify()
            return index, ""

    def leave(self, camera: int) -> None:
        """Camera number ``camera`` is gone for now: nobody waits for it, and its next frame counts from the start."""
        with self._lock:
            self._matcher.tracks[camera].restarted = True
            self._away(camera)

    def finish(self, camera: int) -> None:
        """Camera number ``camera`` will deliver no more; sets do not wait for it."""
        with self._lock:
            self._finished[camera] = True
            self._away(camera)
            self._notify()

    def _away(self, camera: int) -> None:
        self._matcher.tracks[camera].away = True
        self._close_what_can_be(self._clock())

    @property
    def finished(self) -> bool:
        """True when all cameras have finished and no set is left to take."""
        with self._lock:
            return self._nothing_to_come and not self._ready

    @property
    def _nothing_to_come(self) -> bool:
        return all(self._finished) and not self._matcher.pending

    def take(self, timeout_s: float) -> FrameSet | None:
        """Wait for a set and take it; None after ``timeout_s``, and at once when no more will come.

        The taker must `count` and `release` it, or `drop` it.
        """
        ends = self._clock() + int(timeout_s * 1e9)
        while True:
            with self._lock:
                if self._ready:
                    return self._ready.popleft()
                now = self._clock()
                self._close_what_can_be(now)
                if self._ready:
                    return self._ready.popleft()
                if now >= ends or self._nothing_to_come:
                    return None
                wake = ends
                if not self._every:
                    wake = min([ends, *(group.began_ns + self._wait_ns for group in self._matcher.pending)])
            self._wake.acquire(timeout=max(wake - now, 1) / 1e9)

    def count(self, frames: FrameSet) -> None:
        """Count the set as processed."""
        with self._lock:
            self.sets.processed += 1
            for frame in frames.frames:
                if frame is not None:
                    self.cameras[frame.camera].processed += 1

    def release(self, frames: FrameSet) -> None:
        """Give the set's slots back; its images must not be read any more."""
        for frame in frames.frames:
            if frame is not None:
                self._release(frame)

    def drop(self, frames: FrameSet, reason: str) -> None:
        """The set will not be processed: count why, and give its slots back."""
        with self._lock:
            self._drop(frames, reason)

    def drain(self, reason: str) -> None:
        """Drop everything that waits; afterwards captured = processed + dropped, for sets and for every camera.

        A frame that still comes is dropped for the same reason.
        """
        with self._lock:
            self._drained = reason
            self._close_up_to(len(self._matcher.pending), self._clock())
            while self._ready:
                self._drop(self._ready.popleft(), reason)

    def _drop(self, frames: FrameSet, reason: str) -> None:
        self.sets.dropped[reason] += 1
        if self._tell is not None:
            self._tell(None, frames.index, reason)
        for frame in frames.frames:
            if frame is not None:
                self._drop_frame(frame, reason)

    def _drop_frame(self, frame: Frame, reason: str) -> None:
        self.cameras[frame.camera].dropped[reason] += 1
        if self._tell is not None:
            self._tell(self._names.index(frame.camera), frame.index, reason)
        self._release(frame)

    def _close_what_can_be(self, now: int) -> None:
        """Close the groups that can get no more frames, or have waited long enough, and all before them."""
        pending = self._matcher.pending
        overdue_ns = -1 if self._every else now - self._wait_ns
        closable = 0
        for number, group in enumerate(pending, 1):
            if self._matcher.is_settled(group):
                closable = number
            elif group.began_ns <= overdue_ns:
                closable = number
                for camera, frame in enumerate(group.frames):
                    if frame is None and now - self._seen_ns[camera] > _SILENT_NS:
                        self._matcher.tracks[camera].away = True
        if closable:
            self._close_up_to(closable, now)

    def _close_up_to(self, end: int, now: int) -> None:
        pending = self._matcher.pending
        closed = pending[:end]
        del pending[:end]
        for group in closed:
            if self._matcher.is_set(group):
                self._close(group, now)
            else:
                for frame in group.frames:
                    if frame is not None:
                        self._drop_frame(frame, "unmatched")

    def _close(self, group: Group, now: int) -> None:
        times = [frame.exposed_ns for frame in group.frames if frame is not None]
        closed = FrameSet(
            index=group.index,
            exposed_ns=sum(times) // len(times),
            frames=tuple(group.frames),
            skew_ns=group.latest_ns - group.earliest_ns,
            complete_ns=now,
        )
        self.sets.captured += 1
        if None in group.frames:
            self.incomplete += 1
            for name, frame in zip(self._names, group.frames, strict=True):
                self.missing[name] += frame is None
        if not self._every:
            while self._ready:
                self._drop(self._ready.popleft(), "superseded")
        self._ready.append(closed)
        self._notify()

    def _notify(self) -> None:
        # Under self._lock, so nobody else lets go of it in between.
        if self._wake.locked():
            self._wake.release()
