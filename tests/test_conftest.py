"""The guards of conftest.py, each seen to fail a test that deserves it, in a pytest of its own."""

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
