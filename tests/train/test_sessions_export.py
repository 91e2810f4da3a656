"""Exports, read back by the programs that they are for."""

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import synthetic
from synthetic import Plan, exposed_ns, make_session, truth

from poseloop.live import cli
from poseloop.live.output.log import packed
from poseloop.live.output.session import Session

PLAN = Plan(frames=60, missed=(5,), unrecorded=(20, 21), unprocessed=(30,), cameras=("top", "side"))
PICTURES = [index for index in range(60) if index not in (5, 20, 21)]
POSES = [index for index in range(60) if index not in (5, 30)]
ABOUT = """
experimenter = ["Doe, Jane"]
institution = "University"
experiment_description = "Corners"
[subject]
species = "Mus musculus"
sex = "F"
age = "P90D"
description = "a mouse"
"""
# Programs that read the exports use each other's deprecated words.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_session(tmp_path_factory.mktemp("export") / "small", PLAN)
    log = sqlite3.connect(folder / "log.sqlite")
    for number, index in enumerate(POSES):
        at = exposed_ns(PLAN, index)
        licks = [["box", "lick", True, at + 1]] if index % 10 == 0 else []
        commands = [["corner", "box", "laser", "pulse", 5000, 0, 0, 100, "sent"]] if index in (7, 40) else []
        row = (number, number, 1, at + 5_000_000, at + 5_500_000, packed(licks), packed(commands))
        log.execute("INSERT INTO decision VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    for index, pin in ((7, 6_200_000), (40, 0)):
        at = exposed_ns(PLAN, index)
        times = [at + step for step in (0, 4_000_000, 5_000_000, 5_500_000, 5_600_000, 6_500_000)]
        row = (
            index,
            "box",
            "laser",
            "pulse",
            5000,
            0,
            0,
            100,
            "acknowledged",
            "",
            *times,
            pin and at + pin,
            at - 400_000,
        )
        log.execute(f"INSERT INTO trigger VALUES ({', '.join('?' * 18)})", row)
    for index in (3, 8):
        values = {"protocol": "corner", "index": index, "name": "occasion", "values": {"x": index / 2, "fate": "blank"}}
        row = (exposed_ns(PLAN, index), "host", "note", json.dumps(values))
        log.execute("INSERT INTO event VALUES (?, ?, ?, ?)", row)
    log.commit()
    log.close()
    return folder


def exported(folder: Path, out: Path, to: str, *more: str) -> Path:
    assert cli.main(["export", str(folder), "--to", to, "--out", str(out), *more]) == 0
    return out


def in_pictures() -> np.ndarray:
    """Where points should be, in each picture of the videos, (F, K, 2)."""
    xy = np.stack([truth(PLAN, index) for index in PICTURES])
    for row, index in enumerate(PICTURES):
        if index == 30:
            xy[row] = np.nan
        if index % 10 == 9:
            xy[row, 1] = np.nan
    return xy


def test_deeplabcut_gets_a_row_for_every_picture(folder: Path, tmp_path: Path) -> None:
    import pandas

    out = exported(folder, tmp_path / "dlc", "dlc")
    assert sorted(file.name for file in out.iterdir()) == ["side.csv", "side.h5", "top.csv", "top.h5"]
    table = pandas.read_hdf(out / "side.h5")
    assert list(table.columns.names) == ["scorer", "bodyparts", "coords"]
    scorer = table.columns.get_level_values("scorer")[0]
    assert scorer == "poseloop_small"
    assert list(table.index) == list(range(len(PICTURES)))
    for number, keypoint in enumerate(PLAN.keypoints):
        np.testing.assert_allclose(table[scorer][keypoint][["x", "y"]].to_numpy(), in_pictures()[:, number])
    assert table[scorer]["tail"]["likelihood"].iloc[PICTURES.index(9)] == pytest.approx(0.1)
    text = pandas.read_csv(out / "side.csv", header=[0, 1, 2], index_col=0)
    np.testing.assert_allclose(text.to_numpy(), table.to_numpy(), rtol=1e-6)


def test_sleap_reads_its_analysis_file(folder: Path, tmp_path: Path) -> None:
    import h5py

    out = exported(folder, tmp_path / "sleap", "sleap")
    with h5py.File(out / "top.analysis.h5") as file:
        np.testing.assert_allclose(file["tracks"][0].transpose(2, 1, 0), in_pictures())
        assert [name.decode() for name in file["node_names"][:]] == list(PLAN.keypoints)
        assert file["video_path"][()].decode() == str((folder / "top.mkv").absolute())


def test_sleap_io_reads_it(folder: Path, tmp_path: Path) -> None:
    sleap_io = pytest.importorskip("sleap_io")
    out = exported(folder, tmp_path / "sleap", "sleap")
    labels = sleap_io.load_analysis_h5(str(out / "top.analysis.h5"))
    found = labels.numpy()[:, 0]
    np.testing.assert_allclose(found[: len(PICTURES)], in_pictures(), equal_nan=True)
    assert labels.skeletons[0].node_names == list(PLAN.keypoints)


def test_parquet_has_everything_that_the_log_has(folder: Path, tmp_path: Path) -> None:
    import pandas

    out = exported(folder, tmp_path / "tables", "parquet")
    poses = pandas.read_parquet(out / "poses.parquet")
    assert list(poses["index"]) == POSES
    np.testing.assert_array_equal(poses[["side.snout.x", "side.snout.y"]], [truth(PLAN, index)[0] for index in POSES])
    assert poses["top.tail.x"].isna().sum() == len([index for index in POSES if index % 10 == 9])
    rows = poses["top.picture"]
    assert [index for index, row in zip(POSES, rows, strict=True) if pandas.isna(row)] == [20, 21]
    assert all(PICTURES[int(row)] == index for index, row in zip(POSES, rows, strict=True) if not pandas.isna(row))
    np.testing.assert_allclose(poses["time_s"], [(exposed_ns(PLAN, i) - synthetic.STARTED_NS) / 1e9 for i in POSES])
    frames = pandas.read_parquet(out / "frames.parquet")
    assert list(frames[frames.camera == "side"]["picture"].dropna().astype(int)) == list(range(len(PICTURES)))
    assert list(frames[frames.why != ""]["index"]) == [20, 21, 20, 21]
    commands = pandas.read_parquet(out / "commands.parquet")
    assert commands.iloc[0].to_dict() == {
        "decision": 6,
        "protocol": "corner",
        "board": "box",
        "line": "laser",
        "command": "pulse",
        "on_us": 5000,
        "period_us": 0,
        "count": 0,
        "delay_us": 100,
        "fate": "sent",
    }
    triggers = pandas.read_parquet(out / "triggers.parquet")
    assert list(triggers["index"]) == [7, 40]
    assert list(triggers["pin_ns"] - triggers["exposed_ns"] > 0) == [True, False]
    assert len(pandas.read_parquet(out / "decisions.parquet")) == len(POSES)
    assert len(pandas.read_parquet(out / "inputs.parquet")) == len([index for index in POSES if index % 10 == 0])
    assert list(pandas.read_parquet(out / "dropped.parquet")["reason"]) == ["stale"] * 3
    notes = pandas.read_parquet(out / "events.parquet").query("kind == 'note'")
    assert [json.loads(text)["index"] for text in notes["detail"]] == [3, 8]


def test_csv_has_the_same_tables(folder: Path, tmp_path: Path) -> None:
    import pandas

    text = exported(folder, tmp_path / "text", "csv")
    binary = exported(folder, tmp_path / "binary", "parquet")
    assert sorted(file.stem for file in text.iterdir()) == sorted(file.stem for file in binary.iterdir())
    for file in binary.iterdir():
        read, wanted = pandas.read_csv(text / f"{file.stem}.csv"), pandas.read_parquet(file)
        assert list(read.columns) == list(wanted.columns)
        assert len(read) == len(wanted)
        for column in wanted.select_dtypes("number"):
            np.testing.assert_allclose(read[column], wanted[column], rtol=1e-6, err_msg=f"{file.stem}.{column}")


def test_nwb_has_real_times_and_linked_videos(folder: Path, tmp_path: Path) -> None:
    import pynwb

    about = tmp_path / "about.toml"
    about.write_text(ABOUT)
    file = exported(folder, tmp_path / "out.nwb", "nwb", "--about", str(about))
    with pynwb.NWBHDF5IO(str(file), "r") as source:
        nwb = source.read()
        behavior = nwb.processing["behavior"]
        series = behavior["pose_side"].pose_estimation_series["snout"]
        np.testing.assert_array_equal(series.data[:], [truth(PLAN, index)[0] for index in POSES])
        zero = synthetic.STARTED_NS
        np.testing.assert_allclose(series.timestamps[:], [(exposed_ns(PLAN, index) - zero) / 1e9 for index in POSES])
        np.testing.assert_allclose(series.confidence[:], 0.9)
        assert list(behavior["pose_side"].skeleton.nodes) == list(PLAN.keypoints)
        video = nwb.acquisition["video_side"]
        assert (file.parent / video.external_file[0]).resolve() == (folder / "side.mkv").resolve()
        assert len(video.timestamps) == len(PICTURES)
        assert behavior["pose_side"].source_video is video
        triggers = nwb.events["triggers"].to_dataframe()
        assert list(triggers["output"]) == ["box.laser"] * 2
        assert list(triggers["latency_s"]) == pytest.approx([0.0062, 0.0056])
        assert list(triggers["pin_told"]) == [True, False]
        assert list(nwb.events["events_note"].to_dataframe()["values_x"]) == [1.5, 4.0]
        assert len(nwb.events["inputs"]) == len([index for index in POSES if index % 10 == 0])
        with Session.open(folder) as session:
            assert nwb.session_start_time == session.started
        assert (nwb.subject.subject_id, nwb.subject.sex) == ("m042", "F")


def test_nwb_is_faultless_to_its_inspector(folder: Path, tmp_path: Path) -> None:
    inspector = pytest.importorskip("nwbinspector")
    about = tmp_path / "about.toml"
    about.write_text(ABOUT)
    file = exported(folder, tmp_path / "out.nwb", "nwb", "--about", str(about))
    found = list(inspector.inspect_nwbfile(nwbfile_path=str(file)))
    serious = [item for item in found if item.importance is not inspector.Importance.BEST_PRACTICE_SUGGESTION]
    assert not serious, serious


def test_what_a_lab_tells_is_checked(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    about = tmp_path / "about.toml"
    about.write_text('[subject]\ncolour = "brown"\n')
    out = tmp_path / "out.nwb"
    assert cli.main(["export", str(folder), "--to", "nwb", "--out", str(out), "--about", str(about)]) == 1
    assert "subject.colour: unknown key; known here: subject_id, species" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [about]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{session}", "--out", "x"], "is a session: expected --to, one of dlc, sleap"),
        (["{session}", "project", "--to", "csv", "--out", "x"], "expected one session, but got project"),
        (["{session}", "--to", "nwb", "--out", "x.h5"], "expected a name that ends in .nwb"),
        (["{session}x", "--to", "nwb", "--out", "x.nwb"], "expected a session's folder"),
        (["openfield", "--out", "x.onnx"], "or `poseloop export MODEL PROJECT`"),
    ],
)
def test_words_that_do_not_fit_are_refused(
    folder: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["export", *(word.format(session=folder) for word in words)]) == 1
    assert message in capsys.readouterr().err


def test_a_session_is_exported_without_tensorflow(folder: Path, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom poseloop.live.cli import main\n"
        f"assert main(['export', {str(folder)!r}, '--to', 'sleap', '--out', {str(tmp_path / 'out')!r}]) == 0\n"
        "assert not {'tensorflow', 'keras', 'onnx', 'onnxruntime'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
