"""The networks: a MobileNet trunk, and a light decoder that brings its coarse maps back to a fine stride.

The decoder is a feature pyramid (Lin et al. 2017, section 3) with depthwise-separable convolutions (Sandler et al.
2018): the coarsest map is narrowed to ``width`` channels, then doubled in size (nearest neighbour) and added to a 1 ×
1 projection of the trunk's map of that stride, until the wanted stride is reached. Trunk maps are tapped where they
are narrow, before the block that halves them widens them: cheaper than after, and no worse. The trunk ends before its
last 1 × 1 widening, which serves classification.

Pixels come as uint8 and are scaled inside the graph to -1..1, as every trunk here wants them. A trunk with ImageNet
weights keeps its BatchNorm frozen, statistics and factors: batches of eight crops would ruin what it was taught, and
steps are faster. All other BatchNorm learns with momentum 0.95, because Keras' 0.99 needs more steps than a short
training has.

TensorFlow is imported when a network is built, not before.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, field_validator

from poseloop.live.config import Settings
from poseloop.live.errors import ModelError
from poseloop.live.types import Colour, Float32

__all__ = ["BACKBONES", "SIZE_MULTIPLE", "Architecture", "Backbone", "build", "fold_to_grey", "scored"]

SIZE_MULTIPLE = 32
"""Sides of the input must be multiples of this: the trunk halves five times."""

_FIRST_SCORE = 0.01
"""Score of every cell before training: most cells are background, and the loss should not begin by learning that."""

_MOMENTUM = 0.95


@dataclass(frozen=True, slots=True)
class Backbone:
    """Where one family of trunks is tapped."""

    application: str
    """Its name in ``keras.applications``."""
    taps: Mapping[int, str]
    """Stride → the layer whose input is the last map of that stride."""
    last: str
    """The layer whose input, or output where ``widens`` is false, is the coarsest map."""
    widens: bool
    """The last layer only widens, and is left out."""
    options: Mapping[str, Any]


BACKBONES: Mapping[str, Backbone] = {
    "mobilenet_v1": Backbone(
        "MobileNet", {4: "conv_pad_4", 8: "conv_pad_6", 16: "conv_pad_12"}, "conv_pw_13_relu", False, {}
    ),
    "mobilenet_v2": Backbone(
        "MobileNetV2", {4: "block_3_expand", 8: "block_6_expand", 16: "block_13_expand"}, "Conv_1", True, {}
    ),
    "mobilenet_v3_small": Backbone(
        "MobileNetV3Small",
        {stride: f"expanded_conv_{block}_expand" for stride, block in ((4, 1), (8, 3), (16, 8))},
        "conv_1",
        True,
        {"include_preprocessing": False},
    ),
    "mobilenet_v3_large": Backbone(
        "MobileNetV3Large",
        {stride: f"expanded_conv_{block}_expand" for stride, block in ((4, 3), (8, 6), (16, 12))},
        "conv_1",
        True,
        {"include_preprocessing": False},
    ),
}


class Architecture(Settings):
    """Everything that decides the shapes of a network's weights."""

    backbone: Literal["mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large"] = "mobilenet_v2"
    alpha: float = Field(0.35, gt=0, le=1.4)
    """Width of the trunk; 1 = as published. ImageNet weights exist for 0.25, 0.35, 0.5, 0.75, 1, 1.3, 1.4, not for
    every family."""
    stride: Literal[4, 8, 16] = 8
    """Input pixels per cell of the score maps."""
    width: int = Field(64, ge=8, le=512)
    """Channels of the decoder."""
    colour: Colour = Colour.RGB
    """``grey``: one input channel, for mono cameras; the first kernels are folded."""

    @field_validator("colour")
    @classmethod
    def _order(cls, colour: Colour) -> Colour:
        if colour is Colour.BGR:
            raise ValueError("expected rgb or grey: ImageNet weights were trained on RGB")
        return colour


