"""Frames → frame sets, by trigger index.

Cameras deliver in order of their index, so a set is closed as soon as every camera has delivered this index or a later
one (a later one proves that it missed this), or when the wait for a missing camera is over: then the set goes on with
a gap. Every frame is accounted for: it belongs to a set that is processed or dropped for a reason, or it is late.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from poseloop.live.clock import now_ns
from poseloop.live.types import Frame, FrameSet

__all__ = ["Counts", "Synchroniser"]

_NO_MORE = 1 << 62
"""Index of a camera that has finished: later than any frame."""


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


@dataclass(slots=True)
class _Pending:
    first_ns: int
    frames: list[Frame | None]


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
        wait_ns: int = 20_000_000,
        clock: Callable[[], int] = now_ns,
    ) -> None:
        """Keep one place for each camera.

        Args:
            cameras: names in rig order.
            release: gives a frame's slot back to its ring.
            every: no set is skipped.
            wait_ns: how long a set waits for a missing camera; unused with ``every``, where cameras cannot be late.
            clock: host clock.
        """
        self._release = release
        self._every = every
        self._wait_ns = wait_ns
        self._clock = clock
        self._lock = threading.Lock()
        # A bare lock as a flag: its waiter sleeps in C. A Condition runs some Python on either side of every wait.
        self._wake = threading.Lock()
        self._wake.acquire()
        self._pending: dict[int, _Pending] = {}
        self._ready: deque[FrameSet] = deque()
        self._latest = [-1] * len(cameras)
        self._closed_index = -1
        self.sets = Counts()
        self.cameras = {name: Counts() for name in cameras}
        self.incomplete = 0
        """Sets that were closed with a camera missing."""
        self.lost = Counter(dict.fromkeys(cameras, 0))
        """Triggers for which a camera delivered nothing, seen as gaps in its index."""

    def put(self, camera: int, frame: Frame) -> None:
        """Take over one frame of camera number ``camera``; called by that camera's thread."""
        with self._lock:
            counts = self.cameras[frame.camera]
            counts.captured += 1
            if frame.index <= self._latest[camera]:
                counts.dropped["repeated"] += 1
                self._release(frame)
                return
            self.lost[frame.camera] += frame.index - self._latest[camera] - 1
            self._latest[camera] = frame.index
            if frame.index <= self._closed_index:
                counts.dropped["late"] += 1
                self._release(frame)
            elif len(self._latest) == 1:
                self._close(frame.index, (frame,))
            else:
                pending = self._pending.get(frame.index)
                if pending is None:
                    pending = _Pending(self._clock(), [None] * len(self._latest))
                    self._pending[frame.index] = pending
                    # The taker sleeps until the next deadline, and this is a new one.
                    self._notify()
                pending.frames[camera] = frame
                self._close_what_can_be()

    def finish(self, camera: int) -> None:
        """Camera number ``camera`` will deliver no more; sets do not wait for it."""
        with self._lock:
            self._latest[camera] = _NO_MORE
            self._close_what_can_be()
            self._notify()

    @property
    def finished(self) -> bool:
        """True when all cameras have finished and no set is left to take."""
        with self._lock:
            return self._nothing_to_come and not self._ready

    @property
    def _nothing_to_come(self) -> bool:
        return min(self._latest) == _NO_MORE and not self._pending

    def take(self, timeout_s: float) -> FrameSet | None:
        """Wait for a set and take it; None after ``timeout_s``, and at once when no more will come.

        The taker must `count` and `release` it, or `drop` it.
        """
        ends = self._clock() + int(timeout_s * 1e9)
        while True:
            with self._lock:
                self._close_what_can_be()
                if self._ready:
                    return self._ready.popleft()
                now = self._clock()
                if now >= ends or self._nothing_to_come:
                    return None
                wake = min([ends, *(p.first_ns + self._wait_ns for p in self._pending.values() if not self._every)])
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
        """Drop everything that waits; afterwards captured = processed + dropped, for sets and for every camera."""
        with self._lock:
            for index in sorted(self._pending):
                self._close_pending(index)
            while self._ready:
                self._drop(self._ready.popleft(), reason)

    def _drop(self, frames: FrameSet, reason: str) -> None:
        self.sets.dropped[reason] += 1
        for frame in frames.frames:
            if frame is not None:
                self.cameras[frame.camera].dropped[reason] += 1
        self.release(frames)

    def _close_what_can_be(self) -> None:
        if not self._pending:
            return
        reached = min(self._latest)
        overdue = -1
        if not self._every:
            before = self._clock() - self._wait_ns
            overdue = max((i for i, p in self._pending.items() if p.first_ns <= before), default=-1)
        # Everything older than a set that is closed is closed with it: sets leave in order.
        for index in sorted(i for i in self._pending if i <= max(reached, overdue)):
            self._close_pending(index)

    def _close_pending(self, index: int) -> None:
        self._close(index, tuple(self._pending.pop(index).frames))

    def _close(self, index: int, frames: tuple[Frame | None, ...]) -> None:
        self._closed_index = index
        times = [frame.exposed_ns for frame in frames if frame is not None]
        closed = FrameSet(
            index=index,
            exposed_ns=sum(times) // len(times),
            frames=frames,
            skew_ns=max(times) - min(times),
            complete_ns=self._clock(),
        )
        self.sets.captured += 1
        self.incomplete += None in frames
        if not self._every:
            while self._ready:
                self._drop(self._ready.popleft(), "superseded")
        self._ready.append(closed)
        self._notify()

    def _notify(self) -> None:
        # Under self._lock, so nobody else lets go of it in between.
        if self._wake.locked():
            self._wake.release()
