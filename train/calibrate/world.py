"""Where the world's origin is: a camera, the board at one moment, the floor, or three points."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from poseloop.live.errors import CalibrationError
from poseloop.live.geometry.calibration import Calibration
from poseloop.train.calibrate import formats
from poseloop.train.calibrate.board import Float64
from poseloop.train.calibrate.geometry import Motion, inverse, normalise
from poseloop.train.calibrate.solve import Rig

__all__ = ["calibration", "check", "frame", "triangulated"]

_UP = np.diag([1.0, -1.0, -1.0])
"""From the board's axes to the world's: x along its rows, y up its columns, z out of the printed face."""


def calibration(rig: Rig, world: Motion) -> Calibration:
    """The rig's cameras in a world's coordinates.

    Args:
        rig: in the first camera's coordinates.
        world: from those to the world's.
    """
    turn, shift = inverse(world)
    state = rig.state
    return Calibration(
        [
            formats.model(
                name,
                rig.scene.sightings[c].size,
                state.lens[c],
                state.fisheye[c],
                state.turn[c] @ turn,
                state.turn[c] @ shift + state.shift[c],
            )
            for c, name in enumerate(rig.scene.names)
        ]
    )


def check(words: str) -> None:
    """See that words can mean a world, before there is a rig.

    Raises:
        CalibrationError: they cannot, or name a file that is not there.
    """
    kind, _, rest = words.partition(":")
    if not (words in ("camera", "board") or (kind in ("board", "floor", "points") and rest)):
        raise CalibrationError(
            f"--world: expected camera, board, board:MOMENT, floor:MOMENT,… or points:FILE.toml, but got {words!r}"
        )
    if kind == "points" and not Path(rest).is_file():
        raise CalibrationError(f"--world: {rest}: there is no such file")


def frame(rig: Rig, words: str) -> tuple[Motion, str]:
    """From the first camera's coordinates to the world that was asked for, and that world in words.

    Args:
        rig: the adjusted cameras.
        words: ``camera``, ``board``, ``board:MOMENT``, ``floor:MOMENT,…`` or ``points:FILE.toml``.

    Raises:
        CalibrationError: the board was not seen at such a moment, or the points are no triangle.
    """
    check(words)
    kind, _, rest = words.partition(":")
    if kind == "camera":
        return (np.eye(3), np.zeros(3)), f"origin and axes of camera {rig.scene.names[0]!r}: z along its view"
    if kind == "board":
        counts = np.bincount(rig.seen.block, minlength=len(rig.moments))
        block = _blocks(rig, rest)[0] if rest else int(counts.argmax())
        turn, shift = inverse((rig.state.block_turn[block], rig.state.block_shift[block]))
        return (_UP @ turn, _UP @ shift), (
            f"the board at moment {rig.moments[block]}: origin at its first inner corner, x along its rows, y up its "
            "columns, z out of the printed face"
        )
    if kind == "floor":
        return _floor(rig, _blocks(rig, rest)), f"floor: z = 0 where the board lay at moment {rest}, z up"
    return _points(rig, Path(rest)), f"three points of {rest}: origin, a point on x, a point in the xy plane"


def _blocks(rig: Rig, text: str) -> list[int]:
    known = {moment: block for block, moment in enumerate(rig.moments)}
    try:
        wanted = [int(part) for part in text.split(",")]
    except ValueError:
        raise CalibrationError(f"--world: expected numbers of moments, but got {text!r}") from None
    missing = [moment for moment in wanted if moment not in known]
    if missing:
        some = ", ".join(map(str, rig.moments[:12])) + (", …" if len(rig.moments) > 12 else "")
        raise CalibrationError(f"--world: the board was not used at moment {missing[0]}; it was at {some}")
    return [known[moment] for moment in wanted]


def _centres(rig: Rig) -> Float64:
    centres: Float64 = -np.einsum("cji,cj->ci", rig.state.turn, rig.state.shift)
    return centres


def _floor(rig: Rig, blocks: Sequence[int]) -> Motion:
    corners = np.concatenate(
        [rig.scene.board.points @ rig.state.block_turn[b].T + rig.state.block_shift[b] for b in blocks]
    )
    middle = corners.mean(axis=0)
    up = np.linalg.svd(corners - middle, full_matrices=False)[2][2]
    up = up * np.sign((_centres(rig) - middle).mean(axis=0) @ up)
    x = rig.state.turn[0][0] - (rig.state.turn[0][0] @ up) * up
    if np.linalg.norm(x) < 0.1:  # the first camera's rows stand upright
        x = rig.state.turn[0][1] - (rig.state.turn[0][1] @ up) * up
    x = x / np.linalg.norm(x)
    turn = np.stack([x, np.cross(up, x), up])
    return turn, -turn @ middle


def _points(rig: Rig, file: Path) -> Motion:
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8-sig"))
        given = {
            key: {name: np.array(xy, np.float64) for name, xy in table[key].items()} for key in ("origin", "x", "y")
        }
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CalibrationError(f"{file}: cannot be read: {error}") from error
    except (KeyError, AttributeError, ValueError) as error:
        raise CalibrationError(
            f"{file}: expected the tables [origin], [x] and [y], each with CAMERA = [x px, y px]; {error}"
        ) from error
    cameras = calibration(rig, (np.eye(3), np.zeros(3)))
    origin, on_x, in_plane = (triangulated(cameras, given[key], f"{file}: [{key}]") for key in ("origin", "x", "y"))
    x = on_x - origin
    z = np.cross(x, in_plane - origin)
    if np.linalg.norm(z) < 0.02 * np.linalg.norm(x) * np.linalg.norm(in_plane - origin):
        raise CalibrationError(f"{file}: the three points lie on one line, so they make no plane")
    x, z = x / np.linalg.norm(x), z / np.linalg.norm(z)
    turn = np.stack([x, np.cross(z, x), z])
    return turn, -turn @ origin


def triangulated(cameras: Calibration, xy: Mapping[str, Float64], what: str) -> Float64:
    """A point (3,) from its places in two or more cameras' pictures: where their rays come nearest to each other.

    Raises:
        CalibrationError: fewer than two cameras, or one that is unknown.
    """
    known = dict(zip(cameras.names, cameras.cameras, strict=True))
    unknown = sorted(set(xy) - set(known))
    if unknown or len(xy) < 2:
        raise CalibrationError(
            f"{what}: expected the point in two or more of the cameras {', '.join(known)}, but got {', '.join(xy)}"
        )
    system, right = np.zeros((3, 3)), np.zeros(3)
    for name, place in xy.items():
        camera = known[name]
        lens = formats.lens_of(camera)
        ray = camera.rotation.T @ np.append(normalise(lens.values, lens.fisheye, place[None])[0], 1.0)
        ray /= np.linalg.norm(ray)
        across = np.eye(3) - np.outer(ray, ray)
        system += across
        right += across @ camera.centre
    return np.asarray(np.linalg.solve(system, right), np.float64)
