"""What an engine sends to the recorder: every frame, every pose, all that was dropped, camera states and health.

The engine's threads only put rows into a queue. One thread of its own sends them, woken when a pose has been published:
then nobody waits for the processor, neither here nor for the cores on which the recorder encodes.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import msgpack

from poseloop.live.capture.feed import Feed
from poseloop.live.clock import now_ns
from poseloop.live.output.record import PICTURE, Lines, Outlet
from poseloop.live.output.wire import Header
from poseloop.live.types import FrameSet, Pose, Stamp

__all__ = ["Recording"]

_LATEST_S = 0.02
"""So long after the last time rows are sent though no pose was published."""

_ROWS = 100_000
"""Rows that wait to be sent; never so many, since sending does not wait."""


class Recording:
    """One engine's. Use: `open` → `start` → (the threads) → `close`; `end` when the recorder is gone before."""

    def __init__(self) -> None:
        self._feeds: Sequence[Feed] = ()
        self._rows: deque[tuple[str, tuple[Any, ...]]] = deque(maxlen=_ROWS)
        self._lines: Lines | None = None
        self._outlet: Outlet | None = None
        self._thread: threading.Thread | None = None
        self._stopping = False
        # A bare lock as a flag, as in `poseloop.live.capture.sync`.
        self._wake = threading.Lock()
        self._wake.acquire()
        self.request: dict[str, Any] = {}
        """What the recorder has to know of the cameras, after `open`."""

    def open(self, feeds: Sequence[Feed], header: Header, individuals: int) -> None:
        """Keep what is recorded; the rings are shared from now on."""
        self._feeds = feeds
        self.request = {
            "cameras": [
                {"name": feed.camera.name, **asdict(feed.camera.format), **feed.ring.address} for feed in feeds
            ],
            "meta": {
                "keypoints": list(header.keypoints),
                "skeleton": [list(bone) for bone in header.skeleton],
                "gate": header.gate,
                "individuals": individuals,
            },
        }

    def start(self, endpoint: str) -> None:
        """Send to the recorder there, which has opened the rings; before the cameras are started."""
        self._lines = Lines(endpoint)
        self._outlet = self._lines.outlet("engine")
        for feed in self._feeds:
            feed.record = self._frame
            feed.ring.hide()
        self._thread = threading.Thread(target=self._run, name="recording")
        self._thread.start()

    def end(self) -> None:
        """The recorder is gone: send no more, and take the slots back that it held; idempotent."""
        self._outlet = None
        for feed in self._feeds:
            feed.record = None
            feed.ring.stop_lending()

    def _frame(self, camera: int, slot: int, index: int, stamp: Stamp) -> None:
        # A driver's integers may be NumPy's, which a message cannot hold.
        times = index, int(stamp.exposed_ns), int(stamp.arrived_ns), int(stamp.device_ns)
        self._rows.append((PICTURE, (camera, slot, *times)))

    def note_drop(self, camera: int | None, index: int, reason: str) -> None:
        """Keep what was dropped; from any thread."""
        self._rows.append(("dropped", (camera, index, reason)))

    def send_pose(self, pose: Pose, message: bytes, frames: FrameSet) -> None:
        """Send one pose, as it was published, and all that waits; by the inference thread."""
        made_of = msgpack.packb([None if frame is None else frame.index for frame in frames.frames])
        times = pose.trace.exposed_ns, pose.trace.published_ns
        self._rows.append(("pose", (pose.sequence, pose.index, *times, message, made_of)))
        if self._wake.locked():
            self._wake.release()

    def tell(self, kind: str, detail: Mapping[str, Any]) -> None:
        """Keep an event that happened now; from any thread."""
        self._rows.append(("event", (now_ns(), "engine", kind, json.dumps(detail))))

    def _run(self) -> None:
        while not self._stopping:
            self._wake.acquire(timeout=_LATEST_S)
            self._send()

    def _send(self) -> None:
        rows = [self._rows.popleft() for _ in range(len(self._rows))]
        outlet = self._outlet
        if outlet is None:
            return
        for table, row in rows:
            outlet.add(table, *row)
        if not outlet.send():
            for table, row in rows:
                if table == PICTURE and row[1] >= 0:
                    self._feeds[row[0]].ring.take_back(row[1])

    def close(self) -> None:
        """Send what is left; the engine's threads have ended, or hang where they send nothing. Idempotent."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._stopping = True
            thread.join()
            self._send()
        gone = self._outlet is None
        self.end()
        lines, self._lines = self._lines, None
        if lines is not None:
            lines.close(hurry=gone)
