"""Every network that can be asked for is built, and its ONNX file computes the same."""

from collections import Counter
from pathlib import Path

import blobs
import numpy as np
import pytest

from poseloop.live.errors import ModelError
from poseloop.live.types import Colour
from poseloop.train import model, tidy
from poseloop.train.model import Architecture

pytestmark = blobs.NEEDS_TENSORFLOW


def outputs(onnx_model: object, images: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(onnx_model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["scoremap"], {"image": images})[0]


@pytest.mark.parametrize(
    "architecture",
    [
        Architecture(backbone="mobilenet_v1", alpha=0.25, width=16),
        Architecture(backbone="mobilenet_v2", alpha=0.35, width=16, stride=4),
        Architecture(backbone="mobilenet_v3_small", alpha=0.75, width=16, stride=16),
        Architecture(backbone="mobilenet_v3_large", alpha=0.75, width=16, colour=Colour.GREY),
    ],
    ids=lambda one: f"{one.backbone} stride {one.stride} {one.colour}",
)
def test_every_backbone_computes_the_same_in_onnx(architecture: Architecture) -> None:
    from poseloop.train.export import to_onnx

    network = model.scored(model.build(architecture, 3, None))
    # Weights as after some training: fresh BatchNorm would be the identity, and hide how it is folded.
    rng = np.random.default_rng(0)
    for layer in (*network.layers, *network.get_layer("trunk").layers):
        if type(layer).__name__ == "BatchNormalization":
            gamma, beta, mean, variance = layer.get_weights()
            spread = rng.uniform(0.6, 1.4, (2, *gamma.shape))
            layer.set_weights([gamma * spread[0], rng.normal(0, 0.2, beta.shape), mean + 0.05, variance * spread[1]])
    converted = to_onnx(network, architecture.colour.channels)
    images = rng.integers(0, 256, (2, 64, 96, architecture.colour.channels), dtype=np.uint8)
    expected = network(images, training=False).numpy()
    assert expected.shape == (2, 64 // architecture.stride, 96 // architecture.stride, 3)
    assert expected.std() > 1e-4
    np.testing.assert_allclose(outputs(converted, images), expected, atol=1e-4)
    kinds = Counter(node.op_type for node in converted.graph.node)
    assert not {"BatchNormalization", "Tile", "Pad"} & set(kinds)


def test_a_grey_network_equals_the_coloured_one_on_grey_pictures(tmp_path: Path) -> None:
    import keras

    from poseloop.train.export import to_onnx

    trunk = keras.applications.MobileNet(input_shape=(None, None, 3), alpha=0.25, include_top=False, weights=None)
    trunk.save_weights(tmp_path / "trunk.weights.h5")
    coloured = model.build(blobs.TINY, 2, tmp_path / "trunk.weights.h5")
    grey = model.build(blobs.TINY.model_copy(update={"colour": Colour.GREY}), 2, tmp_path / "trunk.weights.h5")
    for name in [layer.name for layer in coloured.layers if layer.name not in ("trunk", "image", "scaled")]:
        grey.get_layer(name).set_weights(coloured.get_layer(name).get_weights())
    images = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 1), dtype=np.uint8)
    expected = coloured(np.repeat(images, 3, axis=3), training=False).numpy()
    np.testing.assert_allclose(grey(images, training=False).numpy(), expected, atol=1e-4)

    folded = to_onnx(model.scored(coloured), 3)
    tidy.to_grey(folded)
    expected = 1 / (1 + np.exp(-expected))
    np.testing.assert_allclose(outputs(folded, images), expected, atol=1e-5)
    with pytest.raises(ModelError, match="grey ones already"):
        tidy.to_grey(folded)


def test_the_trunk_is_not_disturbed_by_what_is_not_learned() -> None:
    network = model.build(blobs.TINY, 2, None, frozen=True)
    trunk = network.get_layer("trunk")
    normalisations = [layer for layer in trunk.layers if type(layer).__name__ == "BatchNormalization"]
    assert len(normalisations) == 27
    assert not any(layer.trainable_variables for layer in normalisations)
    own = [layer for layer in network.layers if type(layer).__name__ == "BatchNormalization"]
    assert own
    assert all(layer.momentum == pytest.approx(0.95) and layer.trainable_variables for layer in own)
    images = np.full((2, 64, 64, 3), 200, np.uint8)
    before = [layer.get_weights() for layer in normalisations]
    network(images, training=True)
    for layer, values in zip(normalisations, before, strict=True):
        for value, old in zip(layer.get_weights(), values, strict=True):
            np.testing.assert_array_equal(value, old)


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    import keras

    with pytest.raises(ModelError, match="no such file"):
        model.build(blobs.TINY, 2, tmp_path / "none.weights.h5")
    other = keras.applications.MobileNet(input_shape=(None, None, 3), alpha=0.5, include_top=False, weights=None)
    other.save_weights(tmp_path / "half.weights.h5")
    with pytest.raises(ModelError, match=r"cannot be used for mobilenet_v1, alpha 0\.25"):
        model.build(blobs.TINY, 2, tmp_path / "half.weights.h5")
    with pytest.raises(ValueError, match="expected rgb or grey"):
        Architecture(colour=Colour.BGR)
