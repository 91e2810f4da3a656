"""Models small enough to check by hand, written to a folder of the test's own."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper

from poseloop.live.types import Colour
from poseloop.live.vision.metadata import Decoding, ModelInfo
from poseloop.train import modelfile
from poseloop.train.graph import Graph

STRIDE = 4


@dataclass(frozen=True)
class Tiny:
    """A score map that is the picture itself, averaged over cells of 4 x 4 pixels: a bright patch is a peak."""

    colour: Colour = Colour.GREY
    keypoints: tuple[str, ...] = ("spot",)
    method: str = "centroid"
    size_multiple: int = STRIDE
    window: int = 5
    gate: float = 0.5
    stride: int = STRIDE
    """What the description says; the graph's is always 4."""

    @property
    def info(self) -> ModelInfo:
        decoding = Decoding.model_validate({"method": self.method, "window": self.window, "locref_std": 2.0})
        return ModelInfo(
            name="tiny",
            keypoints=self.keypoints,
            colour=self.colour,
            stride=self.stride,
            size_multiple=self.size_multiple,
            decoding=decoding,
            gate=self.gate,
        )

    def graph(self) -> onnx.ModelProto:
        graph = Graph("tiny", self.colour.channels)
        pixels = graph.planar(graph.scaled(graph.image))
        maps = graph.op("AveragePool", pixels, kernel_shape=[STRIDE, STRIDE], strides=[STRIDE, STRIDE])
        outputs: dict[str, Any] = {"scoremap": (graph.channels_last(maps), ("batch", "rows", "columns", "points"))}
        if self.method == "locref":
            offsets = graph.op("Concat", *[graph.op("Mul", maps, graph.constant(f)) for f in (1.0, -1.0)], axis=1)
            outputs["locref"] = (graph.channels_last(offsets), ("batch", "rows", "columns", "offsets"))
        if self.method == "keypoints":
            mean = graph.op("ReduceMean", pixels, axes=[2, 3], keepdims=1)
            score = graph.op("Squeeze", mean, graph.integers(3))
            x, y = (graph.op("Mul", score, graph.constant(f)) for f in (100.0, 50.0))
            outputs = {"keypoints": (graph.op("Concat", x, y, score, axis=2), ("batch", "points", 3))}
        return graph.model(outputs)

    def save(self, folder: Path, name: str = "tiny.onnx") -> Path:
        path = folder / name
        modelfile.save(self.graph(), self.info, path)
        return path


def spot(height: int, width: int, x: float, y: float, sigma: float = STRIDE) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Black with one bright round spot, a cell wide, whose middle is the pixel (x, y)."""
    rows, columns = np.mgrid[:height, :width]
    bright = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))
    return np.round(255 * bright).astype(np.uint8)


def rename_input(model: onnx.ModelProto, dims: tuple[str | int | None, ...], kind: int = 2) -> onnx.ModelProto:
    """The same graph with another shape and type declared for its input."""
    del model.graph.input[:]
    model.graph.input.append(helper.make_tensor_value_info("image", kind, list(dims)))
    return model
