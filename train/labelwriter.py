"""Writes labels as DeepLabCut does: ``CollectedData_<scorer>.csv`` and ``.h5`` beside the pictures of a recording."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from poseloop.train.trackfiles import needs, whole

__all__ = ["write_labels"]

_FOLDER = "labeled-data"


def write_labels(
    folder: Path,
    scorer: str,
    columns: Sequence[tuple[str, str]],
    rows: Mapping[str, npt.NDArray[np.float64]],
) -> None:
    """Write both files, with the newer index of three levels.

    Args:
        folder: of the pictures; its name is the recording's.
        scorer: who labelled.
        columns: (individual, keypoint) of each; no individual is called anything: the layout of one animal.
        rows: name of a picture → (columns, 2) px; NaN = unlabelled.

    Raises:
        DataError: a package is missing, or a file cannot be written.
    """
    needs("deeplabcut")
    import pandas

    several = any(individual for individual, _ in columns)
    header = [
        (scorer, *((individual,) if several else ()), keypoint, coord)
        for individual, keypoint in columns
        for coord in ("x", "y")
    ]
    levels = ["scorer", *(["individuals"] if several else []), "bodyparts", "coords"]
    names = sorted(rows)
    table = pandas.DataFrame(
        np.array([rows[name].ravel() for name in names], np.float64).reshape(len(names), len(header)),
        index=pandas.MultiIndex.from_tuples([(_FOLDER, folder.name, name) for name in names]),
        columns=pandas.MultiIndex.from_tuples(header, names=levels),
    )
    stem = f"CollectedData_{scorer}"
    with whole(folder / f"{stem}.csv") as part:
        table.to_csv(part)
    with whole(folder / f"{stem}.h5") as part:
        table.to_hdf(part, key="df_with_missing", mode="w")
