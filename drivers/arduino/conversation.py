"""Questions and answers over one cable: numbers frames, writes them, waits for answers, hands on all the rest."""

from __future__ import annotations

from collections.abc import Callable

from poseloop.drivers.arduino.framing import Decoder, encode
from poseloop.drivers.arduino.link import Arrival, Reader, open_link
from poseloop.drivers.arduino.tables import MAX_SEQ, ToBoard, ToHost
from poseloop.live.clock import now_ns
from poseloop.live.errors import DeviceLost, DeviceTimeout

REQUEST_S = 1.0
"""A board that does not answer for this long has a problem."""

AGAIN_S = 0.25
"""What does no harm when it is done twice is asked again after this long."""

_ANSWERS = frozenset((ToHost.BOOT, ToHost.ACK, ToHost.REFUSED, ToHost.PONG))

_SPOIL = b"\xff\x00"
"""Sent after a frame that the port took in part: were only its end missing, the next frame's beginning would complete a
command that has been reported as lost."""


class Conversation:
    """An open port and what is said over it. All calls come from one thread, the owner's."""

    def __init__(
        self,
        device: str,
        port: str,
        baud: int,
        hear: Callable[[Arrival], None],
        lose: Callable[[str], None],
        numbered: int,
    ) -> None:
        """Open the port and listen.

        Args:
            device: name of the board.
            port: see `open_link`.
            baud: bits a second.
            hear: gets every frame that is no answer to a request, during calls of the owner.
            lose: is told once, during a call of the owner, why the link is gone.
            numbered: frames that were numbered on earlier links; tickets never come twice.

        Raises:
            ConnectError: the port cannot be opened.
        """
        self._device = device
        self._hear = hear
        self._lose = lose
        self.numbered = numbered
        self._cut = False
        self.lost = ""
        """Why the link is gone; empty while it is there."""
        self._wanted: set[int] = set()
        self._answer: Arrival | None = None
        self._link = open_link(device, port, baud)
        self._reader = Reader(f"{device}-reader", self._link)

    @property
    def overflow(self) -> int:
        """Frames that were dropped because nobody took them."""
        return self._reader.overflow

    @property
    def decoder(self) -> Decoder:
        """For the question what else it may be that sends."""
        return self._reader.decoder

    def close(self) -> None:
        """End the reader and free the port; idempotent."""
        self._reader.stop()

    def check(self) -> None:
        """Raise DeviceLost if the link is gone."""
        if self._reader.error is not None:
            self.drain()
        if self.lost:
            raise DeviceLost(self._device, self.lost)

    def lose(self, why: str) -> None:
        """Count the link as gone."""
        if not self.lost:
            self.lost = why
            self._lose(why)

    def number(self) -> tuple[int, int]:
        """Number the next frame: a ticket that never comes again, and a sequence number that wraps."""
        self.numbered += 1
        return self.numbered, (self.numbered - 1) % MAX_SEQ + 1

    def write(self, frame: bytes) -> bool:
        """Write at once; False = the port did not take all of it.

        Raises:
            DeviceLost: the link is gone.
        """
        if self.lost:
            raise DeviceLost(self._device, self.lost)
        try:
            whole = self._link.write(_SPOIL + frame if self._cut else frame)
            self._cut = not whole
            return whole
        except OSError as error:
            self.lose(f"the connection is gone: {error}")
            raise DeviceLost(self._device, self.lost) from error

    def post(self, kind: ToBoard, payload: bytes = b"") -> int:
        """Send without waiting; returns the sequence number."""
        _, seq = self.number()
        self.write(encode(kind, seq, payload))
        return seq

    def request(
        self,
        kind: ToBoard,
        payload: bytes = b"",
        timeout_s: float = REQUEST_S,
        again_s: float = AGAIN_S,
        repeat: bool = True,
    ) -> Arrival:
        """Send, and wait for the answer.

        Args:
            kind: what to ask.
            payload: see `poseloop.drivers.arduino.tables.LAYOUTS`.
            timeout_s: longest wait.
            again_s: how long to wait before it is sent again.
            repeat: whether to send it again at all.

        Raises:
            DeviceTimeout: there was no answer.
            DeviceLost: the link is gone.
        """
        ends_ns = now_ns() + int(timeout_s * 1e9)
        # A board that has just started says so by itself, as number 0; then it is asked again at once.
        self._wanted = {0} if kind is ToBoard.HELLO else set()
        try:
            while True:
                self._wanted.add(self.post(kind, payload))
                until_ns = min(ends_ns, now_ns() + int(again_s * 1e9)) if repeat else ends_ns
                answer = self._await(until_ns)
                if answer is not None and answer.frame.seq != 0:
                    return answer
                if now_ns() >= ends_ns:
                    raise DeviceTimeout(self._device, f"expected an answer to {kind.name} within {timeout_s:g} s")
        finally:
            self._wanted = set()

    def wait(self, timeout_s: float) -> None:
        """Wait until something has come, then hand it on."""
        self._reader.wait(timeout_s)
        self.drain()

    def drain(self) -> None:
        """Hand on everything that has come; never waits."""
        gone = self._reader.error  # looked at first, so that what came before the end is still taken
        while (arrival := self._reader.take()) is not None:
            if arrival.frame.seq in self._wanted and arrival.frame.kind in _ANSWERS:
                self._answer = arrival
            else:
                self._hear(arrival)
        if gone is not None:
            self.lose(f"the connection is gone: {gone}")

    def _await(self, until_ns: int) -> Arrival | None:
        self._answer = None
        self.drain()
        while self._answer is None:
            self.check()
            left_ns = until_ns - now_ns()
            if left_ns <= 0:
                return None
            self.wait(left_ns / 1e9)
        return self._answer
