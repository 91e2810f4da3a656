"""The keeper: a process of its own that holds a way out, times its lines, and switches them off when its host is gone.

It talks with the host over the line of `poseloop.live.process`. A protocol that hangs, holds Python's global lock or
kills its process can neither stretch a pulse here nor keep a line on.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from poseloop.drivers.host_timed.rules import OFF_AGAIN_US, Rules
from poseloop.drivers.host_timed.way import Way
from poseloop.live import plugins
from poseloop.live.clock import now_ns
from poseloop.live.config import validate
from poseloop.live.errors import DeviceLost
from poseloop.live.process import STOP, Message, Parent
from poseloop.live.types import Command, CommandKind, LineSettings

ALIVE_S = 0.25
"""How often the host hears that the keeper lives."""

OFF_S = 0.5
"""How long the keeper tries to get an "off" confirmed before it ends."""


class Keeper:
    """One way out, and what the host has to say about it."""

    def __init__(self, name: str, way: Way, parent: Parent) -> None:
        self._name = name
        self._way = way
        self._parent = parent
        self._rules: Rules | None = None
        self._said_ns = 0

    def run(self) -> None:
        """Serve until the host says stop, or is gone.

        Raises:
            DeviceLost: the device is gone.
        """
        while True:
            messages = self._wait()
            stop = any(message["event"] == STOP for message in messages)
            if self._rules is not None:
                # First, so that a lease does not lapse because of this process's own delay.
                for message in messages:
                    if message["event"] == "renew":
                        self._rules.renew(message["at_us"])
                self._rules.run(now_ns() // 1000)
            if stop:
                return
            for message in messages:
                self._obey(message)
            if now_ns() - self._said_ns > ALIVE_S * 1e9:
                self._said_ns = now_ns()
                self._way.check()
                self._parent.say("alive")

    def off(self) -> bool:
        """Switch everything off, for some time again and again; False = the device has not confirmed it.

        Raises:
            DeviceLost: it may not have worked.
        """
        ends_ns = now_ns() + OFF_S * 1e9
        while not self._off_once():
            if now_ns() > ends_ns:
                return False
            time.sleep(OFF_AGAIN_US / 1e6)
        return True

    def _off_once(self) -> bool:
        if self._rules is not None:
            return self._rules.off()
        return False not in [self._way.off(line) for line in self._way.lines]

    def _wait(self) -> Sequence[Message]:
        """Wait for the host until something is due; all that it has said."""
        timeout_s = ALIVE_S
        if self._rules is not None and (due_us := self._rules.due_us) is not None:
            timeout_s = min(max(due_us * 1000 - now_ns(), 0) / 1e9, ALIVE_S)
        found = []
        message = self._parent.receive(timeout_s)
        while message is not None:
            found.append(message)
            message = self._parent.receive(0)
        return found

    def _obey(self, message: Message) -> None:
        rules = self._rules
        match message["event"]:
            case "configure":
                lines = [_line(line) for line in message["lines"]]
                if rules is not None:
                    rules.off()
                self._rules = Rules(self._name, self._way, lines, message["lease_ms"], self._tell)
                self._rules.run(now_ns() // 1000)
            case "arm" if rules is not None:
                rules.arm(message["at_us"])
            case "disarm" if rules is not None:
                rules.disarm()
            case "command" if rules is None:
                self._off_once()  # no other command comes before there are lines
            case "command" if rules is not None:
                fields = message["command"]
                command = Command(**{**fields, "kind": CommandKind(fields["kind"])})
                rules.obey(command, message["ticket"], message["at_us"])
        if "number" in message:
            self._parent.say("done_with", number=message["number"])

    def _tell(self, event: str, **values: Any) -> None:
        self._parent.say(event, told_ns=now_ns(), **values)


def _line(fields: Mapping[str, Any]) -> LineSettings:
    return LineSettings(**{**fields, "kinds": tuple(CommandKind(kind) for kind in fields["kinds"])})


def main(parent: Parent) -> None:
    """The keeper as a process: opens the way, serves, and switches everything off whatever happens."""
    request = parent.receive()
    if request is None or request["event"] == STOP:
        return
    name = request["name"]
    plugin = plugins.load("board", request["use"])
    way: Way = plugin.way(name, validate(plugin.Settings, request["settings"], request["folder"]))
    way.open()
    keeper = Keeper(name, way, parent)
    try:
        parent.say("ready")
        keeper.run()
        parent.say("ended", off=keeper.off())
    except DeviceLost as error:
        parent.say("lost", why=str(error).removeprefix(f"{name}: "), off=_try_off(keeper))
    except BaseException:
        _try_off(keeper)
        raise
    finally:
        way.close()


def _try_off(keeper: Keeper) -> bool:
    try:
        return keeper.off()
    except DeviceLost:
        return False
