from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from poseloop.drivers.sim.camera import SimulatedCamera
from poseloop.drivers.sim.painter import DYES
from poseloop.drivers.sim.world import KEYPOINTS, SKELETON
from poseloop.live.vision import Network
from poseloop.live.vision.network import find_model
from poseloop.train import simulated_animal

FRAMES = 100


@dataclass(frozen=True)
class Found:
    error_px: npt.NDArray[np.float64]
    """(N, K), NaN where nothing was found."""
    score: npt.NDArray[np.float64]
    """(N, K)."""


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    with Network.open("simulated_animal") as opened:
        yield opened


def look(network: Network, **options: Any) -> Found:
    camera = SimulatedCamera("top", SimulatedCamera.Settings(pace="none", fps=7.3, **options))
    camera.open()
    camera.start("free")
    image = np.zeros(camera.format.shape, np.uint8)
    errors, scores = [], []
    for i in range(FRAMES):
        camera.grab(image, 1.0)
        found = network.infer([image])
        errors.append(np.linalg.norm(found.xy[0, 0] - camera.truth(i), axis=1))
        scores.append(found.score[0, 0])
    camera.close()
    return Found(np.array(errors), np.array(scores))


def test_the_file_in_the_zoo_is_the_one_that_is_built(tmp_path: Path) -> None:
    built = tmp_path / "built.onnx"
    assert simulated_animal.main(["--out", str(built)]) == 0
    assert built.read_bytes() == find_model("simulated_animal").read_bytes()
    onnx.checker.check_model(onnx.load(built), full_check=True)


def test_it_knows_the_animal_that_is_drawn(network: Network) -> None:
    assert network.keypoints == KEYPOINTS
    assert network.info.skeleton == SKELETON
    assert tuple(simulated_animal.DYES.items()) == tuple(zip(KEYPOINTS, DYES, strict=True))


def test_it_is_as_good_as_its_card_says(network: Network) -> None:
    stated = network.info.error
    found = look(network)
    assert np.median(found.error_px) <= stated["median_px"]
    assert np.percentile(found.error_px, 95) <= stated["p95_px"]
    assert found.error_px.max() <= stated["max_px"]
    assert found.score.min() >= stated["lowest_score"]
    assert look(network, animal=False).score.max() <= stated["highest_score_without_animal"]


@dataclass(frozen=True)
class Case:
    options: dict[str, Any]
    median_px: float
    least_score: float


@pytest.mark.parametrize(
    "case",
    [
        Case({"seed": 5, "noise": 8.0}, median_px=0.1, least_score=0.85),
        Case({"width": 240, "height": 180}, median_px=0.1, least_score=0.7),
        Case({"width": 640, "height": 480}, median_px=0.1, least_score=0.95),
        Case({"width": 960, "height": 720}, median_px=0.1, least_score=0.95),
        # Sizes that the stride does not divide.
        Case({"width": 323, "height": 241}, median_px=0.1, least_score=0.85),
        Case({"width": 321, "height": 242}, median_px=0.1, least_score=0.85),
        Case({"width": 322, "height": 243}, median_px=0.1, least_score=0.85),
    ],
    ids=lambda case: "-".join(str(value) for value in case.options.values()),
)
def test_it_finds_the_marks_in_other_pictures_too(network: Network, case: Case) -> None:
    found = look(network, **case.options)
    assert np.median(found.error_px) < case.median_px
    assert found.error_px.max() < 0.5
    assert found.score.min() > case.least_score


def test_the_score_falls_without_an_animal(network: Network) -> None:
    assert look(network, animal=False, noise=10.0).score.max() < 0.3
    assert look(network, animal=False, width=640, height=480, noise=10.0).score.max() < 0.3
