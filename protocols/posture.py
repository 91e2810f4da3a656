"""Posture: an angle, a distance or a height of the body."""

from __future__ import annotations

from poseloop.protocols.conditions import Posed
from poseloop.protocols.stimulus import OnCondition

__all__ = ["Posture"]


class Posture(OnCondition):
    """Acts when a measure of the body comes between two limits (leaves, stays between them).

    The measure is the angle at a joint between two limbs, the distance of two keypoints, or the height of one above
    the floor. It tells nothing at a pose in which one of its keypoints is not seen.
    """

    class Settings(Posed.Settings, OnCondition.Settings):
        """Parameters of the protocol."""

    condition = Posed
