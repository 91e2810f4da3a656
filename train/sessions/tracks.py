"""A session's points as DeepLabCut and SLEAP would have found them in its videos: a row for each picture."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from poseloop.live.errors import DataError
from poseloop.live.output.session import Session
from poseloop.live.types import Float32
from poseloop.train.trackfiles import needs, write_deeplabcut, write_sleap_analysis

__all__ = [
    "CameraTrack",
    "camera_tracks",
    "individuals",
    "pictures_of",
    "scorer",
    "scratch",
    "to_deeplabcut",
    "to_sleap",
]

_Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class CameraTrack:
    """The points in one camera's video; F pictures."""

    camera: str
    xy: Float32
    """(F, I, K, 2) px; NaN = not seen, or the loop passed the picture over."""
    score: Float32
    """(F, I, K)."""


def individuals(session: Session) -> tuple[str, ...]:
    """Names of the animals; empty where there is one."""
    count = session.individuals
    return () if count == 1 else tuple(f"animal_{number}" for number in range(1, count + 1))


@contextmanager
def camera_tracks(session: Session) -> Iterator[list[CameraTrack]]:
    """Every recorded camera's points; see `scratch`.

    Raises:
        DataError: the session has no pictures, or is damaged.
    """
    counts = {camera: session.frames(camera).index for camera in session.cameras}
    recorded = [camera for camera in session.cameras if len(counts[camera])]
    if not recorded:
        raise DataError(f"{session.folder}: expected pictures, whose points could be told, but none was recorded")
    with scratch() as floats:
        tracks = []
        for camera in recorded:
            shape = (len(counts[camera]), session.individuals, len(session.keypoints))
            tracks.append(CameraTrack(camera, floats((*shape, 2)), floats(shape)))
        for block in session.pose_columns():
            for track in tracks:
                number = session.cameras.index(track.camera)
                rows = pictures_of(counts[track.camera], block.frames[:, number])
                track.xy[rows[rows >= 0]] = block.xy[rows >= 0, number]
                track.score[rows[rows >= 0]] = block.camera_score[rows >= 0, number]
        yield tracks


@contextmanager
def scratch() -> Iterator[Callable[[tuple[int, ...]], Float32]]:
    """Give a function that makes arrays of NaN which lie in files: a day needs no more memory than a minute."""
    numbers = itertools.count()

    def floats(shape: tuple[int, ...]) -> Float32:
        made: Float32 = np.lib.format.open_memmap(Path(folder) / f"{next(numbers)}.npy", "w+", np.float32, shape)
        made[:] = np.nan
        return made

    # Windows deletes no file that is still mapped.
    with tempfile.TemporaryDirectory(prefix="poseloop-", ignore_cleanup_errors=True) as folder:
        yield floats


def pictures_of(indices: _Int64, wanted: _Int64) -> _Int64:
    """Numbers of the pictures that were taken at the triggers ``wanted``; -1 = not in the video.

    Args:
        indices: trigger count of each picture, as `Frames.index`.
        wanted: trigger counts; -1 is none.
    """
    order = np.argsort(indices, kind="stable")
    place = np.searchsorted(indices, wanted, sorter=order)
    found = order[np.minimum(place, len(order) - 1)] if len(order) else np.zeros(len(wanted), np.int64)
    there = (wanted >= 0) & (indices[found] == wanted) if len(order) else np.zeros(len(wanted), bool)
    return np.where(there, found, -1)


def to_deeplabcut(session: Session, folder: Path) -> list[Path]:
    """Write ``CAMERA.h5`` and ``CAMERA.csv``, as DeepLabCut leaves them beside an analysed video.

    Raises:
        DataError: a package is missing, or a file cannot be written.
    """
    needs("deeplabcut")
    written = []
    with camera_tracks(session) as tracks:
        for track in tracks:
            for ending in (".h5", ".csv"):
                written.append(folder / f"{track.camera}{ending}")
                names = individuals(session)
                write_deeplabcut(written[-1], scorer(session), session.keypoints, track.xy, track.score, names)
    return written


def to_sleap(session: Session, folder: Path) -> list[Path]:
    """Write ``CAMERA.analysis.h5``, as SLEAP exports it.

    Raises:
        DataError: a package is missing, or a file cannot be written.
    """
    needs("sleap")
    written = []
    with camera_tracks(session) as tracks:
        for track in tracks:
            written.append(folder / f"{track.camera}.analysis.h5")
            footage = session.footage.get(track.camera)
            write_sleap_analysis(
                written[-1],
                session.keypoints,
                track.xy,
                track.score,
                individuals(session),
                skeleton=session.skeleton,
                video=str(footage.file.absolute()) if footage else "",
            )
    return written


def scorer(session: Session) -> str:
    """What found the points, as DeepLabCut's files call it."""
    return f"poseloop_{next(iter(session.models.values())).name}" if session.models else "poseloop"
