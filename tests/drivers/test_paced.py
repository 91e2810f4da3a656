import gc
import threading
import time

import pytest

from poseloop.drivers import paced
from poseloop.drivers.paced import Delivery, Schedule
from poseloop.live.clock import Pacer, now_ns
from poseloop.live.errors import ConnectError


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


# Several of one rig


class Clock:
    """Host time that a test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_ns = 1_000_000_000_000
        monkeypatch.setattr(paced, "now_ns", lambda: self.now_ns)


def deliveries(count: int) -> list[Delivery]:
    """Paced ones that share a schedule of their own."""
    schedule = Schedule()
    made = [Delivery("recorded") for _ in range(count)]
    for delivery in made:
        delivery.schedule = schedule
    return made


def test_cameras_that_are_started_one_after_the_other_begin_together(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    first, second = deliveries(2)
    first.start("free", "a", 30.0)
    clock.now_ns += 700_000_000
    second.start("free", "b", 25.0)
    assert first._pacer.start_ns == second._pacer.start_ns == 1_000_000_000_000
    assert second.passed == 0
    first.stop()
    second.stop()
    clock.now_ns += 5_000_000_000
    second.start("free", "b", 25.0)
    # All had stopped: this is another run.
    assert second._pacer.start_ns == clock.now_ns
    second.stop()


def test_one_that_comes_back_goes_on_where_the_others_are(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    first, second = deliveries(2)
    for delivery in (first, second):
        delivery.start("hardware", "a", 100.0)
    second.stop()
    clock.now_ns += 7_003_000_000
    second.start("hardware", "a", 100.0)
    assert (second.index, second.number) == (0, 701)
    assert second._pacer.start_ns == first._pacer.start_ns
    first.stop()
    second.stop()


def test_a_forgotten_camera_holds_nobody_to_its_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    (second,) = later = deliveries(1)
    forgotten = Delivery("recorded")
    forgotten.schedule = second.schedule
    forgotten.start("free", "a", 30.0)
    del forgotten
    gc.collect()
    clock.now_ns += 9_000_000_000
    second.start("free", "b", 30.0)
    assert second.passed == 0
    later[0].stop()


def test_with_one_trigger_rates_must_agree() -> None:
    first, second, third = deliveries(3)
    first.start("hardware", "top", 30.0)
    second.start("hardware", "side", 29.97)
    with pytest.raises(ConnectError, match=r"^front: has 25 frames a second, but top has 30; .* sync.trigger"):
        third.start("hardware", "front", 25.0)
    third.start("free", "front", 25.0)
    for delivery in (first, second, third):
        delivery.stop()


def test_the_first_camera_at_a_trigger_says_when_it_was() -> None:
    schedule = Schedule()
    member = Delivery("recorded")
    schedule.join(member, "a", 30.0, True)
    assert schedule.time_of(0, 100) == 100
    assert schedule.time_of(0, 105) == 100
    assert schedule.time_of(5000, 900) == 900
    # Long forgotten: its own time is as good as any.
    assert schedule.time_of(904, 300) == 300
    assert schedule.time_of(5000, 901) == 900
    schedule.leave(member)
    schedule.join(member, "a", 30.0, True)
    assert schedule.time_of(0, 7) == 7
