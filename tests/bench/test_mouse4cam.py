"""The script that judges the four-camera rig tells good points from bad ones."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from repository import ROOT

from poseloop.bench import mouse4cam
from poseloop.bench.mouse4cam import HELD_OUT, Seen
from poseloop.live import cli
from poseloop.live.config import Rig, load_rig
from poseloop.live.errors import DataError
from poseloop.train import labels


@pytest.fixture
def rig(data: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    monkeypatch.setenv("POSELOOP_DATA", str(data.resolve()))
    return load_rig(ROOT / "docs" / "rigs" / "mouse4cam.toml")


def perfect(rig: Rig) -> tuple[tuple[str, ...], Seen]:
    """What people have corrected, as if a rig had seen it."""
    names, xy = mouse4cam.corrected(rig.cameras)
    xy = xy[:, HELD_OUT.start : HELD_OUT.stop]
    xyz, views = mouse4cam.triangulate(rig, xy)
    return names, Seen(xy, np.where(np.isnan(xy[..., 0]), 0.0, 1.0), xyz, views)


def test_what_people_have_set_is_without_fault(rig: Rig) -> None:
    names, seen = perfect(rig)
    report = mouse4cam.judge(rig, names, 0.5, seen, HELD_OUT)
    for row in report["pictures"].values():
        assert row["max"] == row["of_those_that_pass"]["max"] == 0
        assert row["n"] == row["of_those_that_pass"]["n"] > 0
    assert report["score"]["right_that_pass"] == 1
    assert (report["score"]["wrong"], report["score"]["unset_that_pass"]) == (0, 0)
    world = report["world"]
    assert (world["mm"]["max"], world["found"]) == (0, 1)
    assert world["mm"]["n"] == world["reference_points"] == len(names) * len(HELD_OUT)
    assert world["body_mm"]["rig"] == world["body_mm"]["labels"]
    # The mouse moves: a guess that does not is off.
    assert 0.2 < world["mean_pose_mm"]["median"] < 5


def test_wrong_points_that_pass_are_counted(rig: Rig) -> None:
    names, seen = perfect(rig)
    wrong = seen.xy.copy()
    wrong[1, :10, names.index("Nose")] += (40, 0)
    score = seen.score.copy()
    score[1, :5, names.index("Nose")] = 0.1
    xyz, views = mouse4cam.triangulate(rig, wrong, score)
    report = mouse4cam.judge(rig, names, 0.5, replace(seen, xy=wrong, score=score, xyz=xyz, views=views), HELD_OUT)
    assert (report["score"]["wrong"], report["score"]["wrong_that_pass"]) == (10, 0.5)
    assert report["pictures"]["mid"]["max"] == 40
    assert report["pictures"]["back"]["max"] == 0
    # The other cameras carry the point, a little off: one view fewer.
    assert 0 < report["world"]["per_keypoint"]["Nose"]["max"] < 20
    assert report["world"]["per_keypoint"]["Tail_1"]["max"] == 0


def test_labels_are_halved_as_the_rig_halves_its_pictures(rig: Rig, tmp_path: Path) -> None:
    mouse4cam.write_labels(tmp_path, ["top"], range(1, 3))
    project = labels.read(tmp_path)
    assert [frame.name for frame in project.frames] == [f"labeled-data/top/img{n:04d}.png" for n in (1, 2)]
    assert not project.problems
    names, xy = mouse4cam.corrected(["top"])
    assert project.keypoints == names
    frame = project.frames[0]
    assert (frame.width, frame.height) == (640, 512)
    # The middle of the four pixels that one pixel was made of.
    np.testing.assert_allclose(frame.xy[0] * 2 + 0.5, xy[0, 1], atol=2e-3)
    picture = cv2.imread(str(frame.path), cv2.IMREAD_GRAYSCALE)
    whole = list(mouse4cam.pictures("top"))[1]
    assert picture is not None
    np.testing.assert_allclose(picture, whole.reshape(512, 2, 640, 2).mean(axis=(1, 3)), atol=0.51)


def test_missing_recordings_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSELOOP_DATA", str(tmp_path))
    with pytest.raises(DataError, match="POSELOOP_DATA is the folder they are in"):
        mouse4cam.corrected(["top"])


def test_the_command_writes_labels_to_train_with(rig: Rig, tmp_path: Path) -> None:
    file = ROOT / "docs" / "rigs" / "mouse4cam.toml"
    words = ("bench", "mouse4cam", "--rig", str(file), "--labels", str(tmp_path / "p"), "--frames", "4:5")
    assert cli.main([*words, "--report", str(tmp_path / "r.json")]) == 0
    videos = [frame.video for frame in labels.read(tmp_path / "p").frames]
    assert videos == ["back", "mid", "side", "top"]
    assert json.loads((tmp_path / "r.json").read_text())["frames"] == 1