def build(
    architecture: Architecture, points: int, weights: Path | Literal["imagenet"] | None, frozen: bool | None = None
) -> Any:
    """Build a network from ``image`` (b, h, w, c) uint8 to ``logits`` (b, h / stride, w / stride, K).

    Args:
        architecture: what to build.
        points: K.
        weights: of the trunk: a file of ``keras.applications`` (no top), ``imagenet`` to have Keras download it, or
            None for random ones.
        frozen: the trunk's BatchNorm does not learn; None: if it has weights.

    Returns:
        A ``keras.Model``; `scored` adds the sigmoid.

    Raises:
        ModelError: the weights cannot be had or do not fit.
    """
    import keras

    layers = keras.layers
    backbone = BACKBONES[architecture.backbone]
    image = keras.Input((None, None, architecture.colour.channels), dtype="uint8", name="image")
    pixels = layers.Rescaling(1 / 127.5, offset=-1.0, name="scaled")(image)
    trunk = _trunk(architecture, weights)
    for layer in trunk.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.trainable = weights is None if frozen is None else not frozen
            layer.momentum = _MOMENTUM
    last = trunk.get_layer(backbone.last)
    strides = [stride for stride in (16, 8, 4) if stride >= architecture.stride]
    taps = [trunk.get_layer(backbone.taps[stride]).input for stride in strides]
    features = keras.Model(trunk.input, [last.input if backbone.widens else last.output, *taps], name="trunk")
    coarse, *finer = features(pixels)

    def normalised(tensor: Any, name: str, relu: bool = True) -> Any:
        tensor = layers.BatchNormalization(momentum=_MOMENTUM, name=f"{name}_bn")(tensor)
        return layers.ReLU(name=f"{name}_relu")(tensor) if relu else tensor

    def projected(tensor: Any, name: str, relu: bool = True) -> Any:
        tensor = layers.Conv2D(architecture.width, 1, use_bias=False, name=name)(tensor)
        return normalised(tensor, name, relu)

    decoded = projected(coarse, "decoder_32")
    for stride, tap in zip(strides, finer, strict=True):
        doubled = layers.Lambda(_double, (None, None, architecture.width), name=f"decoder_{stride}_doubled")(decoded)
        lateral = projected(tap, f"decoder_{stride}_lateral", relu=False)
        decoded = layers.Add(name=f"decoder_{stride}_sum")([doubled, lateral])
        decoded = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name=f"decoder_{stride}_spread")(decoded)
        decoded = normalised(decoded, f"decoder_{stride}_spread")
        decoded = projected(decoded, f"decoder_{stride}_mix")
    logits = layers.Conv2D(
        points,
        1,
        dtype="float32",
        bias_initializer=keras.initializers.Constant(math.log(_FIRST_SCORE / (1 - _FIRST_SCORE))),
        name="logits",
    )(decoded)
    return keras.Model(image, logits, name=architecture.backbone)


def scored(network: Any) -> Any:
    """Add the sigmoid: the same weights, with output ``scoremap`` in 0..1."""
    import keras

    scoremap = keras.layers.Activation("sigmoid", dtype="float32", name="scoremap")(network.output)
    return keras.Model(network.input, scoremap, name=network.name)


def fold_to_grey(kernel: Float32) -> Float32:
    """Sum a first convolution's kernel (h, w, 3, n) over its colours to (h, w, 1, n).

    A grey picture is one whose three channels are equal, and the scaling before it is the same for all of them: so both
    kernels give the same there, padding included.
    """
    return np.asarray(kernel.sum(axis=2, keepdims=True, dtype=np.float64), np.float32)


def _double(tensor: Any) -> Any:
    """Repeat every cell as 2 × 2 (Keras' own layer becomes eight nodes in ONNX; this becomes one)."""
    import tensorflow as tf

    return tf.image.resize(tensor, 2 * tf.shape(tensor)[1:3], method="nearest")


def _trunk(architecture: Architecture, weights: Path | Literal["imagenet"] | None) -> Any:
    backbone = BACKBONES[architecture.backbone]
    grey = architecture.colour is Colour.GREY
    if not grey or weights is None:
        return _application(architecture, architecture.colour.channels, weights)
    coloured = _application(architecture, 3, weights)
    folded = _application(architecture, 1, None)
    for source, target in zip(coloured.layers, folded.layers, strict=True):
        values = source.get_weights()
        if values and values[0].shape != target.get_weights()[0].shape:
            values = [fold_to_grey(values[0]), *values[1:]]
        target.set_weights(values)
    assert backbone.last in {layer.name for layer in folded.layers}
    return folded


def _application(architecture: Architecture, channels: int, weights: Path | Literal["imagenet"] | None) -> Any:
    import keras

    backbone = BACKBONES[architecture.backbone]
    make = getattr(keras.applications, backbone.application)
    try:
        trunk = make(
            input_shape=(None, None, channels),
            alpha=architecture.alpha,
            include_top=False,
            weights="imagenet" if weights == "imagenet" else None,
            **backbone.options,
        )
        if isinstance(weights, Path):
            if not weights.is_file():
                raise ModelError(f"{weights}: there is no such file of weights")
            trunk.load_weights(weights)
    except ModelError:
        raise
    except Exception as error:
        # Keras, h5py and the downloader raise whatever they like.
        name = f"{architecture.backbone}, alpha {architecture.alpha:g}"
        advice = (
            "download it elsewhere and name it with --weights FILE"
            if weights == "imagenet"
            else f"expected keras.applications.{backbone.application} weights without top"
        )
        raise ModelError(f"{weights}: cannot be used for {name}: {error}. {advice}") from error
    return trunk
