"""A model of ours as sleap-nn loads it: the folder that ``sleap-nn export`` writes for a network of one animal.

``model.onnx`` takes (batch, channels, height, width) uint8 of any size, scales and decodes in the graph, and gives
``peaks`` (batch, K, 2), x and y in pixels of the picture, and ``peak_vals`` (batch, K); ``export_metadata.json`` says
what it is. The network and its weights are those of the file, the decoding is the one that Poseloop does with it.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from poseloop.live.errors import ModelError
from poseloop.live.vision.metadata import ModelInfo
from poseloop.live.vision.network import Network
from poseloop.train import decoding

__all__ = ["write"]


def write(model: Path, folder: Path) -> ModelInfo:
    """Write both files.

    Args:
        model: an .onnx file of Poseloop's with score maps.
        folder: is made.

    Returns:
        What the model says of itself.

    Raises:
        ModelError: its points are not read from score maps.
    """
    info = Network.describe(model)
    if info.decoding.method not in ("centroid", "argmax"):
        raise ModelError(f"{model}: expected a model with score maps, but it is decoded by {info.decoding.method}")
    window = info.decoding.window if info.decoding.method == "centroid" else 1
    made = decoding.append(onnx.load(model), info.stride, window)
    _channels_first(made.graph, info.colour.channels)
    _peaks(made.graph, len(info.keypoints))
    del made.metadata_props[:]
    onnx.checker.check_model(made, full_check=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(made.SerializeToString())
    said = {
        "export_format": "onnx",
        "model_type": "single_instance",
        "model_name": info.name,
        "n_nodes": len(info.keypoints),
        "n_edges": len(info.skeleton),
        "node_names": list(info.keypoints),
        "edge_inds": [[info.keypoints.index(name) for name in pair] for pair in info.skeleton],
        "input_scale": 1.0,
        "input_channels": info.colour.channels,
        "output_stride": info.stride,
    }
    (folder / "export_metadata.json").write_text(json.dumps(said, indent=2), encoding="utf-8")
    return info


def _channels_first(graph: onnx.GraphProto, channels: int) -> None:
    """Let the input be (b, c, h, w); ONNX Runtime cancels this transposition against the one that comes next."""
    old = graph.input[0].name
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", channels, "height", "width"])
    last = "image_channels_last"
    for node in graph.node:
        for number, name in enumerate(node.input):
            if name == old:
                node.input[number] = last
    graph.node.insert(0, helper.make_node("Transpose", ["image"], [last], name=last, perm=[0, 2, 3, 1]))
    graph.input[0].CopyFrom(image)


def _peaks(graph: onnx.GraphProto, points: int) -> None:
    """Let the output ``keypoints`` (b, K, 3) be two, as sleap-nn reads them."""
    for name, values in (("peaks_parts", [2, 1]), ("peaks_last", [2])):
        graph.initializer.append(numpy_helper.from_array(np.array(values, np.int64), name))
    graph.node.extend(
        [
            helper.make_node("Split", ["keypoints", "peaks_parts"], ["peaks", "peaks_scores"], name="peaks", axis=2),
            helper.make_node("Squeeze", ["peaks_scores", "peaks_last"], ["peak_vals"], name="peak_vals"),
        ]
    )
    del graph.output[:]
    for name, last in (("peaks", (2,)), ("peak_vals", ())):
        shape: list[str | int] = ["batch", points, *last]
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
