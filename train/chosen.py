"""Which frames of a recording were chosen before: none is chosen twice, whoever chose it and whatever became of it.

What has a picture, a label or a guess was chosen. ``chosen.json`` in the project's folder (recording → numbers)
remembers those, too, whose picture was deleted since: somebody looked at it, and did not want to label it.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

from poseloop.live.errors import DataError
from poseloop.live.output import report as reports
from poseloop.train import frames
from poseloop.train.labelfiles import label_files, read_table
from poseloop.train.projects import PICTURES

__all__ = ["FILE", "remember", "taken"]

FILE = "chosen.json"


def taken(project: Path, recording: str) -> set[int]:
    """Numbers of the frames of a recording that were chosen before: ``img0123.png`` is frame 123, as in DeepLabCut.

    Args:
        project: its folder.
        recording: name of a folder in ``labeled-data``.

    Raises:
        DataError: a file that says so cannot be read.
    """
    folder = project / PICTURES / recording
    names = [file.name for file in folder.iterdir()] if folder.is_dir() else []
    for pattern in ("CollectedData_*", "machinelabels*"):
        for file in label_files(folder, pattern).values():
            names += [row.picture.rsplit("/", 1)[-1] for row in read_table(file, file.name).rows]
    numbers = {number for name in names if (number := frames.number_of(name)) is not None}
    return numbers.union(_read(project).get(recording, ()))


def remember(project: Path, recording: str, numbers: Collection[int]) -> None:
    """Note which frames of a recording were chosen.

    Raises:
        DataError: the file cannot be read or written.
    """
    known = _read(project)
    known[recording] = sorted({*known.get(recording, ()), *(int(number) for number in numbers)})
    reports.write(known, project / FILE)


def _read(project: Path) -> dict[str, list[int]]:
    file = project / FILE
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return {str(name): [int(number) for number in numbers] for name, numbers in found.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DataError(
            f"{file}: expected recordings and numbers of their frames, but it cannot be read so: {error!r}; without "
            f"this file, frames whose pictures were deleted may be chosen again"
        ) from error
