"""Calibrations of other programs: anipose's TOML, caliscope's camera array, OpenCV's YAML.

Cameras are matched by name, never by place. Lengths become millimetres: caliscope's are metres, anipose's are in
the unit of its board's squares, which the file does not tell.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from poseloop.live.errors import CalibrationError
from poseloop.live.geometry.calibration import Calibration, CameraModel
from poseloop.train.calibrate.board import Float64
from poseloop.train.calibrate.geometry import LENS
from poseloop.train.calibrate.lenses import Lens

__all__ = ["FORMATS", "UNITS_MM", "lens_of", "model", "read", "write"]

FORMATS = ("poseloop", "anipose", "opencv", "caliscope")
UNITS_MM = {"mm": 1.0, "cm": 10.0, "m": 1000.0, "inch": 25.4}
"""Units that anipose's lengths may have."""
_MM_PER_M = UNITS_MM["m"]
_NEAREST_MM = 10.0
"""No two cameras of a rig have their lenses nearer to each other: lengths below it are in another unit."""
_TURN = 1e-3
"""By how much a rotation from a file may miss being one; it is then made one."""


def lens_of(camera: CameraModel) -> Lens:
    """A camera's lens alone."""
    values = np.zeros(LENS)
    values[:4] = camera.matrix[0, 0], camera.matrix[1, 1], camera.matrix[0, 2], camera.matrix[1, 2]
    values[4 : 4 + len(camera.distortion)] = camera.distortion
    return Lens(values, camera.fisheye, given=True)


def model(name: str, size: tuple[int, int], lens: Float64, fisheye: bool, turn: Float64, shift: Float64) -> CameraModel:
    """A camera from the adjustment's numbers."""
    count = 4 if fisheye else 5 if not lens[9:].any() else 8
    matrix = np.array([[lens[0], 0, lens[2]], [0, lens[1], lens[3]], [0, 0, 1]])
    return CameraModel(name, size, matrix, lens[4 : 4 + count], turn, shift, fisheye)


