"""What a session holds, as values: files, frames, decisions, events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from poseloop.live.types import Colour, Command, InputEvent

__all__ = ["Asked", "Decision", "Event", "Footage", "Frames", "PartFile"]

_Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PartFile:
    """A file that the run stood on: a model, the calibration."""

    file: Path
    name: str
    sha256: str
    """As it was when the session began."""


@dataclass(frozen=True, slots=True)
class Footage:
    """One camera's video."""

    camera: str
    file: Path
    codec: str
    lossless: bool
    width: int
    height: int
    colour: Colour
    """What the network saw."""
    fps: float
    """Nominal; 0 = irregular."""


@dataclass(frozen=True, slots=True)
class Frames:
    """One camera's pictures: entry i belongs to picture i of its video, (F,) each."""

    index: _Int64
    """Trigger count; -1 = the log has no such row."""
    exposed_ns: _Int64
    arrived_ns: _Int64
    device_ns: _Int64


@dataclass(frozen=True, slots=True)
class Asked:
    """A command that a protocol asked for, and what the gates did."""

    protocol: str
    command: Command
    fate: str
    """``sent``, ``off``, or ``held: `` and why."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What the host did with one pose."""

    number: int
    """Order in which the host took poses, from 0."""
    sequence: int
    newest: bool
    """False: an older pose, shown to the protocols that want every one."""
    received_ns: int
    decided_ns: int
    """0 = nobody was asked."""
    inputs: tuple[InputEvent, ...]
    asked: tuple[Asked, ...]


@dataclass(frozen=True, slots=True)
class Event:
    """Something else that happened: a note, an input, a board's state."""

    at_ns: int
    source: str
    kind: str
    values: Mapping[str, Any] = field(repr=False)
