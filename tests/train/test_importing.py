"""What other programs labelled is all there after an import, and goes back to them as it was."""

import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import recordings
import yaml
from projects import Project

from poseloop.live import cli
from poseloop.live.errors import DataError
from poseloop.train import labels, projects
from poseloop.train.importing import import_project
from poseloop.train.labelfiles import read_table


def table(file: Path) -> Any:
    import pandas

    return pandas.read_hdf(file, "df_with_missing")


def test_deeplabcut_and_back_loses_nothing(data: Path, tmp_path: Path) -> None:
    source = data / "dlc_openfield"
    made = import_project(source, tmp_path / "made")
    assert made.labels.digest == labels.read(source).digest
    # The folder is what DeepLabCut's tools open: the same files, byte for byte.
    there = source / "labeled-data" / "m4s1"
    for file in there.iterdir():
        assert (tmp_path / "made" / "labeled-data" / "m4s1" / file.name).read_bytes() == file.read_bytes()
    before, after = (
        yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8")) for folder in (source, tmp_path / "made")
    )
    owned = {"project_path", "multianimalproject"}  # the new place; an empty value, that means no
    assert {key: value for key, value in after.items() if key not in owned} == {
        key: value for key, value in before.items() if key not in owned
    }
    assert after["project_path"] == str(tmp_path / "made")


def test_labels_that_were_written_anew_are_deeplabcuts_to_the_bit(data: Path, tmp_path: Path) -> None:
    """Renamed and renamed back: every number, every gap, every name and their order, in both files."""
    source = data / "dlc_openfield"
    folder = tmp_path / "made"
    import_project(source, folder)
    assert cli.main(["labels", str(folder), "rename", "snout=nose"]) == 0
    assert cli.main(["labels", str(folder), "rename", "nose=snout"]) == 0
    (before,) = (source / "labeled-data" / "m4s1").glob("CollectedData_*.h5")
    written = folder / "labeled-data" / "m4s1" / before.name
    old, again = table(before), table(written)
    assert again.columns.equals(old.columns)
    assert again.columns.names == old.columns.names
    names = ["/".join(index) if isinstance(index, tuple) else index.replace("\\", "/") for index in old.index]
    assert ["/".join(index) for index in again.index] == sorted(names)
    np.testing.assert_array_equal(again.to_numpy(), old.to_numpy()[np.argsort(names)])
    for one, other in zip(read_table(written, "").rows, read_table(written.with_suffix(".csv"), "").rows, strict=True):
        assert one.picture == other.picture
        np.testing.assert_array_equal(one.xy, other.xy)
    assert labels.read(folder).digest == labels.read(source).digest


def test_several_animals_and_parts_of_none(tmp_path: Path) -> None:
    source = Project(tmp_path / "dlc", individuals=("a", "b", "single"), new_index=True)
    source.config(
        multianimalproject="true",
        bodyparts="MULTI!",
        multianimalbodyparts="[snout, leftear]",
        uniquebodyparts="[rightear]",
        individuals="[a, b]",
        skeleton="[[snout, leftear]]",
    )
    source.picture("img0.png")
    source.both("img0.png", {"a": {"snout": (1, 2)}, "b": {"leftear": (3.25, 4)}, "single": {"rightear": (5, 6)}})
    source.csv()
    source.h5()
    made = import_project(source.folder, tmp_path / "made")
    assert made.labels.digest == labels.read(source.folder).digest
    project = projects.load(tmp_path / "made")
    assert (project.individuals, project.unique) == (("a", "b"), ("rightear",))
    config = yaml.safe_load((tmp_path / "made" / "config.yaml").read_text(encoding="utf-8"))
    assert config["multianimalbodyparts"] == ["snout", "leftear"]
    assert (config["uniquebodyparts"], config["individuals"]) == (["rightear"], ["a", "b"])


