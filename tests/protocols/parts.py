"""A user's own board and protocols, as a rig file names them: ``use = "parts.py:Desk"``."""

from collections.abc import Sequence

from poseloop.live.config import Settings
from poseloop.live.types import (
    BoardEvent,
    Command,
    CommandKind,
    InputEvent,
    LineSettings,
    Outcome,
    OutcomeKind,
    PinEdge,
    Pose,
)
from poseloop.protocols import Protocol


class Desk:
    """A board that notes what it is told, and says what a test puts into ``says``."""

    Settings = Settings

    def __init__(self, name: str, settings: Settings) -> None:
        self.name = name
        self.calls: list[str] = []
        self.sent: list[Command] = []
        self.says: list[InputEvent | Outcome | PinEdge | BoardEvent] = []

    def open(self) -> None:
        self.calls.append("open")

    def configure(self, lines: Sequence[LineSettings], lease_ms: int) -> None:
        self.calls.append(f"configure {','.join(line.name for line in lines)} {lease_ms}")

    def arm(self) -> None:
        self.calls.append("arm")

    def disarm(self) -> None:
        self.calls.append("disarm")

    def renew(self) -> None:
        self.calls.append("renew")

    def send(self, command: Command) -> int:
        self.sent.append(command)
        return len(self.sent)

    def events(self) -> Sequence[InputEvent | Outcome | PinEdge | BoardEvent]:
        said, self.says = self.says, []
        return said

    def off(self) -> None:
        self.calls.append("off")

    def close(self) -> None:
        self.calls.append("close")

    def acknowledge(self, ticket: int, kind: OutcomeKind = OutcomeKind.ACKNOWLEDGED, reason: str = "") -> None:
        self.says.append(Outcome(self.name, ticket, kind, reason, written_ns=1, acknowledged_ns=2))

    @classmethod
    def discover(cls) -> Sequence[str]:
        return ()


class Always(Protocol):
    """Asks for a pulse at every pose, and notes the inputs."""

    needs = ("snout",)
    outputs = ("desk.laser",)

    def reset(self, seed: int) -> None:
        self.inputs: list[InputEvent] = []

    def decide(self, pose: Pose, events: Sequence[InputEvent]) -> Sequence[Command]:
        self.inputs.extend(events)
        return (self.pulse("desk.laser", 5),)


class Off(Always):
    """Asks for off at every pose."""

    def decide(self, pose: Pose, events: Sequence[InputEvent]) -> Sequence[Command]:
        return (self.off("desk.laser"),)


class Breaks(Always):
    """Fails at the third pose."""

    def reset(self, seed: int) -> None:
        self.count = 0

    def decide(self, pose: Pose, events: Sequence[InputEvent]) -> Sequence[Command]:
        self.count += 1
        if self.count == 3:
            raise ZeroDivisionError("division by zero")
        return (self.on("desk.laser"),)


class Strays(Always):
    """Switches a line that it did not announce."""

    def decide(self, pose: Pose, events: Sequence[InputEvent]) -> Sequence[Command]:
        return (Command("desk", "shutter", CommandKind.PULSE, on_us=5),)


class Greedy(Always):
    """Announces a line that the rig does not have."""

    outputs = ("desk.shutter",)
