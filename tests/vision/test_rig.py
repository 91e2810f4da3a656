"""The networks of a rig: regions, sizes, crops, and models that differ from camera to camera."""

from pathlib import Path

import numpy as np
import pytest
from tinymodels import Tiny, spot

from poseloop.live.config import Rig, parse_rig
from poseloop.live.errors import ModelError
from poseloop.live.types import CameraFormat, Colour
from poseloop.live.vision.rig import RigNetwork

RIG = """
[cameras.top]
use = "sim"
[cameras.side]
use = "sim"
[cameras.front]
use = "sim"
[model]
file = "tiny.onnx"
"""
GREY = CameraFormat(128, 96, Colour.GREY, 100)
RGB = CameraFormat(128, 96, Colour.RGB, 100)


def rig(folder: Path, text: str = "", model: str = "") -> Rig:
    return parse_rig(RIG + model + text, folder / "rig.toml")


def opened(made: Rig, *formats: CameraFormat) -> RigNetwork:
    network = RigNetwork(made)
    network.open(formats or [GREY] * 3)
    return network


def infer(network: RigNetwork, *images: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    network.load(images)
    network.run()
    found = network.decode()
    return found.xy, found.score


def colours(*values: int) -> np.ndarray:
    """A spot whose channels differ, so that a model tells which one it looks at."""
    bright = spot(96, 128, 61, 41)[:, :, None].astype(float)
    return np.round(bright * np.array(values) / 255).astype(np.uint8)


def test_one_model_for_all(tmp_path: Path) -> None:
    Tiny().save(tmp_path)
    network = opened(rig(tmp_path))
    xy, score = infer(network, spot(96, 128, 30, 20), None, spot(96, 128, 90, 70))
    np.testing.assert_allclose(xy[[0, 2], 0, 0], [(30, 20), (90, 70)], atol=2)
    assert np.isnan(xy[1]).all()
    assert np.isnan(score[1]).all()
    assert network.report() == [
        {
            "model": "tiny",
            "provider": "cpu",
            "threads": 1,
            "cameras": ["top", "side", "front"],
            "inputs": [[3, 96, 128, 1]],
            "searched": {},
        }
    ]
    network.close()
    network.close()


def test_models_may_differ_from_camera_to_camera(tmp_path: Path) -> None:
    Tiny(colour=Colour.RGB, keypoints=("r", "g", "b")).save(tmp_path, "tiny.onnx")
    Tiny(colour=Colour.BGR, keypoints=("b", "g", "r"), window=3).save(tmp_path, "other.onnx")
    text = '\n[models.side]\nfile = "other.onnx"\nthreads = 2\ncameras = ["side"]\n'
    network = opened(rig(tmp_path, text, "gate = 0\n"), RGB, RGB, GREY)
    image = colours(250, 200, 150)
    xy, score = infer(network, image, image, None)
    assert network.keypoints == ("r", "g", "b")
    np.testing.assert_allclose(score[0, 0] / score[0, 0, 0], (1, 0.8, 0.6), atol=0.02)
    # The other model has another order of names and of channels; the pose has one.
    np.testing.assert_allclose(score[1], score[0], atol=1e-6)
    np.testing.assert_allclose(xy[:2, 0], np.broadcast_to((61, 41), (2, 3, 2)), atol=2)
    assert np.isnan(xy[2]).all()
    assert not xy.flags.writeable
    assert [part["cameras"] for part in network.report()] == [["top", "front"], ["side"]]
    assert [part["threads"] for part in network.report()] == [1, 2]
    assert network.provider == "cpu"


def test_models_that_find_other_points_are_refused(tmp_path: Path) -> None:
    Tiny().save(tmp_path)
    Tiny(keypoints=("nose",)).save(tmp_path, "other.onnx")
    text = '\n[models.side]\nfile = "other.onnx"\ncameras = ["side"]\n'
    with pytest.raises(ModelError, match="the same keypoints, but tiny finds spot, and tiny finds nose"):
        opened(rig(tmp_path, text))


def test_the_models_gate_holds_unless_another_is_given(tmp_path: Path) -> None:
    Tiny(gate=0.97).save(tmp_path)
    images = [spot(96, 128, 61, 41)] * 3
    assert np.isnan(infer(opened(rig(tmp_path)), *images)[0]).all()
    assert np.isfinite(infer(opened(rig(tmp_path, model="gate = 0\n")), *images)[0]).all()


def test_region_size_and_crop_come_from_the_file(tmp_path: Path) -> None:
    Tiny(size_multiple=8, window=9, gate=0.3).save(tmp_path)
    text = "size = [96, 72]\nroi.top = [10, 6, 96, 72]\n[model.crop]\nsize = [48, 40]\nsearch = [64, 48]\n"
    network = opened(rig(tmp_path, text))
    for _ in range(2):
        xy, _ = infer(network, *[spot(96, 128, 61.25, 41.5, 6)] * 3)
    np.testing.assert_allclose(xy[:, 0, 0], np.broadcast_to((61.25, 41.5), (3, 2)), atol=0.1)
    (report,) = network.report()
    assert report["inputs"] == [[3, 40, 48, 1], [1, 48, 64, 1], [1, 48, 64, 1], [1, 48, 64, 1]]
    assert report["searched"] == {"top": 1, "side": 1, "front": 1}
    assert network.searching == (False, False, False)
    infer(network, None, *[spot(96, 128, 61.25, 41.5, 6)] * 2)
    assert network.searching == (True, False, False)


def test_a_region_outside_the_picture_names_the_camera(tmp_path: Path) -> None:
    Tiny().save(tmp_path)
    with pytest.raises(ModelError, match="camera side: expected a crop inside the 128x96 picture"):
        opened(rig(tmp_path, model="roi.side = [100, 0, 64, 64]\n"))


def test_several_individuals(tmp_path: Path) -> None:
    Tiny().save(tmp_path)
    network = opened(rig(tmp_path, model="individuals = 3\n"))
    both = np.maximum(spot(96, 128, 30, 20), spot(96, 128, 90, 70))
    xy, score = infer(network, both, None, both)
    assert xy.shape == (3, 3, 1, 2)
    assert np.isfinite(xy[[0, 2], :2]).all()
    assert np.isnan(xy[[0, 2], 2]).all()
    assert (score[[0, 2], 2] == 0).all()
    assert np.isnan(score[1]).all()
