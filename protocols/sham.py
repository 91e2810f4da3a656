"""Sham: another protocol's decisions, without its stimulus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, ValidationError, ValidationInfo

from poseloop.live import config, plugins
from poseloop.live.interfaces import Experiment
from poseloop.live.names import OutputName
from poseloop.live.types import Command, InputEvent, Note, Pose
from poseloop.protocols.base import Protocol

__all__ = ["Sham"]


@dataclass(frozen=True, slots=True)
class _Inner:
    plugin: Any
    options: Any


def _load(table: Any, info: ValidationInfo) -> _Inner:
    if not isinstance(table, dict) or not isinstance(table.get("use"), str):
        raise ValueError("expected a table with use, and the options of that protocol")
    folder = (info.context or {}).get("folder", Path())
    plugin = plugins.load("protocol", table["use"], folder)
    own = {key: value for key, value in table.items() if key != "use"}
    try:
        return _Inner(plugin, config.validate(plugin.Settings, own, folder))
    except ValidationError as error:
        faults = config.explain(error, "", list(plugin.Settings.model_fields))
        raise ValueError("; ".join(f"{fault.key}: {fault.text}" for fault in faults)) from error


class Sham(Protocol):
    """Decides as another protocol does, and withholds what that asks for, or gives it to another line.

    The protocol in ``of`` sees every pose and input and runs unchanged. Each of its commands is noted as ``withheld``
    in the log. With ``output`` the commands go there instead: a masking light, a dummy fibre.
    """

    class Settings(config.Settings):
        """Parameters of the protocol."""

        of: Annotated[Any, BeforeValidator(_load)]
        """The protocol that decides: a table with ``use``, and its options."""
        output: OutputName | None = None
        """The line that is switched instead of its own, ``board.line``; none = nothing is switched."""

    settings: Settings

    def __init__(self, name: str, settings: Any) -> None:
        super().__init__(name, settings)
        self._inner: Experiment = settings.of.plugin(name, settings.of.options)

    @property
    def needs(self) -> Sequence[str] | None:
        """What the other needs."""
        return self._inner.needs

    @property
    def camera(self) -> int | None:
        """The other's."""
        return self._inner.camera

    @property
    def individuals(self) -> Sequence[int | None]:
        """The other's."""
        return self._inner.individuals

    @property
    def every_pose(self) -> bool:
        """As the other wants it."""
        return self._inner.every_pose

    @property
    def own_devices(self) -> bool:
        """As the other says."""
        return bool(getattr(self._inner, "own_devices", False))

    @property
    def commands(self) -> Sequence[Command]:
        """The other's, at the line that is switched instead."""
        return self._redirect(self._inner.commands)

    def bind(self, keypoints: Sequence[str], cameras: Sequence[str], score_gate: float) -> None:
        """Tell the other."""
        super().bind(keypoints, cameras, score_gate)
        self._inner.bind(keypoints, cameras, score_gate)

    def reset(self, seed: int) -> None:
        """Both return to the start."""
        super().reset(seed)
        self._inner.reset(seed)

    def decide(self, pose: Pose, events: Sequence[InputEvent]) -> Sequence[Command]:
        """Let the other decide; withhold or redirect."""
        commands = self._inner.decide(pose, events)
        for command in commands:
            self.note("withheld", pose, output=f"{command.device}.{command.line}", kind=command.kind.value)
        return self._redirect(commands)

    def _redirect(self, commands: Sequence[Command]) -> Sequence[Command]:
        if self.settings.output is None:
            return ()
        board, _, line = self.settings.output.partition(".")
        return [replace(command, device=board, line=line) for command in commands]

    def take_notes(self) -> Sequence[Note]:
        """The other's and its own."""
        return [*self._inner.take_notes(), *super().take_notes()]

    def close(self) -> None:
        """Close the other."""
        self._inner.close()
