"""Sequence: one behaviour after another, in time."""

from __future__ import annotations

from collections.abc import Sequence as Row
from typing import Annotated

from pydantic import Field

from poseloop.live import config
from poseloop.live.types import InputEvent, Pose
from poseloop.protocols.conditions import AnyCondition, Condition, make
from poseloop.protocols.stimulus import Presence, Triggered, What

__all__ = ["Sequence", "Step"]


class Step(config.Settings):
    """One behaviour of a sequence."""

    condition: AnyCondition
    """What must hold: a table with ``use``, and the keys of the protocol of that name that say what holds."""
    for_ms: float = Field(0.0, ge=0)
    """How long it must hold without a break."""
    within_ms: float | None = Field(None, gt=0)
    """The step must be done within this time after the step before; else it all begins again. None = any time."""


class Sequence(Triggered):
    """Acts when several conditions have held one after the other.

    A step is done when its condition has held for ``for_ms``; the next one is looked for from the following pose on.
    A step that is not done in time takes the sequence back to its beginning. After the last step it begins again, as
    soon as the first condition has ceased to hold.
    """

    class Settings(Triggered.Settings):
        """Parameters of the protocol."""

        steps: Annotated[tuple[Step, ...], Field(min_length=2)]
        """The behaviours, in order."""
        lost_ms: float = Field(200.0, ge=0)
        """A condition that could not be told for so long (a keypoint is not seen) has not held without a break."""

    settings: Settings

    def conditions(self) -> Row[Condition]:
        """One for each step."""
        self._conditions = [make(step.condition) for step in self.settings.steps]
        return self._conditions

    def reset(self, seed: int) -> None:
        """Look for the first step."""
        super().reset(seed)
        self._done_ns = 0
        self._look_for(0)
        self._released = True

    def _look_for(self, step: int) -> None:
        self._step = step
        self._presence = Presence(self.settings.steps[step].for_ms, self.settings.lost_ms)

    def occasion(self, pose: Pose, events: Row[InputEvent]) -> bool:
        """Is the last step done?"""
        now = pose.trace.exposed_ns
        # All of them, always: conditions have a memory.
        holds = [condition.holds(pose, events) for condition in self._conditions]
        within_ms = self.settings.steps[self._step].within_ms
        if self._step and within_ms is not None and now - self._done_ns > within_ms * 1e6:
            self.note("sequence broken", pose, step=self._step)
            self._look_for(0)
        self._released = self._released or holds[0] is False
        if not self._step and not self._released:
            return False
        if What.DWELT not in self._presence.update(now, holds[self._step]):
            return False
        self._done_ns = now
        self.note("step", pose, step=self._step)
        last = self._step == len(self._conditions) - 1
        self._released = not last
        self._look_for(0 if last else self._step + 1)
        return last
