"""Draws what a rig in the world saw and did: each camera's picture, and the rig from outside."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from poseloop.live.config import Rig
from poseloop.live.errors import DataError
from poseloop.live.geometry import Calibration
from poseloop.live.geometry.calibration import CameraModel
from poseloop.live.output import wire
from poseloop.live.output.draw import Canvas
from poseloop.live.types import Float32, Image, Pose

__all__ = ["Film", "Shot"]

_WIDTH = 640
"""Of one picture in the clip, px."""
_DARK = 26
_EDGES = tuple((a, b) for a, b in itertools.combinations(range(8), 2) if (a ^ b) in (1, 2, 4))
"""Of a box whose corners are counted in binary, a digit for each axis."""
_FRUSTUM_MM = 45.0
_TRAIL = 20
"""Shots that the snout's way is drawn through."""


@dataclass(frozen=True, slots=True)
class Shot:
    """What is known of one moment."""

    pose: Pose
    previews: dict[str, wire.Preview]


class Film:
    """Turns shots into a clip."""

    def __init__(self, rig: Rig, header: wire.Header, pulses: Collection[tuple[int, int]]) -> None:
        """Load the calibration.

        Args:
            rig: with ``[geometry]``, and with a box as the region of its first protocol.
            header: names.
            pulses: from when to when each is shown, ns.

        Raises:
            CalibrationError: there is none for these cameras.
        """
        assert rig.geometry is not None
        self._rig, self._header, self._pulses = rig, header, pulses
        self._calibration = Calibration.load(rig.geometry.calibration).select(list(rig.cameras))
        low, high = np.sort(next(iter(rig.protocols.values())).options.box, axis=0)
        self._box = np.array([[(low, high)[corner >> axis & 1][axis] for axis in range(3)] for corner in range(8)])
        first = next(iter(rig.cameras.values())).options
        self._floor = np.array([[x * first.arena_width_mm, y * first.arena_height_mm, 0] for x, y in _CORNERS])
        self._outside = Calibration([_from_outside()])

    def is_on(self, shot: Shot) -> bool:
        """Was the stimulus on during this shot, or did it go on within its display time?"""
        began = shot.pose.trace.exposed_ns
        ended = began + int(1e9 / self._rig.publish.preview_fps)
        return any(on < ended and off > began for on, off in self._pulses)

    def draw(self, shot: Shot, before: Sequence[Shot] = ()) -> Image:
        """Draw one moment: the cameras in rig order, then the rig from outside.

        Args:
            shot: the moment.
            before: earlier ones, oldest first, for the way of the first keypoint.

        Returns:
            (H, W, 3), OpenCV's BGR.
        """
        on = self.is_on(shot)
        tiles = [self._tile(number, name, shot, on) for number, name in enumerate(self._header.cameras)]
        tiles.append(self._world([*before[-_TRAIL:], shot], on))
        columns = math.ceil(math.sqrt(len(tiles)))
        blank = np.full_like(tiles[-1], _DARK)
        tiles += [blank] * (-len(tiles) % columns)
        rows = [np.hstack(tiles[start : start + columns]) for start in range(0, len(tiles), columns)]
        picture: Image = np.vstack(rows)
        return picture

    def _tile(self, number: int, name: str, shot: Shot, on: bool) -> Image:
        width, height = self._calibration.cameras[number].size
        if name not in shot.previews:
            blank = Canvas(np.full((height, width, 3), _DARK, np.uint8), _WIDTH)
            blank.text(f"{name}: its picture came too late", (16, 30))
            return blank.image
        preview = shot.previews[name]
        canvas = Canvas(wire.decode_jpeg(preview), _WIDTH)
        canvas.wireframe(preview.place(self._calibration.project(self._box)[number].astype(np.float32)), _EDGES, on)
        keypoints = shot.pose.keypoints
        xy = preview.place(keypoints.xy[number, 0])
        canvas.animal(self._header, xy, keypoints.score[number, 0], self._rig.gates.score)
        canvas.text(name, (16, 30))
        if number == 0:
            canvas.legend(self._header)
        return canvas.image

    def _world(self, shots: Sequence[Shot], on: bool) -> Image:
        pose = shots[-1].pose
        assert pose.xyz is not None
        width, height = self._outside.cameras[0].size
        canvas = Canvas(np.full((height, width, 3), _DARK, np.uint8), _WIDTH)
        canvas.wireframe(self._seen(self._floor), ((0, 1), (1, 2), (2, 3), (3, 0)), False, _GREY)
        for camera in self._calibration.cameras:
            canvas.wireframe(self._seen(_frustum(camera)), _FRUSTUM, False, _GREY)
        canvas.wireframe(self._seen(self._box), _EDGES, on)
        way = np.array([shot.pose.xyz[0, 0] for shot in shots if shot.pose.xyz is not None])
        canvas.wireframe(self._seen(way), tuple(itertools.pairwise(range(len(way)))), False, _GREY)
        points = pose.xyz[0].astype(np.float64)
        # From every point a line down to the floor: without it nobody sees how high it is.
        foot = points * (1, 1, 0)
        count = len(points)
        canvas.wireframe(
            self._seen(np.vstack([points, foot])), tuple((i, i + count) for i in range(count)), False, _GREY
        )
        canvas.animal(self._header, self._seen(points), pose.score[0], self._rig.gates.score)
        canvas.text("the world, from three views", (16, 30))
        height_mm = "not seen" if np.isnan(points[0, 2]) else f"{points[0, 2]:.0f} mm high"
        text = f"{self._header.keypoints[0]} {height_mm}   pose {_ms(pose):.1f} ms after its frame"
        canvas.text(text, (16, canvas.image.shape[0] - 18))
        if on:
            canvas.text("LASER ON", (canvas.image.shape[1] - 120, 30), strong=True)
        return canvas.image

    def _seen(self, xyz: Float32) -> Float32:
        xy: Float32 = self._outside.project(xyz)[0].astype(np.float32)
        return xy

    def write(self, shots: Sequence[Shot], clip: Path, picture: Path) -> None:
        """Write the clip as H.264, and the first whole moment with the stimulus on (else the last) as PNG.

        Raises:
            DataError: they cannot be written; nothing of them is left.
        """
        import cv2

        whole = [number for number, shot in enumerate(shots) if len(shot.previews) == len(self._header.cameras)]
        best = next((number for number in whole if self.is_on(shots[number])), (whole or [len(shots) - 1])[-1])
        still = self.draw(shots[best], shots[:best])
        _, png = cv2.imencode(".png", still)
        # Under another name until it is whole, so that an interrupt leaves no half clip behind.
        part = clip.with_name(clip.name + ".part")
        try:
            picture.write_bytes(png.tobytes())
            with av.open(str(part), "w", format="mp4") as container:
                rate = Fraction(self._rig.publish.preview_fps).limit_denominator(1000)
                stream = container.add_stream("libx264", rate=rate, options={"crf": "22", "preset": "veryfast"})
                stream.pix_fmt = "yuv420p"
                stream.height, stream.width = still.shape[:2]
                for number, shot in enumerate(shots):
                    image = np.ascontiguousarray(self.draw(shot, shots[max(0, number - _TRAIL) : number]))
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
                container.mux(stream.encode())
            part.replace(clip)
        except (OSError, av.FFmpegError) as error:
            picture.unlink(missing_ok=True)
            folder = clip.absolute().parent
            raise DataError(f"clip and picture cannot be written to {folder}: {error.strerror}") from error
        finally:
            part.unlink(missing_ok=True)


