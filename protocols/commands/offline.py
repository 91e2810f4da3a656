"""A rig without its devices: recorded pictures instead of cameras, paper instead of boards, and a clock of its own.

Engine and host are the ones that run a rig; only what they touch is replaced. So a replay decides what the rig would
have decided, gates included, and decides it again in the same way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from poseloop.live.config import Rig, Settings
from poseloop.live.engine import Engine
from poseloop.live.errors import ConfigError
from poseloop.live.interfaces import Camera
from poseloop.live.output.wire import Header
from poseloop.live.types import (
    Command,
    Frame,
    FrameSet,
    Image,
    InputEvent,
    LineSettings,
    Outcome,
    OutcomeKind,
    Pose,
)
from poseloop.protocols.host import Host

__all__ = ["Clock", "Decision", "Source", "VideoSource", "on_paper", "rehearse"]

START_NS = 1_000_000_000
"""Time of the first pose; 0 would mean that it has not happened."""

_GRAB_S = 10.0


class Clock:
    """Stands at the time that the last pose was decided on."""

    def __init__(self) -> None:
        self.now_ns = START_NS

    def __call__(self) -> int:
        """The time, ns."""
        return self.now_ns


class Source(Protocol):
    """Where a replay's poses come from."""

    header: Header
    """Known once `poses` has begun."""

    def poses(self, clock: Clock) -> Iterator[Pose]:
        """Each pose in turn, with the clock set to when it is decided on."""


class VideoSource:
    """Poses of recorded pictures, one video for each camera of the rig, through the network of the rig.

    Their times begin at `START_NS`.
    """

    header: Header

    def __init__(self, rig: Rig, latency_ns: int, frames: int | None = None) -> None:
        """Keep what to play.

        Args:
            rig: its cameras are recordings that do not wait (``pace = "none"``).
            latency_ns: from mid-exposure to the decision.
            frames: how many, from the beginning; None = all.
        """
        self._frames = 1 << 62 if frames is None else frames
        self._rig = rig
        self._latency_ns = latency_ns

    def poses(self, clock: Clock) -> Iterator[Pose]:
        """Until the first of the recordings ends.

        Raises:
            RigError, DataError: a recording cannot be read.
            ModelError: the model cannot be used.
        """
        engine = Engine(self._rig, clock=clock)
        engine.open()
        with closing(engine):
            self.header = engine.header
            images: list[Image] = [np.empty(camera.format.shape, np.uint8) for camera in engine.cameras]
            for camera in engine.cameras:
                camera.start("free")
            for index in range(self._frames):
                frames = [_grab(camera, image) for camera, image in zip(engine.cameras, images, strict=True)]
                present = [frame for frame in frames if frame is not None]
                if len(present) < len(frames):
                    return
                times = [frame.exposed_ns for frame in present]
                exposed_ns = sum(times) // len(times)
                clock.now_ns = exposed_ns + self._latency_ns
                yield engine.pose(
                    FrameSet(index, exposed_ns, tuple(present), max(times) - min(times), complete_ns=clock.now_ns)
                )
                engine.published += 1


def _grab(camera: Camera, image: Image) -> Frame | None:
    stamp = camera.grab(image, _GRAB_S)
    if stamp is None:
        return None
    # A recording's own clock is its frames' time since the first.
    at_ns = START_NS + stamp.device_ns
    return Frame(camera.name, stamp.index, at_ns, at_ns, image, slot=0)


class _Paper:
    """A board that writes down what it is told and agrees; it also says which inputs came by now."""

    Settings = Settings

    def __init__(self, name: str, clock: Clock, inputs: Sequence[InputEvent], sent: Callable[[Command], None]) -> None:
        self.name = name
        self._clock = clock
        self._inputs = deque(inputs)
        self._sent = sent
        self._tickets = 0
        self._answers: list[Outcome] = []

    def open(self) -> None:
        pass

    def configure(self, lines: Sequence[LineSettings], lease_ms: int) -> None:
        pass

    def arm(self) -> None:
        pass

    def disarm(self) -> None:
        pass

    def renew(self) -> None:
        pass

    def send(self, command: Command) -> int:
        self._tickets += 1
        self._sent(command)
        now = self._clock()
        self._answers.append(Outcome(self.name, self._tickets, OutcomeKind.ACKNOWLEDGED, "", now, now))
        return self._tickets

    def events(self) -> Sequence[InputEvent | Outcome]:
        come: list[InputEvent | Outcome] = []
        while self._inputs and self._inputs[0].at_ns <= self._clock():
            come.append(self._inputs.popleft())
        come += self._answers
        self._answers = []
        return come

    def off(self) -> None:
        pass

    def close(self) -> None:
        pass

    @classmethod
    def discover(cls) -> Sequence[str]:
        return ()


