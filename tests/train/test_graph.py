"""The builder's words make the graphs they say, and the same bytes every time."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from poseloop.train.graph import OPSET, Graph, gaussian


def run(model: onnx.ModelProto, images: np.ndarray) -> list[np.ndarray]:
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"image": images})


@pytest.mark.parametrize("channels", [1, 3])
def test_planar_and_channels_last_undo_each_other(channels: int) -> None:
    graph = Graph("there_and_back", channels)
    pixels = graph.channels_last(graph.planar(graph.scaled(graph.image)))
    model = graph.model({"scoremap": (pixels, ("batch", "height", "width", channels))})
    images = np.random.default_rng(0).integers(0, 256, (2, 5, 7, channels), dtype=np.uint8)
    np.testing.assert_allclose(run(model, images)[0], images / 255, atol=1e-6)
    assert model.opset_import[0].version == OPSET


def test_ops_with_several_outputs() -> None:
    graph = Graph("split", 3)
    first, rest = graph.ops("Split", graph.scaled(graph.image, 1), graph.integers(1, 2), outputs=2, axis=3)
    model = graph.model({"a": (first, ("b", "h", "w", 1)), "b": (rest, ("b", "h", "w", 2))})
    images = np.random.default_rng(0).integers(0, 256, (1, 4, 4, 3), dtype=np.uint8)
    a, b = run(model, images)
    np.testing.assert_array_equal(np.concatenate([a, b], 3), images)


def test_equal_constants_are_kept_once_and_scalars_stay_scalars() -> None:
    graph = Graph("constants", 1)
    assert graph.constant([1.0, 2.0]) == graph.constant(np.array([1, 2], np.float32))
    assert graph.constant(1.0) != graph.constant([1.0])
    assert graph.constant(1) != graph.constant(1, np.int64)


def test_the_same_calls_give_the_same_bytes(tmp_path: Path) -> None:
    def build() -> bytes:
        graph = Graph("same", 1)
        pixels = graph.op("Add", graph.scaled(graph.image), graph.constant(0.5))
        return graph.model({"scoremap": (pixels, ("b", "h", "w", 1))}).SerializeToString()

    assert build() == build()


def test_gaussian_sums_to_one_and_has_its_width() -> None:
    weights = gaussian(2.0, 12)
    at = np.arange(-12, 13)
    assert weights.sum() == pytest.approx(1, abs=1e-6)
    assert (weights * at**2).sum() == pytest.approx(4, abs=1e-3)
