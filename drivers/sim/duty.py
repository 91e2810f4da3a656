"""Counts how long an output was on, in the way that the firmware does it: coarse, small, and never too little.

Standard library only.
"""

from __future__ import annotations

from poseloop.drivers.arduino.tables import DUTY_SLOTS


class Duty:
    """On-time of one output over the newest window.

    The window is counted in `DUTY_SLOTS` equal slots plus the running one, so between 8/8 and 9/8 of the window are
    looked at: in no window of ``window_us``, wherever it begins, is the output on for longer than the budget.
    """

    def __init__(self, window_us: int, thousandths: int) -> None:
        self.limited = thousandths < 1000
        self.window_us = window_us
        self.budget_us = window_us * thousandths // 1000
        self._slot_us = -(-window_us // DUTY_SLOTS)
        self._counts = [0] * (DUTY_SLOTS + 1)
        self._slot = 0

    def used_us(self, at_us: int) -> int:
        """On-time that counts at ``at_us``; finished stretches only."""
        self._turn(at_us // self._slot_us)
        return sum(self._counts)

    def add(self, start_us: int, end_us: int) -> None:
        """Count one finished stretch; stretches come in order."""
        while start_us < end_us:
            slot = start_us // self._slot_us
            self._turn(slot)
            until = min(end_us, (slot + 1) * self._slot_us)
            self._counts[-1] += until - start_us
            start_us = until

    def allows_pulse(self, at_us: int, on_us: int) -> bool:
        """Tell whether one pulse fits the budget."""
        return not self.limited or self.used_us(at_us) + on_us <= self.budget_us

    def allows_train(self, at_us: int, on_us: int, period_us: int, count: int) -> bool:
        """Tell whether the worst window of a train fits the budget, together with what was on before."""
        whole, rest = divmod(self.window_us, period_us)
        worst = min(whole * on_us + min(on_us, rest), count * on_us)
        return self.allows_pulse(at_us, worst)

    def spent_us(self, at_us: int) -> int | None:
        """When a level that begins at ``at_us`` has spent the budget; None = never."""
        if not self.limited:
            return None
        self._turn(at_us // self._slot_us)
        counts, slot = list(self._counts), self._slot
        while True:
            left = self.budget_us - sum(counts)
            ends = (slot + 1) * self._slot_us
            if at_us + left <= ends:
                return max(at_us + left, at_us)
            counts[-1] += ends - at_us
            counts = [*counts[1:], 0]
            at_us = ends
            slot += 1

    def _turn(self, slot: int) -> None:
        passed = min(slot - self._slot, len(self._counts))
        if passed > 0:
            self._counts = self._counts[passed:] + [0] * passed
            self._slot = slot
