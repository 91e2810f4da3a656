"""What a model scores where there is no animal: the empty scene, the animal painted over, pictures of something else.

A laser follows the score, so the score has to fall. A point passes where its score reaches the model's own gate; every
point that passes here is a stimulus that nothing caused.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.error import FFmpegError

from poseloop.live.errors import DataError
from poseloop.live.types import Colour, Image
from poseloop.live.vision import Network
from poseloop.train import pictures

__all__ = ["measure", "table"]

_FRAMES = 60
"""Of a video: enough for a median, and few enough to keep."""
_CHANGED = 25
"""Grey levels by which a pixel differs from the median where the animal is."""
_MARGIN = 15 / 480
"""How much more is painted over, in heights of the picture: fur and tail differ less than this from the floor."""
_PICTURES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff"})


def measure(network: Network, path: Path) -> dict[str, dict[str, Any]]:
    """Score pictures without an animal.

    Args:
        network: the model; its gate decides.
        path: a video of a camera that stands still, in which one animal moves about: the median of its frames is the
            empty scene, and with that the animal is painted over. Or a picture, or a folder of pictures, without one.

    Returns:
        For a report, by kind (``median``, ``painted over`` or ``pictures``): ``pictures, points, passed, share,
        highest``.

    Raises:
        DataError: there is nothing to look at, or it cannot be read.
    """
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in _PICTURES)
        if not files:
            raise DataError(f"{path}: expected pictures ({', '.join(sorted(_PICTURES))}), but there are none")
        return {"pictures": _scores(network, [pictures.read(file, Colour.RGB) for file in files])}
    if path.suffix.lower() in _PICTURES:
        return {"pictures": _scores(network, [pictures.read(path, Colour.RGB)])}
    frames = _frames(path)
    median = np.median(frames, axis=0).astype(np.uint8)
    return {
        "median": _scores(network, [median]),
        "painted over": _scores(network, [_paint_over(frame, median) for frame in frames]),
    }


def _frames(path: Path) -> list[Image]:
    """Frames at even distances through a video, RGB."""
    found: list[Image] = []
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            total = stream.frames or sum(1 for packet in container.demux(stream) if packet.size)
            step = max(total // _FRAMES, 1)
            container.seek(0)
            for number, frame in enumerate(container.decode(stream)):
                if number % step == 0:
                    found.append(np.asarray(frame.to_ndarray(format="rgb24"), np.uint8))
    except (FFmpegError, OSError, IndexError) as error:
        raise DataError(f"{path}: expected a video, a picture or a folder of pictures, but got: {error}") from error
    if len(found) < 3:
        raise DataError(f"{path}: expected a video of some length, but it has {len(found)} frames")
    return found


def _paint_over(frame: Image, scene: Image) -> Image:
    margin = max(3, round(_MARGIN * frame.shape[0])) | 1
    moved = (cv2.absdiff(frame, scene).max(axis=-1) > _CHANGED).astype(np.uint8)
    mask = cv2.dilate(moved, np.ones((margin, margin), np.uint8))
    return np.asarray(cv2.copyTo(scene, mask, frame.copy()), np.uint8)


def _scores(network: Network, shown: list[Image]) -> dict[str, Any]:
    shown = sorted(shown, key=lambda picture: picture.shape)  # a change of size loads the network again
    score = np.nan_to_num(np.concatenate([network.infer([picture]).score[0].ravel() for picture in shown]))
    passed = score >= network.info.gate
    return {
        "pictures": len(shown),
        "points": len(score),
        "passed": int(passed.sum()),
        "share": round(float(passed.mean()), 4),
        "highest": round(float(score.max()), 4),
    }


def table(found: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Write what `measure` found for a terminal, by the paths' names."""
    rows = [
        f"  {path}, {kind}: {100 * row['share']:.1f} % of {row['points']} points in {row['pictures']} pictures pass, "
        f"highest score {row['highest']:.2f}"
        for path, kinds in found.items()
        for kind, row in kinds.items()
    ]
    return "\n".join(["without animal", *rows])
