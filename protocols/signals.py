"""What a board sends to other devices while a rig runs: camera triggers, and sync for a recording system.

No protocol asks for these, they are not leased, and no gate holds them back.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from poseloop.live.config import BoardTable
from poseloop.live.errors import DeviceError
from poseloop.live.interfaces import Board
from poseloop.live.types import CameraTrigger, Outcome, OutcomeKind

__all__ = ["Signals"]

_DOUBT_NS = 1_000_000_000
"""How long the first trigger may take where the board has not said in time that it obeys."""


class Signals:
    """Camera triggers and sync of one board, if it has them."""

    def __init__(self, name: str, table: BoardTable, board: Board) -> None:
        """Keep whom to tell what.

        Args:
            name: of the board.
            table: says whether it has either.
            board: opened by its owner.
        """
        self._name = name
        self._trigger = table.camera_trigger
        self._sync = table.sync
        self._board = board
        self._started = 0
        self._doubted_ns = 0
        self._syncs: set[int] = set()
        self._next_index = 0
        self.triggers = 0
        """Camera triggers so far; those that the board had no room to report count too."""
        self.syncs = Counter(dict.fromkeys(("sent", "acknowledged", "refused", "lost"), 0))

    @property
    def open(self) -> bool:
        """Does a sync wait for its answer?"""
        return bool(self._syncs)

    def start_cameras(self) -> None:
        """All cameras wait for their first trigger: begin."""
        if self._trigger is not None:
            self._started = self._board.send(self._trigger.command(self._name))

    def mark(self, index: int) -> None:
        """Frame set ``index`` was decided on."""
        if self._sync is None or index < self._next_index:
            return
        self._next_index = index + self._sync.every
        self._syncs.add(self._board.send(self._sync.command(self._name, index)))
        self.syncs["sent"] += 1

    def triggered(self, event: CameraTrigger) -> None:
        """The board reports one trigger."""
        if self._trigger is not None and event.line == self._trigger.NAME:
            self.triggers = event.index + 1
            self._doubted_ns = 0

    def answered(self, outcome: Outcome) -> None:
        """The board's answer to a command came, or did not come in time.

        Raises:
            DeviceError: the camera trigger was refused, so no frame would ever come.
        """
        if outcome.ticket in self._syncs:
            self._syncs.remove(outcome.ticket)
            self.syncs[outcome.kind.value] += 1
        elif outcome.ticket == self._started and outcome.kind is OutcomeKind.LOST:
            self._doubted_ns = outcome.written_ns
        elif outcome.ticket == self._started and outcome.kind is OutcomeKind.REFUSED:
            raise DeviceError(self._name, f"the camera trigger did not start: {outcome.reason}")

    def check(self, now: int) -> None:
        """Look whether the triggers came although no answer did; it may have been the answer that was lost.

        Raises:
            DeviceError: they did not.
        """
        if self._doubted_ns and now - self._doubted_ns > _DOUBT_NS:
            raise DeviceError(self._name, "the camera trigger did not start: neither answer nor trigger within 1 s")

    def report(self) -> dict[str, Any]:
        """What there is of the two, for a run's report."""
        found: dict[str, Any] = {}
        if self._trigger is not None:
            found["camera_triggers"] = self.triggers
        if self._sync is not None:
            found["syncs"] = dict(self.syncs)
        return found