def test_lightning_poses_table_is_all_there(data: Path, tmp_path: Path) -> None:
    source = data / "lp_mirror_mouse"
    made = import_project(source, tmp_path / "made")
    before = labels.read(source)
    assert made.labels.keypoints == before.keypoints
    np.testing.assert_array_equal(made.labels.xy, before.xy)
    folder = tmp_path / "made" / "labeled-data" / "lp_mirror_mouse"
    original = read_table(source / "CollectedData.csv", "")
    for file in ("CollectedData_rick.csv", "CollectedData_rick.h5"):
        written = {row.picture: row.xy for row in read_table(folder / file, "").rows}
        assert len(written) == len(original.rows) == 70
        for row in original.rows:
            name = Path(row.picture).name
            np.testing.assert_array_equal(written[f"labeled-data/lp_mirror_mouse/{name}"], row.xy)
            assert (folder / name).read_bytes() == (source / row.picture).read_bytes()
    assert table(folder / "CollectedData_rick.h5").columns.names == ["scorer", "bodyparts", "coords"]


def test_sleaps_labels_are_all_there(data: Path, tmp_path: Path) -> None:
    sleap_io = pytest.importorskip("sleap_io")
    file = data / "sleap_fly_pair_clip" / "clip.slp"
    made = import_project(file, tmp_path / "made", every=500)
    content = sleap_io.load_slp(str(file))
    tracks = {track.name: track for track in content.tracks}
    assert set(made.labels.individuals) == set(tracks)
    assert list(made.labels.keypoints) == content.skeleton.node_names
    assert len(made.labels.skeleton) == len(content.skeleton.edges)
    by_number = {int(Path(frame.name).stem[3:]): frame for frame in made.labels.frames}
    assert sorted(by_number) == [0, 500, 1000]
    for number, frame in by_number.items():
        (one,) = (one for one in content.labeled_frames if one.frame_idx == number)
        for animal, name in enumerate(made.labels.individuals):
            (expected,) = (each.numpy() for each in one.user_instances if each.track is tracks[name])
            np.testing.assert_array_equal(frame.xy[animal], expected)
        picture = cv2.cvtColor(cv2.imread(str(frame.path)), cv2.COLOR_BGR2GRAY)
        difference = np.abs(picture.astype(int) - one.image[..., 0].astype(int))
        assert difference.mean() < 1, "expected the picture that SLEAP shows"
    assert any("1497 labelled frames were left out" in note for note in made.notes)


def sleap_labels(folder: Path) -> Any:
    """Two videos of one camera each, tracks, an animal without one, hidden, predicted and suggested things."""
    sio = pytest.importorskip("sleap_io")
    videos = [
        sio.Video.from_filename(str(recordings.write(folder / f"{name}.mkv", recordings.moving(12)[start:])))
        for name, start in (("day 1", 0), ("day 2", 4))
    ]
    names = ["snout", "ear L", "ear R"]
    skeleton = sio.Skeleton(names, edges=[("snout", "ear L"), ("ear R", "snout")], symmetries=[("ear L", "ear R")])
    tracks = [sio.Track("mick"), sio.Track("minnie")]

    def animal(xy: list[list[float]], track: Any = None, score: float | None = None) -> Any:
        points = np.array(xy, np.float64)
        if score is None:
            return sio.Instance.from_numpy(points, skeleton=skeleton, track=track)
        scores = np.full(len(points), score)
        return sio.PredictedInstance.from_numpy(points, skeleton, scores, score=score, track=track)

    nan = [float("nan")] * 2
    hidden = animal([[1.25, 2], [3, 4], [5, 6]], tracks[1])
    hidden.points["visible"][1] = False
    guess = animal([[7, 8], [9, 10], [11, 12]], tracks[0], 0.5)
    labelled = [
        sio.LabeledFrame(
            video=videos[0], frame_idx=3, instances=[hidden, animal([[10.5, 20], nan, [30, 40]], tracks[0])]
        ),
        sio.LabeledFrame(video=videos[0], frame_idx=7, instances=[guess]),
        sio.LabeledFrame(video=videos[1], frame_idx=0, instances=[animal([[1, 2], [3, 4], [5, 6.125]])]),
    ]
    suggested = [sio.SuggestionFrame(video=videos[1], frame_idx=5), sio.SuggestionFrame(video=videos[0], frame_idx=3)]
    return sio.Labels(labelled, videos=videos, skeletons=[skeleton], tracks=tracks, suggestions=suggested)