_GREY = (120, 120, 120)
_CORNERS = ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5))
_FRUSTUM = (*((0, corner) for corner in (1, 2, 3, 4)), (1, 2), (2, 3), (3, 4), (4, 1))


def _ms(pose: Pose) -> float:
    return (pose.trace.published_ns - pose.trace.arrived_ns) / 1e6


def _frustum(camera: CameraModel) -> Float32:
    """(5, 3) mm: a camera's centre and the corners of what it sees a little way in front of it."""
    width, height = camera.size
    rays = np.array([[0.0, 0, 0], *([x * width, y * height, camera.matrix[0, 0]] for x, y in _CORNERS)])
    corners: Float32 = (rays / camera.matrix[0, 0] * _FRUSTUM_MM - camera.translation) @ camera.rotation
    corners[0] = camera.centre
    return corners


def _from_outside() -> CameraModel:
    """A camera that sees the demo's whole rig."""
    position, target = np.array([110.0, -1050.0, 560.0]), np.array([5.0, 0.0, 150.0])
    forward = (target - position) / np.linalg.norm(target - position)
    right = np.cross(forward, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right)
    rotation = np.array([right, np.cross(forward, right), forward])
    matrix = np.array([[385.0, 0, 159.5], [0, 385, 119.5], [0, 0, 1]])
    return CameraModel("outside", (320, 240), matrix, np.zeros(0), rotation, -rotation @ position)
