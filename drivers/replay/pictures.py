"""A folder of pictures as a recording, in natural order: ``img2.png`` before ``img10.png``."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np

from poseloop.live.errors import DataError
from poseloop.live.types import CameraFormat, Colour, Image

__all__ = ["SUFFIXES", "Pictures", "natural_key"]

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".pgm", ".ppm", ".webp"})
"""What counts as a picture, in any case."""


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key that orders runs of digits by value, and before letters."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name.casefold())
    return tuple((0, int(part), "") if part[0] in "0123456789" else (1, 0, part) for part in parts)


class Pictures:
    """The pictures of one folder, in order, ``1 / fps`` apart."""

    def __init__(self, path: Path, colour: Colour, fps: float) -> None:
        self._path = path
        self._colour = colour
        self._fps = fps
        self._files: list[Path] = []
        self._next = 0
        self._shape: tuple[int, ...] = ()
        self._image: Image | None = None

    def open(self) -> CameraFormat:
        """List the folder and read its first picture.

        Raises:
            DataError: there is no picture, or the first one cannot be read.
        """
        names = (file for file in self._path.iterdir() if not file.name.startswith("."))
        self._files = sorted(
            (file for file in names if file.suffix.lower() in SUFFIXES), key=lambda file: natural_key(file.name)
        )
        if not self._files:
            raise DataError(f"{self._path}: expected pictures ({', '.join(sorted(SUFFIXES))}), but found none")
        self._shape = ()
        image = _read(self._files[0], self._colour)
        self._shape = image.shape
        self.rewind()
        return CameraFormat(image.shape[1], image.shape[0], self._colour, self._fps)

    @property
    def period_ns(self) -> int:
        """From one picture to the next."""
        return round(1e9 / self._fps)

    def rewind(self) -> None:
        """Go to before the first picture."""
        self._next = 0
        self._image = None

    def advance(self) -> int | None:
        """Read the next picture and return its time since the first one in ns; None at the end.

        Raises:
            DataError: it cannot be read, or has another size than the first.
        """
        if self._next >= len(self._files):
            self._image = None
            return None
        file = self._files[self._next]
        image = _read(file, self._colour)
        if image.shape != self._shape:
            raise DataError(
                f"{file}: expected {self._shape[1]} x {self._shape[0]} px as in {self._files[0].name}, "
                f"but got {image.shape[1]} x {image.shape[0]}"
            )
        self._image = image
        offset_ns = round(self._next * 1e9 / self._fps)
        self._next += 1
        return offset_ns

    def copy_to(self, into: Image) -> None:
        """Copy the current picture."""
        if self._image is None:
            raise DataError(f"{self._path}: there is no current picture")
        np.copyto(into, self._image)

    def close(self) -> None:
        """Forget the current picture; idempotent."""
        self._image = None


def _read(file: Path, colour: Colour) -> Image:
    """Read one 8-bit picture as (H, W) or (H, W, 3).

    Raises:
        DataError: it is missing, damaged, or has more than 8 bits a channel.
    """
    # OpenCV opens no path with letters beyond ASCII on Windows, so it is given the bytes.
    try:
        data = np.fromfile(file, np.uint8)
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror}") from error
    # ANYDEPTH keeps 16 bits as they are: the upper 8 of a 12-bit camera's would be almost black.
    depth = cv2.IMREAD_ANYDEPTH
    flags = cv2.IMREAD_GRAYSCALE | depth if colour is Colour.GREY else cv2.IMREAD_COLOR | depth
    image = cv2.imdecode(data, flags) if data.size else None
    if image is None:
        raise DataError(f"{file}: expected a picture, but it cannot be decoded")
    if image.dtype != np.uint8:
        raise DataError(f"{file}: expected 8 bits a channel, but it has {8 * image.dtype.itemsize}")
    if colour is Colour.RGB:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)
    return np.asarray(image, np.uint8)