@pytest.mark.parametrize("embed", [False, "user+suggestions", "all"])
def test_everything_of_a_sleap_file(tmp_path: Path, embed: bool | str) -> None:
    content = sleap_labels(tmp_path)
    file = tmp_path / ("labels.pkg.slp" if embed else "labels.slp")
    content.save(str(file), embed=embed, verbose=False)
    if embed:
        for name in ("day 1", "day 2"):
            (tmp_path / f"{name}.mkv").unlink()
    made = import_project(file, tmp_path / "made")
    found = made.labels
    assert found.individuals == ("mick", "minnie", "individual1")
    assert found.keypoints == ("snout", "ear L", "ear R")
    assert found.skeleton == (("snout", "ear L"), ("ear R", "snout"))
    assert projects.load(tmp_path / "made").symmetries == (("ear L", "ear R"),)
    nan = float("nan")
    gone = [[nan, nan]] * 3
    expected = {
        "labeled-data/day 1/img0003.png": [[[10.5, 20], [nan, nan], [30, 40]], [[1.25, 2], [nan, nan], [5, 6]], gone],
        "labeled-data/day 2/img0000.png": [gone, gone, [[1, 2], [3, 4], [5, 6.125]]],
    }
    assert [frame.name for frame in found.frames] == list(expected)
    for frame in found.frames:
        np.testing.assert_array_equal(frame.xy, expected[frame.name])
    # Pictures: those that were labelled, and those that are suggested; each the very frame.
    pictures = {file.relative_to(tmp_path / "made").as_posix(): file for file in (tmp_path / "made").rglob("*.png")}
    assert set(pictures) == {*expected, "labeled-data/day 2/img0005.png"}
    for name, path in pictures.items():
        number = int(path.stem[3:]) + (4 if "day 2" in name else 0)
        shown = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        np.testing.assert_array_equal(shown, recordings.moving(12)[number])
    assert list(made.notes) == [
        "1 points that are marked as not visible count as unlabelled",
        "1 labelled frames were left out",
        "1 suggested frames came along, to be labelled",
    ]
    # DeepLabCut finds labels by the names of videos.
    config = yaml.safe_load((tmp_path / "made" / "config.yaml").read_text(encoding="utf-8"))
    assert [Path(name).stem for name in config["video_sets"]] == ([] if embed else ["day 1", "day 2"])
    if not embed:
        predicted = import_project(file, tmp_path / "predicted", predictions=True).labels
        np.testing.assert_array_equal(predicted.frames[1].xy[0], [[7, 8], [9, 10], [11, 12]])


def test_a_picture_that_is_not_in_a_sleap_file_is_missed(tmp_path: Path) -> None:
    file = tmp_path / "labels.pkg.slp"
    sleap_labels(tmp_path).save(str(file), embed="user", verbose=False)
    with pytest.raises(DataError, match=r"frame 7 of .* its picture is not there"):
        import_project(file, tmp_path / "made", predictions=True)
    assert not (tmp_path / "made").exists()


