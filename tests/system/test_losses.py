"""Cameras, networks, disks and terminals that fail in mid-run: the rig goes on or stops, and says what happened."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from rigs import ALWAYS_INSIDE, POSELOOP, SIMULATED, edges, is_on, poseloop, processes_in, write_rig

resource = pytest.importorskip("resource")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="POSIX signals and limits, /dev/full")

CAMERAS = Path(__file__).parents[1] / "cameras.py"


def with_camera(kind: str, *, second: bool) -> str:
    """The simulated rig with one of tests/cameras.py as its camera, or as a second one."""
    use = f'use = "{CAMERAS.as_posix()}:{kind}"'
    if not second:
        return SIMULATED.replace('use = "sim"\nfps', f"{use}\nfps", 1)
    return SIMULATED.replace("[model]", f"[cameras.side]\n{use}\nfps = 60\n[model]", 1)


def off(folder: Path) -> bool:
    found = edges(folder)
    return bool(found) and not found[-1]["active"]


def test_a_network_that_fails_stops_the_rig_with_outputs_off(tmp_path: Path) -> None:
    rig = write_rig(tmp_path, ALWAYS_INSIDE, with_camera("Sabotages", second=False))
    done = poseloop("run", rig, "--headless", "--report", "r.json", cwd=tmp_path)
    assert done.returncode == 1
    assert "'simulated_animal' on 'cpu' failed" in done.stderr
    assert "CUDA failure 719" in done.stderr
    assert off(tmp_path)
    frames = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["frames"]
    assert frames["captured"] == frames["processed"] + sum(frames["dropped"].values())
    assert frames["dropped"]["failed"] == 1
    assert processes_in(tmp_path) == {}


def test_a_network_that_hangs_loses_the_lease_and_is_left_behind(tmp_path: Path) -> None:
    rig = write_rig(tmp_path, ALWAYS_INSIDE, with_camera("Stalls", second=False))
    done = poseloop("run", rig, "--seconds", 4, "--headless", "--report", "r.json", cwd=tmp_path)
    assert done.returncode == 1
    assert "'simulated_animal' on 'cpu': expected to have run on set" in done.stderr
    assert "was killed" not in done.stderr
    assert not is_on(tmp_path)
    frames = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["frames"]
    assert frames["captured"] == frames["processed"] + sum(frames["dropped"].values())
    assert frames["dropped"]["failed"] == 1
    assert processes_in(tmp_path) == {}


def test_a_lost_camera_leaves_gaps_that_hold_commands_back_and_comes_back(tmp_path: Path) -> None:
    rig = write_rig(tmp_path, ALWAYS_INSIDE, with_camera("Returns", second=True))
    done = poseloop("run", rig, "--seconds", 4, "--headless", "--report", "r.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "camera side: is gone (side: the camera was unplugged)" in done.stderr
    assert "camera side: delivers again" in done.stderr
    report = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert report["refusals"]["held: incomplete set"] > 0
    side = report["cameras"]["side"]
    assert (side["state"], side["restarts"]) == ("ok", 1)
    assert side["missing"] > 0
    assert side["captured"] == side["processed"] + sum(side["dropped"].values())
    assert report["skew_ms"]["n"] == report["frames"]["processed"]
    assert not edges(tmp_path) or off(tmp_path)


def test_a_hung_camera_is_told_of_left_behind_and_makes_the_run_fail(tmp_path: Path) -> None:
    rig = write_rig(tmp_path, ALWAYS_INSIDE, with_camera("Hangs", second=True))
    done = poseloop("run", rig, "--seconds", 3, "--headless", "--report", "r.json", cwd=tmp_path)
    assert done.returncode == 1
    assert "camera side: delivers nothing" in done.stderr
    assert "camera side: hangs in its driver" in done.stderr
    assert "was killed" not in done.stderr
    report = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert report["cameras"]["side"]["state"] == "hung"
    assert report["frames"]["processed"] > 60
    assert processes_in(tmp_path) == {}


def test_a_run_without_any_pulse_ends_when_its_time_is_over(tmp_path: Path) -> None:
    """A rig whose trigger wire is not plugged in must not hold up whoever runs one session after the other."""
    rig = write_rig(tmp_path, ALWAYS_INSIDE, with_camera("Untriggered", second=False))
    done = poseloop("run", rig, "--seconds", 1, "--headless", "--report", "r.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "camera top: delivers nothing; is it triggered?" in done.stderr
    assert "stopped before the first frame" in done.stdout
    report = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert report["ended"] == "the time was over"
    assert (report["frames"]["captured"], report["triggers"]["sent"]) == (0, 0)
    assert processes_in(tmp_path) == {}


@pytest.mark.parametrize("full", ["stdout", "stderr"])
def test_a_full_disk_under_the_output_is_an_error_and_outputs_are_off(full: str, tmp_path: Path) -> None:
    rig = write_rig(tmp_path, ALWAYS_INSIDE)
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with open("/dev/full", "w") as sink:  # noqa: PTH123 - a device, not a path
        streams[full] = sink
        command = [*POSELOOP, "run", str(rig), "--seconds", "3", "--report", "r.json"]
        done = subprocess.run(command, cwd=tmp_path, **streams, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "Traceback" not in (done.stderr or "")
    assert processes_in(tmp_path) == {}
    if full == "stderr":
        assert not edges(tmp_path), "what cannot say that it starts does not start"
        return
    assert "No space left on device" in done.stderr
    assert off(tmp_path)
    frames = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["frames"]
    assert frames["captured"] == frames["processed"] + sum(frames["dropped"].values())


def test_a_report_that_does_not_fit_on_the_disk_is_an_error(tmp_path: Path) -> None:
    """No file may grow beyond 1500 bytes: the pins' few edges fit, the report does not."""
    rig = write_rig(tmp_path, ALWAYS_INSIDE)
    done = subprocess.run(
        [*POSELOOP, "run", str(rig), "--seconds", "2", "--report", "r.json", "--headless"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500)),
    )
    assert done.returncode == 1
    assert "r.json: the report cannot be written: File too large" in done.stderr
    assert not list(tmp_path.glob("r.json*"))
    assert off(tmp_path)


@pytest.mark.parametrize("refused", ["stop", "warn"])
def test_what_the_system_refuses_stops_the_start_or_is_told_as_the_rig_says(refused: str, tmp_path: Path) -> None:
    asks = f'[realtime]\nengine_cores = [4000]\nrefused = "{refused}"\n[protocols.task]'
    rig = write_rig(tmp_path, ALWAYS_INSIDE, SIMULATED.replace("[protocols.task]", asks))
    done = poseloop("run", rig, "--seconds", 1, "--headless", cwd=tmp_path)
    assert done.returncode == (1 if refused == "stop" else 0), done.stderr
    assert "realtime.cores: expected some of the cores" in done.stderr
    assert processes_in(tmp_path) == {}
