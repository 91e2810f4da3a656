"""The four-Basler rig of the documentation, on the cameras that pylon emulates, with pulses at its trigger inputs."""

import json
import time
from pathlib import Path

import pytest
from repository import ROOT
from rigs import poseloop, processes_in

from poseloop.bench import cameras as bench
from poseloop.drivers.pylon.camera import BaslerCamera
from poseloop.live.config import Rig, parse_rig

RIG = ROOT / "docs" / "rigs" / "basler4.toml"

ANY_PORT = """
[publish]
poses = "tcp://127.0.0.1:*"
health = "tcp://127.0.0.1:*"
previews = "tcp://127.0.0.1:*"
"""


@pytest.fixture
def rig() -> Rig:
    return parse_rig(RIG.read_text(encoding="utf-8") + ANY_PORT, RIG)


@pytest.mark.parametrize("inference", [False, True])
def test_every_pulse_is_a_set_and_every_frame_is_accounted_for(rig: Rig, inference: bool) -> None:
    result = bench.measure(rig, fps=100, count=150, inference=inference)
    assert result["pulses"] == 150
    assert result["sets"]["captured"] == 150
    assert result["unaccounted"] == {"sets": 0, "frames": 0}
    assert result["failed_buffers"] == 0
    for counts in result["cameras"].values():
        assert counts["captured"] == counts["processed"] + sum(counts["dropped"].values())
    # The cameras' own clock says when: an exposure lasts half a millisecond, a pulse comes every ten.
    assert result["skew_ms"]["p50"] < 10


def test_a_buffer_that_fails_leaves_a_gap_in_its_set_alone(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    start = BaslerCamera.start

    def start_and_fail(camera: BaslerCamera, trigger: str) -> None:
        start(camera, trigger)
        if camera.name == "side":
            camera.device.ForceFailedBufferCount.Value = 5
            camera.device.ForceFailedBuffer.Execute()

    monkeypatch.setattr(BaslerCamera, "start", start_and_fail)
    result = bench.measure(rig, fps=50, count=60, inference=False)
    assert result["sets"]["captured"] == result["pulses"] == 60
    assert result["failed_buffers"] == 5
    # A camera's loss is no other's; on a busy machine a frame may come after its set was closed.
    assert result["cameras"]["side"]["lost"] == 5
    assert result["cameras"]["top"]["lost"] == 0
    assert result["sets"]["incomplete"] >= 5
    assert result["unaccounted"] == {"sets": 0, "frames": 0}


def test_devices_lists_every_camera_with_model_and_serial_number(tmp_path: Path) -> None:
    done = poseloop("devices", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for number in range(4):
        assert f"Emulation, serial 0815-000{number} (CamEmu)" in done.stdout
    assert "opencv" in done.stdout


def test_the_rig_runs_as_typed_when_the_cameras_run_free(tmp_path: Path) -> None:
    text = RIG.read_text(encoding="utf-8")
    assert 'trigger = "hardware"' in text
    (tmp_path / "rig.toml").write_text(text.replace('trigger = "hardware"', 'trigger = "free"') + ANY_PORT, "utf-8")
    began = time.monotonic()
    done = poseloop("run", "rig.toml", "--headless", "--seconds", 2, "--report", "r.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - began > 2
    assert processes_in(tmp_path) == {}
    report = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert set(report["cameras"]) == {"back", "mid", "side", "top"}
    assert all(counts["captured"] > 50 for counts in report["cameras"].values())