def test_predicted_animals_only_if_asked(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sleap_io = pytest.importorskip("sleap_io")
    file = data / "sleap_anipose_mouse4cam" / "minimal_session" / "top" / "minimal_top_proofread.slp"
    assert cli.main(["import", str(file), str(tmp_path / "made")]) == 1
    assert "--predictions" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    assert cli.main(["import", str(file), str(tmp_path / "made"), "--predictions", "--every", "60"]) == 0
    found = labels.read(tmp_path / "made")
    content = sleap_io.load_slp(str(file))
    for frame, number in zip(found.frames, (0, 60), strict=True):
        np.testing.assert_array_equal(frame.xy[0], content[number].instances[0].numpy())


def test_a_video_that_moved_is_asked_for(data: Path, tmp_path: Path) -> None:
    sleap_io = pytest.importorskip("sleap_io")
    content = sleap_io.load_slp(str(data / "sleap_fly_pair_clip" / "clip.slp"), open_videos=False)
    content.labeled_frames = content.labeled_frames[:1]
    content.videos[0].replace_filename("/gone/clip.mp4", open=False)
    file = tmp_path / "moved.slp"
    content.save(str(file), embed=False, verbose=False)
    with pytest.raises(DataError, match="--videos DIR"):
        import_project(file, tmp_path / "made")
    assert [path.name for path in tmp_path.iterdir()] == ["moved.slp"]
    made = import_project(file, tmp_path / "made", data / "sleap_fly_pair_clip")
    assert len(made.labels.frames) == 1


def test_nothing_is_written_over_or_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Project(tmp_path / "lp")
    source.row("gone.png", {"snout": (1, 2)})
    source.picture("img0.png")
    source.row("img0.png", {"snout": (1, 2)})
    source.csv("CollectedData.csv", source.folder)
    with pytest.raises(DataError, match=r"CollectedData\.csv:4: expected a picture .*gone\.png"):
        import_project(source.folder, tmp_path / "made")
    assert [path.name for path in tmp_path.iterdir()] == ["lp"]
    with pytest.raises(DataError, match="something in it"):
        import_project(source.folder, source.folder)
    monkeypatch.setitem(sys.modules, "sleap_io", None)
    (tmp_path / "a.slp").write_bytes(b"")
    with pytest.raises(DataError, match=r"poseloop\[sleap\]"):
        import_project(tmp_path / "a.slp", tmp_path / "made")


def test_recordings_of_one_name_are_kept_apart(tmp_path: Path) -> None:
    """Lightning Pose's folders may be nested: that the last of them is called the same does not make them the same."""
    source = Project(tmp_path / "lp", video="")
    points = {"a/cam0": (1.0, 2.0), "b/cam0": (3.0, 4.0), "c/cam0-2": (5.0, 6.0)}
    for number, (folder, xy) in enumerate(points.items()):
        (source.labels / folder).mkdir(parents=True)
        source.picture(f"{folder}/img0.png", np.full((48, 64, 3), 40 * number, np.uint8))
        source.row(f"{folder}/img0.png", {"snout": xy})
    source.csv("CollectedData.csv", source.folder)
    before = labels.read(tmp_path / "lp")
    assert len(before.frames) == 3
    made = import_project(tmp_path / "lp", tmp_path / "made").labels
    found = {tuple(frame.xy[0, 0]): cv2.imread(str(frame.path))[0, 0, 0] for frame in made.frames}
    assert found == {(1.0, 2.0): 0, (3.0, 4.0): 40, (5.0, 6.0): 80}


def test_rows_that_contradict_each_other_are_no_labels_after_the_import_either(tmp_path: Path) -> None:
    source = Project(tmp_path / "lp")
    labelled = {"img0.png": [(1, 2)], "img1.png": [(3, 4), (5, 6), (3, 4)], "img2.png": [(7, 8), (7, 8)]}
    for name, rows in labelled.items():
        source.picture(name)
        for xy in rows:
            source.row(name, {"snout": xy})
    source.csv("CollectedData.csv", source.folder)
    made = import_project(source.folder, tmp_path / "made")
    assert sum("img1.png has other points in" in note for note in made.notes) == 3
    assert {frame.path.name: tuple(frame.xy[0, 0]) for frame in made.labels.frames} == {
        "img0.png": (1, 2),
        "img2.png": (7, 8),
    }
    assert (tmp_path / "made" / "labeled-data" / "m1" / "img1.png").is_file()


def test_a_video_that_cannot_be_read_does_not_end_an_import(tmp_path: Path) -> None:
    source = Project(tmp_path / "lp")
    source.picture("img0.png")
    source.row("img0.png", {"snout": (1, 2)})
    source.csv("CollectedData.csv", source.folder)
    (source.folder / "videos").mkdir()
    (source.folder / "videos" / "m1.mp4").write_bytes(b"no video")
    made = import_project(source.folder, tmp_path / "made")
    assert len(made.labels.frames) == 1
    (note,) = made.notes
    assert note.startswith("not listed in config.yaml: ")
    assert "m1.mp4" in note


def test_an_import_removes_nothing_that_it_did_not_make(tmp_path: Path) -> None:
    source = Project(tmp_path / "lp")
    source.picture("img0.png")
    source.row("img0.png", {"snout": (1, 2)})
    source.csv("CollectedData.csv", source.folder)
    (tmp_path / "made.part").mkdir()
    (tmp_path / "made.part" / "notes.txt").write_text("mine", encoding="utf-8")
    import_project(source.folder, tmp_path / "made")
    assert (tmp_path / "made.part" / "notes.txt").read_text(encoding="utf-8") == "mine"


def test_an_import_into_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Project(tmp_path / "lp")
    source.picture("img0.png")
    source.row("img0.png", {"snout": (1, 2)})
    source.csv("CollectedData.csv", source.folder)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert len(import_project(source.folder, Path()).labels.frames) == 1
