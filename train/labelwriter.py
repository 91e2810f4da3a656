"""Writes labels and guesses as DeepLabCut does, CSV and h5, beside the pictures of a recording.

``CollectedData_<scorer>`` holds labels. ``machinelabels-iter0`` holds a model's guesses, as DeepLabCut's own outlier
frames have them: whoever labels drags points instead of setting them, and only what was saved as ``CollectedData``
counts as labelled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from poseloop.train.labelfiles import ANIMAL, label_files, read_table
from poseloop.train.trackfiles import needs, readable_by_older, whole

__all__ = ["GUESSES", "write_guesses", "write_labels", "write_table"]

_FOLDER = "labeled-data"
_KEY = "df_with_missing"
GUESSES = "machinelabels-iter0"
"""How the files of guesses are called."""


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
    write_table(folder, f"CollectedData_{scorer}", scorer, columns, rows)


def write_guesses(
    folder: Path,
    scorer: str,
    columns: Sequence[tuple[str, str]],
    rows: Mapping[str, npt.NDArray[np.floating]],
) -> None:
    """Write a model's guesses.

    Guesses of an earlier round (whoever made them) stay for pictures that nobody has labelled since, as far as they are
    of these columns. Those of labelled pictures go: napari-deeplabcut would save them over the labels.

    Args:
        folder: of the pictures; its name is the recording's.
        scorer: the model.
        columns: (individual, keypoint) of each; no individual is called anything: the layout of one animal.
        rows: name of a picture → (columns, 3): x, y px, likelihood; NaN = not seen.

    Raises:
        DataError: a package is missing, or a file cannot be read or written.
    """
    write_table(folder, GUESSES, scorer, columns, {**_unlabelled(folder, columns), **rows})


def write_table(
    folder: Path,
    stem: str,
    scorer: str,
    columns: Sequence[tuple[str, str]],
    rows: Mapping[str, npt.NDArray[np.floating]],
) -> None:
    """Write labels or guesses as CSV and h5.

    Args:
        folder: of the pictures; its name is the recording's.
        stem: of the files' names: ``CollectedData_<scorer>`` or that of guesses.
        scorer: who labelled, or what guessed.
        columns: (individual, keypoint) of each; no individual is called anything: the layout of one animal.
        rows: name of a picture → (columns, 2) px of labels, or (columns, 3) with the likelihood of guesses.

    Raises:
        DataError: a package is missing, or a file cannot be written.
    """
    needs("deeplabcut")
    import pandas

    names = sorted(rows)
    coords = ("x", "y") if stem.startswith("CollectedData_") else ("x", "y", "likelihood")
    levels, header = _header(scorer, columns, coords)
    table = pandas.DataFrame(
        np.array([np.asarray(rows[name], np.float64).ravel() for name in names]).reshape(len(names), len(header)),
        index=pandas.MultiIndex.from_tuples([(_FOLDER, folder.name, name) for name in names], names=[None] * 3),
        columns=pandas.MultiIndex.from_tuples(header, names=levels),
    )
    # Both are whole before either takes its place. The h5 file is made in memory: HDF5 itself does not get over a disk
    # that is full.
    with whole(folder / f"{stem}.csv") as text, whole(folder / f"{stem}.h5") as part:
        table.to_csv(text, lineterminator="\n")
        with pandas.HDFStore(str(part), mode="w", driver="H5FD_CORE", driver_core_backing_store=0) as store:
            store.put(_KEY, table, format="fixed", track_times=False)
            readable_by_older(store)
            store.flush()
            part.write_bytes(store._handle.get_file_image())


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


def _unlabelled(folder: Path, columns: Sequence[tuple[str, str]]) -> dict[str, npt.NDArray[np.float64]]:
    """Earlier guesses of pictures that are not labelled, in these columns."""
    file = label_files(folder, GUESSES).get(GUESSES)
    if file is None:
        return {}
    table = read_table(file, file.name, guesses=True)
    labelled = {
        row.picture.rsplit("/", 1)[-1]
        for labels in label_files(folder, "CollectedData_*").values()
        for row in read_table(labels, labels.name).rows
        if not np.isnan(row.xy).all()
    }
    kept = {}
    for row in table.rows:
        name = row.picture.rsplit("/", 1)[-1]
        if name not in labelled:
            kept[name] = np.full((len(columns), 3), np.nan)
            for place, (who, point) in enumerate(columns):
                column = (who or ANIMAL, point)
                if column in table.columns:
                    i, k = table.individuals.index(column[0]), table.keypoints.index(point)
                    kept[name][place] = *row.xy[i, k], row.likelihood[i, k]
    return kept
