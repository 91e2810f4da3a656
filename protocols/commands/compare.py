"""Two tables of commands side by side, and commands beside labelled truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from poseloop.live.errors import DataError
from poseloop.protocols.tables import Row, number_in, read_table

__all__ = ["Score", "differences", "read_truth", "score"]


def differences(before: Sequence[Row], after: Sequence[Row]) -> Sequence[tuple[str, Row]]:
    """Rows that one of two tables lacks: ("-", row of the first) and ("+", row of the second), in order of frames."""
    left, right = (Counter(tuple(row.items()) for row in rows) for rows in (before, after))
    found = [("-", dict(row)) for row in (left - right).elements()] + [
        ("+", dict(row)) for row in (right - left).elements()
    ]
    return sorted(found, key=lambda item: (int(item[1]["frame"]), item[0]))


def read_truth(file: Path, times_s: Sequence[float]) -> Sequence[float]:
    """Times at which a stimulus should have been given, from a CSV file with a column ``time_s`` or ``frame``.

    Args:
        file: the labels.
        times_s: of every frame, for labels that are frame numbers.

    Raises:
        DataError: it cannot be read, or names a frame that is not there.
    """
    rows = read_table(file)
    if rows and "time_s" in rows[0]:
        return sorted(number_in(file, line, row, "time_s") for line, row in enumerate(rows, 2))
    rows = read_table(file, "frame")
    labels = []
    for line, row in enumerate(rows, 2):
        frame = number_in(file, line, row, "frame")
        if frame != int(frame) or not 0 <= frame < len(times_s):
            last = len(times_s) - 1
            raise DataError(f"{file}, line {line}: expected a frame from 0 to {last}, but found {row['frame']}")
        labels.append(times_s[int(frame)])
    return sorted(labels)


@dataclass(slots=True)
class Score:
    """What became of every labelled time, and of every trigger."""

    on_time: list[tuple[float, float]] = field(default_factory=list)
    """(label, trigger), s."""
    late: list[tuple[float, float]] = field(default_factory=list)
    missed: list[float] = field(default_factory=list)
    """Labels without a trigger."""
    extra: list[float] = field(default_factory=list)
    """Triggers without a label; one that comes too early is one."""


def score(triggers: Sequence[float], truth: Sequence[float], tolerance_s: float, late_s: float) -> Score:
    """Match triggers with labelled times, one to one.

    First each label, in order, takes the first free trigger within ``tolerance_s`` of it, before or after; then each
    label that is left takes the first free one within ``late_s`` after it.
    """
    result = Score()
    free = sorted(triggers)
    left = []
    for label in sorted(truth):
        hit = next((at for at in free if abs(at - label) <= tolerance_s), None)
        if hit is None:
            left.append(label)
        else:
            free.remove(hit)
            result.on_time.append((label, hit))
    for label in left:
        hit = next((at for at in free if label < at <= label + late_s), None)
        if hit is None:
            result.missed.append(label)
        else:
            free.remove(hit)
            result.late.append((label, hit))
    result.extra = free
    return result
