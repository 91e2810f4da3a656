"""The base that every experiment inherits from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from poseloop.live import config
from poseloop.live.types import Command, CommandKind, Float32, InputEvent, Pose

__all__ = ["Protocol"]


class Protocol:
    """An experiment: a pose comes in, commands go out.

    A subclass declares its parameters in ``Settings`` and implements `decide`. It must be deterministic: its state
    lives in ``self`` and is set up in `reset`; its clock is ``pose.trace.exposed_ns``; it reads and writes nothing
    and starts no thread. Then a recorded session can be replayed through it, and gives the same commands.
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

    @property
    def needs(self) -> Sequence[str] | None:
        """Keypoints that the model must have; the gate looks at their scores. None = all; () = it needs no pose."""
        return None

    @property
    def outputs(self) -> Sequence[str]:
        """Lines that it may switch, as ``board.line``; a command to any other one disables it."""
        return ()

    @property
    def commands(self) -> Sequence[Command]:
        """Examples of what it may ask for: then a rig whose lines would not obey is refused at the start."""
        return ()

    @property
    def camera(self) -> int:
        """Number of the camera whose picture it looks at, in rig order."""
        return 0

    @property
    def every_pose(self) -> bool:
        """True = it is also shown poses that came while it was busy; only the newest pose can switch anything on."""
        return False

    def bind(self, keypoints: Sequence[str], cameras: Sequence[str], score_gate: float) -> None:
        """Learn the names behind a pose's axes, and the score that the gate asks for."""
        self.keypoints = tuple(keypoints)
        self.score_gate = score_gate

    def reset(self, seed: int) -> None:
        """Return to the start."""

    def decide(self, pose: Pose, events: Sequence[InputEvent]) -> Sequence[Command]:
        """Look at one pose and at the inputs since the last one; return what to do now."""
        raise NotImplementedError(f"{type(self).__name__} must implement decide(pose, events)")

    def point(self, pose: Pose, keypoint: str) -> Float32:
        """Where a keypoint is in the picture of `camera`: (2,) px; NaN = not seen, or seen with too low a score."""
        at = (self.camera, 0, self.keypoints.index(keypoint))
        found: Float32 = pose.keypoints.xy[at]
        # Written this way round since a NaN score is not above anything.
        return found if pose.keypoints.score[at] >= self.score_gate else np.full_like(found, np.nan)

    @staticmethod
    def seen(point: Float32) -> bool:
        """False where a point is NaN, which no comparison with a number would tell."""
        return not bool(np.isnan(point).any())

    @staticmethod
    def pulse(output: str, on_ms: float, delay_ms: float = 0.0) -> Command:
        """Switch ``board.line`` on for ``on_ms``; the board times it."""
        board, _, line = output.partition(".")
        return Command(board, line, CommandKind.PULSE, on_us=round(on_ms * 1000), delay_us=round(delay_ms * 1000))

    @staticmethod
    def on(output: str) -> Command:
        """Switch ``board.line`` on until `off`; it goes off by itself when poses stop."""
        board, _, line = output.partition(".")
        return Command(board, line, CommandKind.LEVEL)

    @staticmethod
    def off(output: str) -> Command:
        """Switch ``board.line`` off."""
        board, _, line = output.partition(".")
        return Command(board, line, CommandKind.OFF)
