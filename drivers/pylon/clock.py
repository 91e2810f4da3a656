"""A Basler camera's clock on the host's: when the middle of an exposure was."""

from __future__ import annotations

from typing import Any

from poseloop.drivers.pylon.sdk import Features
from poseloop.live.clock import ClockMap, now_ns

__all__ = ["CameraClock"]

_FIRST = 16
"""Exchanges when the camera is started, and then one a second until there is a line with a slope."""

_SOON_NS = 1_000_000_000
_LATER_NS = 5_000_000_000
"""Register access holds Python's global lock for one round trip to the camera: not more often than needed."""

_PLAUSIBLE_NS = 5_000_000_000


class CameraClock:
    """Exchanges times with the camera and maps those of its frames.

    Basler's frames carry the time at which the exposure began, in ticks of the camera's own clock; latching that clock
    on command gives the exchange. A camera without either says when an exposure ended in an event only: that is what
    the emulated ones do, whose clock is the host's. A camera with none of them gives 0.
    """

    def __init__(self, features: Features) -> None:
        """Find what this camera has."""
        self._latch = features.find("TimestampLatch", "GevTimestampControlLatch")
        self._value = features.find("TimestampLatchValue", "GevTimestampValue")
        # Ticks of GigE cameras are 8 ns, or 1 ns under PTP; all others count nanoseconds.
        self._ticks_per_s = int(features.get("GevTimestampTickFrequency") or 1_000_000_000)
        self._events: tuple[Any, Any] | None = None
        if self._latch is None and features.find("EventSelector") is not None:
            features.set("the event of an exposure's end", "ExposureEnd", "EventSelector")
            features.set("the event of an exposure's end", "On", "EventNotification")
            # They become readable with the first event.
            self._events = features.node("EventExposureEndFrameID"), features.node("EventExposureEndTimestamp")
        self._known = (-1, 0)
        """The newest frame whose exposure an event told: id and time."""
        self._readable = features.readable
        exposure_us = features.get("ExposureTimeAbs", "ExposureTime")
        self._half_exposure_ns = round(float(exposure_us or 0) * 500)
        self._map = ClockMap()
        self._next_ns = 0

    @property
    def drift_ppm(self) -> float:
        """How much faster the host's clock runs than the camera's."""
        return self._map.drift_ppm

    def start(self) -> None:
        """Exchange times until a frame's time can be mapped."""
        self._known = (-1, now_ns())
        if self._latch is not None and self._value is not None:
            for _ in range(_FIRST):
                self._exchange()

    def refresh(self) -> None:
        """Exchange times if it is time for it; call it where the camera's next frame is not due yet."""
        if self._map.samples and now_ns() >= self._next_ns:
            self._exchange()

    def exposed_ns(self, ticks: int, block: int) -> tuple[int, int]:
        """Middle of the exposure by the host's clock and its begin by the camera's, in ns; 0 = unknown.

        Args:
            ticks: the frame's time stamp.
            block: its id, which the event of its exposure has, too.
        """
        if ticks and self._map.samples:
            device_ns = self._ns(ticks)
            return self._map.to_host(device_ns) + self._half_exposure_ns, device_ns
        if self._events is not None and self._readable(self._events[1]):
            frame, time = self._events
            told, ended_ns = frame.Value, time.Value
            if frame.Value != told:  # the next one came while they were read
                told, ended_ns = frame.Value, time.Value
            return self._by_event(int(told), int(ended_ns), block), 0
        return 0, 0

    def _by_event(self, told: int, ended_ns: int, block: int) -> int:
        """What the nodes hold is the newest event. If it is that of a later frame, this one lies in between."""
        if told < block or not 0 <= now_ns() - ended_ns < _PLAUSIBLE_NS:
            return 0
        known, known_ns = self._known
        at_ns = ended_ns - self._half_exposure_ns
        if told > block:
            at_ns = known_ns + (at_ns - known_ns) * (block - known) // (told - known)
        self._known = (block, at_ns)
        return at_ns

    def _exchange(self) -> None:
        latch, value = self._latch, self._value
        before_ns = now_ns()
        latch.Execute()  # type: ignore[union-attr]
        after_ns = now_ns()
        self._map.add(before_ns, self._ns(int(value.Value)), after_ns)  # type: ignore[union-attr]
        self._next_ns = after_ns + (_SOON_NS if self._map.samples < 4 * _FIRST else _LATER_NS)

    def _ns(self, ticks: Any) -> int:
        return int(ticks) * 1_000_000_000 // self._ticks_per_s
