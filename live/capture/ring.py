"""Frame slots: the only image-sized memory of a camera, allocated once.

A camera fills a slot, the loop reads it, and the recorder's process may read it, too; the slot goes round when both
have given it back. This seam hides where the memory lies: in a recorded run it is shared between the processes, without
a name that could outlive them (`Memory`).
"""

from __future__ import annotations

import contextlib
import itertools
import math
import mmap
import os
import queue
import sys
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from poseloop.live.errors import DataError
from poseloop.live.types import Image

__all__ = ["LentSlots", "Memory", "Ring", "live_slots", "recorder_slots"]

_PAGE = 4096
_counter = itertools.count()

_LOOK_S = 0.002
"""How often a camera without a free slot looks whether the recorder has given one back."""


def live_slots(fps: float, wait_ms: float) -> int:
    """Slots of one camera for the loop: to fill, in the network, a closed set, a preview, and the sets that wait."""
    waiting = math.ceil(max(fps, 1.0) * wait_ms / 1000) + 1
    return 4 + min(waiting, 60)


def recorder_slots(fps: float, buffer_ms: float) -> int:
    """Slots of one camera that wait for the encoder at most; 0 without a buffer."""
    return 0 if buffer_ms == 0 else max(4, math.ceil(max(fps, 1.0) * buffer_ms / 1000))


class Memory:
    """Memory that another process can open by its address, and that is gone with the last of them, however they end.

    Linux: an anonymous file (memfd), opened through the owner's ``/proc`` entry, so that there is never a name to clean
    up. Windows: a named mapping, which the system frees with its last handle. Elsewhere: a temporary file, which has
    its name only until the other process has opened it.
    """

    def __init__(self, size: int) -> None:
        """Allocate ``size`` bytes, all zero."""
        self.size = size
        self._descriptor = -1
        self._path: Path | None = None
        if sys.platform == "win32":
            self.address = f"poseloop-{os.getpid()}-{next(_counter)}"
            self.map = mmap.mmap(-1, size, tagname=self.address)
            return
        if sys.platform == "linux":
            self._descriptor = os.memfd_create("poseloop-slots")
            self.address = f"/proc/{os.getpid()}/fd/{self._descriptor}"
        else:
            self._descriptor, self.address = tempfile.mkstemp(prefix="poseloop-slots-")
            self._path = Path(self.address)
        os.ftruncate(self._descriptor, size)
        self.map = mmap.mmap(self._descriptor, size)

    @staticmethod
    def attach(address: str, size: int) -> mmap.mmap:
        """Open another process's memory.

        Raises:
            DataError: it is gone.
        """
        if sys.platform == "win32":
            return mmap.mmap(-1, size, tagname=address)
        try:
            descriptor = os.open(address, os.O_RDWR)
        except OSError as error:
            raise DataError(f"the engine's frame slots cannot be opened at {address}: {error.strerror}") from error
        try:
            return mmap.mmap(descriptor, size)
        finally:
            os.close(descriptor)

    def hide(self) -> None:
        """The other process has opened it: nobody can find it any more. Idempotent."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._path = None

    def close(self) -> None:
        """Give it back; pages that arrays still look at stay until these are gone. Idempotent."""
        self.hide()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        with contextlib.suppress(BufferError):
            self.map.close()


class Ring:
    """The slots of one camera.

    Bounded: when every slot is in use, `acquire` waits, and the camera's driver loses what its device delivers
    meanwhile; the gap in the trigger index tells. The recorder never holds more than ``lendable`` slots, so that the
    others are always the loop's.
    """

    def __init__(self, shape: tuple[int, ...], slots: int, lendable: int = 0) -> None:
        """Allocate images of ``shape`` and touch every page, so that the first grab pays for none.

        Args:
            shape: of one image.
            slots: for the loop.
            lendable: more slots, for the recorder; 0 = the memory is this process's own.
        """
        if slots < 3:
            raise ValueError(f"expected at least 3 slots (to fill, waiting, in the network), but got {slots}")
        count = slots + lendable
        self._memory: Memory | None = None
        if lendable:
            self._memory = Memory(_size(shape, count))
            self._lent, images = _views(self._memory.map, shape, count)
        else:
            self._lent, images = memoryview(bytearray(count)), np.empty((count, *shape), np.uint8)
        images.fill(0)
        self._shape = shape
        self._lendable = lendable
        self._writable: list[Image] = list(images)
        self._readable: list[Image] = [image.view() for image in images]
        for image in self._readable:
            image.flags.writeable = False
        self._free: queue.SimpleQueue[int] = queue.SimpleQueue()
        for slot in range(count):
            self._free.put(slot)
        self._kept: deque[int] = deque()
        """Slots that the loop has given back and the recorder has not."""

    def __len__(self) -> int:
        return len(self._writable)

    @property
    def address(self) -> dict[str, Any]:
        """What `LentSlots` needs to read the slots in another process; only of a ring with ``lendable`` slots."""
        assert self._memory is not None, "this ring's memory is not shared"
        return {
            "address": self._memory.address,
            "shape": list(self._shape),
            "slots": len(self),
            "lendable": self._lendable,
        }

    @property
    def free(self) -> int:
        """Slots that nobody holds, about now."""
        self._reap()
        return self._free.qsize()

    def acquire(self, timeout_s: float) -> int | None:
        """Take a free slot; None if there is none within ``timeout_s``. For one thread, the camera's."""
        ends_s = time.monotonic() + timeout_s
        while True:
            self._reap()
            left_s = max(ends_s - time.monotonic(), 0.0)
            # The loop wakes us with a slot, the recorder does not.
            wait_s = min(left_s, _LOOK_S) if self._lendable else left_s
            try:
                return self._free.get(timeout=wait_s)
            except queue.Empty:
                if wait_s >= left_s:
                    return None

    def _reap(self) -> None:
        for _ in range(len(self._kept)):
            slot = self._kept.popleft()
            if self._lent[slot]:
                self._kept.append(slot)
            else:
                self._free.put(slot)

    def lend(self, slot: int) -> bool:
        """Let the recorder read the slot until it gives it back; before the loop has it, by the camera's thread.

        False: the recorder holds as many as it may.
        """
        if bytes(self._lent).count(1) >= self._lendable:
            return False
        self._lent[slot] = 1
        if self._lendable:
            return True
        # `stop_lending` came in between.
        self._lent[slot] = 0
        return False

    def take_back(self, slot: int) -> None:
        """The recorder was not told of this slot."""
        self._lent[slot] = 0

    def stop_lending(self) -> None:
        """The recorder is gone, or reads no more: take everything back, for good. Idempotent."""
        self._lendable = 0
        for slot in range(len(self)):
            self._lent[slot] = 0

    def hide(self) -> None:
        """The recorder has opened the memory."""
        if self._memory is not None:
            self._memory.hide()

    def writable(self, slot: int) -> Image:
        """The slot's image, for the driver that fills it."""
        return self._writable[slot]

    @property
    def pictures(self) -> Sequence[Image]:
        """What `readable` gives for each slot: always the same arrays."""
        return tuple(self._readable)

    def readable(self, slot: int) -> Image:
        """The same memory, read-only, for everybody else."""
        return self._readable[slot]

    def release(self, slot: int) -> None:
        """The loop gives the slot back; it must not read its image any more."""
        if self._lent[slot]:
            self._kept.append(slot)
        else:
            self._free.put(slot)

    def close(self) -> None:
        """Give shared memory back; idempotent."""
        if self._memory is not None:
            self._memory.close()


