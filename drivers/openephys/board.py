"""TTL events in a recording of the Open Ephys GUI, through its plugin Network Events.

The plugin listens on a ZeroMQ REP socket, port 5556 unless it is set to another one. ``TTL Line=3 State=1`` adds an
event to every data stream (open-ephys.github.io/gui-docs, User-Manual/Plugins/Network-Events) and is answered with a
text that begins with ``TTLHandled`` and repeats line and state, as ``TTLHandled: Channel=3 on=1`` does. Old releases
know only the words ``Channel`` and ``on``, fall back to line 1 and off, and say so in their answer. While the GUI does
not acquire, the plugin answers as always and drops the event; ``IsAcquiring`` (answer ``1`` or ``0``) tells, and is
asked after every event that switches on.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Annotated

import zmq
from pydantic import Field

from poseloop.drivers.host_timed.board import HostTimedBoard
from poseloop.drivers.host_timed.way import ANSWER_S, HostTimedSettings
from poseloop.live.errors import ConnectError

CONNECT_S = 2.0


class NetworkEvents:
    """`poseloop.drivers.host_timed.way.Way` to the plugin."""

    def __init__(self, name: str, settings: OpenEphysBoard.Settings) -> None:
        self._name = name
        self._settings = settings
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._socket: zmq.Socket[bytes] | None = None
        self._unanswered = 0

    @property
    def lines(self) -> Mapping[str, int]:
        """The lines of the table ``ttl``."""
        return self._settings.ttl

    def open(self) -> None:
        """Connect, see that the plugin answers, and that it knows how to switch each line off."""
        self.close()
        self._context = zmq.Context()
        # A REQ socket is stuck for ever after one lost answer; a DEALER that sends REQ's frames is not.
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.SNDHWM, 100)
        self._unanswered = 0
        try:
            self._socket.connect(self._settings.endpoint)
            self._greet()
        except zmq.ZMQError as error:
            self.close()
            raise ConnectError(self._name, f"cannot connect to {self._settings.endpoint}: {error}") from error
        except BaseException:
            self.close()
            raise

    def times_pulses(self, line: str) -> bool:
        """No: it knows on and off."""
        return False

    def on(self, line: str, on_us: int, limit_us: int) -> bool:
        """Add an event of state 1; confirmed if the plugin repeats it and the GUI acquires."""
        return self._ttl(line, 1, ANSWER_S / 2) and self._ask("IsAcquiring", ANSWER_S / 2) == "1"

    def off(self, line: str) -> bool:
        """Add an event of state 0."""
        return self._ttl(line, 0, ANSWER_S)

    def check(self) -> None:
        """Nothing: each command asks."""

    def close(self) -> None:
        """Disconnect."""
        if self._socket is not None:
            self._socket.close()
        if self._context is not None:
            self._context.term()
        self._socket = self._context = None

    def _greet(self) -> None:
        where = self._settings.endpoint
        answer = self._ask("IsAcquiring", CONNECT_S)
        if answer not in ("0", "1"):
            heard = "no answer came" if answer is None else f"the answer was {answer!r}"
            raise ConnectError(
                self._name,
                f"expected the Open Ephys plugin Network Events at {where}, but {heard} within {CONNECT_S:g} s. Is the "
                f"GUI running, and the plugin in its signal chain, with this port?",
            )
        for line, number in self.lines.items():
            answer = self._ask(f"TTL Line={number} State=0", CONNECT_S)
            if not _confirms(answer, number, 0):
                raise ConnectError(
                    self._name,
                    f"expected the plugin to confirm TTL line {number} ({line}) off, but it answered {answer!r}. "
                    f"Update Network Events in the GUI's plugin installer: old ones do not know Line and State",
                )

    def _ttl(self, line: str, state: int, timeout_s: float) -> bool:
        number = self.lines[line]
        return _confirms(self._ask(f"TTL Line={number} State={state}", timeout_s), number, state)

    def _ask(self, text: str, timeout_s: float) -> str | None:
        """Send, and wait for its own answer: answers come in order, late ones to earlier questions are passed over."""
        assert self._socket is not None
        try:
            self._socket.send_multipart([b"", text.encode()], zmq.NOBLOCK)
        except zmq.Again:
            return None
        self._unanswered += 1
        ends = time.monotonic() + timeout_s
        answer = None
        while self._unanswered:
            left_ms = round((ends - time.monotonic()) * 1000)
            if left_ms <= 0 or not self._socket.poll(left_ms):
                return None
            answer = self._socket.recv_multipart()[-1].decode(errors="replace")
            self._unanswered -= 1
        return answer


def _confirms(answer: str | None, line: int, state: int) -> bool:
    """Does an answer repeat what was asked for? Its words differ between releases, and some count lines from 0."""
    if answer is None or not answer.startswith("TTLHandled"):
        return False
    numbers = [int(number) for number in re.findall(r"\d+", answer)]
    return not numbers or (numbers[0] in (line, line - 1) and numbers[-1] == state)


class OpenEphysBoard(HostTimedBoard):
    """TTL events of the Open Ephys GUI (`poseloop.live.interfaces.Board`)."""

    use = "openephys"

    class Settings(HostTimedSettings):
        """``[boards.NAME]`` with ``use = "openephys"``."""

        endpoint: str = Field("tcp://127.0.0.1:5556", pattern=r"^tcp://[^\s:/]+:\d+$")
        """Where the plugin listens. What is sent there is not encrypted, and the plugin has no way to be."""
        ttl: dict[str, Annotated[int, Field(ge=1, le=256)]] = Field(min_length=1)
        """Line → number of its TTL line in Open Ephys."""

    @classmethod
    def way(cls, name: str, settings: Settings) -> NetworkEvents:
        """What talks to the plugin."""
        return NetworkEvents(name, settings)
