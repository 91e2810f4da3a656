"""The printed board: what its TOML says, where its corners are, and how they are found in a picture.

Board coordinates: origin at the board's upper left inner corner, x along its rows, y down its columns, z into the
paper (OpenCV's), in millimetres.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationError, model_validator

from poseloop.live import config
from poseloop.live.errors import ConfigError
from poseloop.live.types import Image

__all__ = ["Board", "Detector", "Float64", "Found", "Int64", "load", "markers", "pattern"]

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Found = tuple[Int64, Float64]
"""Numbers of the corners (n,) and their places (n, 2), px with pixel centres at integers."""

_CM_PER_INCH = 2.54
_SUBPIX = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 50, 1e-3)


class Board(config.Settings):
    """A board file."""

    type: Literal["charuco", "chessboard"]
    squares: tuple[int, int]
    """Columns and rows of squares. A chessboard may be given by ``corners`` instead: one less each way."""
    square_mm: float = Field(gt=0)
    """Side of a square, measured on the print."""
    marker_mm: float = Field(0.0, ge=0)
    """ChArUco: side of a marker."""
    dictionary: str = "4X4_1000"
    """ChArUco: family of the markers, as OpenCV calls it without ``DICT_``."""
    inverted: bool = False
    """White and black are exchanged on the print."""
    legacy: bool = False
    """ChArUco printed with a pattern of OpenCV before 4.6, which starts with another colour if the rows are even."""

    @model_validator(mode="after")
    def _possible(self) -> Board:
        if min(self.squares) < 3:
            raise ValueError(f"squares: expected at least 3 columns and 3 rows, but got {self.squares}")
        if self.type == "charuco":
            if not 0 < self.marker_mm < self.square_mm:
                raise ValueError(
                    f"marker_mm: expected more than 0 and less than square_mm = {self.square_mm:g}, "
                    f"but got {self.marker_mm:g}"
                )
            if self.markers > _dictionary(self.dictionary).bytesList.shape[0]:
                raise ValueError(f"a board of {self.markers} markers needs a dictionary larger than {self.dictionary}")
        return self

    @property
    def corners(self) -> tuple[int, int]:
        """Columns and rows of inner corners."""
        return self.squares[0] - 1, self.squares[1] - 1

    @property
    def markers(self) -> int:
        """Markers on a ChArUco board."""
        return self.squares[0] * self.squares[1] // 2

    @property
    def symmetric(self) -> bool:
        """Whether the board looks the same upside down, so that its corners cannot be told apart."""
        return self.type == "chessboard" and (self.squares[0] + self.squares[1]) % 2 == 0

    @property
    def points(self) -> Float64:
        """(corners, 3) mm: every inner corner, row by row; read-only."""
        return _points(*self.corners, self.square_mm)

    @property
    def words(self) -> str:
        """The board in a few words."""
        kind = f"ChArUco, {self.dictionary}" if self.type == "charuco" else "chessboard"
        return f"{kind}, {self.squares[0]} x {self.squares[1]} squares of {self.square_mm:g} mm"


@lru_cache(maxsize=16)
def _points(columns: int, rows: int, square_mm: float) -> Float64:
    y, x = np.mgrid[:rows, :columns]
    points: Float64 = np.stack([x, y, 0 * x], axis=-1).reshape(-1, 3) * square_mm
    points.flags.writeable = False
    return points


def load(file: Path) -> Board:
    """Read a board file: ours, sleap-anipose's, or caliscope's ``charuco.toml``.

    Raises:
        ConfigError: it is missing, or its keys or values are wrong.
    """
    try:
        raw = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(f"{file}: there is no such board file") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{file}: is not valid TOML: {error}") from error
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from error
    try:
        return config.validate(Board, _ours(raw), file.parent)
    except ValidationError as error:
        faults = "\n".join(
            f"  {'.'.join(map(str, item['loc']))}: {item['msg']}".replace(": Value error,", ":")
            for item in error.errors(include_url=False)
        )
        raise ConfigError(f"{file}: is no board that can be used:\n{faults}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{file}: is no board that can be used: {error}") from error


def _ours(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Bring the board files of other programs into our keys."""
    if "board_x" in raw:  # sleap-anipose; squares of a ChArUco, but inner corners of a chessboard, as in aniposelib
        size = [int(raw["board_x"]), int(raw["board_y"])]
        if "marker_length" not in raw:
            return {"type": "chessboard", "squares": [n + 1 for n in size], "square_mm": raw["square_length"]}
        return {
            "type": "charuco",
            "squares": size,
            "square_mm": raw["square_length"],
            "marker_mm": raw["marker_length"],
            "dictionary": "{0}X{0}_{1}".format(raw.get("marker_bits", 4), raw.get("dict_size", 50)),
        }
    table = raw.get("charuco", raw)
    if "aruco_scale" in table:  # caliscope
        square_cm = table.get("square_size_override_cm")
        if square_cm is None:
            cm = {"inch": _CM_PER_INCH, "cm": 1.0}[table["units"]]
            sides = table["board_width"] / table["columns"], table["board_height"] / table["rows"]
            square_cm = min(sides) * cm
        return {
            "type": "charuco",
            "squares": [table["columns"], table["rows"]],
            "square_mm": 10 * square_cm,
            "marker_mm": 10 * square_cm * table["aruco_scale"],
            "dictionary": table["dictionary"].removeprefix("DICT_"),
            "inverted": table.get("inverted", False),
        }
    ours = dict(raw.get("board", raw))
    if "corners" in ours and "squares" not in ours:
        ours["squares"] = [n + 1 for n in ours.pop("corners")]
    return ours


