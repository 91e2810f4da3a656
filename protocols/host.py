"""The host process: runs all protocols of a rig and owns all its boards.

For every pose it takes: protocols decide, gates hold back on-commands, boards get what is left, and only then is the
lease renewed. So a pose that is stale, a protocol that hangs and a process that dies all end the same way: the lease
lapses and the boards switch off by themselves.
"""

from __future__ import annotations

import contextlib
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from poseloop.live import realtime
from poseloop.live.clock import now_ns
from poseloop.live.config import Rig, parse_rig
from poseloop.live.errors import ConfigError, DeviceLost, PoseloopError, RigError
from poseloop.live.interfaces import BoardState, Experiment
from poseloop.live.output.publish import Subscriber
from poseloop.live.output.report import Latencies
from poseloop.live.output.wire import Header
from poseloop.live.process import STOP, Parent
from poseloop.live.types import (
    ALL_LINES,
    BoardEvent,
    CameraTrigger,
    Command,
    CommandKind,
    InputEvent,
    Outcome,
    PinEdge,
    Pose,
)
from poseloop.protocols.arming import ArmedBoard
from poseloop.protocols.gates import is_fresh, is_whole, reason_to_hold, would_refuse
from poseloop.protocols.journal import Journal
from poseloop.protocols.sight import check_individuals
from poseloop.protocols.signals import Signals
from poseloop.protocols.triggers import Triggers

__all__ = ["Host", "main"]

_POLL_S = 0.005
"""How long the loop waits for a pose before it looks at boards and parent."""

_STATUS_NS = 250_000_000
_DRAIN_S = 1.0
_OUTCOME_S = 0.5
"""At the end: how long to wait for the engine's last poses, and for the boards' last answers."""

_INPUTS = 10_000
"""Input events that wait for the next pose; beyond it the oldest are dropped, and counted."""


