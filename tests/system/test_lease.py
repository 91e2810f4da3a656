"""How soon outputs go off when a process of the rig is killed: by the board's lease, in real time."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest
from rigs import ALWAYS_INSIDE, edges, is_on, processes_in, running, wait_for, write_rig

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

LEASE_MS = 100


@pytest.mark.parametrize("victim", ["host", "engine", "supervisor"])
def test_kill_9_of_any_process_switches_a_leased_level_off(victim: str, tmp_path: Path) -> None:
    with running("run", write_rig(tmp_path, ALWAYS_INSIDE), "--headless", cwd=tmp_path) as process:
        wait_for(lambda: is_on(tmp_path))
        # A moment later, so that the lease has been renewed and not just begun.
        time.sleep(0.5)
        wait_for(lambda: is_on(tmp_path))
        target = process.pid if victim == "supervisor" else processes_in(tmp_path)[victim].pid
        killed_ns = time.perf_counter_ns()
        os.kill(target, signal.SIGKILL)
        wait_for(lambda: not is_on(tmp_path))
        went_off_ns = edges(tmp_path)[-1]["host_ns"]
        assert (went_off_ns - killed_ns) / 1e6 <= LEASE_MS + 50
        wait_for(lambda: not processes_in(tmp_path))
        _, stderr = process.communicate(timeout=30)
        if victim != "supervisor":
            assert process.returncode == 1
            assert f"the {victim} process was killed" in stderr
