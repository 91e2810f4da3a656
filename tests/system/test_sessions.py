"""A recorded run as a user has it: the folder, whole after an end and usable after any crash."""

import json
import os
import random
import shutil
import signal
import sqlite3
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import msgpack
import numpy as np
import pytest
from repository import ROOT
from rigs import CORNER, edges, poseloop, processes_in, running, wait_for
from sessions import RECORDED, Session, recorded_rig

from poseloop.live.output import session as session_reader

needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")


def test_a_run_leaves_a_session_in_which_every_frame_has_its_row(tmp_path: Path) -> None:
    done = poseloop("run", recorded_rig(tmp_path), "--seconds", 2, "--report", "r.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    session = Session.only(tmp_path)
    session.check()
    report = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert report == json.loads((session.folder / "report.json").read_text(encoding="utf-8"))
    captured = report["frames"]["captured"]
    assert report["record"]["cameras"] == {"top": {"recorded": captured, "missed": {}}}
    assert len(session.pictures()) == captured == session.rows("SELECT count(*) FROM frame")[0][0]
    assert str(session.folder) in done.stderr
    assert f"{captured} frames recorded, 0 lost" in done.stdout
    assert session.rows("SELECT count(*) FROM pose") == [(report["poses"]["published"],)]
    assert session.rows("SELECT count(*) FROM decision WHERE newest") == [(report["poses"]["decided"],)]
    sent = report["triggers"]["sent"]
    assert session.rows("SELECT count(*) FROM trigger WHERE reason NOT LIKE 'held%'") == [(sent,)]
    dropped = dict(session.rows("SELECT reason, count(*) FROM dropped WHERE camera IS NULL GROUP BY reason"))
    assert dropped == report["frames"]["dropped"]
    head = tomllib.loads((session.folder / "session.toml").read_text(encoding="utf-8"))
    assert head["cameras"]["top"]["codec"] == "h264"
    assert head["subject"] == "m1"
    assert session.folder.name.endswith("_m1")
    assert (session.folder / "always.py").is_file()
    assert (session.folder / "rig.toml").read_bytes() == (tmp_path / "rig.toml").read_bytes()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('use = "sim"\nfps', 'use = "cameras.py:Slow"\nfps', "fps: expected 60, but the device has 45"),
        ('use = "always.py:On"', CORNER.replace("snout", "tentacle"), "tentacle"),
        ('file = "simulated_animal"', 'file = "nobody"', "nobody"),
    ],
    ids=["a camera at its start", "a protocol", "the model"],
)
def test_a_rig_that_is_refused_leaves_no_session(tmp_path: Path, old: str, new: str, words: str) -> None:
    rig = recorded_rig(tmp_path)
    text = rig.read_text(encoding="utf-8")
    assert old in text
    rig.write_text(text.replace(old, new, 1), encoding="utf-8")
    shutil.copy(ROOT / "tests" / "cameras.py", tmp_path)
    done = poseloop("run", rig, "--seconds", 2, cwd=tmp_path)
    assert done.returncode == 1
    assert words in done.stderr
    assert not list(tmp_path.glob("sessions/*"))


