"""How far a place is from the border of a shape: negative inside, positive outside, in the place's unit."""

from __future__ import annotations

import math
from collections.abc import Sequence

from poseloop.protocols.sight import Place

__all__ = ["area", "box_distance", "contains", "polygon_distance", "round_distance"]

_Corners = Sequence[tuple[float, float]]


def area(corners: _Corners) -> float:
    """Of the polygon; positive if its corners turn the way from x to y (shoelace formula)."""
    pairs = zip(corners, (*corners[1:], corners[0]), strict=True)
    return sum(a[0] * b[1] - b[0] * a[1] for a, b in pairs) / 2


def contains(corners: _Corners, x: float, y: float) -> bool:
    """True if the point is inside, by the even-odd rule: how many edges a ray to the right crosses."""
    inside = False
    x0, y0 = corners[-1]
    for x1, y1 in corners:
        if (y0 > y) != (y1 > y) and x < x0 + (y - y0) * (x1 - x0) / (y1 - y0):
            inside = not inside
        x0, y0 = x1, y1
    return inside


def polygon_distance(corners: _Corners, x: float, y: float) -> float:
    """To the nearest edge."""
    nearest = math.inf
    x0, y0 = corners[-1]
    for x1, y1 in corners:
        dx, dy = x1 - x0, y1 - y0
        length = dx * dx + dy * dy
        along = 0.0 if length == 0 else min(max(((x - x0) * dx + (y - y0) * dy) / length, 0.0), 1.0)
        nearest = min(nearest, math.hypot(x - x0 - along * dx, y - y0 - along * dy))
        x0, y0 = x1, y1
    return -nearest if contains(corners, x, y) else nearest


def round_distance(centre: Place, radius: float, place: Place) -> float:
    """To a circle, or to a sphere."""
    return math.dist(centre, place[: len(centre)]) - radius


def box_distance(low: Place, high: Place, place: Place) -> float:
    """To a box with edges along the axes."""
    beyond = [max(a - p, p - b) for a, p, b in zip(low, place, high, strict=True)]
    outside = math.hypot(*(max(part, 0.0) for part in beyond))
    return outside if outside > 0 else max(beyond)
