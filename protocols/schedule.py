"""Schedule: stimuli at times that do not depend on behaviour."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, model_validator

from poseloop.live.types import InputEvent, Pose
from poseloop.protocols.stimulus import Triggered

__all__ = ["Schedule", "TimedStimuli"]


class TimedStimuli(Triggered):
    """Acts at the first pose at or after each of its times, which count from the first pose.

    Times that pass between two poses, for instance while a camera stands still, are made up for by one stimulus, not
    by one for each.
    """

    @property
    def needs(self) -> Sequence[str] | None:
        """Those of ``only_if``; without it no pose is needed, only its time."""
        return super().needs or ()

    def times_ns(self) -> Sequence[int]:
        """When to act, ascending; called at the start."""
        raise NotImplementedError

    def reset(self, seed: int) -> None:
        """Begin at the first time."""
        super().reset(seed)
        self._times_ns = self.times_ns()
        self._next = 0
        self._first_ns: int | None = None

    def occasion(self, pose: Pose, events: Sequence[InputEvent]) -> bool:
        """Has a time come since the last pose?"""
        now = pose.trace.exposed_ns
        if self._first_ns is None:
            self._first_ns = now
        was, self._next = self._next, bisect.bisect_right(self._times_ns, now - self._first_ns)
        return self._next > was


class Schedule(TimedStimuli):
    """Acts at given times (``at_s``), or again and again (``every_s``), whatever the animal does.

    With ``jitter_s`` each interval is drawn anew, evenly between ``every_s - jitter_s`` and ``every_s + jitter_s``.
    """

    class Settings(TimedStimuli.Settings):
        """Parameters of the protocol."""

        at_s: Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=1)] | None = None
        """Times after the first pose, ascending."""
        every_s: float | None = Field(None, gt=0)
        """Time from one stimulus to the next; the first one comes after as much."""
        jitter_s: float = Field(0.0, ge=0)
        """By how much an interval may be longer or shorter."""
        count: int = Field(10_000, ge=1, le=1_000_000)
        """For ``every_s``: how many times."""

        @model_validator(mode="after")
        def _one_plan(self) -> Schedule.Settings:
            if (self.at_s is None) == (self.every_s is None):
                raise ValueError("expected either at_s or every_s")
            if self.at_s is not None and list(self.at_s) != sorted(set(self.at_s)):
                raise ValueError("expected at_s to ascend, each time later than the one before")
            if self.at_s is not None and {"jitter_s", "count"} & self.model_fields_set:
                raise ValueError("jitter_s and count are for every_s only")
            if self.every_s is not None and self.jitter_s >= self.every_s:
                raise ValueError(f"expected jitter_s < every_s ({self.every_s:g}), but got {self.jitter_s:g}")
            return self

    settings: Settings

    def times_ns(self) -> Sequence[int]:
        """As planned; intervals are drawn with the rig's seed."""
        plan = self.settings
        if plan.at_s is not None:
            return [round(at * 1e9) for at in plan.at_s]
        assert plan.every_s is not None
        times, at_s = [], 0.0
        for _ in range(plan.count):
            at_s += plan.every_s + (self.random.uniform(-plan.jitter_s, plan.jitter_s) if plan.jitter_s else 0.0)
            times.append(round(at_s * 1e9))
        return times