class Host:
    """Protocols and boards of one rig. Use: ``open`` → `bind` → `decide` for each pose → `close`."""

    def __init__(
        self,
        rig: Rig,
        tell: Callable[..., None] = lambda event, **values: None,
        clock: Callable[[], int] = now_ns,
        journal: Journal | None = None,
    ) -> None:
        """Keep the rig; nothing is opened.

        Args:
            rig: boards and protocols, with their plugins loaded.
            tell: called with an event's name and its values, for triggers, notes, board events and failures.
            clock: the host's; a replay has its own.
            journal: what is recorded, if anything is.
        """
        self.rig = rig
        self.journal = journal or Journal()
        self._tell = tell = self.journal.hear(tell)
        self._clock = clock
        self._boards = {name: ArmedBoard(name, table) for name, table in rig.boards.items()}
        self._signals = {name: Signals(name, item.table, item.board) for name, item in self._boards.items()}
        self._protocols: dict[str, Experiment] = {name: table.build(name) for name, table in rig.protocols.items()}
        self._watched: dict[str, tuple[int | None, int, Sequence[int]]] = {}
        self._inputs: deque[InputEvent] = deque(maxlen=_INPUTS)
        self._opened = ExitStack()
        without_pins = [name for name, item in self._boards.items() if not getattr(item.board, "uses_pins", True)]
        self.triggers = Triggers(tell, without_pins)
        self.failures: dict[str, str] = {}
        """Protocol → why it was disabled."""
        self.poses = Counter(dict.fromkeys(("decided", "skipped", "stale", "lost"), 0))
        self.lost_inputs = 0
        self.lapses: Counter[str] = Counter()
        """Board → how often its lease lapsed."""
        self._slowest = (0, "")
        self.latencies = Latencies(Latencies.HOST)

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
            f"{name}.{line}"
            for name, table in self.rig.boards.items()
            for line, settings in table.lines.items()
            if settings.direction == "output"
        }
        owners: dict[str, str] = {}
        for name, protocol in self._protocols.items():
            _check_names(name, "outputs", protocol.outputs)
            for output in protocol.outputs:
                if (owner := owners.setdefault(output, name)) != name:
                    raise ConfigError(
                        f"protocols.{name}: it switches {output}, which protocols.{owner} switches too: each would "
                        f"end the other's stimulus. Give every line to one protocol"
                    )
                if output not in known:
                    outputs = ", ".join(sorted(known)) or "none"
                    raise ConfigError(f"protocols.{name}: it switches {output!r}, but the rig's outputs are: {outputs}")
            for command in protocol.commands:
                line = self.rig.boards[command.device].lines[command.line].settings(command.line)
                if reason := would_refuse(line, command):
                    raise ConfigError(f"protocols.{name}: {command.device}.{command.line} {reason}")

    def bind(self, header: Header) -> None:
        """Tell the protocols what the model finds, and start them.

        Raises:
            ConfigError: a protocol needs a keypoint or a camera that the rig does not have, or cannot be started.
        """
        for name, protocol in self._protocols.items():
            needs = header.keypoints if protocol.needs is None else protocol.needs
            _check_names(name, "needs", needs)
            absent = [point for point in needs if point not in header.keypoints]
            if absent:
                raise ConfigError(
                    f"protocols.{name}: it needs the keypoint(s) {', '.join(absent)}, but the model {header.model!r} "
                    f"has: {', '.join(header.keypoints)}"
                )
            individuals = tuple(protocol.individuals)
            try:
                check_individuals(individuals, self.rig.model.individuals)
                protocol.bind(header.keypoints, header.cameras, self.rig.gates.score)
                protocol.reset(self.rig.seed)
            except PoseloopError as error:
                raise ConfigError(f"protocols.{name}: {error}") from error
            except (Exception, SystemExit) as error:
                raise ConfigError(f"protocols.{name}: cannot start: {type(error).__name__}: {error}") from error
            if protocol.camera is None and self.rig.geometry is None:
                raise ConfigError(
                    f"protocols.{name}: it looks at points in the world (mm), which need calibrated cameras: "
                    f"add a table [geometry], or let it look at a picture"
                )
            points = [header.keypoints.index(point) for point in needs]
            self._watched[name] = protocol.camera, next(iter(individuals), 0) or 0, points
        self._serve()

    def start_cameras(self) -> None:
        """All cameras wait for their first trigger: let the board that has a camera trigger begin.

        Raises:
            DeviceLost: the board is gone.
        """
        for signals in self._signals.values():
            signals.start_cameras()

    def decide(self, pose: Pose) -> None:
        """Take the newest pose through protocols, gates and boards, then renew the lease if it is still fresh."""
        self.collect()
        # What is on may not stay on while cameras are missing: such poses neither arm a board nor renew its lease.
        whole = is_whole(self.rig.gates, pose)
        if whole and is_fresh(self.rig.gates, pose, self._clock()):
            for item in self._boards.values():
                item.fresh_pose(self._clock())
        inputs = list(self._inputs)
        self._inputs.clear()
        self._slowest = (0, "")
        wanted = self.ask(pose, inputs)
        trace = replace(pose.trace, decided_ns=self._clock())
        given_out: list[tuple[str, Command, str]] = []
        for name, command in wanted:
            if command.kind is CommandKind.OFF:
                self._boards[command.device].board.send(command)
                given_out.append((name, command, "off"))
            elif reason := self._reason_to_hold(name, command, pose):
                self.triggers.held(command, pose.index, trace, reason)
                given_out.append((name, command, f"held: {reason}"))
            else:
                ticket = self._boards[command.device].board.send(command)
                self.triggers.sent(command, ticket, pose.index, trace)
                given_out.append((name, command, "sent"))
        # Looked at again: the protocols may have taken their time.
        if not is_fresh(self.rig.gates, pose, self._clock()):
            self.poses["stale"] += 1
        elif whole:
            for item in self._boards.values():
                item.renew()
        for signals in self._signals.values():
            signals.mark(pose.index)
        self.poses["decided"] += 1
        self.latencies.add(trace)
        # Last, since telling takes its time.
        self._tell_notes(pose.index)
        self.journal.decision(pose, True, trace.decided_ns, inputs, given_out)
        self.journal.send()

    def pass_on(self, pose: Pose) -> None:
        """Show a pose that is not the newest to the protocols that want every one; only ``off`` may come of it."""
        self.poses["skipped"] += 1
        given_out: list[tuple[str, Command, str]] = []
        for name in self._alive():
            if not self._protocols[name].every_pose:
                continue
            for command in self._ask(name, pose, ()):
                if command.kind is CommandKind.OFF:
                    self._boards[command.device].board.send(command)
                    given_out.append((name, command, "off"))
                else:
                    self.triggers.held(command, pose.index, pose.trace, "a newer pose is there")
                    given_out.append((name, command, "held: a newer pose is there"))
        decided_ns = self._clock()
        self._tell_notes(pose.index)
        self.journal.decision(pose, False, decided_ns, (), given_out)

    @property
    def wants_every_pose(self) -> bool:
        """Does any protocol?"""
        return any(self._protocols[name].every_pose for name in self._alive())

    def _alive(self) -> list[str]:
        return [name for name in self._protocols if name not in self.failures]

    def ask(self, pose: Pose, inputs: Sequence[InputEvent], newest: bool = True) -> list[tuple[str, Command]]:
        """What the protocols want, in their order; nothing is given out. A replay asks them, too.

        Args:
            pose: the newest, or an older one for those that want every pose.
            inputs: that came with it.
            newest: or not.
        """
        asked = [name for name in self._alive() if newest or self._protocols[name].every_pose]
        return [(name, command) for name in asked for command in self._ask(name, pose, inputs)]

    def _ask(self, name: str, pose: Pose, inputs: Sequence[InputEvent]) -> Sequence[Command]:
        """A protocol's commands, all of which it may give; none, and the protocol is disabled, if anything is wrong."""
        protocol = self._protocols[name]
        began = now_ns()
        try:
            answer = protocol.decide(pose, inputs)
            if not isinstance(answer, Sequence) or not all(isinstance(command, Command) for command in answer):
                raise TypeError(f"decide() must return a list of commands, () for none, but it returned {answer!r}")
            commands = list(answer)
            for command in commands:
                output = f"{command.device}.{command.line}"
                if output not in protocol.outputs and not self._may_switch_off(protocol, command):
                    raise ValueError(f"it switched {output}, which is not among its outputs")
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a user's code may raise anything; the rig goes on
            self._disable(name, f"{type(error).__name__}: {error}{_where(error)}", pose.index, traceback.format_exc())
            return ()
        finally:
            self._slowest = max(self._slowest, (now_ns() - began, name))
        return commands

    def _tell_notes(self, index: int) -> None:
        for name, protocol in self._protocols.items():
            for note in protocol.take_notes():
                self._tell("note", protocol=name, index=index, **asdict(note))

    @staticmethod
    def _may_switch_off(protocol: Experiment, command: Command) -> bool:
        boards = {output.split(".", 1)[0] for output in protocol.outputs}
        return command.kind is CommandKind.OFF and command.line == ALL_LINES and command.device in boards

    def _disable(self, name: str, why: str, index: int, trace: str) -> None:
        """Take a protocol out of the rig: its lines go off; a board that nobody else serves is disarmed."""
        self.failures[name] = why
        self._tell("protocol_failed", protocol=name, error=why, index=index, trace=trace)
        for output in self._protocols[name].outputs:
            board, line = output.split(".", 1)
            self._boards[board].board.send(Command(board, line, CommandKind.OFF))
        self._serve()
        self._close(name)

    def _serve(self) -> None:
        served = {output.split(".", 1)[0] for name in self._alive() for output in self._protocols[name].outputs}
        for name, item in self._boards.items():
            if item.served and name not in served:
                item.leave()
            item.served = name in served

    def _reason_to_hold(self, name: str, command: Command, pose: Pose) -> str:
        reason = reason_to_hold(self.rig.gates, pose, self._clock(), *self._watched[name])
        return reason or ("" if self._boards[command.device].armed else "board not armed")

    def collect(self) -> None:
        """Take what the boards have to say.

        Raises:
            DeviceLost: a board was reset or is gone; its outputs are off, but nothing can be switched any more.
            DeviceError: the camera trigger did not start.
        """
        for name, item in self._boards.items():
            for event in item.board.events():
                match event:
                    case InputEvent():
                        self.lost_inputs += len(self._inputs) == _INPUTS
                        self._inputs.append(event)
                    case Outcome():
                        self.triggers.answered(event)
                        self._signals[name].answered(event)
                    case CameraTrigger():
                        self._signals[name].triggered(event)
                        self.triggers.exposed(event)
                    case PinEdge():
                        self.triggers.edge(event)
                    case BoardEvent():
                        self._board_event(name, item, event)
            self._signals[name].check(now_ns())

    def _board_event(self, name: str, item: ArmedBoard, event: BoardEvent) -> None:
        detail = event.detail
        if event.state == BoardState.LEASE_LAPSED:
            self.lapses[name] += 1
            took_ns, protocol = self._slowest
            if took_ns > item.table.lease_ms * 1_000_000:
                detail += f" ({protocol} took {took_ns / 1e6:.0f} ms to decide)"
        self._tell("board", board=name, state=event.state, detail=detail, at_ns=event.at_ns)
        match event.state:
            case BoardState.DISARMED | BoardState.LEASE_LAPSED:
                item.was_disarmed()
            case BoardState.RESET | BoardState.LINK_LOST:
                item.was_disarmed()
                raise DeviceLost(
                    name,
                    f"{event.detail}. A board with a lease has switched its outputs off by itself; check its cable and "
                    f"power, then start again",
                )

    def settle(self, timeout_s: float) -> None:
        """Wait for all answers, at most ``timeout_s``; tells the triggers that stay open as far as they are known."""
        ends = now_ns() + int(timeout_s * 1e9)
        waiting: tuple[Triggers | Signals, ...] = (self.triggers, *self._signals.values())
        while any(item.open for item in waiting) and now_ns() < ends:
            self.collect()
            time.sleep(0.001)
        self.triggers.close_all()

    def off(self) -> None:
        """Every output off, now; idempotent, never raises."""
        for item in self._boards.values():
            # A driver's off() must not raise; if a user's does, the other boards still have to hear of it.
            with contextlib.suppress(Exception):
                item.board.off()

    def close(self) -> None:
        """Boards disarmed and given back, protocols closed; idempotent."""
        self._opened.close()
        for name in self._protocols:
            self._close(name)

    def _close(self, name: str) -> None:
        try:
            self._protocols[name].close()
        except Exception as error:  # noqa: BLE001 - the others have to be closed, too
            self._tell("protocol_failed", protocol=name, error=f"while it was closed: {error}", index=-1, trace="")

    def status(self) -> dict[str, Any]:
        """Counters for a status line."""
        armed = {name: item.armed for name, item in self._boards.items()}
        return {"triggers": dict(self.triggers.counts), "armed": armed, "act_ns": self.triggers.act_ns}

    def report(self) -> dict[str, Any]:
        """The host's part of a run's report."""
        return {
            "triggers": dict(self.triggers.counts),
            "refusals": dict(self.triggers.reasons),
            "poses": dict(self.poses),
            "lost_inputs": self.lost_inputs,
            "boards": {name: {"lapses": self.lapses[name], **self._signals[name].report()} for name in self._boards},
            "protocols": {name: self.failures.get(name, "ok") for name in self._protocols},
            "latency_ms": {**self.latencies.as_report(), **self.triggers.latencies.as_report()},
        }