def read(file: Path, unit: str | None = None, places: bool = True) -> Calibration:
    """Read a calibration, whichever program wrote it.

    Args:
        file: TOML of poseloop, anipose or caliscope, or OpenCV's YAML.
        unit: of the lengths in a file of anipose's, one of `UNITS_MM`; None: mm, if that can be.
        places: False: only the lenses are wanted, so that cameras may lack their places.

    Raises:
        CalibrationError: it is missing, of no known kind, or a camera in it is wrong.
    """
    if not file.is_file():
        raise CalibrationError(f"{file}: there is no such calibration file")
    try:
        if file.suffix.lower() in (".yaml", ".yml"):
            return Calibration(_of_opencv(file))
        table = tomllib.loads(file.read_text(encoding="utf-8-sig"))
        if "format" in table:
            return Calibration.load(file)
        cameras = table.get("cameras", table)
        entries = {key: entry for key, entry in cameras.items() if isinstance(entry, dict) and "matrix" in entry}
        if not entries:
            raise CalibrationError("found no cameras; known are the files of poseloop, anipose, caliscope and OpenCV")
        read = Calibration([_of_table(key, entry, UNITS_MM[unit or "mm"], places) for key, entry in entries.items()])
        if places and unit is None:
            _check_unit(read)
        return read
    except CalibrationError as error:
        raise CalibrationError(str(error) if str(error).startswith(str(file)) else f"{file}: {error}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, cv2.error) as error:
        raise CalibrationError(f"{file}: cannot be read as a calibration: {error}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise CalibrationError(f"{file}: a camera in it is not whole: {type(error).__name__} {error}") from error


def _of_table(key: str, entry: Mapping[str, Any], unit_mm: float, places: bool) -> CameraModel:
    caliscope = "cam_id" in entry or "port" in entry
    name = str(entry.get("name", f"cam_{key}" if key.isdigit() else key))
    # Caliscope wrote "null" for what a camera does not have yet.
    given = {word: value for word, value in entry.items() if value != "null"}
    if not places:
        given = {**given, "rotation": [0.0, 0, 0], "translation": [0.0, 0, 0]}
    for wanted in ("size", "matrix", "distortions", "rotation", "translation"):
        if wanted not in given:
            raise CalibrationError(f"camera {name!r}: {wanted!r} is missing")
    distortion = np.asarray(given["distortions"], np.float64).reshape(-1)
    fisheye = bool(given.get("fisheye", False))
    shift = np.asarray(given["translation"], np.float64).reshape(-1)
    width, height = (int(side) for side in given["size"])
    return CameraModel(
        name,
        (width, height),
        np.asarray(given["matrix"], np.float64),
        distortion[:4] if fisheye else distortion,
        _rotation(name, np.asarray(given["rotation"], np.float64)),
        shift * (_MM_PER_M if caliscope else unit_mm),
        fisheye,
    )


def _check_unit(cameras: Calibration) -> None:
    """Refuse lengths that cannot be millimetres: caliscope's export for aniposelib has metres, and says so nowhere."""
    centres = np.array([camera.centre for camera in cameras.cameras])
    apart = float(np.linalg.norm(centres[:, None] - centres[None], axis=-1).max())
    if 0 < apart < _NEAREST_MM:
        raise CalibrationError(
            f"its cameras stand at most {apart:.3g} apart, which cannot be millimetres: say what it is by --unit, one "
            f"of {', '.join(UNITS_MM)} (caliscope writes metres)"
        )


def _rotation(name: str, value: Float64) -> Float64:
    if value.size == 3:
        return np.asarray(cv2.Rodrigues(value.reshape(3))[0], np.float64)
    if value.shape != (3, 3):
        raise CalibrationError(f"camera {name!r}: expected a rotation of 3 or 3 x 3 numbers, but got {value.shape}")
    u, size, v = np.linalg.svd(value)
    if np.abs(size - 1).max() > _TURN or np.linalg.det(u @ v) < 0:
        raise CalibrationError(f"camera {name!r}: its rotation is none: its axes are {np.round(size, 4)} long")
    return np.asarray(u @ v, np.float64)


def _of_opencv(file: Path) -> list[CameraModel]:
    storage = cv2.FileStorage(str(file), cv2.FILE_STORAGE_READ)
    try:
        if not storage.isOpened():
            raise CalibrationError("cannot be opened as OpenCV's YAML")
        cameras = storage.getNode("cameras")
        if not cameras.empty():
            return [_of_node(cameras.at(k), f"camera {k}") for k in range(cameras.size())]
        return [_of_node(storage.root(), file.stem)]
    finally:
        storage.release()


def _of_node(node: cv2.FileNode, default: str) -> CameraModel:
    def mat(key: str, other: npt.ArrayLike | None = None) -> Float64:
        part = node.getNode(key)
        if part.empty():
            if other is None:
                raise CalibrationError(f"{default}: {key!r} is missing")
            return np.asarray(other, np.float64)
        return np.asarray(part.mat(), np.float64)

    name = node.getNode("name")
    name_text = name.string() if name.isString() else default
    sides = [node.getNode(key) for key in ("image_width", "image_height")]
    if any(side.empty() for side in sides):
        raise CalibrationError(f"{name_text}: image_width and image_height are missing")
    distortion = mat("distortion_coefficients").reshape(-1)
    fisheye = not node.getNode("fisheye").empty() and node.getNode("fisheye").real() != 0
    return CameraModel(
        name_text,
        (int(sides[0].real()), int(sides[1].real())),
        mat("camera_matrix"),
        distortion,
        _rotation(name_text, mat("rotation", np.eye(3))),
        mat("translation", np.zeros(3)).reshape(-1),
        fisheye,
    )


def write(calibration: Calibration, file: Path, kind: str = "poseloop") -> None:
    """Write a calibration for poseloop or another program.

    Raises:
        CalibrationError: it cannot be written, or not in that format.
    """
    if kind == "poseloop":
        calibration.save(file)
        return
    text = {"anipose": _anipose, "caliscope": _caliscope, "opencv": _opencv}[kind](calibration)
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CalibrationError(f"{file}: cannot be written: {error.strerror}") from error


def _padded(camera: CameraModel) -> list[float]:
    values: list[float] = camera.distortion.tolist()
    return values if camera.fisheye else values + [0.0] * (5 - len(values))


def _anipose(calibration: Calibration) -> str:
    lines = []
    for number, camera in enumerate(calibration.cameras):
        lines += [
            f"[cam_{number}]",
            f"name = {json.dumps(camera.name)}",
            f"size = {list(camera.size)}",
            f"matrix = {camera.matrix.tolist()}",
            f"distortions = {_padded(camera)}",
            f"rotation = {cv2.Rodrigues(camera.rotation)[0].reshape(-1).tolist()}",
            f"translation = {camera.translation.tolist()}",
            *(["fisheye = true"] if camera.fisheye else []),
            "",
        ]
    return "\n".join([*lines, "[metadata]", ""])


def _caliscope(calibration: Calibration) -> str:
    lines = []
    for number, camera in enumerate(calibration.cameras):
        lines += [
            f"[cameras.{number}]",
            f"cam_id = {number}",
            f"name = {json.dumps(camera.name)}",
            "rotation_count = 0",
            "ignore = false",
            f"size = {list(camera.size)}",
            f"matrix = {camera.matrix.tolist()}",
            f"distortions = {_padded(camera)}",
            f"translation = {(camera.translation / _MM_PER_M).tolist()}",
            f"rotation = {camera.rotation.tolist()}",
            f"fisheye = {'true' if camera.fisheye else 'false'}",
            "",
        ]
    return "\n".join(lines)


def _opencv(calibration: Calibration) -> str:
    storage = cv2.FileStorage("calibration.yaml", cv2.FILE_STORAGE_WRITE | cv2.FILE_STORAGE_MEMORY)
    storage.write("unit", calibration.unit)
    storage.startWriteStruct("cameras", cv2.FILE_NODE_SEQ)
    for camera in calibration.cameras:
        storage.startWriteStruct("", cv2.FILE_NODE_MAP)
        storage.write("name", camera.name)
        storage.write("image_width", camera.size[0])
        storage.write("image_height", camera.size[1])
        storage.write("fisheye", int(camera.fisheye))
        storage.write("camera_matrix", np.array(camera.matrix))
        storage.write("distortion_coefficients", np.array(camera.distortion).reshape(1, -1))
        storage.write("rotation", np.array(camera.rotation))
        storage.write("translation", np.array(camera.translation).reshape(3, 1))
        storage.endWriteStruct()
    storage.endWriteStruct()
    return storage.releaseAndGetString()
