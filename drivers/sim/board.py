"""A board without hardware: the true driver, talking to the simulated firmware in a process of its own."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field, model_validator

from poseloop.drivers.arduino.board import ArduinoBoard
from poseloop.drivers.sim.firmware_process import FirmwareProcess
from poseloop.live import config
from poseloop.live.errors import DeviceLost
from poseloop.live.types import BoardEvent, CameraTrigger, Command, InputEvent, LineSettings, Outcome, PinEdge

_ENDS_S = 2.0
"""A board that was disarmed ends at once; one that was not, when its lease has lapsed."""


class SquareWave(config.Settings):
    """Something that drives an input pin of the simulated board: high at the start of every period."""

    pin: int = Field(ge=2, le=69)
    period_ms: float = Field(gt=0)
    high_ms: float = Field(gt=0)

    @model_validator(mode="after")
    def _goes_low(self) -> SquareWave:
        if self.high_ms >= self.period_ms:
            raise ValueError("high_ms must be less than period_ms, or it would never go low")
        return self


class SimulatedBoard:
    """A board that needs no hardware (`poseloop.live.interfaces.Board`)."""

    class Settings(config.Settings):
        """``[boards.NAME]`` with ``use = "sim"``."""

        trace: config.RigPath | None = None
        """File that gets one line of JSON for every edge of an output, as the simulated pins see it."""
        inputs: tuple[SquareWave, ...] = ()
        """What happens at the input pins: licks, TTL pulses."""
        drop_acks: int = Field(0, ge=0)
        """A fault on purpose: this many acknowledgements get lost once the board is armed."""
        reset_after: int = Field(0, ge=0)
        """A fault on purpose: the board restarts in this on-command; 0 = never."""

    def __init__(self, name: str, settings: Settings) -> None:
        self._name = name
        self._settings = settings
        self._process: FirmwareProcess | None = None
        self._board: ArduinoBoard | None = None
        self._lease_ms = 0

    @property
    def name(self) -> str:
        """Name in the rig file."""
        return self._name

    @property
    def pid(self) -> int:
        """Process id of the simulated firmware; 0 while it does not run."""
        return self._process.pid if self._process else 0

    @property
    def command_us(self) -> float:
        """Nothing: the link to the simulated firmware is a socket."""
        return 0.0

    def ping_ns(self) -> int:
        """How long the firmware's process takes to answer."""
        return self._driver().ping_ns()

    @classmethod
    def discover(cls) -> Sequence[str]:
        """Return the one simulated board, which is always there."""
        return ["simulated board (needs no hardware)"]

    def open(self) -> None:
        """Start the firmware and connect to it."""
        self.close()
        self._process = FirmwareProcess(self._name, *self._arguments())
        port = self._process.start()
        self._board = ArduinoBoard(self._name, ArduinoBoard.Settings(port=f"socket://127.0.0.1:{port}"))
        try:
            self._board.open()
        except BaseException:
            self._process.kill()
            self._process = self._board = None
            raise

    def configure(self, lines: Sequence[LineSettings], lease_ms: int) -> None:
        """See `poseloop.live.interfaces.Board`, as for all calls below."""
        self._driver().configure(lines, lease_ms)
        self._lease_ms = lease_ms

    def arm(self) -> None:
        """Allow on-commands and start the lease."""
        self._driver().arm()

    def disarm(self) -> None:
        """Switch everything off and refuse on-commands."""
        self._driver().disarm()

    def renew(self) -> None:
        """Renew the lease."""
        self._driver().renew()

    def send(self, command: Command) -> int:
        """Write one command."""
        return self._driver().send(command)

    def events(self) -> Sequence[InputEvent | Outcome | PinEdge | CameraTrigger | BoardEvent]:
        """Everything since the last call."""
        return self._board.events() if self._board else ()

    def off(self) -> None:
        """Switch every output off."""
        if self._board is not None:
            self._board.off()

    def close(self) -> None:
        """Disconnect, and wait for the firmware to end by itself as it does when a host has gone."""
        if self._board is not None:
            self._board.close()
        if self._process is not None:
            if not self._process.wait(_ENDS_S + self._lease_ms / 1000):
                self._process.kill()
            self._process = None

    def _driver(self) -> ArduinoBoard:
        if self._board is None:
            raise DeviceLost(self._name, "the board is not open")
        return self._board

    def _arguments(self) -> list[str]:
        settings = self._settings
        found = ["--drop-acks", str(settings.drop_acks), "--reset-after", str(settings.reset_after)]
        if settings.trace is not None:
            found += ["--trace", str(settings.trace)]
        for wave in settings.inputs:
            found += ["--input", f"{wave.pin}:{wave.period_ms}:{wave.high_ms}"]
        return found
