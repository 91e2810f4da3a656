"""deeplabcut-live's Kalman predictor beside ours: one step with prediction, for 8, 20 and 40 keypoints, in turn.

``python -m poseloop.bench.peers.kalman --python ~/peers/dlclive/bin/python``
"""

from __future__ import annotations

import itertools
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from poseloop.bench.measuring import Times, ratio, summary
from poseloop.bench.options import make_parser, save
from poseloop.bench.peers.worker import Worker
from poseloop.live.config import FilterTable
from poseloop.live.motion.filters import Filter

__all__ = ["main", "measure"]

_POINTS = (8, 20, 40)
_PERIOD_NS, _AHEAD_NS = 10_000_000, 20_000_000


def measure(python: Path, points: int, rounds: int) -> dict[str, Any]:
    """Step both in turn; ``ms``: name → summary, ``times_faster`` with its interval.

    Args:
        python: of the environment with deeplabcut-live.
        points: keypoints of one animal in one picture.
        rounds: steps that count; ten more warm up.
    """
    motion = Filter(FilterTable(use="kalman-ca"), (1, 1, points, 2), 0.5)
    poses = np.random.default_rng(0).normal(100, 1, (64, 1, 1, points, 2)).astype(np.float32)
    score = np.ones((1, 1, points), np.float32)
    ours, theirs = np.empty(rounds), np.empty(rounds)
    with Worker(python, "kalman_worker.py", points) as peer:
        for number, at in zip(range(-10, rounds), itertools.count(_PERIOD_NS, _PERIOD_NS), strict=False):
            began = time.perf_counter_ns()
            motion.step(poses[number % 64], score, at, at + _AHEAD_NS)
            taken = time.perf_counter_ns() - began
            answer = peer.ask(number % 64)
            if number >= 0:
                ours[number], theirs[number] = taken / 1e6, answer["ms"]
    times: dict[str, Times] = {"poseloop kalman-ca": ours, "deeplabcut-live": theirs}
    return {
        "keypoints": points,
        "ms": {name: summary(taken) for name, taken in times.items()},
        "times_faster": ratio(theirs, ours),
        "versions": peer.versions,
    }


def main() -> int:
    """Measure, print a table, write JSON."""
    parser = make_parser(__doc__)
    parser.add_argument("--python", type=Path, required=True, help="of the environment with deeplabcut-live")
    parser.add_argument("--rounds", type=int, default=300)
    arguments = parser.parse_args()
    result: dict[str, Any] = {"rows": []}
    for points in _POINTS:
        row = measure(arguments.python, points, arguments.rounds)
        result["rows"].append(row)
        cells = "  ".join(f"{name} {taken['p50']:.4f}" for name, taken in row["ms"].items())
        print(f"{points:>3} keypoints, ms: {cells}  ({row['times_faster']['ratio']:.0f} times faster)")
    save(result, arguments.report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
