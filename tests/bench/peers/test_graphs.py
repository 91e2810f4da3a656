"""The graphs that deeplabcut-live is given, run as it runs them: the first operation in, ``concat_1`` out."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from poseloop.live.types import Colour
from poseloop.live.vision import Network
from poseloop.live.vision.metadata import Decoding, ModelInfo

tensorflow = pytest.importorskip("tensorflow")

from poseloop.bench.peers import graphs  # noqa: E402 - both need TensorFlow
from poseloop.train import export, model, modelfile  # noqa: E402

POINTS = 3


def run(folder: Path, picture: Any) -> Any:
    tf = tensorflow.compat.v1
    definition = tf.GraphDef()
    definition.ParseFromString((folder / "snapshot.pb").read_bytes())
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(definition, name="DLC")
        operations = graph.get_operations()
        assert operations[-1].name == "DLC/concat_1"
        with tf.Session(graph=graph) as session:
            return session.run(operations[-1].outputs[0], {operations[0].outputs[0]: picture[None]})


def test_our_network_finds_the_same_points_there(tmp_path: Path) -> None:
    tensorflow.keras.utils.set_random_seed(1)
    plain = model.build(model.Architecture(), POINTS, None)
    kernel, bias = plain.get_layer("logits").get_weights()
    # Random weights see little: without more contrast many cells are the highest.
    plain.get_layer("logits").set_weights([kernel * 100, np.zeros_like(bias)])
    network = model.scored(plain)
    info = ModelInfo(
        name="random",
        keypoints=("a", "b", "c"),
        colour=Colour.RGB,
        stride=8,
        size_multiple=32,
        decoding=Decoding(method="centroid", window=7),
        gate=0.0,
    )
    modelfile.save(export.to_onnx(network, 3), info, tmp_path / "same.onnx")
    graphs.freeze(graphs.ours(network, info), POINTS, tmp_path / "same")
    picture = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
    found = run(tmp_path / "same", picture)
    with Network.open(str(tmp_path / "same.onnx")) as ours:
        points = ours.infer([picture])
    np.testing.assert_allclose(found[:, 1::-1], points.xy[0, 0], atol=1e-2)
    np.testing.assert_allclose(found[:, 2], points.score[0, 0], atol=1e-4)


def test_deeplabcuts_architecture_has_its_stride_and_its_answer(tmp_path: Path) -> None:
    graphs.freeze(graphs.dlc_mobilenet(POINTS), POINTS, tmp_path / "dlc")
    found = run(tmp_path / "dlc", np.zeros((64, 96, 3), np.uint8))
    assert found.shape == (POINTS, 3)
    assert "num_joints: 3" in (tmp_path / "dlc" / "pose_cfg.yaml").read_text()
