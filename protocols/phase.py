"""Phase: a moment within the cycle of a periodic movement, such as a step, a whisk or a repeated reach."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from statistics import median
from typing import Literal

from pydantic import Field, model_validator

from poseloop.live.names import KeypointName
from poseloop.live.types import Command, InputEvent, Pose
from poseloop.protocols.sight import Points, Sight
from poseloop.protocols.stimulus import Triggered

__all__ = ["Phase"]

_HYSTERESIS = 0.15
"""The signal must have been below the midline by this share of its range before it can cross it upwards again."""

_ALIVE = 1.5
"""After so many periods without a crossing the movement counts as over."""


class _Range:
    """Lowest and highest of the last values, in constant time: a value that a newer one beats can never be either."""

    def __init__(self, window_ms: float) -> None:
        self._window_ns = window_ms * 1e6
        self._lows: deque[tuple[int, float]] = deque()
        self._highs: deque[tuple[int, float]] = deque()

    def add(self, now: int, value: float) -> tuple[float, float]:
        """Take in a value; returns lowest and highest of the window."""
        while self._lows and self._lows[-1][1] >= value:
            self._lows.pop()
        while self._highs and self._highs[-1][1] <= value:
            self._highs.pop()
        for kept in (self._lows, self._highs):
            kept.append((now, value))
            while kept[0][0] < now - self._window_ns:
                kept.popleft()
        return self._lows[0][1], self._highs[0][1]


class Phase(Triggered):
    """Acts at a phase of a periodic movement, once in each cycle.

    The signal is a coordinate of a keypoint, or its distance from a second one. Phase 0 is where the signal crosses
    the middle of its range of the last ``window_ms`` on the way up (interpolated between two poses); the period is the
    median of the last ``cycles`` intervals between crossings. From there the phase is extrapolated, and the board times
    what falls between two poses. Nothing is done while the range is under ``least_range``, while a period lies outside
    ``least_hz`` and ``most_hz``, or while the longest of them exceeds the shortest by more than ``irregular``.
    """

    class Settings(Points, Triggered.Settings):
        """Parameters of the protocol."""

        keypoint: KeypointName
        """Which body part moves."""
        relative_to: KeypointName | None = None
        """A second keypoint whose position is subtracted, such as the hip of a paw's side."""
        axis: Literal["x", "y", "z", "distance"] = "x"
        """Which coordinate is the signal; ``distance``: from ``relative_to``. Mind that y points down in a picture."""
        phase_deg: float = Field(0.0, ge=0, lt=360)
        """Where in the cycle to act: 0 = middle on the way up, 90 = about the top, 180 = middle on the way down."""
        lead_ms: float = Field(0.0, ge=0, le=1000)
        """Act so much earlier, to make up for the time from exposure to pin (see the report of a run)."""
        least_hz: float = Field(1.0, gt=0)
        """Slower movements do not count."""
        most_hz: float = Field(20.0, gt=0)
        """Faster ones neither."""
        least_range: float = Field(gt=0)
        """From lowest to highest, px or mm; smaller movements do not count."""
        cycles: int = Field(3, ge=1, le=50)
        """Of how many intervals the period is the median."""
        irregular: float = Field(0.5, gt=0)
        """By which share the longest of these intervals may exceed the shortest."""
        window_ms: float = Field(2000.0, gt=0)
        """The time in which lowest and highest are looked for; at least two periods."""

        @model_validator(mode="after")
        def _a_signal(self) -> Phase.Settings:
            if self.axis == "distance" and self.relative_to is None:
                raise ValueError("axis = 'distance' needs relative_to")
            if self.axis == "z" and not self.in_world:
                raise ValueError("axis = 'z' needs space = 'world': a picture has no z")
            if self.least_hz >= self.most_hz:
                raise ValueError(f"expected least_hz < most_hz, but got {self.least_hz:g} and {self.most_hz:g}")
            if self.window_ms * self.least_hz < 2000:
                raise ValueError(f"expected window_ms of two periods at least, {2000 / self.least_hz:g}")
            return self

    settings: Settings

    @property
    def camera(self) -> int | None:
        """The one in whose picture the signal is."""
        return self._camera

    _camera: int | None = 0
    _wait_ms = 0.0
    """From the pose that was decided on to the phase."""

    def bind(self, keypoints: Sequence[str], cameras: Sequence[str], score_gate: float) -> None:
        """Find camera and keypoints.

        Raises:
            ConfigError: there is none of that name.
        """
        super().bind(keypoints, cameras, score_gate)
        self._camera = self.settings.camera_number(cameras)
        self._sight = Sight(keypoints, score_gate, self._camera, self.settings.individual, self.settings.predicted)

    def reset(self, seed: int) -> None:
        """Forget the movement."""
        super().reset(seed)
        self._range = _Range(self.settings.window_ms)
        self._before: tuple[int, float] | None = None
        self._crossings: deque[int] = deque(maxlen=self.settings.cycles + 1)
        self._low = False
        self._shown_ns = self._acted_ns = 0
        self._wait_ms = 0.0

    def signal(self, pose: Pose) -> float | None:
        """The signal, px or mm; None = not seen."""
        place = self._sight.point(pose, self.settings.keypoint)
        if place is None:
            return None
        other = None
        if self.settings.relative_to is not None:
            other = self._sight.point(pose, self.settings.relative_to)
            if other is None:
                return None
        if self.settings.axis == "distance":
            return math.dist(place, other or ())
        axis = "xyz".index(self.settings.axis)
        return place[axis] - (other[axis] if other else 0.0)

    def occasion(self, pose: Pose, events: Sequence[InputEvent]) -> bool:
        """Will the phase be there before the next pose comes?"""
        now = pose.trace.exposed_ns
        interval, self._shown_ns = now - self._shown_ns, now
        value = self.signal(pose)
        if value is not None:
            self._follow(now, value)
        period = self._period_ns()
        if period is None or now - self._crossings[-1] > _ALIVE * period:
            return False
        # The first time of this phase that belongs to a cycle in which nothing was done yet.
        due = self._crossings[-1] + self.settings.phase_deg / 360 * period
        if due < self._acted_ns + 0.5 * period:
            due += period
        wait = due - now - self.settings.lead_ms * 1e6
        if not -0.5 * period < wait < min(interval, period):
            return False
        self._acted_ns = round(due)
        self._wait_ms = max(wait, 0.0) / 1e6
        return True

    def stimulus(self) -> Command:
        """At the phase itself, which the board waits for."""
        command = super().stimulus()
        return replace(command, delay_us=command.delay_us + round(self._wait_ms * 1000))

    def _follow(self, now: int, value: float) -> None:
        before, self._before = self._before, (now, value)
        low, high = self._range.add(now, value)
        middle, extent = (low + high) / 2, high - low
        if extent < self.settings.least_range or before is None or now - before[0] > 0.5e9 / self.settings.least_hz:
            self._crossings.clear()
            self._low = False
        elif self._low and value >= middle:
            share = (middle - before[1]) / (value - before[1]) if value > before[1] else 0.0
            self._crossings.append(round(before[0] + min(max(share, 0.0), 1.0) * (now - before[0])))
            self._low = False
        if value < middle - _HYSTERESIS * extent:
            self._low = True

    def _period_ns(self) -> float | None:
        crossings = self._crossings
        if len(crossings) <= self.settings.cycles:
            return None
        periods = [after - before for before, after in zip(crossings, list(crossings)[1:], strict=False)]
        shortest, longest = min(periods), max(periods)
        if longest > (1 + self.settings.irregular) * shortest:
            return None
        within = 1e9 / self.settings.most_hz <= shortest and longest <= 1e9 / self.settings.least_hz
        return median(periods) if within else None
