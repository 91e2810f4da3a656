"""Labels that are changed: exactly what was asked for, shown, and with everything that was there before in a copy."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from projects import Project as Made

from poseloop.live import cli
from poseloop.train import labels, projects
from poseloop.train.labelwriter import write_guesses, write_labels

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


def guesses(folder: Path) -> dict[str, dict[str, list[float]]]:
    """Picture → keypoint → x, y, likelihood; CSV and h5 say the same."""
    import pandas

    here = folder / "labeled-data" / "m1"
    table = pandas.read_hdf(here / "machinelabels-iter0.h5", "df_with_missing")
    text = pandas.read_csv(here / "machinelabels-iter0.csv", header=[0, 1, 2], index_col=[0, 1, 2])
    pandas.testing.assert_frame_equal(text, table, check_names=False)
    assert set(table.columns.get_level_values("scorer")) == {"model"}
    return {
        index[-1]: {name: row["model"][name].tolist() for name in table.columns.get_level_values("bodyparts").unique()}
        for index, row in table.iterrows()
    }


def guess(folder: Path, **rows: list[list[float]]) -> None:
    columns = [("", name) for name in POINTS]
    found = {f"{name}.png": np.array(row, np.float64) for name, row in rows.items()}
    write_guesses(folder / "labeled-data" / "m1", "model", columns, found)


def test_guesses_change_with_the_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nan = float("nan")
    folder = new(tmp_path / "p")
    guess(folder, d=[[1, 2, 0.9], [3, 4, 0.5], [nan, nan, 0.1]], e=[[1, 2, 0.25], [3, 4, 0.5], [5, 6, 0.75]])
    before = (folder / "labeled-data" / "m1" / "machinelabels-iter0.csv").read_bytes()
    assert edit(folder, "rename", "snout=nose") == 0
    assert "m1: guesses: nose: 2 new; snout: 2 gone" in capsys.readouterr().out
    assert guesses(folder)["d.png"]["nose"] == [1, 2, 0.9]
    (backup,) = backups(folder)
    assert (backup / "labeled-data" / "m1" / "machinelabels-iter0.csv").read_bytes() == before
    # Of two guesses, the likelier one stays: nobody is asked.
    assert edit(folder, "merge", "leftear=nose", "--prefer", "ours") == 0
    assert [guesses(folder)[name]["nose"] for name in ("d.png", "e.png")] == [[1, 2, 0.9], [3, 4, 0.5]]
    assert set(guesses(folder)["d.png"]) == {"nose", "rightear"}
    assert edit(folder, "drop", "rightear") == 0
    assert set(guesses(folder)["e.png"]) == {"nose"}


def test_a_recording_with_a_name_of_people_and_paths_of_windows(tmp_path: Path) -> None:
    folder = new(tmp_path / "Mäuse, 2. Versuch", video="Über uns 1")
    here = folder / "labeled-data" / "Über uns 1"
    (here / "CollectedData_me.h5").unlink()
    file = here / "CollectedData_me.csv"
    text = file.read_text(encoding="utf-8").replace("labeled-data,Über uns 1,", "labeled-data\\Über uns 1\\")
    file.write_text(text.replace(",,,me", ",me").replace(",,,snout", ",snout").replace(",,,x", ",x"), encoding="utf-8")
    assert len(labels.read(folder).frames) == 3
    assert not labels.read(folder).problems
    assert edit(folder, "rename", "snout=Schnäuzchen 1") == 0
    assert points(folder) == {"Schnäuzchen 1": [10, 20], "leftear": [5, 25], "rightear": [15, 25]}
    assert cli.main(["import", str(folder), str(tmp_path / "noch eins")]) == 0
    assert labels.read(tmp_path / "noch eins").digest == labels.read(folder).digest


def test_names_change_before_anything_is_labelled(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    assert cli.main(["new", "project", str(folder), "--keypoints", *POINTS]) == 0
    assert edit(folder, "rename", "snout=nose") == 0
    assert projects.load(folder).keypoints == ("nose", "leftear", "rightear")
    (folder / "labeled-data" / "m1").mkdir()
    write_guesses(folder / "labeled-data" / "m1", "model", [("", "nose")], {"a.png": np.ones((1, 3))})
    assert edit(folder, "rename", "nose=snout") == 0
    assert guesses(folder) == {"a.png": {"snout": [1, 1, 1]}}


def test_labels_that_are_taken_end_the_guesses_of_their_pictures(tmp_path: Path) -> None:
    ours, theirs = new(tmp_path / "ours"), new(tmp_path / "theirs")
    for name in "abc":
        (ours / "labeled-data" / "m1" / f"{name}.png").unlink()
    for file in files(ours):
        (ours / "labeled-data" / "m1" / file).unlink()
    guess(ours, a=[[1, 2, 0.9]] * 3, z=[[1, 2, 0.9]] * 3)
    assert edit(ours, "take", str(theirs)) == 0
    assert set(guesses(ours)) == {"z.png"}
    assert len(labels.read(ours).frames) == 3


def test_guesses_are_no_labels_to_take(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = new(tmp_path / "p")
    guess(folder, a=[[1, 2, 0.9]] * 3)
    before = files(folder)
    assert edit(folder, "take", str(folder / "labeled-data" / "m1" / "machinelabels-iter0.csv")) == 1
    assert "these are a model's guesses" in capsys.readouterr().err
    assert files(folder) == before


def test_labels_of_other_people_are_named_where_they_are_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, other = new(tmp_path / "p"), new(tmp_path / "q")
    theirs = other / "labeled-data" / "m1"
    write_labels(theirs, "bob", [("", name) for name in POINTS], {"a.png": np.array(list(POINTS.values())) + 1})
    assert edit(folder, "take", str(other)) == 0
    assert "m1: CollectedData_me is used; CollectedData_bob is left alone" in capsys.readouterr().err
    assert edit(other, "rename", "snout=nose") == 0
    assert "CollectedData_bob is left alone" in capsys.readouterr().err
    assert edit(folder, "take", str(theirs / "CollectedData_bob.csv"), "--prefer", "theirs") == 0
    assert points(folder)["snout"] == [11, 21]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("moment", range(5))
def test_what_ends_half_way_is_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, moment: int
) -> None:
    """Two recordings, labels and guesses: none is renamed where the others are not."""
    folder = new(tmp_path / "p")
    guess(folder, d=[[1, 2, 0.9]] * 3)
    more = folder / "labeled-data" / "m2"
    more.mkdir()
    write_labels(more, "me", [("", name) for name in POINTS], {"a.png": np.ones((3, 2))})
    there = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    calls = iter(range(1000))
    replace = Path.replace

    def failing(file: Path, target: Path) -> Path:
        # 0 to 5 write the drafts; those that follow put them into their places.
        if next(calls) == 5 + 2 * moment:
            raise error
        return replace(file, target)

    monkeypatch.setattr(Path, "replace", failing)
    try:
        assert edit(folder, "rename", "snout=nose") != 0
    except KeyboardInterrupt:
        assert isinstance(error, KeyboardInterrupt)
    monkeypatch.undo()
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == there
    assert edit(folder, "rename", "snout=nose") == 0


@pytest.mark.parametrize("moment", range(4))
def test_a_disk_that_fills_up_while_copies_are_made_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: int, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = new(tmp_path / "p")
    there = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    calls = iter(range(1000))
    copy = shutil.copyfile

    def filling(source: Path, target: Path) -> object:
        if next(calls) == moment:
            Path(target).write_bytes(Path(source).read_bytes()[:5])
            raise OSError(28, "No space left on device")
        return copy(source, target)

    monkeypatch.setattr(shutil, "copyfile", filling)
    assert edit(folder, "rename", "snout=nose") == 1
    said = capsys.readouterr().err
    assert "No space left on device" in said
    assert "the labels are as they were" in said
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == there


def test_a_deeplabcut_project_keeps_its_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = new(tmp_path / "p")
    (folder / "project.toml").unlink()
    assert edit(folder, "rename", "snout=nose") == 1
    assert "poseloop import" in capsys.readouterr().err
    assert edit(folder, "swap", "m1/a.png") == 0
    assert points(folder)["leftear"] == [15, 25]
