"""The seams: what a camera, a board, a runtime, an experiment and a sink must do.

A plugin is a class that is found by entry point or by file (`poseloop.live.plugins`). It names its options in a
nested ``Settings`` (`poseloop.live.config.Settings`), and its constructor does no input or output: it only keeps what
it is given. Inheriting from these classes is not needed.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from poseloop.live import config
from poseloop.live.types import (
    BoardEvent,
    CameraFormat,
    CameraTrigger,
    Command,
    Finding,
    Float32,
    Image,
    InputEvent,
    LineSettings,
    Note,
    Outcome,
    PinEdge,
    Pose,
    Stamp,
)

__all__ = ["Board", "BoardState", "Camera", "Checkable", "Experiment", "Patient", "Pingable", "Runtime", "Sink"]


@runtime_checkable
class Camera(Protocol):
    """One camera. The engine owns the buffers and the thread; a driver fills what it is handed.

    Order of calls: ``open`` → ``start`` → ``grab``… → ``stop`` → ``close``. ``grab`` is called by one thread only;
    ``stop`` comes from another one and must end a ``grab`` that waits.
    """

    @property
    def Settings(self) -> type[config.Settings]:  # noqa: N802 - it is a class, nested in the plugin's
        """The driver's options in the rig file."""

    def __init__(self, name: str, settings: Any) -> None:
        """Keep name and settings; touch no device."""

    @property
    def name(self) -> str:
        """Name in the rig file."""

    @property
    def format(self) -> CameraFormat:
        """Size and colour of every frame; known after ``open``, constant until ``close``."""

    @property
    def finished(self) -> bool:
        """True once no further frame will ever come (the end of a recording)."""

    def open(self) -> None:
        """Connect, set everything, read it back.

        Raises:
            ConnectError: there is no such device. A half-opened one has been closed again.
            SettingRefused: the device holds another value than asked for.
            DataError: a recording cannot be read.
        """

    def start(self, trigger: str) -> None:
        """Begin to deliver frames.

        Args:
            trigger: ``free`` (the camera's own clock), ``hardware`` or ``software``. Index 0 is the first frame
                after this call.
        """

    def grab(self, into: Image, timeout_s: float) -> Stamp | None:
        """Wait for the next frame and copy it into ``into`` (shape ``format.shape``, uint8).

        Returns None when no frame came within ``timeout_s``, after ``stop``, and for ever once ``finished``.

        Raises:
            DeviceLost: the device is gone.
            DataError: the recording is damaged here.
        """

    def stop(self) -> None:
        """Stop delivering and unblock ``grab``; may be called from any thread, and twice."""

    def close(self) -> None:
        """Give the device back; idempotent, never raises."""

    @classmethod
    def discover(cls) -> Sequence[str]:
        """Devices of this kind that can be opened now, one line each for ``poseloop devices``."""


class BoardState(enum.StrEnum):
    """What a `BoardEvent` can say."""

    ARMED = "armed"
    DISARMED = "disarmed"
    LEASE_LAPSED = "lease_lapsed"
    """No renewal in time: outputs off, disarmed."""
    LIMIT = "limit"
    """A line reached its on-time or duty limit and was switched off."""
    RESET = "reset"
    """The board restarted by itself: outputs off, disarmed, settings forgotten, no camera triggers any more."""
    LINK_LOST = "link_lost"
    EVENTS_LOST = "events_lost"
    """Events were dropped, the oldest ones, because nobody took them in time."""


@runtime_checkable
class Board(Protocol):
    """One output board. It times everything itself; none of these calls waits for a stimulus to end.

    Order of calls: ``open`` → ``configure`` → ``arm`` → (``send`` | ``renew`` | ``events``)… → ``disarm`` → ``close``.
    All calls come from one thread.

    A class whose lines are no pins says ``uses_pins = False``: then the rig file's ``pin`` is refused instead of
    required, and no `PinEdge` is waited for.
    """

    @property
    def Settings(self) -> type[config.Settings]:  # noqa: N802 - it is a class, nested in the plugin's
        """Its options in the rig file."""

    def __init__(self, name: str, settings: Any) -> None:
        """Keep name and settings; touch no device."""

    @property
    def name(self) -> str:
        """Name in the rig file."""

    def open(self) -> None:
        """Connect exclusively and wait for the board to say who it is. Every output is off afterwards.

        Raises:
            ConnectError: no such port, in use, or the wrong firmware; a half-opened port has been closed again.
            DeviceTimeout: nothing that speaks the protocol answered.
        """

    def configure(self, lines: Sequence[LineSettings], lease_ms: int) -> None:
        """Fix the lines and the lease for this session; only while disarmed.

        Raises:
            SettingRefused: the board allows less than asked for, or cannot do one of a line's kinds.
            DeviceTimeout: no answer.
        """

    def arm(self) -> None:
        """Allow on-commands and start the lease.

        Raises:
            DeviceTimeout: no answer; the board counts as disarmed.
        """

    def disarm(self) -> None:
        """Switch everything off and refuse on-commands. Camera triggers go on: they are not leased."""

    def renew(self) -> None:
        """Renew the lease. Called by the decision loop alone, after it has finished a fresh pose."""

    def send(self, command: Command) -> int:
        """Give one command to the board and return its ticket at once.

        The answer comes through ``events``. On-commands are never sent twice; ``off`` is repeated until acknowledged.
        """

    def events(self) -> Sequence[InputEvent | Outcome | PinEdge | CameraTrigger | BoardEvent]:
        """Everything that happened since the last call, oldest first; never waits."""

    def off(self) -> None:
        """Switch every output off, but for camera triggers. Idempotent, never raises: it is called on every way out."""

    def close(self) -> None:
        """``off``, camera triggers too, disarm, give the port back; idempotent, never raises."""

    @classmethod
    def discover(cls) -> Sequence[str]:
        """Devices of this kind that can be opened now, one line each for ``poseloop devices``."""


