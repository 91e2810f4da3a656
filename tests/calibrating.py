"""A simulated rig with known cameras: what its cameras see of a board, as views or as pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.interpolate import CubicSpline

from poseloop.live.geometry import Calibration
from poseloop.live.geometry.calibration import CameraModel
from poseloop.train.calibrate.board import Board
from poseloop.train.calibrate.detect import Sightings, View

SIZE = (640, 480)
CHARUCO = Board(type="charuco", squares=(6, 5), square_mm=30, marker_mm=22)


@dataclass(frozen=True)
class Moment:
    """Where the board is: to the world."""

    turn: np.ndarray
    shift: np.ndarray


def camera(name: str, angle_deg: float, fisheye: bool = False, focal: float = 560.0) -> CameraModel:
    """A camera on a circle of 600 mm around the origin, a little raised, looking at the origin."""
    a = np.radians(angle_deg)
    centre = 600 * np.array([np.sin(a), -0.3, -np.cos(a)])
    z = -centre / np.linalg.norm(centre)
    x = np.cross([0.0, 1.0, 0.0], z)
    x /= np.linalg.norm(x)
    turn = np.stack([x, np.cross(z, x), z])
    if fisheye:
        matrix = np.array([[300.0, 0, 315], [0, 301.0, 245], [0, 0, 1]])
        return CameraModel(name, SIZE, matrix, np.array([0.02, -0.01, 0.004, -0.001]), turn, -turn @ centre, True)
    matrix = np.array([[focal, 0, 322], [0, focal + 1, 236], [0, 0, 1.0]])
    return CameraModel(name, SIZE, matrix, np.array([-0.2, 0.06, 0.001, -0.0005, 0.01]), turn, -turn @ centre)


def rig(fisheye: tuple[str, ...] = ()) -> Calibration:
    """Three cameras, 35° apart."""
    return Calibration(
        [camera(name, angle, name in fisheye) for name, angle in (("left", -35), ("mid", 0), ("right", 35))]
    )


def moments(count: int, seed: int = 0, tilt_deg: float = 35.0, step: float = 1.0) -> list[Moment]:
    """The board here and there, facing the cameras; ``step`` < 1 makes a slow walk."""
    rng = np.random.default_rng(seed)
    out = []
    turn = np.zeros(3)
    shift = np.zeros(3)
    for _ in range(count):
        limit = np.radians([tilt_deg, tilt_deg, 60.0 if tilt_deg > 1 else tilt_deg])
        turn = (1 - step) * turn + step * rng.uniform(-limit, limit)
        shift = (1 - step) * shift + step * rng.uniform([-200, -150, -120], [200, 150, 120])
        R = cv2.Rodrigues(turn)[0]
        out.append(Moment(R, shift - R @ CHARUCO.points.mean(axis=0)))
    return out


def walk(seconds: float, seed: int = 0) -> Callable[[float], Moment]:
    """The board on a smooth way, to another place each second."""
    rng = np.random.default_rng(seed)
    times = np.arange(seconds + 3)
    limit = 0.8 * np.array([0.6, 0.6, 1.0, 200, 150, 120])
    way = CubicSpline(times - 1, rng.uniform(-limit, limit, (len(times), 6)))

    def at(time: float) -> Moment:
        turn = cv2.Rodrigues(way(time)[:3])[0]
        return Moment(turn, way(time)[3:] - turn @ CHARUCO.points.mean(axis=0))

    return at


def sightings(
    cameras: Calibration,
    boards: list[Moment],
    noise_px: float = 0.1,
    seed: int = 1,
    late: dict[str, int] | None = None,
    board: Board = CHARUCO,
) -> list[Sightings]:
    """What the cameras see; corners outside of the picture are missing, a ``late`` camera shows older boards."""
    rng = np.random.default_rng(seed)
    out = []
    for c, model in enumerate(cameras.cameras):
        views = {}
        for m in range(len(boards)):
            then = m - (late or {}).get(model.name, 0)
            if not 0 <= then < len(boards):
                continue
            place = boards[then]
            xy = cameras.project(board.points @ place.turn.T + place.shift)[c]
            xy = xy + rng.normal(0, noise_px, xy.shape)
            inside = ((xy > 5) & (xy < np.array(SIZE) - 6)).all(axis=1)
            if inside.sum() >= 8:
                views[m] = View(np.flatnonzero(inside), xy[inside], 0.2)
        out.append(Sightings(model.name, SIZE, len(boards), views))
    return out


def picture(cameras: Calibration, c: int, place: Moment, board: Board = CHARUCO, scale: int = 10) -> np.ndarray:
    """A picture (480, 640) of the board by one camera, rendered with its lens; grey around a white margin."""
    model = cameras.cameras[c]
    columns, rows = board.squares
    side = scale * 10
    if board.type == "charuco":
        pattern = cv2.aruco.CharucoBoard(
            board.squares,
            board.square_mm,
            board.marker_mm,
            cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, f"DICT_{board.dictionary}")),
        )
        pattern.setLegacyPattern(board.legacy)
        print_ = pattern.generateImage((columns * side, rows * side))
    else:
        y, x = np.mgrid[: rows * side, : columns * side] // side
        print_ = np.where((x + y) % 2 == 0, 0, 255).astype(np.uint8)
    if board.inverted:
        print_ = 255 - print_
    margin = side
    print_ = np.pad(print_, margin, constant_values=0 if board.inverted else 255)
    # Each pixel's ray meets the board's plane.
    u, v = np.meshgrid(*(np.arange(n, dtype=float) for n in SIZE))
    xy = np.full((len(cameras.cameras), u.size, 2), np.nan)
    xy[c] = np.column_stack([u.ravel(), v.ravel()])
    rays = np.column_stack([cameras.undistort(xy)[c], np.ones(u.size)])
    turn = model.rotation @ place.turn
    shift = model.rotation @ place.shift + model.translation
    normal = turn[:, 2]
    depth = (normal @ shift) / (rays @ normal)
    on_board = (rays * depth[:, None] - shift) @ turn  # mm from the first inner corner
    pixel = (on_board[:, :2] / board.square_mm + 1) * side + margin - 0.5
    pixel = np.where(np.isfinite(pixel) & (depth > 0)[:, None], pixel, -1e4).astype(np.float32)
    return cv2.remap(
        cv2.GaussianBlur(print_, (0, 0), side / 35),
        pixel[:, 0].reshape(u.shape),
        pixel[:, 1].reshape(u.shape),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=110,
    )
