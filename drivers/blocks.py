"""Frame numbers of cameras, continued where they wrap."""

from __future__ import annotations

__all__ = ["BlockCounter"]


class BlockCounter:
    """Block ids of one acquisition → indices that count from 0 and show every gap.

    GigE Vision 1 counts 1…65535 and goes on with 1, since 0 is no id there; USB3 Vision and GigE Vision 2 have 64 bits
    and never wrap. A step is taken to be the shorter way round, so an id that comes again, or one from before, does not
    look like 65,000 lost frames; losses of more than half a round in a row (five minutes at 100 frames a second) cannot
    be counted.
    """

    def __init__(self, first: int | None = None, period: int = 0) -> None:
        """Begin to count.

        Args:
            first: the id of an acquisition's first frame; None = unknown: that of the first one seen.
            period: number of different ids; 0 = they do not wrap.
        """
        self._first = first
        self._period = period
        self._block: int | None = None
        self._index = 0

    def index(self, block: int) -> int:
        """Index of the frame with this id."""
        if self._block is None:
            first = block if self._first is None else self._first
            self._index = block - first
        else:
            step = block - self._block
            if self._period:
                half = self._period // 2
                step = (step + half) % self._period - half
            self._index += step
        self._block = block
        return self._index
