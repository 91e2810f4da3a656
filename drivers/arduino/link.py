"""The cable: a serial port or a TCP socket that carries bytes, and the thread that listens to it."""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import sys
import threading
from collections import deque
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

import serial
from serial.tools import list_ports

from poseloop.drivers.arduino.framing import Decoder, WireFrame
from poseloop.live.clock import now_ns
from poseloop.live.errors import ConnectError

_POLL_S = 0.2
"""How often a waiting reader looks whether it should stop, where the wait cannot be interrupted."""

_WRITE_S = 0.02
"""Longest wait for a port that does not take bytes: the decision loop stands still meanwhile."""

_CONNECT_S = 2.0

_SOCKET = "socket://"

INBOX_FRAMES = 4096


class Link(Protocol):
    """A cable to a board. One thread reads, another one writes."""

    def read(self) -> bytes:
        """Wait a moment for bytes; empty = none came.

        Raises:
            OSError: the cable is gone.
        """

    def write(self, data: bytes) -> bool:
        """Hand bytes to the operating system; False = it did not take all of them.

        Raises:
            OSError: the cable is gone.
        """

    def interrupt(self) -> None:
        """Make a waiting ``read`` return soon."""

    def close(self) -> None:
        """Free the port; idempotent."""


class SerialLink:
    """A serial port, or any URL that pyserial knows."""

    def __init__(self, port: str, baud: int) -> None:
        self._port = serial.serial_for_url(port, baudrate=baud, timeout=_POLL_S, write_timeout=_WRITE_S, exclusive=True)
        # FTDI adapters collect bytes for 16 ms unless they are told not to; what has no such mode says so in many ways.
        with contextlib.suppress(OSError, ValueError, AttributeError, NotImplementedError):
            self._port.set_low_latency_mode(True)

    def read(self) -> bytes:
        """Wait a moment for bytes."""
        first = self._port.read(1)
        more = self._port.in_waiting if first else 0
        return first + self._port.read(more) if more else first

    def write(self, data: bytes) -> bool:
        """Hand bytes over; False = not all were taken."""
        try:
            return self._port.write(data) == len(data)
        except serial.SerialTimeoutException:
            return False

    def interrupt(self) -> None:
        """Make a waiting ``read`` return soon."""
        with contextlib.suppress(OSError, AttributeError):
            self._port.cancel_read()

    def close(self) -> None:
        """Free the port."""
        with contextlib.suppress(OSError):
            self._port.close()


class SocketLink:
    """A TCP socket. pyserial's own reads a byte at a time and lets Nagle's algorithm hold commands back."""

    def __init__(self, port: str) -> None:
        parts = urlsplit(port)
        if not parts.hostname or not parts.port:
            raise OSError(errno.EINVAL, "expected socket://HOST:PORT")
        self._socket = socket.create_connection((parts.hostname, parts.port), timeout=_CONNECT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setblocking(False)

    def read(self) -> bytes:
        """Wait a moment for bytes."""
        if not select.select([self._socket], [], [], _POLL_S)[0]:
            return b""
        try:
            data = self._socket.recv(4096)
        except BlockingIOError:
            return b""
        if not data:
            raise ConnectionResetError(errno.ECONNRESET, "the other end closed the connection")
        return data

    def write(self, data: bytes) -> bool:
        """Hand bytes over; False = not all were taken."""
        try:
            return self._socket.send(data) == len(data)
        except BlockingIOError:
            return False

    def interrupt(self) -> None:
        """Make a waiting ``read`` return soon."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RD)

    def close(self) -> None:
        """Free the port."""
        self._socket.close()


def open_link(device: str, port: str, baud: int) -> Link:
    """Open a port for this program alone.

    Args:
        device: name of the board, for the error.
        port: ``/dev/ttyACM0``, ``COM7``, ``socket://HOST:PORT``, or another URL that pyserial knows.
        baud: bits a second; sockets ignore it.

    Raises:
        ConnectError: says why, and what to do about it.
    """
    try:
        return SocketLink(port) if is_socket(port) else SerialLink(port, baud)
    except (OSError, ValueError) as error:
        raise ConnectError(device, _why_not(port, error)) from error


def is_socket(port: str) -> bool:
    """Is it the address of a socket, whose bytes have no baud rate?"""
    return port.startswith(_SOCKET)


def ports() -> list[str]:
    """Serial ports that are plugged in, one line each."""
    found = []
    for port in sorted(list_ports.comports()):
        what = port.description if port.description not in (None, "", "n/a") else "serial port"
        found.append(f"{port.device} ({what})")
    return found


def _why_not(port: str, error: Exception) -> str:
    code, text = getattr(error, "errno", None), str(error)
    if port.startswith(_SOCKET):
        if code == errno.ECONNREFUSED:
            return f"nothing listens at {port}, or another program is connected to it already"
        return f"cannot connect to {port}: {text}"
    if code == errno.ENOENT or "FileNotFoundError" in text:
        there = ", ".join(ports()) or "none; is the USB cable plugged in?"
        return f"there is no port {port}. Ports on this computer: {there}"
    if code in (errno.EAGAIN, errno.EBUSY) or (sys.platform == "win32" and "PermissionError" in text):
        return (
            f"the port {port} is in use by another program; close it (the Arduino IDE's serial monitor? "
            f"another run of poseloop?) and try again"
        )
    if code in (errno.EACCES, errno.EPERM):
        return (
            f"you may not open {port}. On Linux, run  sudo usermod -aG dialout $USER  and log in again"
            f" (the group is called uucp on some systems)"
        )
    return f"{port} cannot be opened as a serial port: {text}"


class Arrival(NamedTuple):
    """A frame and when it came."""

    frame: WireFrame
    at_ns: int


class Reader:
    """The thread that waits for the board, decodes frames and stamps their arrival. It interprets nothing."""

    def __init__(self, name: str, link: Link) -> None:
        """Start listening.

        Args:
            name: name of the thread.
            link: where to listen; closed by ``stop``.
        """
        self._link = link
        self._inbox: deque[Arrival] = deque(maxlen=INBOX_FRAMES)
        self._arrived = threading.Event()
        self._stopping = False
        self.decoder = Decoder()
        self.error: OSError | None = None
        """Why it ended, if the cable is gone."""
        self.overflow = 0
        """Frames that were dropped, the oldest ones, because nobody took them: `INBOX_FRAMES` are kept."""
        self._thread = threading.Thread(target=self._run, name=name)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._stopping:
                data = self._link.read()
                at_ns = now_ns()
                if not data:
                    continue
                for frame in self.decoder.feed(data):
                    if len(self._inbox) == INBOX_FRAMES:
                        self.overflow += 1
                    self._inbox.append(Arrival(frame, at_ns))
                self._arrived.set()
        except (OSError, ValueError, TypeError) as error:
            # pyserial lets a descriptor that was closed or unplugged under it show as any of these.
            if not self._stopping:
                self.error = error if isinstance(error, OSError) else OSError(str(error))
        finally:
            self._arrived.set()

    def take(self) -> Arrival | None:
        """The oldest frame that nobody has taken; None = there is none now."""
        try:
            return self._inbox.popleft()
        except IndexError:
            return None

    def wait(self, timeout_s: float) -> None:
        """Wait until something came since the last wait, or the cable is gone."""
        if self.error is None:
            self._arrived.wait(timeout_s)
            self._arrived.clear()

    def stop(self) -> None:
        """End the thread, wait for it, and free the port; idempotent."""
        self._stopping = True
        self._link.interrupt()
        self._thread.join()
        self._link.close()
