"""The benchmark of `poseloop predict` runs, and says what it should."""

import json
import subprocess
import sys
from pathlib import Path

import recordings
from tinymodels import Tiny

from poseloop.live.types import Colour


def test_it_measures_and_reports(tmp_path: Path) -> None:
    Tiny(colour=Colour.RGB, keypoints=recordings.NAMES).save(tmp_path)
    recordings.write(tmp_path / "a.mkv", recordings.moving(12))
    command = (sys.executable, "-m", "poseloop.bench.predict", "--model", "tiny.onnx", "--video", "a.mkv")
    more = ("--frames", "8", "--rounds", "2", "--report", "r.json")
    done = subprocess.run([*command, *more], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert report["frames"] == 8
    assert len(report["ratios"]) == 2
    assert report["ratio"] > 0
