"""The benchmark of triangulation runs, and says what it should."""

import json
import subprocess
import sys
from pathlib import Path


def test_it_measures_and_reports(tmp_path: Path) -> None:
    command = (sys.executable, "-m", "poseloop.bench.triangulation", "--rounds", "20", "--points", "2000")
    done = subprocess.run([*command, "--report", "r.json"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert {"4 views, clean", "4 views, one of every point lies", "OpenCV, 2 of the views, clean"} <= set(report["us"])
    clean, spoilt = report["errors"]["0%"], report["errors"]["20%"]
    assert clean["lies_median_mm"] == clean["left_out_median_mm"]
    assert spoilt["lies_median_mm"] < 1.2 * clean["lies_median_mm"]
    assert spoilt["lies_given_up"] < 0.05
