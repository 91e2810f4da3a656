"""Builds ``blob``, a model that nobody trained: it finds one dark or bright animal on a plain floor.

``python -m poseloop.train.analytic`` writes ``live/zoo/blob.onnx``. The graph, in its own words:

1. *Grid.* The picture is averaged over 4 × 4 pixels and resized to a grid whose short side has 60 cells, so that an
   animal is measured against the picture and not in pixels.
2. *Floor.* The grey of the floor is the mode of the grid, found by mean shift (Fukunaga & Hostetler 1975) from the
   mean, with the middle of the picture weighing most.
3. *Contrast.* Grey-scale closing minus picture (black top-hat; Serra 1982, chapter XII) shows what is darker than its
   surroundings and narrower than the structuring element; picture minus opening the bright likewise. Both are taken
   relative to these surroundings (Weber contrast), so that lighting cancels. The grid is continued beyond its rim
   by repeating it: what runs out of the picture is scenery.
4. *Figure or ground.* A strip of floor between animal and wall is "bright and narrow" too. So contrast counts only as
   far as the surroundings (closing or opening) are as bright as the floor, and the thing itself is not.
5. *Size.* The contrast, squashed by a sigmoid, is blurred by Gaussians of a small and of a large animal; their mean v
   is highest in the middle of a body, and the score is v² / (v² + v0²), which never saturates: the peak stays a peak.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poseloop.live.types import Colour
from poseloop.live.vision.metadata import Decoding, ModelInfo
from poseloop.train import modelfile
from poseloop.train.graph import Graph, gaussian

if TYPE_CHECKING:
    import onnx

__all__ = ["BLOB", "Blob", "build", "describe", "main"]

_STRIDE = 8
_POOL = 4
_ZOO = Path(__file__).parent.parent / "live" / "zoo"


@dataclass(frozen=True, slots=True)
class Blob:
    """What the graph assumes about animal and arena. Lengths are cells of the grid."""

    grid: int = 60
    """Cells along the picture's short side."""
    element: int = 9
    """Side of the structuring element, odd: wider than an animal's body, narrower than walls and arenas."""
    small: float = 1.5
    """Sigma of the Gaussian for a small animal."""
    large: float = 3.0
    """Sigma of the Gaussian for a large one."""
    contrast: float = 0.42
    """Weber contrast that is half an animal."""
    steepness: float = 20.0
    """Of the sigmoid over the contrast."""
    dark_light: float = 0.1
    """Added to every brightness (0..1) that divides: keeps the noise of black pictures from counting."""
    floor_radius: float = 0.35
    """Sigma of the weight of the picture's middle, in picture sides."""
    floor_spread: float = 0.2
    """Width of the mean shift's kernel, relative to the floor's brightness."""
    floor_steps: int = 3
    floor_match: float = 0.9
    """How far surroundings may differ from the floor, as a logarithm of brightness."""
    floor_range: float = 0.4
    """How far the floor itself may differ from its own brightness."""
    half_score: float = 0.1
    """The v whose score is 0.5."""


BLOB = Blob()

_MEASURED: Mapping[str, Any] = {
    "tracktor_mouse": {
        "frames": 10_000,
        "size": [640, 480],
        "reference": "centroids given with the video",
        "score_at_least_half": 0.985,
        "median_px": 2.4,
        "p95_px": 5.1,
        "p99_px": 6.9,
        "share_over_12_px": 0.006,
        "max_px_where_score_at_least_half": 8.6,
        "score_of_empty_arena": 0.23,
    },
    "dlc_openfield": {
        "frames": 92,
        "size": [640, 480],
        "reference": "middle between the ears' and snout's mean and the tail base, labelled by hand",
        "score_at_least_half": 1.0,
        "median_px": 10.3,
        "p95_px": 22.7,
    },
    "dlc_openfield_m3v1": {
        "frames": 2330,
        "size": [640, 480],
        "score_at_least_half": 1.0,
        "lowest_score": 0.93,
        "score_of_empty_arena": 0.10,
    },
}
"""The settings of `Blob` were chosen on these same recordings: expect less of others."""


