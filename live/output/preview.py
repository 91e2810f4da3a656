"""Small pictures for monitors, made outside the loop from sets that the loop is done with."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping

import cv2
import numpy as np

from poseloop.live.clock import now_ns
from poseloop.live.config import Publish
from poseloop.live.output.wire import Preview
from poseloop.live.types import Colour, Frame, FrameSet

__all__ = ["Previewer"]

_QUALITY = 85


class Previewer:
    """Takes a set now and then, keeps its slots until the pictures are made, and gives them back.

    Bounded: one set at a time; while it is worked on, others are passed over.
    """

    def __init__(
        self,
        settings: Publish,
        colours: Mapping[str, Colour],
        send: Callable[[Preview], None],
        release: Callable[[FrameSet], None],
    ) -> None:
        """Keep what to call.

        Args:
            settings: rate and size.
            colours: camera name → order of its channels.
            send: publishes one picture.
            release: gives a set's slots back.
        """
        self._period_ns = int(1e9 / settings.preview_fps)
        self._width = settings.preview_width
        self._colours = colours
        self._send = send
        self._release = release
        self._due_ns = 0
        self._work: queue.SimpleQueue[FrameSet | None] = queue.SimpleQueue()
        self._idle = threading.Event()
        self._idle.set()

    def offer(self, frames: FrameSet) -> bool:
        """Take over the set if a preview is due and the thread is idle; False = it stays the caller's."""
        now = now_ns()
        if now < self._due_ns or not self._idle.is_set():
            return False
        # Multiples of the period keep the mean rate; after a pause the next one is due at once, not in a burst.
        self._due_ns = max(self._due_ns + self._period_ns, now - self._period_ns)
        self._idle.clear()
        self._work.put(frames)
        return True

    def stop(self) -> None:
        """Let `run` finish what was taken and return."""
        self._work.put(None)

    def run(self) -> None:
        """Make previews until `stop`; the engine gives it a thread."""
        while (frames := self._work.get()) is not None:
            try:
                for frame in frames.frames:
                    if frame is not None:
                        self._send(self._make(frame))
            finally:
                self._release(frames)
                self._idle.set()

    def _make(self, frame: Frame) -> Preview:
        image = frame.image
        scale = min(1.0, self._width / image.shape[1])
        if scale < 1:
            size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
            image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
        if self._colours[frame.camera] is Colour.RGB:
            image = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), np.uint8)
        _, jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
        return Preview(frame.index, frame.camera, scale, jpeg.tobytes())
