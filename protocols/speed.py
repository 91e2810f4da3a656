"""Speed: a body part moves faster or slower than a limit, or speeds up."""

from __future__ import annotations

from poseloop.protocols.conditions import Moving
from poseloop.protocols.stimulus import OnCondition

__all__ = ["Speed"]


class Speed(OnCondition):
    """Acts when the speed, or the acceleration, of a keypoint comes between two limits (leaves, stays between them).

    Speed is the slope of the straight line through the positions of the last ``window_ms``, acceleration the change of
    speed of the parabola through them (least squares); both are those of half a window ago. A window with fewer than
    two (three) sightings tells nothing.
    """

    class Settings(Moving.Settings, OnCondition.Settings):
        """Parameters of the protocol."""

    condition = Moving