def test_a_trigger_that_begins_to_count_again_leaves_a_whole_session(tmp_path: Path) -> None:
    """No camera was lost; indices go on, so that pictures, poses and rows still find each other."""
    camera = '[cameras.{}]\nuse = "cameras.py:Recounts"\nfps = 60\nframes = 150\n'
    text = RECORDED.replace('[cameras.top]\nuse = "sim"\nfps = 60\n', camera.format("top") + camera.format("side"))
    rig = recorded_rig(tmp_path, '[sync]\ntrigger = "hardware"', text)
    shutil.copy(ROOT / "tests" / "cameras.py", tmp_path)
    done = poseloop("run", rig, "--report", "r.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    session = Session.only(tmp_path)
    checked = poseloop("check", session.folder, cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout
    cameras = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["cameras"]
    for number, (name, counts) in enumerate(cameras.items()):
        assert (counts["captured"], counts["restarts"], counts["lost"]) == (151, 4, 0)
        assert counts["dropped"]["repeated"] == 1
        assert session.rows(f"SELECT idx FROM frame WHERE camera = {number} ORDER BY rowid") == [
            (n,) for n in range(150)
        ]
        assert len(session.pictures(name)) == 150
    exposed = dict(session.rows("SELECT idx, exposed_ns FROM frame WHERE camera = 0"))
    poses = session.rows("SELECT idx, exposed_ns, frames FROM pose ORDER BY sequence")
    assert len(poses) > 20
    for (idx, exposed_ns, packed), (before, *_) in zip(poses[1:], poses, strict=False):
        assert idx > before
        assert {exposed[index] for index in msgpack.unpackb(packed) if index is not None} == {exposed_ns}


def test_three_cameras_and_places_in_the_world_are_recorded_and_used(tmp_path: Path) -> None:
    """The rig of ``poseloop demo``, at a rate that a busy machine can encode."""
    demo = ROOT / "live" / "commands"
    text = (demo / "demo.toml").read_text(encoding="utf-8").replace("fps = 30", "fps = 10").replace("= 250 ", "= 5000 ")
    (tmp_path / "rig.toml").write_text(text + '\n[record]\ncodec = "ffv1"\n', encoding="utf-8")
    shutil.copy(demo / "demo_calibration.toml", tmp_path)
    done = poseloop("run", "rig.toml", "--seconds", 2, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "checked: every picture has its time" in done.stdout
    (folder,) = (tmp_path / "sessions").iterdir()
    for words in (
        ("check",),
        ("export", "--to", "parquet", "--out", "tables"),
        ("export", "--to", "nwb", "--out", "session.nwb"),
        ("report", "--out", "page.html", "--overlay", "film.mp4"),
    ):
        done = poseloop(words[0], folder, *words[1:], cwd=tmp_path)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
    done = poseloop("replay", folder, "--model", "demo_animal", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "the same, bit for bit" in done.stdout
    with session_reader.Session.open(folder) as session:
        found = [pose for pose in session.poses() if pose.xyz is not None and not np.isnan(pose.xyz).any()]
    # The arena is 400 x 300 mm; the animal, 70 mm high, is on its floor.
    assert found
    assert all((np.abs(pose.xyz) < (200, 150, 100)).all() for pose in found)


def rows_so_far(folder: Path) -> int:
    time.sleep(0.05)
    try:
        return Session.only(folder).rows("SELECT count(*) FROM frame WHERE row IS NOT NULL")[0][0]
    except (ValueError, OSError, sqlite3.Error):
        return 0


def record_and_kill(folder: Path, victim: str, after_s: float) -> int:
    """Kill so long after the first rows; returns when, after the run has ended."""
    with running("run", recorded_rig(folder), "--headless", cwd=folder) as process:
        wait_for(lambda: rows_so_far(folder) > 0, 150)
        time.sleep(after_s)
        targets = processes_in(folder)
        killed_ns = time.perf_counter_ns()
        for target in targets.values() if victim == "all" else [targets[victim]]:
            os.kill(target.pid, signal.SIGKILL)
        if victim == "recorder":
            time.sleep(0.5)
            process.send_signal(signal.SIGINT)
        process.communicate(timeout=150)
    wait_for(lambda: not processes_in(folder))
    return killed_ns


@pytest.fixture
def undisturbed() -> Iterator[bool]:
    """Let what a test starts go before all else that the machine does; False = that is not permitted here."""
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(10))
    except (OSError, AttributeError):
        yield False
        return
    yield True
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


@needs_signals
@pytest.mark.parametrize("times", [1, pytest.param(7, marks=pytest.mark.slow)])
@pytest.mark.parametrize("victim", ["recorder", "engine", "all"])
def test_kill_9_loses_no_more_than_the_last_second(victim: str, times: int, undisturbed: bool, tmp_path: Path) -> None:
    """3 moments, and 21 when all are run. What is before the last second is whole."""
    moments, lost_s = random.Random(victim), []
    for number in range(times):
        folder = tmp_path / str(number)
        folder.mkdir()
        killed_ns = record_and_kill(folder, victim, moments.uniform(0.5, 3.0))
        session = Session.only(folder)
        session.check()
        rows, times_ms = session.rows("SELECT row, idx, exposed_ns FROM frame ORDER BY idx"), session.pictures()
        assert [idx for _, idx, _ in rows] == list(range(len(rows))), "a frame before the last one is missing"
        assert (session.folder / "report.json").exists() == (victim != "all")
        if victim == "engine":
            # The recorder lives on: it has all that the engine sent, and closes its files.
            assert len(times_ms) == len([row for row, _, _ in rows if row is not None])
        both = min(len(times_ms), len(rows))
        lost_s.append((killed_ns - rows[both - 1][2]) / 1e9)
    # Otherwise a busy machine may let the recorder itself wait.
    assert max(lost_s) < (1.0 if undisturbed else 3.0), lost_s


@needs_signals
@pytest.mark.parametrize("rule", ["continue", "stop"])
def test_the_loop_outlives_its_recorder_or_stops_as_the_rig_says(rule: str, tmp_path: Path) -> None:
    rig = recorded_rig(tmp_path, f'on_fault = "{rule}"')
    with running("run", rig, "--headless", "--report", "r.json", cwd=tmp_path) as process:
        wait_for(lambda: rows_so_far(tmp_path) > 0, 150)
        os.kill(processes_in(tmp_path)["recorder"].pid, signal.SIGKILL)
        before = len(edges(tmp_path))
        if rule == "continue":
            time.sleep(1.5)
            assert set(processes_in(tmp_path)) >= {"engine", "host"}
            process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=150)
    assert process.returncode == 1
    assert "THE RECORDING HAS ENDED: the recorder process was killed" in stderr
    assert ("record.on_fault" in stderr) == (rule == "stop")
    report = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert "was killed" in report["record"]["fault"]
    if rule == "continue":
        # Nothing that was switched depended on it.
        assert len(edges(tmp_path)) >= before
        assert report["frames"]["processed"] > Session.only(tmp_path).rows("SELECT count(*) FROM pose")[0][0]
        # A busy machine may keep the loop itself waiting for longer than its lease.
        waited = report["poses"]["stale"] or report["frames"]["dropped"]
        assert report["boards"]["box"]["lapses"] == 0 or waited


@needs_signals
def test_a_recorder_that_hangs_is_ended_and_the_loop_goes_on(tmp_path: Path) -> None:
    with running("run", recorded_rig(tmp_path), "--headless", "--report", "r.json", cwd=tmp_path) as process:
        wait_for(lambda: rows_so_far(tmp_path) > 60, 150)
        os.kill(processes_in(tmp_path)["recorder"].pid, signal.SIGSTOP)
        wait_for(lambda: "recorder" not in processes_in(tmp_path), 30)
        wait_for(lambda: is_on(tmp_path))
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=150)
    assert "THE RECORDING HAS ENDED: the recorder had not answered for 5 s" in stderr
    report = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    # What was captured while it hung: the loop went on, the pictures were counted.
    assert report["cameras"]["top"]["recorder_overrun"] > 0
    Session.only(tmp_path).check()


def is_on(folder: Path) -> bool:
    found = edges(folder)
    return bool(found) and bool(found[-1]["active"])


def test_a_folder_that_cannot_be_made_is_an_error_before_anything_moves(tmp_path: Path) -> None:
    (tmp_path / "sessions").write_text("a file", encoding="utf-8")
    done = poseloop("run", recorded_rig(tmp_path), "--seconds", 1, cwd=tmp_path)
    assert done.returncode == 1
    assert "record.folder" in done.stderr
    assert edges(tmp_path) == []


def test_a_full_disk_is_an_error_before_anything_moves(tmp_path: Path) -> None:
    done = poseloop("run", recorded_rig(tmp_path, "keep_free_gb = 1e9"), "--seconds", 1, cwd=tmp_path)
    assert done.returncode == 1
    assert "record.keep_free_gb" in done.stderr
    assert list((tmp_path / "sessions").iterdir()) == []
    assert edges(tmp_path) == []
