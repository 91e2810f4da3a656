"""Simulated labels can be read back as any project's, and lie where the simulated animal was drawn."""

import shlex
from pathlib import Path

import cv2
import numpy as np
import pytest
import worldrigs

from poseloop.drivers.sim.world import KEYPOINTS
from poseloop.live import cli
from poseloop.live.geometry import Calibration, triangulate
from poseloop.live.vision import Network
from poseloop.train import labels


def test_a_simulated_project_holds_the_truth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "animal"
    assert cli.main(["simulate", str(folder), "--frames", "7", "--walks", "3"]) == 0
    assert "poseloop train" in capsys.readouterr().out
    project = labels.read(folder)
    assert project.problems == ()
    assert project.keypoints == KEYPOINTS
    assert len(project.skeleton) == 4
    assert sorted(frame.video for frame in project.frames) == ["walk0"] * 3 + ["walk1"] * 2 + ["walk2"] * 2
    with Network.open("simulated_animal") as network:
        for frame in project.frames:
            picture = cv2.cvtColor(cv2.imread(str(frame.path)), cv2.COLOR_BGR2RGB)
            found = network.infer([np.ascontiguousarray(picture)]).xy[0, 0]
            assert np.hypot(*(found - frame.xy[0]).T).max() < 0.5


def test_simulated_videos_can_be_labelled_by_the_truth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    walks, mice = tmp_path / "walks", tmp_path / "mice"
    assert cli.main(["simulate", str(walks), "--videos", "--frames", "25", "--walks", "2"]) == 0
    assert sorted(path.name for path in walks.iterdir()) == ["truth", "walk0.mkv", "walk1.mkv"]
    # What it says comes next, is.
    said = [shlex.split(line) for line in capsys.readouterr().out.splitlines() if line.startswith("  poseloop ")]
    assert len(said) == 3
    for words in said:
        line = [str(mice) if word == "mice" else word for word in words[1:]]
        assert cli.main([*line, *(["--count", "3"] if words[1] == "frames" else [])]) == 0
    project = labels.read(mice)
    assert project.problems == ()
    assert sorted(frame.video for frame in project.frames) == ["walk0"] * 3 + ["walk1"] * 3
    with Network.open("simulated_animal") as network:
        for frame in project.frames:
            picture = cv2.cvtColor(cv2.imread(str(frame.path)), cv2.COLOR_BGR2RGB)
            found = network.infer([np.ascontiguousarray(picture)]).xy[0, 0]
            assert np.hypot(*(found - frame.xy[0]).T).max() < 1.5, "the video's compression moves colours a little"


def test_a_rig_of_simulated_cameras_gives_its_views_and_its_calibration(tmp_path: Path) -> None:
    folder, rig = tmp_path / "animal", worldrigs.write(tmp_path, "left", "right")
    assert cli.main(["simulate", str(folder), "--frames", "3", "--walks", "2", "--rig", str(rig)]) == 0
    project = labels.read(folder)
    assert sorted(frame.video for frame in project.frames) == sorted(
        ["walk0-left", "walk0-right"] * 2 + ["walk1-left", "walk1-right"]
    )
    calibration = Calibration.load(folder / "calibration.toml")
    assert calibration.names == ("left", "right")
    # What is labelled in both pictures of one moment is one point in the world.
    moment = {frame.video: frame.xy[0] for frame in project.frames if frame.path.name == "img0001.png"}
    views = np.array([moment["walk0-left"], moment["walk0-right"]], np.float64)
    xyz, residual_px, _ = triangulate(calibration, views)
    assert residual_px.max() < 0.01
    assert np.linalg.norm(xyz[1] - xyz[2]) == pytest.approx(23, abs=0.1)


def test_only_simulated_cameras_can_be_simulated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rig = tmp_path / "rig.toml"
    rig.write_text('[model]\nfile = "blob"\n[cameras.top]\nuse = "replay"\npath = "film.mp4"\n', encoding="utf-8")
    assert cli.main(["simulate", str(tmp_path / "animal"), "--rig", str(rig)]) == 1
    assert "top is none" in capsys.readouterr().err.replace("'", "")
    assert not (tmp_path / "animal").exists()


def test_what_is_there_is_not_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").write_text("labels of a week")
    assert cli.main(["simulate", str(tmp_path)]) == 1
    assert "empty folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
