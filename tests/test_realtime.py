"""What is asked of the operating system is got, or it is said what was refused. Each case in a process of its own."""

import json
import os
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from poseloop.live import realtime
from poseloop.live.config import Realtime

LIMIT = Path("/dev/cpu_dma_latency")
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="asks Linux")

SCRIPT = """
import json, os, resource, sys, threading
from poseloop.live.config import Realtime
from poseloop.live.realtime import apply
values, poor = json.loads(sys.argv[1]), sys.argv[2] == "poor"
if poor:
    for limit in (resource.RLIMIT_RTPRIO, resource.RLIMIT_NICE, resource.RLIMIT_MEMLOCK):
        resource.setrlimit(limit, (0, 0))
    if os.geteuid() == 0:
        os.setresuid(65534, 65534, 65534)
settings = Realtime(**values)
warnings = apply(settings, settings.engine_cores)
found = {}
def look():
    found.update(policy=os.sched_getscheduler(0), nice=os.getpriority(os.PRIO_PROCESS, 0),
                 cores=sorted(os.sched_getaffinity(0)))
thread = threading.Thread(target=look)
thread.start()
thread.join()
locked = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmLck"))
print(json.dumps({"warnings": warnings, "locked_kb": int(locked), **found}))
"""


def ask(poor: bool = False, **values: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", SCRIPT, json.dumps(values), "poor" if poor else "rich"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def may_all() -> bool:
    return sys.platform == "linux" and os.geteuid() == 0


@LINUX
def test_threads_run_on_the_cores_that_were_asked_for() -> None:
    core = max(os.sched_getaffinity(0))
    done = ask(engine_cores=[core])
    assert json.loads(done.stdout)["cores"] == [core], done.stderr


@pytest.mark.skipif(not may_all(), reason="needs permission")
def test_what_is_permitted_is_got() -> None:
    found = json.loads(ask(priority="realtime", lock_memory=True).stdout)
    assert found["policy"] == os.SCHED_FIFO
    assert found["locked_kb"] > 1000
    assert json.loads(ask(priority="high").stdout)["nice"] == -10


@pytest.mark.skipif(not may_all() or not LIMIT.exists(), reason="needs permission")
def test_processors_stay_awake_until_the_process_ends() -> None:
    """What the system holds to, in µs, is read from a second handle; 2000 seconds is its word for "whatever"."""
    anything = 2_000_000_000
    if wake_up_limit() != anything:
        pytest.skip("another program keeps the processors awake")
    script = (
        "from poseloop.live.realtime import stay_awake; stay_awake(); stay_awake(); print('held', flush=True); input()"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdin=-1, stdout=-1, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert wake_up_limit() == 0
        process.kill()
    ends_s = time.monotonic() + 60
    # A benchmark that is tried beside this test may keep them awake for some seconds.
    while wake_up_limit() != anything and time.monotonic() < ends_s:
        time.sleep(0.1)
    assert wake_up_limit() == anything


def wake_up_limit() -> int:
    with LIMIT.open("rb", buffering=0) as file:
        return int(struct.unpack("i", file.read(4))[0])


@LINUX
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"priority": "realtime"}, "SCHED_FIFO is not permitted; add the line '<user> - rtprio 50'"),
        ({"priority": "high"}, "nice -10 is not permitted"),
        ({"lock_memory": True}, "mlockall"),
        ({"awake": True}, "/dev/cpu_dma_latency"),
        ({"engine_cores": [4000]}, "but got [4000]"),
    ],
)
def test_what_is_refused_stops_or_warns_as_the_rig_says(values: dict, expected: str) -> None:
    stopped = ask(poor=True, **values)
    assert stopped.returncode == 1
    assert "ConfigError" in stopped.stderr
    assert expected in stopped.stderr
    warned = ask(poor=True, **values, refused="warn")
    assert warned.returncode == 0, warned.stderr
    (warning,) = json.loads(warned.stdout)["warnings"]
    assert expected in warning


def test_nothing_is_asked_for_by_default() -> None:
    assert realtime.apply(Realtime(), ()) == []
