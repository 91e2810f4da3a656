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
    """Counts up to a total, and says how fast, and how long the rest will take; a context manager.

    Args:
        what: is being done.
        total: how much there is; 0 = unknown.
        stream: where to show it.
        done: how much was there before this began.
    """

    def __init__(self, what: str, total: int, stream: TextIO | None = None, done: int = 0) -> None:
        self._what = what
        self._total = total
        self._stream = sys.stderr if stream is None else stream
        self._shown = self._stream.isatty()
        self._start = time.perf_counter()
        self._last = 0.0
        self._done = self._before = done

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown and self._last:
            self._stream.write("\n")
            self._stream.flush()

    def step(self, count: int = 1) -> None:
        """Count some more."""
        self._done += count
        now = time.perf_counter()
        if self._shown and (now - self._last >= _EVERY_S or self._done == self._total):
            self._last = now
            rate = (self._done - self._before) / max(now - self._start, 1e-9)
            shown = f"{self._done}  {rate:.0f}/s"
            if self._total:
                total = max(self._total, self._done)
                full = _WIDTH * self._done // total
                left = f"{(total - self._done) / rate:4.0f} s left" if rate else ""
                shown = f"{'█' * full}{'·' * (_WIDTH - full)} {self._done}/{total}  {rate:.0f}/s  {left}"
            self._stream.write(f"\r{self._what} {shown} ")
            self._stream.flush()
