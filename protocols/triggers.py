"""What became of every stimulus command: from the pose that caused it to the pin."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any

from poseloop.live.output.report import Latencies
from poseloop.live.types import CameraTrigger, Command, Outcome, OutcomeKind, PinEdge, Trace, TriggerEvent

__all__ = ["Triggers"]

_OPEN = 4096
"""Triggers that wait for their answer or their edge; beyond it the oldest is told as far as it is known."""

_EXPOSURES = 4096
"""Camera triggers that are remembered: a trigger's end is known long before so many more."""

_RECENT = 31
"""Triggers that the running latency is the median of: half of them may be outliers."""


@dataclass(slots=True)
class _Open:
    command: Command
    index: int
    trace: Trace
    outcome: OutcomeKind | None = None


class Triggers:
    """Follows each trigger; after `close_all`, sent = acknowledged + refused + lost."""

    def __init__(self, tell: Callable[..., None], without_pins: Collection[str] = ()) -> None:
        """Keep whom to tell.

        Args:
            tell: called with ``"trigger"`` and the fields of a `TriggerEvent`, once for each trigger.
            without_pins: boards that report no edges, so that their answer is all that can be waited for.
        """
        self._tell = tell
        self._without_pins = without_pins
        self._open: dict[tuple[str, int], _Open] = {}
        self.counts = Counter(dict.fromkeys(("sent", "acknowledged", "refused", "lost", "held"), 0))
        """``held``: kept back by a gate, never sent."""
        self.reasons: Counter[str] = Counter()
        """Why triggers were refused, lost or held."""
        self.latencies = Latencies(Latencies.TRIGGER)
        self._acts_ns: deque[int] = deque(maxlen=_RECENT)
        self._exposures: list[CameraTrigger | None] = [None] * _EXPOSURES

    @property
    def open(self) -> int:
        """Triggers whose end is not known yet."""
        return len(self._open)

    @property
    def act_ns(self) -> int:
        """From a pose's publication to the pin, without the delay that a command asks for; 0 = no pin moved yet."""
        return round(median(self._acts_ns)) if self._acts_ns else 0

    def held(self, command: Command, index: int, trace: Trace, reason: str) -> None:
        """A gate kept this one back."""
        self._told(TriggerEvent(command, index, OutcomeKind.REFUSED, f"held: {reason}", trace), "held")

    def sent(self, command: Command, ticket: int, index: int, trace: Trace) -> None:
        """This one was given to its board."""
        self.counts["sent"] += 1
        self._open[command.device, ticket] = _Open(command, index, trace)
        if len(self._open) > _OPEN:
            self._close(next(iter(self._open)), "no answer, and too many others wait")

    def answered(self, outcome: Outcome) -> None:
        """The board's answer came, or did not come in time."""
        key = (outcome.board, outcome.ticket)
        trigger = self._open.get(key)
        if trigger is None:
            return
        trigger.outcome = outcome.kind
        trigger.trace = replace(trigger.trace, written_ns=outcome.written_ns, acknowledged_ns=outcome.acknowledged_ns)
        if outcome.kind is not OutcomeKind.ACKNOWLEDGED:
            self._close(key, outcome.reason)
            return
        # Counted now: its edge may come much later (delay_us).
        self.counts["acknowledged"] += 1
        if trigger.trace.pin_ns or outcome.board in self._without_pins:
            self._close(key)

    def exposed(self, trigger: CameraTrigger) -> None:
        """A board triggered the cameras."""
        self._exposures[trigger.index % _EXPOSURES] = trigger

    def edge(self, edge: PinEdge) -> None:
        """A pin moved."""
        key = (edge.board, edge.ticket)
        trigger = self._open.get(key)
        if trigger is None or not edge.value:
            return
        trigger.trace = replace(trigger.trace, pin_ns=edge.at_ns, triggered_ns=self._triggered_ns(trigger.index, edge))
        if trigger.outcome is not None:
            self._close(key)

    def _triggered_ns(self, index: int, pin: PinEdge) -> int:
        """When the cameras were told to take the pictures of set ``index``; 0 = no board said so."""
        exposed = self._exposures[index % _EXPOSURES]
        if exposed is None or exposed.index != index:
            return 0
        if exposed.board == pin.board and exposed.device_ns and pin.device_ns:
            # By the board's own clock: how it is mapped may have changed between the two.
            return pin.at_ns - (pin.device_ns - exposed.device_ns)
        return exposed.at_ns

    def close_all(self) -> None:
        """Tell all that are open, as far as they are known."""
        for key in list(self._open):
            self._close(key, "no answer until the end")

    def _close(self, key: tuple[str, int], reason: str = "") -> None:
        trigger = self._open.pop(key)
        outcome = trigger.outcome or OutcomeKind.LOST
        acknowledged = outcome is OutcomeKind.ACKNOWLEDGED
        event = TriggerEvent(trigger.command, trigger.index, outcome, "" if acknowledged else reason, trigger.trace)
        self._told(event, "" if acknowledged else outcome.value)
        self.latencies.add(trigger.trace)
        trace = trigger.trace
        if trace.pin_ns and trace.published_ns:
            self._acts_ns.append(trace.pin_ns - trace.published_ns - trigger.command.delay_us * 1000)

    def _told(self, event: TriggerEvent, counted_as: str) -> None:
        if counted_as:
            self.counts[counted_as] += 1
            self.reasons[event.reason] += 1
        fields: dict[str, Any] = asdict(event)
        self._tell("trigger", **fields)
