"""Camera models of a rig: load, save, project, undistort.

``x_camera = R · x_world + t``; pixels as everywhere: x right, y down, pixel centres at integers. The file is TOML::

    format = "poseloop calibration 1"
    unit = "mm"

    [cameras.top]
    model = "pinhole"                       # or "fisheye"
    size = [1280, 1024]                     # px, width and height of the pictures that it holds for
    matrix = [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]
    distortion = [k1, k2, p1, p2, k3]       # OpenCV's: 0, 4, 5 or 8 of them; fisheye: 4
    rotation = [[…], […], […]]
    translation = [x, y, z]                 # in the unit
    offset = [left, top]                    # optional: where the pictures lie on the sensor, px of the picture
    binning = [2, 2]                        # only with offset: sensor pixels that became one; [1, 1] if not given
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from poseloop.live.errors import CalibrationError
from poseloop.live.geometry import lens
from poseloop.live.types import CameraFormat, Region

__all__ = ["Calibration", "CameraModel"]

Float64 = npt.NDArray[np.float64]

_FORMAT = "poseloop calibration 1"
_KEYS = ("model", "size", "matrix", "distortion", "rotation", "translation")
_OPTIONAL = ("offset", "binning")
_COEFFICIENTS = {"pinhole": (0, 4, 5, 8), "fisheye": (4,)}
_ROTATION = 1e-6
"""By how much a rotation's columns may miss unit length and right angles: what six written digits lose."""


@dataclass(frozen=True, slots=True, eq=False)
class CameraModel:
    """One camera. Checked at birth.

    Raises:
        CalibrationError: anything of it is no camera; names the camera, what was expected and what was found.
    """

    name: str
    size: tuple[int, int]
    """Width and height of its pictures, px."""
    matrix: Float64
    """(3, 3): fx 0 cx, 0 fy cy, 0 0 1; px."""
    distortion: Float64
    """(n,): OpenCV's coefficients."""
    rotation: Float64
    """(3, 3), world to camera."""
    translation: Float64
    """(3,), world to camera, in the calibration's unit."""
    fisheye: bool = False
    region: Region | None = None
    """Where its pictures lie on the sensor; None = not known."""

    def __post_init__(self) -> None:
        for part, shape in (("matrix", (3, 3)), ("rotation", (3, 3)), ("translation", (3,)), ("distortion", (-1,))):
            object.__setattr__(self, part, _numbers(self.name, part, getattr(self, part), shape))
        sides = self.size if isinstance(self.size, tuple) else ()
        if len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides):
            raise CalibrationError(f"camera {self.name}: expected size = [width, height] in px, but got {self.size}")
        fx, fy = self.matrix[0, 0], self.matrix[1, 1]
        plain = np.array([[fx, 0, self.matrix[0, 2]], [0, fy, self.matrix[1, 2]], [0, 0, 1]])
        if not (fx > 0 and fy > 0 and np.array_equal(self.matrix, plain)):
            raise CalibrationError(
                f"camera {self.name}: expected a matrix [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] with fx, fy > 0, but got "
                f"{self.matrix.tolist()}"
            )
        R = self.rotation
        if not np.allclose(R @ R.T, np.eye(3), atol=_ROTATION) or np.linalg.det(R) < 0:
            raise CalibrationError(
                f"camera {self.name}: expected a rotation (R Rᵀ = 1, det R = 1), but got {R.tolist()} with det R = "
                f"{np.linalg.det(R):.6g}"
            )
        model = "fisheye" if self.fisheye else "pinhole"
        if len(self.distortion) not in _COEFFICIENTS[model]:
            known = ", ".join(map(str, _COEFFICIENTS[model]))
            raise CalibrationError(
                f"camera {self.name}: expected {known} distortion coefficients for a {model}, but got "
                f"{len(self.distortion)}"
            )

    @property
    def centre(self) -> Float64:
        """(3,): where it stands in the world."""
        return -self.rotation.T @ self.translation

    def delivering(self, pictures: CameraFormat) -> CameraModel:
        """The same camera with the pictures that it delivers now.

        Another region of the sensor shows the same lens: the principal point moves by as much as the region did. That
        is only known where both the calibration and the camera tell their region; else the size has to be the same.

        Raises:
            CalibrationError: the pictures are not those that were calibrated; names both sizes or binnings.
        """
        size, now = (pictures.width, pictures.height), pictures.region
        if self.region is not None and now is not None:
            was, binned = (self.region.across, self.region.down), (now.across, now.down)
            if was != binned:
                raise CalibrationError(
                    f"camera {self.name}: expected binning {_by(was)}, for which it was calibrated, but the camera has "
                    f"{_by(binned)}; set it back, or calibrate again"
                )
            matrix = self.matrix.copy()
            matrix[:2, 2] += self.region.left - now.left, self.region.top - now.top
            return replace(self, size=size, matrix=matrix, region=now)
        if size != self.size:
            raise CalibrationError(
                f"camera {self.name}: expected pictures of {_by(self.size)} px, for which it was calibrated, but the "
                f"camera delivers {_by(size)} px; set its region and binning back, or calibrate again"
            )
        return self