def _where(error: BaseException) -> str:
    """The line of a user's file in which it happened."""
    lines = traceback.extract_tb(error.__traceback__)
    if len(lines) < 2:
        return ""
    return f" ({Path(lines[-1].filename).name}, line {lines[-1].lineno})"


def _check_names(protocol: str, what: str, names: Sequence[str]) -> None:
    # A string is a sequence too, of its letters.
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"protocols.{protocol}: expected {what} to be a tuple of names, but got {names!r}")


def main(parent: Parent) -> None:
    """The host as a process: opens boards, subscribes, says ``ready``, decides until it is told to end."""
    request = parent.receive()
    if request is None or request["event"] == STOP:
        return
    rig = parse_rig(request["rig"], Path(request["file"]), ("boards", "protocols"))
    for warning in realtime.apply(rig.realtime, rig.realtime.host_cores):
        parent.say("notice", text=f"host: {warning}")
    host = Host(rig, parent.say)
    host.open()
    engine_ended = False
    try:
        message = parent.receive()
        if message is not None and message["event"] == "subscribe":
            if message["recorder"] is not None:
                host.journal.open(message["recorder"])
            with Subscriber(message["endpoint"]) as poses:
                host.bind(poses.header)
                parent.say("ready")
                engine_ended = _loop(host, poses, parent)
        host.off()
        host.settle(_OUTCOME_S)
    finally:
        # All boards off before the first is closed: closing may take its time.
        host.off()
        host.close()
        host.triggers.close_all()
        host.journal.close()
        # The supervisor has to tell an end that follows from the engine's from one that nobody asked for.
        parent.say("report", engine_ended=engine_ended, **host.report())


