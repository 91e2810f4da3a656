"""Writes the keypoints of a whole video as other programs read them: DeepLabCut's h5 and CSV, SLEAP's analysis h5.

Arrays are read in pieces, so that a `numpy.memmap` of any length is written in constant memory. A file is there whole
or not at all. Coordinates are px, x right, y down, pixel centres at integers; both formats take them as they are.
"""

from __future__ import annotations

import csv
import importlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from poseloop.live.errors import DataError

__all__ = ["needs", "readable_by_older", "whole", "write_deeplabcut", "write_sleap_analysis"]

_Floats = npt.NDArray[np.floating[Any]]

_PIECE = 4096
"""Frames that are in memory at once."""
_KEY = "df_with_missing"
_SPARE = 1 << 20
"""Bytes on the disk that HDF5 may need for itself."""
_PACKAGES = {"deeplabcut": ("pandas", "tables"), "sleap": ("h5py",)}


def needs(kind: str) -> None:
    """Say now, and not after hours of work, that a package is missing: ``deeplabcut`` (h5, not CSV) or ``sleap``.

    Raises:
        DataError: it is not installed.
    """
    for package in _PACKAGES[kind]:
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise DataError(f"h5 files of tracks need {package}: pip install 'poseloop[tracks]'") from error


@contextmanager
def whole(file: Path) -> Iterator[Path]:
    """Give a name to write to; only what was written to the end gets the file's own name.

    Raises:
        DataError: it cannot be written.
    """
    part = file.with_name(file.name + ".part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield part
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"{file}: cannot be written: {error.strerror or error}") from error


def write_deeplabcut(
    file: Path,
    scorer: str,
    keypoints: Sequence[str],
    xy: _Floats,
    score: _Floats,
    individuals: Sequence[str] = (),
    frames: npt.NDArray[np.integer[Any]] | None = None,
) -> None:
    """Write DeepLabCut's table of an analysed video: columns ``scorer, [individuals,] bodyparts, coords``.

    Args:
        file: ends in ``.csv``, or ``.h5`` (then the key is ``df_with_missing``, as DeepLabCut's).
        scorer: what found the points.
        keypoints: K names.
        xy: (N, I, K, 2) px; NaN = not seen.
        score: (N, I, K), the ``likelihood``.
        individuals: I names; empty: one animal, in the layout that knows no individuals.
        frames: (N,) numbers of the rows' frames, from 0; None: 0 … N − 1.

    Raises:
        DataError: there is no frame, the shapes or the file's ending are wrong, a package is missing, or the file
            cannot be written.
    """
    frames = _checked(file, keypoints, xy, score, individuals, frames)
    animals: list[tuple[str, ...]] = [(name,) for name in individuals] or [()]
    columns = [
        (scorer, *who, part, coord) for who in animals for part in keypoints for coord in ("x", "y", "likelihood")
    ]
    levels = ["scorer", *(["individuals"] if individuals else []), "bodyparts", "coords"]
    kind = file.suffix.lower()
    if kind not in (".csv", ".h5"):
        raise DataError(f"{file}: expected a name that ends in .h5 or .csv")
    if kind == ".h5":
        needs("deeplabcut")
    with whole(file) as part:
        rows = _rows(xy, score, frames)
        if kind == ".csv":
            _to_csv(part, levels, columns, rows)
        else:
            _to_h5(part, levels, columns, rows, len(frames))


def _rows(xy: _Floats, score: _Floats, frames: npt.NDArray[np.int64]) -> Iterator[tuple[npt.NDArray[np.int64], Any]]:
    """Pieces: numbers of frames (n,), values (n, I * K * 3)."""
    for start in range(0, len(frames), _PIECE):
        piece = slice(start, start + _PIECE)
        values = np.concatenate([xy[piece], score[piece][..., None]], axis=-1)
        yield frames[piece], values.reshape(len(values), -1)


def _to_csv(part: Path, levels: Sequence[str], columns: Sequence[tuple[str, ...]], rows: Iterator[Any]) -> None:
    with part.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        for number, level in enumerate(levels):
            writer.writerow([level, *(column[number] for column in columns)])
        for frames, values in rows:
            # The shortest text that gives the same number of its own precision; an empty cell is DeepLabCut's NaN.
            texts = np.where(np.isnan(values), "", values.astype(np.str_))
            writer.writerows([frame, *row] for frame, row in zip(frames.tolist(), texts.tolist(), strict=True))


def _to_h5(
    part: Path, levels: Sequence[str], columns: Sequence[tuple[str, ...]], rows: Iterator[Any], count: int
) -> None:
    import pandas
    import tables

    header = pandas.MultiIndex.from_tuples(columns, names=levels)
    with _hdf5(part, count * (len(columns) + 1), tables.open_file), pandas.HDFStore(part, mode="w") as store:
        for frames, values in rows:
            table = pandas.DataFrame(values.astype(np.float64), index=pandas.Index(frames), columns=header)
            store.append(_KEY, table, format="table")
        readable_by_older(store)


def readable_by_older(store: Any) -> None:
    """Say in which layout an open `pandas.HDFStore` holds a table.

    Pandas 3 leaves this out, whereupon pandas 2 (DeepLabCut's, napari-deeplabcut's) takes the file for one from before
    0.10 and fails. The number is that of the layout, which has been the same since.
    """
    store.get_storer(_KEY).attrs.pandas_version = "0.15.2"


