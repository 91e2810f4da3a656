"""Files of labels, as others write them → one plain table: which picture, which line, which points.

Two containers hold the same table: CSV (needs nothing) and DeepLabCut's h5 (needs the extra ``train``). Its columns are
``scorer, [individuals,] bodyparts, coords``; its rows start with a picture's path, as one text
(``labeled-data/m4s1/img0000.png``) or, in newer files, as three columns. Lightning Pose writes the first kind of CSV.

An h5 file of DeepLabCut's cannot be read without unpickling: open only those of people you trust. A CSV is only text.
"""

from __future__ import annotations

import csv
import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from poseloop.live.errors import DataError

__all__ = ["ANIMAL", "Problem", "Row", "Severity", "Table", "label_files", "read_table"]

ANIMAL = "animal"
"""Name of the individual in files that know only one."""

_LEVELS = ("scorer", "individuals", "bodyparts", "coords")
_COORDS = ("x", "y", "likelihood")
_KEY = "df_with_missing"
_EMPTY = ("", "nan", "na")


class Severity(enum.StrEnum):
    """How bad a problem is."""

    ERROR = "error"
    """A row, a column or a point cannot be used, and is not."""
    WARNING = "warning"
    """All that is said here is used, or there was nothing to use; look whether it is what you meant."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in the labels that is not as it should be."""

    kind: str
    """One word or two, the same for all problems of a kind: ``duplicate row``, ``outside``…"""
    severity: Severity
    file: str
    """Relative to the project."""
    row: int
    """Line of the CSV, or data row of the h5 table, from 1; 0 = the whole file."""
    text: str
    """What was expected and what was found, and what became of it."""

    def __str__(self) -> str:
        place = f"{self.file}:{self.row}" if self.row else self.file
        return f"{place}: {self.severity}: {self.kind}: {self.text}"


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One labelled picture, as its file has it."""

    number: int
    """Line of the CSV, or data row of the h5 table, from 1."""
    picture: str
    """As written, with forward slashes."""
    xy: npt.NDArray[np.float64] = field(repr=False)
    """(I, K, 2) px; NaN = unlabelled."""
    likelihood: npt.NDArray[np.float64] = field(repr=False)
    """(I, K) of a model's guesses; NaN in labels."""


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """One file of labels."""

    file: Path
    name: str
    """The file, relative to the project."""
    scorer: str
    """Who labelled, or what guessed; empty: the file does not say."""
    individuals: tuple[str, ...]
    keypoints: tuple[str, ...]
    columns: tuple[tuple[str, str], ...]
    """(individual, keypoint) that the file has, in its order: parts that belong to no animal are of one only."""
    rows: tuple[Row, ...]
    problems: tuple[Problem, ...]


def label_files(folder: Path, pattern: str) -> dict[str, Path]:
    """Stem → file of labels or guesses in a recording's folder; the CSV where there is an h5, too: it needs nothing."""
    return {file.stem: file for ending in ("h5", "csv") for file in sorted(folder.glob(f"{pattern}.{ending}"))}


def read_table(file: Path, name: str, guesses: bool = False) -> Table:
    """Read a CSV or h5 file of labels.

    Args:
        file: ends in ``.csv`` or ``.h5``.
        name: how problems call it.
        guesses: it holds a model's guesses: they have a likelihood.

    Raises:
        DataError: it cannot be read, or its header is not that of labels; for an h5 file also, that the extra
            ``train`` is missing.
    """
    header, rows = (_from_h5 if file.suffix.lower() == ".h5" else _from_csv)(file)
    return _Builder(name, header, guesses).table(file, rows)


@dataclass(frozen=True, slots=True)
class _Column:
    scorer: str
    individual: str
    keypoint: str
    coord: str


