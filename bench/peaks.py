"""How long decoding takes: score maps in memory to points, in turn with a copy of the maps and NumPy's search.

``python -m poseloop.bench.peaks --report FILE.json``

Maps hold Gaussians on noise, laid out as a network leaves them (channels of one cell side by side). Every round times
each kernel once, then the next one, so that all of them meet the same machine.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from poseloop.bench.measuring import in_turn
from poseloop.bench.options import make_parser, save
from poseloop.live.types import Float32
from poseloop.live.vision import peaks

__all__ = ["COPY", "main", "measure"]

COPY = "a copy of the maps"
"""What no search can be much faster than: it has to read every cell, as a copy does."""

_WINDOWS = (3, 5, 7, 9)
_WARM_UP = 50


def _maps(points: int, rows: int, columns: int, individuals: int, seed: int) -> Float32:
    """(1, rows, columns, points): Gaussians of sigma 1 cell, as many as individuals in every map."""
    rng = np.random.default_rng(seed)
    maps = rng.random((rows, columns, points)) * 0.02
    at_rows, at_columns = np.mgrid[:rows, :columns]
    for k in range(points):
        for _ in range(individuals):
            x, y = rng.uniform(4, (columns - 5, rows - 5))
            maps[:, :, k] = np.maximum(maps[:, :, k], np.exp(-((at_columns - x) ** 2 + (at_rows - y) ** 2) / 2))
    return np.ascontiguousarray(maps[None], np.float32)


def measure(points: int, rows: int, columns: int, individuals: int, rounds: int) -> dict[str, Any]:
    """Time every way of decoding one picture's maps.

    Args:
        points: score maps.
        rows: of a map.
        columns: of a map.
        individuals: of the search for several.
        rounds: how often each is timed.
    """
    maps = _maps(points, rows, columns, individuals, seed=0)
    offsets = np.zeros((1, rows, columns, 2 * points), np.float32)
    cells, score = np.zeros((1, points, 2), np.float32), np.zeros((1, points), np.float32)
    many, their_score = (
        np.zeros((individuals, *cells.shape), np.float32),
        np.zeros((individuals, 1, points), np.float32),
    )

    spare = np.empty_like(maps)

    def several() -> None:
        peaks.strongest(maps, rows, columns, 3, 0.5, many, their_score)
        for one in many:
            peaks.weigh(maps, rows, columns, 7, one)

    kinds: dict[str, Callable[[], object]] = {
        "argmax": lambda: peaks.argmax(maps, rows, columns, cells, score),
        **{f"centroid {n}x{n}": _centroid(maps, rows, columns, n, cells, score) for n in _WINDOWS},
        "locref": lambda: peaks.locref(maps, offsets, rows, columns, 0.5, cells, score),
        f"{individuals} individuals, centroid 7x7": several,
        COPY: lambda: np.copyto(spare, maps),
        "numpy.argmax alone": lambda: maps.reshape(-1, points).argmax(axis=0),
    }
    times = in_turn(kinds, rounds, _WARM_UP)
    return {
        "points": points,
        "rows": rows,
        "columns": columns,
        "individuals": individuals,
        "rounds": rounds,
        "us": {
            name: {f"p{p}": round(float(np.percentile(values, p)) * 1e3, 2) for p in (50, 95, 99)}
            for name, values in times.items()
        },
    }


def _centroid(
    maps: Float32, rows: int, columns: int, window: int, cells: Float32, score: Float32
) -> Callable[[], object]:
    return lambda: peaks.centroid(maps, rows, columns, window, cells, score)


def main() -> int:
    """Measure, print a table, write JSON."""
    parser = make_parser(__doc__)
    parser.add_argument("--points", type=int, default=12)
    parser.add_argument("--rows", type=int, default=60)
    parser.add_argument("--columns", type=int, default=80)
    parser.add_argument("--individuals", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5000)
    arguments = parser.parse_args()
    result = measure(arguments.points, arguments.rows, arguments.columns, arguments.individuals, arguments.rounds)
    print(
        f"{result['points']} maps of {result['rows']}x{result['columns']} cells, {result['rounds']} rounds; µs", end=""
    )
    print(f"{'p50':>10}{'p95':>10}{'p99':>10}")
    for name, values in result["us"].items():
        print(f"  {name:<48}" + "".join(f"{values[p]:>10.2f}" for p in ("p50", "p95", "p99")))
    save(result, arguments.report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
