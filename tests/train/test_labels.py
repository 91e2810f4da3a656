"""Labels are read from every layout that users have, and whatever is wrong with them is told."""

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from projects import NAN, Project

from poseloop.live.errors import DataError
from poseloop.train import labels
from poseloop.train.labels import Labels, Severity

FULL = {"snout": (1.5, 2.25), "leftear": (3.0, 4.0), "rightear": (60.0, 40.125)}


def three_frames(folder: Path, new_index: bool = False) -> Project:
    project = Project(folder, new_index=new_index)
    for number in range(3):
        project.picture(f"img{number}.png")
    project.row("img0.png", FULL)
    project.row("img1.png", {"snout": (5, 6)})
    project.row("img2.png", {"leftear": (7, 8), "rightear": (9, 10)})
    project.config(skeleton="[[snout, leftear], [snout, rightear]]")
    return project


def check_three_frames(read: Labels) -> None:
    assert read.keypoints == ("snout", "leftear", "rightear")
    assert read.individuals == ("animal",)
    assert [frame.name for frame in read.frames] == [f"labeled-data/m1/img{n}.png" for n in range(3)]
    assert {(frame.video, frame.width, frame.height) for frame in read.frames} == {("m1", 64, 48)}
    np.testing.assert_array_equal(read.frames[0].xy, [[(1.5, 2.25), (3, 4), (60, 40.125)]])
    np.testing.assert_array_equal(read.frames[1].xy, [[(5, 6), (NAN, NAN), (NAN, NAN)]])
    assert read.xy.shape == (3, 1, 3, 2)
    assert read.frames[0].path.is_file()
    assert not read.frames[0].xy.flags.writeable
    assert not read.problems


@pytest.mark.parametrize("new_index", [False, True])
def test_csv(tmp_path: Path, new_index: bool) -> None:
    three_frames(tmp_path, new_index).csv()
    read = labels.read(tmp_path)
    check_three_frames(read)
    assert read.skeleton == (("snout", "leftear"), ("snout", "rightear"))
    assert [frame.row for frame in read.frames] == [4, 5, 6]


@pytest.mark.filterwarnings("ignore")  # PyTables' and pandas' own, while the file is written
@pytest.mark.parametrize("new_index", [False, True])
def test_h5(tmp_path: Path, new_index: bool) -> None:
    pytest.importorskip("tables")
    project = three_frames(tmp_path, new_index)
    project.h5()
    read = labels.read(tmp_path)
    check_three_frames(read)
    project.csv()
    assert labels.read(tmp_path).digest == read.digest


def test_h5_without_pandas_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = three_frames(tmp_path)
    (project.labels / "CollectedData_me.h5").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(DataError, match=r"poseloop\[tracks\]"):
        labels.read(tmp_path)


@pytest.mark.parametrize("container", ["csv", "h5"])
@pytest.mark.parametrize("new_index", [False, True])
@pytest.mark.filterwarnings("ignore")
def test_several_animals(tmp_path: Path, container: str, new_index: bool) -> None:
    if container == "h5":
        pytest.importorskip("tables")
    project = Project(
        tmp_path, keypoints=("nose", "tail", "corner"), individuals=("one", "two", "single"), new_index=new_index
    )
    project.picture("a.png")
    project.both(
        "a.png", {"one": {"nose": (1, 2)}, "two": {"nose": (3, 4), "tail": (5, 6)}, "single": {"corner": (0, 0)}}
    )
    project.config(
        multianimalproject="true",
        bodyparts="MULTI!",
        individuals="[one, two]",
        multianimalbodyparts="[nose, tail]",
        uniquebodyparts="[corner]",
    )
    getattr(project, container)()
    read = labels.read(tmp_path)
    assert read.individuals == ("one", "two", "single")
    assert read.keypoints == ("nose", "tail", "corner")
    unseen = (NAN, NAN)
    expected = [[(1, 2), unseen, unseen], [(3, 4), (5, 6), unseen], [unseen, unseen, (0, 0)]]
    np.testing.assert_array_equal(read.frames[0].xy, expected)
    assert not read.problems


def test_lightning_pose_by_folder_and_by_file(tmp_path: Path) -> None:
    project = three_frames(tmp_path)
    (tmp_path / "config.yaml").unlink()
    file = project.csv("CollectedData.csv", folder=tmp_path)
    for given in (tmp_path, file):
        check_three_frames(labels.read(given))
    project.csv("CollectedData_new.csv", folder=tmp_path)
    with pytest.raises(DataError, match="name the one to read"):
        labels.read(tmp_path)


