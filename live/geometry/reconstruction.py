"""A rig's keypoints to points in the world, pose by pose."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from poseloop.live.geometry.calibration import Calibration
from poseloop.live.geometry.drift import Drift
from poseloop.live.geometry.triangulation import GATE_PX, Triangulator
from poseloop.live.types import Float32, Keypoints

__all__ = ["Reconstruction", "Together"]


@dataclass(frozen=True, slots=True)
class Together:
    """What the pictures of one set say together; fields as in `poseloop.live.types.Pose`."""

    xyz: Float32 | None  # (I, K, 3); None on a 2D rig
    score: Float32  # (I, K)
    residual_px: Float32  # (I, K)
    views: npt.NDArray[np.uint8]  # (I, K)


class Reconstruction:
    """Triangulates every pose, and watches whether the cameras still agree.

    For one thread; `drift` may be asked by another one.
    """

    def __init__(
        self, calibration: Calibration, individuals: int, keypoints: int, gate_px: float = GATE_PX, every: int = 1
    ) -> None:
        """Allocate and compile.

        Args:
            calibration: the rig's cameras, in rig order, with the pictures that they deliver.
            individuals: I; place i has to hold the same animal in all pictures.
            keypoints: K.
            gate_px: a view further than this from where the others put a point does not count.
            every: the drift monitor looks at one of so many poses.
        """
        self._shape = (individuals, keypoints)
        points = individuals * keypoints
        self._flat = (len(calibration.cameras), points)
        self._triangulator = Triangulator(calibration, points, gate_px)
        self.drift = Drift(calibration.names, points, every)

    def step(self, keypoints: Keypoints) -> Together:
        """Find the points of one pose; fresh, read-only arrays."""
        triangulator = self._triangulator
        xyz, residual_px, views = triangulator.run(
            keypoints.xy.reshape(*self._flat, 2), keypoints.score.reshape(self._flat)
        )
        self.drift.add(triangulator.errors_px)
        shape = self._shape
        points, score, residual = (part.astype(np.float32) for part in (xyz, triangulator.score, residual_px))
        for array in (points, score, residual, views):
            array.flags.writeable = False
        return Together(points.reshape(*shape, 3), score.reshape(shape), residual.reshape(shape), views.reshape(shape))