def _from_csv(file: Path) -> tuple[list[_Column], Iterator[tuple[int, list[str], Sequence[Any]]]]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream)
            lines = [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: cannot be read as a CSV file of labels: {error}") from error
    header: dict[str, list[str]] = {}
    for _, cells in lines[: len(_LEVELS)]:
        level = cells[0].strip()
        if level not in _LEVELS or "coords" in header:
            break
        header[level] = [cell.strip() for cell in cells]
    if "bodyparts" not in header or "coords" not in header:
        first = ", ".join(repr(cells[0]) for _, cells in lines[: len(_LEVELS)]) or "nothing"
        raise DataError(
            f"{file}: expected header rows that start with scorer, [individuals,] bodyparts and coords, but they start "
            f"with {first}"
        )
    coords = header["coords"]
    index = next((i for i, cell in enumerate(coords) if i and cell), len(coords))
    animals = header.get("individuals", [ANIMAL] * len(coords))
    scorers = header.get("scorer", []) + [""] * len(coords)
    if not len(animals) == len(header["bodyparts"]) == len(coords):
        raise DataError(f"{file}: expected header rows of one length, but got {[len(r) for r in header.values()]}")
    levels = zip(scorers[: len(coords)], animals, header["bodyparts"], coords, strict=True)
    columns = [_Column(*cells) for cells in levels][index:]
    rows = ((number, cells[:index], cells[index:]) for number, cells in lines[len(header) :])
    return columns, rows


def _from_h5(file: Path) -> tuple[list[_Column], Iterator[tuple[int, list[str], Sequence[Any]]]]:
    try:
        import pandas
        import tables  # noqa: F401  (pandas needs it, and says so less clearly)
    except ImportError as error:
        raise DataError(
            f"{file}: h5 files of labels need pandas and PyTables: pip install 'poseloop[tracks]'. The CSV file "
            f"that DeepLabCut writes beside it needs nothing"
        ) from error
    try:
        frame = pandas.read_hdf(file, key=_KEY)
    except (OSError, KeyError, ValueError, TypeError, AttributeError, EOFError, RuntimeError) as error:
        # PyTables' own error, a RuntimeError, ends with what was wrong, after a page of HDF5's.
        said = str(error).strip().rsplit("\n", 1)[-1]
        raise DataError(f"{file}: cannot be read as an h5 file of labels (key {_KEY!r}): {said}") from error
    if not isinstance(frame, pandas.DataFrame):
        raise DataError(f"{file}: expected a table of labels (key {_KEY!r}), but got a {type(frame).__name__}")
    names = [str(name) for name in frame.columns.names]
    if "bodyparts" not in names or "coords" not in names:
        raise DataError(f"{file}: expected columns scorer, [individuals,] bodyparts, coords, but got {names}")
    columns = []
    for labels in frame.columns:
        level = dict(zip(names, map(str, labels), strict=True))
        animal = level.get("individuals", ANIMAL)
        columns.append(_Column(level.get("scorer", ""), animal, level["bodyparts"], level["coords"]))
    values = frame.to_numpy()
    rows = (
        (number, [str(part) for part in (index if isinstance(index, tuple) else (index,))], cells)
        for number, (index, cells) in enumerate(zip(frame.index, values, strict=True), start=1)
    )
    return columns, rows


class _Builder:
    """Sorts columns into (I, K, 3) and collects what does not fit."""

    def __init__(self, name: str, columns: Sequence[_Column], guesses: bool) -> None:
        self._name = name
        self._problems: list[Problem] = []
        coords = _COORDS if guesses else _COORDS[:2]
        used = [column for column in columns if column.coord in coords]
        self._scorer = used[0].scorer if used else ""
        self.individuals = tuple(dict.fromkeys(column.individual for column in used))
        self.keypoints = tuple(dict.fromkeys(column.keypoint for column in used))
        self.columns = tuple(dict.fromkeys((column.individual, column.keypoint) for column in used))
        self._places: list[tuple[int, int, int] | None] = []
        taken: set[tuple[int, int, int]] = set()
        for column in columns:
            if column not in used:
                self._note(
                    "names", Severity.WARNING, 0, f"the column {column.coord!r} of {column.keypoint} is not read"
                )
                self._places.append(None)
                continue
            place = (
                self.individuals.index(column.individual),
                self.keypoints.index(column.keypoint),
                coords.index(column.coord),
            )
            if place in taken:
                what = f"{column.individual} {column.keypoint} {column.coord}"
                self._note("names", Severity.ERROR, 0, f"the column {what} is there twice; the second is not used")
                self._places.append(None)
            else:
                taken.add(place)
                self._places.append(place)

    def _note(self, kind: str, severity: Severity, row: int, text: str) -> None:
        self._problems.append(Problem(kind, severity, self._name, row, text))

    def table(self, file: Path, rows: Iterator[tuple[int, list[str], Sequence[Any]]]) -> Table:
        if not self.keypoints:
            raise DataError(f"{file}: expected columns with x and y of keypoints, but found none")
        made = [self._row(number, index, cells) for number, index, cells in rows]
        return Table(
            file,
            self._name,
            self._scorer,
            self.individuals,
            self.keypoints,
            self.columns,
            tuple(made),
            tuple(self._problems),
        )

    def _row(self, number: int, index: list[str], cells: Sequence[Any]) -> Row:
        picture = "/".join(part.strip().replace("\\", "/") for part in index if part.strip())
        if len(cells) != len(self._places):
            self._note(
                "row length",
                Severity.ERROR,
                number,
                f"expected {len(self._places)} values, but got {len(cells)}; missing ones count as unlabelled",
            )
        values = np.full((len(self.individuals), len(self.keypoints), len(_COORDS)), np.nan)
        for place, cell in zip(self._places, cells, strict=False):
            if place is not None:
                values[place] = self._number(number, place, cell)
        xy = values[..., :2]
        half = np.isnan(xy).any(axis=-1) & ~np.isnan(xy).all(axis=-1)
        for i, k in np.argwhere(half):
            self._note("half a point", Severity.ERROR, number, f"{self._point(i, k)} has only one of x and y; not used")
        xy[half] = np.nan
        return Row(number, picture, xy, values[..., 2])

    def _number(self, row: int, place: tuple[int, int, int], cell: Any) -> float:
        if isinstance(cell, str) and cell.strip().lower() in _EMPTY:
            return np.nan
        try:
            value = float(cell)
        except (TypeError, ValueError):
            value = np.inf
        if np.isinf(value):
            text = f"expected a number for {self._point(*place[:2])} {_COORDS[place[2]]}, but got {cell!r}; not used"
            self._note("no number", Severity.ERROR, row, text)
            return np.nan
        return value

    def _point(self, individual: int, keypoint: int) -> str:
        name = self.keypoints[keypoint]
        return name if len(self.individuals) == 1 else f"{self.individuals[individual]} {name}"
