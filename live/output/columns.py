"""Many poses as columns: what tables, plots and files of other programs are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np
import numpy.typing as npt

from poseloop.live.errors import DataError
from poseloop.live.output import wire
from poseloop.live.types import Float32

__all__ = ["TIMES", "Poses", "frame_counts", "pose_columns"]

TIMES = (
    "exposed_ns",
    "arrived_ns",
    "complete_ns",
    "infer_start_ns",
    "infer_end_ns",
    "decoded_ns",
    "triangulated_ns",
    "published_ns",
)
"""The columns of `Poses.times`."""

_Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Poses:
    """N poses in a row; fields are those of `poseloop.live.types.Pose`, with N in front of every shape."""

    sequence: _Int64
    index: _Int64
    missing: _Int64
    skew_ns: _Int64
    times: _Int64
    """(N, 8), see `TIMES`."""
    xy: Float32
    """(N, C, I, K, 2)."""
    camera_score: Float32
    """(N, C, I, K)."""
    xyz: Float32 | None
    """(N, I, K, 3); None on a 2D rig."""
    score: Float32
    """(N, I, K)."""
    residual_px: Float32
    views: npt.NDArray[np.uint8]
    predicted: Float32
    """(N, I, K, 3) or (N, C, I, K, 2)."""
    predicted_for_ns: _Int64
    frames: _Int64
    """(N, C) trigger count of each camera's frame that it was made of; -1 = missing."""

    def __len__(self) -> int:
        return len(self.sequence)

    def time(self, name: str) -> _Int64:
        """One column of `times`, (N,)."""
        column: _Int64 = self.times[:, TIMES.index(name)]
        return column


def pose_columns(messages: Sequence[bytes], frames: Sequence[bytes], shape: tuple[int, int, int]) -> Poses:
    """Unpack pose messages of one session.

    Args:
        messages: as on the socket.
        frames: as in the log.
        shape: cameras, individuals, keypoints.

    Raises:
        DataError: one is no pose of this version, or of other sizes.
    """
    found = [wire.unpack(message) for message in messages]
    c, i, k = shape
    n = len(found)
    try:
        sizes = {(message["cameras"], message["individuals"], message["keypoints"]) for message in found}
        if sizes - {shape}:
            raise DataError(f"expected poses of {shape} cameras, individuals, keypoints, but found {sorted(sizes)}")
        xy = _column(found, "xy", (n, c, i, k, 2))
        xyz = None if n == 0 or found[0]["xyz"] is None else _column(found, "xyz", (n, i, k, 3))
        measured = xy if xyz is None else xyz
        return Poses(
            sequence=_numbers(found, "sequence"),
            index=_numbers(found, "index"),
            missing=_numbers(found, "missing"),
            skew_ns=_numbers(found, "skew_ns"),
            times=np.array([message["times"][: len(TIMES)] for message in found], np.int64).reshape(n, len(TIMES)),
            xy=xy,
            camera_score=_column(found, "camera_score", (n, c, i, k)),
            xyz=xyz,
            score=_column(found, "score", (n, i, k)),
            residual_px=_column(found, "residual_px", (n, i, k)),
            views=np.frombuffer(b"".join(message["views"] for message in found), np.uint8).reshape(n, i, k),
            predicted=_predicted(found, measured),
            predicted_for_ns=_numbers(found, "predicted_for_ns"),
            frames=frame_counts(frames, c),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"expected pose messages as docs/wire.md describes them, but: {error!r}") from error


def frame_counts(packed: Sequence[bytes], cameras: int) -> _Int64:
    """The log's column ``frames``: (N, C) trigger counts, -1 = missing.

    Raises:
        DataError: it cannot be unpacked.
    """
    try:
        counts = [[-1 if index is None else index for index in msgpack.unpackb(row)] for row in packed]
        return np.array(counts, np.int64).reshape(len(counts), cameras)
    except (TypeError, ValueError, msgpack.UnpackException) as error:
        raise DataError(f"expected the frames of {cameras} cameras, but: {error!r}") from error


def _numbers(found: Sequence[Mapping[str, Any]], key: str) -> _Int64:
    return np.array([message[key] for message in found], np.int64)


def _column(found: Sequence[Mapping[str, Any]], key: str, shape: tuple[int, ...]) -> Float32:
    column: Float32 = np.frombuffer(b"".join(message[key] for message in found), "<f4").reshape(shape)
    return column


def _predicted(found: Sequence[Mapping[str, Any]], measured: Float32) -> Float32:
    given = [message["predicted"] for message in found]
    if None not in given:
        return _column(found, "predicted", measured.shape)
    # Some or all have no prediction: what was measured stands there instead.
    parts = [message.tobytes() if part is None else part for part, message in zip(given, measured, strict=True)]
    column: Float32 = np.frombuffer(b"".join(parts), "<f4").reshape(measured.shape)
    return column
