"""`poseloop run` from a simulated animal to the far end of a way out that this computer times."""

import json
import os
import signal
import sys
from pathlib import Path

import pytest
from rigs import ALWAYS_INSIDE, SIMULATED, poseloop, processes_in, running, wait_for, write_rig
from ways import OpenEphys, OscReceiver, Sketch, edges

SIM_BOARD = 'use = "sim"\nlease_ms = 100\ntrace = "edges.jsonl"\n'

posix = pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals and POSIX signals")


PULSES = """
from poseloop.protocols import Protocol


class Often(Protocol):
    outputs = ("box.laser",)

    def decide(self, pose, events):
        return (self.pulse("box.laser", on_ms=20),) if pose.index % 10 == 0 else ()
"""


def rig_with(folder: Path, board: str, protocol: str = '\nuse = "pulses.py:Often"\n') -> Path:
    """The simulated rig with another board in place of its own."""
    (folder / "pulses.py").write_text(PULSES, encoding="utf-8")
    assert SIM_BOARD in SIMULATED
    text = SIMULATED.replace(SIM_BOARD, f'lease_ms = 100\ntimed_by = "host"\n{board}').replace("pin = 9\n", "")
    return write_rig(folder, protocol, text)


def sketch(port: str) -> str:
    return f'use = "serial"\nport = "{port}"\nstarts_s = 0\nbytes.laser = {{ on = "H", off = "L" }}\n'


def test_each_trigger_is_a_ttl_event_that_open_ephys_has_confirmed(tmp_path: Path) -> None:
    with OpenEphys() as plugin:
        board = f'use = "openephys"\nendpoint = "{plugin.endpoint}"\nttl = {{ laser = 3 }}\n'
        rig = rig_with(tmp_path, board)
        done = poseloop("run", rig, "--seconds", 8, "--report", "r.json", "--headless", cwd=tmp_path)
        seen = edges(plugin.seen)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    triggers = report["triggers"]
    assert triggers["sent"] == triggers["acknowledged"] + triggers["refused"] + triggers["lost"]
    assert triggers["acknowledged"] > 0
    assert "frame_to_pin" not in report["latency_ms"] or report["latency_ms"]["frame_to_pin"]["n"] == 0
    # One that was confirmed too late counts as lost, but was an event.
    assert triggers["acknowledged"] <= sum(edge.on for edge in seen) <= triggers["acknowledged"] + triggers["lost"]
    assert not seen[-1].on
    assert processes_in(tmp_path) == {}


def test_where_nothing_can_answer_no_trigger_counts_as_acknowledged(tmp_path: Path) -> None:
    with OscReceiver() as ear:
        rig = rig_with(tmp_path, f'use = "osc"\nport = {ear.port}\naddresses.laser = "/laser"\n')
        done = poseloop("run", rig, "--seconds", 8, "--report", "r.json", "--headless", cwd=tmp_path)
        seen = edges(ear.seen)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert report["triggers"]["acknowledged"] == 0
    assert report["triggers"]["lost"] >= sum(edge.on for edge in seen) > 0
    assert "it was sent, but nothing on this way out can confirm it" in report["refusals"]
    assert not seen[-1].on


@posix
@pytest.mark.parametrize("victim", ["host", "engine", "supervisor", "keeper"])
def test_kill_9_of_any_process_switches_the_line_off(victim: str, tmp_path: Path) -> None:
    with Sketch() as far:
        rig = rig_with(tmp_path, sketch(far.port), ALWAYS_INSIDE)
        with running("run", rig, "--headless", cwd=tmp_path) as process:
            wait_for(lambda: edges(far.seen) and edges(far.seen)[-1].on)
            os.kill(process.pid if victim == "supervisor" else processes_in(tmp_path)[victim].pid, signal.SIGKILL)
            wait_for(lambda: not edges(far.seen)[-1].on)
            wait_for(lambda: not processes_in(tmp_path))
            _, stderr = process.communicate(timeout=30)
        assert not edges(far.seen)[-1].on
    if victim == "keeper":
        assert "was killed; its lines were switched off" in stderr
    if victim != "supervisor":
        assert process.returncode == 1


@posix
def test_ctrl_c_switches_off(tmp_path: Path) -> None:
    with Sketch() as far:
        rig = rig_with(tmp_path, sketch(far.port), ALWAYS_INSIDE)
        with running("run", rig, "--headless", cwd=tmp_path) as process:
            wait_for(lambda: edges(far.seen) and edges(far.seen)[-1].on)
            process.send_signal(signal.SIGINT)
            _, stderr = process.communicate(timeout=30)
        assert process.returncode == 0, stderr
        wait_for(lambda: not edges(far.seen)[-1].on)
    assert processes_in(tmp_path) == {}


@posix
def test_a_cable_that_is_pulled_ends_the_run_and_says_that_a_line_may_be_on(tmp_path: Path) -> None:
    with Sketch() as far:
        rig = rig_with(tmp_path, sketch(far.port), ALWAYS_INSIDE)
        with running("run", rig, "--headless", cwd=tmp_path) as process:
            wait_for(lambda: edges(far.seen) and edges(far.seen)[-1].on)
            far.unplug()
            _, stderr = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "MAY STILL BE ON" in stderr
    assert "Traceback" not in stderr


def test_a_board_that_is_not_there_is_one_clear_error(tmp_path: Path) -> None:
    done = poseloop("run", rig_with(tmp_path, sketch("/dev/absent")), "--seconds", 2, "--headless", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("poseloop: error:") == 1
    assert "Traceback" not in done.stderr
    for part in ("box", "/dev/absent"):
        assert part in done.stderr
    assert processes_in(tmp_path) == {}
