"""World → picture, for simulated cameras: the one place of this driver that changes coordinates."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from poseloop.drivers.sim.world import Arena

__all__ = ["WALL_MM", "TopView"]

Float64 = npt.NDArray[np.float64]

WALL_MM = 12.0
"""Width of the wall that is seen around the floor."""


class TopView:
    """Looks straight down from far above: millimetres times a scale, height without effect."""

    def __init__(self, width: int, height: int, arena: Arena) -> None:
        """Fit the arena and its wall into ``width`` x ``height`` px."""
        self.px_per_mm = min(width / (arena.width_mm + 2 * WALL_MM), height / (arena.height_mm + 2 * WALL_MM))
        # Pixel centres lie at integers, so the picture's middle is half a pixel before width / 2.
        self._middle = np.array([(width - 1) / 2, (height - 1) / 2])
        self._scale = np.array([self.px_per_mm, -self.px_per_mm])

    def to_px(self, points: Float64) -> Float64:
        """(N, 2) or (N, 3) mm → (N, 2) px: x right, y down, pixel centres at integers."""
        px: Float64 = self._middle + points[:, :2] * self._scale
        return px
