"""Networks as deeplabcut-live loads them: a frozen TensorFlow graph that ends in the points, and ``pose_cfg.yaml``.

It takes the first operation of the graph for the input, and where the last one is called ``concat_1`` its value for the
points: (K, 3) rows of y, x, likelihood. That is how DeepLabCut exports a network whose decoding runs in the graph.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from poseloop.live.vision.metadata import ModelInfo
from poseloop.train import checkpoint, model

__all__ = ["dlc_mobilenet", "freeze", "from_checkpoint", "ours"]

_DILATED = ("block_14_depthwise", "block_15_depthwise", "block_16_depthwise")
_LOCREF_STDEV = 7.2801


def from_checkpoint(file: Path) -> Any:
    """The averaged network of a training's checkpoint, with its sigmoid: what ``poseloop train`` exports.

    Raises:
        DataError: it cannot be read.
    """
    stored = checkpoint.load(file)
    identity = stored.state["identity"]
    network = model.build(model.Architecture.model_validate(identity["architecture"]), identity["points"], None)
    network.set_weights(stored.groups["best" if "best" in stored.groups else "average"])
    return model.scored(network)


def ours(network: Any, info: ModelInfo) -> Any:
    """Return a function from one picture to points: the network, then the centroid that Poseloop decodes with."""
    import tensorflow as tf

    half, stride = info.decoding.window // 2, info.stride

    def points(image: Any) -> Any:
        maps = network(image, training=False)[0]
        size = tf.shape(maps)
        flat = tf.reshape(maps, (-1, size[2]))
        at = tf.argmax(flat, 0, output_type=tf.int32)
        row, column = at // size[1], at % size[1]
        score = tf.reduce_max(flat, 0)
        # The window around each peak, shrunk on both sides at a border.
        reach = tf.range(-half, half + 1)
        down, across = (
            tf.where(tf.abs(reach)[None] <= tf.minimum(tf.minimum(place, end - 1 - place), half)[:, None], 1.0, 0.0)
            for place, end in ((row, size[0]), (column, size[1]))
        )
        rows = tf.clip_by_value(row[:, None] + reach, 0, size[0] - 1)
        columns = tf.clip_by_value(column[:, None] + reach, 0, size[1] - 1)
        cells = rows[:, :, None] * size[1] + columns[:, None, :]
        weights = tf.gather(tf.transpose(flat), cells, batch_dims=1) * down[:, :, None] * across[:, None, :]
        whole = tf.reduce_sum(weights, (1, 2))
        steps = tf.cast(reach, tf.float32)
        y = tf.cast(row, tf.float32) + tf.reduce_sum(weights * steps[None, :, None], (1, 2)) / whole
        x = tf.cast(column, tf.float32) + tf.reduce_sum(weights * steps[None, None, :], (1, 2)) / whole
        pixels = [(value + 0.5) * stride - 0.5 for value in (y, x)]
        return tf.stack([*pixels, score], axis=1)

    return points


def dlc_mobilenet(points: int, alpha: float = 0.35) -> Any:
    """Return DeepLabCut's own MobileNetV2 architecture, with random weights, as a function from one picture to points.

    A trunk at stride 16 whose last stage is dilated, one transposed convolution to stride 8 for score maps and offsets,
    and the highest cell plus its offset (Mathis et al. 2018; Kane et al. 2020, whose exported graphs decode like this).
    """
    import keras
    import tensorflow as tf

    made = keras.applications.MobileNetV2(input_shape=(None, None, 3), alpha=alpha, include_top=False, weights=None)
    config = made.get_config()
    for layer in config["layers"]:
        if layer["name"] == "block_13_pad":
            layer["config"]["padding"] = ((0, 0), (0, 0))
        if layer["name"] == "block_13_depthwise":
            layer["config"] |= {"strides": (1, 1), "padding": "same"}
        if layer["name"] in _DILATED:
            layer["config"] |= {"dilation_rate": (2, 2), "padding": "same"}
    trunk = keras.Model.from_config(config)
    features = trunk.output
    maps = keras.layers.Conv2DTranspose(points, 3, 2, padding="same", activation="sigmoid")(features)
    offsets = keras.layers.Conv2DTranspose(2 * points, 3, 2, padding="same")(features)
    network = keras.Model(trunk.input, [maps, offsets])

    def found(image: Any) -> Any:
        scores, shifts = network(tf.cast(image, tf.float32) * (2 / 255) - 1, training=False)
        size = tf.shape(scores)
        flat = tf.reshape(scores, (-1, points))
        at = tf.argmax(flat, 0, output_type=tf.int32)
        shift = tf.gather(tf.transpose(tf.reshape(shifts, (-1, points, 2)), (1, 0, 2)), at, batch_dims=1)
        shift *= _LOCREF_STDEV
        places = tf.cast(tf.stack([at // size[2], at % size[2]], axis=1), tf.float32) * 8 + 4
        return tf.concat([places + shift[:, ::-1], tf.reduce_max(flat, 0)[:, None]], axis=1)

    return found


def freeze(points: Any, count: int, folder: Path) -> None:
    """Write ``snapshot.pb`` and ``pose_cfg.yaml``.

    Args:
        points: a function from (1, H, W, 3) uint8 to (K, 3) y, x, score.
        count: K.
        folder: is made.
    """
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    signature = tf.TensorSpec((1, None, None, 3), tf.uint8, name="Placeholder")
    concrete = tf.function(points).get_concrete_function(signature)
    frozen = convert_variables_to_constants_v2(concrete)
    graph = frozen.graph.as_graph_def()
    end = frozen.outputs[0].op
    while end.type == "Identity":
        end = end.inputs[0].op
    nodes = {node.name: node for node in graph.node}
    used = _upstream(nodes, end.name)
    ordered = sorted(used, key=lambda name: (name != frozen.inputs[0].op.name, name == end.name))
    written = tf.compat.v1.GraphDef(versions=graph.versions)
    for name in ordered:
        written.node.add().CopyFrom(nodes[name])
    # The name by which deeplabcut-live knows that the points are decoded in the graph.
    written.node[-1].name = "concat_1"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "snapshot.pb").write_bytes(written.SerializeToString())
    names = "\n".join(f"- point{number}" for number in range(count))
    joints = "\n".join(f"- - {number}" for number in range(count))
    (folder / "pose_cfg.yaml").write_text(
        f"all_joints:\n{joints}\nall_joints_names:\n{names}\nnum_joints: {count}\nnum_outputs: 1\nstride: 8.0\n"
        f"location_refinement: true\nlocref_stdev: {_LOCREF_STDEV}\nnet_type: mobilenet_v2_0.35\n",
        encoding="utf-8",
    )


def _upstream(nodes: dict[str, Any], end: str) -> list[str]:
    """Names of all that a node is computed from, itself included."""
    found: dict[str, None] = {}
    waiting = [end]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = None
            waiting.extend(part.lstrip("^").partition(":")[0] for part in nodes[name].input)
    return list(found)