def build(settings: Blob = BLOB) -> onnx.ModelProto:
    """Build the graph from ``image`` (b, h, w, 1) uint8, sides multiples of 8, to ``scoremap`` (b, h/8, w/8, 1)."""
    graph = Graph("blob", channels=1)
    pooled = graph.op(
        "AveragePool",
        graph.scaled(graph.planar(graph.image), scale=1),
        kernel_shape=[_POOL, _POOL],
        strides=[_POOL, _POOL],
    )
    grid = graph.op("Mul", _to_grid(graph, pooled, settings.grid), graph.constant(1 / 255))
    floor = _log_floor(graph, grid, settings)
    rim = settings.element - 1
    wider = graph.op("Pad", grid, graph.integers(0, 0, rim, rim, 0, 0, rim, rim), mode="edge")
    side = settings.element
    closing = _lowest(graph, _highest(graph, wider, side), side)
    opening = _highest(graph, _lowest(graph, wider, side), side)
    dark = _figure(graph, graph.op("Sub", closing, grid), closing, floor, settings)
    bright = _figure(graph, graph.op("Sub", grid, opening), opening, floor, settings)
    strange = graph.op("Sub", graph.constant(1.0), _like_floor(graph, grid, floor, settings.floor_range, settings))
    dark, bright = (graph.op("Mul", figure, strange) for figure in (dark, bright))
    value = graph.op("Max", *(_animal(graph, figure, settings) for figure in (dark, bright)))
    square = graph.op("Mul", value, value)
    score = graph.op("Div", square, graph.op("Add", square, graph.constant(settings.half_score**2)))
    full = _resize(graph, score, _sizes(graph, pooled, graph.constant(_POOL / _STRIDE)))
    return graph.model({"scoremap": (graph.channels_last(full), ("batch", "rows", "columns", 1))})


def _sizes(graph: Graph, tensor: str, scale: str) -> str:
    """The spatial shape of a tensor (b, c, h, w), scaled and rounded, as floats."""
    spatial = graph.op("Cast", graph.op("Shape", tensor, start=2), to=graph.FLOAT)
    return graph.op("Floor", graph.op("Add", graph.op("Mul", spatial, scale), graph.constant(0.5)))


def _resize(graph: Graph, tensor: str, spatial: str) -> str:
    """Resize (b, c, h, w) linearly, pixel centres at integers, to (h, w) given as floats."""
    sizes = graph.op("Concat", graph.op("Shape", tensor, end=2), graph.op("Cast", spatial, to=graph.INT64), axis=0)
    return graph.op("Resize", tensor, "", "", sizes, mode="linear", coordinate_transformation_mode="half_pixel")


def _to_grid(graph: Graph, pooled: str, short_side: int) -> str:
    spatial = graph.op("Cast", graph.op("Shape", pooled, start=2), to=graph.FLOAT)
    scale = graph.op("Div", graph.constant(float(short_side)), graph.op("ReduceMin", spatial, keepdims=1))
    return _resize(graph, pooled, _sizes(graph, pooled, scale))


def _log_floor(graph: Graph, grid: str, settings: Blob) -> str:
    """Logarithm of the floor's brightness, (b, 1, 1, 1)."""
    middle = _middle(graph, grid, settings.floor_radius)
    dark_light = graph.constant(settings.dark_light)

    def mean(weights: str) -> str:
        total = graph.op("ReduceSum", graph.op("Mul", weights, grid), graph.integers(2, 3))
        return graph.op("Div", total, graph.op("ReduceSum", weights, graph.integers(2, 3)))

    floor = mean(middle)
    for _ in range(settings.floor_steps):
        width = graph.op("Mul", graph.op("Add", floor, dark_light), graph.constant(settings.floor_spread))
        floor = mean(graph.op("Mul", middle, _bell(graph, graph.op("Div", graph.op("Sub", grid, floor), width))))
    return graph.op("Log", graph.op("Add", floor, dark_light))


