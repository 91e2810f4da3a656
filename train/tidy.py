"""Changes an ONNX graph without changing what it computes: fewer nodes, less memory moved, one input name.

Each function takes a model and changes it. That the result is the same is not believed but proven on every export
(`poseloop.train.proof`).
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from poseloop.live.errors import ModelError

__all__ = [
    "fold_constants",
    "fold_scale",
    "name_dims",
    "one_node_doubling",
    "pad_channels",
    "planar_pixels",
    "to_grey",
    "without_dead",
]

_BLOCK = 16
"""Channels that ONNX Runtime's convolutions handle together on CPUs with AVX-512 (8 on others)."""


def fold_constants(model: onnx.ModelProto) -> onnx.ModelProto:
    """Let ONNX Runtime fold constants, BatchNorm and padding into the convolutions; the result is plain ONNX."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "folded.onnx"
        options.optimized_model_filepath = str(file)
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        folded = onnx.load(file)
    foreign = sorted({node.op_type for node in folded.graph.node if node.domain not in ("", "ai.onnx")})
    if foreign:
        raise ModelError(f"expected standard operators only, but this onnxruntime made {', '.join(foreign)}")
    # It declares every domain that it knows.
    kept = [one for one in folded.opset_import if one.domain == ""]
    del folded.opset_import[:]
    folded.opset_import.extend(kept)
    del folded.graph.value_info[:]
    return folded


def one_node_doubling(model: onnx.ModelProto) -> None:
    """Give every nearest-neighbour ``Resize`` its constant factor of 2 instead of sizes computed on the way."""
    nodes = []
    for node in model.graph.node:
        if node.op_type != "Resize":
            nodes.append(node)
            continue
        name = f"{node.output[0]}_scales"
        model.graph.initializer.append(numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), name))
        nodes.append(
            helper.make_node(
                "Resize",
                [node.input[0], "", name],
                list(node.output),
                name=node.name,
                mode="nearest",
                coordinate_transformation_mode="asymmetric",
                nearest_mode="floor",
            )
        )
    _replace(model, nodes)
    without_dead(model)


def planar_pixels(model: onnx.ModelProto) -> None:
    """Reorder (h, w, c) to (c, h, w) while pixels are still bytes: a quarter of the memory to move."""
    image = model.graph.input[0].name
    users = _users(model)
    chain = []
    at = image
    while len(users[at]) == 1 and users[at][0].op_type in ("Cast", "Mul", "Add", "Sub", "Transpose"):
        node = users[at][0]
        chain.append(node)
        at = node.output[0]
        if node.op_type == "Transpose":
            break
    scalars = {one.name for one in model.graph.initializer if not one.dims or list(one.dims) == [1]}
    between = [name for node in chain[:-1] for name in node.input if name in {*_constants(model)} - scalars]
    if len(chain) < 2 or chain[-1].op_type != "Transpose" or between:
        return
    turn = chain[-1]
    after, planar = turn.output[0], f"{image}_planar"
    before = turn.input[0]
    _rename_inputs(model, after, before)
    _rename_inputs(model, image, planar)
    turn.input[0], turn.output[0] = image, planar
    others = [node for node in model.graph.node if node is not turn]
    _replace(model, [helper.make_node("Transpose", [image], [planar], name=turn.name, perm=[0, 3, 1, 2]), *others])


def fold_scale(model: onnx.ModelProto) -> None:
    """Turn ``pixel * a + b`` before the first convolution into ``pixel + b / a``; its kernel takes the factor."""
    users, weights = _users(model), _constants(model)
    at = model.graph.input[0].name
    chain = []
    while len(users[at]) == 1 and users[at][0].op_type in ("Transpose", "Cast", "Mul", "Add"):
        chain.append(users[at][0])
        at = chain[-1].output[0]
    kinds = [node.op_type for node in chain if node.op_type != "Transpose"]
    first = users[at][0] if len(users[at]) == 1 else None
    if kinds != ["Cast", "Mul", "Add"] or first is None or first.op_type != "Conv" or first.input[1] not in weights:
        return
    factor, offset = (node for node in chain if node.op_type in ("Mul", "Add"))
    a, b, kernel = (weights.get(name) for name in (factor.input[1], offset.input[1], first.input[1]))
    if a is None or b is None or kernel is None or a.size != 1 or b.size != 1 or len(users[first.input[1]]) > 1:
        return
    name = f"{offset.name}_shift"
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(b / a, np.float32).reshape(()), name))
    offset.input[0], offset.input[1] = factor.input[0], name
    _set(model, first.input[1], (kernel.astype(np.float64) * float(a.reshape(()))).astype(np.float32))
    without_dead(model)


def pad_channels(model: onnx.ModelProto) -> None:
    """Widen tensors of less than 16 channels between convolutions by channels of zeros.

    ONNX Runtime keeps channels in blocks; a convolution over 8 channels leaves that layout, which costs more than
    computing with zeros does. MobileNetV2's largest layer is one of those (-7 % of all time at alpha 0.35).
    """
    weights = _constants(model)
    users = _users(model)
    outputs = {one.name for one in model.graph.output}
    for node in model.graph.node:
        if node.op_type != "Conv" or node.output[0] in outputs or node.input[1] not in weights:
            continue
        count = weights[node.input[1]].shape[0]
        readers = users[node.output[0]]
        plain = all(
            one.op_type == "Conv" and one.input[1] in weights and weights[one.input[1]].shape[1] == count
            for one in readers
        )
        shared = [name for one in (node, *readers) for name in one.input[1:] if len(users[name]) > 1]
        if count >= _BLOCK or not plain or not readers or shared:
            continue
        more = _BLOCK - count
        _set(model, node.input[1], np.pad(weights[node.input[1]], ((0, more), (0, 0), (0, 0), (0, 0))))
        if len(node.input) > 2:
            _set(model, node.input[2], np.pad(weights[node.input[2]], (0, more)))
        for one in readers:
            _set(model, one.input[1], np.pad(weights[one.input[1]], ((0, 0), (0, more), (0, 0), (0, 0))))
        weights = _constants(model)


def to_grey(model: onnx.ModelProto) -> None:
    """Fold the first convolution over the colours, so that the model takes (b, h, w, 1).

    Raises:
        ModelError: it is grey already, or its first layers are not scaling and a convolution.
    """
    declared = model.graph.input[0].type.tensor_type.shape.dim[3]
    if declared.dim_value == 1:
        raise ModelError("expected a model of colour pictures to fold to grey, but it takes grey ones already")
    users = _users(model)
    at = model.graph.input[0].name
    while len(users[at]) == 1 and users[at][0].op_type in ("Cast", "Mul", "Add", "Sub", "Transpose"):
        at = users[at][0].output[0]
    weights = _constants(model)
    first = users[at][0] if len(users[at]) == 1 else None
    if first is None or first.op_type != "Conv" or first.input[1] not in weights:
        raise ModelError("expected scaling and then one convolution to fold to grey, but the graph begins otherwise")
    kernel = weights[first.input[1]]
    _set(model, first.input[1], kernel.sum(axis=1, keepdims=True, dtype=np.float64).astype(np.float32))
    declared.dim_value = 1
    del model.graph.value_info[:]


def name_dims(model: onnx.ModelProto, channels: int, outputs: dict[str, Sequence[str | int]]) -> None:
    """Declare the input (batch, height, width, channels) uint8, and the outputs in this order with these shapes."""
    image = helper.make_tensor_value_info("image", onnx.TensorProto.UINT8, ["batch", "height", "width", channels])
    old = model.graph.input[0].name
    _rename_inputs(model, old, "image")
    del model.graph.input[:]
    model.graph.input.append(image)
    del model.graph.output[:]
    for name, shape in outputs.items():
        model.graph.output.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, list(shape)))
    del model.graph.value_info[:]


def without_dead(model: onnx.ModelProto) -> None:
    """Drop nodes and constants that no output needs."""
    needed = {one.name for one in model.graph.output}
    kept = []
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
    _replace(model, kept[::-1])
    constants = [one for one in model.graph.initializer if one.name in needed]
    del model.graph.initializer[:]
    model.graph.initializer.extend(constants)


def _users(model: onnx.ModelProto) -> dict[str, list[onnx.NodeProto]]:
    users: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in model.graph.node:
        for name in node.input:
            users[name].append(node)
    return users


def _constants(model: onnx.ModelProto) -> dict[str, npt.NDArray[np.float32]]:
    return {one.name: np.asarray(numpy_helper.to_array(one)) for one in model.graph.initializer}


def _set(model: onnx.ModelProto, name: str, values: npt.NDArray[np.float32]) -> None:
    for one in model.graph.initializer:
        if one.name == name:
            one.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), name))


def _rename_inputs(model: onnx.ModelProto, old: str, new: str) -> None:
    for node in model.graph.node:
        for number, name in enumerate(node.input):
            if name == old:
                node.input[number] = new


def _replace(model: onnx.ModelProto, nodes: Sequence[onnx.NodeProto]) -> None:
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)
