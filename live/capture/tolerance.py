"""How far apart the exposures of one set may lie: as the rig file says, or by how close two frames can follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from poseloop.live.config import Rig
from poseloop.live.types import CameraFormat

__all__ = ["Tolerance"]

_SHARE = 0.5
"""Of the shortest time between two frames: then no exposure lies within it of two triggers."""

_UNKNOWN_NS = 5_000_000


@dataclass(frozen=True, slots=True)
class Tolerance:
    """The tolerance of one rig, and where it comes from."""

    ns: int
    shortest_ns: int
    """The shortest time between two frames that the rig can have; 0 = nobody tells."""
    source: str
    """What is behind it, for people."""
    doubt: str
    """Why frames of two triggers may share a set, and what to do; empty = they cannot."""

    @classmethod
    def of(cls, rig: Rig, formats: Mapping[str, CameraFormat]) -> Tolerance:
        """Find it for a rig's opened cameras.

        The shortest time between two frames is that of the pulses where a board of the rig makes them. With pulses
        from elsewhere it is what the fastest camera can follow, whatever rate the rig file names: a tolerance of more
        than a pulse's period would pair frames of two pulses, without a sign of it. Otherwise it is the period of the
        fastest camera.
        """
        rates = {
            f"board {name}": table.camera_trigger.fps for name, table in rig.boards.items() if table.camera_trigger
        }
        if not rates:
            pulsed = rig.sync.trigger == "hardware"
            rates = {
                f"camera {name}": max(its.fps, its.possible_fps if pulsed else 0.0) for name, its in formats.items()
            }
        who, fastest = max(rates.items(), key=lambda item: item[1])
        shortest_ns = round(1e9 / fastest) if fastest > 0 else 0
        shortest = f"{_ms(shortest_ns)} ms, the shortest time between two frames ({who})"
        given_ms = rig.sync.tolerance_ms
        if given_ms is not None:
            bad = 0 < shortest_ns <= given_ms * 1e6
            doubt = f"sync.tolerance_ms: expected less than {shortest}, but found {given_ms:g}"
            return cls(round(given_ms * 1e6), shortest_ns, "sync.tolerance_ms", _doubt(doubt, formats) if bad else "")
        if shortest_ns:
            return cls(round(shortest_ns * _SHARE), shortest_ns, f"half of {shortest}", "")
        doubt = "no camera tells how fast it is: give sync.tolerance_ms, less than the time between two frames"
        return cls(_UNKNOWN_NS, 0, "no camera tells how fast it is", _doubt(doubt, formats))

    def as_report(self) -> dict[str, Any]:
        """The same for a report."""
        return {"tolerance_ms": self.ns / 1e6, "tolerance_from": self.source}

    def as_text(self) -> str:
        """The same for people."""
        return f"{_ms(self.ns)} ms ({self.source})"


def _doubt(text: str, formats: Mapping[str, CameraFormat]) -> str:
    return f"{text}; frames of two triggers may share a set" if len(formats) > 1 else ""


def _ms(time_ns: int) -> str:
    return f"{time_ns / 1e6:.3g}"
