"""Exports of a session of several cameras, several animals and places in the world, read back."""

from pathlib import Path

import numpy as np
import pytest
from synthetic import Plan, make_session, pose_at

from poseloop.live import cli
from poseloop.live.output.session import Session

PLAN = Plan(frames=30, cameras=("top", "side"), individuals=2, world=True)
POSES = [pose_at(PLAN, index, index) for index in range(PLAN.frames)]
ANIMALS = ("animal_1", "animal_2")
# Programs that read the exports use each other's deprecated words.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_session(tmp_path_factory.mktemp("worlds") / "small", PLAN)


def exported(folder: Path, out: Path, to: str) -> Path:
    assert cli.main(["export", str(folder), "--to", to, "--out", str(out)]) == 0
    return out


def in_world() -> np.ndarray:
    """(N, I, K, 3) mm."""
    return np.stack([pose.xyz for pose in POSES if pose.xyz is not None])


def in_pictures() -> np.ndarray:
    """(N, I, K, 2) px, the same in both cameras."""
    return np.stack([pose.keypoints.xy[1] for pose in POSES])


def test_the_session_gives_back_what_was_published(folder: Path) -> None:
    with Session.open(folder) as session:
        for pose, wanted in zip(session.poses(), POSES, strict=True):
            np.testing.assert_array_equal(pose.xyz, wanted.xyz)
            np.testing.assert_array_equal(pose.keypoints.xy, wanted.keypoints.xy)


def test_tables_have_a_column_for_every_animal_and_axis(folder: Path, tmp_path: Path) -> None:
    import pandas

    poses = pandas.read_parquet(exported(folder, tmp_path, "parquet") / "poses.parquet")
    for i, animal in enumerate(ANIMALS):
        for k, point in enumerate(PLAN.keypoints):
            columns = [f"{animal}.{point}.{axis}_mm" for axis in "xyz"]
            np.testing.assert_array_equal(poses[columns], in_world()[:, i, k])
            np.testing.assert_array_equal(poses[[f"side.{animal}.{point}.{c}" for c in "xy"]], in_pictures()[:, i, k])
            assert set(poses[f"{animal}.{point}.views"]) == {2}


def test_nwb_has_both_animals_in_the_world_and_in_every_camera(folder: Path, tmp_path: Path) -> None:
    import pynwb

    file = exported(folder, tmp_path / "out.nwb", "nwb")
    with pynwb.NWBHDF5IO(str(file), "r") as source:
        behavior = source.read().processing["behavior"]
        for i, animal in enumerate(ANIMALS):
            found = behavior[f"pose_{animal}"]
            assert set(found.pose_estimations) == {f"pose_{camera}_{animal}" for camera in PLAN.cameras}
            for k, point in enumerate(PLAN.keypoints):
                series = found.pose_estimation_series[point]
                assert series.unit == "millimeters"
                np.testing.assert_array_equal(series.data[:], in_world()[:, i, k])
                view = found.pose_estimations[f"pose_side_{animal}"].pose_estimation_series[point]
                assert view.unit == "pixels"
                np.testing.assert_array_equal(view.data[:], in_pictures()[:, i, k])
                np.testing.assert_array_equal(view.timestamps[:], series.timestamps[:])


def test_nwb_is_faultless_to_its_inspector(folder: Path, tmp_path: Path) -> None:
    inspector = pytest.importorskip("nwbinspector")
    file = exported(folder, tmp_path / "out.nwb", "nwb")
    # What only a lab can tell of its animal comes with --about.
    found = [
        item
        for item in inspector.inspect_nwbfile(nwbfile_path=str(file))
        if item.importance is not inspector.Importance.BEST_PRACTICE_SUGGESTION and item.object_type != "Subject"
    ]
    assert not found, found


def test_deeplabcut_and_sleap_get_both_animals(folder: Path, tmp_path: Path) -> None:
    import h5py
    import pandas

    table = pandas.read_hdf(exported(folder, tmp_path / "dlc", "dlc") / "side.h5")
    assert list(table.columns.names) == ["scorer", "individuals", "bodyparts", "coords"]
    (scorer,) = set(table.columns.get_level_values("scorer"))
    with h5py.File(exported(folder, tmp_path / "sleap", "sleap") / "side.analysis.h5") as file:
        tracks = file["tracks"][:]
    for i, animal in enumerate(ANIMALS):
        np.testing.assert_allclose(tracks[i].transpose(2, 1, 0), in_pictures()[:, i])
        for k, point in enumerate(PLAN.keypoints):
            np.testing.assert_allclose(table[scorer][animal][point][["x", "y"]], in_pictures()[:, i, k])


def test_guesses_are_of_both_animals(folder: Path, tmp_path: Path) -> None:
    import pandas

    out = exported(folder, tmp_path / "project", "labels")
    table = pandas.read_hdf(out / "labeled-data" / "small_side" / "machinelabels-iter0.h5")
    assert list(table.columns.names) == ["scorer", "individuals", "bodyparts", "coords"]
    assert [name for _, _, name in table.index] == ["img0009.png", "img0019.png", "img0029.png"]
    np.testing.assert_allclose(
        table.xs("x", axis=1, level="coords").to_numpy()[0], POSES[9].keypoints.xy[1, ..., 0].ravel()
    )


def test_it_is_whole_and_can_be_looked_at(folder: Path, tmp_path: Path) -> None:
    assert cli.main(["check", str(folder)]) == 0
    page, film = tmp_path / "page.html", tmp_path / "film.mp4"
    assert cli.main(["report", str(folder), "--out", str(page), "--overlay", str(film)]) == 0
    assert page.read_text(encoding="utf-8").rstrip().endswith("</html>")
    assert film.stat().st_size > 1000
