"""Keypoints that other programs found in a video: SLEAP's analysis h5, DeepLabCut's h5 and csv."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from poseloop.live.errors import DataError
from poseloop.train.calibrate.board import Float64

__all__ = ["Tracks", "read", "together"]

_LIKELY = 0.6
"""DeepLabCut's points below this likelihood count as not seen, as in its own pcutoff."""


@dataclass(frozen=True, slots=True)
class Tracks:
    """One camera's keypoints."""

    keypoints: tuple[str, ...]
    xy: Float64  # (F, K, 2) px; NaN = not seen


def read(file: Path) -> Tracks:
    """Read the first animal of a file of tracks.

    Raises:
        DataError: it is missing, or of no known kind.
    """
    if not file.is_file():
        raise DataError(f"{file}: there is no such file of tracks")
    import h5py

    try:
        if file.suffix.lower() == ".csv":
            return _deeplabcut(file)
        with h5py.File(file) as content:
            if "tracks" in content and "node_names" in content:
                names = tuple(name.decode() for name in content["node_names"][:])
                xy = np.asarray(content["tracks"][0], np.float64)  # (2, K, F)
                return Tracks(names, np.ascontiguousarray(xy.transpose(2, 1, 0)))
        return _deeplabcut(file)
    except (OSError, KeyError, ValueError, IndexError) as error:
        raise DataError(
            f"{file}: expected SLEAP's analysis h5, or DeepLabCut's h5 or csv, but it cannot be read as such: {error}"
        ) from error


def _deeplabcut(file: Path) -> Tracks:
    import pandas as pd

    if file.suffix.lower() == ".csv":
        head = file.read_text(encoding="utf-8-sig").splitlines()[:4]
        rows = [0, 1, 2, 3] if len(head) > 1 and head[1].startswith("individuals") else [0, 1, 2]
        table = pd.read_csv(file, header=rows, index_col=0)
    else:
        table = pd.read_hdf(file)
    if "individuals" in table.columns.names:
        table = table.xs(table.columns.get_level_values("individuals")[0], axis=1, level="individuals")
    names = tuple(dict.fromkeys(table.columns.get_level_values("bodyparts")))
    table.columns = pd.MultiIndex.from_tuples([column[-2:] for column in table.columns])
    xy = np.stack([table[[(name, "x"), (name, "y")]].to_numpy(np.float64) for name in names], axis=1)
    if (names[0], "likelihood") in table.columns:
        score = np.stack([table[name, "likelihood"].to_numpy(np.float64) for name in names], axis=1)
        xy[score < _LIKELY] = np.nan
    return Tracks(names, xy)


def together(tracks: Mapping[str, Tracks]) -> Float64:
    """(C, F·K, 2): all cameras' tracks, of the keypoints and frames that all files have.

    Raises:
        DataError: they have no keypoint in common, or differ in length by more than a little.
    """
    shared = [
        name for name in next(iter(tracks.values())).keypoints if all(name in t.keypoints for t in tracks.values())
    ]
    if not shared:
        raise DataError(f"the tracks of {', '.join(tracks)} have no keypoint of one name")
    lengths = {camera: len(one.xy) for camera, one in tracks.items()}
    least, most = min(lengths.values()), max(lengths.values())
    if least < 0.98 * most:
        words = ", ".join(f"{camera} {length}" for camera, length in lengths.items())
        raise DataError(f"the tracks differ in length ({words} frames): are they of one recording?")
    return np.stack(
        [one.xy[:least][:, [one.keypoints.index(name) for name in shared]].reshape(-1, 2) for one in tracks.values()]
    )
