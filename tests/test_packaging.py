"""What a user installs: a wheel with every file of the code folders, whose entry points all load."""

import json
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path, PurePosixPath

import pytest
from repository import FOLDERS, ROOT, files

# `-S` keeps the hook of an editable install out, so that only the unpacked wheel can answer to `poseloop`.
LOAD_ENTRY_POINTS = """
import importlib.metadata, json, sys, traceback
wheel, *libraries = sys.argv[1:]
sys.path[:0] = [wheel, *libraries]
(distribution,) = importlib.metadata.distributions(path=[wheel])
failed = {}
for point in distribution.entry_points:
    try:
        point.load()
    except Exception:
        failed[f"{point.group}: {point.name} = {point.value}"] = traceback.format_exc(limit=-2)
foreign = [
    f"{name}: {module.__file__}"
    for name, module in sys.modules.items()
    if name.startswith("poseloop.") and not module.__file__.startswith(wheel)
]
print(json.dumps({"loaded": len(distribution.entry_points), "failed": failed, "foreign": foreign}))
"""


def build(folder: Path, out: Path, *kinds: str) -> Path:
    """Build a wheel from `folder` into `out`; without `kinds` it goes by way of a source distribution."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), *kinds, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = out.glob("poseloop-*.whl")
    return wheel


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name and not name.endswith("/")}


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """Copy the repository without what git ignores, so that building leaves nothing behind in it."""
    copy = tmp_path_factory.mktemp("source")
    for path in files():
        (copy / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, copy / path)
    return copy


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory) -> Path:
    return build(source, tmp_path_factory.mktemp("wheel"), "--wheel")


def test_wheel_holds_the_code_folders_and_nothing_else(wheel) -> None:
    expected = {str(PurePosixPath("poseloop", path)) for path in files() if path.parts[0] in FOLDERS}
    found = names_in(wheel)
    left_out, uninvited = sorted(expected - found), sorted(found - expected)
    assert not left_out, "expected an __init__.py beside each, or a pattern in package-data"
    assert not uninvited


def test_wheel_by_way_of_an_sdist_is_the_same(source, wheel, tmp_path) -> None:
    assert names_in(build(source, tmp_path)) == names_in(wheel)


def test_every_entry_point_loads_from_the_wheel(wheel, tmp_path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    libraries = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    command = [sys.executable, "-I", "-S", "-c", LOAD_ENTRY_POINTS, str(tmp_path), *sorted(libraries)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert not result["failed"], "\n".join(f"{point}\n{error}" for point, error in result["failed"].items())
    assert not result["foreign"]
    assert result["loaded"] > 0
