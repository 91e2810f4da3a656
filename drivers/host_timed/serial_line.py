"""A serial port as a way out needs it: whole messages written at once, and answers awaited for a stated time."""

from __future__ import annotations

import threading
import time

from poseloop.drivers.arduino.link import Link, open_link
from poseloop.live.errors import ConnectError, DeviceLost

_KEPT = 4096
"""Bytes of talk that nobody waits for; older ones are forgotten."""


class SerialLine:
    """An open port, and the thread that listens to it."""

    def __init__(self, name: str, port: str, baud: int) -> None:
        self._name = name
        self._port = port
        self._baud = baud
        self._link: Link | None = None
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._heard = b""
        self._news = threading.Condition()
        self._error = ""

    def open(self, starts_s: float, greeting: bytes) -> None:
        """Open the port and wait until the device has started.

        Args:
            starts_s: how long that may take; a device without a greeting is given this time.
            greeting: what it says then; empty = nothing.

        Raises:
            ConnectError: there is no such port, it is in use, or the greeting did not come.
        """
        self._link = open_link(self._name, self._port, self._baud)
        self._stopping, self._heard, self._error = False, b"", ""
        self._thread = threading.Thread(target=self._listen, name=f"{self._name}-serial", args=(self._link,))
        self._thread.start()
        if greeting and not self.heard(greeting, starts_s):
            sample = bytes(self._heard[:40])
            self.close()
            raise ConnectError(
                self._name, f"expected {greeting!r} from {self._port} within {starts_s:g} s, but got {sample!r}"
            )
        if not greeting and starts_s:
            time.sleep(starts_s)

    def check(self) -> None:
        """See whether the port is still there: the listening thread knows.

        Raises:
            DeviceLost: it is gone.
        """
        if self._link is None or self._error:
            raise DeviceLost(self._name, f"the connection to {self._port} is gone: {self._error or 'it is not open'}")

    def write(self, data: bytes) -> None:
        """Write it all, and forget what was heard before.

        Raises:
            DeviceLost: the port is gone, or takes no more bytes.
        """
        self.check()
        assert self._link is not None
        with self._news:
            self._heard = b""
        try:
            whole = self._link.write(data)
        except OSError as error:
            raise DeviceLost(self._name, f"the connection to {self._port} is gone: {error}") from error
        if not whole:
            raise DeviceLost(self._name, f"{self._port} takes no more bytes: the device does not read")

    def heard(self, expected: bytes, timeout_s: float) -> bool:
        """Wait until the device has said this since the last ``write``; False = it has not in time."""
        with self._news:
            self._news.wait_for(lambda: expected in self._heard or self._error != "", timeout_s)
            return expected in self._heard

    def close(self) -> None:
        """End the thread and free the port; idempotent."""
        if self._link is None or self._thread is None:
            return
        self._stopping = True
        self._link.interrupt()
        self._thread.join()
        self._link.close()
        self._link = None

    def _listen(self, link: Link) -> None:
        try:
            while not self._stopping:
                data = link.read()
                if data:
                    with self._news:
                        self._heard = (self._heard + data)[-_KEPT:]
                        self._news.notify_all()
        except (OSError, ValueError, TypeError) as error:
            # pyserial lets a port that was closed or unplugged under it show as any of these.
            with self._news:
                self._error = str(error) or type(error).__name__
                self._news.notify_all()
