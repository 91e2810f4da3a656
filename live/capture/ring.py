"""Frame slots: the only image-sized memory of a camera, allocated once.

A camera fills a slot, the loop reads it, the slot goes round. This seam hides where the memory lies; today it is the
engine's own.
"""

from __future__ import annotations

import queue

import numpy as np

from poseloop.live.types import Image

__all__ = ["Ring"]


class Ring:
    """The slots of one camera.

    Bounded: when every slot is in use, `acquire` waits, and the camera's driver loses what its device delivers
    meanwhile; the gap in the trigger index tells.
    """

    def __init__(self, shape: tuple[int, ...], slots: int) -> None:
        """Allocate ``slots`` images of ``shape`` and touch every page, so that the first grab pays for none."""
        if slots < 3:
            raise ValueError(f"expected at least 3 slots (to fill, waiting, in the network), but got {slots}")
        images = np.empty((slots, *shape), np.uint8)
        images.fill(0)
        self._writable: list[Image] = list(images)
        self._readable: list[Image] = [image.view() for image in images]
        for image in self._readable:
            image.flags.writeable = False
        self._free: queue.SimpleQueue[int] = queue.SimpleQueue()
        for slot in range(slots):
            self._free.put(slot)

    def __len__(self) -> int:
        return len(self._writable)

    @property
    def free(self) -> int:
        """Slots that nobody holds, about now."""
        return self._free.qsize()

    def acquire(self, timeout_s: float) -> int | None:
        """Take a free slot; None if there is none within ``timeout_s``."""
        try:
            return self._free.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def writable(self, slot: int) -> Image:
        """The slot's image, for the driver that fills it."""
        return self._writable[slot]

    def readable(self, slot: int) -> Image:
        """The same memory, read-only, for everybody else."""
        return self._readable[slot]

    def release(self, slot: int) -> None:
        """Give the slot back; its image must not be read any more."""
        self._free.put(slot)
