"""Digital lines of a National Instruments device, switched by software through NI-DAQmx.

Written to the documentation of ``nidaqmx`` 1.x and tested against a stand-in of it; it has not met a device yet. One
task holds one line, on-demand timing: ``write`` returns when the device has put out the level.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from poseloop.drivers.host_timed.board import HostTimedBoard
from poseloop.drivers.host_timed.way import ANSWER_S, HostTimedSettings
from poseloop.live import config
from poseloop.live.errors import ConnectError, DeviceLost


class Channel(config.Settings):
    """``[boards.NAME.channels]``: one digital line."""

    line: str = Field(pattern=r"^/?[^\s,:/]+/port\d+/line\d+$")
    """Its physical name, such as ``Dev1/port0/line3``."""
    active: Literal["high", "low"] = "high"
    """The level that means on."""


class DigitalLines:
    """`poseloop.drivers.host_timed.way.Way` through ``nidaqmx``."""

    def __init__(self, name: str, settings: NidaqBoard.Settings) -> None:
        self._name = name
        self._settings = settings
        self._tasks: dict[str, Any] = {}
        self._error: type[Exception] = Exception

    @property
    def lines(self) -> Mapping[str, Channel]:
        """The lines of the table ``channels``."""
        return self._settings.channels

    def open(self) -> None:
        """Reserve each line and put it to its safe level."""
        self.close()
        try:
            import nidaqmx
            from nidaqmx.constants import LineGrouping
            from nidaqmx.errors import DaqNotFoundError, Error
        except ImportError:
            raise ConnectError(self._name, 'NI-DAQ needs a package: pip install "poseloop[nidaq]"') from None
        self._error = Error
        try:
            for name, channel in self.lines.items():
                task = self._tasks[name] = nidaqmx.Task()
                task.do_channels.add_do_chan(channel.line, line_grouping=LineGrouping.CHAN_PER_LINE)
                self._write(name, on=False)
        except DaqNotFoundError as error:
            self.close()
            raise ConnectError(
                self._name, f"the driver NI-DAQmx is not installed; get it from ni.com/downloads ({error})"
            ) from error
        except Error as error:
            self.close()
            there = ", ".join(NidaqBoard.discover()) or "none"
            raise ConnectError(self._name, f"{name} cannot be used: {error}. Devices here: {there}") from error
        except BaseException:
            self.close()
            raise

    def times_pulses(self, line: str) -> bool:
        """No: it is switched by software."""
        return False

    def on(self, line: str, on_us: int, limit_us: int) -> bool:
        """Put the line to its active level; ``write`` returns when the device has done so."""
        return self._switch(line, on=True)

    def off(self, line: str) -> bool:
        """Put the line to its safe level."""
        return self._switch(line, on=False)

    def check(self) -> None:
        """Nothing: the driver tells at the next command."""

    def close(self) -> None:
        """Give the lines back; they keep their level."""
        for task in self._tasks.values():
            with contextlib.suppress(self._error):
                task.close()
        self._tasks = {}

    def _switch(self, line: str, on: bool) -> bool:
        try:
            self._write(line, on)
        except self._error as error:
            raise DeviceLost(self._name, f"{line} ({self.lines[line].line}) cannot be switched: {error}") from error
        return True

    def _write(self, line: str, on: bool) -> None:
        self._tasks[line].write(on == (self.lines[line].active == "high"), auto_start=True, timeout=ANSWER_S)


class NidaqBoard(HostTimedBoard):
    """Digital lines of a National Instruments device (`poseloop.live.interfaces.Board`)."""

    use = "nidaq"

    class Settings(HostTimedSettings):
        """``[boards.NAME]`` with ``use = "nidaq"``."""

        channels: dict[str, Channel] = Field(min_length=1)
        """Line → which digital line of which device."""

    @classmethod
    def way(cls, name: str, settings: Settings) -> DigitalLines:
        """What writes the levels."""
        return DigitalLines(name, settings)

    @classmethod
    def discover(cls) -> Sequence[str]:
        """Devices that NI-DAQmx knows."""
        try:
            from nidaqmx.errors import Error
            from nidaqmx.system import System
        except ImportError:
            return ['not usable: pip install "poseloop[nidaq]"']
        try:
            return [f"{device.name} ({device.product_type})" for device in System.local().devices]
        except Error as error:
            return [f"not usable: {str(error).splitlines()[0]}"]
