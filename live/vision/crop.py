"""A crop that follows the animal: the network is shown a small part around it, and the whole picture when it is lost.

Where the part lies next depends on the points found last and on nothing else, so that the same pictures give the same
points. It is centred on the box around the points over the gate, moved on by half of what that box moved since the
picture before: an animal that runs stays inside, and one that stops does too. When too few points are seen the next
picture is searched as a whole; its points count like all others, and the picture after it is cropped again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from poseloop.live.jit import kernel
from poseloop.live.types import Float32
from poseloop.live.vision.coords import Placement, Track

__all__ = ["Follow", "Follower", "box"]

_LEAD = 0.5
"""How far the crop is moved on, in movements since the picture before. Measured on a recorded mouse at eight times its
speed: without it runners are cut, and a whole movement overshoots when they stop."""


@dataclass(frozen=True, slots=True)
class Follow:
    """How the crop follows."""

    size: tuple[int, int]
    """Width and height of the network's input while it follows, px."""
    search: tuple[int, int] | None = None
    """What the whole picture is resized to while it searches, px; None = to the size that the view has."""
    seen: float = 0.5
    """Share of the keypoints that must be over the gate for the animal to count as seen."""
    lost_after: int = 1
    """Pictures in a row without the animal after which it is searched for; a picture that is missing counts."""


@kernel
def box(xy: Float32, score: Float32, gate: float) -> tuple[int, float, float]:
    """Return how many points are over the gate, and the middle of the box around them.

    Args:
        xy: (K, 2).
        score: (K,).
        gate: least score of a point that counts.
    """
    seen = 0
    left = above = np.inf
    right = below = -np.inf
    for k in range(xy.shape[0]):
        x = xy[k, 0]
        y = xy[k, 1]
        if score[k] >= gate and np.isfinite(x) and np.isfinite(y):
            seen += 1
            left = min(left, x)
            right = max(right, x)
            above = min(above, y)
            below = max(below, y)
    return seen, 0.5 * (left + right), 0.5 * (above + below)


class Follower:
    """Where the crop of one camera lies.

    Args:
        track: where it may lie.
        follow: how it follows.
        points: keypoints of the model.
        gate: least score of a point that counts.
    """

    def __init__(self, track: Track, follow: Follow, points: int, gate: float) -> None:
        self.placement: Placement | None = None
        """Of the next picture; None = the whole picture is searched."""
        self.searched = 0
        """Pictures that were searched as a whole."""
        self._track = track
        self._least = max(1, int(np.ceil(follow.seen * points)))
        self._lost_after = follow.lost_after
        self._gate = gate
        self._last: tuple[float, float] | None = None
        self._unseen = 0

    def update(self, xy: Float32, score: Float32) -> None:
        """Take what was found in one picture, xy (K, 2) and score (K,), and place the crop for the next one."""
        seen, x, y = box(xy, score, self._gate)
        if seen < self._least:
            self._unseen += 1
            self._last = None
            if self._unseen >= self._lost_after:
                self.placement = None
            return
        self._unseen = 0
        last_x, last_y = self._last or (x, y)
        self._last = (x, y)
        self.placement = self._track.around(x + _LEAD * (x - last_x), y + _LEAD * (y - last_y))
