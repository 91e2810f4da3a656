"""Whole rigs as a user runs them: the command in a process of its own, looked at from outside."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

POSELOOP = (sys.executable, "-m", "poseloop.live.cli")

SIMULATED = """
name = "test"
[cameras.top]
use = "sim"
fps = 60
[model]
file = "simulated_animal"
[publish]
poses = "tcp://127.0.0.1:*"
health = "tcp://127.0.0.1:*"
previews = "tcp://127.0.0.1:*"
[boards.box]
use = "sim"
lease_ms = 100
trace = "edges.jsonl"
[boards.box.lines.laser]
pin = 9
kinds = ["pulse", "level"]
max_on_ms = 60000
[protocols.task]
"""

ALWAYS_INSIDE = """
use = "always.py:On"
"""

ALWAYS = '''
from poseloop.protocols import Protocol


class On(Protocol):
    """Switches the laser on and never off; asks again, since a gate or a lapse may have kept it off."""

    outputs = ("box.laser",)

    def decide(self, pose, events):
        return (self.on("box.laser"),) if pose.index % 5 == 0 else ()
'''

CORNER = """
use = "region"
keypoint = "snout"
polygon = [[160, 120], [320, 120], [320, 240], [160, 240]]
output = "box.laser"
pulse_ms = 20
"""


def write_rig(folder: Path, protocol: str = CORNER, text: str = SIMULATED) -> Path:
    """Write a rig file and the user's own protocol beside it."""
    rig = folder / "rig.toml"
    rig.write_text(text + protocol, encoding="utf-8")
    (folder / "always.py").write_text(ALWAYS, encoding="utf-8")
    return rig


def poseloop(*arguments: object, cwd: Path, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [*POSELOOP, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False
    )


@contextlib.contextmanager
def running(*arguments: object, cwd: Path) -> Iterator[subprocess.Popen[str]]:
    """Run the command in a session of its own, as a terminal would, and end it whatever happens."""
    process = subprocess.Popen(
        [*POSELOOP, *map(str, arguments)],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def processes_in(folder: Path) -> dict[str, psutil.Process]:
    """What runs with ``folder`` as its working directory: short name → process."""
    found = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE and process.cwd() == str(folder):
                words = process.cmdline()
                found[words[-1] if "poseloop.live.process" in words else words[2] if len(words) > 2 else "?"] = process
    return found


def edges(folder: Path) -> list[dict]:
    """What the simulated board's pins did."""
    file = folder / "edges.jsonl"
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def is_on(folder: Path) -> bool:
    """Is the board's line on, as far as its pins have told?"""
    found = edges(folder)
    return bool(found) and bool(found[-1]["active"])


def wait_for(condition, timeout_s: float = 30.0) -> None:
    """Wait until it holds; fail the test if it never does."""
    ends = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < ends, "waited in vain"
        time.sleep(0.002)
