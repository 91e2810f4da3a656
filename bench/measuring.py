"""One way of measuring for all benchmarks: in turn, often, with medians, tails and how sure they are.

Numbers of a shared machine mean something beside others of the same run only. So what is to be compared is run in turn,
a round of each after the other, and compared round by round.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["Times", "in_turn", "peak_memory_mb", "ratio", "summary"]

Times = np.ndarray[Any, np.dtype[np.float64]]
"""Durations in ms, one for each round."""

_RESAMPLED = 1000
_SURE = (2.5, 97.5)
"""Percentiles of the resampled values: a confidence of 95 %."""

_NEEDED = {"p50": 1, "p90": 20, "p99": 200, "p999": 2000}
"""Percentile → how many rounds support it."""


def in_turn(
    runs: Mapping[str, Callable[[], object]], rounds: int, warm_up: int = 10, pause_s: float = 0.0
) -> dict[str, Times]:
    """Time each of ``runs`` once in every round, each time in another order.

    Args:
        runs: name → what to time.
        rounds: how often each is timed.
        warm_up: rounds before these, that do not count.
        pause_s: sleep before each single run, as a loop that waits for its camera does; 0 = back to back.

    Returns:
        Name → (rounds,) durations in ms, in the order of the rounds.
    """
    names = list(runs)
    taken: dict[str, Times] = {name: np.empty(rounds) for name in names}
    order = np.random.default_rng(0)
    clock = time.perf_counter_ns
    gc.collect()
    collected = gc.isenabled()
    gc.disable()
    try:
        for number in range(-warm_up, rounds):
            for place in order.permutation(len(names)):
                name = names[place]
                run = runs[name]
                if pause_s:
                    time.sleep(pause_s)
                began = clock()
                run()
                duration = clock() - began
                if number >= 0:
                    taken[name][number] = duration / 1e6
    finally:
        if collected:
            gc.enable()
    return taken


def summary(times: Times | Sequence[float]) -> dict[str, Any]:
    """Percentiles that the number of rounds supports, and the interval that holds the median with 95 % confidence.

    Returns:
        ``n``, ``p50`` and, where there are enough rounds, ``p90``, ``p99``, ``p999``; ``p50_95`` = [from, to].
    """
    values = np.sort(np.asarray(times, np.float64))
    count = len(values)
    result: dict[str, Any] = {"n": count}
    for name, needed in _NEEDED.items():
        if count >= needed:
            result[name] = round(float(np.percentile(values, float(f"0.{name[1:]}") * 100)), 5)
    if count:
        # Ranks of the order statistics that enclose the median: exact whatever the distribution, normal approximation.
        half = 0.98 * np.sqrt(count)
        low, high = int(max(np.floor(count / 2 - half), 0)), int(min(np.ceil(count / 2 + half), count - 1))
        result["p50_95"] = [round(float(values[low]), 5), round(float(values[high]), 5)]
    return result


def ratio(of: Times, to: Times) -> dict[str, Any]:
    """How many times longer ``of`` takes than ``to``, from medians, with its 95 % interval (bootstrap over rounds).

    Args:
        of: durations of one thing.
        to: those of the other one in the same rounds.
    """
    rng = np.random.default_rng(0)
    rounds = rng.integers(0, len(of), (_RESAMPLED, len(of)))
    resampled = np.median(of[rounds], axis=1) / np.median(to[rounds], axis=1)
    low, high = np.percentile(resampled, _SURE)
    return {
        "ratio": round(float(np.median(of) / np.median(to)), 4),
        "95": [round(float(low), 4), round(float(high), 4)],
    }


def peak_memory_mb() -> float | None:
    """The most memory that this process has had; None where the system (Windows) keeps no such count."""
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6, 1)
