"""A user's own board and protocols, as a rig file names them: ``use = "parts.py:Desk"``."""

import time
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


class Pinless(Desk):
    """A board that nothing reads back."""

    uses_pins = False


class Always(Protocol):
    """Asks for a pulse at every pose, and notes the inputs."""

    seen = 0
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
    """Switches its own line on, and at the third pose, in one breath with it, a line that it did not announce."""

    def decide(self, pose: Pose, events: Sequence[InputEvent]) -> Sequence[Command]:
        self.seen += 1
        stray = Command("desk", "shutter", CommandKind.PULSE, on_us=5)
        return (self.on("desk.laser"), stray) if self.seen == 3 else (self.on("desk.laser"),)


class Exits(Always):
    """Calls sys.exit, as a script would."""

    def decide(self, pose: Pose, events: Sequence[InputEvent]) -> Sequence[Command]:
        raise SystemExit(3)


class Mumbles(Always):
    """Returns what is no command."""

    def decide(self, pose: Pose, events: Sequence[InputEvent]) -> Sequence[Command]:
        return [None]  # type: ignore[list-item]


class Slow(Always):
    """Takes longer to decide than a pose stays fresh."""

    def decide(self, pose: Pose, events: Sequence[InputEvent]) -> Sequence[Command]:
        time.sleep(0.06)
        return (self.pulse("desk.laser", 5),)


class Careful(Always):
    """Does not say what it needs: then the gate looks at all keypoints."""

    needs = None


class Blind(Always):
    """Needs no pose, and says so."""

    needs = ()


class Counts(Always):
    """Must see every pose."""

    every_pose = True

    def decide(self, pose: Pose, events: Sequence[InputEvent]) -> Sequence[Command]:
        self.seen += 1
        return (self.pulse("desk.laser", 5), self.off("desk.laser"))


class Letters(Always):
    """Gives a string where a tuple of names is meant."""

    needs = "snout"


class Second(Always):
    """Looks at the second camera."""

    camera = 1


class Writes(Always):
    """Notes something at every pose, and is closed."""

    def __init__(self, name: str, settings: Settings) -> None:
        super().__init__(name, settings)
        self.closed = 0

    def decide(self, pose: Pose, events: Sequence[InputEvent]) -> Sequence[Command]:
        self.note("seen", pose, where=self.point(pose, "snout")[0], who="snout")
        return ()

    def close(self) -> None:
        self.closed += 1
        raise OSError("the port is gone")


class InTheWorld(Always):
    """Looks at points in the world."""

    camera = None


class NoReset(Always):
    """Cannot be started."""

    def reset(self, seed: int) -> None:
        raise ZeroDivisionError("division by zero")


class Greedy(Always):
    """Announces a line that the rig does not have."""

    outputs = ("desk.shutter",)