def on_paper(
    rig: Rig,
    clock: Clock,
    inputs: Sequence[InputEvent] = (),
    sent: Callable[[Command], None] = lambda command: None,
) -> Rig:
    """A rig whose boards only write down what they are told.

    Args:
        rig: its protocols have their plugins loaded.
        clock: of the replay.
        inputs: what the boards will tell, ascending in time.
        sent: told of every command.

    Raises:
        ConfigError: a protocol drives devices of its own, which a replay would switch.
    """
    for name, table in rig.protocols.items():
        if getattr(table.build(name), "own_devices", False):
            raise ConfigError(
                f"protocols.{name}: it drives devices of its own, and a replay would switch them. If it has none, "
                f"say own_devices = false"
            )

    def build(board: str, options: Any) -> _Paper:
        theirs = [event for event in inputs if event.board == board]
        return _Paper(board, clock, theirs, sent)

    boards = {key: table.model_copy(update={"plugin": build}) for key, table in rig.boards.items()}
    return rig.model_copy(update={"boards": boards})


@dataclass(frozen=True, slots=True)
class Decision:
    """A command that a protocol asked for, and what the gates did; or a note (then ``command`` is None)."""

    protocol: str
    index: int
    at_ns: int
    """Mid-exposure of the pose, since the first pose's."""
    command: Command | None
    outcome: str
    """``sent``, or ``held: `` and why; for a note its name."""
    values: Mapping[str, Any]
    """The note's."""


class _Desk:
    """One protocol with a host and boards of its own: then every command's author is known."""

    def __init__(self, rig: Rig, name: str, clock: Clock, inputs: Sequence[InputEvent]) -> None:
        self.name = name
        self.decisions: list[Decision] = []
        self.failure = ""
        self._index = 0
        self._at_ns = 0

        paper = on_paper(rig, clock, inputs, lambda command: self._write(command, "sent"))
        alone = paper.model_copy(update={"protocols": {name: rig.protocols[name]}})
        self.host = Host(alone, self._hear, clock)

    def decide(self, pose: Pose, first_ns: int) -> None:
        self._index, self._at_ns = pose.index, pose.trace.exposed_ns - first_ns
        self.host.decide(pose)

    def _write(self, command: Command | None, outcome: str, values: Mapping[str, Any] | None = None) -> None:
        self.decisions.append(Decision(self.name, self._index, self._at_ns, command, outcome, values or {}))

    def _hear(self, event: str, **values: Any) -> None:
        match event:
            case "note":
                self._write(None, values["name"], values["values"])
            case "trigger" if values["reason"].startswith("held"):
                self._write(Command(**values["command"]), values["reason"])
            case "protocol_failed":
                self.failure = f"{values['error']} (frame {values['index']})"


def rehearse(
    rig: Rig, source: Source, inputs: Sequence[InputEvent] = (), progress: Callable[[int], None] = lambda n: None
) -> tuple[list[Decision], list[int], dict[str, str]]:
    """Decide on every pose of a source, unpaced.

    Args:
        rig: protocols with their plugins loaded; of boards only the lines count.
        source: of poses.
        inputs: of the boards, ascending in time, on the clock of the poses.
        progress: called with the number of poses so far.

    Returns:
        All decisions in order; the time of every pose since the first, ns; and protocols that failed → why.

    Raises:
        ConfigError: a protocol does not fit the rig, or drives devices of its own.
    """
    clock = Clock()
    desks = [_Desk(rig, name, clock, inputs) for name in rig.protocols]
    times: list[int] = []
    decisions: list[Decision] = []
    try:
        for pose in source.poses(clock):
            if not times:
                for desk in desks:
                    desk.host.open()
                    desk.host.bind(source.header)
                first_ns = pose.trace.exposed_ns
            times.append(pose.trace.exposed_ns - first_ns)
            received = replace(pose, trace=replace(pose.trace, received_ns=clock()))
            for desk in desks:
                desk.decide(received, first_ns)
                decisions += desk.decisions
                desk.decisions.clear()
            progress(len(times))
    finally:
        for desk in desks:
            desk.host.close()
    return decisions, times, {desk.name: desk.failure for desk in desks if desk.failure}