def test_the_configuration_orders_the_keypoints(tmp_path: Path) -> None:
    project = three_frames(tmp_path)
    project.csv()
    project.config(bodyparts="[rightear, snout, leftear]")
    read = labels.read(tmp_path)
    assert read.keypoints == ("rightear", "snout", "leftear")
    np.testing.assert_array_equal(read.frames[0].xy[0, 0], (60, 40.125))


def test_a_keypoint_may_be_called_no(tmp_path: Path) -> None:
    """YAML 1.1 takes `no` for false and `1` for a number."""
    project = Project(tmp_path, keypoints=("no", "1"))
    project.picture("a.png")
    project.row("a.png", {"no": (1, 1), "1": (2, 2)})
    project.config()
    project.csv()
    assert labels.read(tmp_path).keypoints == ("no", "1")


@dataclass(frozen=True)
class Fault:
    """Something that is wrong with one line of the table, as text, or with what lies beside it."""

    name: str
    line: str = ""
    """Added to the table."""
    kinds: Sequence[str] = ()
    severity: Severity = Severity.ERROR
    frames: int = 1
    """How many are left; the first row is always right."""
    says: str = ""


OK = "labeled-data/m1/img1.png,1,2,3,4,5,6"
FAULTS = [
    Fault("nothing", OK, frames=2),
    Fault("same row twice", f"{OK}\n{OK}", ["duplicate row"], Severity.WARNING, 2, "img1.png"),
    Fault("two opinions", f"{OK}\n{OK}9", ["duplicate row"] * 2, says="none of them is used"),
    Fault("outside", "labeled-data/m1/img1.png,64.2,2,3,4,5,6", ["outside"], frames=2, says="snout of"),
    Fault("negative", "labeled-data/m1/img1.png,1,2,3,-4,5,6", ["outside"], frames=2, says="leftear of"),
    Fault("on the rim", "labeled-data/m1/img1.png,63.4,47.5,-0.5,4,5,6", frames=2),
    Fault("no picture", "labeled-data/m1/img7.png,1,2,3,4,5,6", ["missing picture"], says="img7.png"),
    Fault("no name", ",1,2,3,4,5,6", ["missing picture"]),
    Fault("broken picture", "labeled-data/m1/broken.png,1,2,3,4,5,6", ["unreadable picture"], says="broken.png"),
    Fault(
        "no number", "labeled-data/m1/img1.png,1,2,three,4,5,6", ["half a point", "no number"], frames=2, says="'three'"
    ),
    Fault("infinite", "labeled-data/m1/img1.png,inf,inf,3,4,5,6", ["no number"] * 2, frames=2),
    Fault("half a point", "labeled-data/m1/img1.png,1,,3,4,5,6", ["half a point"], frames=2, says="snout"),
    Fault("no labels", "labeled-data/m1/img1.png,,,,,,", ["empty row"], Severity.WARNING),
    Fault("short row", "labeled-data/m1/img1.png,1,2,3,4", ["row length"], frames=2, says="expected 6 values"),
    Fault("moved folder", "labeled-data/old/img1.png,1,2,3,4,5,6", ["names"], Severity.WARNING, 2, "labeled-data/m1"),
    Fault("windows", "labeled-data\\m1\\img1.png,1,2,3,4,5,6", frames=2),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_faults_are_told_with_file_and_row(tmp_path: Path, fault: Fault) -> None:
    project = Project(tmp_path)
    for name in ("img0.png", "img1.png"):
        project.picture(name)
    content = (project.labels / "img0.png").read_bytes()
    (project.labels / "broken.png").write_bytes(content[: len(content) // 2])
    project.row("img0.png", FULL)
    project.config()
    table = project.csv()
    table.write_text(table.read_text() + fault.line + "\n", encoding="utf-8")
    read = labels.read(tmp_path)
    told = [problem for problem in read.problems if problem.kind != "no row"]
    assert sorted(problem.kind for problem in told) == sorted(fault.kinds)
    assert len(read.frames) == fault.frames
    for problem in told:
        assert problem.severity is fault.severity
        assert problem.file == "labeled-data/m1/CollectedData_me.csv"
        assert problem.row >= 5
        assert f"{problem.file}:{problem.row}: {fault.severity}" in str(problem)
    assert fault.says in " ".join(map(str, told))


def test_a_file_with_other_keypoints_than_the_project(tmp_path: Path) -> None:
    project = three_frames(tmp_path)
    project.csv()
    project.config(bodyparts="[snout, leftear, whisker]", skeleton="[[snout, rightear], nonsense]")
    read = labels.read(tmp_path)
    told = {(problem.kind, problem.severity): problem.text for problem in read.problems}
    assert "'rightear'" in told["names", Severity.ERROR]
    assert "'whisker'" in told["names", Severity.WARNING]
    assert "skeleton" in {problem.kind for problem in read.problems}
    assert read.keypoints == ("snout", "leftear", "whisker")
    assert np.isnan(read.xy[:, 0, 2]).all()


def test_other_things_in_the_folders_are_told(tmp_path: Path) -> None:
    project = three_frames(tmp_path)
    project.csv()
    project.csv("CollectedData_someone.csv")
    project.picture("stray.png")
    for video in ("m2", "m1_labeled"):
        Project(tmp_path, video=video).picture("img.png")
    kinds = {problem.kind: problem for problem in labels.read(tmp_path).problems}
    assert set(kinds) == {"scorer", "no row", "no labels"}
    assert "stray.png" in kinds["no row"].text
    assert kinds["no labels"].file == "labeled-data/m2"
    assert kinds["no labels"].text == "1 picture(s), none of them labelled yet; not used"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda project: None, "no such project"),
        (lambda project: project.config(), "found none"),
        (lambda project: (project.config(), project.picture("a.png")), "nothing is labelled yet.*m1.*label them"),
        (lambda project: (project.picture("a.png"), project.csv()), "none can be used"),
        (lambda project: project.csv().write_text("frame,x,y\n1,2,3\n"), "expected header rows"),
        (lambda project: project.csv().write_text(""), "expected header rows"),
        (lambda project: project.csv().write_bytes(b"\xff\xfe\x00"), "cannot be read as a CSV"),
        (lambda project: (project.csv(), project.config(bodyparts="[unclosed")), "cannot be read as a project's"),
    ],
)
def test_what_is_no_project_is_refused(tmp_path: Path, make, says: str) -> None:
    project = Project(tmp_path / "project")
    make(project)
    with pytest.raises(DataError, match=says):
        labels.read(tmp_path / "project")


