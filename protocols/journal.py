"""What the host sends to the recorder: every decision as it was made, triggers, notes, inputs, boards, failures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple
from typing import Any

from poseloop.live.clock import now_ns
from poseloop.live.output.log import packed
from poseloop.live.output.record import Lines, Outlet
from poseloop.live.types import Command, InputEvent, Pose

__all__ = ["Journal"]

_COMMAND = ("device", "line", "kind", "on_us", "period_us", "count", "delay_us")
_TIMES = (
    "exposed_ns",
    "published_ns",
    "received_ns",
    "decided_ns",
    "written_ns",
    "acknowledged_ns",
    "pin_ns",
    "triggered_ns",
)
_EVENTS = ("note", "board", "protocol_failed", "notice")


class Journal:
    """Keeps rows while the loop is busy and sends them when it has time, which is after the lease was renewed.

    Does nothing until `open` and after `close`.
    """

    def __init__(self) -> None:
        self._lines: Lines | None = None
        self._outlet: Outlet | None = None
        self._decisions = 0

    def open(self, endpoint: str) -> None:
        """Send to the recorder there from now on."""
        self._lines = Lines(endpoint)
        self._outlet = self._lines.outlet("host")

    def hear(self, tell: Callable[..., None]) -> Callable[..., None]:
        """Return what tells as ``tell`` does, and keeps what belongs into the log."""

        def both(event: str, **values: Any) -> None:
            tell(event, **values)
            if self._outlet is not None:
                self._keep(self._outlet, event, values)

        return both

    @staticmethod
    def _keep(outlet: Outlet, event: str, values: dict[str, Any]) -> None:
        if event == "trigger":
            command, trace = values["command"], values["trace"]
            outlet.add(
                "trigger",
                values["index"],
                *(command[key] for key in _COMMAND),
                values["outcome"],
                values["reason"],
                *(trace[key] for key in _TIMES),
            )
        elif event in _EVENTS:
            outlet.event("host", event, values, values.get("at_ns") or now_ns())

    def decision(
        self,
        pose: Pose,
        newest: bool,
        decided_ns: int,
        inputs: Sequence[InputEvent],
        commands: Iterable[tuple[str, Command, str]],
    ) -> None:
        """Keep one decision: exactly what the protocols were given, what they asked for, and what became of it.

        Args:
            pose: what they were given.
            newest: or an older pose, shown to the protocols that want every one.
            decided_ns: when they had answered.
            inputs: what they were given with it.
            commands: protocol, its command, and its fate, in the order in which they were given out.
        """
        if self._outlet is None:
            return
        for event in inputs:
            self._outlet.event(
                "host", "input", {"board": event.board, "line": event.line, "value": event.value}, event.at_ns
            )
        asked = [(name, *(getattr(command, key) for key in _COMMAND), fate) for name, command, fate in commands]
        self._outlet.add(
            "decision",
            self._decisions,
            pose.sequence,
            int(newest),
            pose.trace.received_ns,
            decided_ns,
            packed([astuple(event) for event in inputs]),
            packed(asked),
        )
        self._decisions += 1

    def send(self) -> None:
        """Send what was kept; never waits."""
        if self._outlet is not None:
            self._outlet.send()

    def close(self, hurry: bool = False) -> None:
        """Send what is left and no more; idempotent. ``hurry``: the recorder is gone."""
        lines, self._lines, self._outlet = self._lines, None, None
        if lines is not None:
            lines.close(hurry)
