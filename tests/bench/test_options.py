"""Every benchmark says what it does, on a terminal of the usual width."""

import importlib
import sys

import pytest
from repository import ROOT

SCRIPTS = sorted(file.stem for file in (ROOT / "bench").glob("*.py") if "__main__" in file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_fits_a_narrow_terminal(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    script = importlib.import_module(f"poseloop.bench.{name}")
    with pytest.raises(SystemExit) as end:
        script.main()
    assert end.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert any("--report FILE.json" in line for line in lines)
    # A command that is to be typed is never broken within a word.
    assert [line for line in lines if len(line) > 80] == []
