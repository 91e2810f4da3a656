import numpy as np
import pytest

from poseloop.live.clock import ClockMap, Pacer


class Time:
    """A clock that only sleeping moves, and that oversleeps."""

    def __init__(self, late_ns: int = 0) -> None:
        self.now_ns = 1_000_000_000
        self.late_ns = late_ns

    def __call__(self) -> int:
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        self.now_ns += int(seconds * 1e9) + self.late_ns + 1000


def test_pacer_does_not_add_up_late_wake_ups() -> None:
    time = Time(late_ns=300_000)
    pacer = Pacer(time.now_ns, time, time.sleep)
    started = time.now_ns
    late = []
    for i in range(1, 101):
        assert pacer.wait_until(i * 10_000_000)
        late.append(time.now_ns - started - i * 10_000_000)
    assert min(late) >= 0
    assert max(late) < 400_000


def test_pacer_gives_up_at_the_time_out_and_does_not_wait_for_the_past() -> None:
    time = Time()
    pacer = Pacer(time.now_ns, time, time.sleep)
    assert not pacer.wait_until(1_000_000_000, timeout_s=0.1)
    assert 0.1e9 <= time.now_ns - 1_000_000_000 < 0.11e9
    before = time.now_ns
    assert pacer.wait_until(50_000_000)
    assert time.now_ns == before


def test_clock_map_needs_a_sample() -> None:
    with pytest.raises(ValueError, match="at least one clock sample"):
        ClockMap().to_host(0)


def test_clock_map_finds_offset_and_drift_through_jitter() -> None:
    """50 ppm drift and a serial line whose two ways take 0.2 ms plus an exponential tail of 0.5 ms each."""
    random = np.random.default_rng(0)
    clock = ClockMap()
    true_host = lambda device: 5_000_000_000 + round(device * (1 + 50e-6))  # noqa: E731
    for second in range(60):
        device = second * 1_000_000_000
        out, back = (200_000 + random.exponential(500_000, 2)).astype(int)
        clock.add(true_host(device) - int(out), device, true_host(device) + int(back))
    probes = np.arange(50, 62) * 1_000_000_000 + 123
    errors = [abs(clock.to_host(int(probe)) - true_host(int(probe))) for probe in probes]
    # Asymmetry of the quickest quarter of 60 exchanges, averaged by the fit: well under half the tail's mean.
    assert max(errors) < 200_000
    assert clock.drift_ppm == pytest.approx(50, abs=10)


def exchange(clock: ClockMap, device_ns: int, host_ns: int, way_ns: int = 100_000) -> None:
    """One whose two ways take equally long."""
    clock.add(host_ns - way_ns, device_ns, host_ns + way_ns)


def test_clock_map_leaves_out_what_cannot_be_true() -> None:
    clock = ClockMap()
    for second in range(40):
        device = second * 1_000_000_000
        # Every eighth answer is the one before, or from nowhere; and no slower than the others.
        wrong = {3: -1_000_000_000, 7: 3_600_000_000_000}.get(second % 8, 0)
        exchange(clock, device + wrong, 7_000_000_000 + device)
    assert clock.rejected == 10
    assert clock.samples == 30
    assert clock.to_host(40_000_000_000) == pytest.approx(47_000_000_000, abs=1000)
    assert clock.drift_ppm == pytest.approx(0, abs=0.1)


def test_clock_map_begins_anew_when_the_device_was_set() -> None:
    clock = ClockMap()
    for second in range(30):
        exchange(clock, second * 1_000_000_000, 5_000_000_000 + second * 1_000_000_000)
    # PTP took over: from now on the device counts from another epoch.
    epoch = 1_700_000_000_000_000_000
    for second in range(30, 33):
        exchange(clock, epoch + second * 1_000_000_000, 5_000_000_000 + second * 1_000_000_000)
    assert clock.samples == 3
    assert clock.to_host(epoch + 33_000_000_000) == pytest.approx(38_000_000_000, abs=1000)


@pytest.mark.parametrize("drift", [0.995, 1.0, 1.005])
def test_clock_map_bears_a_bad_resonator_and_long_breaks(drift: float) -> None:
    random = np.random.default_rng(1)
    clock = ClockMap()
    at = 0
    for i in range(100):
        at += 10_000_000 if i < 16 else int(random.choice([100_000_000, 5_000_000_000]))
        out, back = (200_000 + random.exponential(500_000, 2)).astype(int)
        clock.add(at - int(out), round(at * drift), at + int(back))
    assert clock.rejected == 0
    assert clock.drift_ppm == pytest.approx((1 / drift - 1) * 1e6, abs=30)
