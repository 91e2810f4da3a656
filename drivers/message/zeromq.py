"""A message for every edge on a ZeroMQ PUB socket, for programs that act on them: a display, a sound, another rig."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgpack
import zmq
from pydantic import Field

from poseloop.drivers.host_timed.board import HostTimedBoard
from poseloop.drivers.host_timed.way import HostTimedSettings
from poseloop.live.clock import now_ns
from poseloop.live.errors import ConnectError, DeviceLost

VERSION = 1

SEND_HWM = 1000
"""Messages that wait for a slow subscriber; beyond it ZeroMQ drops the newest."""


class ZeromqPublisher:
    """`poseloop.drivers.host_timed.way.Way` on a PUB socket.

    Two frames: the line's topic, and a msgpack map ``{v, board, line, on, on_us, limit_us, count, sent_ns}``. ``count``
    goes up by one with every message of this session, so that a loss is seen.
    """

    def __init__(self, name: str, settings: ZeromqBoard.Settings) -> None:
        self._name = name
        self._settings = settings
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._socket: zmq.Socket[bytes] | None = None
        self._count = 0

    @property
    def lines(self) -> Mapping[str, str]:
        """The lines of the table ``topics``."""
        return self._settings.topics

    def open(self) -> None:
        """Bind."""
        self.close()
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PUB)
        self._socket.setsockopt(zmq.SNDHWM, SEND_HWM)
        # So that the last "off" still leaves when the socket is closed.
        self._socket.setsockopt(zmq.LINGER, 500)
        try:
            self._socket.bind(self._settings.endpoint)
        except zmq.ZMQError as error:
            self.close()
            raise ConnectError(self._name, f"cannot bind {self._settings.endpoint}: {error}") from error
        for line in self.lines:
            self.off(line)

    def times_pulses(self, line: str) -> bool:
        """Nobody knows."""
        return False

    def on(self, line: str, on_us: int, limit_us: int) -> None:
        """Publish it; whether anybody listens is not known."""
        self._publish(line, True, on_us, limit_us)

    def off(self, line: str) -> None:
        """Publish it."""
        self._publish(line, False, 0, 0)

    def check(self) -> None:
        """Nothing: nobody answers."""

    def close(self) -> None:
        """Free the socket."""
        if self._socket is not None:
            self._socket.close()
        if self._context is not None:
            self._context.term()
        self._socket = self._context = None

    def _publish(self, line: str, on: bool, on_us: int, limit_us: int) -> None:
        assert self._socket is not None
        self._count += 1
        message = {
            "v": VERSION,
            "board": self._name,
            "line": line,
            "on": on,
            "on_us": on_us,
            "limit_us": limit_us,
            "count": self._count,
            "sent_ns": now_ns(),
        }
        try:
            self._socket.send_multipart([self.lines[line].encode(), msgpack.packb(message)], zmq.NOBLOCK)
        except zmq.ZMQError as error:
            raise DeviceLost(self._name, f"cannot publish: {error}") from error


class ZeromqBoard(HostTimedBoard):
    """Messages on a PUB socket (`poseloop.live.interfaces.Board`)."""

    use = "zeromq"

    class Settings(HostTimedSettings):
        """``[boards.NAME]`` with ``use = "zeromq"``."""

        endpoint: str = Field("tcp://127.0.0.1:5580", pattern=r"^tcp://(127\.0\.0\.1|localhost|\[::1\]):\d+$")
        """Where it is bound; on this computer only, like every socket of Poseloop's."""
        topics: dict[str, Annotated[str, Field(min_length=1)]] = Field(min_length=1)
        """Line → topic, the first frame of its messages."""

    @classmethod
    def way(cls, name: str, settings: Settings) -> ZeromqPublisher:
        """What publishes the messages."""
        return ZeromqPublisher(name, settings)
