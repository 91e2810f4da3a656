"""A whole rig of three calibrated cameras: a protocol acts on a place in the world; a camera that was moved is told."""

import json
from pathlib import Path

import worldrigs
from rigs import poseloop, processes_in

BOARD = """
[boards.box]
use = "sim"
[boards.box.lines.laser]
pin = 9
max_on_ms = 50
[gates]
age_ms = 2000
skew_ms = 50
[protocols.task]
use = "region"
keypoint = "snout"
space = "world"
box = [[-400, -400, -20], [400, 400, 80]]
when = "dwell"
dwell_ms = 2000
output = "box.laser"
"""


def test_a_protocol_acts_on_a_place_in_the_world_and_a_moved_camera_is_told(tmp_path: Path) -> None:
    rig = worldrigs.write(tmp_path, "left", "right", "back", frames=120, extra=BOARD)
    # In real time, at a rate that a busy machine keeps.
    text = rig.read_text(encoding="utf-8").replace('pace = "none"', "").replace("fps = 50", "fps = 20")
    rig.write_text(text.replace('frames = "every"', 'frames = "newest"'), encoding="utf-8")
    worldrigs.turn(tmp_path, "right", 3)
    done = poseloop("run", rig, "--report", "r.json", "--headless", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert processes_in(tmp_path) == {}
    report = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert report["latency_ms"]["triangulate"]["n"] == report["frames"]["processed"]
    assert report["triggers"]["acknowledged"] > 0, report["refusals"]
    assert list(report["world"]["moved"]) == ["right"]
    assert "camera right: its views are" in done.stdout
    # While it ran, once.
    assert done.stderr.count("camera right: its views are") == 1
