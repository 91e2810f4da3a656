"""`poseloop refine`: what a model is unsure of becomes a labelling set, and nothing of earlier rounds is lost."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import recordings
from recordings import NAMES, dots
from synthetic import Plan, make_session
from tinymodels import Tiny
from viewpoints import ring

from poseloop.live import cli
from poseloop.live.errors import ConfigError
from poseloop.live.types import Colour
from poseloop.live.vision import Network
from poseloop.train import curve, labels, modelfile, refine
from poseloop.train.history import History
from poseloop.train.labelwriter import write_labels

FRAMES = 60
WRONG = {20: "jump", 45: "dark"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model; a video in which a dot jumps away for a frame, and one goes out."""
    folder = tmp_path_factory.mktemp("refine")
    Tiny(colour=Colour.RGB, keypoints=NAMES).save(folder)
    pictures = []
    for n in range(FRAMES):
        points = [(12 + n, 12), (80 - n, 32), (12 + n, 50)]
        if WRONG.get(n) == "jump":
            points[0] = (90, 50)
        picture = dots(points)
        if WRONG.get(n) == "dark":
            picture[..., 1] //= 4
        pictures.append(picture)
    recordings.write(folder / "a.mkv", pictures)
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    assert cli.main(["new", "project", str(tmp_path / "p"), "--keypoints", *NAMES, "nobody"]) == 0
    return tmp_path / "p"


def run(folder: Path, project: Path, *more: str) -> int:
    return cli.main(["refine", str(folder / "tiny.onnx"), str(project), *more])


def table(project: Path, video: str = "a") -> object:
    import pandas

    return pandas.read_hdf(project / "labeled-data" / video / "machinelabels-iter0.h5")


