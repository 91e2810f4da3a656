"""Small words for building an ONNX graph by hand: nodes, constants, the input that every Poseloop model has.

A graph built here is deterministic: the same calls give the same bytes. Names are counted, never random.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from poseloop.live.types import Float32

__all__ = ["OPSET", "Graph", "gaussian"]

OPSET = 17
"""Operator set of every graph built here: the newest that all runtimes we name understand."""

_IR_VERSION = 8
"""File format that goes with opset 17; onnx would write its newest, which older runtimes refuse."""


class Graph:
    """An ONNX graph in the making. Values are the names of tensors.

    ::

        graph = Graph("double", channels=1)
        pixels = graph.planar(graph.scaled(graph.image))       # (b, c, h, w) in 0..1
        small = graph.op("AveragePool", pixels, kernel_shape=[8, 8], strides=[8, 8])
        doubled = graph.op("Mul", small, graph.constant(2.0))
        model = graph.model({"scoremap": (graph.channels_last(doubled), ("batch", "rows", "columns", 1))})
    """

    image = "image"
    """The input: (batch, height, width, channels) uint8."""
    FLOAT = int(TensorProto.FLOAT)
    """For ``Cast``."""
    INT64 = int(TensorProto.INT64)

    def __init__(self, name: str, channels: int) -> None:
        self._name = name
        self._channels = channels
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._tensors: list[onnx.TensorProto] = []
        self._counts: Counter[str] = Counter()

    def constant(self, values: npt.ArrayLike, dtype: npt.DTypeLike = np.float32) -> str:
        """Add a constant; the same values share one."""
        array = np.ascontiguousarray(np.asarray(values, dtype=dtype))
        array = array.reshape(np.shape(values))
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            name = f"constant_{len(self._tensors)}"
            self._tensors.append(numpy_helper.from_array(array, name))
            self._constants[key] = name
        return self._constants[key]

    def integers(self, *values: int) -> str:
        """Add a 1-D int64 constant: axes, shapes, slice ends."""
        return self.constant(list(values), np.int64)

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output and return that output's name."""
        return self.ops(kind, *inputs, outputs=1, **attributes)[0]

    def ops(self, kind: str, *inputs: str, outputs: int, **attributes: Any) -> tuple[str, ...]:
        """Add a node with several outputs and return their names."""
        number = self._counts[kind]
        self._counts[kind] += 1
        base = f"{kind.lower()}_{number}"
        names = (base,) if outputs == 1 else tuple(f"{base}_{i}" for i in range(outputs))
        self._nodes.append(helper.make_node(kind, list(inputs), list(names), name=base, **attributes))
        return names

    def scaled(self, image: str, scale: float = 1 / 255) -> str:
        """Cast uint8 pixels to float32 and scale them."""
        pixels = self.op("Cast", image, to=self.FLOAT)
        return pixels if scale == 1 else self.op("Mul", pixels, self.constant(scale))

    def planar(self, tensor: str) -> str:
        """(b, h, w, c) → (b, c, h, w), as convolutions and pooling want it; free for one channel."""
        if self._channels == 1:
            return self.op("Unsqueeze", self.op("Squeeze", tensor, self.integers(3)), self.integers(1))
        return self.op("Transpose", tensor, perm=[0, 3, 1, 2])

    def channels_last(self, tensor: str) -> str:
        """(b, K, h, w) → (b, h, w, K), as score maps leave a model."""
        return self.op("Transpose", tensor, perm=[0, 2, 3, 1])

    def model(self, outputs: Mapping[str, tuple[str, Sequence[int | str]]]) -> onnx.ModelProto:
        """Close the graph.

        Args:
            outputs: name → (tensor, shape); a word in a shape is a size that is known only when the model runs.
        """
        nodes = list(self._nodes)
        infos = []
        for name, (tensor, shape) in outputs.items():
            nodes.append(helper.make_node("Identity", [tensor], [name], name=f"output_{name}"))
            infos.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)))
        image = helper.make_tensor_value_info(
            self.image, TensorProto.UINT8, ["batch", "height", "width", self._channels]
        )
        graph = helper.make_graph(nodes, self._name, [image], infos, initializer=self._tensors)
        return helper.make_model(
            graph,
            ir_version=_IR_VERSION,
            opset_imports=[helper.make_opsetid("", OPSET)],
            producer_name="poseloop",
        )


def gaussian(sigma: float, radius: int) -> Float32:
    """Sample a Gaussian on -radius..radius; its sum is 1."""
    at = np.arange(-radius, radius + 1, dtype=np.float64)
    weights = np.exp(-0.5 * (at / sigma) ** 2)
    return np.asarray(weights / weights.sum(), np.float32)
