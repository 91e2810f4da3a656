"""The four-video rig of the documentation, as typed."""

import json
from pathlib import Path

import pytest
from repository import ROOT
from rigs import poseloop, processes_in

from poseloop.live.config import parse_rig
from poseloop.live.engine import Engine
from poseloop.live.types import Pose

RIG = ROOT / "docs" / "rigs" / "mouse4cam.toml"

ANY_PORT = """
[publish]
poses = "tcp://127.0.0.1:*"
health = "tcp://127.0.0.1:*"
previews = "tcp://127.0.0.1:*"
"""


def test_four_videos_run_as_one_rig(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSELOOP_DATA", str(data.resolve()))
    done = poseloop("run", RIG, "--headless", "--report", "r.json", cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr
    assert processes_in(tmp_path) == {}
    report = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert report["frames"]["captured"] == 120
    assert report["frames"]["processed"] + sum(report["frames"]["dropped"].values()) == 120
    for counts in report["cameras"].values():
        assert (counts["captured"], counts["lost"]) == (120, 0)
    assert report["ended"] == "the recordings have ended"


def test_as_fast_as_possible_every_set_is_whole_and_of_one_time(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSELOOP_DATA", str(data.resolve()))
    text = RIG.read_text(encoding="utf-8").replace('colour = "grey"', 'colour = "grey"\npace = "none"\nframes = 30')
    text = text.replace("[sync]", '[sync]\nframes = "every"')
    engine = Engine(parse_rig(text + ANY_PORT, RIG))
    poses: list[Pose] = []
    engine.open()
    try:
        engine.publisher.send_pose = poses.append  # type: ignore[method-assign]
        engine.start()
        for thread in engine._threads:
            thread.join(120)
        engine.stop()
    finally:
        engine.close()
    assert engine.error is None
    assert [pose.index for pose in poses] == list(range(30))
    assert {(pose.missing, pose.skew_ns) for pose in poses} == {(0, 0)}
