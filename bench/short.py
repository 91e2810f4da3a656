"""The short mode of every benchmark: all that it does, on as little as possible. Its numbers say nothing.

``poseloop bench NAME --short`` puts these arguments before those that were typed; the tests run every benchmark so.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["SHORT"]

_SMALL = ("--width", "64", "--height", "64")

SHORT: Mapping[str, tuple[str, ...]] = {
    "calibration": ("--only", "stereo"),
    "cameras": ("--cameras", "2", "--fps", "50", "--seconds", "1"),
    "closedloop": ("--fps", "15", "--seconds", "4", "--pulses", "20"),
    "crop": ("--frames", "20", "--draws", "1"),
    "curves": ("--protocols", "region", "heading", "--seeds", "1"),
    "decoder": ("--rounds", "3", *_SMALL),
    "filters": ("--poses", "30", "--no-video"),
    "inference": ("--models", "blob", "--sizes", "64x48", "--batches", "1", "--rounds", "3", "--keypoints"),
    "limits": ("--models", "blob", "--rounds", "4", *_SMALL),
    "mouse4cam": (),
    "peaks": ("--rounds", "5"),
    "peers.dlclive": ("--sizes", "115x87", "--rounds", "3"),
    "peers.environments": (),
    "peers.kalman": ("--rounds", "3"),
    "peers.sleapnn": ("--sizes", "115x87", "--rounds", "3", "--pause-ms", "0"),
    "pipeline": ("--frames", "20", "--fps", "50", *_SMALL),
    "predict": ("--frames", "8", "--rounds", "1"),
    "protocols": ("--poses", "50", "--protocols", "region"),
    "record": ("--cameras", "1", "--network", "64", "64", "--parts", "1", "--seconds", "0.5", *_SMALL),
    "refine": ("--seeds", "1", "--steps", "2", "--start", "4", "--rounds", "1", "--count", "2"),
    "sessions": ("--minutes", "0.05"),
    "soak": ("--minutes", "0.1", "--parts", "3"),
    "targets": ("--short",),
    "train": ("--sizes", "64", "--batches", "2", "--rounds", "1", "--steps", "3"),
    "triangulation": ("--rounds", "5", "--points", "200", "--seeds", "1"),
    "wire": ("--rounds", "3", "--pause-ms", "0"),
}
"""Name of the benchmark → its arguments."""
