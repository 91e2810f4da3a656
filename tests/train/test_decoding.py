"""Decoding in the graph gives what the runtime's kernels give."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from tinymodels import STRIDE, Tiny, spot

from poseloop.live.vision import Network, peaks
from poseloop.live.vision.metadata import Decoding
from poseloop.train import decoding, modelfile

SHAPES = [(1, 1), (1, 7), (2, 3), (6, 5), (9, 16)]


def run(maps: np.ndarray, stride: int, window: int) -> np.ndarray:
    shape = ["batch", "rows", "columns", maps.shape[3]]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("maps", "scoremap")]
    graph = helper.make_graph([helper.make_node("Identity", ["maps"], ["scoremap"])], "maps", values[:1], values[1:])
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    made = decoding.append(model, stride, window)
    onnx.checker.check_model(made, full_check=True)
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["keypoints"], {"maps": maps})[0]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("window", [1, 3, 5])
def test_random_maps(shape: tuple[int, int], window: int) -> None:
    rng = np.random.default_rng(shape)
    maps = rng.uniform(-0.2, 1, (40, *shape, 3)).astype(np.float32)
    maps[maps.max(axis=(1, 2), keepdims=True).repeat(shape[0], 1).repeat(shape[1], 2) <= 0] += 1
    maps = np.round(maps, 1 if shape[0] * shape[1] < 20 else 6)  # equal peaks in small ones
    maps = np.maximum(maps, -0.2)
    maps[:, 0, 0] = np.maximum(maps[:, 0, 0], 0.1)
    cells, score = np.empty((40, 3, 2), np.float32), np.empty((40, 3), np.float32)
    peaks.centroid(maps, *shape, window, cells, score)
    found = run(maps, 8, window)
    np.testing.assert_allclose(found[..., 2], score, atol=1e-6)
    np.testing.assert_allclose(found[..., :2], (cells + 0.5) * 8 - 0.5, atol=1e-4)


@pytest.mark.parametrize("fault", [np.nan, np.inf])
def test_a_map_with_a_fault_gives_nan(fault: float) -> None:
    maps = np.random.default_rng(0).uniform(0, 1, (2, 5, 6, 2)).astype(np.float32)
    maps[1, 2, 3, 0] = fault
    found = run(maps, 8, 5)
    assert np.isnan(found[1, 0, 2])
    assert np.isfinite(found[0]).all()
    assert np.isfinite(found[1, 1]).all()


def test_the_runtime_takes_the_file(tmp_path: Path) -> None:
    tiny = Tiny()
    info = tiny.info.model_copy(update={"decoding": Decoding(method="keypoints")})
    modelfile.save(decoding.append(tiny.graph(), STRIDE, 5), info, tmp_path / "points.onnx")
    picture = spot(40, 60, 31, 18)
    with Network.open(tiny.save(tmp_path)) as maps, Network.open(tmp_path / "points.onnx") as points:
        one, other = maps.infer([picture]), points.infer([picture])
    np.testing.assert_allclose(one.xy, other.xy, atol=1e-4)
    np.testing.assert_allclose(one.score, other.score, atol=1e-6)
