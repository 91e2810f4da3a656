"""``poseloop new protocol``: what it writes works as it is."""

import subprocess
import sys
from pathlib import Path

import pytest
from rigs import SIMULATED, poseloop

from poseloop.live.config import parse_rig

NAMES = {"RewardWhenStill": "reward_when_still", "lick_task": "lick_task", "Y2Maze": "y_2_maze"}


@pytest.mark.parametrize("name", NAMES)
def test_the_start_passes_its_own_test_and_fits_a_rig(name: str, tmp_path: Path) -> None:
    done = poseloop("new", "protocol", name, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    module = NAMES[name]
    assert {path.name for path in tmp_path.iterdir()} == {f"{module}.py", f"test_{module}.py"}
    table = done.stdout[done.stdout.index("[protocols.") :].replace("box.valve", "box.laser")
    text = SIMULATED.replace("[protocols.task]\n", "")
    rig = parse_rig(text + table, tmp_path / "rig.toml")
    (protocol,) = [table.build(key) for key, table in rig.protocols.items()]
    assert protocol.needs == ("snout",)
    assert protocol.outputs == ("box.laser",)
    # -c: not this repository's own settings.
    command = [sys.executable, "-m", "pytest", "-q", "-c", "none.ini", "-p", "no:cacheprovider", f"test_{module}.py"]
    (tmp_path / "none.ini").write_text("[pytest]\n")
    tested = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert tested.returncode == 0, tested.stdout
    assert "4 passed" in tested.stdout


def test_nothing_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text("precious")
    done = poseloop("new", "protocol", "Mine", cwd=tmp_path)
    assert done.returncode == 1
    assert "test_mine.py: cannot be written: there is such a file already" in done.stderr
    assert [path.read_text() for path in tmp_path.iterdir()] == ["precious"]


@pytest.mark.parametrize("name", ["2fast", "a b", "random", "class", ""])
def test_a_name_that_cannot_be_one(name: str, tmp_path: Path) -> None:
    done = poseloop("new", "protocol", name, cwd=tmp_path)
    assert done.returncode == 1
    assert "expected a free name" in done.stderr
