"""Place: a body part enters, leaves or stays in a part of the arena."""

from __future__ import annotations

from poseloop.protocols.conditions import InRegion
from poseloop.protocols.stimulus import OnCondition

__all__ = ["Region"]


class Region(OnCondition):
    """Acts when a keypoint enters (leaves, dwells in) a region, or as long as it is inside.

    The region is a polygon or circle in a camera's picture or on the floor, or a box or sphere in space. The keypoint
    is inside when its position is (even-odd rule for polygons), and stays so until it is further out than
    ``hysteresis``. One that is inside at first sight has not entered.
    """

    class Settings(InRegion.Settings, OnCondition.Settings):
        """Parameters of the protocol."""

    condition = InRegion
