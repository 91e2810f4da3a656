"""From a session back to labels: what the network was unsure of, with its guess."""

import contextlib
import sqlite3
from pathlib import Path

import cv2
import numpy as np
import pytest
import synthetic
import yaml
from synthetic import Plan, make_session, truth

from poseloop.live import cli
from poseloop.live.output.log import packed
from poseloop.live.output.session import Session
from poseloop.train import labels, projects
from poseloop.train.sessions.labelling import choose

PLAN = Plan(frames=100, missed=(5,), unrecorded=(20, 21))
LOW = [9, 19, 29, 39, 49, 59, 69, 79, 89, 99]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_session(tmp_path_factory.mktemp("doubt") / "small", PLAN)
    log = sqlite3.connect(folder / "log.sqlite")
    log.execute("INSERT INTO mark VALUES (50, 'held'), (70, 'alarm'), (99, 'held')")
    log.commit()
    log.close()
    return folder


def test_marked_poses_come_first_and_others_are_spread(folder: Path) -> None:
    with Session.open(folder) as session:
        assert [doubt.index for doubt in choose(session, 100)] == sorted([*LOW, 50, 70])
        assert [(doubt.index, doubt.why) for doubt in choose(session, 3)] == [(50, "held"), (70, "alarm"), (99, "held")]
        few = [doubt.index for doubt in choose(session, 4)]
    assert {50, 70, 99} < set(few)
    assert len(few) == 4


def test_pictures_and_guesses_are_as_deeplabcut_has_them(folder: Path, tmp_path: Path) -> None:
    import pandas

    assert cli.main(["export", str(folder), "--to", "labels", "--out", str(tmp_path), "--count", "6"]) == 0
    there = tmp_path / "labeled-data" / "small_top"
    table = pandas.read_hdf(there / "machinelabels-iter0.h5")
    names = [name for _, _, name in table.index]
    assert names == sorted(file.name for file in there.glob("*.png"))
    assert len(names) == 6
    for name in names:
        image = cv2.imread(str(there / name), cv2.IMREAD_GRAYSCALE)
        index = synthetic.number_of(image)
        point = table.loc[("labeled-data", "small_top", name)]["poseloop_small"]["snout"]
        np.testing.assert_allclose([point["x"], point["y"]], truth(PLAN, index)[0], rtol=1e-6)
    text = pandas.read_csv(there / "machinelabels-iter0.csv", header=[0, 1, 2], index_col=[0, 1, 2])
    np.testing.assert_allclose(text.to_numpy(), table.to_numpy())


def test_a_guess_is_no_label_until_a_person_has_saved_it(folder: Path, tmp_path: Path) -> None:
    assert cli.main(["new", "project", str(tmp_path / "mice"), "--keypoints", "snout", "tail"]) == 0
    assert cli.main(["frames", str(tmp_path / "mice"), str(folder), "--count", "3"]) == 0
    with pytest.raises(labels.DataError):
        labels.read(tmp_path / "mice")
    there = tmp_path / "mice" / "labeled-data" / "small_top"
    (there / "machinelabels-iter0.h5").rename(there / "CollectedData_me.h5")
    assert len(labels.read(tmp_path / "mice").frames) == 3


def test_a_session_gives_no_picture_twice(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = tmp_path / "mice"
    there = project / "labeled-data" / "small_top"
    video = folder / "top.mkv"
    assert cli.main(["new", "project", str(project), "--keypoints", "tail", "snout", "ear"]) == 0
    assert cli.main(["frames", str(project), str(folder), "--count", "4"]) == 0
    first = {file.name for file in there.glob("*.png")}
    assert len(first) == 4
    (there / min(first)).unlink()  # refused
    assert cli.main(["frames", str(project), str(folder), "--count", "4"]) == 0
    assert capsys.readouterr().out.count("4 frames to") == 2
    second = {file.name for file in there.glob("*.png")} - first
    assert len(second) == 4
    # The session's video, named alone, is the same recording.
    assert cli.main(["frames", str(project), str(video), "--count", "100", "--how", "uniform"]) == 0
    with Session.open(folder) as session:
        length = len(session.frames("top").index)
    assert {file.name for file in there.glob("*.png")} == {f"img{n:04d}.png" for n in range(length)} - {min(first)}
    assert cli.main(["frames", str(project), str(folder)]) == 1
    assert "were chosen before" in capsys.readouterr().err
    # Guesses stand in the project's columns.
    import pandas

    table = pandas.read_hdf(there / "machinelabels-iter0.h5")
    assert list(table.columns.get_level_values("bodyparts").unique()) == ["tail", "snout", "ear"]
    assert len(table) == 8
    assert table.xs("ear", axis=1, level="bodyparts").isna().all(axis=None)
    assert table.xs("snout", axis=1, level="bodyparts").notna().any(axis=None)
    # DeepLabCut looks for labels where a listed video's name says.
    (listed,) = yaml.safe_load((project / "config.yaml").read_text(encoding="utf-8"))["video_sets"]
    assert Path(listed).stem == "small_top"
    assert Path(listed).read_bytes() == video.read_bytes()
    assert projects.recording(Path(listed)) == projects.recording(video) == "small_top"


def test_a_camera_that_has_no_picture_of_it_is_left_out(tmp_path: Path) -> None:
    plan = Plan(frames=20, cameras=("top", "side"))
    folder = make_session(tmp_path / "late", plan)
    with contextlib.closing(sqlite3.connect(folder / "log.sqlite")) as log, log:
        log.execute("UPDATE pose SET frames = ? WHERE idx IN (9, 19)", (packed([9, None]),))
        log.execute("UPDATE pose SET frames = ? WHERE idx = 19", (packed([None, None]),))
    assert cli.main(["export", str(folder), "--to", "labels", "--out", str(tmp_path)]) == 0
    assert [file.name for file in (tmp_path / "labeled-data").iterdir()] == ["late_top"]
    assert [file.stem for file in (tmp_path / "labeled-data" / "late_top").glob("*.png")] == ["img0009"]


def test_a_session_without_doubt_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_session(tmp_path / "sure", Plan(frames=5))
    assert cli.main(["export", str(folder), "--to", "labels", "--out", str(tmp_path)]) == 1
    assert "was sure of every pose" in capsys.readouterr().err
