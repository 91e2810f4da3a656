"""The mapping of the board's clock onto the host's, on the emulated chip: mapped edges against its cycle stamps.

The time is virtual, a few times faster than real. ``POSELOOP_CLOCK_S=60`` makes it a minute; that has been done.
"""

import os
import random

import numpy as np
import pytest
from simavr.emulator import BYTE_US, Script, output

from poseloop.drivers.arduino.board_clock import BoardClock
from poseloop.drivers.arduino.tables import ToBoard, ToHost

SECONDS = int(os.environ.get("POSELOOP_CLOCK_S", "10"))
DRIFT = 50e-6
PULSE_EVERY_US = 47_113


def host_ns(board_us: float) -> int:
    """The host's clock when the chip has run for so long; it runs fast, and began long before."""
    return 10**12 + round(board_us * 1000 * (1 + DRIFT))


def way_us(chance: random.Random) -> float:
    """One way over USB: frames of 1 ms, and now and then an adapter that waits."""
    stall = chance.uniform(0, 16e3) if chance.random() < 0.05 else 0.0
    return 100 + chance.expovariate(1 / 80) + chance.uniform(0, 1000) * (chance.random() < 0.3) + stall


@pytest.mark.parametrize("seed", range(2))
def test_mapped_edges_are_where_the_cycles_say(seed: int) -> None:
    """As the driver does: ten exchanges at the start, then one a second; pulses between them."""
    chance = random.Random(seed)
    script = Script()
    script.configure(output(), lease_ms=10_000)
    starts = [script.us + number * 30_000 for number in range(10)]
    starts += [starts[-1] + 1e6 * (number + 1) for number in range(SECONDS)]
    written: dict[int, float] = {}
    next_pulse = starts[9] + 20_000
    for start in starts:
        while next_pulse < start - 25_000:
            script.say(ToBoard.RENEW, at=next_pulse)
            script.say(ToBoard.PULSE, 0, 0, 5000, at=next_pulse + 1000)
            next_pulse += PULSE_EVERY_US
        script.say(ToBoard.PING, at=start + way_us(chance))
        written[script.seq] = start
        next_pulse = max(next_pulse, script.us + 2000)
    script.wait(50_000)
    run = script.run()

    clock = BoardClock()
    edges = iter(run.edges(8))
    errors = []
    for heard in run.of(ToHost.PONG, ToHost.EDGE):
        arrived_ns = host_ns(heard.us + BYTE_US + way_us(chance))
        if heard.kind == ToHost.PONG:
            clock.learn(host_ns(written[heard.seq]), heard.values[0], arrived_ns)
            continue
        truth_us, active = next(edges)
        assert active == heard.values[1]
        errors.append(abs(clock.host_ns(heard.values[2], arrived_ns) - host_ns(truth_us)))
    assert len(errors) > 30 * SECONDS
    assert np.percentile(errors, 95) <= 200_000