@runtime_checkable
class Patient(Protocol):
    """A camera that can wait for the loop, as ``sync.frames = "every"`` needs it. Optional: others are refused."""

    @property
    def waits(self) -> bool:
        """Does a frame that nobody fetches yet stay the next one, for however long? Known before ``open``."""


@runtime_checkable
class Checkable(Protocol):
    """A camera or board driver that can tell ``poseloop doctor`` more than which devices there are. Optional."""

    @classmethod
    def check(cls) -> Sequence[Finding]:
        """Look at SDK, links and permissions: packet sizes, USB speeds, buffers. Opens nothing, changes nothing."""


@runtime_checkable
class Pingable(Board, Protocol):
    """A board whose link can be timed while all its outputs stay off. Optional."""

    @property
    def command_us(self) -> float:
        """How long the bytes of one pulse are on the wire; 0 = the link has no such rate. Known before ``open``."""

    def ping_ns(self) -> int:
        """How long a question takes that switches nothing, from before it is written to its answer; while open.

        Raises:
            DeviceTimeout: no answer.
            DeviceLost: the board is gone.
        """


@runtime_checkable
class Runtime(Protocol):
    """Runs the tensors of one model file; knows nothing of keypoints."""

    def __init__(self, model: Path, provider: str, threads: int) -> None:
        """Keep what to run and where; load nothing."""

    def check(self) -> None:
        """Make sure that the provider can be had here, before sizes are known; may load the model, keeps nothing.

        Raises:
            ModelError: it cannot.
        """

    def open(self, shape: tuple[int, int, int, int]) -> Image:
        """Load the model for images of exactly this (B, H, W, c) shape, warm it up, and return the array to fill.

        The array belongs to the runtime, is of that shape and uint8, and stays the same until `close`: memory from
        which the device reads fastest.

        Raises:
            ModelError: the file is no usable model, or the provider is not available (never another one instead).
        """

    @property
    def provider(self) -> str:
        """The provider that really runs the model, as read back from the loaded session."""

    def run(self, images: Image) -> Mapping[str, Float32]:
        """Images (B, H, W, c) to the model's outputs by name; outputs are valid until the next call.

        Args:
            images: contiguous uint8 of the opened shape; the array that `open` returned is read without a copy.
        """

    def close(self) -> None:
        """Free the session; idempotent."""


@runtime_checkable
class Binds(Protocol):
    """A runtime that can read pictures where they lie, not only in its own array. Optional: others have them copied."""

    def bind(self, images: Image) -> bool:
        """Let ``run`` read this array, too, without a copy; False: it cannot, and copies as before.

        Args:
            images: contiguous uint8 of the opened shape; it stays where it is until ``close``.
        """


@runtime_checkable
class Experiment(Protocol):
    """An experiment's rule: poses in, commands out (users inherit from `poseloop.protocols.Protocol`).

    It is deterministic: state lives in ``self``; no clock, no input or output, no threads. Its time is the pose's.
    """

    @property
    def Settings(self) -> type[config.Settings]:  # noqa: N802 - it is a class, nested in the plugin's
        """Its options in the rig file."""

    def __init__(self, name: str, settings: Any) -> None:
        """Keep name and settings."""

    @property
    def name(self) -> str:
        """Name in the rig file."""

    @property
    def needs(self) -> Sequence[str] | None:
        """Keypoints that the model must have, and whose score the gate looks at; None = all of the model's."""

    @property
    def commands(self) -> Sequence[Command]:
        """Examples of what it may ask for; the host refuses a rig whose lines would not obey them. May be empty."""

    @property
    def camera(self) -> int | None:
        """Number of the camera whose picture it looks at, None = at points in the world; known after ``bind``."""

    @property
    def individuals(self) -> Sequence[int | None]:
        """Places of a pose (its I axis) that it looks at, None = the only one, () = it looks at none.

        The gate looks at the first one's scores.
        """

    @property
    def every_pose(self) -> bool:
        """Must it see every pose? If not, it sees the newest ones only; either way, only the newest can switch on."""

    @property
    def outputs(self) -> Sequence[str]:
        """Lines it may switch, as ``board.line``; the host refuses a rig that lacks one, and every other command."""

    def bind(self, keypoints: Sequence[str], cameras: Sequence[str], score_gate: float) -> None:
        """Learn the names behind a pose's axes, and the score that the gate asks for; called once, before ``reset``.

        Raises:
            ConfigError: the rig lacks something that it needs.
        """

    def reset(self, seed: int) -> None:
        """Return to the start; the same seed and the same poses must give the same commands."""

    def decide(self, pose: Pose, events: Sequence[InputEvent]) -> Sequence[Command]:
        """Look at one pose and the inputs since the last one; say what to do.

        Called for every pose that the host takes, also for those whose on-commands the gates will hold back.
        """

    def take_notes(self) -> Sequence[Note]:
        """What it wants to stand in the log since the last call, oldest first; asked for after every ``decide``."""

    def close(self) -> None:
        """The session is over, or the protocol is disabled: let go of what ``reset`` has opened; idempotent."""


@runtime_checkable
class Sink(Protocol):
    """Takes values out of the loop."""

    def write(self, item: object) -> None:
        """Take one value; must not block."""
