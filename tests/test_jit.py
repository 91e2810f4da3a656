"""Kernels compile, keep NaN, and survive folders that cannot be written."""

import os
import subprocess
import sys
from pathlib import Path

import numba.core.caching
import numpy as np
import pytest

from poseloop.live.jit import kernel

SOURCE = """
from poseloop.live.jit import kernel

@kernel
def double(x):
    return 2 * x
"""


def add(a: float, b: float) -> float:
    return a + b


def seen(x: float) -> bool:
    return x > 0.5 and not np.isnan(x)


@pytest.mark.parametrize("fast", [False, True])
def test_nan_passes_no_gate(fast: bool) -> None:
    compiled = kernel(fast=fast)(seen)
    assert compiled(0.6)
    assert not compiled(0.4)
    assert not compiled(np.nan)


def test_kernels_let_other_threads_run_and_are_cached() -> None:
    compiled = kernel(add)
    assert compiled.targetoptions["nogil"]
    assert compiled(1, 2) == 3
    assert type(compiled._cache).__name__ == "FunctionCache"


def test_without_a_place_for_the_cache_kernels_still_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba.core.caching.CacheImpl, "_locator_classes", [])
    with pytest.raises(RuntimeError, match="no locator available"):
        numba.njit(cache=True)(add)
    assert kernel(add)(1, 2) == 3


def test_other_errors_of_the_compiler_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("out of luck")

    monkeypatch.setattr("poseloop.live.jit.numba.njit", refuse)
    with pytest.raises(RuntimeError, match="out of luck"):
        kernel(add)


@pytest.mark.skipif(sys.platform == "win32", reason="a folder's write bit means nothing there")
def test_read_only_package_and_no_home(tmp_path: Path) -> None:
    """Nothing can be written: not beside the source, not at home. Root may write anywhere, so a file blocks the way."""
    package = tmp_path / "package"
    package.mkdir()
    (package / "user.py").write_text(SOURCE)
    (package / "__pycache__").write_text("not a folder")
    home = tmp_path / "home"
    home.write_text("not a folder")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("NUMBA", "XDG"))}
    environment |= {"HOME": str(home), "XDG_CACHE_HOME": str(home), "PYTHONPATH": str(package)}
    program = "import numba\nimport user\nprint(user.double(21), type(user.double._cache).__name__)"
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["42", "NullCache"]
