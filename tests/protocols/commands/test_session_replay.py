"""``poseloop replay SESSION``: what was decided is decided again, and every other decision is seen."""

import json
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import av
import msgpack
import numpy as np
import pytest
import synthetic
from synthetic import RIG, Plan, decide, make_session

from poseloop.live.cli import main
from poseloop.live.config import build_rig
from poseloop.live.output.wire import Wire
from poseloop.protocols.commands.offline import Clock, VideoSource
from poseloop.protocols.tables import read_table

TASK = """
from poseloop.protocols import Protocol


class Task(Protocol):
    outputs = ("box.laser",)
    needs = ("snout",)
    every_pose = True

    def reset(self, seed):
        super().reset(seed)
        self.shown = 0

    def decide(self, pose, events):
        self.shown += 1
        if self.shown == {fails_at}:
            raise RuntimeError("broken")
        wanted = events or self.random.random() < 0.2 or pose.trace.received_ns % 1000 == 7
        return [self.pulse("box.laser", 1 + self.shown / 1000)] if wanted else []
"""
OWN = RIG[: RIG.index("[protocols.corner]")] + '[protocols.task]\nuse = "task.py:Task"\n'


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    plan = Plan(frames=120, rig=OWN, files={"task.py": TASK.format(fails_at=-1).encode()}, pictures=False)
    folder = make_session(tmp_path_factory.mktemp("replay") / "whole", plan)
    assert decide(folder, lick_every=25, older=(40, 41)) > 20
    return folder


@pytest.fixture
def copy(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(whole, tmp_path / "copy"))


def sql(folder: Path, query: str, *values: object) -> list[tuple]:
    log = sqlite3.connect(folder / "log.sqlite")
    found = log.execute(query, values).fetchall()
    log.commit()
    log.close()
    return found


def test_all_decisions_are_the_same(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(copy), "--report", "r.json", "--out", "o.csv"]) == 0
    assert "120 decisions" in (shown := capsys.readouterr().out)
    assert "all decisions are the same, bit for bit" in shown
    report = json.loads(Path("r.json").read_text())
    assert (report["same"], report["decisions"], report["different"]) == (True, 120, 0)
    assert len(read_table(Path("o.csv"))) == report["commands"] == report["fates"]["sent"]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE decision SET commands = x'90' WHERE number = 25",
        "UPDATE decision SET inputs = x'90' WHERE number = 50",
        "UPDATE decision SET newest = 1, inputs = (SELECT inputs FROM decision WHERE number = 50) WHERE number = 40",
        "UPDATE decision SET received_ns = received_ns / 1000 * 1000 + 7 WHERE number = 3",
    ],
    ids=["a command is gone", "an input was not told", "an older pose was the newest", "a pose came at another time"],
)
def test_one_other_decision_is_shown(copy: Path, change: str, capsys: pytest.CaptureFixture[str]) -> None:
    sql(copy, change)
    assert main(["replay", str(copy), "--report", "r.json"]) == 1
    shown = capsys.readouterr().out
    report = json.loads(Path("r.json").read_text())
    assert report["different"] >= 1
    assert f"first number {report['first']['number']} " in shown
    assert report["first"]["recorded"] != report["first"]["again"]


