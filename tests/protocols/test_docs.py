"""The guide docs/protocols.md, followed as a new user would: every example is run, every key is there."""

import json
import re
from pathlib import Path

import pytest
from repository import ROOT
from rigs import SIMULATED, poseloop

from poseloop.live import plugins
from poseloop.live.config import parse_rig
from poseloop.protocols import Rehearsal
from poseloop.protocols.parameters import reference, rig_reference

TEXT = (ROOT / "docs" / "protocols.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")

PATIENCE = """
[gates]
age_ms = 5000
"""

LIGHT = """
[boards.box.lines.light]
pin = 10
max_on_ms = 60000
"""

PROCESSOR = """
from dlclive import Processor


class MyProcessor(Processor):
    def __init__(self, com, baudrate):
        super().__init__()
"""


def blocks(kind: str, text: str = TEXT) -> list[str]:
    """The fenced blocks of one language, without their indentation."""
    found = re.findall(rf"^( *)```{kind}\n(.*?)^ *```$", text, flags=re.M | re.S)
    return [re.sub(rf"^{indent}", "", block, flags=re.M) for indent, block in found]


def code(word: str) -> str:
    (found,) = [block for block in blocks("python") if word in block]
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "dark.py").write_text(code("class RewardInTheDark"), encoding="utf-8")
    (tmp_path / "poke.py").write_text(code("class PokeThenRun"), encoding="utf-8")
    (tmp_path / "my_processor.py").write_text(PROCESSOR, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("table", blocks("toml"), ids=lambda block: block.splitlines()[0])
def test_every_table_is_valid(table: str, folder: Path) -> None:
    rig = parse_rig(SIMULATED.replace("[protocols.task]\n", LIGHT + table), folder / "rig.toml")
    (protocol,) = [table.build(name) for name, table in rig.protocols.items()]
    known = {"box.laser", "box.light", "box.valve"}
    assert set(protocol.outputs) <= known


def test_the_four_lines_and_the_fifteen_run_in_a_rig(folder: Path) -> None:
    four, fifteen = blocks("toml")[0], next(block for block in blocks("toml") if "dark.py" in block)
    assert len(four.splitlines()) <= 5
    assert len([line for line in code("class RewardInTheDark").splitlines() if line.strip()]) <= 15
    tables = LIGHT + four.replace("[320, 240, 60]", "[320, 240, 250]") + fifteen.replace("box.laser", "box.light")
    # A busy computer must not be what decides this test.
    patient = SIMULATED.replace("lease_ms = 100", "lease_ms = 5000").replace("[boards.box]", PATIENCE + "[boards.box]")
    (folder / "rig.toml").write_text(patient.replace("[protocols.task]\n", tables), encoding="utf-8")
    done = poseloop("run", "rig.toml", "--seconds", 6, "--report", "report.json", "--headless", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert " sent, " in done.stdout
    assert " 0 sent, " not in done.stdout


def test_the_rehearsal_finds_what_the_guide_says_it_finds(folder: Path) -> None:
    protocol = plugins.load("protocol", "dark.py:RewardInTheDark", folder)
    track = [(100, 50), (290, 50), (310, 50), (320, 50), None, (330, 50)]
    assert str(track)[1:-1] in code("def test_a_step")
    task = Rehearsal(protocol, keypoint="snout", output="box.laser", fps=100)
    assert [number for number, _ in task.run({"snout": track})] == [2, 5]


def test_the_state_machine(folder: Path) -> None:
    protocol = plugins.load("protocol", "poke.py:PokeThenRun", folder)
    task = Rehearsal(protocol)
    task.show({"box.poke": True}, snout=(10, 0))
    assert task.protocol.state == "running"
    assert [command.on_us for command in task.show(snout=(310, 0))] == [50_000]
    assert task.protocol.state == "waiting"
    task.show({"box.poke": True}, snout=(10, 0))
    task.show(snout=(10, 0), pause_ms=2000)
    assert task.protocol.state == "waiting"
    assert [note.name for note in task.notes].count("missed") == 1


def test_the_protocol_of_the_readme(tmp_path: Path) -> None:
    (source,) = [block for block in blocks("python", README) if "class RewardWhenStill" in block]
    (tmp_path / "my_task.py").write_text(source, encoding="utf-8")
    task = Rehearsal(plugins.load("protocol", "my_task.py:RewardWhenStill", tmp_path), fps=100)
    assert [number for number, _ in task.run({"centre": [(100, 100)] * 250})] == [1, 101, 201]
    assert task.run({"centre": [(i, 100) for i in range(200)]}) == []


def test_the_reference_is_what_the_code_declares() -> None:
    shown = TEXT.split("<!-- reference -->\n")[1].split("<!-- /reference -->")[0]
    assert shown == reference(), "print it anew: poseloop.protocols.parameters.reference()"


def test_the_keys_of_a_rig_file_are_what_the_code_declares() -> None:
    text = (ROOT / "docs" / "rig.md").read_text(encoding="utf-8")
    shown = text.split("<!-- reference -->\n")[1].split("<!-- /reference -->")[0]
    assert shown == rig_reference(), "print it anew: poseloop.protocols.parameters.rig_reference()"
    declared = set(json.loads((ROOT / "live" / "rig.schema.json").read_text(encoding="utf-8"))["properties"])
    assert [key for key in declared if f"[{key}" not in text and f"`{key}`" not in text] == []


def test_every_protocol_is_in_the_overview() -> None:
    for name in plugins.installed("protocol"):
        assert re.search(rf"^\| `{name}[`:]", TEXT, flags=re.M)
