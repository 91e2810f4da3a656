"""Files of tracks: what other programs read of them, and nothing else than was there."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from disks import largest_file

from poseloop.live.errors import DataError
from poseloop.train import trackfiles
from poseloop.train.trackfiles import write_deeplabcut, write_sleap_analysis
from poseloop.train.tracks import read_tracks

KEYPOINTS = ("snout", "tail base")


def tracks(frames: int, individuals: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(frames)
    xy = rng.uniform(0, 640, (frames, individuals, len(KEYPOINTS), 2)).astype(np.float32)
    score = rng.uniform(0, 1, xy.shape[:3]).astype(np.float32)
    xy[frames // 2 : frames // 2 + 1, 0, 1], score[frames // 2 : frames // 2 + 1, 0, 1] = np.nan, np.nan
    return xy, score


@pytest.fixture
def pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several pieces without thousands of frames."""
    monkeypatch.setattr(trackfiles, "_PIECE", 4)


@pytest.mark.parametrize("ending", ["_dlc.csv", "_dlc.h5", ".analysis.h5"])
@pytest.mark.parametrize("frames", [1, 4, 11])
def test_what_is_written_is_read_again(tmp_path: Path, pieces: None, ending: str, frames: int) -> None:
    xy, score = tracks(frames)
    file = tmp_path / f"video{ending}"
    if ending == ".analysis.h5":
        write_sleap_analysis(file, KEYPOINTS, xy, score)
    else:
        write_deeplabcut(file, "net", KEYPOINTS, xy, score)
    found = read_tracks(file)
    assert found.keypoints == KEYPOINTS
    np.testing.assert_array_equal(found.xy.astype(np.float32), xy[:, 0])
    seen = np.isfinite(xy[:, 0]).all(axis=-1)
    np.testing.assert_array_equal(found.score[seen].astype(np.float32), score[:, 0][seen])
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


@pytest.mark.parametrize("ending", [".csv", ".h5", ".analysis.h5"])
def test_animals_keep_their_names(tmp_path: Path, pieces: None, ending: str) -> None:
    xy, score = tracks(9, individuals=2)
    file = tmp_path / f"video{ending}"
    if ending == ".analysis.h5":
        write_sleap_analysis(file, KEYPOINTS, xy, score, ("resident", "intruder"))
    else:
        write_deeplabcut(file, "net", KEYPOINTS, xy, score, ("resident", "intruder"))
    for number, name in enumerate(("resident", "intruder")):
        np.testing.assert_array_equal(read_tracks(file, name).xy.astype(np.float32), xy[:, number])


@pytest.mark.parametrize("ending", [".csv", ".h5", ".analysis.h5"])
def test_frames_that_were_left_out_stay_out(tmp_path: Path, pieces: None, ending: str) -> None:
    xy, score = tracks(5)
    numbers = np.array([1, 2, 3, 8, 13])
    file = tmp_path / f"video{ending}"
    if ending == ".analysis.h5":
        write_sleap_analysis(file, KEYPOINTS, xy, score, frames=numbers)
    else:
        write_deeplabcut(file, "net", KEYPOINTS, xy, score, frames=numbers)
    found = read_tracks(file).xy
    assert len(found) == 14
    np.testing.assert_array_equal(found[numbers].astype(np.float32), xy[:, 0])
    assert np.isnan(np.delete(found, numbers, axis=0)).all()


def test_deeplabcuts_table_as_pandas_sees_it(tmp_path: Path, pieces: None) -> None:
    import pandas

    xy, score = tracks(9, individuals=2)
    file = tmp_path / "video.h5"
    write_deeplabcut(file, "net", KEYPOINTS, xy, score, ("a", "b"))
    table = pandas.read_hdf(file, "df_with_missing")
    assert list(table.columns.names) == ["scorer", "individuals", "bodyparts", "coords"]
    assert list(table.columns[:3]) == [("net", "a", "snout", coord) for coord in ("x", "y", "likelihood")]
    assert table.index.tolist() == list(range(9))
    assert {str(kind) for kind in table.dtypes} == {"float64"}
    with pandas.HDFStore(file, "r") as store:
        # Without it, pandas 2 does not read the file.
        assert store.get_storer("df_with_missing").attrs.pandas_version == "0.15.2"
    np.testing.assert_array_equal(table["net"]["b"]["tail base"][["x", "y"]].to_numpy(np.float32), xy[:, 1, 1])


def test_sleaps_file_as_sleap_io_reads_it(tmp_path: Path, pieces: None) -> None:
    sleap_io = pytest.importorskip("sleap_io")
    xy, score = tracks(9, individuals=2)
    file = tmp_path / "video.analysis.h5"
    write_sleap_analysis(file, KEYPOINTS, xy, score, ("a", "b"), skeleton=[("snout", "tail base")], video="video.mp4")
    found = sleap_io.load_analysis_h5(file, open_videos=False)
    assert [track.name for track in found.tracks] == ["a", "b"]
    assert found.skeleton.node_names == list(KEYPOINTS)
    assert found.skeleton.edge_inds == [(0, 1)]
    np.testing.assert_array_equal(found.numpy().astype(np.float32), xy)
    assert found.video.filename == "video.mp4"


def test_shapes_that_do_not_fit_are_told(tmp_path: Path) -> None:
    xy, score = tracks(3)
    with pytest.raises(DataError, match=r"expected points \[3, 2, 2, 2\].*but got \[3, 1, 2, 2\]"):
        write_deeplabcut(tmp_path / "a.csv", "net", KEYPOINTS, xy, score, ("a", "b"))
    with pytest.raises(DataError, match="rise from 0"):
        write_deeplabcut(tmp_path / "a.csv", "net", KEYPOINTS, xy, score, frames=np.array([0, 2, 2]))
    with pytest.raises(DataError, match=r"ends in \.h5 or \.csv"):
        write_deeplabcut(tmp_path / "a.txt", "net", KEYPOINTS, xy, score)
    with pytest.raises(DataError, match="at least one frame"):
        write_sleap_analysis(tmp_path / "a.h5", KEYPOINTS, *tracks(0))
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        write_deeplabcut(tmp_path / "file" / "a.csv", "net", KEYPOINTS, xy, score)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("ending", ["_dlc.h5", ".analysis.h5"])
def test_a_disk_without_room_is_told_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    xy, score = tracks(5)
    monkeypatch.setattr(trackfiles.shutil, "disk_usage", lambda folder: SimpleNamespace(free=10_000))
    file = tmp_path / f"video{ending}"
    names = (file, KEYPOINTS) if ending == ".analysis.h5" else (file, "net", KEYPOINTS)
    write = write_sleap_analysis if ending == ".analysis.h5" else write_deeplabcut
    with pytest.raises(DataError, match="MB are free on the disk"):
        write(*names, xy, score)
    assert not list(tmp_path.iterdir())


def test_a_file_that_was_cut_off_by_a_full_disk_is_none(tmp_path: Path) -> None:
    """PyTables closes such a file without a word."""
    xy, score = tracks(3000)
    with largest_file(3000), pytest.raises(DataError, match="perhaps since the disk is full"):
        write_deeplabcut(tmp_path / "video.h5", "net", KEYPOINTS, xy, score)
    assert not list(tmp_path.iterdir())
