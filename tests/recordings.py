"""Small videos whose every frame is known, written to a folder of the test's own."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np

NAMES = ("snout", "leftear", "rightear")
SIZE = (96, 64)
"""Width and height."""


def dots(points: Sequence[tuple[float, float]], sigma: float = 4) -> np.ndarray[Any, Any]:
    """One dot in each colour, a cell of the tiny model wide."""
    width, height = SIZE
    y, x = np.mgrid[:height, :width]
    planes = [np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * sigma**2)) for px, py in points]
    return np.round(250 * np.stack(planes, axis=-1)).astype(np.uint8)


def moving(frames: int) -> list[np.ndarray[Any, Any]]:
    """Dots that move on by three pixels a frame, and turn back at the rims."""
    there = [abs((3 * n) % 140 - 70) + 12 for n in range(frames)]
    return [dots([(x, 12), (96 - x, 32), (x, 50)]) for x in there]


def write(file: Path, pictures: Sequence[np.ndarray[Any, Any]], rate: int = 25) -> Path:
    """Write RGB pictures without loss (FFV1 keeps RGB as it is)."""
    with av.open(str(file), "w") as container:
        stream: Any = container.add_stream("ffv1", rate=rate)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "bgr0"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return file
