"""The four-video rig of the documentation, as typed, and what it sees on frames that were not trained on."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from repository import ROOT
from rigs import poseloop, processes_in

from poseloop.bench import mouse4cam
from poseloop.bench.mouse4cam import HELD_OUT, Seen
from poseloop.live.config import Rig, parse_rig
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
    assert report["latency_ms"]["triangulate"]["n"] == report["frames"]["processed"]


@dataclass
class Session:
    """The held-out frames, as the rig's engine sees them."""

    rig: Rig
    engine: Engine
    poses: Sequence[Pose]


@pytest.fixture(scope="module")
def session(data: Path) -> Session:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POSELOOP_DATA", str(data.resolve()))
        pace = f'colour = "grey"\npace = "none"\nskip = {HELD_OUT.start}\nframes = {len(HELD_OUT)}'
        text = RIG.read_text(encoding="utf-8").replace('colour = "grey"', pace)
        rig = parse_rig(text.replace("[sync]", '[sync]\nframes = "every"') + ANY_PORT, RIG)
    engine = Engine(rig)
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
    return Session(rig, engine, poses)


def test_as_fast_as_possible_every_set_is_whole_and_of_one_time(session: Session) -> None:
    assert [pose.index for pose in session.poses] == list(range(len(HELD_OUT)))
    assert {(pose.missing, pose.skew_ns) for pose in session.poses} == {(0, 0)}


def test_the_pose_in_the_world_is_that_of_the_points_that_people_corrected(
    session: Session, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSELOOP_DATA", str(data.resolve()))
    poses = session.poses
    xyz = np.stack([pose.xyz[0] for pose in poses if pose.xyz is not None]).astype(np.float64)
    seen = Seen(
        np.stack([pose.keypoints.xy[:, 0] for pose in poses], axis=1).astype(np.float64),
        np.nan_to_num(np.stack([pose.keypoints.score[:, 0] for pose in poses], axis=1)),
        xyz,
        np.stack([pose.views[0] for pose in poses]).astype(np.int64),
    )
    network = session.engine.network
    report = mouse4cam.judge(session.rig, network.keypoints, network.gate, seen, HELD_OUT)
    # A third to a half above what docs/calibration.md tells.
    for row in report["pictures"].values():
        assert row["of_those_that_pass"]["median"] < 6
    world = report["world"]
    assert world["found"] > 0.98
    assert world["agreed_mm"]["median"] < 2.5
    assert world["agreed_mm"]["p95"] < 12
    assert world["body_mm"]["rig"]["median"] == pytest.approx(75, abs=2)
    assert abs(world["body_mm"]["rig"]["median"] - world["body_mm"]["labels"]["median"]) < 2
    # Better than to have learned where the mouse sits, and nothing else.
    assert world["agreed_mm"]["median"] < 0.8 * world["mean_pose_agreed_mm"]["median"]
    assert report["score"]["passed_that_are_wrong"] < 0.02


def test_the_protocol_acts_when_the_head_comes_up(
    session: Session, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSELOOP_DATA", str(data.resolve()))
    rig = session.rig
    names = session.engine.network.keypoints
    protocol = rig.protocols["head_up"].build("head_up")
    protocol.bind(names, tuple(rig.cameras), session.engine.network.gate)
    protocol.reset(rig.seed)
    acted = [HELD_OUT.start + pose.index for pose in session.poses if list(protocol.decide(pose, ()))]
    truth, _ = mouse4cam.triangulate(rig, mouse4cam.corrected(rig.cameras, names)[1])
    above = truth[:, names.index("Head"), 2] > rig.protocols["head_up"].options.box[0][2]
    came_up = [frame for frame in HELD_OUT if above[frame] and not above[frame - 1]]
    assert acted
    assert all(min(abs(frame - there) for there in came_up) <= 2 for frame in acted)
