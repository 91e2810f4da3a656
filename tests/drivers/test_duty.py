"""The firmware's coarse counting against the definition: on-time in every window, wherever it begins."""

from hypothesis import given
from hypothesis import strategies as st

from poseloop.drivers.sim.duty import Duty


def worst_window(stretches: list[tuple[int, int]], window_us: int) -> int:
    """Largest on-time in any window; it is reached where a window begins or ends with a stretch."""
    starts = [start for start, _ in stretches] + [end - window_us for _, end in stretches]
    return max(
        (sum(max(0, min(end, begin + window_us) - max(start, begin)) for start, end in stretches) for begin in starts),
        default=0,
    )


PULSES = st.tuples(st.just("pulse"), st.integers(0, 3000), st.integers(1, 1500), st.just(0), st.just(0))
TRAINS = st.tuples(st.just("train"), st.integers(0, 3000), st.integers(1, 800), st.integers(1, 900), st.integers(1, 9))
LEVELS = st.tuples(st.just("level"), st.integers(0, 3000), st.integers(1, 5000), st.just(0), st.just(0))


@given(st.integers(1000, 5000), st.integers(1, 999), st.lists(st.one_of(PULSES, TRAINS, LEVELS), max_size=40))
def test_no_window_is_ever_over_its_budget(window_us, thousandths, orders) -> None:
    duty, now, stretches = Duty(window_us, thousandths), 0, []

    def on(start: int, end: int) -> None:
        duty.add(start, end)
        stretches.append((start, end))

    for kind, wait, on_us, pause_us, count in orders:
        now += wait
        if kind == "pulse" and duty.allows_pulse(now, on_us):
            on(now, now + on_us)
            now += on_us
        elif kind == "train" and duty.allows_train(now, on_us, on_us + pause_us, count):
            for _ in range(count):
                on(now, now + on_us)
                now += on_us + pause_us
        elif kind == "level" and duty.allows_pulse(now, 1):
            spent = duty.spent_us(now)
            assert spent is not None
            end = min(spent, now + on_us)
            on(now, end)
            now = end
    assert worst_window(stretches, window_us) <= window_us * thousandths // 1000


def test_a_level_may_spend_the_whole_budget_and_not_a_microsecond_more() -> None:
    assert Duty(1_000_000, 250).spent_us(123_456) == 373_456


def test_a_train_within_its_duty_is_allowed_for_ever() -> None:
    assert Duty(1_000_000, 450).allows_train(0, 45, 100, 10**9)
    assert not Duty(1_000_000, 449).allows_train(0, 45, 100, 10**9)


def test_the_budget_comes_back() -> None:
    duty = Duty(8000, 500)
    duty.add(0, 4000)
    assert not duty.allows_pulse(8999, 4000)
    assert duty.allows_pulse(4000 + 9000, 4000)


def test_full_duty_is_no_limit() -> None:
    duty = Duty(1000, 1000)
    duty.add(0, 5000)
    assert duty.allows_pulse(5000, 10**9)
    assert duty.spent_us(5000) is None
