"""Writes labels and guesses as DeepLabCut does, CSV and h5, beside the pictures of a recording.

``CollectedData_<scorer>`` holds labels. ``machinelabels-iter0`` holds a model's guesses, as DeepLabCut's own outlier
frames have them: whoever labels drags points instead of setting them, and only what was saved as ``CollectedData``
counts as labelled.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from poseloop.train.labelfiles import read_table
from poseloop.train.trackfiles import needs, readable_by_older, whole

__all__ = ["write_guesses", "write_labels"]

_FOLDER = "labeled-data"
_KEY = "df_with_missing"
_GUESSES = "machinelabels-iter0"


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

    levels, header = _header(scorer, columns, ("x", "y"))
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
        table.to_hdf(part, key=_KEY, mode="w")


def write_guesses(
    folder: Path,
    scorer: str,
    columns: Sequence[tuple[str, str]],
    rows: Mapping[str, npt.NDArray[np.floating]],
) -> None:
    """Write a model's guesses.

    Guesses of an earlier round stay for pictures that nobody has labelled since, if they are of the same keypoints.
    Those of labelled pictures go: napari-deeplabcut would save them over the labels.

    Args:
        folder: of the pictures; its name is the recording's.
        scorer: the model.
        columns: (individual, keypoint) of each; no individual is called anything: the layout of one animal.
        rows: name of a picture → (columns, 3): x, y px, likelihood; NaN = not seen.

    Raises:
        DataError: a package is missing, or a file cannot be written.
    """
    needs("deeplabcut")
    import pandas

    levels, header = _header(scorer, columns, ("x", "y", "likelihood"))
    heads = [[level, "", "", *(column[number] for column in header)] for number, level in enumerate(levels)]
    kept = _unlabelled(folder, heads)
    values = {name: np.asarray(row, np.float64).ravel() for name, row in {**kept, **rows}.items()}
    names = sorted(values)
    table = pandas.DataFrame(
        np.array([values[name] for name in names]).reshape(len(names), len(header)),
        index=pandas.MultiIndex.from_tuples([(_FOLDER, folder.name, name) for name in names]),
        columns=pandas.MultiIndex.from_tuples(header, names=levels),
    )
    with whole(folder / f"{_GUESSES}.h5") as part, pandas.HDFStore(part, mode="w") as store:
        store.put(_KEY, table, format="fixed", track_times=False)
        readable_by_older(store)
    with whole(folder / f"{_GUESSES}.csv") as part, part.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerows(heads)
        for name in names:
            cells = ("" if value != value else value for value in values[name].tolist())
            writer.writerow([_FOLDER, folder.name, name, *cells])


def _header(
    scorer: str, columns: Sequence[tuple[str, str]], coords: Sequence[str]
) -> tuple[list[str], list[tuple[str, ...]]]:
    """Names of a table's levels, and what stands in them above each number: DeepLabCut's layout."""
    several = any(individual for individual, _ in columns)
    header = [
        (scorer, *((individual,) if several else ()), keypoint, coord)
        for individual, keypoint in columns
        for coord in coords
    ]
    return ["scorer", *(["individuals"] if several else []), "bodyparts", "coords"], header


def _unlabelled(folder: Path, heads: Sequence[Sequence[str]]) -> dict[str, npt.NDArray[np.float64]]:
    """Earlier guesses with the same columns (whoever made them), of pictures that are not labelled."""
    file = folder / f"{_GUESSES}.csv"
    if not file.is_file():
        return {}
    with file.open(newline="", encoding="utf-8") as stream:
        lines = list(csv.reader(stream))
    count = len(heads)
    if lines[1:count] != [list(line) for line in heads[1:]]:
        return {}
    labelled = {
        row.picture.rsplit("/", 1)[-1]
        for labels in folder.glob("CollectedData_*.csv")
        for row in read_table(labels, labels.name).rows
        if not np.isnan(row.xy).all()
    }
    return {
        cells[2]: np.array([float(cell or "nan") for cell in cells[3:]])
        for cells in lines[count:]
        if cells[2] not in labelled
    }