def test_wrong_frames_are_chosen_with_guess_and_reason(
    folder: Path, project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.json"
    assert run(folder, project, str(folder / "a.mkv"), "--count", "4", "--report", str(report)) == 0
    rows = {row["frame"]: row["why"] for row in json.loads(report.read_text())["frames"]}
    assert len(rows) == 4
    assert rows[45] == "score"
    assert rows.get(20, rows.get(21)) in ("jump", "filter")
    assert "no guess for nobody" in capsys.readouterr().err
    found = table(project)
    assert [name for _, _, name in found.index] == [f"img{number:04d}.png" for number in sorted(rows)]
    for number in rows:
        point = found.loc[("labeled-data", "a", f"img{number:04d}.png")].droplevel("scorer")["rightear"]
        assert point[["x", "y"]].to_numpy() == pytest.approx([12 + number, 50], abs=0.5)
        picture = cv2.imread(str(project / "labeled-data" / "a" / f"img{number:04d}.png"))
        assert picture.shape[:2] == recordings.SIZE[::-1]
    assert found.xs("nobody", axis=1, level="bodyparts").isna().all(axis=None)
    # A guess is no label.
    with pytest.raises(labels.DataError):
        labels.read(project)


def test_a_second_round_takes_others_and_keeps_guesses_that_nobody_labelled(folder: Path, project: Path) -> None:
    video = str(folder / "a.mkv")
    assert run(folder, project, video, "--count", "3") == 0
    first = [name for _, _, name in table(project).index]
    here = project / "labeled-data" / "a"
    columns = [("", name) for name in (*NAMES, "nobody")]
    labelled = np.array([[30.0, 12.0], [50.0, 32.0], [30.0, 50.0], [np.nan, np.nan]])
    write_labels(here, "me", columns, {first[0]: labelled})
    assert run(folder, project, video, "--count", "3") == 0
    second = [name for _, _, name in table(project).index]
    assert set(first[1:]) <= set(second), "guesses of pictures that wait for a label"
    assert first[0] not in second, "a guess would be saved over the label"
    assert len(second) == 5
    history = History(project)
    assert [len(one["frames"]["a"]) for one in history.rounds] == [3, 3]
    assert not set(history.rounds[0]["frames"]["a"]) & set(history.rounds[1]["frames"]["a"])
    (model,) = history.models
    assert (history.folder / model["file"]).read_bytes() == (folder / "tiny.onnx").read_bytes()
    (version,) = history.versions
    assert version["digest"] == labels.read(project).digest
    kept = history.folder / version["folder"] / "a" / "CollectedData_me.csv"
    assert kept.read_bytes() == (here / "CollectedData_me.csv").read_bytes()


def test_what_was_refused_comes_back_by_no_other_way(folder: Path, project: Path) -> None:
    video = str(folder / "a.mkv")
    assert run(folder, project, video, "--count", "5") == 0
    here = project / "labeled-data" / "a"
    refused = {file.name for file in here.glob("*.png")}
    assert len(refused) == 5
    for file in here.iterdir():
        file.unlink()
    assert run(folder, project, video, "--count", "5") == 0
    assert cli.main(["frames", str(project), video, "--count", str(FRAMES), "--how", "uniform"]) == 0
    assert len({file.name for file in here.glob("*.png")} - refused) == len(list(here.glob("*.png"))) == FRAMES - 5


def test_the_curve_shows_every_model(folder: Path, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    history = History(project)
    for count, error in ((15, 5.0), (25, 3.5)):
        training = {"learned": ["x"] * (count - 3), "held_out": ["y", "z", "w"], "data_digest": f"{count}"}
        info = Tiny().info.model_copy(
            update={"name": f"m{count}", "training": training, "error": {"held_out": {"rmse_px": error}}}
        )
        model = project / f"m{count}.onnx"
        model.write_bytes(f"{count}".encode())
        assert history.enter(model, info, history.now())
        assert not history.enter(model, info, history.now()), "the same file twice"
    assert not history.test, "these are no frames of the project"
    assert run(folder, project, "--count", "0") == 0
    out = capsys.readouterr().out
    assert [line.split()[2:6] for line in out.splitlines() if line.startswith("m")][1:3] == [
        ["15", "3", "5.00", "-"],
        ["25", "3", "3.50", "-"],
    ]
    assert "others from line to line" in out
    assert "test px:" not in out
    assert cv2.imread(str(project / "refine" / "curve.png")) is not None


def label(project: Path, frames: range, off: float = 0.0) -> labels.Labels:
    """Label frames of a video of three dots, ``off`` px beside them."""
    here = project / "labeled-data" / "dots"
    here.mkdir(parents=True, exist_ok=True)
    rows = {}
    for n in frames:
        points = [(12 + n, 12), (80 - n, 32), (12 + n, 50)]
        assert cv2.imwrite(str(here / f"img{n:04d}.png"), dots(points)[..., ::-1])
        rows[f"img{n:04d}.png"] = np.array(points) + np.array([off, 0.0])
    write_labels(here, "me", [("", name) for name in NAMES], rows)
    return labels.read(project)


def train(project: Path, name: str, parts: tuple[labels.Labels, labels.Labels], keypoints: int = 3) -> Path:
    """A model that says what it has learned from."""
    learned, held_out = ([frame.name for frame in part.frames] for part in parts)
    training = {"learned": learned, "held_out": held_out, "data_digest": parts[0].digest}
    tiny = Tiny(colour=Colour.RGB, keypoints=NAMES[:keypoints])
    info = tiny.info.model_copy(update={"name": name, "training": training})
    modelfile.save(tiny.graph(), info, project.parent / f"{name}.onnx")
    return project.parent / f"{name}.onnx"


def test_every_round_is_tested_on_the_frames_of_the_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = tmp_path / "p"
    assert cli.main(["new", "project", str(project), "--keypoints", *NAMES]) == 0
    history = History(project)

    def enter(name: str, parts: tuple[labels.Labels, labels.Labels], keypoints: int = 3) -> None:
        model = train(project, name, parts, keypoints)
        assert history.enter(model, Network.describe(model), labels.read(project))

    first = history.split(label(project, range(10)), None, seed=0)
    assert [len(part.frames) for part in first] == [8, 2]
    enter("one", first)
    assert history.test == [frame.name for frame in first[1].frames]
    # Twice as many frames, another seed: what is new is learned from.
    second = history.split(label(project, range(20)), None, seed=1)
    assert [frame.name for frame in second[1].frames] == history.test
    assert len(second[0].frames) == 18
    enter("two", second)
    # A trial has learned from a test frame, and another model knows too little.
    enter("trial", labels.split(labels.read(project), 0.5, seed=3))
    enter("small", second, keypoints=2)
    history = History(project)  # as it is on disk
    test = curve.measure(history, history.now())
    found = {one["name"]: one["test"]["error_px"] for one in history.models}
    assert found["one"] == found["two"] == pytest.approx(0.0, abs=0.2)
    assert found["trial"] is found["small"] is None
    capsys.readouterr()
    table = curve.table(history, test)
    assert "the same 2 test frames" in table
    assert [line.split()[4:6] for line in table.splitlines()[1:5]] == [
        ["-", f"{found['one']:.2f}"],
        ["-", f"{found['two']:.2f}"],
        ["-", "-"],
        ["-", "-"],
    ]
    # Corrected labels of test frames are measured on; nothing is measured twice.
    label(project, range(20), off=3.0)
    measured: list[str] = []
    curve.measure(history, history.now(), measured.append)
    assert measured == ["one", "two", "trial", "small"]
    assert history.models[0]["test"]["error_px"] == pytest.approx(3.0, abs=0.2)
    curve.measure(history, history.now(), measured.append)
    assert len(measured) == 4


def test_test_frames_become_more_only_when_asked_and_never_of_what_was_learned(tmp_path: Path) -> None:
    project = tmp_path / "p"
    assert cli.main(["new", "project", str(project), "--keypoints", *NAMES]) == 0
    history = History(project)
    now = label(project, range(10))
    parts = history.split(now, 0.2, seed=0)
    model = train(project, "one", parts)
    assert history.enter(model, Network.describe(model), now)
    now = label(project, range(30))
    learned, held_out = history.split(now, 0.3, seed=0)
    names = {frame.name for frame in held_out.frames}
    assert len(names) == 9
    assert names > set(history.test)
    assert not names & {frame.name for frame in parts[0].frames}
    model = train(project, "two", (learned, held_out))
    assert history.enter(model, Network.describe(model), now)
    assert set(history.test) == names
    # More than there are that nobody learned from: all of those.
    assert len(history.split(now, 0.9, seed=0)[1].frames) == 9
    for share in (0.0, 1.0):
        with pytest.raises(labels.DataError, match="share between 0 and 1"):
            history.split(now, share, seed=0)
    # Only test frames are left.
    only = now.only(names)
    with pytest.raises(labels.DataError, match="all 9 are test frames"):
        history.split(only, None, seed=0)


def test_a_test_frame_whose_label_was_away_is_not_learned_from_when_it_is_back(tmp_path: Path) -> None:
    project = tmp_path / "p"
    assert cli.main(["new", "project", str(project), "--keypoints", *NAMES]) == 0
    history = History(project)
    now = label(project, range(10))
    model = train(project, "one", history.split(now, 0.3, seed=0))
    assert history.enter(model, Network.describe(model), now)
    test = set(history.test)
    away = min(test)
    kept = [n for n in range(10) if not away.endswith(f"img{n:04d}.png")]
    now = label(project, kept)
    parts = history.split(now, None, seed=0)
    assert {frame.name for frame in parts[1].frames} == test - {away}
    model = train(project, "two", parts)
    assert history.enter(model, Network.describe(model), now)
    again = History(project)
    assert set(again.test) == test
    learned, held_out = again.split(label(project, range(20)), None, seed=0)
    assert {frame.name for frame in held_out.frames} == test
    assert away not in {frame.name for frame in learned.frames}


def test_test_frames_become_more_beside_a_trial_that_has_learned_from_some(tmp_path: Path) -> None:
    project = tmp_path / "p"
    assert cli.main(["new", "project", str(project), "--keypoints", *NAMES]) == 0
    history = History(project)
    now = label(project, range(10))
    for name, parts in (("one", history.split(now, 0.2, seed=0)), ("trial", labels.split(now, 0.5, seed=3))):
        model = train(project, name, parts)
        assert history.enter(model, Network.describe(model), now)
    trial = Network.describe(model).training
    assert set(trial["learned"]) & set(history.test)
    assert len(history.test) == 2
    now = label(project, range(20))
    parts = history.split(now, 0.3, seed=0)
    model = train(project, "two", parts)
    assert history.enter(model, Network.describe(model), now)
    assert set(history.test) == {frame.name for frame in parts[1].frames}
    assert len(history.test) == 6


def test_labels_of_nothing_are_no_error(folder: Path, project: Path) -> None:
    """Somebody opened a folder, and saved it before there was a label in it."""
    here = project / "labeled-data" / "a"
    here.mkdir()
    assert cv2.imwrite(str(here / "img0003.png"), dots([(10, 10)] * 3))
    write_labels(here, "me", [("", name) for name in NAMES], {"img0003.png": np.full((3, 2), np.nan)})
    assert run(folder, project, str(folder / "a.mkv"), "--count", "2") == 0
    assert len(History(project).rounds) == 1


def test_sessions_and_cameras_are_found(folder: Path, project: Path, tmp_path: Path) -> None:
    session = make_session(tmp_path / "small", Plan(frames=20, cameras=("top", "side")))
    found, calibrations = refine.recordings([str(session), str(folder / "a.mkv")])
    assert [(one.name, one.camera, one.scene) for one in found] == [
        ("small_top", "top", "small"),
        ("small_side", "side", "small"),
        ("a", "", ""),
    ]
    assert len(found[0].moments) == 20
    assert calibrations == {}
    assert run(folder, project, str(session), "--count", "3") == 0
    written = [folder for folder in ("small_top", "small_side") if (project / "labeled-data" / folder).is_dir()]
    assert sum(len(table(project, name)) for name in written) == 3
    with pytest.raises(ConfigError, match="--calibration"):
        refine.recordings([f"top={folder / 'a.mkv'}"])


def test_cameras_doubt_each_other(folder: Path, project: Path, tmp_path: Path) -> None:
    rig = ring(2)
    rig.save(tmp_path / "calibration.toml")
    words = []
    for name in rig.names:
        (tmp_path / name).mkdir()
        recordings.write(tmp_path / name / f"{name}.mkv", recordings.moving(6))
        words.append(f"{name}={tmp_path / name / f'{name}.mkv'}")
    report = tmp_path / "report.json"
    more = ["--calibration", str(tmp_path / "calibration.toml"), "--count", "2", "--report", str(report)]
    assert run(folder, project, *words, *more) == 0
    rows = json.loads(report.read_text())["frames"]
    # Nothing says that these dots are the same points in the world.
    assert all(row["doubt"]["views"] > 0.3 for row in rows)
    assert run(folder, project, words[0], *more) == 1


def test_a_damaged_video_does_not_stop_the_others(
    folder: Path, project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.mkv").write_bytes(b"no video")
    assert run(folder, project, str(tmp_path / "bad.mkv"), str(folder / "a.mkv"), "--count", "2") == 1
    assert "bad.mkv" in capsys.readouterr().err
    assert len(table(project)) == 2
