"""The list of targets, the command that measures and tells them, and the table of the docs."""

import argparse
import importlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from repository import ROOT

from poseloop.bench import target_runs, targets
from poseloop.bench.short import SHORT
from poseloop.bench.target_list import TARGETS, Target
from poseloop.bench.target_runs import RUNS, Places
from poseloop.live import cli, realtime

RESULTS, PAGE = ROOT / "bench" / "results", ROOT / "docs" / "performance.md"
COMMAND = "poseloop bench targets --from bench/results --machine 2-core-vm --machine h200 --write docs/performance.md"
PEAKS = {"us": {"argmax": {"p50": 8.0}, "centroid 3x3": {"p50": 30.0}, "numpy.argmax alone": {"p50": 99.0}}}


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal in which no row is wrapped."""
    monkeypatch.setenv("COLUMNS", "500")


def run(*words: object) -> int:
    return cli.main(["bench", "targets", *map(str, words)])


def test_the_table_of_the_docs_is_made_from_the_committed_results() -> None:
    assert COMMAND in " ".join(PAGE.read_text(encoding="utf-8").split())
    found = {one.name: targets.read(one, RESULTS, ["2-core-vm", "h200"]) for one in RUNS}
    assert targets.written(PAGE, targets.rows(found)) == PAGE.read_text(encoding="utf-8"), f"run: {COMMAND}"


def test_every_target_is_of_a_run_and_every_run_has_a_target() -> None:
    assert {target.run for target in TARGETS} == {one.name for one in RUNS}


class _ParsedError(Exception):
    """The arguments were understood."""


@pytest.mark.parametrize("name", [one.name for one in RUNS])
@pytest.mark.parametrize("short", [False, True])
def test_a_benchmark_understands_its_arguments(
    name: str, short: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    parse = argparse.ArgumentParser.parse_args

    def parse_only(parser: argparse.ArgumentParser, words: Sequence[str] | None = None) -> Any:
        parse(parser, words)
        raise _ParsedError

    (one,) = (one for one in RUNS if one.name == name)
    there = {name: target_runs.Need("", "", lambda places: "x") for name in target_runs.NEEDS}
    monkeypatch.setattr(target_runs, "NEEDS", there)
    # Neither for all tests that follow, nor permitted everywhere.
    monkeypatch.setattr(realtime, "stay_awake", lambda: None)
    words = [*one.words(Places(tmp_path)), *(SHORT[one.bench] if short else ())]
    monkeypatch.setattr(sys, "argv", [name, *words, "--report", "r.json"])
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_only)
    with pytest.raises(_ParsedError):
        importlib.import_module(f"poseloop.bench.{one.bench}").main()


def test_what_is_measured_stands_beside_its_target(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "table.json"
    # A short run's numbers lie in a file of their own, which nothing takes for a measurement.
    assert run("--into", tmp_path, "--only", "peaks", "--short", "--report", report) == 0
    assert json.loads((tmp_path / "peaks-short.json").read_text())["rounds"] == 5
    assert "these numbers say nothing" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        run("--into", tmp_path, "--only", "peaks", "--short", "--write", PAGE)
    (found,) = (row for row in json.loads(report.read_text())["targets"] if row["run"] == "peaks")
    assert found["value"] > 0
    assert run("--from", tmp_path, "--report", report) == 0
    assert not any(row["value"] for row in json.loads(report.read_text())["targets"])


def test_a_target_that_is_missed_is_told_and_no_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "peaks-rig.json").write_text(json.dumps(PEAKS))
    assert run("--from", tmp_path, "--machine", "other", "--machine", "rig") == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "decoding 12 maps" in line)
    assert line.split()[:6] == ["missed", "30", "µs", "≤", "25", "µs"]
    assert "peaks-rig.json" in line


@pytest.mark.parametrize(
    ("run_name", "report"),
    [
        ("peaks", {**PEAKS, "short": True}),
        ("soak", {"minutes": 1.0, "memory_grown_mb": 0.1, "p99_ratio": {"first_third": 1.0, "last_third": 1.0}}),
        ("pipeline-200", {"awake": True, "added_ms": {"median": 0.1, "p99": 0.1, "received_median": 0.1}}),
        ("pipeline-200-awake", {"awake": False, "added_ms": {"median": 0.1, "p99": 0.1, "received_median": 0.1}}),
        ("cameras", {"runs": [{"pulses": 100, "cameras": {}}] * 2}),
    ],
)
def test_what_was_run_otherwise_is_no_measurement(
    run_name: str, report: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / f"{run_name}.json").write_text(json.dumps(report))
    assert run("--from", tmp_path) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if f"{run_name}.json" in line]
    assert lines
    assert all(line.split()[:2] == ["not", "measured"] for line in lines)


@pytest.mark.parametrize(
    ("least", "value", "met"), [(False, 2, True), (False, 2.1, False), (True, 2, True), (True, float("nan"), False)]
)
def test_a_bar_is_the_most_or_the_least(least: bool, value: float, met: bool) -> None:
    assert Target("", "", "", lambda report: 0, 2, least=least).met(value) == met


def test_what_is_not_here_is_listed_with_how_to_get_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("POSELOOP_DATA", raising=False)
    assert run("--into", tmp_path, "--only", "predict", "peers-dlclive", "--peers", tmp_path) == 0
    lines = capsys.readouterr().out.splitlines()
    (predict,) = (line for line in lines if "`predict` beside" in line)
    assert "not measured" in predict
    assert "let POSELOOP_DATA be their folder" in predict
    peers = [line for line in lines if "deeplabcut-live" in line]
    assert all("poseloop bench peers.environments dlclive ~/peers" in line for line in peers)
    assert not list(tmp_path.iterdir())


def test_a_part_that_needs_a_peer_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "triangulation.json").write_text(json.dumps({"us": {}, "ratios": {}, "errors": {}}))
    assert run("--from", tmp_path) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "aniposelib, fast" in line]
    assert "needs aniposelib" in lines[0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--from", "none", "--only", "everything"), "--only: expected some of peers-dlclive"),
        (("--from", ".", "--write", "page.md"), "page.md: expected the lines <!-- targets -->"),
        (("--from", "broken"), "expected a report"),
        (("--from", "other"), "expected a report of peaks"),
    ],
)
def test_mistakes_are_told(
    words: Sequence[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("page.md").write_text("no table here")
    for folder, text in (("broken", "{"), ("other", '{"us": [1]}')):
        Path(folder).mkdir()
        (Path(folder) / "peaks.json").write_text(text)
    assert run(*words) == 1
    assert said in capsys.readouterr().err


def test_a_benchmark_that_fails_is_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = [target_runs.Run("peaks", "peaks", ("--rounds", "many"))]
    monkeypatch.setattr(targets, "RUNS", [*broken, *(one for one in RUNS if one.name != "peaks")])
    (tmp_path / "peaks.json").write_text(json.dumps(PEAKS))
    assert run("--into", tmp_path, "--only", "peaks") == 1
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "decoding 12 maps" in line)
    assert "it failed with exit code 2" in line
    # The old report is neither taken for the new one nor lost.
    assert json.loads((tmp_path / "peaks.json").read_text()) == PEAKS
    assert [file.name for file in tmp_path.iterdir()] == ["peaks.json"]


def test_no_row_is_wider_than_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    run("--from", tmp_path)
    assert max(len(line) for line in capsys.readouterr().out.splitlines()) <= 80


def test_a_folder_of_reports_that_is_not_there_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--from", tmp_path / "nothing") == 1
    assert "there is no such folder" in capsys.readouterr().err
