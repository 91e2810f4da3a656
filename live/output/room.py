"""How long the disk will last."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from poseloop.live.clock import now_ns
from poseloop.live.config import Record
from poseloop.live.types import CameraFormat

__all__ = ["Room", "expected_rate"]

_BYTES_PER_SAMPLE: Mapping[str, float] = {"h264": 0.06, "hevc": 0.04, "ffv1": 0.5, "raw": 1.0}
"""What a picture's sample (a pixel of one channel) takes, for an estimate before anything is known."""

_LOG_BYTES = 2000
"""Of the log, for each frame set: a pose, a decision and the frames' times."""

_LEARN_S = 10.0
"""After so long the measured rate is taken instead of the estimate."""


def expected_rate(codec: str, cameras: Mapping[str, CameraFormat]) -> float:
    """Bytes a second that a session is expected to take, roughly; a camera without a rate counts as 30 frames/s."""
    share = _BYTES_PER_SAMPLE[codec]
    rates = {name: camera.fps or 30.0 for name, camera in cameras.items()}
    pictures = sum(
        rates[name] * camera.width * camera.height * camera.colour.channels * share for name, camera in cameras.items()
    )
    return pictures + max(rates.values()) * _LOG_BYTES


class Room:
    """Compares what is left on the disk with how fast the session grows."""

    def __init__(
        self,
        folder: Path,
        settings: Record,
        rate: float,
        clock: Callable[[], int] = now_ns,
        free: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free,
    ) -> None:
        """Begin to measure.

        Args:
            folder: of the session.
            settings: when to warn and when to end.
            rate: bytes a second to expect until it has been measured.
            clock: host clock.
            free: bytes left on the disk of a folder.
        """
        self._folder = folder
        self._settings = settings
        self._rate = rate
        self._clock = clock
        self._free = free
        self._began_ns = clock()
        self._warn_below_s = settings.warn_minutes * 60

    @property
    def is_over(self) -> bool:
        """Must the recording end now?"""
        return self._free(self._folder) < self._settings.keep_free_gb * 1e9

    def left_s(self, size: int) -> float:
        """Seconds until the recording has to end, if the session has ``size`` bytes now."""
        passed_s = (self._clock() - self._began_ns) / 1e9
        rate = size / passed_s if passed_s >= _LEARN_S else self._rate
        return max(self._free(self._folder) - self._settings.keep_free_gb * 1e9, 0.0) / max(rate, 1.0)

    def warning(self, size: int) -> str:
        """What a person should be told now: once when the warning time is reached, and each time half of it is over."""
        left_s = self.left_s(size)
        if left_s >= self._warn_below_s:
            return ""
        self._warn_below_s = left_s / 2
        return f"the disk is full in about {as_time(left_s)}: the recording will end then. Make room in {self._folder}"


def as_time(seconds: float) -> str:
    """A time for people: ``40 s``, ``12 min``, ``7 h``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 360_000 else f"{seconds / 86400:.0f} days"
