"""``poseloop calibrate`` from its command line: on recordings with known answers, and on what cannot work."""

import json
import math
import shutil
from pathlib import Path

import calibrating
import cv2
import h5py
import numpy as np
import pytest
from repository import ROOT
from scipy.io import loadmat

from poseloop.live import cli
from poseloop.live.geometry import Calibration
from poseloop.train.calibrate import formats
from poseloop.train.commands import calibrate

BOARD = 'type = "charuco"\nsquares = [6, 5]\nsquare_mm = 30\nmarker_mm = 22\n'


def _run(folder: Path, *words: object) -> tuple[int, dict, Path]:
    report, out = folder / "report.json", folder / "calibration.toml"
    code = cli.main(["calibrate", *map(str, words), "--out", str(out), "--report", str(report)])
    return code, json.loads(report.read_text()) if report.is_file() else {}, out


def _no_nan(value: object) -> bool:
    if isinstance(value, dict):
        return all(map(_no_nan, value.values()))
    if isinstance(value, list):
        return all(map(_no_nan, value))
    return not (isinstance(value, float) and not math.isfinite(value))


def _distances(calibration: Calibration) -> np.ndarray:
    centres = np.array([camera.centre for camera in calibration.cameras])
    return np.linalg.norm(centres[:, None] - centres[None], axis=-1)[np.triu_indices(len(centres), 1)]


def test_a_stereo_pair_as_bouguets_toolbox_has_it(data: Path, tmp_path: Path) -> None:
    folder = data / "stereo_chessboard"
    board = tmp_path / "board.toml"
    board.write_text('type = "chessboard"\ncorners = [9, 6]\nsquare_mm = 30')
    code, report, out = _run(tmp_path, folder, "--board", board, "--world", "board:1")
    assert code == 0
    assert _no_nan(report)
    squares = [row["rms_px"] ** 2 for row in report["cameras"].values()]
    assert math.sqrt(np.mean(squares)) <= 0.23
    cameras = Calibration.load(out)
    for name, camera in zip(cameras.names, cameras.cameras, strict=True):
        reference = loadmat(folder / f"Calib_Results_{name}.mat")["fc"].ravel()
        np.testing.assert_allclose(np.diag(camera.matrix)[:2], reference, rtol=0.003)
    assert _distances(cameras)[0] == pytest.approx(99.8, abs=0.3)
    page = (tmp_path / "calibration_report" / "index.html").read_text()
    assert "epipolar" in page
    for name in ("coverage.png", "layout.png", "residuals.png", "worst_01.jpg"):
        picture = cv2.imread(str(tmp_path / "calibration_report" / name))
        assert picture is not None
        assert picture.std() > 5


