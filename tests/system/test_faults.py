"""Whatever dies or is interrupted, outputs go off and nothing stays behind."""

import json
import random
import signal
import sys
import time
from pathlib import Path

import pytest
from rigs import ALWAYS_INSIDE, edges, poseloop, processes_in, running, wait_for, write_rig

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

LEASE_MS = 100


def is_on(folder: Path) -> bool:
    found = edges(folder)
    return bool(found) and bool(found[-1]["active"])


@pytest.mark.parametrize("victim", ["host", "engine", "supervisor"])
def test_kill_9_of_any_process_switches_a_leased_level_off(victim: str, tmp_path: Path) -> None:
    with running("run", write_rig(tmp_path, ALWAYS_INSIDE), "--headless", cwd=tmp_path) as process:
        wait_for(lambda: is_on(tmp_path))
        # A moment later, so that the lease has been renewed and not just begun.
        time.sleep(0.5)
        assert is_on(tmp_path)
        target = process.pid if victim == "supervisor" else processes_in(tmp_path)[victim].pid
        killed_ns = time.perf_counter_ns()
        signal_kill(target)
        wait_for(lambda: not is_on(tmp_path))
        went_off_ns = edges(tmp_path)[-1]["host_ns"]
        assert (went_off_ns - killed_ns) / 1e6 <= LEASE_MS + 50
        wait_for(lambda: not processes_in(tmp_path))
        _, stderr = process.communicate(timeout=30)
        if victim != "supervisor":
            assert process.returncode == 1
            assert f"the {victim} process ended by itself" in stderr


def signal_kill(pid: int) -> None:
    import os

    os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_still_tells_what_happened(number: signal.Signals, tmp_path: Path) -> None:
    rig = write_rig(tmp_path, ALWAYS_INSIDE)
    with running("run", rig, "--headless", "--report", "r.json", cwd=tmp_path) as process:
        wait_for(lambda: is_on(tmp_path))
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 0, stderr
    assert "captured" in stdout
    assert not is_on(tmp_path)
    frames = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["frames"]
    assert frames["captured"] == frames["processed"] + sum(frames["dropped"].values())
    assert processes_in(tmp_path) == {}


def test_ctrl_c_at_random_moments_leaves_nothing_running_and_outputs_off(tmp_path: Path) -> None:
    """20 moments from the first import to well into the run."""
    rig = write_rig(tmp_path, ALWAYS_INSIDE)
    moments = random.Random(0)
    for _ in range(20):
        (tmp_path / "edges.jsonl").unlink(missing_ok=True)
        after_s = moments.uniform(0.0, 3.0)
        with running("run", rig, "--headless", cwd=tmp_path) as process:
            time.sleep(after_s)
            process.send_signal(signal.SIGINT)
            stdout, stderr = process.communicate(timeout=30)
        context = f"after {after_s:.3f} s: exit code {process.returncode}\n{stdout}\n{stderr}"
        wait_for(lambda: not processes_in(tmp_path), 5)
        assert not is_on(tmp_path), context


def test_a_second_run_finds_everything_free(tmp_path: Path) -> None:
    rig = write_rig(tmp_path)
    text = rig.read_text(encoding="utf-8").replace('poses = "tcp://127.0.0.1:*"', 'poses = "tcp://127.0.0.1:46570"')
    rig.write_text(text, encoding="utf-8")
    for _ in range(2):
        done = poseloop("run", rig, "--seconds", 1, "--headless", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
