import threading
import time

import pytest

from poseloop.drivers.paced import Delivery
from poseloop.live.clock import Pacer, now_ns


def test_an_event_ends_a_pacers_wait() -> None:
    stop = threading.Event()
    pacer = Pacer(now_ns(), stop=stop)
    timer = threading.Timer(0.02, stop.set)
    timer.start()
    before = time.perf_counter()
    assert not pacer.wait_until(60_000_000_000)
    assert time.perf_counter() - before < 15
    timer.join()
    assert pacer.left_s(0) < 0 < pacer.left_s(60_000_000_000)


def test_pixels_are_written_before_the_wait_and_only_for_a_frame_that_is_due() -> None:
    delivery = Delivery("recorded")
    delivery.start()
    filled: list[int] = []
    assert delivery.deliver(60_000_000_000, lambda: filled.append(now_ns()), 0.01) is None
    assert filled == []
    stamp = delivery.deliver(30_000_000, lambda: filled.append(now_ns()), 60.0)
    assert stamp is not None
    assert filled[0] < stamp.exposed_ns <= stamp.arrived_ns
    assert stamp.index == 0
    assert delivery.index == 1


@pytest.mark.parametrize("pace", ["recorded", "none"])
def test_nothing_is_delivered_before_start_or_after_stop(pace: str) -> None:
    delivery = Delivery("none" if pace == "none" else "recorded")
    assert delivery.deliver(0, lambda: pytest.fail("filled"), 60.0) is None
    delivery.start()
    delivery.stop()
    assert delivery.deliver(0, lambda: pytest.fail("filled"), 60.0) is None
