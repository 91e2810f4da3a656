"""Do the cameras still stand where they were calibrated?

For each camera the running median of how far its views are from where all views together put the points. A camera that
was moved is passed over by the others (`poseloop.live.geometry.triangulation`), so that its median stands out of
theirs, or of its own at the start. What spoils all pictures alike, such as dim light, raises all medians and names
nobody. With two cameras nothing tells which of them was moved: then both are named.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from poseloop.live.types import Float32

__all__ = ["POSES", "Drift"]

POSES = 500
"""The medians are over so many of the poses that are looked at."""
_LEAST = 100
"""Fewer views of a camera than this tell nothing."""
_FLOOR_PX = 3.0
"""A median up to here is that of a network, whatever the other cameras' are."""
_STANDS_OUT = 3.0
"""A camera's median over that of the others."""
_RISEN = 2.0
"""A camera's median over its own at the start, and that rise over the others'."""
_AGREEING = 0.5
"""Less than this share of the points that were seen twice can be found: the views contradict each other."""

_Float64 = npt.NDArray[np.float64]


class Drift:
    """Collects errors in the loop, at the cost of one copy; everything else is done when somebody asks."""

    def __init__(self, names: Sequence[str], points: int, every: int = 1) -> None:
        """Allocate.

        Args:
            names: of the cameras, C.
            points: N of each pose.
            every: look at one of so many poses.
        """
        self._names = tuple(names)
        self._every = every
        self._poses = 0
        self._errors: Float32 = np.full((POSES, len(names), points), np.nan, np.float32)
        self._start: _Float64 | None = None

    def add(self, errors_px: _Float64) -> None:
        """Take in (C, N) px of one pose: NaN = not seen; infinite = its view contradicts the others altogether."""
        if self._poses % self._every == 0:
            self._errors[self._poses // self._every % POSES] = errors_px
        self._poses += 1

    def as_report(self) -> dict[str, Any]:
        """Where things stand; the state at the start is that of the first call after enough poses.

        Returns:
            ``residual_px``: camera → median, None = too little is known. ``found``: share of the points seen by two
            cameras or more on which views agreed, None likewise. ``moved``: camera (or cameras, if nothing tells which)
            → for people: why it does not seem to stand where it was calibrated.
        """
        now, found = self._medians(), self._found()
        if self._start is None and self._poses >= POSES * self._every:
            self._start = now
        return {
            "residual_px": {
                name: None if np.isnan(median) else round(float(median), 3)
                for name, median in zip(self._names, now, strict=True)
            },
            "found": None if np.isnan(found) else round(found, 4),
            "moved": self._moved(now, found),
        }

    def _medians(self) -> _Float64:
        """(C,) px. With three cameras or more, of the points that three saw: two views are equally far from theirs."""
        finite = np.isfinite(self._errors)
        finite &= finite.sum(axis=1, keepdims=True) >= min(len(self._names), 3)
        medians = np.full(len(self._names), np.nan)
        for c, told in enumerate(finite.swapaxes(0, 1)):
            if np.count_nonzero(told) >= _LEAST:
                medians[c] = np.median(self._errors[:, c][told])
        return medians

    def _found(self) -> float:
        seen = np.count_nonzero((~np.isnan(self._errors)).sum(axis=1) >= 2)
        agreed = np.count_nonzero(np.isfinite(self._errors).sum(axis=1) >= 2)
        return agreed / seen if seen * len(self._names) >= _LEAST else np.nan

    def _moved(self, now: _Float64, found: float) -> dict[str, str]:
        names = self._names
        # A network that is as sure as this of a still animal must not make every later pose look bad.
        rise = np.full(len(names), np.nan) if self._start is None else now / np.maximum(self._start, _FLOOR_PX / 10)
        if found < _AGREEING:
            who = ", ".join(names)
            return {
                who: f"cameras {who}: their views agree on only {found:.0%} of the points; a camera was moved, or the "
                f"calibration is another rig's, or the pictures are not of one time"
            }
        if len(names) == 2:
            if not (now.max() > _FLOOR_PX and rise.min() >= _RISEN):
                return {}
            return {
                ", ".join(names): f"cameras {names[0]} and {names[1]}: their views are {now.max():.1f} px off the "
                f"points that they agree on, {rise.max():.1f} times as far as at the start; was one of them moved?"
            }
        moved = {}
        for c, name in enumerate(names):
            others, rises = np.delete(now, c), np.delete(rise, c)
            if not now[c] > _FLOOR_PX or np.isnan(others).all():
                continue
            usual = float(np.nanmedian(others))
            has_risen = not np.isnan(rises).all() and rise[c] >= _RISEN * max(float(np.nanmedian(rises)), 1.0)
            if now[c] > _STANDS_OUT * usual or has_risen:
                moved[name] = (
                    f"camera {name}: its views are {now[c]:.1f} px off where the cameras together put the points "
                    f"(the others': {usual:.1f} px); was it moved? Calibrate again"
                )
        return moved
