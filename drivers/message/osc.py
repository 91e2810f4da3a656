"""A message for every edge in Open Sound Control over UDP, for Bonsai, Max, Pure Data, TouchDesigner and others."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from poseloop.drivers.host_timed.board import HostTimedBoard
from poseloop.drivers.host_timed.way import HostTimedSettings
from poseloop.live.errors import ConnectError, DeviceLost

if TYPE_CHECKING:
    from pythonosc.udp_client import SimpleUDPClient

OFF_COPIES = 3
"""A datagram may get lost: an "off" goes out so many times."""


class OscSender:
    """`poseloop.drivers.host_timed.way.Way` over UDP: the line's address, int 1 or 0, float ms (0 = a level)."""

    def __init__(self, name: str, settings: OscBoard.Settings) -> None:
        self._name = name
        self._settings = settings
        self._client: SimpleUDPClient | None = None

    @property
    def lines(self) -> Mapping[str, str]:
        """The lines of the table ``addresses``."""
        return self._settings.addresses

    def open(self) -> None:
        """Look the host up, and send off for every line."""
        try:
            from pythonosc.udp_client import SimpleUDPClient
        except ImportError:
            raise ConnectError(self._name, 'OSC needs a package: pip install "poseloop[osc]"') from None
        host, port = self._settings.host, self._settings.port
        try:
            # Now, since a name server may take seconds to answer.
            ((*_, (address, *_)), *_) = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
            self._client = SimpleUDPClient(str(address), port)
        except OSError as error:
            raise ConnectError(self._name, f"cannot send to {host}:{port}: {error}") from error
        for line in self.lines:
            self.off(line)

    def times_pulses(self, line: str) -> bool:
        """Nobody knows."""
        return False

    def on(self, line: str, on_us: int, limit_us: int) -> None:
        """Send 1 and the length; whether it arrives is not known."""
        self._send(line, 1, on_us / 1000)

    def off(self, line: str) -> None:
        """Send 0."""
        for _ in range(OFF_COPIES):
            self._send(line, 0, 0.0)

    def check(self) -> None:
        """Nothing: nobody answers."""

    def close(self) -> None:
        """Free the socket."""
        if self._client is not None:
            with contextlib.suppress(OSError):
                self._client.close()
        self._client = None

    def _send(self, line: str, value: int, on_ms: float) -> None:
        assert self._client is not None
        try:
            self._client.send_message(self.lines[line], [value, on_ms])
        except OSError as error:
            raise DeviceLost(self._name, f"cannot send: {error}") from error


class OscBoard(HostTimedBoard):
    """Messages in Open Sound Control (`poseloop.live.interfaces.Board`)."""

    use = "osc"

    class Settings(HostTimedSettings):
        """``[boards.NAME]`` with ``use = "osc"``."""

        host: str = Field("127.0.0.1", min_length=1)
        """Who gets the datagrams. They are not encrypted, and OSC has no way to be."""
        port: int = Field(ge=1, le=65_535)
        addresses: dict[str, Annotated[str, Field(pattern=r"^/[^\s#*,?\[\]{}]+$")]] = Field(min_length=1)
        """Line → OSC address, such as ``/reward``."""

    @classmethod
    def way(cls, name: str, settings: Settings) -> OscSender:
        """What sends the datagrams."""
        return OscSender(name, settings)
