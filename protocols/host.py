"""The host process: runs all protocols of a rig and owns all its boards.

For every pose it takes: protocols decide, gates hold back on-commands, boards get what is left, and only then is the
lease renewed. So a pose that is stale, a protocol that hangs and a process that dies all end the same way: the lease
lapses and the boards switch off by themselves.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from poseloop.live.clock import now_ns
from poseloop.live.config import BoardTable, Rig, parse_rig
from poseloop.live.errors import ConfigError, DeviceLost, PoseloopError, RigError
from poseloop.live.interfaces import Board, BoardState, Experiment
from poseloop.live.output.publish import Subscriber
from poseloop.live.output.report import Latencies
from poseloop.live.output.wire import Header
from poseloop.live.process import STOP, Parent
from poseloop.live.types import (
    ALL_LINES,
    BoardEvent,
    Command,
    CommandKind,
    InputEvent,
    Outcome,
    OutcomeKind,
    PinEdge,
    Pose,
    Trace,
    TriggerEvent,
)

__all__ = ["Host", "main"]

_POLL_S = 0.005
"""How long the loop waits for a pose before it looks at boards and parent."""

_STATUS_NS = 250_000_000
_DRAIN_S = 1.0
_OUTCOME_S = 0.5
"""At the end: how long to wait for the engine's last poses, and for the boards' last answers."""

_PENDING = 4096
"""Triggers that wait for their answer or their edge; beyond it the oldest is told as far as it is known."""


@dataclass(slots=True)
class _Pending:
    command: Command
    index: int
    trace: Trace
    outcome: OutcomeKind | None = None


class _ArmedBoard:
    """A board, and by which rule it is armed: by the first fresh pose, and after a lapse by poses that stay fresh."""

    def __init__(self, name: str, table: BoardTable) -> None:
        self.board: Board = table.build(name)
        self.table = table
        self.armed = False
        self._armed_once = False
        self._fresh_since_ns = 0
        self._last_fresh_ns = 0

    def fresh(self, now: int) -> None:
        """A fresh pose came: arm if the rule allows it, so that what is decided on this pose can act."""
        if now - self._last_fresh_ns > self.table.lease_ms * 1_000_000:
            self._fresh_since_ns = now
        self._last_fresh_ns = now
        if not self.armed and self._may_arm(now):
            self.board.arm()
            self.armed = self._armed_once = True

    def decided(self) -> None:
        """The fresh pose was decided on: renew the lease."""
        if self.armed:
            self.board.renew()

    def _may_arm(self, now: int) -> bool:
        wait_ms = self.table.rearm_after_ms
        if not self._armed_once:
            return True
        return wait_ms is not None and now - self._fresh_since_ns >= wait_ms * 1e6


class Host:
    """Protocols and boards of one rig. Use: ``open`` → `decide` for each pose → ``close``."""

    def __init__(self, rig: Rig, tell: Callable[..., None] = lambda event, **values: None) -> None:
        """Keep the rig; nothing is opened.

        Args:
            rig: boards and protocols, with their plugins loaded.
            tell: called with an event's name and its values, for triggers, board events and failures.
        """
        self.rig = rig
        self._tell = tell
        self._boards = {name: _ArmedBoard(name, table) for name, table in rig.boards.items()}
        self._protocols: dict[str, Experiment] = {name: table.build(name) for name, table in rig.protocols.items()}
        self._needed: dict[str, list[int]] = {}
        self._pending: dict[tuple[str, int], _Pending] = {}
        self._inputs: list[InputEvent] = []
        self._opened = ExitStack()
        self.triggers: Counter[str] = Counter(dict.fromkeys(("sent", "acknowledged", "refused", "lost", "held"), 0))
        self.refusals: Counter[str] = Counter()
        self.failures: dict[str, str] = {}
        """Protocol → the exception that disabled it."""
        self.poses: Counter[str] = Counter(dict.fromkeys(("decided", "skipped", "stale", "lost"), 0))
        self.latencies = Latencies(Latencies.HOST)
        self.trigger_latencies = Latencies(Latencies.TRIGGER)

    def open(self) -> None:
        """Open and configure all boards; every output is off afterwards.

        Raises:
            RigError: boards that failed, all named; the others are closed again.
            ConfigError: a protocol switches a line that no board has.
        """
        self._check_outputs()
        with ExitStack() as opened:
            faults: list[PoseloopError] = []
            for item in self._boards.values():
                try:
                    item.board.open()
                    opened.callback(item.board.close)
                    item.board.configure(item.table.line_settings(), item.table.lease_ms)
                except PoseloopError as error:
                    faults.append(error)
            if faults:
                raise RigError("boards that could not be opened", faults)
            self._opened = opened.pop_all()

    def _check_outputs(self) -> None:
        known = {
            f"{name}.{line}": settings.direction == "output"
            for name, table in self.rig.boards.items()
            for line, settings in table.lines.items()
        }
        for name, protocol in self._protocols.items():
            for output in protocol.outputs:
                if not known.get(output):
                    outputs = ", ".join(line for line, is_output in known.items() if is_output)
                    raise ConfigError(
                        f"protocols.{name}: it switches {output!r}, but the rig's outputs are: {outputs or 'none'}"
                    )

    def bind(self, header: Header) -> None:
        """Tell the protocols what the model finds, and start them.

        Raises:
            ConfigError: a protocol needs a keypoint that the model does not have.
        """
        for name, protocol in self._protocols.items():
            absent = [point for point in protocol.needs if point not in header.keypoints]
            if absent:
                raise ConfigError(
                    f"protocols.{name}: it needs the keypoint(s) {', '.join(absent)}, but the model {header.model!r} "
                    f"has: {', '.join(header.keypoints)}"
                )
            self._needed[name] = [header.keypoints.index(point) for point in protocol.needs]
            protocol.bind(header.keypoints)
            protocol.reset(self.rig.seed)

    def decide(self, pose: Pose) -> None:
        """Take one pose through protocols, gates and boards, then renew the lease if it was fresh."""
        self.collect()
        inputs, self._inputs = self._inputs, []
        began = now_ns()
        stale = began - pose.trace.exposed_ns > self.rig.gates.age_ms * 1e6
        if not stale:
            for item in self._boards.values():
                item.fresh(began)
        wanted = [
            (name, command)
            for name, protocol in self._protocols.items()
            if name not in self.failures
            for command in self._ask(name, protocol, pose, inputs)
        ]
        trace = replace(pose.trace, decided_ns=now_ns())
        for name, command in wanted:
            # A slow protocol can make a fresh pose stale; a second look keeps its laser off.
            if command.kind is not CommandKind.OFF and (held := self._held(name, pose, trace.decided_ns)):
                self._count(TriggerEvent(command, pose.index, OutcomeKind.REFUSED, f"held: {held}", trace), "held")
            else:
                self._send(name, command, pose.index, trace)
        if not stale:
            for item in self._boards.values():
                item.decided()
        self.poses["decided"] += 1
        self.poses["stale"] += stale
        self.latencies.add(trace)

    def _ask(self, name: str, protocol: Experiment, pose: Pose, inputs: Sequence[InputEvent]) -> Sequence[Command]:
        try:
            return list(protocol.decide(pose, inputs))
        except Exception as error:  # noqa: BLE001 - a user's code may raise anything; the rig goes on without it
            self.failures[name] = f"{type(error).__name__}: {error}"
            self._tell("protocol_failed", protocol=name, error=self.failures[name], index=pose.index)
            lines = (output.split(".", 1) for output in protocol.outputs)
            return [Command(board, line, CommandKind.OFF) for board, line in lines]

    def _held(self, name: str, pose: Pose, now: int) -> str:
        gates = self.rig.gates
        if now - pose.trace.exposed_ns > gates.age_ms * 1e6:
            return "stale pose"
        if pose.missing > gates.missing:
            return "incomplete set"
        # A NaN score fails this comparison, as it must.
        if not all(pose.score[0, point] >= gates.score for point in self._needed[name]):
            return "low score"
        return ""

    def _send(self, name: str, command: Command, index: int, trace: Trace) -> None:
        item = self._boards.get(command.device)
        if item is None or (command.line not in item.table.lines and command.line != ALL_LINES):
            self.failures[name] = f"it switched {command.device}.{command.line}, which the rig does not have"
            self._tell("protocol_failed", protocol=name, error=self.failures[name], index=index)
            return
        ticket = item.board.send(command)
        if command.kind is CommandKind.OFF:
            return
        self.triggers["sent"] += 1
        self._pending[command.device, ticket] = _Pending(command, index, trace)
        if len(self._pending) > _PENDING:
            self._finish(next(iter(self._pending)))

    def collect(self) -> None:
        """Take what the boards have to say.

        Raises:
            DeviceLost: a board was reset or is gone; its outputs are off, but nothing can be switched any more.
        """
        for name, item in self._boards.items():
            for event in item.board.events():
                match event:
                    case InputEvent():
                        self._inputs.append(event)
                    case Outcome():
                        self._outcome(event)
                    case PinEdge():
                        self._edge(event)
                    case BoardEvent():
                        self._board_event(name, item, event)

    def _outcome(self, outcome: Outcome) -> None:
        key = (outcome.board, outcome.ticket)
        pending = self._pending.get(key)
        if pending is None:
            return
        pending.outcome = outcome.kind
        pending.trace = replace(pending.trace, written_ns=outcome.written_ns, acknowledged_ns=outcome.acknowledged_ns)
        if outcome.kind is not OutcomeKind.ACKNOWLEDGED:
            self._finish(key, outcome.reason)
        else:
            self.triggers["acknowledged"] += 1
            if pending.trace.pin_ns:
                self._finish(key)

    def _edge(self, edge: PinEdge) -> None:
        key = (edge.board, edge.ticket)
        pending = self._pending.get(key)
        if pending is None or not edge.value:
            return
        pending.trace = replace(pending.trace, pin_ns=edge.at_ns)
        if pending.outcome is not None:
            self._finish(key)

    def _finish(self, key: tuple[str, int], reason: str = "") -> None:
        pending = self._pending.pop(key)
        outcome = pending.outcome or OutcomeKind.LOST
        event = TriggerEvent(pending.command, pending.index, outcome, reason, pending.trace)
        # An acknowledged one was counted when its answer came; its edge may come much later (delay_us).
        self._count(event, "" if outcome is OutcomeKind.ACKNOWLEDGED else outcome.value)
        self.trigger_latencies.add(pending.trace)

    def _count(self, event: TriggerEvent, what: str) -> None:
        if what:
            self.triggers[what] += 1
            self.refusals[event.reason or what] += 1
        self._tell("trigger", **asdict(event))

    def _board_event(self, name: str, item: _ArmedBoard, event: BoardEvent) -> None:
        self._tell("board", board=name, state=event.state, detail=event.detail, at_ns=event.at_ns)
        match event.state:
            case BoardState.DISARMED | BoardState.LEASE_LAPSED:
                item.armed = False
            case BoardState.RESET | BoardState.LINK_LOST:
                item.armed = False
                raise DeviceLost(
                    name, f"{event.detail}. Its outputs are off; check its cable and power, then start again"
                )

    def settle(self, timeout_s: float) -> None:
        """Wait for the answers to all triggers, at most ``timeout_s``; tells those that stay open as far as known."""
        ends = now_ns() + int(timeout_s * 1e9)
        while self._pending and now_ns() < ends:
            self.collect()
            time.sleep(0.001)
        for key in list(self._pending):
            self._finish(key, "no answer until the end")

    def off(self) -> None:
        """Every output off, now; idempotent, never raises."""
        for item in self._boards.values():
            item.board.off()

    def close(self) -> None:
        """Every output off, boards disarmed and given back; idempotent, never raises."""
        self._opened.close()

    def status(self) -> dict[str, Any]:
        """Counters for a status line."""
        return {"triggers": dict(self.triggers), "armed": {name: item.armed for name, item in self._boards.items()}}

    def report(self) -> dict[str, Any]:
        """The host's part of a run's report."""
        return {
            "triggers": dict(self.triggers),
            "refusals": dict(self.refusals),
            "poses": dict(self.poses),
            "protocols": {name: self.failures.get(name, "ok") for name in self._protocols},
            "latency_ms": {**self.latencies.as_report(), **self.trigger_latencies.as_report()},
        }


def main(parent: Parent) -> None:
    """The host as a process: opens boards, subscribes, says ``ready``, decides until it is told to end."""
    request = parent.receive()
    if request is None or request["event"] == STOP:
        return
    host = Host(parse_rig(request["rig"], Path(request["file"]), ("boards", "protocols")), parent.say)
    host.open()
    try:
        message = parent.receive()
        if message is not None and message["event"] == "subscribe":
            with Subscriber(message["endpoint"]) as poses:
                host.bind(poses.header)
                parent.say("ready")
                _loop(host, poses, parent)
        host.off()
        host.settle(_OUTCOME_S)
    finally:
        # Outputs first: whatever follows may take its time.
        host.close()
        parent.say("report", **host.report())


def _loop(host: Host, poses: Subscriber, parent: Parent) -> None:
    next_status_ns = 0
    finishing_ns = 0
    while True:
        if poses.poll(_POLL_S):
            pose, skipped = poses.newest()
            host.poses["skipped"] += skipped
            if pose is not None:
                host.decide(pose)
        else:
            host.collect()
        now = now_ns()
        if now >= next_status_ns:
            next_status_ns = now + _STATUS_NS
            host.poses["lost"] = poses.lost
            parent.say("status", **host.status())
        message = parent.receive(0)
        if message is not None and message["event"] == STOP:
            return
        if message is not None and message["event"] == "finish":
            finishing_ns = now + int(_DRAIN_S * 1e9)
        if poses.ended or (finishing_ns and now > finishing_ns):
            host.poses["lost"] = poses.lost
            return
