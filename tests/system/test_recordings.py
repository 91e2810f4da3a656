"""The rig files of the documentation, on the recordings that they name."""

import json
from pathlib import Path

import pytest
from repository import ROOT
from rigs import poseloop, processes_in

RIGS = ROOT / "docs" / "rigs"


def run(rig: str, folder: Path, *arguments: object) -> dict:
    done = poseloop("run", RIGS / rig, "--headless", "--report", "r.json", *arguments, cwd=folder, timeout=300)
    assert done.returncode == 0, done.stderr
    assert processes_in(folder) == {}
    return json.loads((folder / "r.json").read_text(encoding="utf-8"))


def test_a_recorded_mouse_walks_into_a_region_and_a_pulse_goes_out(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSELOOP_DATA", str(data.resolve()))
    report = run("openfield.toml", tmp_path)
    frames = report["frames"]
    assert frames["captured"] == 2330
    assert frames["processed"] + sum(frames["dropped"].values()) == 2330
    assert report["cameras"]["top"]["lost"] == 0
    triggers = report["triggers"]
    # On a machine that is not busy with something else, all are acknowledged and none is held.
    assert triggers["sent"] == triggers["acknowledged"] + triggers["refused"] + triggers["lost"]
    assert triggers["acknowledged"] > 0
    assert report["latency_ms"]["frame_to_pin"]["n"] == triggers["acknowledged"]
    assert report["ended"] == "the recordings have ended"
    # 2330 frames at 30 fps: the last one is due 77.6 s after the first.
    assert report["seconds"] > 77


def test_as_fast_as_possible_skips_no_frame(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSELOOP_DATA", str(data.resolve()))
    report = run("tracktor.toml", tmp_path)
    assert report["frames"] == {"captured": 10000, "processed": 10000, "dropped": {}, "incomplete": 0}