def test_a_part_of_a_chessboard_is_not_taken_for_the_board(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    board = tmp_path / "board.toml"
    board.write_text('type = "chessboard"\ncorners = [8, 6]\nsquare_mm = 30')
    code, _, out = _run(tmp_path, data / "stereo_chessboard", "--board", board)
    assert code == 1
    assert not out.exists()
    assert "9 x 6 inner corners are found, not 8 x 6" in capsys.readouterr().err


def test_a_mouse_rig_whose_calibration_was_bad(data: Path, tmp_path: Path) -> None:
    folder = data / "sleap_anipose_mouse4cam" / "minimal_session"
    code, report, out = _run(tmp_path, folder, "--board", folder / "board.toml", "--world", "floor:0")
    assert code == 0
    assert all(row["median_abs_px"] <= 0.2 for row in report["cameras"].values())
    cameras = Calibration.load(out)
    assert cameras.names == ("back", "mid", "side", "top")
    xy = []
    for name in cameras.names:
        with h5py.File(folder / name / f"minimal_{name}_proofread.analysis.h5") as file:
            names = [word.decode() for word in file["node_names"][:]]
            xy.append(file["tracks"][0].transpose(2, 1, 0))
    labels = np.array(xy).reshape(4, -1, 2)
    xyz = _linear(cameras, labels)
    miss = np.linalg.norm(cameras.project(xyz) - labels, axis=-1)
    assert (np.nanmedian(miss, axis=1) <= 9).all()
    body = xyz.reshape(-1, len(names), 3)
    length = np.linalg.norm(body[:, names.index("Nose")] - body[:, names.index("TTI")], axis=-1)
    assert np.nanmedian(length) == pytest.approx(75, abs=1)
    # The rig of the documentation runs on what the command makes.
    rigs = Calibration.load(ROOT / "docs" / "rigs" / "mouse4cam" / "calibration.toml")
    assert rigs.names == cameras.names
    assert np.nanmax(np.linalg.norm(rigs.project(xyz) - cameras.project(xyz), axis=-1)) < 0.1


def _linear(cameras: Calibration, xy: np.ndarray) -> np.ndarray:
    """Plain direct linear triangulation by NumPy: the labels' own error spreads over all cameras alike."""
    rays = cameras.undistort(xy)
    out = np.full((xy.shape[1], 3), np.nan)
    for n in range(len(out)):
        rows = []
        for camera, (u, v) in zip(cameras.cameras, rays[:, n], strict=True):
            if np.isfinite(u):
                P = np.column_stack([camera.rotation, camera.translation])
                rows += [u * P[2] - P[0], v * P[2] - P[1]]
        if len(rows) >= 4:
            x = np.linalg.svd(np.array(rows))[2][-1]
            out[n] = x[:3] / x[3]
    return out


@pytest.mark.slow
def test_videos_with_the_board_in_some_frames_and_given_lenses(data: Path, tmp_path: Path) -> None:
    folder = data / "caliscope_charuco_4cam_A" / "charuco_calibration"
    array = folder / "camera_array.toml"
    code, report, out = _run(
        tmp_path, folder / "calibration" / "extrinsic", "--board", folder / "charuco.toml", "--given", array
    )
    assert code == 0
    np.testing.assert_allclose(_distances(Calibration.load(out)), _distances(formats.read(array)), rtol=0.01)
    # Camera 1 lags by one frame of its 6 a second.
    assert any(
        "'cam_1' is out of step" in one["text"] and "--offset cam_1=1" in one["text"] for one in report["verdicts"]
    )


def _pictures(folder: Path, count: int = 8, without: dict[str, set[int]] | None = None) -> None:
    cameras = calibrating.rig()
    boards = calibrating.moments(count, seed=2, tilt_deg=30)
    for c, name in enumerate(cameras.names):
        (folder / name).mkdir(parents=True)
        for m, place in enumerate(boards):
            gone = m in (without or {}).get(name, set())
            shot = np.full((480, 640), 110, np.uint8) if gone else calibrating.picture(cameras, c, place)
            cv2.imwrite(str(folder / name / f"{m}.png"), shot)


def test_rendered_pictures_in_other_formats_and_back(tmp_path: Path) -> None:
    _pictures(tmp_path / "in", 10)
    board = tmp_path / "board.toml"
    board.write_text(BOARD)
    code, report, out = _run(tmp_path, tmp_path / "in", "--board", board, "--world", "board")
    assert code == 0
    assert all(row["rms_px"] < 0.2 for row in report["cameras"].values())
    np.testing.assert_allclose(_distances(Calibration.load(out)), _distances(calibrating.rig()), rtol=0.01)
    other = tmp_path / "anipose.toml"
    assert cli.main(["calibrate", str(out), "--out", str(other), "--format", "anipose"]) == 0
    assert cli.main(["calibrate", str(other), "--out", str(tmp_path / "again.yaml")]) == 0
    np.testing.assert_allclose(_distances(formats.read(tmp_path / "again.yaml")), _distances(Calibration.load(out)))


def test_a_camera_without_overlap_ends_with_a_report_and_no_calibration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    early, late = set(range(6)), set(range(6, 12))
    _pictures(tmp_path / "in", 12, {"left": late, "mid": late, "right": early})
    board = tmp_path / "board.toml"
    board.write_text(BOARD)
    code, report, out = _run(tmp_path, tmp_path / "in", "--board", board)
    assert code == 1
    assert not out.exists()
    assert "'right' never shares the board" in capsys.readouterr().err
    assert "film the board between right and" in report["verdicts"][0]["text"]
    assert "never shares" in (tmp_path / "calibration_report" / "index.html").read_text()


def test_no_board_at_all_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _pictures(tmp_path / "in", 3)
    board = tmp_path / "board.toml"
    board.write_text(BOARD + "inverted = true\n")
    before = tmp_path / "calibration.toml"
    before.write_text("# of yesterday")
    code, report, _ = _run(tmp_path, tmp_path / "in", "--board", board)
    assert code == 1
    assert before.read_text() == "# of yesterday"
    said = capsys.readouterr().err
    assert "'mid' never saw the board" in said
    assert "inverted = false" in said
    assert [one["level"] for one in report["verdicts"]] == ["bad"] * 4
    # The page shows what each camera sees.
    page = (tmp_path / "calibration_report" / "index.html").read_text()
    assert "No calibration was made" in page
    assert page.count('<img src="seen_') == 3
    assert cv2.imread(str(tmp_path / "calibration_report" / "seen_01.jpg")) is not None


@pytest.mark.parametrize("damage", ["mirrored", "dark", "hidden"])
def test_a_camera_that_alone_sees_no_board_is_told_why(
    damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _pictures(tmp_path / "in", 4)
    for file in (tmp_path / "in" / "mid").iterdir():
        shot = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
        assert shot is not None
        ramp = np.tile(np.linspace(60, 180, 640), (480, 1)).astype(np.uint8)
        cv2.imwrite(str(file), {"mirrored": shot[:, ::-1], "dark": shot // 20, "hidden": ramp}[damage])
    board = tmp_path / "board.toml"
    board.write_text(BOARD)
    code, report, out = _run(tmp_path, tmp_path / "in", "--board", board)
    assert code == 1
    assert not out.exists()
    assert _no_nan(report)
    said = capsys.readouterr().err
    assert "camera 'mid' never saw the board (ChArUco" in said
    words = {
        "mirrored": "camera 'mid': the board is found in 4 of 4 pictures once they are mirrored back",
        "dark": "camera 'mid': the pictures show next to nothing (grey values from 5 to 12 of 255)",
        "hidden": "camera 'mid': no marker is seen at all in 4 pictures",
    }
    assert words[damage] in said
    assert "inverted" not in said


def test_one_picture_again_and_again_is_one_angle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _pictures(tmp_path / "in", 1)
    random = np.random.default_rng(0)
    for first in (tmp_path / "in").rglob("0.png"):
        shot = cv2.imread(str(first), cv2.IMREAD_GRAYSCALE)
        assert shot is not None
        for m in range(1, 8):
            noisy = (shot + random.normal(0, 2, shot.shape)).clip(0, 255).astype(np.uint8)
            cv2.imwrite(str(first.with_name(f"{m}.png")), noisy)
    board = tmp_path / "board.toml"
    board.write_text(BOARD)
    code, report, out = _run(tmp_path, tmp_path / "in", "--board", board)
    assert code == 1
    assert not out.exists()
    assert _no_nan(report)
    assert "because the board was always at one angle" in capsys.readouterr().err


def test_pictures_of_one_camera_that_are_one_moment_late_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _pictures(tmp_path / "in", 14)
    folder = tmp_path / "in" / "right"
    for m in range(13, 0, -1):
        (folder / f"{m - 1}.png").replace(folder / f"{m}.png")
    board = tmp_path / "board.toml"
    board.write_text(BOARD)
    # More pictures for a lens, of which only some are searched, change nothing about the time.
    monkeypatch.setattr(calibrate, "_SEARCHED", 8)
    (tmp_path / "lenses" / "mid").mkdir(parents=True)
    for m in range(16):
        shutil.copyfile(tmp_path / "in" / "mid" / f"{m % 14}.png", tmp_path / "lenses" / "mid" / f"{m}.png")
    _, report, _ = _run(tmp_path, tmp_path / "in", "--board", board, "--lenses", tmp_path / "lenses")
    assert _no_nan(report)
    late = [one["text"] for one in report["verdicts"] if "out of step" in one["text"]]
    assert len(late) == 1
    assert "camera 'right' is out of step: it is 1 frame late" in late[0]
    assert "--offset right=1" in late[0]


def test_a_lens_for_another_size_and_unknown_cameras_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _pictures(tmp_path / "in", 2)
    board = tmp_path / "board.toml"
    board.write_text(BOARD)
    text = (tmp_path / "given.toml", tmp_path / "in")
    calibrating.rig().save(text[0])
    text[0].write_text(text[0].read_text().replace("[640, 480]", "[320, 240]"))
    assert _run(tmp_path, text[1], "--board", board, "--given", text[0])[0] == 1
    assert "holds for 320 x 240 px, but its pictures have 640 x 480" in capsys.readouterr().err
    assert _run(tmp_path, text[1], "--board", board, "--fisheye", "moon")[0] == 1
    assert "no camera 'moon'" in capsys.readouterr().err
    assert _run(tmp_path, text[1])[0] == 1
    assert "--board is missing" in capsys.readouterr().err
    text[0].write_text(text[0].read_text().replace('cameras."', 'cameras."cam_'))
    assert _run(tmp_path, text[1], "--board", board, "--given", text[0])[0] == 1
    assert "has lenses of cam_left, cam_mid, cam_right, but the pictures are of left, mid, right" in (
        capsys.readouterr().err
    )
    (tmp_path / "lenses").mkdir()
    shutil.copytree(text[1] / "mid", tmp_path / "lenses" / "moon")
    assert _run(tmp_path, text[1], "--board", board, "--lenses", tmp_path / "lenses")[0] == 1
    assert "has pictures of moon, but the others are of left, mid, right" in capsys.readouterr().err
    assert cli.main(["calibrate", str(text[1]), "--board", str(board), "--out", str(tmp_path / "no" / "c.toml")]) == 1
    assert "there is no folder" in capsys.readouterr().err


def test_repair_of_the_mouse_rigs_own_calibration(data: Path, tmp_path: Path) -> None:
    folder = data / "sleap_anipose_mouse4cam" / "minimal_session"
    files = [f"{n}={folder / n / f'minimal_{n}_proofread.analysis.h5'}" for n in ("back", "mid", "side", "top")]
    code, report, out = _run(tmp_path, *files, "--repair", folder / "calibration.toml")
    assert code == 0
    assert _no_nan(report)
    assert list(report["moved"]) == ["side"]
    assert report["moved"]["side"]["before_px"] > 80
    assert report["moved"]["side"]["after_px"] < 12  # the labels of this set differ by 8 px between cameras
    assert Calibration.load(out).names == ("back", "mid", "side", "top")