class Calibration:
    """The cameras of a rig, in rig order; immutable."""

    def __init__(self, cameras: Iterable[CameraModel], unit: str = "mm") -> None:
        """Keep the cameras.

        Raises:
            CalibrationError: there is none, or two have one name.
        """
        self.cameras = tuple(cameras)
        self.unit = unit
        names = self.names
        if not names:
            raise CalibrationError("expected at least one camera in a calibration, but got none")
        if twice := {name for name in names if names.count(name) > 1}:
            raise CalibrationError(f"expected camera names that differ, but got {', '.join(sorted(twice))} twice")

    @classmethod
    def load(cls, file: str | Path) -> Calibration:
        """Read a calibration file.

        Raises:
            CalibrationError: it is missing, no calibration, or a camera in it is wrong; names the file and the camera.
        """
        file = Path(file)
        try:
            table = tomllib.loads(file.read_text(encoding="utf-8-sig"))
        except FileNotFoundError:
            raise CalibrationError(f"{file}: there is no such calibration file") from None
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise CalibrationError(f"{file}: cannot be read as a calibration file (TOML): {error}") from error
        if table.get("format") != _FORMAT:
            raise CalibrationError(
                f"{file}: expected format = {_FORMAT!r}, but found {table.get('format')!r}; a calibration of another "
                f"program has to be converted first"
            )
        try:
            cameras = table.get("cameras")
            if not isinstance(cameras, dict) or not all(isinstance(camera, dict) for camera in cameras.values()):
                raise CalibrationError("expected a table [cameras.NAME] for each camera")
            unit = table.get("unit")
            if not isinstance(unit, str):
                raise CalibrationError(f'expected unit = "mm" or another one, but found {unit!r}')
            return cls([_camera(name, camera) for name, camera in cameras.items()], unit)
        except CalibrationError as error:
            raise CalibrationError(f"{file}: {error}") from error

    def save(self, file: str | Path) -> None:
        """Write a calibration file, whole or not at all; what `load` makes of it is the same to the last bit.

        Raises:
            CalibrationError: it cannot be written.
        """
        file = Path(file)
        part = file.with_name(file.name + ".part")
        try:
            part.write_text(self._as_toml(), encoding="utf-8")
            part.replace(file)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise CalibrationError(f"{file}: the calibration cannot be written: {error.strerror}") from error

    def _as_toml(self) -> str:
        lines = [f"format = {_text(_FORMAT)}", f"unit = {_text(self.unit)}"]
        for camera in self.cameras:
            lines += [
                "",
                f"[cameras.{_text(camera.name)}]",
                f"model = {_text('fisheye' if camera.fisheye else 'pinhole')}",
                f"size = {list(camera.size)}",
                f"matrix = {camera.matrix.tolist()}",
                f"distortion = {camera.distortion.tolist()}",
                f"rotation = {camera.rotation.tolist()}",
                f"translation = {camera.translation.tolist()}",
            ]
            if (region := camera.region) is not None:
                lines += [
                    f"offset = {[region.left, region.top]}",
                    f"binning = {[region.across, region.down]}",
                ]
        return "\n".join(lines) + "\n"

    @property
    def names(self) -> tuple[str, ...]:
        """The cameras' names, in order."""
        return tuple(camera.name for camera in self.cameras)

    def select(self, names: Sequence[str]) -> Calibration:
        """The same world seen by these cameras, in this order: the rig's.

        Raises:
            CalibrationError: one of them is not here.
        """
        known = dict(zip(self.names, self.cameras, strict=True))
        if missing := [name for name in names if name not in known]:
            raise CalibrationError(
                f"expected a camera {', '.join(map(repr, missing))} in the calibration, but it has: "
                f"{', '.join(self.names)}"
            )
        return Calibration([known[name] for name in names], self.unit)

    def delivering(self, formats: Sequence[CameraFormat]) -> Calibration:
        """The same world with the pictures that the cameras deliver now, in order; see `CameraModel.delivering`.

        Raises:
            CalibrationError: lists every camera whose pictures are not those that were calibrated.
        """
        cameras, faults = [], []
        for camera, pictures in zip(self.cameras, formats, strict=True):
            try:
                cameras.append(camera.delivering(pictures))
            except CalibrationError as error:
                faults.append(str(error))
        if faults:
            raise CalibrationError("\n".join(faults))
        return Calibration(cameras, self.unit)

    @functools.cached_property
    def rig(self) -> Float64:
        """(C, ROW): the cameras for kernels; see `poseloop.live.geometry.lens`."""
        rig = np.zeros((len(self.cameras), lens.ROW))
        for row, camera in zip(rig, self.cameras, strict=True):
            row[lens.FX], row[lens.FY] = camera.matrix[0, 0], camera.matrix[1, 1]
            row[lens.CX], row[lens.CY] = camera.matrix[:2, 2]
            row[lens.K : lens.K + len(camera.distortion)] = camera.distortion
            row[lens.FISHEYE] = camera.fisheye
            row[lens.R : lens.T] = camera.rotation.ravel()
            row[lens.T :] = camera.translation
        rig.flags.writeable = False
        return rig

    def project(self, xyz: npt.ArrayLike) -> Float64:
        """Where the cameras see points.

        Args:
            xyz: (N, 3) in the calibration's unit.

        Returns:
            (C, N, 2) px; NaN where a point is NaN, behind the camera, or beyond what its lens model can show. Points
            outside of the picture are given too.
        """
        points = np.ascontiguousarray(xyz, np.float64)
        if points.ndim != 2 or points.shape[1] != 3:
            raise ValueError(f"expected points (N, 3), but got {list(points.shape)}")
        xy = np.empty((len(self.cameras), len(points), 2))
        lens.project(self.rig, points, xy)
        return xy

    def undistort(self, xy: npt.ArrayLike) -> Float64:
        """In which direction each camera sees its points.

        Args:
            xy: (C, N, 2) px.

        Returns:
            (C, N, 2): x / z and y / z in each camera's own coordinates; NaN where the lens model shows nothing there.
        """
        points = np.ascontiguousarray(xy, np.float64)
        if points.ndim != 3 or points.shape[::2] != (len(self.cameras), 2):
            raise ValueError(f"expected points ({len(self.cameras)}, N, 2), but got {list(points.shape)}")
        directions = np.empty_like(points)
        lens.undistort_all(self.rig, points, directions)
        return directions

    def __repr__(self) -> str:
        return f"Calibration({', '.join(self.names)}; {self.unit})"


