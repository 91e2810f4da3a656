"""Messages ↔ bytes: the schema of everything that is sent over a socket (documented in docs/wire.md).

A message is two ZeroMQ parts: the topic, and one msgpack map. Arrays are raw little-endian bytes in C order beside
their sizes: reading them takes one call in any language, and packing a pose takes microseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgpack
import numpy as np
import numpy.typing as npt

from poseloop.live.errors import DataError
from poseloop.live.types import Float32, Image, Keypoints, Pose, Trace

__all__ = ["END", "HEADER", "HEALTH", "POSE", "PREVIEW", "VERSION", "Header", "Preview", "Wire", "unpack_pose"]

VERSION = 1
"""Raised when an older reader would misread a newer message."""

POSE = b"pose"
HEADER = b"header"
HEALTH = b"health"
PREVIEW = b"preview"
END = b"end"

_TIMES = 8
"""Times of a `Trace` that the engine knows, from ``exposed_ns`` to ``published_ns``, in that order."""


@dataclass(frozen=True, slots=True)
class Header:
    """What does not change from pose to pose."""

    rig: str
    model: str
    cameras: tuple[str, ...]
    keypoints: tuple[str, ...]
    skeleton: tuple[tuple[str, str], ...]
    gate: float
    """The model's own advice: a score under it should not be trusted."""


@dataclass(frozen=True, slots=True)
class Preview:
    """One camera's picture, made small for a monitor."""

    index: int
    camera: str
    scale: float
    """Preview pixels per camera pixel: x_preview = (x + 0.5) * scale - 0.5."""
    jpeg: bytes

    def place(self, xy: Float32) -> Float32:
        """Pixels of the camera's picture (..., 2) to pixels of this one."""
        return np.asarray((xy + 0.5) * self.scale - 0.5, np.float32)


class Wire:
    """Packs messages, reusing one buffer; for one thread."""

    def __init__(self) -> None:
        self._pack = msgpack.Packer().pack

    def pose(self, pose: Pose) -> bytes:
        """Pack one pose."""
        keypoints, trace = pose.keypoints, pose.trace
        cameras, individuals, points = keypoints.score.shape
        packed: bytes = self._pack(
            {
                "v": VERSION,
                "sequence": pose.sequence,
                "index": pose.index,
                "missing": pose.missing,
                "skew_ns": pose.skew_ns,
                "times": [
                    trace.exposed_ns,
                    trace.arrived_ns,
                    trace.complete_ns,
                    trace.infer_start_ns,
                    trace.infer_end_ns,
                    trace.decoded_ns,
                    trace.triangulated_ns,
                    trace.published_ns,
                ],
                "cameras": cameras,
                "individuals": individuals,
                "keypoints": points,
                "xy": keypoints.xy.tobytes(),
                "camera_score": keypoints.score.tobytes(),
                "xyz": None if pose.xyz is None else pose.xyz.tobytes(),
                "score": pose.score.tobytes(),
                "residual_px": pose.residual_px.tobytes(),
                "views": pose.views.tobytes(),
                "predicted_for_ns": pose.predicted_for_ns,
                "predicted": pose.predicted.tobytes() if pose.predicted_for_ns else None,
            }
        )
        return packed

    def header(self, header: Header) -> bytes:
        """Pack the header."""
        packed: bytes = self._pack(
            {
                "v": VERSION,
                "rig": header.rig,
                "model": header.model,
                "cameras": header.cameras,
                "keypoints": header.keypoints,
                "skeleton": header.skeleton,
                "gate": header.gate,
            }
        )
        return packed

    def preview(self, preview: Preview) -> bytes:
        """Pack a preview."""
        packed: bytes = self._pack(
            {
                "v": VERSION,
                "index": preview.index,
                "camera": preview.camera,
                "scale": preview.scale,
                "jpeg": preview.jpeg,
            }
        )
        return packed

    def plain(self, values: Mapping[str, Any]) -> bytes:
        """Pack a map of plain values: health, and the end of a stream."""
        packed: bytes = self._pack({"v": VERSION, **values})
        return packed


def unpack(body: bytes) -> dict[str, Any]:
    """Unpack any message and check its version.

    Raises:
        DataError: it is not a message of this version.
    """
    try:
        message = msgpack.unpackb(body)
    except (ValueError, msgpack.UnpackException) as error:
        raise DataError(f"expected a msgpack message, but {len(body)} bytes could not be unpacked: {error}") from error
    version = message.get("v") if isinstance(message, dict) else None
    if version != VERSION:
        raise DataError(f"expected wire version {VERSION}, but got {version!r}; use the same Poseloop on both ends")
    found: dict[str, Any] = message
    return found


def unpack_header(body: bytes) -> Header:
    """Unpack a header."""
    message = unpack(body)
    try:
        return Header(
            rig=message["rig"],
            model=message["model"],
            cameras=tuple(message["cameras"]),
            keypoints=tuple(message["keypoints"]),
            skeleton=tuple((a, b) for a, b in message["skeleton"]),
            gate=message["gate"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"expected a header as docs/wire.md describes it, but: {error!r}") from error


def unpack_preview(body: bytes) -> Preview:
    """Unpack a preview."""
    message = unpack(body)
    return Preview(message["index"], message["camera"], message["scale"], message["jpeg"])


def unpack_pose(body: bytes, received_ns: int = 0) -> Pose:
    """Unpack a pose; its arrays are read-only views of ``body``.

    Raises:
        DataError: it is not a pose of this version, or its arrays do not have the size that it says.
    """
    message = unpack(body)
    try:
        c, i, k = message["cameras"], message["individuals"], message["keypoints"]
        keypoints = Keypoints(_floats(message["xy"], (c, i, k, 2)), _floats(message["camera_score"], (c, i, k)))
        xyz = None if message["xyz"] is None else _floats(message["xyz"], (i, k, 3))
        measured = keypoints.xy if xyz is None else xyz
        predicted = measured if message["predicted"] is None else _floats(message["predicted"], measured.shape)
        return Pose(
            sequence=message["sequence"],
            index=message["index"],
            keypoints=keypoints,
            xyz=xyz,
            score=_floats(message["score"], (i, k)),
            residual_px=_floats(message["residual_px"], (i, k)),
            views=np.frombuffer(message["views"], np.uint8).reshape(i, k),
            predicted=predicted,
            predicted_for_ns=message["predicted_for_ns"],
            missing=message["missing"],
            skew_ns=message["skew_ns"],
            trace=replace(Trace(*message["times"][:_TIMES]), received_ns=received_ns),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"expected a pose message as docs/wire.md describes it, but: {error!r}") from error


def _floats(data: bytes, shape: tuple[int, ...]) -> Float32:
    array: npt.NDArray[np.float32] = np.frombuffer(data, "<f4").reshape(shape)
    return array


def decode_jpeg(preview: Preview) -> Image:
    """The preview's picture, (h, w, 3) uint8 in OpenCV's BGR order.

    Raises:
        DataError: it is no JPEG.
    """
    import cv2

    image = cv2.imdecode(np.frombuffer(preview.jpeg, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise DataError(f"expected a JPEG preview of frame {preview.index}, but its {len(preview.jpeg)} bytes are none")
    return np.asarray(image, np.uint8)
