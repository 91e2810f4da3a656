"""Every benchmark says what it does, on a terminal of the usual width."""

import importlib
import sys

import pytest
from repository import ROOT

SCRIPTS = [
    ".".join(file.relative_to(ROOT / "bench").with_suffix("").parts)
    for file in sorted((ROOT / "bench").rglob("*.py"))
    if "(description=__doc__" in (text := file.read_text(encoding="utf-8")) or "make_parser(__doc__" in text
]


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
    assert [line for line in lines if len(line) > 80] == []
