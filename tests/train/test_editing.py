"""Labels that are changed: exactly what was asked for, shown, and with everything that was there before in a copy."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from projects import Project as Made

from poseloop.live import cli
from poseloop.train import labels, projects

POINTS = {"snout": (10.0, 20.0), "leftear": (5.0, 25.0), "rightear": (15.0, 25.0)}


def new(folder: Path, video: str = "m1", **changes: dict[str, tuple[float, float]]) -> Path:
    """A project of three labelled pictures; ``b={…}`` says what is otherwise in picture b."""
    words = ["--keypoints", *POINTS, "--scorer", "me", "--skeleton", "snout:leftear", "snout:rightear"]
    assert cli.main(["new", "project", str(folder), *words]) == 0
    made = Made(folder, new_index=True, video=video)
    for name in "abc":
        made.picture(f"{name}.png", np.full((48, 64, 3), ord(name), np.uint8))
        points = {**POINTS, **changes.get(name, {})}
        made.row(f"{name}.png", {key: xy for key, xy in points.items() if xy[0] == xy[0]})
    made.csv()
    made.h5()
    return folder


def edit(folder: Path, *words: str) -> int:
    return cli.main(["labels", str(folder), *words])


def points(folder: Path, picture: str = "a") -> dict[str, list[float]]:
    found = labels.read(folder)
    (frame,) = [frame for frame in found.frames if frame.path.stem == picture]
    return {name: frame.xy[0, k].tolist() for k, name in enumerate(found.keypoints)}


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (folder / "labeled-data" / "m1").glob("CollectedData*")}


def backups(folder: Path) -> list[Path]:
    return sorted((folder / "backups").iterdir()) if (folder / "backups").is_dir() else []


def test_a_rename_changes_names_everywhere_and_keeps_a_copy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = new(tmp_path / "p")
    before = files(folder)
    assert edit(folder, "rename", "snout=nose") == 0
    assert points(folder) == {"nose": [10, 20], "leftear": [5, 25], "rightear": [15, 25]}
    assert projects.load(folder).skeleton == (("nose", "leftear"), ("nose", "rightear"))
    assert "m1: nose: 3 new; snout: 3 gone" in capsys.readouterr().out
    (backup,) = backups(folder)
    kept = {file.name: file.read_bytes() for file in (backup / "labeled-data" / "m1").iterdir()}
    assert kept == before
    assert "snout" in (backup / "project.toml").read_text(encoding="utf-8")
    import pandas

    table = pandas.read_hdf(folder / "labeled-data" / "m1" / "CollectedData_me.h5")
    assert list(table.columns.get_level_values("bodyparts").unique()) == ["nose", "leftear", "rightear"]
    # There and back.
    assert edit(folder, "rename", "nose=snout") == 0
    assert points(folder) == {name: list(xy) for name, xy in POINTS.items()}
    assert len(backups(folder)) == 2


def test_a_drop_takes_pairs_along(tmp_path: Path) -> None:
    folder = new(tmp_path / "p")
    assert edit(folder, "drop", "leftear") == 0
    assert set(points(folder)) == {"snout", "rightear"}
    assert projects.load(folder).skeleton == (("snout", "rightear"),)


def test_a_merge_fills_gaps_and_asks_about_conflicts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nan = (float("nan"), float("nan"))
    folder = new(tmp_path / "p", a={"snout": nan}, b={"leftear": nan}, c={"leftear": (10.0, 24.0)})
    before = files(folder)
    assert edit(folder, "merge", "leftear=snout") == 1
    out = capsys.readouterr()
    assert "m1/c.png: snout: (10.0, 20.0) or (10.0, 24.0), 4.0 px apart" in out.out
    assert "--prefer" in out.err
    assert files(folder) == before
    assert not backups(folder)
    assert edit(folder, "merge", "leftear=snout", "--prefer", "theirs") == 0
    assert [points(folder, name)["snout"] for name in "abc"] == [[5, 25], [10, 20], [10, 24]]
    assert set(points(folder)) == {"snout", "rightear"}


def test_sides_that_look_swapped_are_repaired(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    words = ["--keypoints", *POINTS, "tailbase", "--scorer", "me"]
    assert cli.main(["new", "project", str(folder), *words]) == 0
    made = Made(folder, (*POINTS, "tailbase"), new_index=True)
    for number in range(20):
        made.picture(f"{number}.png")
        at = {**POINTS, "tailbase": (10.0, 45.0)}
        if number == 7:
            at["leftear"], at["rightear"] = at["rightear"], at["leftear"]
        made.row(f"{number}.png", {name: (x + number % 5, y) for name, (x, y) in at.items()})
    made.csv()
    assert edit(folder, "swap") == 0
    assert points(folder, "7")["leftear"] == [7, 25]
    assert points(folder, "6")["leftear"] == [6, 25]
    assert len(backups(folder)) == 1
    assert edit(folder, "swap") == 0
    assert len(backups(folder)) == 1, "nothing to change"
    assert edit(folder, "swap", "m1/3.png") == 0
    assert points(folder, "3")["leftear"] == [18, 25]
    assert edit(folder, "swap", "m2/3.png") == 1


def test_labels_of_others_are_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nan = (float("nan"), float("nan"))
    ours = new(tmp_path / "ours", a={"snout": nan})
    theirs = new(tmp_path / "theirs", b={"snout": (13.0, 24.0)})
    extra = theirs / "labeled-data" / "m2"
    shutil.copytree(theirs / "labeled-data" / "m1", extra)
    text = (extra / "CollectedData_me.csv").read_text(encoding="utf-8").replace(",m1,", ",m2,")
    (extra / "CollectedData_me.csv").write_text(text, encoding="utf-8")
    before = files(ours)
    assert edit(ours, "take", str(theirs)) == 1
    assert "m1/b.png: snout: (10.0, 20.0) or (13.0, 24.0), 5.0 px apart" in capsys.readouterr().out
    assert files(ours) == before
    assert not (ours / "labeled-data" / "m2").exists()
    assert edit(ours, "take", str(theirs), "--prefer", "ours", "--dry-run") == 0
    assert files(ours) == before
    assert edit(ours, "take", str(theirs), "--prefer", "ours") == 0
    out = capsys.readouterr().out
    assert "m1: snout: 1 new" in out
    assert "m2: 3 more pictures labelled" in out
    assert len(labels.read(ours).frames) == 6
    assert labels.read(ours).frames[0].xy[0, 0].tolist() == [10, 20]
    assert labels.read(ours).frames[1].xy[0, 0].tolist() == [10, 20], "ours stayed"
    # Of pictures that are here only, in a fresh project of one picture.
    fresh = tmp_path / "fresh"
    assert cli.main(["new", "project", str(fresh), "--keypoints", *POINTS]) == 0
    Made(fresh).picture("b.png", np.full((48, 64, 3), ord("b"), np.uint8))
    assert edit(fresh, "take", str(theirs), "--no-new") == 0
    out = capsys.readouterr().out
    assert "m1: 2 of 3 labelled pictures are not here" in out
    assert "m1: 1 more pictures labelled" in out
    assert [frame.name for frame in labels.read(fresh).frames] == ["labeled-data/m1/b.png"]
    assert not (fresh / "labeled-data" / "m2").exists()
    # A corrected file wins where it is told to.
    assert edit(ours, "take", str(theirs / "labeled-data" / "m1" / "CollectedData_me.csv"), "--prefer", "theirs") == 0
    assert labels.read(ours).frames[1].xy[0, 0].tolist() == [13, 24]


def test_other_pictures_of_the_same_name_are_no_corrections(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ours, theirs = new(tmp_path / "ours"), new(tmp_path / "theirs")
    assert cv2.imwrite(str(theirs / "labeled-data" / "m1" / "a.png"), np.zeros((48, 64, 3), np.uint8))
    assert edit(ours, "take", str(theirs)) == 1
    assert "different pictures of one name" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["rename", "snout=leftear"], "one name"),
        (["rename", "nose=snout"], "snout, leftear, rightear"),
        (["rename", "snout"], "joined by ="),
        (["drop", "snout", "leftear", "rightear"], "keypoints"),
        (["swap", "--pairs", "snout:nose"], "nose"),
    ],
)
def test_what_makes_no_sense_changes_nothing(
    tmp_path: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = new(tmp_path / "p")
    before = files(folder)
    assert edit(folder, *words) == 1
    assert said in capsys.readouterr().err
    assert files(folder) == before


def test_cells_that_cannot_be_understood_are_not_written_away(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = new(tmp_path / "p")
    file = folder / "labeled-data" / "m1" / "CollectedData_me.csv"
    file.write_text(file.read_text(encoding="utf-8").replace("10.0", "ten", 1), encoding="utf-8")
    before = files(folder)
    assert edit(folder, "drop", "leftear") == 1
    assert "mend" in capsys.readouterr().err
    assert files(folder) == before


def test_a_deeplabcut_project_keeps_its_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = new(tmp_path / "p")
    (folder / "project.toml").unlink()
    assert edit(folder, "rename", "snout=nose") == 1
    assert "poseloop import" in capsys.readouterr().err
    assert edit(folder, "swap", "m1/a.png") == 0
    assert points(folder)["leftear"] == [15, 25]
