"""Kernels are compiled when a network is prepared, kept on disk, and never compiled while frames come."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tinymodels import Tiny

# Counts what numba compiles before and in the loop; in a process of its own, where no other test has compiled anything.
PROGRAM = """
import sys
import numpy as np
from numba.core import event
from poseloop.live import vision
from poseloop.live.types import Colour
from poseloop.live.vision import Network
from poseloop.live.vision.network import Follow, View

def spot(x, y):
    rows, columns = np.mgrid[:96, :128]
    return np.round(255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 32)).astype(np.uint8)

model, follow, individuals = sys.argv[1], sys.argv[2] == "follow", int(sys.argv[3])
with event.install_recorder("numba:compile") as first:
    network = Network.open(model, individuals=individuals, gate=0.5)
    network.prepare([View(96, 128, Colour.GREY)] * 2, Follow((64, 64)) if follow else None)
with event.install_recorder("numba:compile") as loop:
    for images in (
        [spot(61, 41), spot(20, 20)], [spot(61, 41), None], [None, None], [spot(100, 80), spot(5, 5)],
        [np.zeros((96, 128), np.uint8)] * 2, [spot(61, 41), spot(61, 41)],
    ):
        network.infer(images)
print(len(first.buffer), len(loop.buffer), vision.__file__)
"""


def run(model: Path, environment: dict[str, str], follow: bool = False, individuals: int = 1) -> tuple[int, int, str]:
    given = [sys.executable, "-c", PROGRAM, str(model), "follow" if follow else "whole", str(individuals)]
    done = subprocess.run(given, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first, loop, file = done.stdout.split()
    return int(first), int(loop), file


def clean() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith(("NUMBA", "XDG"))}


@pytest.mark.parametrize(
    ("method", "follow", "individuals"),
    [
        ("centroid", True, 1),
        pytest.param("locref", False, 2, marks=pytest.mark.slow),
        pytest.param("keypoints", True, 1, marks=pytest.mark.slow),
    ],
)
def test_nothing_is_compiled_in_the_loop_nor_twice(tmp_path: Path, method: str, follow: bool, individuals: int) -> None:
    model = Tiny(method=method, size_multiple=8).save(tmp_path)
    environment = clean() | {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    first, loop, _ = run(model, environment, follow, individuals)
    assert first > 0
    assert loop == 0
    again, loop, _ = run(model, environment, follow, individuals)
    assert (again, loop) == (0, 0)


@pytest.mark.skipif(sys.platform == "win32", reason="a folder's write bit means nothing there")
@pytest.mark.parametrize("cache", [False, True])
def test_a_package_that_cannot_be_written_and_no_home(tmp_path: Path, cache: bool) -> None:
    """A copy of the package; root may write anywhere, so files block the way. ``NUMBA_CACHE_DIR`` helps, if given."""
    import poseloop.live

    package = tmp_path / "site" / "poseloop" / "live"
    here = Path(poseloop.live.__file__).parent
    shutil.copytree(here, package, ignore=shutil.ignore_patterns("__pycache__"))
    for folder in (package, *(path for path in package.rglob("*") if path.is_dir())):
        (folder / "__pycache__").write_text("not a folder")
    home = tmp_path / "home"
    home.write_text("not a folder")
    environment = clean() | {"HOME": str(home), "XDG_CACHE_HOME": str(home), "PYTHONPATH": str(tmp_path / "site")}
    if cache:
        environment["NUMBA_CACHE_DIR"] = str(tmp_path / "cache")
    model = Tiny(size_multiple=8).save(tmp_path)
    first, loop, file = run(model, environment)
    assert Path(file).is_relative_to(tmp_path)
    assert first > 0
    assert loop == 0
    again, loop, _ = run(model, environment)
    assert loop == 0
    assert (again == 0) == cache
