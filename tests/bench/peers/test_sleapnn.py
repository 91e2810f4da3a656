"""sleap-nn is given an export folder, run here as it runs it; it runs itself where its environment is."""

import json
import os
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest

from poseloop.bench import command
from poseloop.bench.peers import sleapnn_model
from poseloop.drivers.sim.camera import SimulatedCamera
from poseloop.live import cli
from poseloop.live.errors import ModelError
from poseloop.live.vision import Network
from poseloop.live.vision.metadata import Decoding
from poseloop.live.vision.network import find_model
from poseloop.train import decoding, modelfile


@pytest.mark.parametrize("model", ["blob", "demo_animal"], ids=["grey", "colour"])
def test_our_network_finds_the_same_points_there(model: str, tmp_path: Path) -> None:
    info = sleapnn_model.write(find_model(model), tmp_path / "made")
    pictures = np.random.default_rng(0).integers(0, 255, (2, 64, 96, info.colour.channels), np.uint8)
    session = onnxruntime.InferenceSession(tmp_path / "made" / "model.onnx", providers=["CPUExecutionProvider"])
    peaks, values = session.run(["peaks", "peak_vals"], {"image": np.moveaxis(pictures, 3, 1)})
    assert peaks.shape == (2, len(info.keypoints), 2)
    assert values.shape == (2, len(info.keypoints))
    with Network.open(model) as ours:
        for picture, xy, score in zip(pictures, peaks, values, strict=True):
            points = ours.infer([np.ascontiguousarray(picture.squeeze())])
            np.testing.assert_allclose(xy, points.xy[0, 0], atol=1e-2)
            np.testing.assert_allclose(score, points.score[0, 0], atol=1e-4)


def test_the_description_is_what_sleapnn_reads(tmp_path: Path) -> None:
    info = sleapnn_model.write(find_model("demo_animal"), tmp_path)
    said = json.loads((tmp_path / "export_metadata.json").read_text(encoding="utf-8"))
    assert said["model_type"] == "single_instance"
    assert tuple(said["node_names"]) == info.keypoints
    assert (said["n_nodes"], said["n_edges"]) == (len(info.keypoints), len(info.skeleton))
    assert tuple(tuple(info.keypoints[end] for end in edge) for edge in said["edge_inds"]) == info.skeleton


def test_points_without_score_maps_are_refused(tmp_path: Path) -> None:
    source = find_model("blob")
    info = Network.describe(source)
    decoded = decoding.append(onnx.load(source), info.stride, info.decoding.window)
    modelfile.save(decoded, info.model_copy(update={"decoding": Decoding(method="keypoints")}), tmp_path / "p.onnx")
    with pytest.raises(ModelError, match="expected a model with score maps"):
        sleapnn_model.write(tmp_path / "p.onnx", tmp_path / "made")


def test_it_is_listed() -> None:
    assert "peers.sleapnn" in command.benchmarks()
    assert not {"peers.sleapnn_model", "peers.sleapnn_worker", "peers.beside"} & set(command.benchmarks())


def _walk(video: Path) -> None:
    """Film the simulated animal."""
    camera = SimulatedCamera("top", SimulatedCamera.Settings(pace="none"))
    camera.open()
    camera.start("free")
    picture = np.zeros(camera.format.shape, np.uint8)
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"MJPG"), 30, (picture.shape[1], picture.shape[0]))
    for _ in range(70):
        camera.grab(picture, 1.0)
        writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    camera.close()
    writer.release()


@pytest.mark.slow
def test_beside_sleapnn_in_its_own_environment(tmp_path: Path) -> None:
    """Where ``POSELOOP_SLEAPNN`` is the Python of an environment that holds it."""
    if not (python := os.environ.get("POSELOOP_SLEAPNN")):
        pytest.skip("POSELOOP_SLEAPNN is not set")
    video, report = tmp_path / "v.avi", tmp_path / "r.json"
    _walk(video)
    asked = ["--python", python, "--video", str(video), "--sizes", "320x240", "--rounds", "20"]
    asked += ["--model", "simulated_animal"]
    assert cli.main(["bench", "peers.sleapnn", *asked, "--report", str(report)]) == 0
    (row,) = json.loads(report.read_text(encoding="utf-8"))["same"]
    assert row["versions"]["sleap-nn"]
    assert row["ms"]["sleap-nn"]["n"] == row["ms"]["poseloop"]["n"] == 20
    assert row["difference_px"]["poseloop"]["n"] > 60
    assert row["difference_px"]["poseloop"]["max"] <= 0.1