def _middle(graph: Graph, grid: str, radius: float) -> str:
    """Weights (1, 1, h, w) that are greatest in the middle of the picture."""
    axes = []
    for axis, others in ((2, (0, 1, 3)), (3, (0, 1, 2))):
        size = graph.op("Cast", graph.op("Shape", grid, start=axis, end=axis + 1), to=graph.FLOAT)
        size = graph.op("Squeeze", size)
        cells = graph.op("Range", graph.constant(0.5), size, graph.constant(1.0))
        at = graph.op("Sub", graph.op("Div", cells, size), graph.constant(0.5))
        weights = _bell(graph, graph.op("Mul", at, graph.constant(0.5**0.5 / radius)))
        axes.append(graph.op("Unsqueeze", weights, graph.integers(*others)))
    return graph.op("Mul", *axes)


def _bell(graph: Graph, tensor: str) -> str:
    """exp(-x²)."""
    return graph.op("Exp", graph.op("Neg", graph.op("Mul", tensor, tensor)))


def _highest(graph: Graph, tensor: str, side: int) -> str:
    across = graph.op("MaxPool", tensor, kernel_shape=[1, side], strides=[1, 1])
    return graph.op("MaxPool", across, kernel_shape=[side, 1], strides=[1, 1])


def _lowest(graph: Graph, tensor: str, side: int) -> str:
    return graph.op("Neg", _highest(graph, graph.op("Neg", tensor), side))


def _figure(graph: Graph, hat: str, around: str, log_floor: str, settings: Blob) -> str:
    """How much each cell is an animal's, 0..1: enough contrast, and standing on the floor."""
    background = graph.op("Add", around, graph.constant(settings.dark_light))
    weber = graph.op("Div", hat, background)
    over = graph.op("Sub", weber, graph.constant(settings.contrast))
    figure = graph.op("Sigmoid", graph.op("Mul", over, graph.constant(settings.steepness)))
    return graph.op("Mul", figure, _like_floor(graph, around, log_floor, settings.floor_match, settings))


def _like_floor(graph: Graph, grey: str, log_floor: str, width: float, settings: Blob) -> str:
    """How close each cell is to the floor's brightness, 0..1."""
    log = graph.op("Log", graph.op("Add", grey, graph.constant(settings.dark_light)))
    return _bell(graph, graph.op("Mul", graph.op("Sub", log, log_floor), graph.constant(1 / width)))


def _animal(graph: Graph, figure: str, settings: Blob) -> str:
    """Mean of the figure under a small and a large animal's Gaussian."""
    small, large = (_blur(graph, figure, sigma) for sigma in (settings.small, settings.large))
    return graph.op("Mul", graph.op("Add", small, large), graph.constant(0.5))


def _blur(graph: Graph, tensor: str, sigma: float) -> str:
    radius = int(2.5 * sigma + 0.999)
    weights = gaussian(sigma, radius)
    for kernel in (weights.reshape(1, 1, 1, -1), weights.reshape(1, 1, -1, 1)):
        down, across = kernel.shape[2] // 2, kernel.shape[3] // 2
        tensor = graph.op(
            "Conv",
            tensor,
            graph.constant(kernel),
            kernel_shape=list(kernel.shape[2:]),
            pads=[down, across, down, across],
        )
    return tensor


def describe(settings: Blob = BLOB) -> ModelInfo:
    """The description that goes into the file."""
    return ModelInfo(
        name="blob",
        description=(
            "dark or bright animal on a plain floor: background-normalised matched filter, one keypoint `centre`"
        ),
        keypoints=("centre",),
        colour=Colour.GREY,
        stride=_STRIDE,
        size_multiple=_STRIDE,
        decoding=Decoding(method="centroid", window=5),
        gate=0.5,
        licence="Apache-2.0",
        training={"built": "analytically, poseloop.train.analytic; nothing was trained", "settings": asdict(settings)},
        error=_MEASURED,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Write ``blob.onnx``; the same settings give the same bytes."""
    parser = argparse.ArgumentParser(prog="python -m poseloop.train.analytic", description=main.__doc__)
    parser.add_argument("--out", type=Path, default=_ZOO / "blob.onnx", help="file to write (default: into the zoo)")
    out: Path = parser.parse_args(arguments).out
    modelfile.save(build(), describe(), out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
