"""The benchmark of calibration: a short run of it, and how it judges."""

import json
import sys
from pathlib import Path

import pytest

from poseloop.bench import calibration
from poseloop.bench.calibration import Row


def _run(monkeypatch: pytest.MonkeyPatch, report: Path, *words: str) -> tuple[int, dict[str, list[dict]]]:
    monkeypatch.setattr(sys, "argv", ["calibration", *words, "--report", str(report)])
    code = calibration.main()
    rows: dict[str, list[dict]] = json.loads(report.read_text(encoding="utf-8"))["recordings"]
    return code, rows


def test_the_quick_recording_holds_its_bars(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, recordings = _run(monkeypatch, tmp_path / "report.json", "--only", "stereo")
    assert code == 0
    assert [row["holds"] for row in recordings["stereo"]] == [True, True, True, None]
    assert "<= 0.23 px" in capsys.readouterr().out


def test_a_bar_that_does_not_hold_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [Row("RMS", "0.4 px", "<= 0.2 px", False), Row("time", "9 s")]
    monkeypatch.setattr(calibration, "_SETS", {"mine": lambda data, scratch: iter(rows)})
    code, recordings = _run(monkeypatch, tmp_path / "report.json")
    assert code == 1
    assert recordings["mine"][0] == {"what": "RMS", "measured": "0.4 px", "bar": "<= 0.2 px", "holds": False}
    assert "DOES NOT HOLD" in capsys.readouterr().out


def test_recordings_that_are_missing_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("POSELOOP_DATA", str(tmp_path))
    from poseloop.live import cli

    assert cli.main(["bench", "calibration", "--only", "stereo"]) == 1
    assert "POSELOOP_DATA" in capsys.readouterr().err