class LentSlots:
    """A ring's slots, as the recorder's process sees them."""

    def __init__(self, address: str, shape: Sequence[int], slots: int) -> None:
        """Open them by what `Ring.address` says.

        Raises:
            DataError: the engine is gone.
        """
        self._lent, self._images = _views(Memory.attach(address, _size(tuple(shape), slots)), tuple(shape), slots)
        self._images.flags.writeable = False

    def image(self, slot: int) -> Image:
        """A lent slot's image, read-only; valid until `give_back`."""
        image: Image = self._images[slot]
        return image

    def give_back(self, slot: int) -> None:
        """The image is not read any more.

        One byte tells the camera's thread, which looks at it when it needs a slot: no message has to wake it.
        """
        self._lent[slot] = 0


def _size(shape: tuple[int, ...], slots: int) -> int:
    return _flags_size(slots) + slots * math.prod(shape)


def _flags_size(slots: int) -> int:
    """Bytes before the images, one for each slot: is it lent?"""
    return -(-slots // _PAGE) * _PAGE


def _views(
    memory: mmap.mmap, shape: tuple[int, ...], slots: int
) -> tuple[memoryview, np.ndarray[Any, np.dtype[np.uint8]]]:
    images = np.frombuffer(memory, np.uint8, slots * math.prod(shape), _flags_size(slots)).reshape(slots, *shape)
    return memoryview(memory)[:slots], images
