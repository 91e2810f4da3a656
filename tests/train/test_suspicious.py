"""Labels that were spoilt on purpose are found, and hardly any others."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from poseloop.live import cli
from poseloop.train import labels, suspicious
from poseloop.train.evaluate import Predictions
from poseloop.train.labels import Labels


def spoil(source: Path, folder: Path, change: Callable[[list[list[str]]], None]) -> Labels:
    """A copy of openfield with other labels; pictures are linked, so that it takes no time."""
    there = folder / "labeled-data" / "m4s1"
    there.mkdir(parents=True)
    shutil.copyfile(source / "config.yaml", folder / "config.yaml")
    for file in (source / "labeled-data" / "m4s1").glob("*.png"):
        shutil.copyfile(file, there / file.name)
    with (source / "labeled-data" / "m4s1" / "CollectedData_Pranav.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.reader(stream))
    change(rows)
    with (there / "CollectedData_Pranav.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows(rows)
    return labels.read(folder)


def test_places_and_sides_that_were_spoilt_are_found(data: Path, tmp_path: Path) -> None:
    # Columns: name, snout x, y, leftear x, y, rightear x, y, tailbase x, y.
    def change(rows: list[list[str]]) -> None:
        rows[10][3:5], rows[10][5:7] = rows[10][5:7], rows[10][3:5]
        rows[20][1] = str((float(rows[20][1]) + 320) % 640)

    source = data / "dlc_openfield"
    usual = suspicious.find(labels.read(source))
    assert len({one.frame.name for one in usual}) <= 4, "expected few complaints about a careful person's labels"
    found = suspicious.find(spoil(source, tmp_path, change))
    fresh = {(one.frame.row, one.kind, one.keypoints) for one in found}
    assert (11, "sides", ("leftear", "rightear")) in fresh
    assert any(row == 21 and kind == "place" and names == ("snout",) for row, kind, names in fresh)
    assert len(fresh) == len(usual) + 2


def test_labels_with_gaps_and_mirrors_give_few_complaints(data: Path) -> None:
    found = suspicious.find(labels.read(data / "lp_mirror_mouse"))
    assert len({one.frame.name for one in found}) <= 4


def test_a_model_that_is_sure_is_listened_to(data: Path) -> None:
    project = labels.read(data / "lp_mirror_mouse")
    xy, score = project.xy[:, 0].copy(), np.full(project.xy.shape[:1] + project.xy.shape[2:3], 0.9)
    (n, k), (m, j) = np.argwhere(np.isfinite(xy).all(axis=-1))[[0, 50]]
    xy[n, k] += 60
    xy[m, j], score[m, j] = xy[m, j] + 60, 0.2
    said = Predictions(project.frames, project.keypoints, project.xy, xy, score, np.zeros(len(xy)))
    (one,) = [one for one in suspicious.find(project, said) if one.kind == "model"]
    assert (one.frame.name, one.keypoints) == (project.frames[n].name, (project.keypoints[k],))
    assert "85 px away" in one.text
    assert one.seen == tuple(xy[n, k])


def test_the_drawing_shows_the_label_and_where_the_model_sees_it(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    assert cli.main(["simulate", str(folder), "--frames", "2", "--walks", "1"]) == 0
    (table,) = folder.glob("labeled-data/*/CollectedData_*.csv")
    lines = table.read_text(encoding="utf-8").splitlines()
    name, x, *others = lines[3].split(",")
    moved = float(x) + (40 if float(x) < 160 else -40)
    table.write_text("\n".join([*lines[:3], ",".join([name, str(moved), *others]), *lines[4:]]), encoding="utf-8")
    look = tmp_path / "look"
    assert cli.main(["labels", str(folder), "--model", "simulated_animal", "--plots", str(look)]) == 0
    (file,) = look.iterdir()
    assert file.name == "001_model_img0000.png"
    drawn, plain = cv2.imread(str(file)), cv2.imread(str(folder / name))
    head = drawn.shape[0] - 2 * plain.shape[0]
    assert drawn.shape[1] == 2 * plain.shape[1]
    changed = (cv2.absdiff(drawn[head:], cv2.resize(plain, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)) > 9).any(2)
    # Something is drawn half-way between label and model.
    middle, y = round(moved + float(x)), round(2 * float(others[0]))
    assert changed[y - 3 : y + 4, middle].any()
    assert not changed[:, :5].any()


def test_what_is_found_is_listed_drawn_and_written(data: Path, tmp_path: Path) -> None:
    def change(rows: list[list[str]]) -> None:
        rows[20][1] = str((float(rows[20][1]) + 320) % 640)

    spoil(data / "dlc_openfield", tmp_path / "p", change)
    plots, report = tmp_path / "plots", tmp_path / "r.json"
    line = ["labels", str(tmp_path / "p"), "--plots", str(plots), "--report", str(report), "--most", "2"]
    assert cli.main(line) == 0
    rows = json.loads(report.read_text(encoding="utf-8"))["suspicious"]
    assert rows[0]["kind"] == "place"
    assert rows[0]["keypoints"] == ["snout"]
    assert 1 <= len(list(plots.glob("*.png"))) <= 2
