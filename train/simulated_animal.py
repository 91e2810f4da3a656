"""Builds the zoo's ``simulated_animal`` model: a network that was not trained but calculated.

It finds the four dye marks of the simulated animal by their colour, so the whole loop can run, and be measured against
a known truth, before anybody has labelled a frame. ``python -m poseloop.train.simulated_animal`` writes the file again,
byte for byte.

1. Colour, 2x2 pixels at a time: the projection onto each dye's direction in the plane of colours, which grey of any
   brightness does not touch. The dye itself gives 1, the other dyes and the pixels' noise less than 0 or little; what
   stays under a threshold becomes 0.
2. Three boxes of 4 px, one after the other, then one cell every 4 px. The boxes matter: a sharp disc that is sampled
   every 4 px has its centroid up to 0.25 px off, because its spectrum has not ended at one period a cell; a box of one
   cell has a zero there, and repeated boxes keep the centroid's error, which depends on the slope at that zero, small.
3. A small blur, so that large marks have one highest cell, and ``tanh``, so that scores end at 1.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto

from poseloop.live import zoo
from poseloop.live.types import Colour, Float32
from poseloop.live.vision.metadata import Decoding, ModelInfo
from poseloop.train import modelfile
from poseloop.train.graph import Graph

__all__ = ["DYES", "INFO", "build", "main"]

DYES = {
    "snout": (235, 45, 60),
    "leftear": (140, 215, 35),
    "rightear": (40, 205, 215),
    "tailbase": (150, 65, 235),
}
"""RGB of each keypoint's mark, as `poseloop.drivers.sim` paints them."""

Float64 = npt.NDArray[np.float64]

_STRIDE = 4
_THRESHOLD = 0.15
"""Of a full mark's colour: noise of 8 grey levels has a standard deviation of 0.04 here."""
_BOXES = np.array([1.0, 3.0, 3.0, 1.0]) / 8
"""Three boxes of 4 px, in steps of 2 px."""
_BLUR = np.array([1.0, 2.0, 1.0]) / 4
_GAIN = 6.0
"""A mark of 3.5 px radius reaches a score of 0.95, and one of 2.5 px 0.8."""

INFO = ModelInfo(
    name="simulated_animal",
    description="The dye marks of Poseloop's simulated animal, found by their colour. Not for real animals.",
    keypoints=tuple(DYES),
    skeleton=(("snout", "leftear"), ("snout", "rightear"), ("leftear", "tailbase"), ("rightear", "tailbase")),
    colour=Colour.RGB,
    stride=_STRIDE,
    decoding=Decoding(method="centroid", window=9),
    gate=0.5,
    licence="Apache-2.0",
    training={"how": "calculated from the marks' colours; no training", "dyes": DYES},
    error={
        "on": "camera sim, 320 x 240 px, noise 2.5 grey levels, 200 frames of seed 0 at 7.3 frames a second",
        "median_px": 0.06,
        "p95_px": 0.12,
        "max_px": 0.15,
        "lowest_score": 0.92,
        "highest_score_without_animal": 0.01,
    },
)


def build() -> onnx.ModelProto:
    """Make the graph; the same bytes every time."""
    graph = Graph(INFO.name, channels=3)
    pixels = graph.planar(graph.op("Cast", graph.image, to=TensorProto.FLOAT))
    points = len(INFO.keypoints)
    # Odd sizes are padded with black, which is grey, at the far end: the number of cells is rounded up.
    colour = graph.op(
        "Conv",
        pixels,
        graph.constant(np.repeat(np.repeat(_projections()[:, :, None, None] / 4, 2, axis=2), 2, axis=3)),
        graph.constant(np.full(points, -_THRESHOLD)),
        kernel_shape=[2, 2],
        strides=[2, 2],
        pads=[0, 0, 1, 1],
    )
    pooled = graph.op(
        "Conv",
        graph.op("Relu", colour),
        graph.constant(_each_channel(_BOXES, points)),
        kernel_shape=[4, 4],
        strides=[2, 2],
        pads=[1, 1, 2, 2],
        group=points,
    )
    blurred = graph.op(
        "Conv",
        pooled,
        graph.constant(_GAIN * _each_channel(_BLUR, points)),
        kernel_shape=[3, 3],
        pads=[1, 1, 1, 1],
        group=points,
    )
    score = graph.channels_last(graph.op("Tanh", blurred))
    return graph.model({"scoremap": (score, ("batch", "rows", "columns", points))})


def _projections() -> Float32:
    """(K, 3): from RGB in 0..255 to 0 for grey and 1 + threshold for the keypoint's own dye."""
    dyes = np.array(list(DYES.values()), np.float64)
    hue = dyes - dyes.mean(axis=1, keepdims=True)
    weights: Float32 = ((1 + _THRESHOLD) * hue / np.sum(hue**2, axis=1, keepdims=True)).astype(np.float32)
    return weights


def _each_channel(taps: Float64, channels: int) -> Float64:
    """(channels, 1, n, n): the same separable kernel for every channel."""
    return np.tile(np.outer(taps, taps), (channels, 1, 1, 1))


def main(arguments: Sequence[str] | None = None) -> int:
    """Write ``simulated_animal.onnx``; the same bytes every time."""
    parser = argparse.ArgumentParser(prog="python -m poseloop.train.simulated_animal", description=main.__doc__)
    zoo_file = Path(zoo.__path__[0]) / f"{INFO.name}.onnx"
    parser.add_argument("--out", type=Path, default=zoo_file, help="file to write (default: into the zoo)")
    modelfile.save(build(), INFO, parser.parse_args(arguments).out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