def test_split_is_by_name_alone(tmp_path: Path) -> None:
    project = Project(tmp_path)
    for number in range(20):
        project.picture(f"img{number}.png")
        project.row(f"img{number}.png", FULL)
    project.csv()
    read = labels.read(tmp_path)
    train, held_out = labels.split(read, 0.2, seed=1)
    assert (len(train.frames), len(held_out.frames)) == (16, 4)
    assert not {f.name for f in train.frames} & {f.name for f in held_out.frames}
    assert train.digest == held_out.digest == read.digest
    project.rows.reverse()
    project.csv()
    again = labels.split(labels.read(tmp_path), 0.2, seed=1)[1]
    assert [f.name for f in again.frames] == [f.name for f in held_out.frames]
    assert [f.name for f in labels.split(read, 0.2, seed=2)[1].frames] != [f.name for f in held_out.frames]
    assert [len(part.frames) for part in labels.half(read)] == [10, 10]
    assert [len(part.frames) for part in labels.split(read, 0.001)] == [19, 1]
    with pytest.raises(DataError):
        labels.split(read, 1.0)
    with pytest.raises(DataError, match="but there is none"):
        read.only(["labeled-data/m1/img77.png"])


def test_the_digest_follows_labels_and_pictures(tmp_path: Path) -> None:
    project = three_frames(tmp_path)
    project.csv()
    first = labels.read(tmp_path).digest
    assert labels.read(tmp_path).digest == first
    project.picture("img1.png")
    second = labels.read(tmp_path).digest
    project.rows[0] = ("img0.png", {("animal", "snout"): (1.5, 2.26)})
    project.csv()
    assert len({first, second, labels.read(tmp_path).digest}) == 3


def test_openfield(data: Path) -> None:
    read = labels.read(data / "dlc_openfield")
    assert read.keypoints == ("snout", "leftear", "rightear", "tailbase")
    assert len(read.frames) == 92
    assert not read.problems
    assert not np.isnan(read.xy).any()
    np.testing.assert_allclose(read.frames[0].xy[0, 0], (21.521, 265.428))
    assert (read.frames[0].width, read.frames[0].height) == (640, 480)


@pytest.mark.filterwarnings("ignore")
def test_openfield_h5_and_csv_say_the_same(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("tables")
    source = data / "dlc_openfield"
    (tmp_path / "labeled-data").mkdir()
    shutil.copyfile(source / "config.yaml", tmp_path / "config.yaml")
    shutil.copytree(source / "labeled-data" / "m4s1", tmp_path / "labeled-data" / "m4s1")
    (tmp_path / "labeled-data" / "m4s1" / "CollectedData_Pranav.csv").unlink()
    from_h5 = labels.read(tmp_path)
    assert from_h5.frames[0].file.endswith(".h5")
    assert from_h5.digest == labels.read(source).digest


def test_mirror_mouse(data: Path) -> None:
    read = labels.read(data / "lp_mirror_mouse")
    assert (len(read.frames), len(read.keypoints)) == (70, 17)
    assert not read.problems
    assert np.isnan(read.xy[..., 0]).sum() == 101
