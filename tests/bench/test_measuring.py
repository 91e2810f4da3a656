import time

import numpy as np
import pytest

from poseloop.bench.measuring import in_turn, ratio, summary


def test_in_turn_times_everything_in_every_round_and_not_the_warm_up() -> None:
    called: list[str] = []
    times = in_turn({"a": lambda: called.append("a"), "b": lambda: called.append("b")}, rounds=20, warm_up=3)
    assert sorted(called) == ["a"] * 23 + ["b"] * 23
    assert {"".join(called[place : place + 2]) for place in range(0, 46, 2)} == {"ab", "ba"}
    assert all(taken.shape == (20,) and (taken > 0).all() for taken in times.values())


def test_durations_are_milliseconds() -> None:
    assert in_turn({"rest": lambda: time.sleep(0.002)}, rounds=3, warm_up=0)["rest"].min() >= 2.0


def test_a_percentile_that_the_rounds_do_not_support_is_left_out() -> None:
    assert set(summary(np.arange(10.0))) == {"n", "p50", "p50_95"}
    assert set(summary(np.arange(200.0))) == {"n", "p50", "p90", "p99", "p50_95"}
    assert summary(np.arange(2001.0))["p999"] == pytest.approx(1998.0)
    assert summary([]) == {"n": 0}


def test_the_interval_holds_the_median_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    held = [low <= 1.0 <= high for low, high in (summary(rng.lognormal(0, 1, 101))["p50_95"] for _ in range(400))]
    assert 0.92 <= np.mean(held) <= 0.99


def test_a_ratio_comes_with_its_interval() -> None:
    rng = np.random.default_rng(2)
    found = ratio(rng.normal(3.0, 0.2, 400), rng.normal(1.5, 0.1, 400))
    low, high = found["95"]
    assert low < 2.0 < high
    assert found["ratio"] == pytest.approx(2.0, abs=0.05)
