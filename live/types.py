"""The values that travel along the frame's way, and nothing else.

Letters in shapes: C cameras, I individuals, K keypoints, H x W image. Arrays are float32 unless stated.
NaN means "not seen" (never -1, never 0). Times end in ``_ns``: integer nanoseconds on the host's monotonic
clock (`poseloop.live.clock`); 0 means "has not happened".
"""

from __future__ import annotations

import enum
import operator
from collections.abc import Iterator
from dataclasses import dataclass, field, fields

import numpy as np
import numpy.typing as npt

__all__ = [
    "ALL_LINES",
    "BoardEvent",
    "CameraFormat",
    "CameraTrigger",
    "Colour",
    "Command",
    "CommandKind",
    "Finding",
    "Float32",
    "Frame",
    "FrameSet",
    "Image",
    "InputEvent",
    "Keypoints",
    "Level",
    "LineSettings",
    "Note",
    "Outcome",
    "OutcomeKind",
    "PinEdge",
    "Pose",
    "Region",
    "Stamp",
    "Trace",
    "TriggerEvent",
]

Image = npt.NDArray[np.uint8]
Float32 = npt.NDArray[np.float32]

ALL_LINES = "*"
"""The line name that means every output of a board (``off`` alone may use it)."""


class _ShapeRepr:
    """Shows arrays by dtype and shape: a pose in a log line must not print a thousand numbers."""

    __slots__ = ()

    def _parts(self) -> Iterator[str]:
        for part in fields(self):  # type: ignore[arg-type]
            value = getattr(self, part.name)
            if isinstance(value, np.ndarray):
                yield f"{part.name}={value.dtype}{list(value.shape)}"
            else:
                yield f"{part.name}={value!r}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self._parts())})"


class Colour(enum.StrEnum):
    """Meaning and order of an image's channels."""

    GREY = "grey"
    RGB = "rgb"
    BGR = "bgr"

    @property
    def channels(self) -> int:
        """1 for grey, else 3."""
        return 1 if self is Colour.GREY else 3


@dataclass(frozen=True, slots=True)
class Region:
    """The part of a sensor that a camera reads out."""

    left: int = 0
    """Column of the sensor at which the picture begins, in pixels of the picture."""
    top: int = 0
    """Row, likewise."""
    across: int = 1
    """Binning: how many sensor pixels become one, side by side."""
    down: int = 1
    """The same, one below the other."""


@dataclass(frozen=True, slots=True)
class CameraFormat:
    """What every frame of an opened camera looks like."""

    width: int
    """Pixels."""
    height: int
    """Pixels."""
    colour: Colour
    """``grey`` frames are (H, W); the others (H, W, 3)."""
    fps: float
    """Nominal frames a second; 0 = unknown or irregular."""
    region: Region | None = None
    """Where the picture lies on the sensor; None = the camera does not tell."""
    possible_fps: float = field(default=0.0, compare=False)
    """The most frames a second that pulses could make it deliver, as it is set; 0 = it does not tell more than fps."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array that one frame fills."""
        plane = (self.height, self.width)
        return plane if self.colour is Colour.GREY else (*plane, 3)


@dataclass(frozen=True, slots=True)
class Stamp:
    """When one grab happened, and as which trigger."""

    index: int
    """Trigger count since start, 0-based; a gap in it is a lost frame."""
    exposed_ns: int
    """Middle of the exposure on the host clock; the arrival where the camera cannot tell."""
    arrived_ns: int
    """When the pixels were complete in host memory."""
    device_ns: int = 0
    """The camera's own clock, unmapped; 0 = it has none."""


@dataclass(frozen=True, slots=True, repr=False)
class Frame(_ShapeRepr):
    """One picture of one camera."""

    camera: str
    index: int
    """Trigger count; a camera that was lost and came back goes on from its last one."""
    exposed_ns: int
    arrived_ns: int
    image: Image
    """(H, W) or (H, W, 3), read-only; valid until the frame's set is released."""
    slot: int
    """Number of the ring slot that holds the image."""


@dataclass(frozen=True, slots=True, repr=False)
class FrameSet(_ShapeRepr):
    """The pictures that all cameras took at one trigger."""

    index: int
    exposed_ns: int
    """Mean mid-exposure of the frames present."""
    frames: tuple[Frame | None, ...]
    """In rig order; None where a camera missed."""
    skew_ns: int
    """Latest minus earliest mid-exposure of the frames present."""
    complete_ns: int
    """When the set was closed: the last frame came, or the wait for it ended."""

    @property
    def arrived_ns(self) -> int:
        """Arrival of the last frame present."""
        return max((frame.arrived_ns for frame in self.frames if frame is not None), default=0)


