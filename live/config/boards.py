"""The tables of a rig file's boards: lines, camera trigger, sync."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from poseloop.live.config.settings import PluginTable, Settings
from poseloop.live.types import Command, CommandKind, LineSettings

__all__ = ["BoardTable", "CameraTriggerTable", "LineTable", "SyncTable"]


class LineTable(Settings):
    """``[boards.NAME.lines.LINE]``: one pin."""

    pin: int | None = Field(None, ge=2, le=255)
    """Number of the pin; 0 and 1 are the serial port's. Required where the board has pins."""
    direction: Literal["output", "input"] = "output"
    """``output``: switched by protocols. ``input``: a lick, a poke, a TTL, told to protocols as an event."""
    active: Literal["high", "low"] = "high"
    """The level that means on."""
    kinds: tuple[Literal["pulse", "train", "level"], ...] = ("pulse",)
    """Commands the line obeys, besides off."""
    max_on_ms: float = Field(0.0, ge=0, le=3_600_000)
    """Outputs: the longest time on without a pause. Required."""
    max_duty: float = Field(1.0, gt=0, le=1)
    """Outputs: the largest share of ``window_ms`` that the line may be on."""
    window_ms: float = Field(1000.0, gt=0, le=600_000)
    """Outputs: the time over which ``max_duty`` counts."""
    pull_up: bool = False
    """Inputs: use the board's pull-up resistor."""

    @model_validator(mode="after")
    def _complete(self) -> LineTable:
        if self.direction == "output" and self.max_on_ms <= 0:
            raise ValueError("an output needs max_on_ms > 0: the longest time it may ever stay on")
        if self.direction == "output" and not self.kinds:
            raise ValueError("an output needs kinds: the commands that it obeys")
        foreign = {"pull_up"} if self.direction == "output" else {"kinds", "max_on_ms", "max_duty", "window_ms"}
        if given := foreign & self.model_fields_set:
            raise ValueError(f"{', '.join(sorted(given))} cannot be set for an {self.direction}")
        return self

    def settings(self, name: str) -> LineSettings:
        """The same in the board's words."""
        output = self.direction == "output"
        return LineSettings(
            name=name,
            pin=self.pin or 0,
            direction=self.direction,
            active_high=self.active == "high",
            kinds=tuple(CommandKind(kind) for kind in self.kinds) if output else (),
            max_on_us=round(self.max_on_ms * 1000) if output else 0,
            max_duty=self.max_duty,
            window_us=round(self.window_ms * 1000),
            pull_up=self.pull_up,
        )


class SignalTable(Settings):
    """What ``camera_trigger`` and ``sync`` of a board have in common."""

    pin: int = Field(ge=2, le=255)
    """Number of the pin."""
    active: Literal["high", "low"] = "high"
    """The level of a trigger, a pulse or a 1."""
    width_us: int = Field(1000, ge=50, le=1_000_000)
    """How long one trigger, pulse or bit lasts."""

    def _line(self, name: str, kind: CommandKind, longest_us: int) -> LineSettings:
        high = self.active == "high"
        return LineSettings(name, self.pin, active_high=high, kinds=(kind,), max_on_us=longest_us)


class CameraTriggerTable(SignalTable):
    """``[boards.NAME.camera_trigger]``: the pin that starts every exposure of the rig's cameras. It is not leased."""

    NAME: ClassVar[str] = "camera_trigger"
    """The line's name in commands and events."""

    fps: float = Field(ge=0.001, le=2000)
    """Triggers a second."""

    @property
    def period_us(self) -> int:
        """Trigger to trigger, as the board counts it."""
        return round(1e6 / self.fps)

    @model_validator(mode="after")
    def _has_a_pause(self) -> CameraTriggerTable:
        if self.period_us - self.width_us < 50:
            raise ValueError(f"width_us must leave a pause of 50 us between triggers, one every {self.period_us} us")
        return self

    def line(self) -> LineSettings:
        """The same in the board's words."""
        return self._line(self.NAME, CommandKind.CAMERA, self.width_us)

    def command(self, board: str) -> Command:
        """Trigger until off."""
        return Command(board, self.NAME, CommandKind.CAMERA, on_us=self.width_us, period_us=self.period_us)


class SyncTable(SignalTable):
    """``[boards.NAME.sync]``: a pin that tells a recording system which frame set was decided on. It is not leased."""

    NAME: ClassVar[str] = "sync"
    """The line's name in commands and events."""
    _BITS: ClassVar[int] = 33

    mode: Literal["pulse", "code"] = "code"
    """``pulse``: one pulse a frame set. ``code``: a start bit and the 32 bits of its index, lowest first."""
    width_us: int = Field(200, ge=125, le=100_000)
    """How long the pulse, or each of the 33 bits, lasts."""
    every: int = Field(1, ge=1)
    """Every how many frame sets; a code has to end before the next one begins."""

    def line(self) -> LineSettings:
        """The same in the board's words."""
        if self.mode == "pulse":
            return self._line(self.NAME, CommandKind.CAMERA, self.width_us)
        return self._line(self.NAME, CommandKind.SYNC, self._BITS * self.width_us)

    def command(self, board: str, index: int) -> Command:
        """Tell of one frame set."""
        if self.mode == "code":
            return Command(board, self.NAME, CommandKind.SYNC, on_us=self.width_us, code=index & 0xFFFFFFFF)
        return Command(board, self.NAME, CommandKind.CAMERA, on_us=self.width_us, period_us=2 * self.width_us, count=1)


class BoardTable(PluginTable):
    """``[boards.NAME]``: one output board, and its driver's settings."""

    lease_ms: int = Field(100, ge=10, le=10_000)
    """Outputs go off by themselves when no fresh pose was decided on for this long."""
    rearm_after_ms: float | None = Field(1000.0, ge=0)
    """After the lease has lapsed: how long poses must have been fresh again before the host arms the board again."""
    lines: dict[str, LineTable] = Field(default_factory=dict)
    """One table for each line; its name is what protocols call it, ``NAME.LINE``."""
    camera_trigger: CameraTriggerTable | None = None
    """A pin that triggers the cameras."""
    sync: SyncTable | None = None
    """A pin that tells frame sets to another recording system."""

    @model_validator(mode="after")
    def _names_differ(self) -> BoardTable:
        if not self.lines and not self._signals:
            raise ValueError("a board needs lines: expected at least one table [boards.NAME.lines.LINE]")
        for signal in (CameraTriggerTable, SyncTable):
            if signal.NAME in self.lines:
                raise ValueError(f"no line can be called {signal.NAME!r}: that is [boards.NAME.{signal.NAME}]")
        return self

    @model_validator(mode="after")
    def _pins_differ(self) -> BoardTable:
        pins = [line.pin for line in (*self.lines.values(), *self._signals) if line.pin is not None]
        twice = {pin for pin in pins if pins.count(pin) > 1}
        if twice:
            raise ValueError(f"every line needs a pin of its own, but pin {min(twice)} is used twice")
        return self

    def line_settings(self) -> list[LineSettings]:
        """All lines in the board's words, in file order; camera trigger and sync are the last."""
        lines = [line.settings(name) for name, line in self.lines.items()]
        return [*lines, *(signal.line() for signal in self._signals)]

    @property
    def _signals(self) -> list[CameraTriggerTable | SyncTable]:
        return [signal for signal in (self.camera_trigger, self.sync) if signal is not None]
