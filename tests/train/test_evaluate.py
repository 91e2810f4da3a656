"""An evaluation says what the labels say, on the frames that it should, in numbers that can be checked by hand."""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from projects import NAN, Project
from tinymodels import Tiny

from poseloop.live import cli
from poseloop.live.errors import ModelError
from poseloop.live.types import Colour
from poseloop.live.vision import Network
from poseloop.train import evaluate, labels, modelfile
from poseloop.train.evaluate import Predictions
from poseloop.train.labels import Labels

NAMES = ("snout", "leftear", "rightear")
SIZE = (96, 64)
OFF = {"snout": (0, 0), "leftear": (3, 4), "rightear": (0, -12)}
"""How far each label is from where the picture has its dot."""


def dots(points: Mapping[str, tuple[float, float]]) -> np.ndarray[Any, Any]:
    """One dot in each colour, a cell of the tiny model wide."""
    width, height = SIZE
    y, x = np.mgrid[:height, :width]
    planes = [np.exp(-((x - points[name][0]) ** 2 + (y - points[name][1]) ** 2) / 32) for name in NAMES]
    return np.round(250 * np.stack(planes, axis=-1)).astype(np.uint8)


def write(folder: Path, frames: int = 5) -> Project:
    """A project whose labels are off by `OFF`, so that every error is known."""
    project = Project(folder, keypoints=NAMES, size=SIZE)
    for number in range(frames):
        # Dots on centres of cells: there the tiny model is exact.
        points = {name: (4 * (6 + 4 * k + number) + 1.5, 4 * (6 + k) + 1.5) for k, name in enumerate(NAMES)}
        project.picture(f"img{number}.png", cv2.cvtColor(dots(points), cv2.COLOR_RGB2BGR))
        project.row(f"img{number}.png", {name: (x + OFF[name][0], y + OFF[name][1]) for name, (x, y) in points.items()})
    project.csv()
    return project


def model(folder: Path, name: str = "tiny.onnx", training: Mapping[str, Any] | None = None, **changes: Any) -> Path:
    tiny = Tiny(colour=Colour.RGB, keypoints=NAMES)
    info = tiny.info.model_copy(update={"training": training or {}, "name": "tiny", **changes})
    path = folder / name
    modelfile.save(tiny.graph(), info, path)
    return path


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write(tmp_path / "project")
    return tmp_path / "project"


def report_of(arguments: list[str], tmp_path: Path) -> dict[str, Any]:
    file = tmp_path / "report.json"
    assert cli.main(["evaluate", *arguments, "--report", str(file)]) == 0
    report: dict[str, Any] = json.loads(file.read_text())
    return report


