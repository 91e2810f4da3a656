"""What this computer can run a rig with, looked at before an animal is in the rig.

Each check gives findings (`poseloop.live.types.Finding`); it changes nothing that lasts. Nothing is believed that can
be tried: a provider counts when a model runs on it, a permission when the system grants it.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path

from poseloop.live import jit, plugins
from poseloop.live.config import Rig
from poseloop.live.errors import ModelError, PoseloopError
from poseloop.live.interfaces import Checkable
from poseloop.live.types import Colour, Finding, Level
from poseloop.live.vision import Network
from poseloop.live.vision.network import View
from poseloop.live.vision.ort import PROVIDERS, available_providers

__all__ = ["examine"]

_ROOT = Path("/")
_FULL_GB, _LOW_GB = 1.0, 20.0
_SLOW_WAKE_MS = 4.0
_COARSE_NS = 1_000
_CORES = 4
"""Cameras, network, host and everything else."""

_TRY = "from poseloop.live import realtime; {}"


def examine(rig: Rig | None = None, folder: Path = Path()) -> Iterator[Finding]:
    """Check everything, one finding after the other.

    Args:
        rig: if given, what it asks for has to be there; without it, nothing in particular is needed.
        folder: where reports and recordings will be written.
    """
    yield from onnxruntime_packages()
    yield from providers(rig)
    yield from drivers(rig)
    yield from serial_ports()
    yield from permissions(rig)
    yield from processor()
    yield clock()
    yield wake_ups()
    yield kernels()
    yield disk(folder)


def onnxruntime_packages() -> Iterator[Finding]:
    """Packages that own the folder ``onnxruntime/``: pip lets them overwrite each other without a word."""
    owners = sorted(
        f"{package.metadata['Name']} {package.version}"
        for package in distributions()
        if str(package.metadata["Name"]).lower().startswith("onnxruntime")
        and any(file.parts[0] == "onnxruntime" for file in package.files or ())
    )
    match owners:
        case []:
            advice = "pip install 'poseloop[cpu]', or [gpu], or [openvino]"
            yield Finding("onnxruntime", Level.FAIL, "not installed: nothing can run a model", advice)
        case [one]:
            yield Finding("onnxruntime", Level.OK, one)
        case _:
            names = " ".join(owner.split()[0] for owner in owners)
            yield Finding(
                "onnxruntime",
                Level.FAIL,
                f"{len(owners)} packages share one folder, the last one installed has overwritten the others: "
                + ", ".join(owners),
                f"pip uninstall {names}, then install the one that is wanted",
            )


def providers(rig: Rig | None) -> Iterator[Finding]:
    """Run a small model on each provider that is installed: a list of names proves nothing."""
    wanted = {table.provider for table, _ in rig.networks()} if rig else set()
    offered = available_providers()
    for name in [*offered, *sorted(wanted - set(offered))]:
        try:
            with Network.open("blob", provider=name) as network:
                network.prepare([View(64, 64, Colour.GREY)])
            yield Finding(f"provider {name}", Level.OK, "runs a model")
        except ModelError as error:
            needed = Level.FAIL if name in wanted else Level.WARN
            advice = error.advice or f"check its drivers and poseloop[{PROVIDERS[name].extra}], or use another provider"
            yield Finding(f"provider {name}", needed, error.what, advice)


def drivers(rig: Rig | None) -> Iterator[Finding]:
    """What each driver finds, and what it has to say about its links."""
    used = {table.use for tables in (rig.cameras, rig.boards) for table in tables.values()} if rig else set()
    for kind in ("camera", "board"):
        for name in plugins.installed(kind):
            subject = f"{kind} {name}"
            try:
                driver = plugins.load(kind, name)
                found = list(driver.discover())
            except PoseloopError as error:
                # Nobody needs every driver.
                yield Finding(subject, Level.FAIL if name in used else Level.OK, f"not usable here: {error}")
                continue
            yield Finding(subject, Level.OK, "; ".join(found) or "no device found")
            if isinstance(driver, Checkable):
                yield from driver.check()


def serial_ports(root: Path = _ROOT) -> Iterator[Finding]:
    """Linux: may we open the ports, and do USB adapters hold back their bytes?"""
    if sys.platform != "linux":
        return
    for port in sorted([*root.glob("dev/ttyACM*"), *root.glob("dev/ttyUSB*")]):
        if os.access(port, os.R_OK | os.W_OK):
            yield Finding(f"port {port.name}", Level.OK, "may be opened")
        else:
            advice = "sudo usermod -aG dialout $USER, then log in again"
            yield Finding(f"port {port.name}", Level.FAIL, "may not be opened by this user", advice)
    for timer in sorted(root.glob("sys/bus/usb-serial/devices/*/latency_timer")):
        wait_ms = int(timer.read_text(encoding="ascii"))
        subject = f"port {timer.parent.name}"
        if wait_ms <= 1:
            yield Finding(subject, Level.OK, f"latency timer {wait_ms} ms")
        else:
            yield Finding(
                subject,
                Level.WARN,
                f"latency timer {wait_ms} ms: the adapter holds answers back for so long",
                f"echo 1 | sudo tee {timer}; a udev rule makes it last",
            )


def permissions(rig: Rig | None) -> Iterator[Finding]:
    """What ``[realtime]`` may ask for; tried in a process of its own, so that this one stays as it is."""
    asked = rig.realtime if rig else None
    for subject, call, needed in (
        ("priority high", "realtime.prioritise('high')", asked is not None and asked.priority == "high"),
        ("priority realtime", "realtime.prioritise('realtime')", asked is not None and asked.priority == "realtime"),
        ("locked memory", "realtime.lock_memory()", asked is not None and asked.lock_memory),
        ("awake", "realtime.stay_awake()", asked is not None and asked.awake),
    ):
        done = subprocess.run(
            [sys.executable, "-c", _TRY.format(call)], capture_output=True, text=True, check=False, timeout=60
        )
        if done.returncode == 0:
            yield Finding(subject, Level.OK, "permitted")
            continue
        last = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit code {done.returncode}"
        text, _, advice = last.partition("] ")[2].partition("; ")
        fatal = needed and asked is not None and asked.refused == "stop"
        yield Finding(subject, Level.FAIL if fatal else Level.WARN, text or last, advice)


def processor(root: Path = _ROOT) -> Iterator[Finding]:
    """Cores that we may use, and whether their frequency is held down (Linux)."""
    usable = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    if usable >= _CORES:
        yield Finding("cores", Level.OK, f"{usable}")
    else:
        text = f"{usable}: cameras, network, protocols and the system share them"
        yield Finding("cores", Level.WARN, text, f"a computer with {_CORES} or more keeps latency steady")
    governors = {
        file.read_text(encoding="ascii").strip()
        for file in root.glob("sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor")
    }
    if governors - {"performance"}:
        yield Finding(
            "cpu frequency",
            Level.WARN,
            f"governor {', '.join(sorted(governors))}: a core that waited for a frame is slow at first",
            "sudo cpupower frequency-set -g performance",
        )
    elif governors:
        yield Finding("cpu frequency", Level.OK, "governor performance")


def clock(root: Path = _ROOT) -> Finding:
    """The clock that every time is taken from: its smallest step."""
    steps = []
    for _ in range(1000):
        before = time.perf_counter_ns()
        while (after := time.perf_counter_ns()) == before:
            pass
        steps.append(after - before)
    step_ns = min(steps)
    source_file = root / "sys/devices/system/clocksource/clocksource0/current_clocksource"
    source = source_file.read_text(encoding="ascii").strip() if source_file.exists() else ""
    text = f"steps of {step_ns} ns" + (f", source {source}" if source else "")
    if step_ns > _COARSE_NS or source in ("hpet", "acpi_pm", "jiffies"):
        return Finding("clock", Level.WARN, text, "boot with clocksource=tsc if the processor's is stable")
    return Finding("clock", Level.OK, text)


def wake_ups(sleeps: int = 200) -> Finding:
    """How late a sleeping thread wakes up, now: what else runs on this computer shows here."""
    late_ms = []
    for _ in range(sleeps):
        before = time.perf_counter()
        time.sleep(0.001)
        late_ms.append((time.perf_counter() - before) * 1e3 - 1)
    median, worst = statistics.median(late_ms), max(late_ms)
    text = f"late by {median:.2f} ms (median), {worst:.2f} ms (worst of {sleeps})"
    if worst <= _SLOW_WAKE_MS:
        return Finding("wake-ups", Level.OK, text)
    return Finding("wake-ups", Level.WARN, text, "close other programs; see [realtime] in the rig file")


def kernels() -> Finding:
    """Can compiled kernels be kept from one start to the next?"""
    folder = jit.cache_folder()
    if folder:
        return Finding("kernel cache", Level.OK, folder)
    return Finding(
        "kernel cache",
        Level.WARN,
        "nowhere to write: every start compiles for some seconds",
        "set NUMBA_CACHE_DIR to a folder that can be written",
    )


def disk(folder: Path) -> Finding:
    """Room for reports and recordings."""
    free_gb = shutil.disk_usage(folder).free / 1e9
    text = f"{free_gb:.1f} GB free at {folder.absolute()}"
    if free_gb < _FULL_GB:
        return Finding("disk", Level.FAIL, text, "make room: a session's report could not be written")
    if free_gb < _LOW_GB:
        return Finding("disk", Level.WARN, text, "an hour of four cameras may need more")
    return Finding("disk", Level.OK, text)
