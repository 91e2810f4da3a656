"""Labelled pictures: decoded, in one colour order, and kept in memory as far as a limit allows."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, TypeVar

import cv2
import numpy as np

from poseloop.live.errors import DataError
from poseloop.live.types import Colour, Image

__all__ = ["Pictures", "decode", "in_threads", "read"]


class _Key(Protocol):
    """What tells one picture: anything with a path."""

    @property
    def path(self) -> Path: ...


_CONVERSIONS: dict[Colour, int] = {Colour.RGB: cv2.COLOR_BGR2RGB, Colour.GREY: cv2.COLOR_BGR2GRAY}
_Result = TypeVar("_Result")


def decode(content: bytes, colour: Colour) -> Image | None:
    """Decode a picture file to (H, W, 3), or (H, W) where ``colour`` is grey; None where it is no whole picture.

    Grey is made from the colours as `poseloop.live.vision.coords` makes it, not as a file format's library would.
    """
    try:
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) if content else None
    except cv2.error:
        return None
    if picture is None:
        return None
    if colour in _CONVERSIONS:
        picture = cv2.cvtColor(picture, _CONVERSIONS[colour])
    return np.asarray(picture, np.uint8)


def read(path: Path, colour: Colour) -> Image:
    """Read a picture file.

    Raises:
        DataError: it is missing, or no whole picture.
    """
    try:
        picture = decode(path.read_bytes(), colour)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    if picture is None:
        raise DataError(f"{path}: expected a picture, but its content cannot be decoded")
    return picture


class Pictures:
    """Pictures by path, the first ones kept until the memory for them is full. May be called from many threads."""

    def __init__(self, colour: Colour, limit_bytes: int = 1 << 30) -> None:
        """Keep at most ``limit_bytes`` of decoded pictures; beyond that, every call reads its file again."""
        self._colour = colour
        self._left = limit_bytes
        self._kept: dict[Path, Image] = {}
        self._lock = threading.Lock()

    def __call__(self, frame: _Key) -> Image:
        """Return a frame's picture, read-only.

        Raises:
            DataError: its file is missing, or no whole picture.
        """
        kept = self._kept.get(frame.path)
        if kept is not None:
            return kept
        picture = read(frame.path, self._colour)
        picture.flags.writeable = False
        with self._lock:
            if frame.path not in self._kept and picture.nbytes <= self._left:
                self._kept[frame.path] = picture
                self._left -= picture.nbytes
        return picture


def in_threads(work: Callable[[int], _Result], count: int) -> list[_Result]:
    """Do ``work(0)`` … ``work(count - 1)`` side by side; decoding leaves the interpreter free for others."""
    with ThreadPoolExecutor(max_workers=8, thread_name_prefix="pictures") as pool:
        return list(pool.map(work, range(count)))
