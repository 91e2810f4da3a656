"""A crop that follows the animal: the network is shown a small part around it, and the whole picture when it is lost.

Where the part lies next depends on the points found last and on nothing else, so that the same pictures give the same
points. It is centred on the box around the animal, moved on by half of what that box moved since the picture before: an
animal that runs stays inside, and one that stops does too. When too few points are over the gate the next picture is
searched as a whole; its points count like all others, and the picture after it is cropped again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from poseloop.live.jit import kernel
from poseloop.live.types import Float32
from poseloop.live.vision.coords import Placement, Track

__all__ = ["Follow", "Follower", "box"]

_LEAD = 0.5
"""How far the crop is moved on, in movements since the picture before. Measured on a recorded mouse at eight times its
speed: without it runners are cut, and a whole movement overshoots when they stop."""

_REMEMBERED = 10
"""For how many pictures a point that is not seen still counts where it was."""


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
def box(
    xy: Float32, score: Float32, gate: float, last: Float32, age: npt.NDArray[np.int64]
) -> tuple[int, float, float]:
    """Return how many points are over the gate, and the middle of the box around the animal.

    A point that is not seen was, a moment ago, somewhere beside those that are: for some pictures it counts where it
    was seen last, moved like the others. Otherwise a tail that the crop's rim has cut off once would stay cut off.

    Args:
        xy: (K, 2).
        score: (K,).
        gate: least score of a point that counts.
        last: (K, 2) where each point was last, NaN = never; brought up to date.
        age: (K,) pictures since it was seen; brought up to date.
    """
    points = xy.shape[0]
    seen = moved = 0
    right = below = 0.0
    for k in range(points):
        if score[k] >= gate and np.isfinite(xy[k, 0]) and np.isfinite(xy[k, 1]):
            seen += 1
            if age[k] == 0 and np.isfinite(last[k, 0]):
                moved += 1
                right += xy[k, 0] - last[k, 0]
                below += xy[k, 1] - last[k, 1]
    if moved > 0:
        right /= moved
        below /= moved
    low_x = low_y = np.inf
    high_x = high_y = -np.inf
    for k in range(points):
        if score[k] >= gate and np.isfinite(xy[k, 0]) and np.isfinite(xy[k, 1]):
            last[k, 0] = xy[k, 0]
            last[k, 1] = xy[k, 1]
            age[k] = 0
        else:
            last[k, 0] += right
            last[k, 1] += below
            age[k] += 1
        if age[k] <= _REMEMBERED and np.isfinite(last[k, 0]):
            low_x = min(low_x, last[k, 0])
            high_x = max(high_x, last[k, 0])
            low_y = min(low_y, last[k, 1])
            high_y = max(high_y, last[k, 1])
    return seen, 0.5 * (low_x + high_x), 0.5 * (low_y + high_y)


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
        self._points = np.full((points, 2), np.nan, np.float32)
        self._age = np.zeros(points, np.int64)
        self._unseen = 0

    def update(self, xy: Float32, score: Float32) -> None:
        """Take what was found in one picture, xy (K, 2) and score (K,), and place the crop for the next one."""
        seen, x, y = box(xy, score, self._gate, self._points, self._age)
        if seen < self._least:
            self._unseen += 1
            self._last = None
            if self._unseen >= self._lost_after:
                self.placement = None
                self._points.fill(np.nan)
            return
        self._unseen = 0
        last_x, last_y = self._last or (x, y)
        self._last = (x, y)
        self.placement = self._track.around(x + _LEAD * (x - last_x), y + _LEAD * (y - last_y))
