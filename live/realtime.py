"""What a process can ask of the operating system so that nothing holds it up: priority, cores, memory, no idle states.

What was asked for is read back: Windows grants less than it was asked for without a word.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO

from poseloop.live.config import Realtime
from poseloop.live.errors import ConfigError

__all__ = ["apply", "is_awake", "lock_memory", "may_stay_awake", "pin", "prioritise", "stay_awake"]

_FIFO_PRIORITY = 50
"""The middle of 1..99: above everything ordinary, below the kernel's own threads that serve disk and network."""

_NICE = -10
_MCL_CURRENT, _MCL_FUTURE = 1, 2
_LATENCY = Path("/dev/cpu_dma_latency")
"""Linux holds processors out of idle states that take longer to leave than the µs that stand here (an int32), for as
long as the file stays open."""
_held: list[BinaryIO] = []
_WINDOWS_CLASSES = {"high": 0x80, "realtime": 0x100}
"""HIGH_PRIORITY_CLASS and REALTIME_PRIORITY_CLASS of SetPriorityClass."""


def apply(settings: Realtime, cores: Iterable[int]) -> list[str]:
    """Do what ``[realtime]`` says for this process; call it before threads are started, which inherit it.

    Args:
        settings: the rig's.
        cores: those of this process.

    Returns:
        What the system refused, one sentence each, if the rig says that this is to be a warning.

    Raises:
        ConfigError: the system refused something.
    """
    wanted: list[tuple[str, Callable[[], None]]] = []
    cores = tuple(cores)
    if cores:
        wanted.append(("cores", lambda: pin(cores)))
    if settings.lock_memory:
        wanted.append(("lock_memory", lock_memory))
    if settings.awake:
        wanted.append(("awake", stay_awake))
    if settings.priority != "normal":
        wanted.append(("priority", lambda: prioritise(settings.priority)))
    refused = []
    for key, ask in wanted:
        try:
            ask()
        except OSError as error:
            refused.append(f"realtime.{key}: {error.strerror or error}")
    if refused and settings.refused == "stop":
        raise ConfigError("\n".join([*refused, 'Permit it, or set realtime.refused = "warn" to go on without']))
    return refused


def prioritise(priority: str) -> None:
    """Raise the priority of the calling thread, and of those it starts (Windows: of the process).

    Args:
        priority: ``high`` or ``realtime``.

    Raises:
        OSError: not permitted, or not possible on this system; its text says what to do.
    """
    if sys.platform == "win32":
        _prioritise_on_windows(_WINDOWS_CLASSES[priority])
    elif priority == "high":
        try:
            os.setpriority(os.PRIO_PROCESS, 0, _NICE)
        except PermissionError:
            raise _refused(f"nice {_NICE} is not permitted", f"- nice {_NICE}") from None
    elif sys.platform == "linux":
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(_FIFO_PRIORITY))
        except PermissionError:
            raise _refused("SCHED_FIFO is not permitted", f"- rtprio {_FIFO_PRIORITY}") from None
    else:
        raise OSError(0, f"{priority!r} is not available on {sys.platform}; use 'high'")


def pin(cores: Iterable[int]) -> None:
    """Run the calling thread, and those it starts, on these cores only.

    Raises:
        OSError: there is no such core, or the system cannot do it.
    """
    asked = set(cores)
    if sys.platform == "win32":
        kernel = _kernel32()
        if not kernel.SetProcessAffinityMask(_this_process(kernel), ctypes.c_size_t(sum(1 << core for core in asked))):
            raise OSError(0, f"cores {sorted(asked)}: {ctypes.WinError()}")
    elif sys.platform == "linux":
        usable = os.sched_getaffinity(0)
        if not asked <= usable:
            text = ", ".join(map(str, sorted(usable)))
            raise OSError(0, f"expected some of the cores {text}, but got {sorted(asked)}")
        os.sched_setaffinity(0, asked)
    else:
        raise OSError(0, f"choosing cores is not available on {sys.platform}")


def lock_memory() -> None:
    """Keep all memory of this process, also that to come, from being paged out.

    Raises:
        OSError: not permitted, or not possible on this system.
    """
    if sys.platform != "linux":
        raise OSError(0, f"locking memory is not available on {sys.platform}")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(_MCL_CURRENT | _MCL_FUTURE):
        number = ctypes.get_errno()
        raise _refused(f"mlockall: {os.strerror(number)}", "- memlock unlimited")


def is_awake() -> bool:
    """True from `stay_awake` on."""
    return bool(_held)


def may_stay_awake() -> bool:
    """Would `stay_awake` be permitted?"""
    return os.access(_LATENCY, os.W_OK)


def stay_awake() -> None:
    """Keep all processors of this computer out of idle states until this process ends: they wait at full power.

    A processor that sleeps between two frames wakes up late, and slow: caches, clock and, in a virtual machine, the
    host have to come back first. Method: Linux' PM QoS, as audio programs and ``cyclictest`` use it.

    Raises:
        OSError: not permitted, or not possible on this system.
    """
    if _held:
        return
    if not _LATENCY.exists():
        raise OSError(0, f"holding processors awake is not available here: there is no {_LATENCY}")
    try:
        file = _LATENCY.open("r+b", buffering=0)
    except PermissionError:
        rule = f'KERNEL=="{_LATENCY.name}", MODE="0666"'
        raise OSError(
            0, f"{_LATENCY} is not permitted; write {rule} into /etc/udev/rules.d/99-poseloop.rules and restart"
        ) from None
    file.write(struct.pack("i", 0))
    _held.append(file)


def _refused(what: str, limit: str) -> OSError:
    return OSError(
        0, f"{what}; add the line '<user> {limit}' to /etc/security/limits.conf and log in again, or run as root"
    )


def _prioritise_on_windows(wanted: int) -> None:
    kernel = _kernel32()
    process = _this_process(kernel)
    kernel.SetPriorityClass(process, wanted)
    if kernel.GetPriorityClass(process) != wanted:
        raise OSError(0, "Windows gave a lower priority than asked for; run as administrator, or use 'high'")


def _kernel32() -> Any:
    return ctypes.WinDLL("kernel32", use_last_error=True)  # type: ignore[attr-defined,unused-ignore]


def _this_process(kernel: Any) -> Any:
    kernel.GetCurrentProcess.restype = ctypes.c_void_p
    return ctypes.c_void_p(kernel.GetCurrentProcess())
