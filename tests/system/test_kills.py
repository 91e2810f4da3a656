"""Whatever dies or hangs with the laser on, the chip switches it off in time, by its own cycles.

One emulated chip runs on over all of it, as a board does; each run greets it anew.
"""

import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from rigs import ALWAYS, SIMULATED, processes_in, running, wait_for
from simavr.emulator import on_terminal
from simavr.trace import CYCLES_PER_MS, Edge, Order, Trace

from poseloop.drivers.arduino.tables import ToBoard

pytestmark = [
    pytest.mark.firmware,
    pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals and kill -9 are POSIX things"),
]

LASER_PIN = 9
LEASE_MS = 100
GRACE_MS = 10
DRAWS = 5
"""On a busy machine the lease may have lapsed just before the kill: then it is drawn again."""

# A busy machine must not make poses stale: what is looked at is the lease, and that it is renewed often enough.
RIG = SIMULATED.replace('use = "sim"\nlease_ms = 100\ntrace = "edges.jsonl"', 'use = "arduino"\nport = "{port}"\n'
      f"lease_ms = {LEASE_MS}\nrearm_after_ms = 0").replace("[model]", "[gates]\nage_ms = 10000\n[model]")  # fmt: skip

HANGS = '''

class Hangs(On):
    """Switches the laser on, and at some pose does not come back."""

    class Settings(On.Settings):
        after: int

    n = 0

    def decide(self, pose, events):
        self.n += 1
        while self.n > self.settings.after:
            time.sleep(1)
        return super().decide(pose, events)
'''


@dataclass
class Chip:
    """The chip, and what its trace tells."""

    port: str
    trace: Trace

    @property
    def is_on(self) -> bool:
        return self.trace.read().is_high(LASER_PIN)


@pytest.fixture(scope="module")
def chip(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chip]:
    file = tmp_path_factory.mktemp("chip") / "trace.jsonl"
    with on_terminal(file) as port:
        yield Chip(port, Trace(file))


def run_and_fault(kind: str, chip: Chip, folder: Path, moments: random.Random) -> tuple[Order, Edge]:
    """Run the rig until the fault; returns the last order that held the laser, and the edge that ended it."""
    protocol = 'use = "always.py:On"'
    if kind == "hang":
        protocol = f'use = "always.py:Hangs"\nafter = {moments.randint(20, 60)}'
    (folder / "rig.toml").write_text(RIG.format(port=chip.port) + protocol, encoding="utf-8")
    (folder / "always.py").write_text("import time\n" + ALWAYS + HANGS, encoding="utf-8")
    assert not chip.is_on
    with running("run", "rig.toml", "--headless", cwd=folder) as process:
        wait_for(lambda: chip.is_on or process.poll() is not None, 120)
        assert process.poll() is None, process.communicate()[1]
        if kind == "hang":
            wait_for_silence(chip)
        else:
            time.sleep(moments.uniform(0.05, 0.5))
            found = processes_in(folder)
            victims = [found[name] for name in (("engine", "host") if kind == "both" else (kind,))]
            wait_for(lambda: chip.is_on)
            for victim in victims:
                os.kill(victim.pid, signal.SIGKILL)
        wait_for(lambda: not chip.is_on, 60)
    wait_for(lambda: not processes_in(folder))
    trace = chip.trace.read()
    held = [order for order in trace.orders if order.kind in (ToBoard.ARM, ToBoard.RENEW)]
    falls = [edge for edge in trace.edges if edge.pin == LASER_PIN and not edge.high]
    return held[-1], falls[-1]


def measure(kind: str, count: int, chip: Chip, folder: Path) -> list[float]:
    """From the last renewal to the pin's falling edge at each of so many random moments, ms of the chip's own time."""
    moments = random.Random(f"{kind} {count}")
    off_ms: list[float] = []
    for _ in range(count + DRAWS):
        held, off = run_and_fault(kind, chip, folder, moments)
        if off.cycle > held.cycle:
            off_ms.append((off.cycle - held.cycle) / CYCLES_PER_MS)
        if len(off_ms) == count:
            break
    assert len(off_ms) == count
    return off_ms


def wait_for_silence(chip: Chip, seconds: float = 1.5) -> None:
    """Wait until the host has not said anything for so long; it asks for the time every second."""
    heard, since = -1, time.monotonic()
    while time.monotonic() - since < seconds:
        now = len(chip.trace.read().orders)
        if now != heard:
            heard, since = now, time.monotonic()
        time.sleep(0.02)


@pytest.mark.parametrize("count", [2, pytest.param(20, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["engine", "host", "both", "hang"])
def test_the_laser_goes_off_within_its_lease(kind: str, count: int, chip: Chip, tmp_path: Path) -> None:
    off_ms = measure(kind, count, chip, tmp_path)
    assert max(off_ms) <= LEASE_MS + GRACE_MS
    assert chip.trace.lost == 0
