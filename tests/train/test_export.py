"""What leaves training is proven; what fails the proof, or got worse than allowed, is not written."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import blobs
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from poseloop.live.errors import ModelError
from poseloop.live.types import Colour
from poseloop.live.vision import Network
from poseloop.train import export, proof
from poseloop.train.export import Loss, Variant
from poseloop.train.fit import Plan, Trainer

pytestmark = blobs.NEEDS_TENSORFLOW


@dataclass
class Trained:
    trainer: Trainer
    network: Any
    file: Path
    pictures: list[np.ndarray]
    xy: np.ndarray

    def measure(self, network: Network) -> dict[str, float]:
        found = np.stack([network.infer([one]).xy[0, 0] for one in self.pictures])
        return {"rmse_px": float(np.nanmean(np.linalg.norm(found - self.xy, axis=-1)))}

    def variant(self, file: Path, wanted: Variant) -> dict[str, Any]:
        return dict(export.variant(self.file, file, wanted, self.pictures, self.pictures, self.measure))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    from poseloop.train import model

    trainer = Trainer(
        blobs.TINY, 2, Plan(steps=60, batch=4, size=64, evaluations=0, learning_rate=5e-3), None, {}, None
    )
    fitted = trainer.run(blobs.source)
    # Odd sizes: what is padded must not matter.
    made = [blobs.picture(height, width, 5000 + n) for n in range(4) for height, width in [(64, 96), (75, 70)]]
    made.sort(key=lambda one: one[0].shape)
    pictures, xy = [image for image, _ in made], np.stack([points for _, points in made])
    file = tmp_path_factory.mktemp("trained") / "blobs.onnx"
    network = model.scored(fitted.network)
    export.to_file(network, trainer.predict, blobs.info(), pictures, file)
    return Trained(trainer, network, file, pictures, xy)


def damage(source: Path, target: Path) -> None:
    """One weight of the last convolution a little larger."""
    model = onnx.load(source)
    last = [node for node in model.graph.node if node.op_type == "Conv"][-1].input[1]
    for one in model.graph.initializer:
        if one.name == last:
            values = numpy_helper.to_array(one).copy()
            values[0] *= 1.02
            one.CopyFrom(numpy_helper.from_array(values, last))
    target.write_bytes(model.SerializeToString())


def test_the_file_tells_of_its_proof(trained: Trained) -> None:
    stored = Network.describe(trained.file).training["proof"]
    assert stored["pictures"] == len(trained.pictures)
    assert stored["pictures_sha256"] == proof.digest(trained.pictures)
    assert stored["points"] == 2 * len(trained.pictures)
    assert stored["score"] <= 1e-4
    assert stored["position_px"] <= 0.01
    assert proof.recheck(trained.file, trained.pictures).position_px <= 0.01
    assert [path.name for path in trained.file.parent.iterdir()] == ["blobs.onnx"]


def test_a_damaged_file_fails_the_proof(trained: Trained, tmp_path: Path) -> None:
    bad = tmp_path / "bad.onnx"
    damage(trained.file, bad)
    with pytest.raises(ModelError, match="expected the points that its metadata promises"):
        proof.recheck(bad, trained.pictures)
    with proof.as_network(trained.trainer.predict, blobs.info()) as network:
        reference = proof.poses(network, trained.pictures)
    proof.prove(reference, trained.file, trained.pictures)
    with pytest.raises(ModelError, match="expected the same points as before the export"):
        proof.prove(reference, bad, trained.pictures)
    with pytest.raises(ModelError, match="but these are others"):
        proof.recheck(trained.file, trained.pictures[:-1])


def test_an_export_that_fails_leaves_nothing(trained: Trained, tmp_path: Path) -> None:
    def wrong(images: np.ndarray) -> np.ndarray:
        return np.roll(trained.trainer.predict(images), 1, axis=2)

    with pytest.raises(ModelError, match="The file is not usable"):
        export.to_file(trained.network, wrong, blobs.info(), trained.pictures, tmp_path / "wrong.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wanted", [Variant(decoded=True), Variant(grey=True), Variant(decoded=True, grey=True)])
def test_float32_variants_find_the_same_points(trained: Trained, tmp_path: Path, wanted: Variant) -> None:
    # A padded picture has cells that the runtime does not search, but a graph does.
    sizes = [one for one in trained.pictures if not wanted.decoded or one.shape[:2] == (64, 96)]
    report = export.variant(trained.file, tmp_path / "v.onnx", wanted, sizes, [], lambda network: {"rmse_px": 0.0})
    assert report["difference"]["score"] <= 1e-4
    assert report["difference"]["position_px"] <= 0.01
    made = Network.describe(tmp_path / "v.onnx")
    assert made.colour is (Colour.GREY if wanted.grey else Colour.RGB)
    assert made.decoding.method == ("keypoints" if wanted.decoded else "centroid")
    assert made.training["export"]["source"] == "blobs"
    if wanted.decoded:
        with pytest.raises(ModelError, match="expected a model with score maps"):
            export.variant(tmp_path / "v.onnx", tmp_path / "w.onnx", Variant(), sizes, [], lambda network: {})


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_fewer_bits_are_measured_and_refused_when_worse(
    trained: Trained, tmp_path: Path, precision: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "BOUNDS", {precision: Loss(error_px=1.0, score=0.2)})
    report = trained.variant(tmp_path / "v.onnx", Variant(precision))
    assert set(report["latency_ms"]) >= {"source", "this"}
    assert report["bytes"]["this"] < report["bytes"]["source"]
    error = Network.describe(tmp_path / "v.onnx").error
    assert error["held_out"] == report["error"]["this"]
    with pytest.raises(ModelError, match="make the variant of the file that training wrote"):
        export.variant(tmp_path / "v.onnx", tmp_path / "w.onnx", Variant(), [], [], trained.measure)
    monkeypatch.setattr(export, "BOUNDS", {precision: Loss(error_px=1.0, score=-1.0)})
    with pytest.raises(ModelError, match="The file was not written"):
        trained.variant(tmp_path / "worse.onnx", Variant(precision))
    assert not (tmp_path / "worse.onnx").exists()
