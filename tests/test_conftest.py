"""The guards of conftest.py, each seen to fail a test that deserves it, in a pytest of its own."""

import textwrap
from pathlib import Path

import pytest

CONFTEST = Path(__file__).with_name("conftest.py").read_text(encoding="utf-8")
MARKERS = """
[pytest]
markers =
    real_data
    firmware
"""

LEAKED_THREAD = """
    import threading, time
    def test_leaks():
        threading.Thread(target=time.sleep, args=(4,), name="forgotten").start()
"""
LEAKED_PROCESS = """
    import subprocess, sys
    kept = []
    def test_leaks():
        kept.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]))
"""
UNJOINED_PROCESS = """
    import subprocess, sys
    kept = []
    def test_leaks():
        kept.append(subprocess.Popen([sys.executable, "-c", ""]))
"""
TIDY = """
    import subprocess, sys, threading, time
    import pytest
    @pytest.fixture
    def late():
        thread = threading.Thread(target=time.sleep, args=(0.3,))
        thread.start()
        yield
        thread.join()
    @pytest.fixture(scope="module")
    def long_lived():
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        yield
        child.communicate(b"\\n")
    def test_tidy(late, long_lived):
        threading.Thread(target=time.sleep, args=(0.3,)).start()
    def test_resource_tracker_is_nobodys_leak():
        from multiprocessing.shared_memory import SharedMemory
        memory = SharedMemory(create=True, size=1)
        memory.close()
        memory.unlink()
"""
SKIPS = """
    import pytest
    @pytest.mark.firmware
    def test_call():
        pytest.skip("no compiler")
    @pytest.mark.real_data
    @pytest.mark.skipif(True, reason="no recordings")
    def test_setup(): ...
    def test_unmarked():
        pytest.skip("allowed")
    @pytest.mark.firmware
    @pytest.mark.xfail(reason="known")
    def test_xfail():
        assert False
"""
USES_DATA = """
    def test_uses(data):
        assert data.is_dir()
"""


@pytest.fixture
def run(pytester, monkeypatch):
    """Run a test file under our conftest in another process, on this machine or as if in CI."""

    def run(text: str, *, ci: str = "", folder: Path | None = None, args: tuple[str, ...] = ()):
        monkeypatch.setenv("CI", ci)
        monkeypatch.setenv("POSELOOP_DATA", str(folder or ""))
        pytester.makeini(MARKERS)
        pytester.makeconftest(CONFTEST)
        pytester.makepyfile(text)
        return pytester.runpytest_subprocess("-rs", *args)

    return run


@pytest.mark.parametrize(
    ("text", "named"),
    [
        pytest.param(LEAKED_THREAD, "*leaked thread 'forgotten'*", id="thread"),
        pytest.param(LEAKED_PROCESS, "*leaked process *time.sleep(60)*", id="process"),
        pytest.param(UNJOINED_PROCESS, "*leaked process *never waited for*", id="unjoined"),
    ],
)
def test_leak_fails_and_is_named(run, text, named) -> None:
    result = run(text)
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines([named])


def test_what_ends_or_was_there_before_is_no_leak(run) -> None:
    run(TIDY).assert_outcomes(passed=2)


def test_marked_skip_is_a_skip_at_home(run) -> None:
    run(SKIPS).assert_outcomes(skipped=3, xfailed=1)


def test_marked_skip_is_an_error_in_ci(run) -> None:
    result = run(SKIPS, ci="true")
    result.assert_outcomes(failed=1, errors=1, skipped=1, xfailed=1)
    result.stdout.fnmatch_lines(["*must run in CI*no compiler*"])
    result.stdout.fnmatch_lines(["*must run in CI*no recordings*"])


def test_data_absent_skips_at_home(run) -> None:
    result = run(USES_DATA)
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*expected POSELOOP_DATA*"])


def test_data_absent_fails_in_ci(run, tmp_path) -> None:
    run(USES_DATA, ci="true", folder=tmp_path / "nowhere").assert_outcomes(errors=1)


def test_data_present_is_used_and_marked(run, tmp_path) -> None:
    run(USES_DATA, ci="true", folder=tmp_path, args=("-m", "real_data")).assert_outcomes(passed=1)


SHARES = """
    import pytest
    @pytest.mark.parametrize("number", range(6))
    def test_{}(number): ...
"""
ON_TWO = ("-v", "-n", "2", "--dist", "loadscope", "--no-loadscope-reorder")


def test_a_file_has_one_worker_unless_its_tests_share_nothing_and_what_measures_is_last(pytester) -> None:
    pytester.makeini(MARKERS)
    pytester.makeconftest(CONFTEST)
    places = {
        "system/test_lease": "measures",
        "test_some": "whole",
        "test_other": "other",
        "system/test_it": "single",
    }
    for place, name in places.items():
        file = pytester.path / f"{place}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(textwrap.dedent(SHARES.format(name)), encoding="utf-8")
    result = pytester.runpytest_subprocess(*ON_TWO)
    result.assert_outcomes(passed=24)
    passed = [line.split() for line in result.outlines if "PASSED" in line]
    workers = {name: {worker for worker, *_, nodeid in passed if f"test_{name}[" in nodeid} for name in places.values()}
    assert {name: len(found) for name, found in workers.items()} == {"measures": 1, "whole": 1, "other": 1, "single": 2}
    assert all("test_single" in nodeid for *_, nodeid in passed[:2])
    # Another worker may still be at the last file before it.
    assert all("test_measures" not in nodeid for *_, nodeid in passed[:12])


@pytest.mark.parametrize(
    ("fault", "shown"), [("os._exit(3)", "crashed while running"), ("time.sleep(600)", "Timeout (0:00:")]
)
def test_a_test_that_crashes_or_hangs_ends_the_run_and_is_named(run, fault: str, shown: str) -> None:
    text = f"import os, time\n\n\ndef test_before(): ...\n\n\ndef test_dies():\n    {fault}\n"
    timeout = ("-o", "faulthandler_timeout=3", "-o", "faulthandler_exit_on_timeout=true")
    result = run(text, args=(*ON_TWO, "--max-worker-restart", "0", *timeout))
    assert result.ret == 1
    assert any("test_dies" in line and "FAILED" in line for line in result.outlines)
    assert shown in result.stdout.str() + result.stderr.str()


def test_the_whole_suite_has_workers_and_a_named_part_has_none(run, pytester) -> None:
    ask = ("-v", "-n", "auto", "--dist", "loadscope", "-o", "testpaths=.")
    assert "workers [1 item]" in run("def test_some(): ...", args=ask).stdout.str()
    named = run("def test_some(): ...", args=(*ask, str(pytester.path)))
    named.assert_outcomes(passed=1)
    assert "workers [" not in named.stdout.str()
