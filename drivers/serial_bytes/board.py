"""A lab's own sketch: each line is a few bytes for on and for off, as the rig file says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from poseloop.drivers.arduino.link import ports
from poseloop.drivers.host_timed.board import HostTimedBoard
from poseloop.drivers.host_timed.serial_line import SerialLine
from poseloop.drivers.host_timed.way import ANSWER_S, HostTimedSettings
from poseloop.live import config


def _is_bytes(text: str) -> str:
    try:
        text.encode("latin-1")
    except UnicodeEncodeError:
        raise ValueError("expected characters up to U+00FF, each of which is one byte") from None
    return text


Bytes = Annotated[str, AfterValidator(_is_bytes)]
"""Text as bytes: each character is one; TOML writes the others as ``"\\u0001"``."""


class LineBytes(config.Settings):
    """``[boards.NAME.bytes]``: what one line is told."""

    on: Bytes = Field(min_length=1)
    off: Bytes = Field(min_length=1)
    """Must do no harm when it comes twice: no toggling."""
    pulse: Bytes = ""
    """Where the sketch times pulses itself: ``{ms}`` or ``{us}`` is the length. ``off`` follows all the same."""
    on_reply: Bytes = ""
    """What the sketch answers to ``on`` and ``pulse``; empty = nothing, so that no trigger can be acknowledged."""
    off_reply: Bytes = ""

    @model_validator(mode="after")
    def _differs(self) -> LineBytes:
        if self.on == self.off or self.pulse == self.off:
            raise ValueError(
                "off must differ from on and pulse: a line that toggles cannot be switched off for certain"
            )
        if self.pulse and "{ms}" not in self.pulse and "{us}" not in self.pulse:
            raise ValueError("pulse needs {ms} or {us}: the length that is asked for")
        return self


class SerialBytes:
    """`poseloop.drivers.host_timed.way.Way` over a serial port."""

    def __init__(self, name: str, settings: SerialBytesBoard.Settings) -> None:
        self._settings = settings
        self._line = SerialLine(name, settings.port, settings.baud)

    @property
    def lines(self) -> Mapping[str, LineBytes]:
        """The lines of the table ``bytes``."""
        return self._settings.bytes

    def open(self) -> None:
        """Open the port, wait until the sketch has started, and switch every line off."""
        self._line.open(self._settings.starts_s, self._settings.greeting.encode("latin-1"))
        try:
            for line in self.lines:
                self.off(line)
        except BaseException:
            self.close()
            raise

    def times_pulses(self, line: str) -> bool:
        """Whether the line has ``pulse``."""
        return bool(self.lines[line].pulse)

    def on(self, line: str, on_us: int, limit_us: int) -> bool | None:
        """Write ``on``, or ``pulse``; a length in ms is rounded down, so that it never exceeds what was asked for."""
        told = self.lines[line]
        text = told.on
        if on_us and told.pulse:
            text = told.pulse.replace("{ms}", str(on_us // 1000)).replace("{us}", str(on_us))
        return self._exchange(text, told.on_reply)

    def off(self, line: str) -> bool | None:
        """Write ``off``."""
        told = self.lines[line]
        return self._exchange(told.off, told.off_reply)

    def check(self) -> None:
        """See whether the port is still there."""
        self._line.check()

    def close(self) -> None:
        """Free the port."""
        self._line.close()

    def _exchange(self, text: str, reply: str) -> bool | None:
        self._line.write(text.encode("latin-1"))
        return self._line.heard(reply.encode("latin-1"), ANSWER_S) if reply else None


class SerialBytesBoard(HostTimedBoard):
    """A sketch that understands a few bytes (`poseloop.live.interfaces.Board`)."""

    use = "serial"

    class Settings(HostTimedSettings):
        """``[boards.NAME]`` with ``use = "serial"``."""

        port: str = Field(min_length=1)
        """``/dev/ttyACM0``, ``COM7``, or a URL such as ``socket://127.0.0.1:4000``."""
        baud: int = Field(115_200, ge=300, le=4_000_000)
        starts_s: float = Field(2.0, ge=0, le=10)
        """How long the sketch takes to start: an Arduino restarts when its port is opened."""
        greeting: Bytes = ""
        """What it says when it has started, so that ``starts_s`` need not be waited for to its end."""
        bytes: dict[str, LineBytes] = Field(min_length=1)
        """Line → what it is told."""

        @model_validator(mode="after")
        def _replies_differ(self) -> SerialBytesBoard.Settings:
            replies = [reply for line in self.bytes.values() for reply in (line.on_reply, line.off_reply) if reply]
            if len(set(replies)) < len(replies):
                raise ValueError("each on_reply and off_reply must differ: a late answer would pass for another one's")
            return self

    @classmethod
    def way(cls, name: str, settings: Settings) -> SerialBytes:
        """What writes the bytes."""
        return SerialBytes(name, settings)

    @classmethod
    def discover(cls) -> Sequence[str]:
        """Serial ports of this computer; what is behind them shows only when one is opened."""
        return ports()
