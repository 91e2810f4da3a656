"""The guide docs/sessions.md, typed as it stands."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from repository import ROOT
from rigs import poseloop

TEXT = (ROOT / "docs" / "sessions.md").read_text(encoding="utf-8")


def blocks(kind: str) -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    return [text for its, text in fenced if its == kind]


def test_the_guide_works_as_typed(tmp_path: Path) -> None:
    pytest.importorskip("poseloop.live.recorder")
    (tmp_path / "rig.toml").write_text(blocks("toml")[0] + "\n[gates]\nage_ms = 5000\n")
    lines = [line for block in blocks("") for line in block.splitlines() if line.startswith("poseloop ")]
    assert len(lines) == 8
    session = "none"
    for line in lines:
        words = [session if word == "SESSION" else word for word in shlex.split(line)[1:]]
        if words[0] == "run":
            words[words.index("10")] = "4"
        done = poseloop(*words, cwd=tmp_path)
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        if words[0] == "run":
            (session,) = map(str, (tmp_path / "sessions").iterdir())
        if words == ["replay", session]:
            assert "all decisions are the same, bit for bit" in done.stdout
        if "--model" in words:
            assert "the same, bit for bit" in done.stdout
    for code in blocks("python"):
        subprocess.run([sys.executable, "-c", code.replace("SESSION", session)], cwd=tmp_path, check=True)
    made = {file.name for file in tmp_path.iterdir()}
    assert {"first.html", "first.mp4", "first.nwb", "first.png", "tables"} <= made
