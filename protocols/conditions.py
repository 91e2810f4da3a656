"""What can hold, or not, at a moment of behaviour: a snout is in a region, an animal runs, a door is open.

Protocols wait for conditions, and any protocol can be told to act only if others hold too (``only_if``). All of them
answer yes, no, or cannot tell, and have a hysteresis, so that noise at the border is no series of events.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from poseloop.live import config
from poseloop.live.errors import ConfigError
from poseloop.live.motion import kinematics
from poseloop.live.names import InputName, KeypointName, find_names
from poseloop.live.types import InputEvent, Pose
from poseloop.protocols import shapes
from poseloop.protocols.sight import Place, Points, Sight

__all__ = [
    "AnyCondition",
    "Condition",
    "Facing",
    "InRegion",
    "InputIs",
    "Limits",
    "Moving",
    "Posed",
    "all_hold",
    "make",
]


class Condition:
    """Base of all: order of calls is `bind` → `reset` → `holds` for every pose."""

    Settings: ClassVar[type[config.Settings]]

    camera: int | None
    """Number of the camera that it looks at, None = the world; known from `bind` on, if it looks at points."""
    sight: Sight

    def __init__(self, settings: Any) -> None:
        self.settings = settings
        self.camera = 0

    def bind(self, keypoints: Sequence[str], cameras: Sequence[str], score_gate: float) -> None:
        """Learn what the rig has.

        Raises:
            ConfigError: it lacks something.
        """
        if isinstance(self.settings, Points):
            names = find_names(self.settings, KeypointName)
            if absent := [name for name in names if name not in keypoints]:
                raise ConfigError(f"expected keypoints of the model ({', '.join(keypoints)}), but got {absent[0]!r}")
            self.camera = self.settings.camera_number(cameras)
            self.sight = Sight(keypoints, score_gate, self.camera, self.settings.individual, self.settings.predicted)

    def reset(self) -> None:
        """Return to the start."""

    def holds(self, pose: Pose, events: Sequence[InputEvent]) -> bool | None:
        """Does it, at this pose? None = it cannot be told, since a point is not seen."""
        raise NotImplementedError


class Limits(config.Settings):
    """Between which values a measured quantity must be."""

    above: float | None = None
    """It must be greater than this."""
    below: float | None = None
    """It must be less than this."""
    hysteresis: float = Field(0.0, ge=0)
    """Once it was so, it counts until the quantity is beyond a limit by more than this, in the same unit."""

    @model_validator(mode="after")
    def _a_range(self) -> Limits:
        if self.above is None and self.below is None:
            raise ValueError("expected above, below, or both")
        if self.above is not None and self.below is not None and self.above >= self.below:
            raise ValueError(f"expected above < below, but got {self.above:g} and {self.below:g}: nothing is between")
        return self


class _Measured(Condition):
    """A quantity is between two limits."""

    settings: Limits

    def reset(self) -> None:
        self._held = False

    def holds(self, pose: Pose, events: Sequence[InputEvent]) -> bool | None:
        value = self.measure(pose)
        if value is None or math.isnan(value):
            return None
        slack = self.settings.hysteresis if self._held else 0.0
        low, high = self.settings.above, self.settings.below
        self._held = (low is None or value > low - slack) and (high is None or value < high + slack)
        return self._held

    def measure(self, pose: Pose) -> float | None:
        """The quantity at this pose; None or NaN = it cannot be told."""
        raise NotImplementedError


_Corner = tuple[float, float]
_Triple = tuple[float, float, float]


class InRegion(Condition):
    """A keypoint is inside a polygon, circle, box or sphere."""

    class Settings(Points):
        """Exactly one of ``polygon``, ``circle``, ``box`` and ``sphere``."""

        keypoint: KeypointName
        """Which body part."""
        polygon: Annotated[tuple[_Corner, ...], Field(min_length=3)] | None = None
        """Corners, [[x, y], …]: px, or mm of the floor plane with ``space = "world"``."""
        circle: _Triple | None = None
        """Centre and radius, [x, y, radius]: px, or mm of the floor plane with ``space = "world"``."""
        box: tuple[_Triple, _Triple] | None = None
        """Two opposite corners in the world, [[x, y, z], [x, y, z]], mm."""
        sphere: tuple[float, float, float, float] | None = None
        """Centre and radius in the world, [x, y, z, radius], mm."""
        hysteresis: float = Field(0.0, ge=0)
        """Once inside, it counts as inside until it is further out than this, px or mm."""

        @model_validator(mode="after")
        def _has_an_inside(self) -> InRegion.Settings:
            shapes_given = [n for n in ("polygon", "circle", "box", "sphere") if getattr(self, n) is not None]
            if len(shapes_given) != 1:
                got = ", ".join(shapes_given) or "none"
                raise ValueError(f"expected exactly one of polygon, circle, box and sphere, but got {got}")
            if self.polygon is not None and abs(shapes.area(self.polygon)) < 1e-6:
                raise ValueError("the polygon has no inside: its corners lie on one line")
            if self.box is not None and any(a == b for a, b in zip(*self.box, strict=True)):
                raise ValueError("the box has no inside: two of its corners agree in a coordinate")
            if (self.circle or self.sphere or (1.0,))[-1] <= 0:
                raise ValueError(f"the {shapes_given[0]} has no inside: expected a radius > 0")
            if self.in_world and self.camera is not None:
                raise ValueError("camera cannot be set for a region in the world")
            return self

        @property
        def in_world(self) -> bool:
            """A box and a sphere are always in the world."""
            return self.space == "world" or self.box is not None or self.sphere is not None

    settings: Settings

    def reset(self) -> None:
        """Not inside yet."""
        self._inside = False

    def holds(self, pose: Pose, events: Sequence[InputEvent]) -> bool | None:
        """Is it inside, or not yet far enough outside?"""
        place = self.sight.point(pose, self.settings.keypoint)
        if place is None:
            return None
        self._inside = self._is_inside(place)
        return self._inside

    def _is_inside(self, place: Place) -> bool:
        settings, slack = self.settings, self.settings.hysteresis if self._inside else 0.0
        if settings.polygon is not None:
            x, y = place[:2]
            if not slack:
                return shapes.contains(settings.polygon, x, y)
            return shapes.polygon_distance(settings.polygon, x, y) <= slack
        if settings.box is not None:
            corners = list(zip(*settings.box, strict=True))
            low, high = tuple(map(min, corners)), tuple(map(max, corners))
            return shapes.box_distance(low, high, place) <= slack
        centre_and_radius = settings.circle or settings.sphere
        assert centre_and_radius is not None
        return shapes.round_distance(centre_and_radius[:-1], centre_and_radius[-1], place) <= slack


class Moving(_Measured):
    """The speed or acceleration of a keypoint is between two limits."""

    class Settings(Points, Limits):
        """What moves, and how fast."""

        keypoint: KeypointName
        """Which body part."""
        quantity: Literal["speed", "acceleration"] = "speed"
        """``speed``: px/s or mm/s. ``acceleration``: by how much the speed rises a second, px/s² or mm/s²; negative
        while it slows down."""
        window_ms: float = Field(100.0, gt=0, le=5000)
        """The line (parabola) through the sightings of so long is what tells the speed (acceleration): longer is
        steadier, and later by half of it."""

    settings: Settings

    def reset(self) -> None:
        """Forget the sightings."""
        super().reset()
        self._track = kinematics.Track(self.settings.window_ms, 3 if self.settings.in_world else 2)

    def measure(self, pose: Pose) -> float | None:
        """Speed, or its rate of change."""
        place = self.sight.point(pose, self.settings.keypoint)
        if place is None:
            return None
        self._track.add(pose.trace.exposed_ns, place)
        if self.settings.quantity == "speed":
            return self._track.speed()
        velocity, speed = self._track.velocity(), self._track.speed()
        return float(velocity @ self._track.acceleration()) / speed if speed > 0 else math.nan


class Posed(_Measured):
    """An angle, a distance or a height of the body is between two limits."""

    class Settings(Points, Limits):
        """What is measured, and on which keypoints."""

        measure: Literal["angle", "distance", "height"]
        """``angle``: at the second of three keypoints, 0..180 degrees. ``distance``: between two, px or mm. ``height``:
        of one, mm above the floor; in a side view px above ``floor_px``."""
        keypoints: Annotated[tuple[KeypointName, ...], Field(min_length=1, max_length=3)]
        """Three, two or one, as ``measure`` says."""
        floor_px: float | None = None
        """For ``height`` in a picture: y of the floor."""

        @model_validator(mode="after")
        def _enough(self) -> Posed.Settings:
            wanted = {"angle": 3, "distance": 2, "height": 1}[self.measure]
            if len(self.keypoints) != wanted:
                raise ValueError(
                    f"expected {wanted} keypoints for measure = {self.measure!r}, got {len(self.keypoints)}"
                )
            in_picture = self.measure == "height" and not self.in_world
            if in_picture != (self.floor_px is not None):
                raise ValueError("floor_px is needed for measure = 'height' in a picture, and for nothing else")
            return self

    settings: Settings

    def measure(self, pose: Pose) -> float | None:
        """Degrees, px or mm."""
        found = [self.sight.point(pose, keypoint) for keypoint in self.settings.keypoints]
        places = [place for place in found if place is not None]
        if len(places) < len(found):
            return None
        match self.settings.measure:
            case "angle":
                return math.degrees(kinematics.joint_angle(*places))
            case "distance":
                return math.dist(*places)
            case "height":
                floor = self.settings.floor_px
                return places[0][2] if floor is None else floor - places[0][1]


class Facing(Condition):
    """The axis of body or head points in a direction, at a place or at another keypoint."""

    class Settings(Points):
        """Exactly one of ``direction_deg``, ``place`` and ``towards``."""

        tail: KeypointName
        """Where the axis begins, such as the base of the tail, or the neck."""
        head: KeypointName
        """Where it points to, such as the snout."""
        direction_deg: float | None = Field(None, ge=-360, le=360)
        """A fixed direction: 0 = along x; grows towards y, so clockwise in a picture, counter-clockwise in the world
        as seen from above."""
        place: _Corner | None = None
        """A fixed place, [x, y], px or mm."""
        towards: KeypointName | None = None
        """Another keypoint, such as one on an object."""
        within_deg: float = Field(30.0, gt=0, le=180)
        """By how much the axis may miss it to either side."""
        hysteresis_deg: float = Field(0.0, ge=0, le=180)
        """Once it faces it, it counts as facing until it misses it by so much more."""

        @model_validator(mode="after")
        def _one_target(self) -> Facing.Settings:
            given = [n for n in ("direction_deg", "place", "towards") if getattr(self, n) is not None]
            if len(given) != 1:
                got = ", ".join(given) or "none"
                raise ValueError(f"expected exactly one of direction_deg, place and towards, but got {got}")
            if self.tail == self.head:
                raise ValueError("tail and head must be two keypoints: one has no direction")
            return self

    settings: Settings

    def reset(self) -> None:
        """Not facing yet."""
        self._faced = False

    def holds(self, pose: Pose, events: Sequence[InputEvent]) -> bool | None:
        """Is the angle between axis and target small enough?"""
        off = self.off_deg(pose)
        if math.isnan(off):
            return None
        slack = self.settings.hysteresis_deg if self._faced else 0.0
        self._faced = abs(off) <= self.settings.within_deg + slack
        return self._faced

    def off_deg(self, pose: Pose) -> float:
        """From the axis to the target, the shorter way round, degrees; NaN = it cannot be told."""
        settings = self.settings
        tail, head = self.sight.point(pose, settings.tail), self.sight.point(pose, settings.head)
        if tail is None or head is None:
            return math.nan
        if settings.direction_deg is not None:
            target = math.radians(settings.direction_deg)
        else:
            place: Place | None = settings.place
            if settings.towards is not None:
                place = self.sight.point(pose, settings.towards)
            if place is None:
                return math.nan
            target = kinematics.heading(head[:2], place[:2])
        return math.degrees(kinematics.turn(kinematics.heading(tail, head), target))


class InputIs(Condition):
    """An input line of a board is on (off). Until the board has told of a change, it counts as off."""

    class Settings(config.Settings):
        """Which line."""

        input: InputName
        """The line, ``board.line``."""
        on: bool = True
        """It must be on; false: off."""

    settings: Settings

    def reset(self) -> None:
        """Off."""
        self._on = False

    def holds(self, pose: Pose, events: Sequence[InputEvent]) -> bool | None:
        """As the last event of the line says."""
        for event in events:
            if f"{event.board}.{event.line}" == self.settings.input:
                self._on = event.value
        return self._on == self.settings.on


class _UseRegion(InRegion.Settings):
    use: Literal["region"]


class _UseSpeed(Moving.Settings):
    use: Literal["speed"]


class _UsePosture(Posed.Settings):
    use: Literal["posture"]


class _UseHeading(Facing.Settings):
    use: Literal["heading"]


class _UseInput(InputIs.Settings):
    use: Literal["input"]


AnyCondition = Annotated[_UseRegion | _UseSpeed | _UsePosture | _UseHeading | _UseInput, Field(discriminator="use")]
"""A condition as a table of the rig file: ``use``, and the keys of the protocol of that name that say what holds."""

_KINDS: Mapping[str, type[Condition]] = {
    "region": InRegion,
    "speed": Moving,
    "posture": Posed,
    "heading": Facing,
    "input": InputIs,
}


def make(settings: Any) -> Condition:
    """The condition that a table asks for."""
    return _KINDS[settings.use](settings)


def all_hold(answers: Sequence[bool | None]) -> bool | None:
    """No if any says no; else None if any cannot tell."""
    if False in answers:
        return False
    return None if None in answers else True
