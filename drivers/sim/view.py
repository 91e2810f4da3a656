"""World → picture, for simulated cameras: the one place of this driver that changes coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from poseloop.drivers.sim.world import Arena

__all__ = ["WALL_MM", "PerspectiveView", "TopView", "View"]

Float64 = npt.NDArray[np.float64]

WALL_MM = 12.0
"""Width of the wall that is seen around the floor."""


class View(Protocol):
    """How a camera sees the world."""

    size: tuple[int, int]
    """Width and height of its pictures, px."""

    def to_px(self, points: Float64) -> Float64:
        """(N, 3) mm → (N, 2) px: x right, y down, pixel centres at integers; NaN behind the camera."""

    def depth_mm(self, points: Float64) -> Float64:
        """(N, 3) mm → (N,) mm: which points are farther away; only differences have a meaning for all views."""

    def scale(self, points: Float64) -> Float64:
        """(N, 3) mm → (N,) px that a millimetre has there."""

    def floor_mm(self) -> tuple[Float64, Float64]:
        """Where each pixel's line of sight meets the floor: x and y (H, W) mm; NaN where it does not."""


class TopView:
    """Looks straight down from far above: millimetres times a scale, height without effect."""

    def __init__(self, width: int, height: int, arena: Arena) -> None:
        """Fit the arena and its wall into ``width`` x ``height`` px."""
        self.size = width, height
        self.px_per_mm = min(width / (arena.width_mm + 2 * WALL_MM), height / (arena.height_mm + 2 * WALL_MM))
        # Pixel centres lie at integers, so the picture's middle is half a pixel before width / 2.
        self._middle = np.array([(width - 1) / 2, (height - 1) / 2])
        self._scale = np.array([self.px_per_mm, -self.px_per_mm])

    def to_px(self, points: Float64) -> Float64:
        """(N, 2) or (N, 3) mm → (N, 2) px: x right, y down, pixel centres at integers."""
        px: Float64 = self._middle + points[:, :2] * self._scale
        return px

    def depth_mm(self, points: Float64) -> Float64:
        """(N, 3) mm → (N,) mm under the floor: the higher, the nearer."""
        depth: Float64 = -points[:, 2]
        return depth

    def scale(self, points: Float64) -> Float64:
        """(N, 3) mm → (N,) px that a millimetre has there: everywhere the same."""
        return np.full(len(points), self.px_per_mm)

    def floor_mm(self) -> tuple[Float64, Float64]:
        """Where each pixel's line of sight meets the floor: x and y (H, W) mm."""
        width, height = self.size
        x = (np.arange(width) - self._middle[0]) / self._scale[0]
        y = (np.arange(height) - self._middle[1]) / self._scale[1]
        across, down = np.meshgrid(x, y)
        return across, down


class PerspectiveView:
    """A pinhole camera with a lens, in the words of a calibration: ``x_cam = rotation · x_world + translation``."""

    def __init__(
        self,
        width: int,
        height: int,
        focal_px: float,
        distortion: Sequence[float],
        position_mm: Sequence[float],
        target_mm: Sequence[float],
    ) -> None:
        """Place the camera.

        Args:
            width: px.
            height: px.
            focal_px: focal length in both directions; the optical axis meets the picture's middle.
            distortion: k1, k2, p1, p2, k3 of Brown and Conrady, as OpenCV has them.
            position_mm: where the camera is, (3,).
            target_mm: what it looks at, (3,); the world's z points up in the picture, and where the camera looks
                straight down, its y.

        Raises:
            ValueError: position and target are one point.
        """
        self.size = width, height
        self.matrix: Float64 = np.array(
            [[focal_px, 0, (width - 1) / 2], [0, focal_px, (height - 1) / 2], [0, 0, 1]], np.float64
        )
        self.distortion: Float64 = np.array(distortion, np.float64)
        self.position: Float64 = np.array(position_mm, np.float64)
        forward = np.asarray(target_mm, np.float64) - self.position
        if not np.linalg.norm(forward) > 0:
            raise ValueError(f"expected a camera that looks at another point than its own, but got {position_mm} twice")
        forward /= np.linalg.norm(forward)
        up = np.array([0.0, 0, 1] if abs(forward[2]) < 0.999 else [0.0, 1, 0])
        right = np.cross(forward, up)
        right /= np.linalg.norm(right)
        # Rows: the camera's x (right), y (down) and z (forward) in the world.
        self.rotation: Float64 = np.array([right, np.cross(forward, right), forward])
        self.translation: Float64 = -self.rotation @ self.position

    def depth_mm(self, points: Float64) -> Float64:
        """(N, 3) mm → (N,) mm in front of the camera."""
        depth: Float64 = points @ self.rotation[2] + self.translation[2]
        return depth

    def scale(self, points: Float64) -> Float64:
        """(N, 3) mm → (N,) px that a millimetre has there, near the optical axis."""
        scale: Float64 = self.matrix[0, 0] / np.maximum(self.depth_mm(points), 1.0)
        return scale

    def to_px(self, points: Float64) -> Float64:
        """(N, 3) mm → (N, 2) px; NaN behind the camera."""
        seen = points @ self.rotation.T + self.translation
        depth = np.where(seen[:, 2] > 0, seen[:, 2], np.nan)
        x, y = seen[:, 0] / depth, seen[:, 1] / depth
        k1, k2, p1, p2, k3 = self.distortion
        r2 = x * x + y * y
        radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
        px: Float64 = np.column_stack(
            [
                x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
                y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
            ]
        )
        px = px * self.matrix[0, 0] + self.matrix[:2, 2]
        return px

    def floor_mm(self) -> tuple[Float64, Float64]:
        """Where each pixel's line of sight meets the floor: x and y (H, W) mm; NaN where it does not."""
        width, height = self.size
        grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).reshape(-1, 1, 2).astype(np.float64)
        rays = cv2.undistortPoints(grid, self.matrix, self.distortion).reshape(-1, 2)
        world = np.column_stack([rays, np.ones(len(rays))]) @ self.rotation
        down = np.where(world[:, 2] < 0, -world[:, 2], np.nan)
        at = self.position[:2] + world[:, :2] * (self.position[2] / down)[:, np.newaxis]
        return at[:, 0].reshape(height, width), at[:, 1].reshape(height, width)
