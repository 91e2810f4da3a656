"""A progress bar on a terminal; on a file, nothing."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self, TextIO

__all__ = ["Progress"]

_WIDTH = 30
_EVERY_S = 0.1


class Progress:
    """Counts up to a total, and says how long the rest will take; a context manager."""

    def __init__(self, what: str, total: int, stream: TextIO | None = None) -> None:
        self._what = what
        self._total = total
        self._stream = sys.stderr if stream is None else stream
        self._shown = self._stream.isatty()
        self._start = time.perf_counter()
        self._last = 0.0
        self._done = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown and self._done:
            self._stream.write("\n")
            self._stream.flush()

    def step(self) -> None:
        """Count one."""
        self._done += 1
        now = time.perf_counter()
        if self._shown and (now - self._last >= _EVERY_S or self._done == self._total):
            self._last = now
            full = _WIDTH * self._done // max(self._total, 1)
            left = (now - self._start) / self._done * (self._total - self._done)
            bar = "█" * full + "·" * (_WIDTH - full)
            self._stream.write(f"\r{self._what} {bar} {self._done}/{self._total}  {left:4.0f} s left ")
            self._stream.flush()