def test_numbers_are_those_of_the_labels(tmp_path: Path, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = report_of([str(model(tmp_path)), str(project)], tmp_path)
    per_keypoint = report["per_keypoint"]
    assert [per_keypoint[name]["rmse_px"] for name in NAMES] == pytest.approx([0, 5, 12], abs=0.05)
    assert [per_keypoint[name]["n"] for name in NAMES] == [5, 5, 5]
    assert report["rmse_px"] == pytest.approx(17 / 3, abs=0.05)
    assert report["median_px"] == pytest.approx(5, abs=0.05)
    assert report["p95_px"] == pytest.approx(12, abs=0.05)
    assert (report["n"], report["not_seen"]) == (15, 0)
    assert report["pck"] == pytest.approx({"2": 1 / 3, "5": 2 / 3, "10": 2 / 3, "20": 1}, abs=0.35)
    assert report["pck"]["10"] == pytest.approx(2 / 3, abs=1e-3)
    assert report["gate"]["right_that_pass"] == 1
    assert report["frames"]["n"] == 5
    assert "does not say" in report["frames"]["which"]
    assert report["inference_ms"]["p50"] > 0
    assert sum(part["n"] for part in report["reliability"]["bins"]) == 15
    assert set(report["worst"][0]["error_px"]) == set(NAMES)
    assert {"versions", "machine", "provider"} <= set(report)
    out = capsys.readouterr().out
    assert "rightear" in out
    assert "12.0" in out


def test_held_out_frames_of_the_model_s_own_project(tmp_path: Path, project: Path) -> None:
    read = labels.read(project)
    _, held_out = labels.split(read, 0.4)
    names = [frame.name for frame in held_out.frames]
    own = model(tmp_path, "own.onnx", {"data_digest": read.digest, "held_out": names})
    report = report_of([str(own), str(project)], tmp_path)
    assert report["frames"]["names"] == names
    assert len(report_of([str(own), str(project), "--frames", "all"], tmp_path)["frames"]["names"]) == 5
    # Another project: all of it.
    write(tmp_path / "other", frames=3)
    assert report_of([str(own), str(tmp_path / "other")], tmp_path)["frames"]["n"] == 3
    # The same project, with a label added since: said, and left to the user.
    grown = write(project, frames=6)
    assert len(grown.rows) == 6
    report = report_of([str(own), str(project)], tmp_path)
    assert report["frames"]["n"] == 6
    assert "may have been trained" in report["frames"]["which"]
    report = report_of([str(own), str(project), "--frames", "held-out"], tmp_path)
    assert report["frames"]["names"] == names
    assert "changed" in report["frames"]["which"]


def test_what_cannot_be_evaluated_is_refused(tmp_path: Path, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = model(tmp_path)
    assert cli.main(["evaluate", str(plain), str(project), "--frames", "held-out"]) == 1
    assert "held out" in capsys.readouterr().err
    assert cli.main(["evaluate", "blob", str(project)]) == 1
    assert "keypoint in common" in capsys.readouterr().err
    assert cli.main(["evaluate", str(plain), str(tmp_path / "nowhere")]) == 1
    assert "no such project" in capsys.readouterr().err


def test_comparison_of_two_models(tmp_path: Path, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = model(tmp_path, "one.onnx")
    # The names of two maps swapped: a model that takes the snout for an ear.
    other = model(tmp_path, "other.onnx", keypoints=("leftear", "snout", "rightear"))
    report = report_of([str(one), str(project), "--compare", str(other)], tmp_path)
    comparison = report["compare"]
    assert comparison["n"] == 15
    assert comparison["difference_px"] > 3
    low, high = comparison["interval_px"]
    assert low <= comparison["difference_px"] <= high
    assert comparison["result"]["rmse_px"] == pytest.approx(report["rmse_px"] + comparison["difference_px"], abs=0.01)
    assert "other.onnx minus" in capsys.readouterr().out


@pytest.mark.parametrize("matplotlib", [True, False])
def test_plots(tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch, matplotlib: bool) -> None:
    if matplotlib:
        pytest.importorskip("matplotlib")
    else:
        find = importlib.util.find_spec
        monkeypatch.setattr("poseloop.train.plots.find_spec", lambda name: None if name == "matplotlib" else find(name))
        monkeypatch.setitem(sys.modules, "matplotlib", None)
    folder = tmp_path / "plots" / "here"
    history = [{"step": n, "elapsed_s": 30.0 * n, "loss": 20 / n, "error_px": 6 / n} for n in (1, 2, 3)]
    # Without held-out frames in it, the model is evaluated on all.
    trained = model(tmp_path, training={"history": history})
    assert cli.main(["evaluate", str(trained), str(project), "--plots", str(folder)]) == 0
    page = (folder / "index.html").read_text()
    names = {file.name for file in folder.iterdir()} - {"index.html"}
    assert {"error_per_keypoint.png", "reliability.png", "worst_01.png"} <= names
    assert ("learning_curve.png" in names) == matplotlib
    assert all(name in page for name in names)
    for name in names:
        assert cv2.imread(str(folder / name)) is not None


def predictions(
    label: list[Any], xy: list[Any], score: list[Any] | None = None, names: tuple[str, ...] = ("a", "b")
) -> Predictions:
    points = np.array(xy, np.float64)
    scores = np.ones(points.shape[:2]) if score is None else np.array(score, np.float64)
    return Predictions((), names, np.array(label, np.float64), points, scores, np.ones(len(points)))


def test_unlabelled_points_do_not_count_and_unseen_ones_do() -> None:
    result = evaluate.measure(
        predictions(
            label=[[[(0, 0), (NAN, NAN)]], [[(0, 0), (10, 0)]]],
            xy=[[(3, 4), (50, 50)], [(NAN, NAN), (10, 1)]],
            score=[[0.9, 0.9], [NAN, 0.8]],
        ),
        gate=0.85,
    )
    assert (result["n"], result["not_seen"], result["rmse_px"]) == (3, 1, 3)
    assert result["pck"]["10"] == pytest.approx(2 / 3, abs=1e-3)
    assert result["per_keypoint"]["b"]["n"] == 1
    assert result["gate"]["right_that_pass"] == 0.5
    assert result["gate"]["wrong_that_pass"] == 0
    json.dumps(result, allow_nan=False)


def test_no_point_at_all_gives_no_number() -> None:
    nothing = (NAN, NAN)
    result = evaluate.measure(predictions([[[nothing, nothing]]], [[nothing, nothing]], [[NAN, NAN]]), 0.5)
    assert result["rmse_px"] is None
    json.dumps(result, allow_nan=False)
    assert "-" in evaluate.table(result)


def test_of_several_animals_the_nearest_counts() -> None:
    made = predictions([[[(0, 0), (NAN, NAN)], [(100, 0), (7, 7)]]], [[(97, 4), (7, 7)]])
    np.testing.assert_allclose(made.error_px, [[5, 0]])
    assert made.labelled.all()


def test_reliability_is_share_against_score() -> None:
    # Scores of 0.75, of which 3 in 4 are right, and 0.25, of which none is.
    right, wrong = (0.0, 0.0), (30.0, 0.0)
    xy = [[right], [right], [right], [wrong], [wrong], [wrong]]
    score = [[0.75]] * 4 + [[0.25]] * 2
    result = evaluate.measure(predictions([[[(0, 0)]]] * 6, xy, score, ("a",)), 0.5)["reliability"]
    assert result["bins"][7] == {"from": 0.7, "to": 0.8, "n": 4, "score": 0.75, "right": 0.75}
    assert result["bins"][2]["right"] == 0
    assert result["expected_calibration_error"] == pytest.approx(0.25 * 2 / 6, abs=1e-4)


def test_worst_frames_come_first() -> None:
    label = [[[(0, 0), (0, 0)]]] * 3
    made = predictions(label, [[(1, 0), (1, 0)], [(0, 9), (0, 0)], [(0, 0), (NAN, NAN)]])
    assert evaluate.worst(made, 2) == [2, 1]


def test_pictures_of_several_sizes(tmp_path: Path) -> None:
    project = write(tmp_path)
    project.picture("large.png", np.zeros((100, 120, 3), np.uint8))
    project.row("large.png", {"snout": (5, 5)})
    project.csv()
    read = labels.read(tmp_path)
    done: list[int] = []
    with Network.open(model(tmp_path)) as network:
        found = evaluate.predict(network, read, lambda: done.append(1))
    assert len(done) == len(found.frames) == 6
    # Black: the network saw nothing there.
    assert np.isnan(found.error_px[-1]).all()
    assert found.labelled[-1].tolist() == [True, False, False]


def test_choose_needs_the_names_of_held_out_frames(tmp_path: Path, project: Path) -> None:
    read: Labels = labels.read(project)
    info = Network.describe(model(tmp_path, training={"data_digest": read.digest}))
    with pytest.raises(ModelError, match="--frames all"):
        evaluate.choose(info, read, "held-out")
    chosen, which = evaluate.choose(info, read)
    assert len(chosen.frames) == 5
    assert "that the model was trained on" in which


def test_augment_writes_a_sheet(tmp_path: Path, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sheet = tmp_path / "new" / "sheet.png"
    arguments = ["augment", str(project), "--sheet", str(sheet), "--samples", "6", "--size", "64"]
    for view, colour in (("top", "rgb"), ("side", "grey"), ("none", "rgb")):
        assert cli.main([*arguments, "--view", view, "--colour", colour]) == 0
        picture = cv2.imread(str(sheet))
        assert picture is not None
        assert picture.shape == (2 * 68 + 4, 4 * 132 + 4, 3)
    assert "6 samples" in capsys.readouterr().out
    assert cli.main([*arguments[:3], str(tmp_path / "sheet.nonsense")]) == 1
    assert "ending of a picture" in capsys.readouterr().err


def test_openfield_sheet(data: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    assert cli.main(["augment", str(data / "dlc_openfield"), "--sheet", str(sheet), "--samples", "4"]) == 0
    assert cv2.imread(str(sheet)).std() > 20


def test_evaluating_needs_no_more_than_the_runtime() -> None:
    code = (
        "import sys, poseloop.train.commands.evaluate, poseloop.train.commands.augment\n"
        "print([name for name in ('onnx', 'tensorflow', 'pandas', 'tables', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def video(path: Path, frames: list[np.ndarray[Any, Any]]) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"FFV1"), 30, SIZE)
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()


def test_a_score_is_measured_where_no_animal_is(tmp_path: Path, project: Path) -> None:
    # The dots move by more than they are wide, so the median has none of them.
    moving = [{name: (10.0 + 12 * n, 12.0 + 18 * k) for k, name in enumerate(NAMES)} for n in range(7)]
    video(tmp_path / "moving.avi", [dots(points) for points in moving])
    video(tmp_path / "still.avi", [dots(moving[3])] * 7)
    others = tmp_path / "others"
    others.mkdir()
    for number, shown in enumerate((np.zeros((64, 96, 3), np.uint8), dots(moving[2]), dots(moving[4]))):
        cv2.imwrite(str(others / f"{number}.png"), cv2.cvtColor(shown, cv2.COLOR_RGB2BGR))
    paths = [str(tmp_path / "moving.avi"), str(tmp_path / "still.avi"), str(others)]
    arguments = [str(model(tmp_path)), str(project), *(part for path in paths for part in ("--empty", path))]
    found = report_of(arguments, tmp_path)["empty"]
    assert {kind: row["pictures"] for kind, row in found[paths[0]].items()} == {"median": 1, "painted over": 7}
    assert all(row["passed"] == 0 for row in found[paths[0]].values())
    # An animal that never moves is in its own median: nothing hides that.
    assert found[paths[1]]["median"]["passed"] == 3
    shown = found[paths[2]]["pictures"]
    assert shown.pop("highest") == pytest.approx(0.9, abs=0.05)
    assert shown == {"pictures": 3, "points": 9, "passed": 6, "share": 0.6667}


@pytest.mark.parametrize(("make", "expected"), [(Path.mkdir, "there are none"), (Path.touch, "expected a video")])
def test_nothing_to_look_at_is_an_error(
    tmp_path: Path, project: Path, capsys: pytest.CaptureFixture[str], make: Callable[[Path], None], expected: str
) -> None:
    path = tmp_path / "empty.avi"
    make(path)
    assert cli.main(["evaluate", str(model(tmp_path)), str(project), "--empty", str(path)]) == 1
    err = capsys.readouterr().err
    assert expected in err
    assert "empty.avi" in err
