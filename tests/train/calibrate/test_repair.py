"""Moved cameras are found and placed anew from keypoints."""

from dataclasses import replace
from pathlib import Path

import calibrating
import cv2
import numpy as np
import pandas as pd
import pytest

from poseloop.live import cli
from poseloop.live.errors import CalibrationError
from poseloop.live.geometry import Calibration
from poseloop.train.calibrate import repair


def _animal(cameras: Calibration, noise_px: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(0)
    xy = cameras.project(rng.uniform([-150, -60, -120], [150, 60, 120], (600, 3)))
    xy += rng.normal(0, noise_px, xy.shape)
    xy[rng.random(xy.shape[:2]) < 0.1] = np.nan
    return xy


def _rig() -> Calibration:
    return Calibration([calibrating.camera(name, 40.0 * k - 60) for k, name in enumerate("abcd")])


def _with(cameras: Calibration, c: int, **changes: object) -> Calibration:
    some = list(cameras.cameras)
    some[c] = replace(some[c], **changes)
    return Calibration(some)


def test_a_moved_camera_is_placed_anew_and_the_others_stay() -> None:
    truth = _rig()
    moved = truth.cameras[2]
    turn = cv2.Rodrigues(np.array([0.03, -0.06, 0.02]))[0]
    old = _with(truth, 2, rotation=turn @ moved.rotation, translation=moved.translation + np.array([15, -8, 20]))
    result = repair.repair(old, _animal(truth))
    assert set(result.moved) == {"c"}
    assert result.kept == ("a", "b", "d")
    before, after = result.moved["c"]
    assert before > 10
    assert after < 2
    assert result.lens_changed == ()
    np.testing.assert_allclose(result.calibration.cameras[2].centre, moved.centre, atol=4)  # mm, from 600
    for c in (0, 1, 3):
        assert result.calibration.cameras[c] is old.cameras[c]


def test_another_lens_is_found_too() -> None:
    truth = _rig()
    matrix = truth.cameras[1].matrix * [[1.25, 1, 1], [1, 1.25, 1], [1, 1, 1]]
    result = repair.repair(_with(truth, 1, matrix=matrix), _animal(truth, 0.5))
    assert result.lens_changed == ("b",)
    assert result.calibration.cameras[1].matrix[0, 0] == pytest.approx(560, rel=0.02)


def test_a_right_calibration_is_left_alone() -> None:
    truth = _rig()
    assert repair.repair(truth, _animal(truth)).moved == {}


def test_without_two_cameras_that_agree_there_is_no_repair() -> None:
    truth = _rig()
    blind = _animal(truth)
    blind[1:] = np.nan
    with pytest.raises(CalibrationError, match="no two of the cameras"):
        repair.repair(truth, blind)


def test_one_of_several_animals_of_deeplabcut_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = _rig()
    moved = truth.cameras[2]
    turn = cv2.Rodrigues(np.array([0.03, -0.06, 0.02]))[0]
    shift = moved.translation + np.array([15, -8, 20])
    _with(truth, 2, rotation=turn @ moved.rotation, translation=shift).save(tmp_path / "old.toml")
    files = []
    levels = [["me"], ["anna", "berta"], ["nose", "tail"], ["x", "y", "likelihood"]]
    titles = ["scorer", "individuals", "bodyparts", "coords"]
    for name, xy in zip(truth.names, _animal(truth), strict=True):
        places = xy.reshape(-1, 2, 2)
        berta = np.concatenate([places, np.full((*places.shape[:2], 1), 0.9)], axis=2)
        berta[::7, :, :2], berta[::7, :, 2] = 5.0, 0.1  # not likely: nowhere near the truth
        values = np.concatenate([np.zeros_like(berta), berta], axis=1).reshape(len(places), -1)
        file = tmp_path / f"{name}.csv"
        pd.DataFrame(values, columns=pd.MultiIndex.from_product(levels, names=titles)).to_csv(file)
        files.append(f"{name}={file}")
    out = ["--repair", str(tmp_path / "old.toml"), "--out", str(tmp_path / "new.toml")]
    assert cli.main(["calibrate", *files, *out]) == 1
    assert "expected one animal, or the name of one, but the file has: anna, berta" in capsys.readouterr().err
    assert cli.main(["calibrate", *files, *out, "--animal", "berta"]) == 0
    placed = Calibration.load(tmp_path / "new.toml").cameras[2]
    np.testing.assert_allclose(placed.centre, moved.centre, atol=4)  # mm, from 600
