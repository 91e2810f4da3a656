"""Rigs of simulated cameras in perspective, with the calibration that is theirs."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from poseloop.live.config import load_rig
from poseloop.live.geometry import Calibration

PLACES = {"left": (-250.0, -300.0, 280.0), "right": (280.0, -260.0, 260.0), "back": (0.0, 330.0, 300.0)}
RIG = """
[model]
file = "simulated_animal"
[geometry]
calibration = "calibration.toml"
[publish]
poses = "tcp://127.0.0.1:*"
health = "tcp://127.0.0.1:*"
previews = "tcp://127.0.0.1:*"
[sync]
frames = "every"
"""
CAMERA = """
[cameras.{name}]
use = "sim"
width = 640
height = 480
focal_px = 560
distortion = [-0.15, 0.03, 0.001, -0.0005, 0.002]
position_mm = {place}
fps = 50
frames = {frames}
pace = "none"
"""


def write(folder: Path, *names: str, frames: int = 40, extra: str = "") -> Path:
    """A rig file of simulated cameras, and the calibration that is theirs."""
    rig = folder / "rig.toml"
    text = RIG + extra
    for name in names:
        text += CAMERA.format(name=name, place=list(PLACES[name]), frames=frames)
    rig.write_text(text, encoding="utf-8")
    calibration_of(load_rig(rig).cameras.items()).save(folder / "calibration.toml")
    return rig


def calibration_of(tables: Iterable[tuple[str, Any]]) -> Calibration:
    # Another order than the rig's: cameras are found by their names.
    return Calibration([table.build(name).model for name, table in sorted(tables)])


def change(folder: Path, name: str, /, **values: Any) -> None:
    """Another calibration for one camera."""
    file = folder / "calibration.toml"
    cameras = Calibration.load(file).cameras
    Calibration([replace(c, **values) if c.name == name else c for c in cameras]).save(file)


def turn(folder: Path, name: str, degrees: float) -> None:
    """Calibrate a camera as it stood before somebody turned it."""
    model = next(c for c in Calibration.load(folder / "calibration.toml").cameras if c.name == name)
    rotation = cv2.Rodrigues(np.array([0.0, np.radians(degrees), 0.0]))[0]
    change(folder, name, rotation=rotation @ model.rotation, translation=rotation @ model.translation)