def _loop(host: Host, poses: Subscriber, parent: Parent) -> bool:
    """Decide until the parent says stop; True = until the engine's last pose."""
    next_status_ns = 0
    finishing_ns = 0
    while True:
        if poses.poll(_POLL_S):
            _take(host, poses)
        else:
            host.collect()
            host.journal.send()
        now = now_ns()
        host.poses["lost"] = poses.lost
        if now >= next_status_ns:
            next_status_ns = now + _STATUS_NS
            parent.say("status", **host.status())
        message = parent.receive(0)
        if message is not None and message["event"] == STOP:
            return False
        if message is not None and message["event"] == "start_cameras":
            host.start_cameras()
        if message is not None and message["event"] == "unrecord":
            host.journal.close(hurry=True)
        if message is not None and message["event"] == "finish":
            finishing_ns = now + int(_DRAIN_S * 1e9)
        if poses.ended or (finishing_ns and now > finishing_ns):
            return True


def _take(host: Host, poses: Subscriber) -> None:
    if host.wants_every_pose:
        arrived = poses.drain()
        for older in arrived[:-1]:
            host.pass_on(older)
        pose = arrived[-1] if arrived else None
    else:
        pose, count = poses.newest()
        host.poses["skipped"] += count
    if pose is not None:
        host.decide(pose)