@dataclass(frozen=True, slots=True, repr=False)
class Keypoints(_ShapeRepr):
    """Body parts in pictures."""

    xy: Float32
    """(C, I, K, 2) px in the full raw image: x right, y down, pixel centres at integers; NaN = not seen."""
    score: Float32
    """(C, I, K) in 0..1; NaN where there was no picture."""


@dataclass(frozen=True, slots=True)
class Trace:
    """The named times of one frame set on its way; 0 = has not happened. A latency is a difference of two."""

    exposed_ns: int = 0
    arrived_ns: int = 0
    """Last frame of the set in memory."""
    complete_ns: int = 0
    """Set complete."""
    infer_start_ns: int = 0
    infer_end_ns: int = 0
    decoded_ns: int = 0
    triangulated_ns: int = 0
    """0 on a 2D rig."""
    published_ns: int = 0
    """Handed to the socket; taken just before the message is packed."""
    received_ns: int = 0
    """In the host process."""
    decided_ns: int = 0
    """All protocols have answered."""
    written_ns: int = 0
    """Command bytes given to the operating system."""
    acknowledged_ns: int = 0
    """The board's answer arrived."""
    pin_ns: int = 0
    """The output changed, by the board's own clock mapped to the host's."""
    triggered_ns: int = 0
    """The camera trigger's edge. Where one board makes both, ``pin_ns`` minus this is by its own clock, unmapped."""


@dataclass(frozen=True, slots=True, repr=False)
class Pose(_ShapeRepr):
    """What is known of the animals at one trigger."""

    sequence: int
    """Count of the poses that this engine published; a gap at a receiver is a message lost on the way."""
    index: int
    """Trigger count; a gap that ``sequence`` does not have is a set that the engine dropped."""
    keypoints: Keypoints
    xyz: Float32 | None
    """(I, K, 3) in calibration units (mm), right-handed; None on a 2D rig."""
    score: Float32
    """(I, K): the best camera's score on a 2D rig; on a 3D one the mean of the views that ``views`` counts, NaN where
    they agree on no point."""
    residual_px: Float32
    """(I, K) reprojection residual; NaN on a 2D rig."""
    views: npt.NDArray[np.uint8]
    """(I, K) cameras that saw the point; on a 3D rig those that agree on it, 0 where ``xyz`` is NaN."""
    predicted: Float32
    """Like ``xyz`` on a 3D rig, like ``keypoints.xy`` on a 2D one: where the points will be at ``predicted_for_ns``."""
    predicted_for_ns: int
    """0 = no prediction: ``predicted`` equals what was measured."""
    missing: int
    """Cameras whose picture is missing from the set; 0 = complete."""
    skew_ns: int
    trace: Trace


class CommandKind(enum.StrEnum):
    """What a protocol can ask of an output line."""

    PULSE = "pulse"
    """On for ``on_us``, once."""
    TRAIN = "train"
    """``count`` pulses of ``on_us``, one every ``period_us``."""
    LEVEL = "level"
    """On until ``off``, as long as the lease is renewed."""
    OFF = "off"
    """To the safe level, now; never gated, always allowed."""
    CAMERA = "camera"
    """``count`` triggers of ``on_us``, one every ``period_us``; 0 = until off. Not leased; the host's."""
    SYNC = "sync"
    """A start bit and the 32 bits of ``code``, lowest first, each ``on_us`` long. Not leased; the host's."""


@dataclass(frozen=True, slots=True)
class Command:
    """An order to one output line of one board. The board times it; the host never waits."""

    device: str
    """Name of the board in the rig file."""
    line: str
    """Name of the line in the rig file; `ALL_LINES` with ``off``."""
    kind: CommandKind
    on_us: int = 0
    """Length of one pulse, trigger or bit; must be > 0 for all kinds but level and off."""
    period_us: int = 0
    """Start to start in a train, and of camera triggers; 0 for the others."""
    count: int = 0
    """Pulses in a train, or camera triggers; 0 for the others."""
    delay_us: int = 0
    """From the command's arrival at the board to the first edge; 0 for off, camera and sync."""
    code: int = 0
    """What a sync writes, 0..2^32 - 1; 0 for the others."""

    def __post_init__(self) -> None:
        for name in ("on_us", "period_us", "count", "delay_us", "code"):
            # NumPy's integers become Python's; a float is an error, since half a microsecond cannot be sent.
            object.__setattr__(self, name, operator.index(getattr(self, name)))
        if min(self.on_us, self.period_us, self.count, self.delay_us, self.code) < 0:
            raise ValueError(f"expected times and counts >= 0, but got {self}")
        kind = self.kind
        timed = kind not in (CommandKind.LEVEL, CommandKind.OFF)
        if timed != (self.on_us > 0):
            wanted = "on_us > 0" if timed else "on_us = 0 (the board does not time it)"
            raise ValueError(f"expected {wanted} for a {kind} command, but got {self}")
        endless = kind is CommandKind.CAMERA
        if endless or kind is CommandKind.TRAIN:
            if self.count < (0 if endless else 1) or self.period_us <= self.on_us:
                least = "" if endless else "count >= 1 and "
                raise ValueError(f"expected {least}period_us > on_us for a {kind} command, but got {self}")
        elif self.count or self.period_us:
            raise ValueError(f"expected count = 0 and period_us = 0 for a {kind} command, but got {self}")
        if self.delay_us and kind in (CommandKind.OFF, CommandKind.CAMERA, CommandKind.SYNC):
            raise ValueError(f"expected delay_us = 0 for {kind}, but got {self}")
        if self.code and kind is not CommandKind.SYNC:
            raise ValueError(f"expected code = 0 for a {kind} command, but got {self}")
        if self.line == ALL_LINES and kind is not CommandKind.OFF:
            raise ValueError(f"expected one line for a {kind} command, but got {self.line!r}")


