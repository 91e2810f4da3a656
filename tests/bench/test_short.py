"""Every benchmark runs from its command line to its report, in its short mode: none rots."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from repository import ROOT

from poseloop.bench.command import benchmarks
from poseloop.bench.short import SHORT
from poseloop.bench.target_runs import RUNS

ELSEWHERE = {
    "calibration": "test_calibration.py",
    "limits": "test_limits.py",
    "peers.dlclive": "peers/test_peers.py",
    "peers.environments": "peers/test_peers.py",
    "peers.kalman": "peers/test_peers.py",
    "peers.sleapnn": "peers/test_sleapnn.py",
    "refine": "test_refine.py",
    "targets": "test_targets.py",
    "wire": "test_wire.py",
}
"""Whose own test runs it so and looks at what it says."""
NEEDED = {
    "curves": ("curves.png",),
    "mouse4cam": ("--rig", ROOT / "docs" / "rigs" / "mouse4cam.toml"),
}
"""What has no default."""
MARKED = {
    "closedloop": pytest.mark.firmware,
    "decoder": pytest.mark.tensorflow,
    "train": pytest.mark.tensorflow,
}


def test_every_benchmark_has_a_short_mode_and_every_run_a_benchmark() -> None:
    assert set(benchmarks()) - set(SHORT) == set()
    assert {run.bench for run in RUNS} <= set(benchmarks())
    for name in ELSEWHERE.keys() & benchmarks():
        assert name in (Path(__file__).parent / ELSEWHERE[name]).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=MARKED.get(name, ())) for name in benchmarks() if name not in ELSEWHERE]
)
def test_it_runs(name: str, data: Path, tmp_path: Path) -> None:
    words = (*NEEDED.get(name, ()), "--short", "--report", "report.json")
    command = (sys.executable, "-m", "poseloop.live.cli", "bench", name, *words)
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["versions"]["poseloop"]
    assert report["machine"]["cores"] > 0
    assert report["short"], "its numbers can be taken for a measurement"
    assert len(report) > 3, "it measured nothing"
