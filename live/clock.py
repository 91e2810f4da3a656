"""The one host clock, other clocks mapped onto it, and pacing by absolute deadlines.

``time.perf_counter_ns`` is monotonic and, on Linux, Windows and macOS, shared by the processes of one machine, so
times taken in engine, host and recorder may be subtracted from each other.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np

__all__ = ["ClockMap", "Pacer", "now_ns"]

now_ns = time.perf_counter_ns

_SPIN_NS = 200_000
"""Sleeping wakes up late by this order; the rest of a wait is spent yielding."""

_STEP = 3
"""So many contradictions in a row are no accident."""

_DRIFT_UNKNOWN = 1e-2
"""How far off a line may be, for each ns from its middle, while its slope is unknown: what a bad resonator errs."""

_DRIFT_FITTED = 1e-3
"""The same with a slope from a second of samples or more."""


class Pacer:
    """Waits for ``start + offset``: an error in one wait never adds to the next.

    ``clock`` and ``sleep`` are passed in by tests that control time; ``stop`` ends a wait from another thread.
    """

    def __init__(
        self,
        start_ns: int,
        clock: Callable[[], int] = now_ns,
        sleep: Callable[[float], None] = time.sleep,
        stop: threading.Event | None = None,
    ) -> None:
        self.start_ns = start_ns
        self._clock = clock
        self._sleep = sleep
        self._stop = stop

    def left_s(self, offset_ns: int) -> float:
        """Seconds until ``start_ns + offset_ns``; negative when it has passed."""
        return (self.start_ns + offset_ns - self._clock()) / 1e9

    def wait_until(self, offset_ns: int, timeout_s: float = float("inf")) -> bool:
        """Return True at ``start_ns + offset_ns`` (at once if that has passed), False after ``timeout_s``.

        False also as soon as ``stop`` is set.
        """
        now = self._clock()
        deadline = self.start_ns + offset_ns
        ends = deadline if timeout_s == float("inf") else min(deadline, now + int(timeout_s * 1e9))
        while now < ends:
            rest_s = max(ends - now - _SPIN_NS, 0) / 1e9
            if self._stop is None or rest_s == 0:
                self._sleep(rest_s)
            else:
                self._stop.wait(rest_s)
            if self._stop is not None and self._stop.is_set():
                return False
            now = self._clock()
        return now >= deadline


class ClockMap:
    """A running line fit from a device's clock to the host's: offset and drift, over the newest samples.

    Each sample is one exchange: the host noted ``before_ns`` and ``after_ns`` around the device's answer
    ``device_ns``. The middle of the exchange is taken as the device's "now"; slow exchanges are noisier in exactly the
    amount that they are slow, so only the quickest quarter of the window enters the fit (the filter of NTP,
    RFC 5905 section 10, in its simplest form).

    An exchange also proves something: the device's time lies between ``before_ns`` and ``after_ns``. One that the line
    contradicts is an outlier and is left out; when `_STEP` of them come in a row, the device's clock was set, and the
    map begins anew with them.
    """

    def __init__(self, window: int = 64) -> None:
        self._device = np.zeros(window)
        self._host = np.zeros(window)
        self._round_trip = np.full(window, np.inf)
        self._forget()
        self._contradicting: list[tuple[int, int, int]] = []
        self.rejected = 0
        """Exchanges that were left out."""

    def _forget(self) -> None:
        self._count = 0
        self._device0 = 0
        self._host0 = 0
        self._line = (0.0, 1.0)
        self._centre = 0.0
        self._quickest = 0.0
        self._tolerance = _DRIFT_UNKNOWN

    @property
    def samples(self) -> int:
        """Exchanges that the map is made of; 0 = `to_host` cannot be called yet."""
        return self._count

    @property
    def drift_ppm(self) -> float:
        """How much faster the host's clock runs than the device's, in parts per million."""
        return (self._line[1] - 1.0) * 1e6

    def add(self, before_ns: int, device_ns: int, after_ns: int) -> None:
        """Learn from one exchange; ``device_ns`` must already be unwrapped."""
        if self._count and self._contradicts(before_ns, device_ns, after_ns):
            self._contradicting.append((before_ns, device_ns, after_ns))
            self.rejected += 1
            if len(self._contradicting) < _STEP:
                return
            exchanges = self._contradicting[:]
            self.rejected -= len(exchanges)
            self._forget()
        else:
            exchanges = [(before_ns, device_ns, after_ns)]
        self._contradicting.clear()
        for exchange in exchanges:
            self._take(*exchange)
        self._fit()

    def _contradicts(self, before_ns: int, device_ns: int, after_ns: int) -> bool:
        mapped = self.to_host(device_ns)
        slack = self._quickest + self._tolerance * abs(device_ns - self._device0 - self._centre)
        return not before_ns - slack <= mapped <= after_ns + slack

    def _take(self, before_ns: int, device_ns: int, after_ns: int) -> None:
        if self._count == 0:
            self._device0, self._host0 = device_ns, (before_ns + after_ns) // 2
        at = self._count % len(self._device)
        self._device[at] = device_ns - self._device0
        self._host[at] = (before_ns + after_ns) / 2 - self._host0
        self._round_trip[at] = after_ns - before_ns
        self._count += 1

    def _fit(self) -> None:
        known = min(self._count, len(self._device))
        best = np.argsort(self._round_trip[:known])[: max(4, known // 4)]
        x, y = self._device[best], self._host[best]
        span = float(np.ptp(x))
        slope = 1.0
        self._tolerance = _DRIFT_UNKNOWN
        # A slope from less than a second of samples would be made of jitter.
        if len(best) >= 4 and span > 1e9:
            dx = x - x.mean()
            slope = float(dx @ (y - y.mean()) / (dx @ dx))
            self._tolerance = _DRIFT_FITTED
        self._centre, self._quickest = float(x.mean()), float(self._round_trip[best[0]])
        self._line = (float(y.mean() - slope * x.mean()), slope)

    def to_host(self, device_ns: int) -> int:
        """Map a device time to the host clock.

        Raises:
            ValueError: no sample was added yet.
        """
        if self._count == 0:
            raise ValueError("expected at least one clock sample before a time is mapped, but got none")
        offset, slope = self._line
        return self._host0 + round(offset + slope * (device_ns - self._device0))
