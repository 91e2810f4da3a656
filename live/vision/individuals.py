"""Several animals: which peak of which score map goes to which of a pose's places.

A score map says where noses are, and not whose. What is done about that is geometry alone: a point goes to the place
whose same point was nearest in the picture before, or else whose other points are nearest, or else by score. So places
keep their animals while those are further apart than they move between two pictures and than they are long; where they
touch, points may change sides. It is no identity: an animal that was away may come back to another place.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from poseloop.live.jit import kernel
from poseloop.live.types import Float32

__all__ = ["keep_places"]


@kernel
def keep_places(xy: Float32, score: Float32, last: Float32, fresh: npt.NDArray[np.bool_]) -> None:
    """Sort the points of one camera into places, greedily: nearest pair first.

    Args:
        xy: (I, K, 2) px, in any order along I, NaN = no point; sorted when it returns.
        score: (I, K), sorted alike.
        last: (I, K, 2) where each place's point was seen last, NaN = never; brought up to date.
        fresh: (I, K) bool: whether that was in the picture before; brought up to date.
    """
    individuals, points, _ = xy.shape
    from_xy = np.empty((individuals, 2), np.float32)
    from_score = np.empty(individuals, np.float32)
    given = np.empty(individuals, np.bool_)
    filled = np.empty(individuals, np.bool_)
    reference = np.empty((individuals, 2), np.float64)
    # Middle of each place's points: of this picture as far as they are sorted, else of the one before.
    middle = np.full((individuals, 2), np.nan)
    count = np.zeros(individuals)
    for i in range(individuals):
        x = 0.0
        y = 0.0
        n = 0
        for k in range(points):
            if fresh[i, k]:
                x += last[i, k, 0]
                y += last[i, k, 1]
                n += 1
        if n > 0:
            middle[i, 0] = x / n
            middle[i, 1] = y / n
    for k in range(points):
        for i in range(individuals):
            from_xy[i, 0] = xy[i, k, 0]
            from_xy[i, 1] = xy[i, k, 1]
            from_score[i] = score[i, k]
            given[i] = False
            filled[i] = False
            own = fresh[i, k] or np.isnan(middle[i, 0])
            reference[i, 0] = last[i, k, 0] if own else middle[i, 0]
            reference[i, 1] = last[i, k, 1] if own else middle[i, 1]
        for _ in range(individuals):
            nearest = np.inf
            place = -1
            peak = -1
            for i in range(individuals):
                for j in range(individuals):
                    if filled[i] or given[j]:
                        continue
                    distance = (reference[i, 0] - from_xy[j, 0]) ** 2 + (reference[i, 1] - from_xy[j, 1]) ** 2
                    # Never true where either side is NaN.
                    if distance < nearest:
                        nearest = distance
                        place = i
                        peak = j
            if place < 0:
                # What nobody is near to: by score, as they come.
                place = 0
                while filled[place]:
                    place += 1
                peak = 0
                while given[peak]:
                    peak += 1
            filled[place] = True
            given[peak] = True
            xy[place, k, 0] = from_xy[peak, 0]
            xy[place, k, 1] = from_xy[peak, 1]
            score[place, k] = from_score[peak]
        for i in range(individuals):
            fresh[i, k] = not np.isnan(xy[i, k, 0])
            if fresh[i, k]:
                last[i, k, 0] = xy[i, k, 0]
                last[i, k, 1] = xy[i, k, 1]
                count[i] += 1
                if count[i] == 1:
                    middle[i, 0] = xy[i, k, 0]
                    middle[i, 1] = xy[i, k, 1]
                else:
                    middle[i, 0] += (xy[i, k, 0] - middle[i, 0]) / count[i]
                    middle[i, 1] += (xy[i, k, 1] - middle[i, 1]) / count[i]
