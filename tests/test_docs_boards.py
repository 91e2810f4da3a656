"""The rig files on the page about other ways out are whole boards that a rig takes as they stand."""

import re
from pathlib import Path

import pytest
from repository import ROOT

from poseloop.live import plugins
from poseloop.live.config import parse_rig

PAGE = ROOT / "docs" / "boards-other.md"
EXAMPLES = re.findall(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)

RIG = """
[cameras.top]
use = "sim"
[model]
file = "blob"
"""


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda text: re.search(r'use = "(\w+)"', text)[1])
def test_an_example_is_a_board(example: str) -> None:
    rig = parse_rig(RIG + example, Path("rig.toml"))
    ((name, table),) = rig.boards.items()
    board = table.build(name)
    assert set(board.way(name, table.options).lines) == set(table.lines)


def test_every_such_board_has_an_example() -> None:
    installed = {
        name for name in plugins.installed("board") if not getattr(plugins.load("board", name), "uses_pins", True)
    }
    assert {re.search(r'use = "(\w+)"', text)[1] for text in EXAMPLES} == installed
