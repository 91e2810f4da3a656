"""Keypoints that programs found in videos: SLEAP's analysis h5, DeepLabCut's h5 and CSV.

An h5 file of DeepLabCut's cannot be read without unpickling: open only those of people you trust.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from poseloop.live.errors import DataError

__all__ = ["Tracks", "read_tracks", "together"]

_SHORTER = 0.95
"""Of the longest one: what tracks end with may lack frames in which nothing was seen, but not more."""

_Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Tracks:
    """The keypoints of one animal in one camera's video."""

    keypoints: tuple[str, ...]
    xy: _Float64 = field(repr=False)
    """(F, K, 2) px; NaN = not seen. Frame by frame from the video's first on."""
    score: _Float64 = field(repr=False)
    """(F, K) in 0..1; 1 where a person set the point, NaN where it was not seen."""


def read_tracks(file: Path, animal: str | None = None) -> Tracks:
    """Read one animal's keypoints.

    Args:
        file: .h5 or .csv.
        animal: its name in the file; may be left out where there is only one.

    Raises:
        DataError: the file is missing, of another kind, or has no such animal.
    """
    if not file.is_file():
        raise DataError(f"{file}: there is no such file of tracks")
    try:
        import h5py
        import pandas
        import tables  # noqa: F401  (pandas needs it, and says so less clearly)
    except ImportError as error:
        raise DataError(f"{file}: tracks need h5py, pandas and PyTables: pip install 'poseloop[tracks]'") from error
    try:
        if file.suffix.lower() == ".csv":
            rows = 1 + _levels(file)
            return _deeplabcut(file, pandas.read_csv(file, header=list(range(rows)), index_col=0), animal)
        with h5py.File(file) as content:
            if "tracks" in content and "node_names" in content:
                return _sleap(file, content, animal)
        return _deeplabcut(file, pandas.read_hdf(file), animal)
    except (OSError, KeyError, ValueError, TypeError, IndexError) as error:
        raise DataError(
            f"{file}: expected SLEAP's analysis h5, or DeepLabCut's h5 or CSV, but it cannot be read as such: {error}"
        ) from error


def together(tracks: Mapping[str, Tracks]) -> tuple[tuple[str, ...], _Float64, _Float64]:
    """Put the tracks of C cameras beside each other.

    Returns:
        The K keypoints that all of them have; their places (C, F, K, 2) px; their scores (C, F, K).

    Raises:
        DataError: they have no keypoint in common, or differ in length by more than a little.
    """
    first = next(iter(tracks.values()))
    shared = tuple(name for name in first.keypoints if all(name in one.keypoints for one in tracks.values()))
    if not shared:
        names = "; ".join(f"{camera}: {', '.join(one.keypoints)}" for camera, one in tracks.items())
        raise DataError(f"expected keypoints of the same names, but the tracks share none ({names})")
    lengths = {camera: len(one.xy) for camera, one in tracks.items()}
    frames = max(lengths.values())
    if min(lengths.values()) < max(_SHORTER * frames, 1):
        counts = ", ".join(f"{camera} {length}" for camera, length in lengths.items())
        raise DataError(f"expected tracks of one recording, but they differ in length (frames): {counts}")
    xy = np.full((len(tracks), frames, len(shared), 2), np.nan)
    score = np.full(xy.shape[:3], np.nan)
    for c, one in enumerate(tracks.values()):
        order = [one.keypoints.index(name) for name in shared]
        xy[c, : len(one.xy)] = one.xy[:, order]
        score[c, : len(one.xy)] = one.score[:, order]
    return shared, xy, score


def _levels(file: Path) -> int:
    """How many header rows follow the first one in a CSV of DeepLabCut's."""
    with file.open(encoding="utf-8-sig") as stream:
        starts = [stream.readline().split(",")[0].strip() for _ in range(4)]
    return starts.index("coords")


def _sleap(file: Path, content: Any, animal: str | None) -> Tracks:
    names = [name.decode() for name in content["track_names"][:]]
    number = _choose(file, names or ["animal"], animal)
    xy = np.asarray(content["tracks"][number], np.float64).transpose(2, 1, 0)
    if "point_scores" in content:
        score = np.asarray(content["point_scores"][number], np.float64).T
        # SLEAP has no score for points that a person set.
        score = np.where(np.isnan(score), 1.0, score)
    else:
        score = np.ones(xy.shape[:2])
    return _tracks([name.decode() for name in content["node_names"][:]], xy, score)


def _deeplabcut(file: Path, table: Any, animal: str | None) -> Tracks:
    levels = list(table.columns.names)
    if "individuals" in levels:
        animals = [name for name in dict.fromkeys(table.columns.get_level_values("individuals")) if name != "single"]
        name = animals[_choose(file, animals, animal)]
        table = table.xs(name, axis=1, level="individuals")
    elif animal is not None:
        raise DataError(f"{file}: expected an animal {animal!r}, but the file names none: leave the name out")
    columns = {column[-2:]: number for number, column in enumerate(table.columns)}
    keypoints = list(dict.fromkeys(table.columns.get_level_values("bodyparts")))
    # Rows may leave frames out; their index counts frames.
    frames = table.index.to_numpy(np.int64)
    values = np.full((int(frames.max(initial=-1)) + 1, len(table.columns)), np.nan)
    values[frames] = table.to_numpy(np.float64)
    xy = np.stack([values[:, [columns[name, "x"], columns[name, "y"]]] for name in keypoints], axis=1)
    score = np.ones(xy.shape[:2])
    for k, name in enumerate(keypoints):
        if (name, "likelihood") in columns:
            score[:, k] = values[:, columns[name, "likelihood"]]
    return _tracks(keypoints, xy, score)


def _tracks(keypoints: Sequence[str], xy: _Float64, score: _Float64) -> Tracks:
    xy, score = xy.copy(), score.clip(0, 1)
    unseen = np.isnan(xy).any(axis=-1)
    xy[unseen], score[unseen] = np.nan, np.nan
    return Tracks(tuple(keypoints), xy, score)


def _choose(file: Path, names: Sequence[str], animal: str | None) -> int:
    if animal is None and len(names) == 1:
        return 0
    if animal not in names:
        wanted = "one animal, or the name of one" if animal is None else f"an animal {animal!r}"
        raise DataError(f"{file}: expected {wanted}, but the file has: {', '.join(names) or 'none'}")
    return names.index(animal)
