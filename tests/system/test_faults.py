"""Whatever dies or is interrupted, outputs go off and nothing stays behind."""

import json
import os
import random
import signal
import socket
import sys
import time
from pathlib import Path

import pytest
from rigs import ALWAYS_INSIDE, SIMULATED, edges, is_on, poseloop, processes_in, running, wait_for, write_rig

from poseloop.live.supervisor import Stop, Supervisor

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")


def kill_9(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)])
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


def test_a_supervisor_that_is_paused_holds_up_nobody(tmp_path: Path) -> None:
    """Ctrl-Z in the terminal, or a window that is dragged: the loop and its lease go on without it."""
    rig = write_rig(tmp_path, ALWAYS_INSIDE)
    with running("run", rig, "--headless", "--report", "r.json", cwd=tmp_path) as process:
        wait_for(lambda: is_on(tmp_path))
        process.send_signal(signal.SIGSTOP)
        time.sleep(1.5)
        wait_for(lambda: is_on(tmp_path))
        process.send_signal(signal.SIGCONT)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == 0, stderr
    assert not is_on(tmp_path)
    assert json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["poses"]["decided"] > 0


@pytest.mark.parametrize("count", [7, pytest.param(20, marks=pytest.mark.slow)])
def test_asked_to_end_at_random_moments_it_leaves_nothing_running_and_outputs_off(tmp_path: Path, count: int) -> None:
    """Moments from the first import to well into the run."""
    rig = write_rig(tmp_path, ALWAYS_INSIDE)
    with running("run", rig, "--headless", cwd=tmp_path) as process:
        began = time.monotonic()
        wait_for(lambda: is_on(tmp_path))
        until_on_s = time.monotonic() - began
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    moments, was_on = random.Random(0), 0
    for _ in range(count):
        (tmp_path / "edges.jsonl").unlink(missing_ok=True)
        after_s = moments.uniform(0.0, 2.5 * until_on_s)
        with running("run", rig, "--headless", cwd=tmp_path) as process:
            time.sleep(after_s)
            process.send_signal(moments.choice((signal.SIGINT, signal.SIGTERM)))
            stdout, stderr = process.communicate(timeout=30)
        context = f"after {after_s:.3f} s: exit code {process.returncode}\n{stdout}\n{stderr}"
        wait_for(lambda: not processes_in(tmp_path), 5)
        assert not is_on(tmp_path), context
        was_on += bool(edges(tmp_path))
    assert was_on >= count // 7, "expected the laser to have been on in some of the runs, or nothing was tested"


HANGS = """
import time
from poseloop.protocols import Protocol


class Hangs(Protocol):
    outputs = ("box.laser",)
    n = 0

    def decide(self, pose, events):
        self.n += 1
        while self.n > 30:
            time.sleep(0.01)
        return (self.on("box.laser"),) if self.n % 5 == 0 else ()
"""


def hanging_rig(folder: Path) -> Path:
    rig = write_rig(folder, '\nuse = "hangs.py:Hangs"\n')
    (folder / "hangs.py").write_text(HANGS, encoding="utf-8")
    return rig


def test_a_protocol_that_hangs_loses_its_lease_and_is_told_of(tmp_path: Path) -> None:
    with running("run", hanging_rig(tmp_path), "--headless", cwd=tmp_path) as process:
        wait_for(lambda: is_on(tmp_path))
        wait_for(lambda: not is_on(tmp_path), 5)
        assert processes_in(tmp_path)
        line = process.stderr.readline() if process.stderr else ""
        assert "a protocol hangs" in line
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "the host process was killed" in stderr
    wait_for(lambda: not processes_in(tmp_path), 5)


def test_a_hung_protocol_does_not_outlive_a_killed_supervisor(tmp_path: Path) -> None:
    with running("run", hanging_rig(tmp_path), "--headless", cwd=tmp_path) as process:
        wait_for(lambda: is_on(tmp_path))
        wait_for(lambda: not is_on(tmp_path), 5)
        kill_9(process.pid)
        wait_for(lambda: not processes_in(tmp_path), 15)


def test_a_protocol_that_exits_is_disabled_like_any_other_that_fails(tmp_path: Path) -> None:
    rig = write_rig(tmp_path, '\nuse = "exits.py:Exits"\n')
    source = HANGS.replace("Hangs", "Exits").replace("time.sleep(0.01)", "raise SystemExit(3)")
    (tmp_path / "exits.py").write_text(source, encoding="utf-8")
    done = poseloop("run", rig, "--seconds", 2, "--report", "r.json", "--headless", cwd=tmp_path)
    assert done.returncode == 1
    report = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert report["protocols"]["task"].startswith("SystemExit: 3 (exits.py, line")
    assert not is_on(tmp_path)


def test_a_fault_in_mid_run_still_leaves_a_report(tmp_path: Path) -> None:
    rig = write_rig(tmp_path, ALWAYS_INSIDE)
    with running("run", rig, "--headless", "--report", "r.json", cwd=tmp_path) as process:
        wait_for(lambda: is_on(tmp_path))
        kill_9(processes_in(tmp_path)["host"].pid)
        stdout, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    report = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert report["frames"]["captured"] > 0
    assert "the host process was killed" in report["error"]
    assert "captured" in stdout


def test_a_listener_that_fails_does_not_keep_the_processes_alive(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    rig = write_rig(tmp_path)

    def fail(process: str, message: dict) -> None:
        raise OSError("no space left on device")

    supervisor = Supervisor(rig.read_text(encoding="utf-8"), rig, fail)
    supervisor.run(None, Stop())
    assert "no space left on device" in str(supervisor.error)
    assert [name for name in processes_in(tmp_path) if name in ("engine", "host")] == []


def test_terminating_the_host_alone_switches_off_at_once(tmp_path: Path) -> None:
    """With a lease of five seconds, so that it is not the lease that does it."""
    text = SIMULATED.replace("lease_ms = 100", "lease_ms = 5000")
    with running("run", write_rig(tmp_path, ALWAYS_INSIDE, text), "--headless", cwd=tmp_path) as process:
        wait_for(lambda: is_on(tmp_path))
        asked_ns = time.perf_counter_ns()
        processes_in(tmp_path)["host"].terminate()
        wait_for(lambda: not is_on(tmp_path))
        assert edges(tmp_path)[-1]["host_ns"] - asked_ns < 2e9
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "the host ended by itself" in stderr


def test_a_second_run_finds_everything_free(tmp_path: Path) -> None:
    rig = write_rig(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as free:
        poses = f'poses = "tcp://127.0.0.1:{free.getsockname()[1]}"'
    text = rig.read_text(encoding="utf-8").replace('poses = "tcp://127.0.0.1:*"', poses)
    rig.write_text(text, encoding="utf-8")
    for _ in range(2):
        done = poseloop("run", rig, "--seconds", 1, "--headless", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
