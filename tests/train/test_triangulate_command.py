"""``poseloop triangulate``: tracks of several programs to points in the world, the same as a rig's."""

import tomllib
from pathlib import Path

import cv2
import h5py
import numpy as np
import pandas as pd
import pytest
from viewpoints import ring

from poseloop.live import cli
from poseloop.live.errors import DataError
from poseloop.live.geometry import Calibration
from poseloop.live.geometry.calibration import CameraModel
from poseloop.live.geometry.reconstruction import Reconstruction
from poseloop.live.types import Keypoints
from poseloop.train.tracks import read_tracks

NAMES = ("nose", "ear", "tail")
FRAMES = 40


@pytest.fixture
def calibration(tmp_path: Path) -> Calibration:
    made = ring(3)
    made.save(tmp_path / "calibration.toml")
    return made


def scene(calibration: Calibration) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points (F, K, 3), their views (C, F, K, 2) with noise, a liar and gaps, and scores (C, F, K)."""
    random = np.random.default_rng(0)
    xyz = np.cumsum(random.normal(0, 2, (FRAMES, len(NAMES), 3)), axis=0)
    xy = calibration.project(xyz.reshape(-1, 3)).reshape(3, FRAMES, len(NAMES), 2)
    xy += random.normal(0, 0.3, xy.shape)
    xy[0, 5, 0] += 80
    xy[1, 6, 1] = np.nan
    xy[1:, 7, 2] = np.nan
    score = random.uniform(0.6, 1, xy.shape[:3])
    # As a network gives them, and as other programs store them.
    return xyz, xy.astype(np.float32).astype(np.float64), score.astype(np.float32).astype(np.float64)


def sleap(file: Path, xy: np.ndarray, score: np.ndarray, animals: tuple[str, ...] = ("track_0",)) -> Path:
    with h5py.File(file, "w") as content:
        content["tracks"] = np.stack([xy.transpose(2, 1, 0)] * len(animals))
        content["point_scores"] = np.stack([score.T] * len(animals))
        content["node_names"] = [name.encode() for name in NAMES]
        content["track_names"] = [name.encode() for name in animals]
    return file


def deeplabcut(file: Path, xy: np.ndarray, score: np.ndarray, animals: tuple[str, ...] = ()) -> Path:
    values = np.concatenate([xy, score[..., None]], axis=-1).reshape(len(xy), -1)
    levels = [["net"], *([list(animals)] if animals else []), list(NAMES), ["x", "y", "likelihood"]]
    titles = ["scorer", *(["individuals"] if animals else []), "bodyparts", "coords"]
    columns = pd.MultiIndex.from_product(levels, names=titles)
    table = pd.DataFrame(np.tile(values, max(len(animals), 1)), columns=columns)
    if file.suffix == ".csv":
        table.to_csv(file)
    else:
        table.to_hdf(file, key="df_with_missing", format="table")
    return file


def command(tmp_path: Path, files: list[Path], out: str = "points.csv", *options: str) -> pd.DataFrame:
    tracks = [f"c{number}={file}" for number, file in enumerate(files)]
    target = tmp_path / out
    assert cli.main(["triangulate", str(tmp_path / "calibration.toml"), *tracks, "--out", str(target), *options]) == 0
    read: pd.DataFrame = pd.read_csv(target) if out.endswith(".csv") else pd.read_hdf(target, key="points3d")
    return read


@pytest.mark.parametrize("out", ["points.csv", "points.h5"])
@pytest.mark.parametrize(("write", "ending"), [(sleap, "h5"), (deeplabcut, "h5"), (deeplabcut, "csv")])
def test_offline_is_online(calibration: Calibration, tmp_path: Path, write, ending: str, out: str) -> None:
    truth, xy, score = scene(calibration)
    files = [write(tmp_path / f"c{c}.{ending}", xy[c], score[c]) for c in range(3)]
    table = command(tmp_path, files, out)
    rig = Reconstruction(calibration, 1, len(NAMES))
    assert list(table.columns[:6]) == ["nose_x", "nose_y", "nose_z", "nose_error", "nose_ncams", "nose_score"]
    assert list(table.fnum) == list(range(FRAMES))
    for f in range(FRAMES):
        pose = rig.step(Keypoints(*(part[:, f, np.newaxis].astype(np.float32) for part in (xy, score))))
        assert pose.xyz is not None
        row = table.iloc[f]
        for k, name in enumerate(NAMES):
            offline = row[[f"{name}_{axis}" for axis in "xyz"]].to_numpy(float)
            np.testing.assert_allclose(offline, pose.xyz[0, k], rtol=1e-6, atol=1e-6)
            np.testing.assert_allclose(row[f"{name}_error"], pose.residual_px[0, k], rtol=1e-6, atol=1e-6)
            np.testing.assert_allclose(row[f"{name}_score"], pose.score[0, k], rtol=1e-6)
            assert row[f"{name}_ncams"] == pose.views[0, k]
            if (f, k) != (7, 2):
                assert np.linalg.norm(offline - truth[f, k]) < 1.5
    assert table.tail_ncams[7] == 0
    assert np.isnan(table.tail_x[7])
    assert table.nose_ncams[5] == 2


def test_views_under_the_score_do_not_count(calibration: Calibration, tmp_path: Path) -> None:
    _, xy, score = scene(calibration)
    score[2, 10] = 0.3
    files = [deeplabcut(tmp_path / f"c{c}.h5", xy[c], score[c]) for c in range(3)]
    assert command(tmp_path, files).nose_ncams[10] == 2
    assert command(tmp_path, files, "points.csv", "--score", "0.2").nose_ncams[10] == 3


def test_points_that_people_have_corrected_count_alike(calibration: Calibration, tmp_path: Path) -> None:
    truth, xy, score = scene(calibration)
    # Where the network was sure of the wrong place, and a person has moved one view only.
    score[1] = 0.01
    files = [sleap(tmp_path / f"c{c}.h5", xy[c], score[c]) for c in range(3)]
    table = command(tmp_path, files, "points.csv", "--corrected")
    assert table.nose_ncams[0] == 3
    assert table.nose_score[0] == 1
    same = [sleap(tmp_path / f"s{c}.h5", xy[c], np.ones_like(score[c])) for c in range(3)]
    np.testing.assert_array_equal(table, command(tmp_path, same))
    assert np.linalg.norm(table[["nose_x", "nose_y", "nose_z"]].to_numpy()[0] - truth[0, 0]) < 1


@pytest.mark.parametrize("write", [sleap, deeplabcut])
def test_one_of_several_animals_is_named(calibration: Calibration, tmp_path: Path, write) -> None:
    _, xy, score = scene(calibration)
    files = [write(tmp_path / f"c{c}.h5", xy[c], score[c], ("anna", "berta")) for c in range(3)]
    assert len(command(tmp_path, files, "points.csv", "--animal", "berta")) == FRAMES
    with pytest.raises(DataError, match="expected one animal, or the name of one, but the file has: anna, berta"):
        read_tracks(files[0])
    with pytest.raises(DataError, match="expected an animal 'carla', but the file has: anna, berta"):
        read_tracks(files[0], "carla")


def test_points_without_a_score_were_set_by_a_person(tmp_path: Path) -> None:
    _, xy, score = scene(ring(3))
    score[:] = np.nan
    tracks = read_tracks(sleap(tmp_path / "a.h5", xy[1], score[1]))
    np.testing.assert_array_equal(tracks.score, np.where(np.isnan(xy[1, ..., 0]), np.nan, 1.0))


def test_frames_that_a_file_leaves_out_are_not_seen(tmp_path: Path) -> None:
    _, xy, score = scene(ring(3))
    file = deeplabcut(tmp_path / "a.h5", xy[0], score[0])
    table: pd.DataFrame = pd.read_hdf(file)
    table.drop(index=[0, 3]).to_hdf(file, key="df_with_missing", format="table")
    tracks = read_tracks(file)
    assert len(tracks.xy) == FRAMES
    assert np.isnan(tracks.xy[[0, 3]]).all()
    np.testing.assert_allclose(tracks.xy[4], xy[0, 4])


def error(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert cli.main(["triangulate", *map(str, arguments)]) != 0
    return capsys.readouterr().err


def test_what_is_wrong_is_named(calibration: Calibration, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, xy, score = scene(calibration)
    file = tmp_path / "calibration.toml"
    good, short = sleap(tmp_path / "a.h5", xy[0], score[0]), sleap(tmp_path / "s.h5", xy[1, :20], score[1, :20])
    to = ("--out", tmp_path / "points.csv")
    assert "expected CAMERA=FILE" in error(capsys, file, good, *to)
    assert "expected the tracks of two cameras or more" in error(capsys, file, f"c0={good}", *to)
    assert "expected a camera 'side' in the calibration" in error(capsys, file, f"c0={good}", f"side={good}", *to)
    assert "c0 is given twice" in error(capsys, file, f"c0={good}", f"c0={good}", *to)
    assert "differ in length (frames): c0 40, c1 20" in error(capsys, file, f"c0={good}", f"c1={short}", *to)
    assert "there is no such file of tracks" in error(capsys, file, f"c0={good}", f"c1={tmp_path / 'no.h5'}", *to)
    assert "ends in .csv or .h5" in error(capsys, file, f"c0={good}", f"c1={good}", "--out", tmp_path / "p.mat")
    (tmp_path / "b.h5").write_bytes(b"no HDF5")
    assert "expected SLEAP's analysis h5" in error(capsys, file, f"c0={good}", f"c1={tmp_path / 'b.h5'}", *to)
    (tmp_path / "b.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    assert "expected SLEAP's analysis h5" in error(capsys, file, f"c0={good}", f"c1={tmp_path / 'b.csv'}", *to)
    assert not (tmp_path / "points.csv").exists()


def test_tracks_of_which_nothing_can_come_are_refused(
    calibration: Calibration, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, xy, score = scene(calibration)
    out = tmp_path / "points.csv"
    file = tmp_path / "calibration.toml"
    good, other, blind = (sleap(tmp_path / f"{n}.h5", xy[c], score[c]) for n, c in (("g", 0), ("o", 1), ("b", 2)))
    sleap(blind, np.full_like(xy[2], np.nan), np.full_like(score[2], np.nan))
    said = error(capsys, file, f"c0={good}", f"c2={blind}", "--out", out)
    assert "no point is seen by two cameras at a time with a score of 0.5 or more" in said
    assert "c0 100.0%, c2 0.0%" in said
    assert "cameras of the calibration without tracks: c1" in said
    sleap(blind, xy[1] + [0, 400], score[1])
    said = error(capsys, file, f"c0={good}", f"c1={blind}", "--out", out)
    assert "no two cameras agree on any point within 15 px" in said
    with h5py.File(other, "a") as content:
        del content["node_names"]
        content["node_names"] = [b"a", b"b", b"c"]
    said = error(capsys, file, f"c0={good}", f"c1={other}", "--out", out)
    assert "c0: nose, ear, tail" in said
    assert "c1: a, b, c" in said
    assert not out.exists()


def test_a_real_calibration_with_one_bad_camera_names_it(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The calibration that came with this recording is wrong for the camera ``side``, and for no other one."""
    folder = data / "sleap_anipose_mouse4cam" / "minimal_session"
    table = tomllib.loads((folder / "calibration.toml").read_text(encoding="utf-8"))
    cameras = [
        CameraModel(
            c["name"],
            tuple(c["size"]),
            c["matrix"],
            c["distortions"],
            cv2.Rodrigues(np.array(c["rotation"]))[0],
            c["translation"],
        )
        for key, c in table.items()
        if key != "metadata"
    ]
    Calibration(cameras).save(tmp_path / "calibration.toml")
    tracks = [f"{c.name}={folder / c.name / f'minimal_{c.name}_proofread.analysis.h5'}" for c in cameras]
    out = tmp_path / "points.csv"
    assert cli.main(["triangulate", str(tmp_path / "calibration.toml"), *tracks, "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert [line.split()[1] for line in said.splitlines() if "was it moved?" in line] == ["side:"]
    # The three other cameras carry the points.
    with_it = nose_to_tail(out)
    tracks.pop([c.name for c in cameras].index("side"))
    assert cli.main(["triangulate", str(tmp_path / "calibration.toml"), *tracks, "--out", str(out)]) == 0
    assert with_it == pytest.approx(nose_to_tail(out), abs=1)


def nose_to_tail(file: Path) -> float:
    points = pd.read_csv(file)
    nose, tail = (points[[f"{name}_{axis}" for axis in "xyz"]].to_numpy() for name in ("Nose", "TTI"))
    return float(np.nanmedian(np.linalg.norm(nose - tail, axis=1)))
