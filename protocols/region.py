"""A keypoint enters, leaves, dwells in, or is inside a polygon of the picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from poseloop.live import config
from poseloop.live.types import Command, InputEvent, Pose
from poseloop.protocols.base import Protocol

__all__ = ["Region"]

_Corner = tuple[float, float]


class Region(Protocol):
    """Acts when a keypoint enters (leaves, dwells in) a polygon; or switches a line on while it is inside.

    A frame in which the keypoint is not seen changes nothing. A keypoint that is inside in the first frame has not
    entered.
    """

    class Settings(config.Settings):
        """Parameters of the protocol."""

        keypoint: str
        """Which body part."""
        polygon: Annotated[tuple[_Corner, ...], Field(min_length=3)]
        """Corners in px of the camera's picture: [[x, y], ...]."""
        camera: int = Field(0, ge=0)
        """Number of the camera, in rig order."""
        when: Literal["enter", "leave", "dwell", "inside"] = "enter"
        """``enter``, ``leave``: one pulse each time. ``dwell``: one pulse after ``dwell_ms`` inside. ``inside``: on as
        long as it is inside."""
        output: config.OutputName
        """The line to switch: ``board.line``."""
        pulse_ms: float = Field(10.0, gt=0)
        """Length of the pulse."""
        dwell_ms: float = Field(500.0, gt=0)
        """For ``dwell``: how long it must stay inside."""
        refractory_ms: float = Field(0.0, ge=0)
        """Least time from one pulse to the next."""

    settings: Settings

    @property
    def needs(self) -> Sequence[str]:
        """The one body part."""
        return (self.settings.keypoint,)

    @property
    def outputs(self) -> Sequence[str]:
        """The one line."""
        return (self.settings.output,)

    def reset(self, seed: int) -> None:
        """Forget where the animal was."""
        self._inside: bool | None = None
        self._since_ns = 0
        self._dwelt = False
        self._last_pulse_ns: int | None = None

    def decide(self, pose: Pose, events: Sequence[InputEvent]) -> Sequence[Command]:
        """Compare with the last frame in which the keypoint was seen."""
        point = self.point(pose, self.settings.keypoint, self.settings.camera)
        if not self.seen(point):
            return ()
        now = pose.trace.exposed_ns
        was, self._inside = self._inside, contains(self.settings.polygon, float(point[0]), float(point[1]))
        entered, left = was is False and self._inside, was is True and not self._inside
        if self._inside and not was:
            self._since_ns, self._dwelt = now, False
        match self.settings.when:
            case "inside":
                if self._inside and not was:
                    return (self.on(self.settings.output),)
                return (self.off(self.settings.output),) if left else ()
            case "enter":
                due = entered
            case "leave":
                due = left
            case "dwell":
                due = self._inside and not self._dwelt and now - self._since_ns >= self.settings.dwell_ms * 1e6
                self._dwelt = self._dwelt or due
        if not due or self._refractory(now):
            return ()
        self._last_pulse_ns = now
        return (self.pulse(self.settings.output, self.settings.pulse_ms),)

    def _refractory(self, now_ns: int) -> bool:
        last = self._last_pulse_ns
        return last is not None and now_ns - last < self.settings.refractory_ms * 1e6


def contains(polygon: Sequence[_Corner], x: float, y: float) -> bool:
    """True if the point is inside, by the even-odd rule: how many edges a ray to the right crosses."""
    inside = False
    x0, y0 = polygon[-1]
    for x1, y1 in polygon:
        if (y0 > y) != (y1 > y) and x < x0 + (y - y0) * (x1 - x0) / (y1 - y0):
            inside = not inside
        x0, y0 = x1, y1
    return inside
