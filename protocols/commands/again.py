"""A session's decisions made again: protocols are given exactly what they were given, and must ask for the same.

What the gates did with it depended on the host's clock and on the boards; it stands in the log, and is not made again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from poseloop.live.config import Rig
from poseloop.live.output.session import Session
from poseloop.live.output.wire import Header
from poseloop.live.types import Command
from poseloop.protocols.commands.offline import Clock, on_paper
from poseloop.protocols.host import Host

__all__ = ["Difference", "Result", "decide_again", "header_of"]


@dataclass(frozen=True, slots=True)
class Difference:
    """One decision that came out otherwise."""

    number: int
    """Of the decision."""
    index: int
    """Trigger count of its pose."""
    recorded: list[tuple[str, Command]]
    """Protocol, and its command."""
    again: list[tuple[str, Command]]


@dataclass(slots=True)
class Result:
    """What came of it."""

    decisions: int = 0
    commands: int = 0
    """Recorded ones."""
    fates: dict[str, int] = field(default_factory=dict)
    """What the gates had done with them."""
    different: int = 0
    first: Difference | None = None
    missing: int = 0
    """Decisions, or their poses, that the log has lost; the protocols did not see them."""
    first_missing: int | None = None
    """Number of the first such decision; what comes before it is exact."""
    failures: dict[str, str] = field(default_factory=dict)
    """Protocol → why it failed in the replay."""
    recorded_failures: dict[str, str] = field(default_factory=dict)

    @property
    def same(self) -> bool:
        """Did everything come out as recorded?"""
        return not self.different and self.failures.keys() == self.recorded_failures.keys()


def header_of(session: Session) -> Header:
    """What the session's engine told its subscribers."""
    model = next(iter(session.models.values())).name if session.models else ""
    return Header(session.rig, model, session.cameras, session.keypoints, session.skeleton, session.gate)


def decide_again(session: Session, rig: Rig, progress: Callable[[int], None] = lambda n: None) -> Result:
    """Give every protocol of ``rig`` what the session's was given, and compare what it asks for.

    Args:
        session: opened.
        rig: the session's own, protocols with their plugins loaded.
        progress: called with the number of decisions so far.

    Raises:
        ConfigError: a protocol does not fit the session, or drives devices of its own.
        DataError: the session is damaged.
    """
    result = Result()
    for event in session.events("protocol_failed"):
        result.recorded_failures.setdefault(str(event.values.get("protocol")), str(event.values.get("error")))

    def hear(event: str, **values: Any) -> None:
        if event == "protocol_failed":
            result.failures[values["protocol"]] = values["error"]

    host = Host(on_paper(rig, Clock()), hear)
    host.open()
    try:
        host.bind(header_of(session))
        for decision, pose in session.decided():
            gap = decision.number - result.decisions - result.missing
            lost = gap + (pose is None)
            if lost:
                result.missing += lost
                if result.first_missing is None:
                    result.first_missing = decision.number - gap
            if pose is None:
                continue
            again = host.ask(pose, decision.inputs, decision.newest) if decision.decided_ns else []
            recorded = [(asked.protocol, asked.command) for asked in decision.asked]
            for asked in decision.asked:
                result.fates[asked.fate] = result.fates.get(asked.fate, 0) + 1
            if again != recorded:
                result.different += 1
                result.first = result.first or Difference(decision.number, pose.index, recorded, again)
            result.decisions += 1
            result.commands += len(recorded)
            progress(result.decisions)
    finally:
        host.close()
    return result