def _dictionary(name: str) -> cv2.aruco.Dictionary:
    known = sorted(word.removeprefix("DICT_") for word in dir(cv2.aruco) if re.match(r"DICT_\dX\d_\d+$|DICT_A", word))
    if name not in known:
        raise ValueError(f"dictionary: expected one of {', '.join(known)}, but got {name!r}")
    return cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, f"DICT_{name}"))


def pattern(board: Board) -> cv2.aruco.CharucoBoard:
    """A ChArUco board as OpenCV has it, in millimetres."""
    whole = _dictionary(board.dictionary)
    # Only the board's own markers: comparing with all 1,000 of a dictionary takes ten times as long.
    own = cv2.aruco.Dictionary(whole.bytesList[: board.markers], whole.markerSize, whole.maxCorrectionBits)
    made = cv2.aruco.CharucoBoard(board.squares, board.square_mm, board.marker_mm, own)
    made.setLegacyPattern(board.legacy)
    return made


class Detector:
    """Finds a board's corners in pictures; one for each thread."""

    def __init__(self, board: Board) -> None:
        self.board = board
        if board.type == "charuco":
            self._charuco = cv2.aruco.CharucoDetector(pattern(board))

    def __call__(self, picture: Image) -> Found | None:
        """Find the corners in a grey picture (H, W); None if there are too few to say where the board is."""
        if self.board.inverted:
            picture = 255 - picture
        found = self._of_charuco(picture) if self.board.type == "charuco" else self._of_chessboard(picture)
        if found is None or len(found[0]) < 6 or not np.isfinite(found[1]).all():
            return None
        places = self.board.points[found[0], :2] / self.board.square_mm
        # A single row of corners has no plane.
        return found if np.linalg.svd(places - places.mean(axis=0), compute_uv=False)[1] > 0.9 else None

    def marker_share(self, picture: Image) -> float | None:
        """Side of a ChArUco's markers in shares of its squares', as a grey picture has it; None if it does not tell."""
        picture = 255 - picture if self.board.inverted else picture
        xy, numbers, outlines, _ = self._charuco.detectBoard(picture)
        if numbers is None or len(numbers) < 6 or not outlines:
            return None
        plane = self.board.points[numbers.reshape(-1), :2] / self.board.square_mm
        homography, _ = cv2.findHomography(xy.reshape(-1, 2), plane, cv2.RANSAC, 0.1)
        if homography is None:
            return None
        # Outlines lie a pixel inside of the markers: too much for a small one.
        sides = np.linalg.norm(np.diff(np.asarray(outlines, np.float32).reshape(-1, 4, 2), axis=1), axis=-1)
        half = int(np.clip(0.06 * np.median(sides), 2, 5))
        exact = cv2.cornerSubPix(
            picture, np.asarray(outlines, np.float32).reshape(-1, 1, 2), (half, half), (-1, -1), _SUBPIX
        )
        flat = cv2.perspectiveTransform(exact.astype(np.float64), homography).reshape(-1, 4, 2)
        return float(np.median(np.linalg.norm(flat - np.roll(flat, 1, axis=1), axis=-1)))

    def _of_charuco(self, picture: Image) -> Found | None:
        xy, numbers, _, _ = self._charuco.detectBoard(picture)
        if numbers is None or len(numbers) < 6:
            return None
        return _consistent(numbers.reshape(-1).astype(np.int64), xy.reshape(-1, 2).astype(np.float64), self.board)

    def _of_chessboard(self, picture: Image) -> Found | None:
        size = self.board.corners
        flags = cv2.CALIB_CB_ADAPTIVE_THRESH | cv2.CALIB_CB_NORMALIZE_IMAGE | cv2.CALIB_CB_FAST_CHECK
        seen, xy = cv2.findChessboardCorners(picture, size, flags=flags)
        if seen:
            xy = xy.reshape(-1, 2).astype(np.float32)
            grid = xy.reshape(size[1], size[0], 2)
            steps = [np.linalg.norm(np.diff(grid, axis=axis), axis=-1).min() for axis in (0, 1)]
            # Half a square on either side: a wider window would see the neighbouring corners.
            half = int(np.clip(0.4 * min(steps), 2, 15))
            xy = cv2.cornerSubPix(picture, xy.reshape(-1, 1, 2), (half, half), (-1, -1), _SUBPIX)
        else:
            seen, xy = cv2.findChessboardCornersSB(picture, size, flags=cv2.CALIB_CB_NORMALIZE_IMAGE)
            if not seen:
                return None
        corners: Float64 = np.asarray(xy, np.float64).reshape(-1, 2)
        if not _first_square_is_dark(picture, corners.reshape(size[1], size[0], 2)):
            corners = corners[::-1].copy()
        return np.arange(len(corners), dtype=np.int64), corners


