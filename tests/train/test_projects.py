"""A project is a folder that people read and DeepLabCut's tools open."""

from pathlib import Path

import pytest
import yaml
from projects import Project as Labels

from poseloop.live import cli
from poseloop.live.errors import ConfigError, DataError
from poseloop.train import labels, projects


def new(folder: Path, *more: str) -> int:
    return cli.main(["new", "project", str(folder), "--keypoints", "snout", "leftear", "rightear", *more])


def test_a_new_project_says_what_is_labelled(tmp_path: Path) -> None:
    assert new(tmp_path / "mice", "--scorer", "anna", "--skeleton", "snout:leftear", "--individuals", "a", "b") == 0
    project = projects.load(tmp_path / "mice")
    assert (project.name, project.scorer, project.individuals) == ("mice", "anna", ("a", "b"))
    assert project.skeleton == (("snout", "leftear"),)
    config = yaml.safe_load((tmp_path / "mice" / "config.yaml").read_text(encoding="utf-8"))
    assert config["multianimalbodyparts"] == ["snout", "leftear", "rightear"]
    assert (config["bodyparts"], config["individuals"], config["scorer"]) == ("MULTI!", ["a", "b"], "anna")


def test_training_reads_it(tmp_path: Path) -> None:
    assert new(tmp_path / "p", "--skeleton", "snout:leftear") == 0
    made = Labels(tmp_path / "p", new_index=True)
    made.picture("img0000.png")
    made.row("img0000.png", {"snout": (3.0, 4.0)})
    made.csv()
    found = labels.read(tmp_path / "p")
    assert found.keypoints == ("snout", "leftear", "rightear")
    assert found.skeleton == (("snout", "leftear"),)
    assert len(found.frames) == 1


def test_what_is_edited_by_hand_reaches_deeplabcut(tmp_path: Path) -> None:
    assert new(tmp_path / "p") == 0
    file = tmp_path / "p" / "project.toml"
    file.write_text(file.read_text(encoding="utf-8").replace('"rightear"]', '"rightear", "tail"]'), encoding="utf-8")
    projects.root(tmp_path / "p")
    config = yaml.safe_load((tmp_path / "p" / "config.yaml").read_text(encoding="utf-8"))
    assert config["bodyparts"][-1] == "tail"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("format = 1", "format = 2"), "format"),
        (('"snout"', '"leftear"'), "keypoints that differ"),
        (('scorer = "me"', 'scorer = "a/b"'), "scorer"),
        (("skeleton = []", 'skeleton = [["snout", "tail"]]'), "tail, which are no keypoints"),
        (("skeleton", "skelton"), "skelton"),
        (("videos = []", "videos = ["), "cannot be read"),
    ],
)
def test_what_is_wrong_in_it_is_told(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    assert new(tmp_path / "p") == 0
    file = tmp_path / "p" / "project.toml"
    file.write_text(file.read_text(encoding="utf-8").replace(*change), encoding="utf-8")
    with pytest.raises(ConfigError, match=message) as error:
        projects.root(tmp_path / "p")
    assert "project.toml" in str(error.value)


def test_nothing_is_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "note.txt").write_text("mine")
    assert new(tmp_path) == 1
    assert "something in it" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["note.txt"]
    assert cli.main(["new", "project", str(tmp_path / "p"), "--keypoints", "a", "--skeleton", "a"]) == 1
    assert "snout:tailbase" in capsys.readouterr().err


def test_a_deeplabcut_project_is_one_too_and_stays_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="poseloop new project"):
        projects.root(tmp_path)
    Labels(tmp_path).config(video_sets="{/nowhere/a.mp4: {crop: '0, 1, 0, 1'}}")
    before = (tmp_path / "config.yaml").read_bytes()
    assert projects.root(tmp_path) == tmp_path
    with pytest.raises(DataError, match="names no videos"):
        projects.recordings(tmp_path)
    projects.add_recording(tmp_path, tmp_path / "a.mp4")
    assert (tmp_path / "config.yaml").read_bytes() == before


@pytest.mark.parametrize("content", [b"just words", b"- a list", b"Task: \xff\xfe"])
def test_a_configuration_that_is_none_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.yaml").write_bytes(content)
    with pytest.raises(DataError, match=r"config\.yaml"):
        projects.described(tmp_path)
