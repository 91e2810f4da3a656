"""Draw how well the shipped protocols hit: misses and extras against pixel noise and latency.

``python -m poseloop.bench.curves PICTURE.png --report FILE.json``; matplotlib comes with the extra ``train``.

The behaviour is that of `poseloop.bench.protocols`: simulated, with right moments that are known exactly. Noise is
drawn anew for each seed; a curve is the mean of all seeds, its band goes from the best to the worst one. Latency
delays every trigger by as much and adds nothing else, so one run tells it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from poseloop.bench.options import make_parser, save
from poseloop.bench.protocols import TOLERANCE_S, Scene, hits, rehearse, scenes

__all__ = ["draw", "main", "measure"]

NOISE_PX = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
LATENCY_MS = (0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 80.0)
_MOST = 2.0
"""Extras for each moment, above which a curve leaves the picture."""

Shares = Mapping[str, Sequence[float]]
"""``missed`` (late ones included) and ``extra``, for each moment; one number a seed."""


def measure(scene: Scene, seeds: int) -> dict[str, dict[float, Shares]]:
    """Shares of one scene: ``noise_px`` → noise → shares, ``latency_ms`` → latency → shares."""
    acts_s = {noise: [rehearse(scene, noise, seed) for seed in range(seeds if noise else 1)] for noise in NOISE_PX}
    return {
        "noise_px": {noise: _shares(scene, runs, 0.0) for noise, runs in acts_s.items()},
        "latency_ms": {latency: _shares(scene, acts_s[0.0], latency) for latency in LATENCY_MS},
    }


def _shares(scene: Scene, runs: Sequence[Sequence[float]], latency_ms: float) -> Shares:
    found = [hits(scene, acts_s, latency_ms) for acts_s in runs]
    return {
        "missed": [(one["missed"] + one["late"]) / one["moments"] for one in found],
        "extra": [one["extra"] / one["moments"] for one in found],
    }


def draw(results: Mapping[str, Mapping[str, Mapping[float, Shares]]], file: Path) -> None:
    """Draw a column for each protocol: noise above, latency below."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.1 * len(results), 4.6), layout="constrained")
    axes = figure.subplots(2, len(results), sharey=True, squeeze=False)
    titles = {"noise_px": "noise of each coordinate, px", "latency_ms": "latency, ms"}
    for column, (name, result) in enumerate(results.items()):
        for row, (kind, title) in enumerate(titles.items()):
            at = axes[row][column]
            for what, colour in (("missed", "tab:blue"), ("extra", "tab:red")):
                x = list(result[kind])
                seeds = [result[kind][value][what] for value in x]
                label = "late or missed" if what == "missed" else what
                at.plot(x, [float(np.mean(shares)) for shares in seeds], "o-", ms=3, lw=1.2, color=colour, label=label)
                low, high = [min(shares) for shares in seeds], [max(shares) for shares in seeds]
                at.fill_between(x, low, high, color=colour, alpha=0.2, lw=0)
            at.set_ylim(-0.05, _MOST)
            at.set_xlabel(title, fontsize=8)
            at.tick_params(labelsize=7)
            at.grid(alpha=0.3)
            if row == 0:
                at.set_title(name, fontsize=10)
            elif max(LATENCY_MS) > TOLERANCE_S * 1e3:
                at.axvline(TOLERANCE_S * 1e3, color="grey", lw=0.8, ls=":")
        axes[0][0].legend(fontsize=7, loc="upper left")
    for line in axes:
        line[0].set_ylabel("for each right moment", fontsize=8)
    figure.savefig(file, dpi=110)


def main() -> int:
    """Measure, draw, write JSON."""
    parser = make_parser(__doc__)
    parser.add_argument("picture", type=Path, metavar="PICTURE.png")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--protocols", nargs="+", metavar="NAME", default=[], help="only these")
    arguments = parser.parse_args()
    results: dict[str, Any] = {}
    for scene in scenes(arguments.protocols):
        results[scene.protocol] = measure(scene, arguments.seeds)
        worst = results[scene.protocol]["noise_px"][NOISE_PX[-1]]
        print(f"{scene.protocol}: at {NOISE_PX[-1]:g} px {worst}")
    draw(results, arguments.picture)
    save({"seeds": arguments.seeds, "shares": results}, arguments.report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
