"""The benchmark of the wire runs, and says what it should."""

import json
from pathlib import Path

import pytest

from poseloop.bench import wire
from poseloop.live import cli
from poseloop.live.output.wire import Wire, unpack_pose


@pytest.mark.parametrize("cameras", [1, 4])
def test_its_poses_hold_all_that_a_pose_can_hold(cameras: int) -> None:
    pose = unpack_pose(Wire().pose(wire.make_pose(cameras, 12)))
    assert pose.keypoints.xy.shape == (cameras, 1, 12, 2)
    assert (pose.xyz is None) == (cameras == 1)
    assert pose.predicted_for_ns


def test_every_size_goes_there_and_back(tmp_path: Path) -> None:
    report = tmp_path / "wire.json"
    assert cli.main(["bench", "wire", "--short", "--report", str(report)]) == 0
    rows = json.loads(report.read_text())["rows"]
    assert [(row["cameras"], row["keypoints"]) for row in rows] == [(c, k) for c in (1, 4) for k in (4, 12, 40)]
    for row in rows:
        assert row["ms"]["pose there and back"]["n"] == 3
        assert row["ms"]["pack"]["p50"] > 0
    assert rows[-1]["bytes"] > rows[0]["bytes"]
