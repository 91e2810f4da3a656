"""Simulated labels can be read back as any project's, and lie where the simulated animal was drawn."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from poseloop.drivers.sim.world import KEYPOINTS
from poseloop.live import cli
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


def test_what_is_there_is_not_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").write_text("labels of a week")
    assert cli.main(["simulate", str(tmp_path)]) == 1
    assert "empty folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
