"""Guards that every test runs under, where the recordings are, and how workers share the suite."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import hypothesis
import psutil
import pytest

T = TypeVar("T")


SETTLE_S = 2.0
IN_CI = os.environ.get("CI", "").lower() not in ("", "0", "false")
NEVER_SKIPPED_IN_CI = ("real_data", "firmware", "tensorflow")

MOST_WORKERS = 4
FIRST = ("test_packaging.py", "test_quality.py", "train/", "system/", "firmware/")
"""What takes longest begins first: no worker is to be left with it when the others have ended."""
ONE_BY_ONE = ("system/", "firmware/")
"""Files whose tests share nothing, so that workers may share the file."""
ALONE = (
    "contracts/test_board_contract.py",
    "contracts/test_board_signals.py",
    "contracts/test_host_timed_contract.py",
    "system/test_basler4.py",
    "system/test_closed_loop.py",
    "system/test_lease.py",
    "system/test_mouse4cam.py",
    "system/test_recordings.py",
)
"""What measures real time runs at the end, one after the other, when the other workers have nothing left to do."""

IN_REAL_TIME = ("system/", "firmware/", "contracts/", "test_engine", "drivers/test_replay.py", "bench/")
"""Where a process has to keep a pace, or a camera its period, while other workers want the same cores: these tests have
a second try, since a machine that was elsewhere for a moment is no fault of the program. What fails twice is one."""

# Read by pylon when it is loaded: as many cameras as the largest rig of the tests has.
os.environ.setdefault("PYLON_CAMEMU", "4")

# An example's first call may compile a kernel, so a time limit per example would be noise.
hypothesis.settings.register_profile("poseloop", deadline=None, derandomize=IN_CI)
hypothesis.settings.load_profile("poseloop")


@pytest.fixture(autouse=True)
def _no_leaks() -> Iterator[None]:
    """Fail a test after which a thread or a child process is left that was not there before."""
    threads_before = _threads()
    children_before = _children()
    yield
    threads = _settled(lambda: _threads() - threads_before)
    children = _settled(lambda: _children() - children_before)
    names = [f"thread {thread.name!r}{' (daemon)' if thread.daemon else ''}" for thread in threads]
    for child in children:
        names.append(_describe(child))
        _kill(child)
    if names:
        pytest.fail("leaked " + ", ".join(sorted(names)), pytrace=False)


def _threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if not _is_foreign(thread)}


def _is_foreign(thread: threading.Thread) -> bool:
    """Tell a thread that no test could join: one that C started, or pyzmq's collector of sent buffers."""
    kind = type(thread)
    return kind.__name__ == "_DummyThread" or kind.__module__.startswith("zmq.")


def _children() -> set[psutil.Process]:
    return {child for child in psutil.Process().children(recursive=True) if not _is_tracker(child)}


def _is_tracker(child: psutil.Process) -> bool:
    """Tell multiprocessing's resource tracker, which lives as long as the interpreter."""
    try:
        return any("multiprocessing.resource_tracker" in word for word in child.cmdline())
    except psutil.Error:  # it ended, or shows nothing
        return False


def _settled(find: Callable[[], set[T]]) -> set[T]:
    """Give what is about to end SETTLE_S to do so, and return what is left."""
    deadline = time.perf_counter() + SETTLE_S
    while (left := find()) and time.perf_counter() < deadline:
        time.sleep(0.01)
    return left


def _describe(child: psutil.Process) -> str:
    try:
        if child.status() == psutil.STATUS_ZOMBIE:
            return f"process {child.pid} (ended, never waited for)"
        return f"process {child.pid} ({' '.join(child.cmdline())})"
    except psutil.Error:
        return f"process {child.pid}"


def _kill(child: psutil.Process) -> None:
    try:
        child.kill()
        child.wait(SETTLE_S)
    except psutil.Error:  # it ended by itself
        return


@pytest.fixture(scope="session")
def data() -> Path:
    """Return the folder of recordings, POSELOOP_DATA; without it, skip, but fail in CI."""
    value = os.environ.get("POSELOOP_DATA", "")
    if value and Path(value).is_dir():
        return Path(value)
    reason = f"expected POSELOOP_DATA to name the folder of recordings, but got {value!r}"
    if IN_CI:
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run also the tests marked slow: proofs repeated, long runs")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Tell how many workers share the whole suite; a part of it that is named on the command line has none."""
    if config.args_source is not pytest.Config.ArgsSource.TESTPATHS:
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # Many tests wait for a process that starts, or for a time to pass.
    return min(cores + 1, MOST_WORKERS)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hand workers whole files, since a file's tests may share a costly fixture, but where `ONE_BY_ONE` says so."""
    if config.getoption("dist") != "loadscope":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = _file(nodeid)
            if file in ALONE:
                return "alone"
            return nodeid if file.startswith(ONE_BY_ONE) else file

    return ByFile(config, log)


def _file(nodeid: str) -> str:
    return nodeid.partition("::")[0].removeprefix("tests/")


def _turn(item: pytest.Item) -> int:
    """When a test runs, among the others: `FIRST` in its order, then what is named nowhere, then `ALONE`."""
    file = _file(item.nodeid)
    if file in ALONE:
        return len(FIRST) + 1
    return next((turn for turn, place in enumerate(FIRST) if file.startswith(place)), len(FIRST))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--slow"):
        slow = [item for item in items if "slow" in item.keywords]
        if slow:
            config.hook.pytest_deselected(items=slow)
            items[:] = [item for item in items if "slow" not in item.keywords]
    for item in items:
        if "data" in getattr(item, "fixturenames", ()):
            item.add_marker("real_data")
        if _file(item.nodeid).startswith(IN_REAL_TIME):
            item.add_marker(pytest.mark.flaky(reruns=1))
    items.sort(key=_turn)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Turn a skip into a failure where CI is there to run that very test."""
    report = yield
    marks = [mark for mark in NEVER_SKIPPED_IN_CI if item.get_closest_marker(mark)]
    if IN_CI and marks and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} is marked {', '.join(marks)} and must run in CI, but: {reason}"
    return report
