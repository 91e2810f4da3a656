"""How protocols see a pose: names instead of numbers, and only points that can be trusted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from poseloop.live import config
from poseloop.live.errors import ConfigError
from poseloop.live.types import Pose

__all__ = ["Place", "Points", "Sight", "check_individuals", "look"]

Place = tuple[float, ...]
"""(x, y) px or (x, y, z) mm."""


class Points(config.Settings):
    """Which points of a pose are looked at."""

    space: Literal["picture", "world"] = "picture"
    """``picture``: px in one camera's picture. ``world``: mm, on a rig with calibrated cameras."""
    camera: str | None = None
    """For ``picture``: name of the camera; none = the rig's first."""
    individual: int | None = Field(None, ge=0)
    """Which place of a pose, from 0; to be given where ``[model]`` looks for several ``individuals``. Places are no
    identities: animals that touch, or leave and come back, may change them."""
    predicted: bool = False
    """Look at where points will be when the board acts (``[filter]`` of the rig), instead of where they were."""

    @property
    def in_world(self) -> bool:
        """Are positions in mm?"""
        return self.space == "world"

    @property
    def view(self) -> tuple[bool, str | None, int | None]:
        """Equal for those that look at the same animal in the same picture, or in the world."""
        return self.in_world, self.camera, self.individual

    def camera_number(self, cameras: Sequence[str]) -> int | None:
        """Number of the camera in rig order; None = the world.

        Raises:
            ConfigError: there is none of that name.
        """
        if self.in_world:
            return None
        if self.camera is not None and self.camera not in cameras:
            raise ConfigError(f"camera: expected one of {', '.join(cameras)}, but got {self.camera!r}")
        return 0 if self.camera is None else list(cameras).index(self.camera)


class Sight:
    """Finds keypoints in poses by their names."""

    def __init__(
        self, keypoints: Sequence[str], gate: float, camera: int | None, individual: int | None, predicted: bool
    ) -> None:
        """Keep how to look.

        Args:
            keypoints: names, in the order of a pose's K axis.
            gate: a point with a score under it counts as not seen.
            camera: whose picture; None = the world.
            individual: which animal; None = the only one.
            predicted: look at predicted points instead of measured ones.
        """
        self._numbers = {name: number for number, name in enumerate(keypoints)}
        self._how = gate, camera, individual or 0, predicted

    def point(self, pose: Pose, keypoint: str) -> Place | None:
        """Where a keypoint is, as `look` tells."""
        return look(pose, self._numbers[keypoint], *self._how)


def look(pose: Pose, number: int, gate: float, camera: int | None, individual: int, predicted: bool) -> Place | None:
    """Where keypoint ``number`` of an individual is; None = not seen, or with a score under the gate.

    Raises:
        LookupError: the rig has no such points.
    """
    if camera is None:
        if pose.xyz is None:
            raise LookupError("it looks at points in the world (mm), but this rig gives points in pictures only")
        score, points = pose.score[individual, number], pose.predicted if predicted else pose.xyz
    else:
        if predicted and pose.xyz is not None:
            raise LookupError("this rig predicts points in the world, not in pictures: use space = 'world'")
        score = pose.keypoints.score[camera, individual, number]
        points = pose.predicted[camera] if predicted else pose.keypoints.xy[camera]
    # Written this way round since a NaN score is not above anything.
    if not score >= gate:
        return None
    where: Place = tuple(points[individual, number].tolist())
    return None if any(map(math.isnan, where)) else where


def check_individuals(wanted: Sequence[int | None], count: int) -> None:
    """Make sure that it is clear which animals a protocol looks at.

    Args:
        wanted: what its tables say, see `poseloop.live.interfaces.Experiment.individuals`.
        count: how many individuals the rig's poses have.

    Raises:
        ConfigError: it is not.
    """
    places = "individual = 0" if count == 1 else f"individual = 0 to {count - 1}"
    for individual in wanted:
        if individual is None and count > 1:
            raise ConfigError(f"expected {places}, but got none: [model] looks for {count} individuals; say which one")
        if individual is not None and not 0 <= individual < count:
            raise ConfigError(f"expected {places}, as many as [model] individuals, but got individual = {individual}")
