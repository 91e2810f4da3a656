"""A training's state in one file: written whole or not at all, read without running code.

The file is NumPy's .npz. What is no array (step, elapsed time, settings) is a JSON text in it.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from poseloop.live.errors import DataError

__all__ = ["Checkpoint", "load", "save"]

_STATE = "state.json"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Everything that a training needs to go on as if nothing had happened."""

    state: Mapping[str, Any]
    """JSON: step, elapsed seconds, settings, history."""
    groups: Mapping[str, list[npt.NDArray[Any]]] = field(default_factory=dict)
    """Arrays in the order of the variables that they came from."""


def save(checkpoint: Checkpoint, file: Path) -> None:
    """Write to a new file, force it onto the disk, and put it in the old one's place.

    A process that is killed at any moment leaves the old file or the new one.
    """
    text = json.dumps({"format": _FORMAT, **checkpoint.state}).encode()
    arrays: dict[str, npt.NDArray[Any]] = {_STATE: np.frombuffer(text, np.uint8)}
    for name, values in checkpoint.groups.items():
        for number, value in enumerate(values):
            arrays[f"{name}/{number:04d}"] = value
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(file.name + ".unfinished")
    with unfinished.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **arrays)
        stream.flush()
        os.fsync(stream.fileno())
    unfinished.replace(file)


def load(file: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        DataError: there is none, or it is damaged or of a newer format.
    """
    groups: dict[str, list[npt.NDArray[Any]]] = {}
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            state = json.loads(stored[_STATE].tobytes())
            for name in sorted(stored.files):
                group, _, number = name.partition("/")
                if number:
                    groups.setdefault(group, []).append(stored[name])
    except FileNotFoundError:
        raise DataError(f"{file}: there is no checkpoint to resume from") from None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{file}: expected a checkpoint, but it cannot be read: {error}") from error
    if state.pop("format", None) != _FORMAT:
        raise DataError(
            f"{file}: expected a checkpoint of format {_FORMAT}. Start anew, or use the version that wrote it"
        )
    return Checkpoint(state, groups)
