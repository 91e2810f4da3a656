"""Starts and ends the simulated board's program."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Sequence
from types import TracebackType

from poseloop.live.errors import ConnectError
from poseloop.live.process import detached

_START_S = 20.0
"""A program that has not said its port after this long hangs."""


class FirmwareProcess:
    """The simulated board as a child process; as a context manager it is killed at the end, like a plug pulled."""

    def __init__(self, name: str, *arguments: str) -> None:
        """Keep what to start.

        Args:
            name: of the board, for errors.
            arguments: see ``python -m poseloop.drivers.sim.firmware --help``.
        """
        self._name = name
        self._arguments: Sequence[str] = arguments
        self._process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int:
        """Process id; 0 while it does not run."""
        return self._process.pid if self._process else 0

    def start(self) -> str:
        """Start it and return where it listens: a TCP port on loopback, or the path of a pseudo-terminal.

        Raises:
            ConnectError: it did not start.
        """
        # -P: a file of the user's called socket.py must not be taken for the library's.
        command = [sys.executable, "-P", "-m", "poseloop.drivers.sim.firmware", *self._arguments]
        # A terminal's Ctrl-C is for the host alone: a board does not know of it.
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, **detached())
        self._process = process
        assert process.stdout is not None
        # Pipes have no time-out that works on every system; killing the writer ends the wait.
        guard = threading.Timer(_START_S, process.kill)
        guard.name = f"{self._name}-start"
        guard.start()
        try:
            where = str(process.stdout.readline()).strip()
        finally:
            guard.cancel()
            guard.join()
            process.stdout.close()
        if not where:
            self.kill()
            raise ConnectError(self._name, f"the simulated board did not start (exit code {process.returncode})")
        return where

    def wait(self, timeout_s: float) -> bool:
        """Wait for its end; False = it still runs after ``timeout_s``."""
        if self._process is None:
            return True
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """End it at once; idempotent."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> FirmwareProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
