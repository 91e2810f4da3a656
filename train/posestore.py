"""The poses of one video on their way to disk: one record a frame, so that a killed run goes on where it was.

The file is one line of JSON (what makes the poses what they are), padded to a multiple of `_ALIGNED` bytes, then a
record for each frame from the first on: (I, K, 3) float32 of x, y, score. A record's place is its frame's number, so
none can be lost or doubled; one that was cut short by a kill is written again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np
import numpy.typing as npt

from poseloop.live.errors import DataError
from poseloop.live.types import Float32

__all__ = ["PoseStore"]

_ALIGNED = 4096


class PoseStore:
    """Poses of the first frames of a video; a context manager.

    Args:
        file: where; it is begun anew unless it says the same of itself.
        about: what makes the poses what they are (model, video, settings); plain values.
        individuals: I.
        keypoints: K.
    """

    def __init__(self, file: Path, about: Mapping[str, Any], individuals: int, keypoints: int) -> None:
        self.file = file
        self._shape = (individuals, keypoints, 3)
        self._size = 4 * individuals * keypoints * 3
        line = (
            json.dumps({**about, "individuals": individuals, "keypoints": keypoints}, sort_keys=True).encode() + b"\n"
        )
        self._head = line.ljust(-(-len(line) // _ALIGNED) * _ALIGNED, b" ")
        self._stream: BinaryIO | None = None
        self._count = 0

    def __enter__(self) -> Self:
        """Open, and count the frames that are there already.

        Raises:
            DataError: the file cannot be written.
        """
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self._stream = self.file.open("r+b" if self.file.exists() else "w+b", buffering=0)
            if self._stream.read(len(self._head)) != self._head:
                self._stream.truncate(0)
                self._write(self._head, 0)
            self._count = (self._stream.seek(0, os.SEEK_END) - len(self._head)) // self._size
        except OSError as error:
            self.__exit__(None, None, None)
            raise DataError(f"{self.file}: cannot be written: {error.strerror}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file; what is in it stays."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def __len__(self) -> int:
        """How many frames it has."""
        return self._count

    def append(self, xy: Float32, score: Float32) -> None:
        """Add frames: xy (n, I, K, 2) px, score (n, I, K).

        Raises:
            DataError: the disk is full.
        """
        records = np.concatenate([xy, score[..., None]], axis=-1, dtype=np.float32)
        try:
            self._write(records.tobytes(), len(self._head) + self._count * self._size)
        except OSError as error:
            raise DataError(f"{self.file}: cannot be written: {error.strerror}") from error
        self._count += len(records)

    def read(self) -> Float32:
        """All frames, (N, I, K, 3) x, y, score: a view of the file, which is fetched as it is used."""
        if not self._count:
            return np.empty((0, *self._shape), np.float32)
        poses: npt.NDArray[np.float32] = np.memmap(
            self.file, np.float32, "r", len(self._head), (self._count, *self._shape)
        )
        return poses

    def _write(self, content: bytes, place: int) -> None:
        assert self._stream is not None
        self._stream.seek(place)
        left = memoryview(content)
        while left:
            left = left[self._stream.write(left) :]
