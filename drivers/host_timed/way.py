"""The seam behind a board that this computer times: what switches its lines, and the options that all of them share."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, Protocol

from pydantic import model_validator

from poseloop.live import config


class Way(Protocol):
    """What carries "on" and "off" to a device. It lives in the keeper's process and is used by one thread.

    Order of calls: ``open`` → (``on`` | ``off``)… → ``close``. No call may take longer than `ANSWER_S` after ``open``:
    the lease and every other line wait meanwhile.
    """

    @property
    def lines(self) -> Collection[str]:
        """Names of the lines that it can switch."""

    def open(self) -> None:
        """Connect, and switch every line off.

        Raises:
            ConnectError: there is no such device; a half-opened one has been closed again.
        """

    def times_pulses(self, line: str) -> bool:
        """Does the device end a pulse by itself? Then the keeper's own "off" comes a little later."""

    def on(self, line: str, on_us: int, limit_us: int) -> bool | None:
        """Switch a line on.

        Args:
            line: its name.
            on_us: length of the pulse that begins; 0 = a level.
            limit_us: the longest time that it may stay on, for a device that can keep it.

        Returns:
            True: the device has confirmed it. None: it is on its way, and nothing can say more. False: the device said
            no, or did not answer in time; the keeper then switches the line off.

        Raises:
            DeviceLost: the device is gone.
        """

    def off(self, line: str) -> bool | None:
        """Switch a line off, also one that is off; after False it is called again until it is confirmed.

        Raises:
            DeviceLost: the device is gone.
        """

    def check(self) -> None:
        """See whether the device is still there, as far as that shows without a word to it; called now and then.

        A line that stays on says nothing for long: without this, a cable that was pulled would show at its "off" only.

        Raises:
            DeviceLost: the device is gone.
        """

    def close(self) -> None:
        """Give the device back; idempotent, never raises. Lines stay as they are."""


ANSWER_S = 0.04
"""How long a way may wait for the device's answer."""


class HostTimedSettings(config.Settings):
    """Options of every board that this computer times."""

    timed_by: Literal["host"] | None = None
    """Has to be ``"host"``: whoever writes it knows that no board keeps the limits of these lines."""

    @model_validator(mode="after")
    def _is_meant(self) -> HostTimedSettings:
        if self.timed_by is None:
            raise ValueError(
                'expected timed_by = "host": nothing behind this way out times a pulse, keeps max_on_ms or knows a '
                "lease, so a process on this computer does, and a computer that crashes leaves a line on. Write it if "
                "nothing can be harmed by that (docs/boards-other.md); a laser belongs on a board with our firmware"
            )
        return self
