"""Heading: body or head faces a direction, a place or another body part."""

from __future__ import annotations

from poseloop.protocols.conditions import Facing
from poseloop.protocols.stimulus import OnCondition

__all__ = ["Heading"]


class Heading(OnCondition):
    """Acts when the axis from one keypoint to another comes to face a target (turns away, stays on it).

    The target is a direction, a place, or a third keypoint; it is faced when the angle between the axis and the line
    from the axis' head to the target, in the picture or in the floor plane, is at most ``within_deg``.
    """

    class Settings(Facing.Settings, OnCondition.Settings):
        """Parameters of the protocol."""

    condition = Facing