def write_sleap_analysis(
    file: Path,
    keypoints: Sequence[str],
    xy: _Floats,
    score: _Floats,
    individuals: Sequence[str] = (),
    frames: npt.NDArray[np.integer[Any]] | None = None,
    skeleton: Sequence[tuple[str, str]] = (),
    video: str = "",
) -> None:
    """Write SLEAP's analysis h5, in the order of axes that SLEAP itself writes.

    ``instance_scores`` is the mean of an animal's point scores; tracking has no score here (NaN).

    Args:
        file: its name should end in ``.analysis.h5``.
        keypoints: K names.
        xy: (N, I, K, 2) px; NaN = not seen.
        score: (N, I, K).
        individuals: I names of tracks; empty: one, ``track_0``.
        frames: (N,) numbers of the rows' frames, rising from 0 on; frames between them become NaN. None: 0 … N − 1.
        skeleton: pairs of keypoints.
        video: path of the video, for SLEAP to find it.

    Raises:
        DataError: there is no frame, the shapes are wrong, h5py is missing, or the file cannot be written.
    """
    frames = _checked(file, keypoints, xy, score, individuals, frames)
    needs("sleap")
    import h5py

    length = int(frames[-1]) + 1
    tracks = list(individuals) or ["track_0"]
    i, k = len(tracks), len(keypoints)
    edges = [(keypoints.index(a), keypoints.index(b)) for a, b in skeleton]
    with whole(file) as part, _hdf5(part, length * i * (3 * k + 3), h5py.File), h5py.File(part, "w") as h5:

        def array(name: str, shape: tuple[int, ...], kind: str = "f8") -> Any:
            # Chunks along the frames: what is written piece by piece is compressed once.
            chunks = tuple(min(size, _PIECE) for size in shape)
            fill = 0 if kind == "u1" else np.nan
            return h5.create_dataset(name, shape, kind, chunks=chunks, compression="gzip", fillvalue=fill)

        xys = array("tracks", (i, 2, k, length))
        scores = array("point_scores", (i, k, length))
        means = array("instance_scores", (i, length))
        array("tracking_scores", (i, length))
        there = array("track_occupancy", (length, i), "u1")
        for start in range(0, length, _PIECE):
            stop = min(start + _PIECE, length)
            rows = slice(*np.searchsorted(frames, (start, stop)))
            places = frames[rows] - start
            here = np.full((stop - start, i, k, 3), np.nan)
            here[places, ..., :2], here[places, ..., 2] = xy[rows], score[rows]
            seen = np.isfinite(here[..., :2]).all(axis=-1)
            count = seen.sum(axis=-1)
            total = np.where(seen, np.nan_to_num(here[..., 2]), 0).sum(axis=-1)
            xys[..., start:stop] = here[..., :2].transpose(1, 3, 2, 0)
            scores[..., start:stop] = here[..., 2].transpose(1, 2, 0)
            means[:, start:stop] = np.where(count, total / np.maximum(count, 1), np.nan).T
            there[start:stop] = seen.any(axis=-1)
        h5["track_names"] = _texts(tracks)
        h5["node_names"] = _texts(keypoints)
        h5["edge_names"] = _texts([name for pair in skeleton for name in pair]).reshape(-1, 2)
        h5["edge_inds"] = np.array(edges, np.int32).reshape(-1, 2)
        h5["labels_path"], h5["video_path"], h5["video_ind"] = "", video, np.int32(0)
        h5["provenance"] = "{}"


@contextmanager
def _hdf5(part: Path, numbers: int, reopen: Callable[[str], Any]) -> Iterator[None]:
    """Make errors of the disk errors: HDF5 passes some over in silence, and crashes the program some time after others.

    Args:
        part: the file that is written.
        numbers: that it will hold, about.
        reopen: opens a file to read; it notices if the end is missing.

    Raises:
        OSError: the disk is too full, or the file is not whole.
    """
    needed, free = numbers * 8 + _SPARE, shutil.disk_usage(part.parent).free
    if free < needed:
        raise OSError(f"it may need {needed / 1e6:.0f} MB, but only {free / 1e6:.0f} MB are free on the disk")
    try:
        yield
        reopen(str(part)).close()
    except RuntimeError as error:
        said = str(error).strip().rsplit("\n", 1)[-1]
        raise OSError(f"HDF5 cannot write it, perhaps since the disk is full: {said}") from error


def _texts(names: Sequence[str]) -> npt.NDArray[np.bytes_]:
    return np.array([name.encode() for name in names], np.bytes_ if names else "S1")


def _checked(
    file: Path,
    keypoints: Sequence[str],
    xy: _Floats,
    score: _Floats,
    individuals: Sequence[str],
    frames: npt.NDArray[np.integer[Any]] | None,
) -> npt.NDArray[np.int64]:
    """The rows' frame numbers, once everything else fits together."""
    number = np.arange(len(xy)) if frames is None else np.asarray(frames, np.int64)
    expected = (len(number), len(individuals) or 1, len(keypoints))
    if xy.shape != (*expected, 2) or score.shape != expected:
        raise DataError(
            f"{file}: expected points {[*expected, 2]} and scores {list(expected)} (frames, individuals, keypoints), "
            f"but got {list(xy.shape)} and {list(score.shape)}"
        )
    if not len(number):
        raise DataError(f"{file}: expected points of at least one frame, but there is none")
    if number[0] < 0 or (np.diff(number) <= 0).any():
        raise DataError(f"{file}: expected numbers of frames that rise from 0 on")
    return number