@dataclass(frozen=True, slots=True)
class InputEvent:
    """An input line of a board changed: a lick, a TTL."""

    board: str
    line: str
    value: bool
    """True = at its active level."""
    at_ns: int
    """The board's time of the change, mapped to the host clock."""


@dataclass(frozen=True, slots=True)
class Note:
    """Something that a protocol wants to stand in the log: an event with its values."""

    name: str
    at_ns: int
    """The protocol's time: mid-exposure of the pose that it looked at."""
    values: dict[str, str | bool | int | float | None]


class OutcomeKind(enum.StrEnum):
    """What became of a command."""

    ACKNOWLEDGED = "acknowledged"
    """The board accepted it and acts on it."""
    REFUSED = "refused"
    """The board, or the host's gate, said no; nothing was switched on."""
    LOST = "lost"
    """No answer in time. It is not sent again: a late laser is worse than none."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A board's answer to one command."""

    board: str
    ticket: int
    """What ``Board.send`` returned."""
    kind: OutcomeKind
    reason: str
    """Why it was refused or lost; empty when acknowledged."""
    written_ns: int
    acknowledged_ns: int
    """When the answer arrived; 0 = it did not."""


@dataclass(frozen=True, slots=True)
class PinEdge:
    """An output of a board changed level, as the board read it back."""

    board: str
    line: str
    value: bool
    """True = at its active level."""
    at_ns: int
    """The board's time of the edge, mapped to the host clock."""
    ticket: int
    """The command that caused it; 0 = none did (lease, limit, disarm, reset)."""
    device_ns: int = 0
    """The board's own clock, unmapped; 0 = it has none."""


@dataclass(frozen=True, slots=True)
class CameraTrigger:
    """A board told the cameras to expose: the rising edge of one camera trigger."""

    board: str
    line: str
    index: int
    """Count since the command that started the triggers, from 0; a gap = the board had no room to report some."""
    at_ns: int
    """The board's time of the edge, mapped to the host clock."""
    device_ns: int = 0
    """The board's own clock, unmapped; 0 = it has none."""


@dataclass(frozen=True, slots=True)
class BoardEvent:
    """Something about the board itself: armed, disarmed, lease lapsed, reset, link lost."""

    board: str
    state: str
    """One of `poseloop.live.interfaces.BoardState`'s values."""
    detail: str
    """For people: why."""
    at_ns: int


@dataclass(frozen=True, slots=True)
class TriggerEvent:
    """One stimulus command from pose to pin."""

    command: Command
    index: int
    """Trigger count of the frame set that caused it."""
    outcome: OutcomeKind
    reason: str
    """Why it was refused or lost; empty when acknowledged."""
    trace: Trace


class Level(enum.StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARN = "warn"
    """A rig runs, but not as well or as safely as it could."""
    FAIL = "fail"
    """A rig does not run."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What ``poseloop doctor`` found out about one thing."""

    subject: str
    """What was looked at, a word or two."""
    level: Level
    text: str
    """What was found."""
    advice: str = ""
    """What to do; empty if nothing needs to be done."""


@dataclass(frozen=True, slots=True)
class LineSettings:
    """What a board is told of one of its lines before it may be armed. Fixed for the session."""

    name: str
    pin: int = 0
    """0 = the board's lines have no numbers."""
    direction: str = "output"
    """``output`` or ``input``."""
    active_high: bool = True
    """Level of the pin that means on; the other one is the safe level."""
    kinds: tuple[CommandKind, ...] = field(default=(CommandKind.PULSE,))
    """Commands that the line obeys besides ``off``; empty for an input."""
    max_on_us: int = 0
    """Longest time at the active level without a pause, leased levels included; > 0 for an output."""
    max_duty: float = 1.0
    """Largest share of ``window_us`` at the active level, 0..1."""
    window_us: int = 1_000_000
    pull_up: bool = False
    """Inputs: use the board's pull-up resistor."""