def _camera(name: str, table: dict[str, Any]) -> CameraModel:
    if missing := [key for key in _KEYS if key not in table]:
        raise CalibrationError(f"camera {name}: {', '.join(missing)} missing")
    known = (*_KEYS, *_OPTIONAL)
    if unknown := sorted(table.keys() - set(known)):
        raise CalibrationError(f"camera {name}: unknown key {', '.join(unknown)}; known: {', '.join(known)}")
    if table["model"] not in _COEFFICIENTS:
        models = " or ".join(_COEFFICIENTS)
        raise CalibrationError(f"camera {name}: expected model = {models}, but found {table['model']!r}")
    size = table["size"]
    return CameraModel(
        name=name,
        size=tuple(size) if isinstance(size, list) else size,
        matrix=table["matrix"],
        distortion=table["distortion"],
        rotation=table["rotation"],
        translation=table["translation"],
        fisheye=table["model"] == "fisheye",
        region=_region(name, table),
    )


def _region(name: str, table: dict[str, Any]) -> Region | None:
    if "offset" not in table:
        if "binning" in table:
            raise CalibrationError(f"camera {name}: offset missing, which belongs to binning")
        return None
    pairs = {"offset": (table["offset"], 0), "binning": (table.get("binning", [1, 1]), 1)}
    for key, (pair, least) in pairs.items():
        whole = isinstance(pair, list) and all(type(number) is int and number >= least for number in pair)
        if not whole or len(pair) != 2:
            raise CalibrationError(f"camera {name}: expected {key} = two whole numbers >= {least}, but got {pair!r}")
    return Region(*pairs["offset"][0], *pairs["binning"][0])


def _by(pair: tuple[int, int]) -> str:
    return f"{pair[0]} x {pair[1]}"


def _numbers(camera: str, part: str, value: Any, shape: tuple[int, ...]) -> Float64:
    try:
        array = np.array(value, np.float64)
    except (TypeError, ValueError):
        raise CalibrationError(f"camera {camera}: expected numbers as {part}, but got {value!r}") from None
    fits = array.ndim == 1 if shape == (-1,) else array.shape == shape
    if not fits or not np.isfinite(array).all():
        wanted = "a list" if shape == (-1,) else " x ".join(map(str, shape))
        raise CalibrationError(f"camera {camera}: expected {part} as {wanted} of finite numbers, but got {value!r}")
    array.flags.writeable = False
    return array


def _text(value: str) -> str:
    """A TOML string; JSON's escapes are among TOML's."""
    return '"' + "".join(c if c >= " " and c not in '"\\\x7f' else f"\\u{ord(c):04x}" for c in value) + '"'
