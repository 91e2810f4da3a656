"""``poseloop calibrate --repair calibration.toml CAMERA=TRACKS...``: cameras that were moved, placed anew."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from poseloop.live.errors import ConfigError
from poseloop.live.output import report as reports
from poseloop.train.calibrate import formats, repair
from poseloop.train.progress import Progress
from poseloop.train.tracks import read_tracks, together

__all__ = ["run"]

_LIKELY = 0.2
"""--repair: points with a lower score count as not seen. SLEAP gives none below it, and half of its good ones are below
0.6; DeepLabCut's likelihoods are near 0 or near 1."""


def run(arguments: argparse.Namespace, kind: str) -> int:
    """Read tracks and calibration, place anew what was moved, say so, write."""
    files = dict(word.partition("=")[::2] for word in arguments.source)
    old = formats.read(arguments.repair, arguments.unit)
    if set(files) != set(old.names) or not all(files.values()):
        raise ConfigError(
            f"--repair: expected CAMERA=TRACKS.h5 for each of {', '.join(old.names)}, but got "
            f"{' '.join(arguments.source)}"
        )
    read = {}
    with Progress("tracks", len(files)) as progress:
        for name in old.names:
            read[name] = read_tracks(Path(files[name]), arguments.animal)
            progress.step()
    _, xy, score = together(read)
    xy[score < _LIKELY] = np.nan
    result = repair.repair(old, xy.reshape(len(old.names), -1, 2))
    for (one, two), error in result.pairs.items():
        told = f"{error:.1f} px from the epipolar line" if np.isfinite(error) else "at one place, which tells nothing"
        print(f"{one} and {two}: {told}")
    for name, (before, after) in result.moved.items():
        lens = "; its lens, too, had to change" if name in result.lens_changed else ""
        print(f"camera {name!r} was off by {before:.1f} px and is placed anew: {after:.1f} px{lens}")
    if not result.moved:
        print("no camera was moved: nothing to repair")
    print(f"kept as they are: {', '.join(result.kept)}")
    formats.write(result.calibration, arguments.out, kind)
    if arguments.report is not None:
        reports.write(
            {
                "kept": list(result.kept),
                "moved": {name: {"before_px": a, "after_px": b} for name, (a, b) in result.moved.items()},
                "lens_changed": list(result.lens_changed),
                "pairs": [
                    {"cameras": list(pair), "median_px": error if np.isfinite(error) else None}
                    for pair, error in result.pairs.items()
                ],
                "versions": reports.versions(),
                "machine": reports.machine(),
            },
            arguments.report,
        )
    print(f"{arguments.out}: written")
    return 0
