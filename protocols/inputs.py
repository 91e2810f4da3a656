"""Pokes and licks: the animal acts on a sensor that is wired to a board."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from poseloop.live.names import InputName
from poseloop.live.types import InputEvent, Pose
from poseloop.protocols.stimulus import Triggered

__all__ = ["Input"]


class Input(Triggered):
    """Acts on the n-th change of an input line within a time: a poke, a bout of licks.

    Times are the board's own. After a moment the count begins anew. ``only_if`` ties it to behaviour: a lick while the
    head is in a region. It decides with the next pose, so at most one frame later than the sensor.
    """

    class Settings(Triggered.Settings):
        """Parameters of the protocol."""

        input: InputName
        """The line to watch, ``board.line``."""
        edge: Literal["on", "off"] = "on"
        """Which change counts: to the line's active level, or back."""
        count: int = Field(1, ge=1, le=1000)
        """How many changes make a moment."""
        within_ms: float = Field(1000.0, gt=0)
        """They must lie within this time of each other."""

    settings: Settings

    @property
    def needs(self) -> Sequence[str] | None:
        """Those of ``only_if``; without it no pose is needed, only its time."""
        return super().needs or ()

    def reset(self, seed: int) -> None:
        """Nothing was counted yet."""
        super().reset(seed)
        self._times: deque[int] = deque(maxlen=self.settings.count)

    def occasion(self, pose: Pose, events: Sequence[InputEvent]) -> bool:
        """Is the count full?"""
        come = False
        for event in events:
            if f"{event.board}.{event.line}" != self.settings.input or event.value != (self.settings.edge == "on"):
                continue
            self._times.append(event.at_ns)
            full = len(self._times) == self.settings.count
            if full and event.at_ns - self._times[0] <= self.settings.within_ms * 1e6:
                self._times.clear()
                come = True
        return come