def _first_square_is_dark(picture: Image, grid: Float64) -> bool:
    """Compare the squares of both colours around the first inner corners: which of two ways up the board is."""
    shades: tuple[list[float], list[float]] = ([], [])
    for row in range(grid.shape[0] - 1):
        for column in range(grid.shape[1] - 1):
            x, y = grid[row : row + 2, column : column + 2].reshape(-1, 2).mean(axis=0)
            shades[(row + column) % 2].append(float(picture[round(y), round(x)]))
    return float(np.mean(shades[0])) < float(np.mean(shades[1]))


def _consistent(numbers: Int64, xy: Float64, board: Board) -> Found | None:
    """Drop corners that a plane's picture cannot have, as a misread marker gives them.

    The bound is loose, because a lens bends what a homography keeps straight.
    """
    plane = board.points[numbers, :2] / board.square_mm
    homography, inside = cv2.findHomography(plane, xy, cv2.RANSAC, max(8.0, 0.03 * float(np.ptp(xy, axis=0).max())))
    if homography is None:
        return None
    keep = inside.reshape(-1) > 0
    return numbers[keep], xy[keep]


def markers(picture: Image, dictionary: str) -> Int64:
    """Numbers of the markers of a dictionary in a grey picture, whatever board they are on."""
    _, numbers, _ = cv2.aruco.ArucoDetector(_dictionary(dictionary)).detectMarkers(picture)
    return np.zeros(0, np.int64) if numbers is None else np.asarray(numbers, np.int64).reshape(-1)
