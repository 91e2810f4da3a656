"""Decoding inside the graph: score maps to points by standard ONNX operators.

The same answers as `poseloop.live.vision.peaks.centroid`: the first of several equal highest cells, a window that
shrinks on both sides at the border, negative values that weigh nothing, a map with a NaN or an infinity gives NaN.
One thing differs: the graph does not know which cells are padding, and looks at all of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

__all__ = ["append"]

_MAPS = "scoremap"


def append(model: onnx.ModelProto, stride: int, window: int) -> onnx.ModelProto:
    """Replace the output ``scoremap`` (b, h, w, K) by ``keypoints`` (b, K, 3): x, y in network pixels, score.

    Args:
        model: is left as it is.
        stride: network pixels of a cell.
        window: side in cells of the part around the peak whose centre of mass is taken; 1 = the peak itself.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    declared = made.graph.output[0].type.tensor_type.shape.dim[3]
    points = declared.dim_value or declared.dim_param
    _Decoder(made).append(stride, window // 2)
    del made.graph.output[:]
    made.graph.output.append(helper.make_tensor_value_info("keypoints", TensorProto.FLOAT, ["batch", points, 3]))
    del made.graph.value_info[:]
    return made


class _Decoder:
    """Adds nodes behind a graph's score maps. Values are names of tensors."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._graph = model.graph
        self._count = 0

    def _op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"decoding_{self._count}_{kind.lower()}"
        self._count += 1
        self._graph.node.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def _constant(self, values: npt.ArrayLike, dtype: npt.DTypeLike = np.float32) -> str:
        name = f"decoding_constant_{len(self._graph.initializer)}"
        self._graph.initializer.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def _integers(self, *values: int) -> str:
        return self._constant(list(values), np.int64)

    def append(self, stride: int, half: int) -> None:
        maps = self._op("Transpose", _MAPS, perm=[0, 3, 1, 2])
        flat = self._op("Reshape", maps, self._integers(0, 0, -1))  # (b, K, h·w)
        shape = self._op("Shape", maps)
        rows, columns = (self._op("Gather", shape, self._integers(axis)) for axis in (2, 3))  # (1,) each
        at = self._op("ArgMax", flat, axis=2, keepdims=1)  # (b, K, 1)
        row = self._op("Div", at, columns)
        column = self._op("Sub", at, self._op("Mul", row, columns))
        top = self._op("GatherElements", flat, at, axis=2)
        # Zero, or NaN where anything in the map is not finite.
        fault = self._op("Mul", self._op("ReduceSum", flat, self._integers(2), keepdims=1), self._constant(0.0))
        score = self._op("Add", top, fault)
        x, y = column, row
        if half:
            right, below = self._centroid(flat, column, row, columns, rows, half)
            x, y = (self._op("Add", self._float(cell), shift) for cell, shift in ((column, right), (row, below)))
        else:
            x, y = self._float(column), self._float(row)
        pixels = [
            self._op("Add", self._op("Mul", cell, self._constant(float(stride))), self._constant(0.5 * stride - 0.5))
            for cell in (x, y)
        ]
        joined = self._op("Concat", *pixels, score, axis=2)
        self._graph.node.append(helper.make_node("Identity", [joined], ["keypoints"], name="output_keypoints"))

    def _centroid(self, flat: str, column: str, row: str, columns: str, rows: str, half: int) -> tuple[str, str]:
        """How far the centre of mass lies from the peak: x and y in cells, (b, K, 1) each."""
        steps = np.arange(-half, half + 1)
        down, across = (values.reshape(-1) for values in np.meshgrid(steps, steps, indexing="ij"))
        inside = []
        for cell, count, shift in ((column, columns, across), (row, rows, down)):
            last = self._op("Sub", count, self._integers(1))
            reach = self._op("Min", cell, self._op("Sub", last, cell), self._integers(half))
            far = self._constant(np.abs(shift), np.int64)
            inside.append(self._op("LessOrEqual", far, reach))  # (b, K, window²)
        steps_to = self._op(
            "Add", self._op("Mul", self._constant(down, np.int64), columns), self._constant(across, np.int64)
        )
        wanted = self._op("Add", self._op("Add", self._op("Mul", row, columns), column), steps_to)
        last_cell = self._op("Sub", self._op("Mul", rows, columns), self._integers(1))
        safe = self._op("Max", self._op("Min", wanted, last_cell), self._integers(0))
        around = self._op("Relu", self._op("GatherElements", flat, safe, axis=2))
        weights = self._op("Mul", around, self._float(self._op("And", *inside)))
        total = self._op("ReduceSum", weights, self._integers(2), keepdims=1)
        moments = (
            self._op("ReduceSum", self._op("Mul", weights, self._constant(shift)), self._integers(2), keepdims=1)
            for shift in (across, down)
        )
        right, below = (self._op("Div", moment, total) for moment in moments)
        return right, below

    def _float(self, tensor: str) -> str:
        return self._op("Cast", tensor, to=int(TensorProto.FLOAT))
