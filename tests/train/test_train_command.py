"""``poseloop train`` and ``poseloop export``, from a project's folder to files that are proven."""

import json
import subprocess
import sys
from pathlib import Path

import blobs
import pytest
from projects import Project

from poseloop.live import cli
from poseloop.live.vision import Network
from poseloop.train import confidence, labels
from poseloop.train.history import History

pytestmark = blobs.NEEDS_TENSORFLOW


def write(folder: Path, frames: int) -> Path:
    made = Project(folder, keypoints=blobs.KEYPOINTS)
    made.config()
    for number in range(frames):
        image, xy = blobs.picture(96, 96, number)
        made.picture(f"img{number}.png", image[..., ::-1].copy())
        made.row(f"img{number}.png", dict(zip(blobs.KEYPOINTS, map(tuple, xy), strict=True)))
    made.csv()
    return made.folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write(tmp_path / "blobs", 12)


def test_a_project_becomes_a_model_and_the_model_a_smaller_one(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, report = tmp_path / "out" / "blobs.onnx", tmp_path / "report.json"
    options = ["--weights", "none", "--steps", "40", "--backbone", "mobilenet_v1", "--alpha", "0.25", "--width", "16"]
    options += ["--size", "64", "--batch", "4", "--test-share", "0.25", "--report", str(report)]
    board = ["--tensorboard", str(tmp_path / "board")]
    assert cli.main(["train", str(project), "--out", str(model), *options, *board]) == 0
    assert "same points as the trained network in 12 pictures" in capsys.readouterr().out
    info = Network.describe(model)
    known = labels.read(project)
    assert info.keypoints == blobs.KEYPOINTS
    assert info.training["data_digest"] == known.digest
    assert set(info.training["held_out"]) | set(info.training["learned"]) == {frame.name for frame in known.frames}
    assert len(info.training["held_out"]) == 3
    assert info.training["steps"] == 40
    assert info.training["proof"]["position_px"] <= 0.01
    assert info.error["held_out"]["n"] == 6
    assert info.versions["keras"]
    assert json.loads(report.read_text())["held_out"]["rmse_px"] == info.error["held_out"]["rmse_px"]
    assert list((tmp_path / "board").iterdir())
    assert {path.name for path in model.parent.iterdir()} == {"blobs.onnx", "blobs.checkpoint.npz"}

    # What is finished stays finished: the same weights make the same file of them.
    before = info.training["proof"]["golden"]
    assert cli.main(["train", str(project), "--out", str(model), *options, "--resume"]) == 0
    assert Network.describe(model).training["proof"]["golden"] == before

    points = tmp_path / "points.onnx"
    assert cli.main(["export", str(model), str(project), "--out", str(points), "--decoded", "--grey"]) == 0
    assert Network.describe(points).decoding.method == "keypoints"
    assert "worst difference" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli.main(["export", str(model), str(project), "--out", str(points), "--precision", "int4"])


@pytest.mark.slow
def test_trainings_of_a_project_are_rounds_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "p"
    options = ["--weights", "none", "--steps", "2", "--backbone", "mobilenet_v1", "--alpha", "0.25", "--width", "16"]
    options += ["--size", "64", "--batch", "4"]
    assert cli.main(["new", "project", str(folder), "--keypoints", *blobs.KEYPOINTS, "--scorer", "me"]) == 0
    for name, frames in (("one", 10), ("two", 15)):
        write(folder, frames)
        seed = ["--seed", str(frames)]
        assert cli.main(["train", str(folder), "--out", str(tmp_path / f"{name}.onnx"), *options, *seed]) == 0
    trial = str(tmp_path / "trial.onnx")
    assert cli.main(["train", str(folder), "--out", trial, *options, "--trial"]) == 0
    said = capsys.readouterr().err
    assert said.count("2 held out, as before") == 1
    assert "13 frames to learn from" in said
    history = History(folder)
    assert [one["name"] for one in history.models] == ["one", "two"]
    assert [Network.describe(tmp_path / f"{one}.onnx").training["held_out"] for one in ("one", "two")] == [
        history.test
    ] * 2
    assert [version["frames"] for version in history.versions] == [10, 15]
    # What was entered is what `refine` knows: the curve has both models on the same frames, and no other.
    assert cli.main(["refine", str(tmp_path / "two.onnx"), str(folder), "--count", "0"]) == 0
    assert "the same 2 test frames" in capsys.readouterr().out
    assert [one["test"]["error_px"] is not None for one in History(folder).models] == [True, True]


def test_wrong_values_are_errors(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "m.onnx")
    for options, words in (
        (["--out", out, "--size", "100"], ["--size", "multiple of 32", "100"]),
        (["--out", out, "--minutes", "0"], ["--minutes", "greater than 0"]),
        (["--out", str(tmp_path / "m.h5")], ["--out", ".onnx"]),
        (["--out", out, "--weights", str(tmp_path / "none.h5")], ["none.h5"]),
        (["--out", out, "--weights", "none", "--steps", "1", "--resume"], ["no checkpoint"]),
    ):
        assert cli.main(["train", str(project), *options]) == 1
        said = capsys.readouterr().err
        assert all(word in said for word in words), said


def test_the_list_of_commands_does_not_load_tensorflow() -> None:
    program = (
        "import sys\nfrom poseloop.live import cli\ntry:\n    cli.main(['--help'])\nexcept SystemExit:\n    pass\n"
        "sys.exit(bool({'tensorflow', 'keras', 'tf2onnx', 'tqdm', 'onnx'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=False).returncode == 0


def test_the_level_lies_between_what_is_there_and_what_is_not() -> None:
    import numpy as np

    present = np.full((20, 2), 0.3, np.float32)
    absent = np.full((20, 2), 0.02, np.float32)
    labelled = np.ones((20, 2), np.bool_)
    labelled[:, 1] = False
    first, second = confidence.shifts(present, labelled, absent)
    moved = [1 / (1 + np.exp(-(np.log(p / (1 - p)) + first))) for p in (0.3, 0.02)]
    assert moved[1] < 0.2 < 0.5 < moved[0]
    assert second == 0
