"""What an emulated chip's pins did and what it was told, in CPU cycles, read while it runs."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from poseloop.drivers.arduino.framing import Decoder
from poseloop.drivers.arduino.tables import LAYOUTS

CYCLES_PER_MS = 16_000


@dataclass(frozen=True)
class Edge:
    """A pin began or ceased to be driven high; a floating one is low, the rig's resistor sees to it."""

    cycle: int
    host_ns: int
    pin: int
    high: bool


@dataclass(frozen=True)
class Order:
    """A frame whose last byte has arrived at the chip."""

    cycle: int
    host_ns: int
    kind: int
    seq: int
    values: tuple[int, ...]


@dataclass
class Trace:
    """Call `read` for what is new."""

    file: Path
    edges: list[Edge] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)
    clock: list[tuple[int, int]] = field(default_factory=list)
    """Cycle and host's time of each row."""
    lost: int = 0
    """Bytes for which the chip had no room."""
    _at: int = 0
    _decoder: Decoder = field(default_factory=Decoder)
    _high: dict[int, bool] = field(default_factory=dict)

    def read(self) -> "Trace":
        """Take in what the file has more than last time; gives itself."""
        with self.file.open("rb") as file:
            file.seek(self._at)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._at += len(whole)
        for line in whole.splitlines():
            self._take(json.loads(line))
        return self

    def _take(self, row: dict) -> None:
        cycle, host_ns = row["cycle"], row["host_ns"]
        self.clock.append((cycle, host_ns))
        if "pin" in row:
            high = row["driven"] and row["high"]
            if high != self._high.get(row["pin"], False):
                self._high[row["pin"]] = high
                self.edges.append(Edge(cycle, host_ns, row["pin"], high))
        elif "rx" in row:
            self.lost += row.get("lost", False)
            for kind, seq, payload in self._decoder.feed(bytes((row["rx"],))):
                layout = LAYOUTS.get(kind)
                values = layout.unpack(payload) if layout is not None and layout.size == len(payload) else ()
                self.orders.append(Order(cycle, host_ns, kind, seq, values))

    def rises(self, pin: int) -> list[Edge]:
        """When a pin went high."""
        return [edge for edge in self.edges if edge.pin == pin and edge.high]

    def is_high(self, pin: int) -> bool:
        """As far as was read."""
        return self._high.get(pin, False)
