"""A peer in its own process and environment, asked one line at a time."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from poseloop.live.errors import DataError

__all__ = ["Worker"]


class Worker:
    """Runs one of this folder's ``*_worker.py``; it says its ``versions`` when it is warm, then answers in JSON."""

    def __init__(self, python: Path, script: str, *arguments: object) -> None:
        """Start it, and wait until it is warm.

        Args:
            python: of the peer's environment.
            script: file in this folder.
            arguments: its own.

        Raises:
            DataError: it did not start; why stands above on the terminal.
        """
        file = Path(__file__).with_name(script)
        try:
            self._process = subprocess.Popen(
                # -P: a module of this folder may have the name of the package that the script asks for.
                [str(python.expanduser()), "-P", str(file), *map(str, arguments)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        except OSError as error:
            raise DataError(
                f"{python}: expected the Python of the peer's environment, but it cannot be run: {error.strerror}; "
                f"poseloop bench peers.environments makes one"
            ) from error
        self.versions: dict[str, str] = self._answer()["versions"]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def ask(self, line: object) -> dict[str, Any]:
        """Send one line and wait for its answer.

        Raises:
            DataError: the peer has ended.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise DataError(f"the peer ended with exit code {self._process.wait()}; what it said stands above")
        answer: dict[str, Any] = json.loads(line)
        return answer
