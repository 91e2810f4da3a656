"""Tables of times as CSV files: what other programs, and people, can read and write."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from poseloop.live.errors import DataError

__all__ = ["Row", "number_in", "read_table"]

Row = Mapping[str, str]


def read_table(file: Path, *columns: str) -> Sequence[Row]:
    """Read a CSV file whose first line names its columns.

    Args:
        file: UTF-8.
        columns: those that must be there.

    Raises:
        DataError: it cannot be read, or a column is missing, or a row has too few fields.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as source:
            reader = csv.DictReader(source)
            rows = list(reader)
    except FileNotFoundError:
        raise DataError(f"{file}: there is no such file") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: expected a CSV file (UTF-8), but it cannot be read as one: {error}") from error
    found = list(reader.fieldnames or ())
    absent = [column for column in columns if column not in found]
    if absent:
        raise DataError(f"{file}: expected a column {absent[0]!r} in its first line, but found: {', '.join(found)}")
    for number, row in enumerate(rows, 2):
        if None in row or None in row.values():
            raise DataError(f"{file}, line {number}: expected {len(found)} fields")
    return rows


def number_in(file: Path, line: int, row: Row, column: str) -> float:
    """A field as a finite number.

    Raises:
        DataError: it is none.
    """
    try:
        value = float(row[column])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{file}, line {line}: expected a number as {column}, but found {row[column]!r}")
    return value
