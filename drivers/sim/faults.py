"""A simulated board that misbehaves on purpose, for tests of whoever talks to it. Standard library only."""

from __future__ import annotations

from poseloop.drivers.arduino.tables import PROTOCOL_VERSION, Reason, ToBoard, ToHost
from poseloop.drivers.sim.machine import Firmware

WATCHDOG = 4
"""Cause of a reset, see `poseloop.drivers.arduino.tables.RESET_CAUSES`."""


class FaultyFirmware(Firmware):
    """A board whose answers get lost, or that restarts in the middle."""

    def __init__(
        self,
        protocol: int = PROTOCOL_VERSION,
        start_us: int = 0,
        silent: bool = False,
        drop_acks: int = 0,
        reset_after: int = 0,
    ) -> None:
        """Make a board without power.

        Args:
            protocol: the version that it claims to speak.
            start_us: what its clock shows at power-up.
            silent: it never says a word.
            drop_acks: this many acknowledgements get lost once it is armed.
            reset_after: it restarts when it has begun this many on-commands; 0 = never.
        """
        super().__init__(protocol, start_us)
        self._silent = silent
        self._drop_acks = drop_acks
        self._reset_after = reset_after

    def _send(self, kind: ToHost, seq: int, *values: int) -> None:
        if self._silent:
            return
        if kind == ToHost.ACK and self.armed and self._drop_acks:
            self._drop_acks -= 1
            return
        super()._send(kind, seq, *values)

    def _start(
        self, kind: ToBoard, seq: int, index: int, delay_us: int, on_us: int, period_us: int, count: int
    ) -> Reason | None:
        reason = super()._start(kind, seq, index, delay_us, on_us, period_us, count)
        if reason is None and self._reset_after:
            self._reset_after -= 1
            if not self._reset_after:
                self._run(self._clock.now_us)
                self._restart(WATCHDOG)
        return reason
