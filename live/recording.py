"""What an engine sends to the recorder: every frame, every pose, all that was dropped, camera states and health.

Each thread has a line of its own, since a socket is one thread's, and uses it when nobody waits for it any more: the
camera's when its frame is in the loop, the inference thread when its pose is published.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from poseloop.live.capture.feed import Feed
from poseloop.live.output.record import Lines, Outlet
from poseloop.live.output.wire import Header
from poseloop.live.types import FrameSet, Pose

__all__ = ["Recording"]

_DROPS = 100_000
"""Dropped sets and frames that wait to be told; beyond it the oldest are not told. Their frames have rows all the same.
"""


class Recording:
    """One engine's. Use: `open` → `start` → (the threads) → `close`; `end` when the recorder is gone before."""

    def __init__(self) -> None:
        self._feeds: Sequence[Feed] = ()
        self._lines: Lines | None = None
        self._poses: Outlet | None = None
        self._others: Outlet | None = None
        self._drops: deque[tuple[int | None, int, str]] = deque(maxlen=_DROPS)
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
        self._poses, self._others = self._lines.outlet("poses"), self._lines.outlet("engine")
        for feed in self._feeds:
            feed.record = self._lines.outlet(f"camera {feed.camera.name}").frame
            feed.ring.hide()

    def end(self) -> None:
        """The recorder is gone: send no more, and take the slots back that it held; idempotent."""
        self._poses = self._others = None
        for feed in self._feeds:
            feed.record = None
            feed.ring.stop_lending()

    def note_drop(self, camera: int | None, index: int, reason: str) -> None:
        """Keep what was dropped for the next `tell`; from any thread."""
        self._drops.append((camera, index, reason))

    def send_pose(self, pose: Pose, message: bytes, frames: FrameSet) -> None:
        """Send one pose; by the inference thread."""
        if (poses := self._poses) is not None:
            poses.pose(pose, message, frames)

    def tell(self, kind: str = "", detail: Mapping[str, Any] | None = None) -> None:
        """Send an event, if there is one, and what was dropped since the last call; by the main thread."""
        if (others := self._others) is None:
            return
        while self._drops:
            others.add("dropped", *self._drops.popleft())
        if kind:
            others.event("engine", kind, detail or {})
        others.send()

    def close(self) -> None:
        """Send what is left; the threads have ended, or hang where they send nothing. Idempotent."""
        gone = self._poses is None
        self.tell()
        self.end()
        lines, self._lines = self._lines, None
        if lines is not None:
            lines.close(hurry=gone)