def test_another_file_of_the_protocol_is_found_out(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (copy / "task.py").read_text()
    (copy / "task.py").write_text(text.replace("self.shown / 1000", "self.shown / 500"))
    assert main(["replay", str(copy)]) == 1
    shown = capsys.readouterr().out
    assert "recorded   task: pulse box.laser on_us=1001" in shown
    assert "again      task: pulse box.laser on_us=1002" in shown


def test_what_the_log_lost_is_said(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sql(copy, "DELETE FROM decision WHERE number IN (70, 71)")
    sql(copy, "DELETE FROM pose WHERE sequence = 90")
    assert main(["replay", str(copy), "--report", "r.json"]) == 1
    assert "missing    3 decisions or their poses are not in the log, from number 70 on" in capsys.readouterr().out
    assert json.loads(Path("r.json").read_text())["first"]["number"] >= 72


def test_a_protocol_that_failed_fails_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = Plan(frames=60, rig=OWN, files={"task.py": TASK.format(fails_at=31).encode()}, pictures=False)
    folder = make_session(tmp_path / "failing", plan)
    decide(folder)
    assert main(["replay", str(folder)]) == 0
    assert "task failed in both, as it should: RuntimeError: broken" in capsys.readouterr().out
    mended = shutil.copytree(folder, tmp_path / "mended")
    (mended / "task.py").write_text(TASK.format(fails_at=-1))
    assert main(["replay", str(mended)]) == 1
    assert "task failed in the session only" in capsys.readouterr().out


def test_another_protocol_gives_a_comparison(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "--protocol",
        "region",
        "--set",
        "keypoint=snout",
        "--set",
        "polygon=[[30,0],[64,0],[64,48],[30,48]]",
        "--set",
        "output=box.laser",
    ]
    assert main(["replay", str(copy), *words, "--report", "r.json"]) == 0
    shown = capsys.readouterr().out
    protocols = json.loads(Path("r.json").read_text())["protocols"]
    assert protocols["task"]["session"] > 20
    assert protocols["task"]["replay"] == 0
    # Once round in 25 frames; the first poses are inside already, which is no entry.
    assert protocols["protocol"] == {"session": 0, "replay": 5, "both": 0}
    assert "stimuli sent" in shown
    rows = read_table(Path("copy.commands.csv"))
    assert len(rows) == 5


def test_the_sessions_own_rig_gives_its_own_stimuli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = make_session(tmp_path / "small", Plan(frames=120, pictures=False))
    assert decide(folder) > 0
    assert main(["replay", str(folder), "--rig", str(folder / "rig.toml"), "--report", "r.json"]) == 0
    report = json.loads(Path("r.json").read_text())
    counts = report["protocols"]["corner"]
    assert counts["session"] == counts["replay"] == counts["both"] == 5
    assert report["differences"] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--fps", "50"], "a session has its own times and inputs"),
        (["--truth", "t.csv"], "--truth is for a replay with another --model"),
        (["other.mp4"], "expected one session, but got 2 recordings"),
        (["--model", "blob"], "camera top has no video"),
    ],
)
def test_words_that_do_not_fit_are_refused(
    copy: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", str(copy), *words]) == 1
    assert message in capsys.readouterr().err


def filmed(folder: Path, codec: str) -> Path:
    """A session of a dark disc that goes round, with the poses that the network found in its very pictures."""
    rig = (
        RIG.replace("model.onnx", "blob")
        .replace("snout", "centre")
        .replace("30, ", "160, ")
        .replace("64, ", "320, ")
        .replace("48]", "240]")
    )
    plan = Plan(frames=40, keypoints=("centre", "none"), rig=rig)
    make_session(folder, replace(plan, pictures=False))
    rows, columns = np.mgrid[:240, :320]
    with av.open(str(folder / "top.mkv"), "w") as container:
        encoder, pixels = {"ffv1": ("ffv1", "gray"), "h264": ("libx264", "yuv420p")}[codec]
        stream = container.add_stream(encoder, rate=100)
        stream.width, stream.height, stream.pix_fmt = 320, 240, pixels
        for i in range(40):
            x = 160 - 100 * np.cos(2 * np.pi * i / 40)
            image = np.full((240, 320), 190, np.uint8)
            image[(columns - x) ** 2 + (rows - 120) ** 2 < 18**2] = 40
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="gray")))
        container.mux(stream.encode(None))
    head = (folder / "session.toml").read_text().replace("[cameras]", "")
    shutil.copy("live/zoo/blob.onnx", folder / "model.onnx")
    table = f'file = "top.mkv"\ncodec = "{codec}"\nlossless = {str(codec == "ffv1").lower()}'
    table += '\nwidth = 320\nheight = 240\ncolour = "grey"\nfps = 100.0\n'
    (folder / "session.toml").write_text(f"{head}\n[cameras.top]\n{table}")
    sql(folder, "UPDATE meta SET value = '[\"centre\"]' WHERE key = 'keypoints'")
    raw = {
        "cameras": {"top": {"use": "replay", "path": str(folder / "top.mkv"), "pace": "none", "colour": "grey"}},
        "model": {"file": "blob"},
        "publish": dict.fromkeys(("poses", "health", "previews"), "tcp://127.0.0.1:*"),
    }
    clock, wire = Clock(), Wire()
    for pose in VideoSource(build_rig(raw, folder / "rig.toml"), 0).poses(clock):
        at = synthetic.exposed_ns(plan, pose.index)
        trace = replace(pose.trace, exposed_ns=at, published_ns=at + 4_000_000)
        message = wire.pose(replace(pose, trace=trace))
        sql(folder, "UPDATE pose SET message = ? WHERE sequence = ?", message, pose.sequence)
    decide(folder)
    return folder


@pytest.mark.parametrize("codec", ["ffv1", "h264"])
def test_the_same_model_finds_the_same_in_the_videos(
    codec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = filmed(tmp_path / "filmed", codec)
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert main(["replay", str(folder), "--model", "blob", "--report", "r.json"]) == 0
    report = json.loads(Path("r.json").read_text())
    assert report["poses"]["same"]
    assert report["poses"]["compared"] == 40
    assert report["differences"] == 0
    assert "40 compared with the recorded ones: the same, bit for bit" in capsys.readouterr().out


def test_a_model_that_differs_says_by_how_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = filmed(tmp_path / "filmed", "ffv1")
    monkeypatch.chdir(tmp_path)
    message = msgpack.unpackb(sql(folder, "SELECT message FROM pose WHERE sequence = 7")[0][0])
    xy = np.frombuffer(message["xy"], "<f4") + np.float32([3, 4])
    sql(folder, "UPDATE pose SET message = ? WHERE sequence = 7", msgpack.packb({**message, "xy": xy.tobytes()}))
    sql(folder, "UPDATE frame SET row = NULL, why = 'recorder_overrun' WHERE row = 39")
    assert main(["replay", str(folder), "--model", "blob", "--report", "r.json"]) == 0
    poses = json.loads(Path("r.json").read_text())["poses"]
    assert poses["largest_px"] == pytest.approx(5, abs=1e-4)
    assert (poses["largest_at"], poses["compared"], poses["without_pictures"], poses["same"]) == (7, 39, 1, False)
    shown = capsys.readouterr().out
    assert "largest difference 5.000 px (trigger 7)" in shown
    assert "1 left out" in shown
