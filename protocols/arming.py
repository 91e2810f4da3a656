"""By which rule a board is armed and its lease renewed."""

from __future__ import annotations

import contextlib

from poseloop.live.config import BoardTable
from poseloop.live.errors import DeviceError
from poseloop.live.interfaces import Board

__all__ = ["ArmedBoard"]


class ArmedBoard:
    """A board of the rig: armed by the first fresh pose, and after a lapse by poses that have stayed fresh.

    It is served as long as a protocol that may switch it is alive; a board that nobody serves is not armed.
    """

    def __init__(self, name: str, table: BoardTable) -> None:
        self.board: Board = table.build(name)
        self.table = table
        self.armed = False
        self.served = False
        self._armed_once = False
        self._fresh_since_ns: int | None = None
        self._last_fresh_ns = 0

    def fresh_pose(self, now: int) -> None:
        """Arm if the rule allows it, so that what is decided on this pose can act.

        Raises:
            DeviceError: the board does not answer.
        """
        gap = now - self._last_fresh_ns > self.table.lease_ms * 1_000_000
        if gap or self._fresh_since_ns is None:
            self._fresh_since_ns = now
        self._last_fresh_ns = now
        if self.served and not self.armed and self._may_arm(now - self._fresh_since_ns):
            self.board.arm()
            self.armed = self._armed_once = True

    def _may_arm(self, fresh_ns: int) -> bool:
        wait_ms = self.table.rearm_after_ms
        return not self._armed_once or (wait_ms is not None and fresh_ns >= wait_ms * 1e6)

    def renew(self) -> None:
        """A fresh pose was decided on: renew the lease.

        Raises:
            DeviceLost: the board is gone.
        """
        if self.armed:
            self.board.renew()

    def was_disarmed(self) -> None:
        """The board says so; from now on poses have to be fresh for a while before it is armed again."""
        self.armed = False
        self._fresh_since_ns = None

    def leave(self) -> None:
        """No protocol serves it any more: disarm it, which switches everything off."""
        self.served = self.armed = False
        with contextlib.suppress(DeviceError):  # then its lease, which nobody renews, does the same
            self.board.disarm()
