"""The board's clock on the host's: 32-bit microseconds that wrap every 71.6 minutes, continued and mapped."""

from __future__ import annotations

from poseloop.live.clock import ClockMap

_HALF = 1 << 31
_MASK = (1 << 32) - 1


class BoardClock:
    """Learns from exchanges with the board; starts anew when the board does."""

    def __init__(self) -> None:
        self._map = ClockMap()
        self._board_us = self._host_ns = 0

    def learn(self, before_ns: int, wire_us: int, after_ns: int) -> None:
        """Take one exchange: the host noted ``before_ns`` and ``after_ns`` around the board's ``wire_us``."""
        board_us = self._continued(wire_us, after_ns)
        self._board_us, self._host_ns = board_us, after_ns
        self._map.add(before_ns, board_us * 1000, after_ns)

    def host_ns(self, wire_us: int, arrived_ns: int) -> int:
        """Map a board time to the host clock; ``arrived_ns`` is when it was heard of."""
        return self.both_ns(wire_us, arrived_ns)[0]

    def both_ns(self, wire_us: int, arrived_ns: int) -> tuple[int, int]:
        """A board time on the host's clock, and on the board's own without its wraps."""
        device_ns = self._continued(wire_us, arrived_ns) * 1000
        return (self._map.to_host(device_ns) if self._map.samples else arrived_ns), device_ns

    def _continued(self, wire_us: int, at_ns: int) -> int:
        """Undo the wrap: of all times that look the same on the wire, the one nearest to what the host expects."""
        if self._map.samples == 0:
            return wire_us
        expected_us = self._board_us + (at_ns - self._host_ns) // 1000
        return expected_us + ((wire_us - expected_us + _HALF) & _MASK) - _HALF
