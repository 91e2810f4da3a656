"""A Teensy with DeepLabCut-live's sketch ``teensy_laser``: one output, a PWM burst of limited length.

Its protocol, from the sketch (github.com/DeepLabCut/DeepLabCut-live, example_processors/TeensyLaser): 115,200 baud;
``O`` and three little-endian uint16 (frequency in Hz, pulse width in ms, longest duration in ms) switches on and is
answered with the three numbers as a line of text, ``50,5,200``; ``X`` switches off and is not answered; ``R`` restarts.
Two traps in it are avoided here: a duration of 0 means 65,355 ms, and a command whose end has not arrived yet is
completed with zeros. So a duration is always sent, and a line whose answer does not repeat all three is switched off.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from struct import Struct

from pydantic import Field, model_validator

from poseloop.drivers.arduino.link import ports
from poseloop.drivers.host_timed.board import HostTimedBoard
from poseloop.drivers.host_timed.serial_line import SerialLine
from poseloop.drivers.host_timed.way import ANSWER_S, HostTimedSettings
from poseloop.live import config

BAUD = 115_200
ON = Struct("<cHHH")
OFF = b"X"

MAX_MS = 65_000
"""Longest duration that is sent; the sketch holds 16 bits."""


class Burst(config.Settings):
    """``[boards.NAME.bursts]``: what the output does while it is on."""

    hz: int = Field(ge=1, le=65_535)
    """Frequency of the PWM."""
    width_ms: int = Field(ge=1, le=1000)
    """Length of each of its pulses; ``hz * width_ms = 1000`` is steadily on."""

    @model_validator(mode="after")
    def _fits(self) -> Burst:
        if self.hz * self.width_ms > 1000:
            raise ValueError(f"{self.hz} pulses of {self.width_ms} ms do not fit in a second")
        return self


class TeensyLaser:
    """`poseloop.drivers.host_timed.way.Way` in the sketch's protocol."""

    def __init__(self, name: str, settings: TeensyBoard.Settings) -> None:
        self._settings = settings
        self._line = SerialLine(name, settings.port, BAUD)

    @property
    def lines(self) -> Mapping[str, Burst]:
        """The one line."""
        return self._settings.bursts

    def open(self) -> None:
        """Open the port (a Teensy does not restart by that) and switch off."""
        self._line.open(0, b"")
        try:
            self._line.write(OFF)
        except BaseException:
            self.close()
            raise

    def times_pulses(self, line: str) -> bool:
        """Yes: it ends a burst after its duration."""
        return True

    def on(self, line: str, on_us: int, limit_us: int) -> bool:
        """Start a burst whose duration the Teensy keeps by itself; confirmed if it repeats all three numbers."""
        burst = self._settings.bursts[line]
        duration_ms = min(max(limit_us // 1000, 1), MAX_MS)
        self._line.write(ON.pack(b"O", burst.hz, burst.width_ms, duration_ms))
        return self._line.heard(f"{burst.hz},{burst.width_ms},{duration_ms}\n".encode(), ANSWER_S)

    def off(self, line: str) -> None:
        """Write ``X``, which is not answered."""
        self._line.write(OFF)

    def check(self) -> None:
        """See whether the port is still there."""
        self._line.check()

    def close(self) -> None:
        """Free the port."""
        self._line.close()


class TeensyBoard(HostTimedBoard):
    """A Teensy with DeepLabCut-live's sketch (`poseloop.live.interfaces.Board`)."""

    use = "teensy"

    class Settings(HostTimedSettings):
        """``[boards.NAME]`` with ``use = "teensy"``."""

        port: str = Field(min_length=1)
        """``/dev/ttyACM0``, ``COM7``, or a URL such as ``socket://127.0.0.1:4000``."""
        bursts: dict[str, Burst] = Field(min_length=1, max_length=1)
        """The one line → what its output does while it is on."""

    @classmethod
    def way(cls, name: str, settings: Settings) -> TeensyLaser:
        """What speaks the sketch's protocol."""
        return TeensyLaser(name, settings)

    @classmethod
    def discover(cls) -> Sequence[str]:
        """Serial ports of this computer; what is behind them shows only when one is opened."""
        return ports()
