"""A keypoint enters, leaves, dwells in, or is inside a polygon of the picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from poseloop.live import config
from poseloop.live.errors import ConfigError
from poseloop.live.types import Command, InputEvent, Pose
from poseloop.protocols.base import Protocol

__all__ = ["Region"]

_Corner = tuple[float, float]


class Region(Protocol):
    """Acts when a keypoint enters (leaves, dwells in) a polygon; or switches a line on while it is inside.

    A frame in which the keypoint is not seen, or with too low a score, changes nothing, except that a line that is on
    because it was ``inside`` goes off after ``lost_ms``. A keypoint that is inside in the first frame has not entered.
    """

    class Settings(config.Settings):
        """Parameters of the protocol."""

        keypoint: str
        """Which body part."""
        polygon: Annotated[tuple[_Corner, ...], Field(min_length=3)]
        """Corners in px of the camera's picture: [[x, y], ...]."""
        camera: str | None = None
        """Name of the camera; none = the rig's first."""
        when: Literal["enter", "leave", "dwell", "inside"] = "enter"
        """``enter``, ``leave``: one pulse each time. ``dwell``: one pulse after ``dwell_ms`` inside. ``inside``: on as
        long as it is inside."""
        output: config.OutputName
        """The line to switch: ``board.line``."""
        pulse_ms: float = Field(10.0, ge=0.05)
        """Length of the pulse."""
        dwell_ms: float = Field(500.0, gt=0)
        """For ``dwell``: how long it must stay inside."""
        refractory_ms: float = Field(0.0, ge=0)
        """Least time from one pulse to the next."""
        lost_ms: float = Field(200.0, ge=0)
        """For ``inside``: off when the keypoint was not seen for so long."""

        @model_validator(mode="after")
        def _has_an_inside(self) -> Region.Settings:
            corners = self.polygon
            doubled = sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(corners, (*corners[1:], corners[0]), strict=True))
            if abs(doubled) < 1e-6:
                raise ValueError("the polygon has no inside: its corners lie on one line")
            return self

    settings: Settings
    _camera = 0

    @property
    def needs(self) -> Sequence[str]:
        """The one body part."""
        return (self.settings.keypoint,)

    @property
    def outputs(self) -> Sequence[str]:
        """The one line."""
        return (self.settings.output,)

    @property
    def commands(self) -> Sequence[Command]:
        """The pulse, or switching on."""
        return (self.on(self.settings.output) if self.settings.when == "inside" else self._pulse(),)

    @property
    def camera(self) -> int:
        """The one whose picture the polygon lies in."""
        return self._camera

    def bind(self, keypoints: Sequence[str], cameras: Sequence[str], score_gate: float) -> None:
        """Find the camera.

        Raises:
            ConfigError: there is none of that name.
        """
        super().bind(keypoints, cameras, score_gate)
        name = self.settings.camera
        if name is not None and name not in cameras:
            raise ConfigError(f"camera: expected one of {', '.join(cameras)}, but got {name!r}")
        self._camera = 0 if name is None else list(cameras).index(name)

    def reset(self, seed: int) -> None:
        """Forget where the animal was."""
        self._inside: bool | None = None
        self._seen_ns = 0
        self._since_ns = 0
        self._dwelt = False
        self._last_pulse_ns: int | None = None

    def decide(self, pose: Pose, events: Sequence[InputEvent]) -> Sequence[Command]:
        """Compare with the last frame in which the keypoint was seen."""
        now = pose.trace.exposed_ns
        point = self.point(pose, self.settings.keypoint)
        if not self.seen(point):
            return self._unseen(now)
        self._seen_ns = now
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
        return (self._pulse(),)

    def _pulse(self) -> Command:
        return self.pulse(self.settings.output, self.settings.pulse_ms)

    def _unseen(self, now_ns: int) -> Sequence[Command]:
        if self.settings.when != "inside" or not self._inside or now_ns - self._seen_ns < self.settings.lost_ms * 1e6:
            return ()
        # Seen inside again, it counts as a new entry.
        self._inside = False
        return (self.off(self.settings.output),)

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
