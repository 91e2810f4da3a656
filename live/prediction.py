"""What was measured of a rig's latency, part by part: the sum, what it means for the rig, and the table.

`poseloop.live.latency` measures it.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from poseloop.live.capture.tolerance import Tolerance
from poseloop.live.config import Rig
from poseloop.live.types import Finding, Level

__all__ = ["NETWORK", "Part", "Prediction", "as_text", "judge"]

NETWORK = "network"
"""Name of the part that is the network's run."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the way from exposure to pin."""

    name: str
    p50_ms: float | None
    """None = it cannot be known from here; ``note`` says how to find out."""
    p99_ms: float | None = None
    """None = too few values, or not known."""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What was measured."""

    parts: Sequence[Part]
    """In the order of the way, those that are not known included."""
    decided: Part
    """From exposure to decision: measured as a whole, pose by pose, so its p99 is less than the sum of the parts'."""
    busy: Part
    """How long one set keeps the loop: it has to be less than ``period_ms``."""
    period_ms: float
    """Frame to frame."""
    sets: int
    """That were counted."""
    superseded: int
    """Sets that the loop had no time for."""
    boards: int
    """How many of the last parts are boards."""
    notes: Sequence[str] = ()
    tolerance: Tolerance | None = None
    """Of the rig's sets; None = it has one camera."""

    @property
    def pin(self) -> Part:
        """From exposure to pin, all that is known: the decision and the slowest board; a p99 that is an upper bound."""
        boards = [part for part in self.parts[-self.boards :] if part.p50_ms is not None] if self.boards else []
        later, p99_ms = (max((getattr(one, key) or 0.0 for one in boards), default=0.0) for key in ("p50_ms", "p99_ms"))
        worst = None if self.decided.p99_ms is None else self.decided.p99_ms + p99_ms
        return Part("to the pin", (self.decided.p50_ms or 0.0) + later, worst, "the same and the slowest board")

    @property
    def network_share(self) -> float:
        """The network's part of the sum, 0..1."""
        network = next(part for part in self.parts if part.name == NETWORK)
        return (network.p50_ms or 0.0) / (self.pin.p50_ms or 1.0)

    def as_report(self) -> dict[str, Any]:
        """The same for a report."""
        rows = {part.name: {"p50": part.p50_ms, "p99": part.p99_ms, "note": part.note} for part in self.parts}
        return {
            "parts_ms": rows,
            "exposure_to_decision_ms": {"p50": self.decided.p50_ms, "p99": self.decided.p99_ms},
            "exposure_to_pin_ms": {"p50": self.pin.p50_ms, "p99": self.pin.p99_ms},
            "busy_ms": {"p50": self.busy.p50_ms, "p99": self.busy.p99_ms},
            "period_ms": self.period_ms,
            "network_share": self.network_share,
            "sets": self.sets,
            "superseded": self.superseded,
            "sync": {} if self.tolerance is None else self.tolerance.as_report(),
            "notes": list(self.notes),
        }


def judge(prediction: Prediction, rig: Rig) -> list[Finding]:
    """Say whether the loop keeps up with the cameras, what would make the latency shorter, and how sets are made."""
    return [*_judge_pace(prediction, rig), *_judge_sync(prediction.tolerance)]


def _judge_sync(tolerance: Tolerance | None) -> list[Finding]:
    if tolerance is None:
        return []
    text = f"exposures of one set lie at most {tolerance.as_text()} apart"
    return [Finding("sync", Level.WARN if tolerance.doubt else Level.OK, text, tolerance.doubt)]


def _judge_pace(prediction: Prediction, rig: Rig) -> list[Finding]:
    busy, period = prediction.busy, prediction.period_ms
    took = f"a set takes the loop {busy.p50_ms:.2f} ms, the cameras give one every {period:.2f} ms"
    advice = "; ".join(_ways_out(rig))
    if (busy.p50_ms or 0.0) > period:
        lost = f"{took}: {prediction.superseded} sets were passed over"
        return [Finding("pace", Level.FAIL, lost, advice)]
    if max(busy.p50_ms or 0.0, busy.p99_ms or 0.0) > period:
        return [Finding("pace", Level.WARN, f"{took}, but 1 in 100 takes {busy.p99_ms:.2f} ms", advice)]
    share = prediction.network_share
    level = Finding("pace", Level.OK, took)
    if share > 0.5:
        return [level, Finding("where the time goes", Level.OK, f"{share:.0%} of it is the network's", advice)]
    return [level]


def _ways_out(rig: Rig) -> list[str]:
    tables = [table for table, _ in rig.networks()]
    ways = []
    if any(table.crop is None for table in tables):
        ways.append("[model.crop] shows the network only the part around the animal (time falls with the area)")
    if all(table.size is None for table in tables):
        ways.append("[model] size shows it a smaller picture")
    if any(table.provider == "cpu" for table in tables):
        ways.append("poseloop export --precision int8 (0.7 to 0.8 of the time on a CPU)")
        ways.append('a GPU: provider = "cuda"')
    return ways or ["a smaller network"]


def as_text(prediction: Prediction, width: int = 100) -> str:
    """The table: part, median, p99, and what it is or how to find out."""
    decided = prediction.decided
    rows = [
        *prediction.parts,
        Part("to the decision", decided.p50_ms, decided.p99_ms, "from exposure, pose by pose, without what is unknown"),
        prediction.pin,
    ]
    share = f"{prediction.network_share:.0%} of it is the network's; {prediction.sets} sets were counted"
    lines = [f"{'ms':<18}{'median':>9}{'p99':>9}", *(_row(part, width) for part in rows), "", share]
    return "\n".join([*lines, *prediction.notes])


def _row(part: Part, width: int) -> str:
    lacking = "?" if part.p50_ms is None else "–"
    numbers = [f"{lacking:>9}" if value is None else f"{value:>9.3f}" for value in (part.p50_ms, part.p99_ms)]
    start = f"{part.name:<18}{''.join(numbers)}  "
    gap = " " * len(start)
    text = textwrap.fill(start + part.note, max(width, 60), subsequent_indent=gap, break_long_words=False)
    return text if part.note else start.rstrip()
