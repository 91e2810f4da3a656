"""The base that every experiment inherits from."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from poseloop.live import config
from poseloop.live.motion.kinematics import Track
from poseloop.live.names import KeypointName, OutputName, find_names
from poseloop.live.types import Command, CommandKind, Float32, InputEvent, Note, Pose
from poseloop.protocols.sight import look

__all__ = ["Protocol"]

_RECENT = 250
"""Poses that are kept."""

_NOTES = 1000
"""Notes that wait for the host, which takes them after every pose; beyond it the oldest are dropped."""


class Protocol:
    """An experiment: a pose comes in, commands go out.

    A subclass declares its parameters in ``Settings`` and implements `decide`. It must be deterministic: its state
    lives in ``self`` and is set up in `reset`; its clock is ``pose.trace.exposed_ns``, its chance is `random`; it reads
    and writes nothing and starts no thread. Then a recorded session can be replayed through it, and gives the same
    commands.
    """

    Settings: ClassVar[type[config.Settings]] = config.Settings

    def __init__(self, name: str, settings: Any) -> None:
        """Keep name and settings; override `reset` rather than this."""
        self.name = name
        self.settings = settings
        self.keypoints: tuple[str, ...] = ()
        """The model's keypoints in the order of a pose's K axis; known from `reset` on."""
        self.score_gate = 0.0
        """A point with a score under it counts as not seen; known from `reset` on."""
        self.recent: deque[Pose] = deque(maxlen=_RECENT)
        """The last poses that `see` was called with, oldest first."""
        self._tracks: list[tuple[str, bool, Track]] = []
        self._individual = 0
        self._random: random.Random | None = None
        self._notes: deque[Note] = deque(maxlen=_NOTES)

    @property
    def needs(self) -> Sequence[str] | None:
        """Keypoints that the model must have; the gate looks at their scores. None = all; () = it needs no pose.

        By default those that its settings name (fields of the type ``KeypointName``), or all.
        """
        return find_names(self.settings, KeypointName) or None

    @property
    def outputs(self) -> Sequence[str]:
        """Lines that it may switch, as ``board.line``; a command to any other one disables it.

        By default those that its settings name (fields of the type ``OutputName``).
        """
        return find_names(self.settings, OutputName)

    @property
    def commands(self) -> Sequence[Command]:
        """Examples of what it may ask for: then a rig whose lines would not obey is refused at the start."""
        return ()

    @property
    def camera(self) -> int | None:
        """Number of the camera whose picture it looks at, in rig order; None = it looks at points in the world."""
        return 0

    @property
    def individuals(self) -> Sequence[int | None]:
        """Which animals it looks at: places of a pose, from 0; None = the only one. The gate looks at the first.

        By default the one that its setting ``individual`` names, if it has one; () where it needs no pose.
        """
        needs = self.needs
        return () if needs is not None and not needs else (getattr(self.settings, "individual", None),)

    @property
    def every_pose(self) -> bool:
        """True = it is also shown poses that came while it was busy; only the newest pose can switch anything on."""
        return False

    @property
    def own_devices(self) -> bool:
        """True = it drives devices that are no boards of the rig; then it is not replayed. Adapters alone do that."""
        return False

    @property
    def random(self) -> random.Random:
        """Chance that a replay can repeat: the rig's seed and the protocol's name decide it.

        Raises:
            RuntimeError: `reset` was overridden and does not call ``super().reset(seed)``.
        """
        if self._random is None:
            raise RuntimeError("expected reset() to call super().reset(seed) before chance is used")
        return self._random

    def bind(self, keypoints: Sequence[str], cameras: Sequence[str], score_gate: float) -> None:
        """Learn the names behind a pose's axes, and the score that the gate asks for."""
        self.keypoints = tuple(keypoints)
        self.score_gate = score_gate
        self._individual = next(iter(self.individuals), 0) or 0

    def reset(self, seed: int) -> None:
        """Return to the start."""
        # With the name in it, two protocols of a rig do not draw the same lots.
        self._random = random.Random(f"{self.name}:{seed}")
        self._notes.clear()
        self._tracks.clear()
        self.recent.clear()

    def follow(self, keypoint: str, window_ms: float = 100.0, *, predicted: bool = False) -> Track:
        """Keep where a keypoint was lately; the track tells velocity, speed and acceleration. Call it in `reset`.

        Args:
            keypoint: its name.
            window_ms: how far back; longer is steadier, and later by half of it.
            predicted: follow where it will be when the board acts.
        """
        track = Track(window_ms, 3 if self.camera is None else 2)
        self._tracks.append((keypoint, predicted, track))
        return track

    def see(self, pose: Pose) -> None:
        """Remember a pose: `recent` and what `follow` follows; to be called first in `decide`.

        `Triggered` and `StateMachine` do so by themselves.
        """
        self.recent.append(pose)
        for keypoint, predicted, track in self._tracks:
            track.add(pose.trace.exposed_ns, self.point(pose, keypoint, predicted=predicted))

    def decide(self, pose: Pose, events: Sequence[InputEvent]) -> Sequence[Command]:
        """Look at one pose and at the inputs since the last one; return what to do now."""
        raise NotImplementedError(f"{type(self).__name__} must implement decide(pose, events)")

    def note(self, name: str, pose: Pose, **values: str | bool | int | float | None) -> None:
        """Put an event with its values into the session's log; it changes nothing else. NaN becomes None."""
        plain = {key: value.item() if isinstance(value, np.generic) else value for key, value in values.items()}
        # JSON has no NaN, which alone differs from itself.
        plain = {key: value if value == value else None for key, value in plain.items()}
        self._notes.append(Note(name, pose.trace.exposed_ns, plain))

    def take_notes(self) -> Sequence[Note]:
        """The notes since the last call, oldest first."""
        if not self._notes:
            return ()
        notes = list(self._notes)
        self._notes.clear()
        return notes

    def close(self) -> None:
        """Nothing is open; only an adapter to a device of its own has something to do here."""

    def point(self, pose: Pose, keypoint: str, *, individual: int | None = None, predicted: bool = False) -> Float32:
        """Where a keypoint is: (2,) px in the picture of `camera`, or (3,) mm in the world where `camera` is None.

        NaN = not seen, or seen with too low a score.

        Args:
            pose: what `decide` got.
            keypoint: its name.
            individual: of which animal; None = the first of `individuals`.
            predicted: where it will be when the board acts (``[filter]`` of the rig), instead of where it was.
        """
        if individual is None:
            individual = self._individual
        where = look(pose, self.keypoints.index(keypoint), self.score_gate, self.camera, individual, predicted)
        size = 3 if self.camera is None else 2
        return np.full(size, np.nan, np.float32) if where is None else np.array(where, np.float32)

    @staticmethod
    def seen(point: Float32) -> bool:
        """False where a point is NaN, which no comparison with a number would tell."""
        return not bool(np.isnan(point).any())

    @staticmethod
    def pulse(output: str, on_ms: float, delay_ms: float = 0.0) -> Command:
        """Switch ``board.line`` on for ``on_ms``; the board times it."""
        return _command(output, CommandKind.PULSE, on_us=round(on_ms * 1000), delay_us=round(delay_ms * 1000))

    @staticmethod
    def train(output: str, on_ms: float, period_ms: float, count: int, delay_ms: float = 0.0) -> Command:
        """Give ``count`` pulses of ``on_ms``, one every ``period_ms``; the board times them."""
        return _command(
            output,
            CommandKind.TRAIN,
            on_us=round(on_ms * 1000),
            period_us=round(period_ms * 1000),
            count=count,
            delay_us=round(delay_ms * 1000),
        )

    @staticmethod
    def on(output: str, delay_ms: float = 0.0) -> Command:
        """Switch ``board.line`` on until `off`; it goes off by itself when poses stop."""
        return _command(output, CommandKind.LEVEL, delay_us=round(delay_ms * 1000))

    @staticmethod
    def off(output: str) -> Command:
        """Switch ``board.line`` off."""
        return _command(output, CommandKind.OFF)


def _command(output: str, kind: CommandKind, **times: int) -> Command:
    board, _, line = output.partition(".")
    return Command(board, line, kind, **times)
