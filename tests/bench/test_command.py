import json
from pathlib import Path
from typing import Any

import pytest

from poseloop.bench import command
from poseloop.live import cli


def run(*arguments: object) -> int:
    return cli.main(["bench", *map(str, arguments)])


def report(file: Path, **durations: float) -> Path:
    cells = {name: {"p50": value, "p99": 2 * value} for name, value in durations.items()}
    file.write_text(json.dumps({"us": cells, "machine": {"cores": 2}, "versions": {"numpy": "2"}}))
    return file


def test_every_script_is_listed_with_what_it_measures(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    said = capsys.readouterr().out
    for name, about in command.benchmarks().items():
        assert name in said
        assert about
    assert {"peaks", "pipeline", "inference", "peers.dlclive"} <= set(command.benchmarks())
    assert not {"prepared", "measuring", "command", "peers.graphs", "peers.dlclive_worker"} & set(command.benchmarks())
    assert max(map(len, said.splitlines())) <= 100


def test_one_is_run_with_its_own_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("peaks", "--rounds", 5, "--rows", 12, "--columns", 16, "--report", tmp_path / "one.json") == 0
    assert "12x16" in capsys.readouterr().out
    assert json.loads((tmp_path / "one.json").read_text())["rounds"] == 5


def test_a_run_is_compared_with_an_earlier_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ("--rounds", 5, "--rows", 12, "--columns", 16)
    file = tmp_path / "one.json"
    assert run("peaks", *small, "--report", file) == 0
    assert run("peaks", *small, "--report", file, "--compare", file) == 0
    assert "now / before" in capsys.readouterr().out


def test_what_became_slower_is_pointed_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = report(tmp_path / "old.json", a=1.0, b=1.0), report(tmp_path / "new.json", a=1.5, b=1.02)
    assert run("--compare", old, "--with", new) == 0
    lines = {line.split()[2]: line for line in capsys.readouterr().out.splitlines() if " / " in line[:10]}
    assert lines["a"].endswith("slower")
    assert not lines["b"].endswith("slower")


def test_another_machine_is_pointed_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = report(tmp_path / "old.json", a=1.0), report(tmp_path / "new.json", a=1.0)
    content: dict[str, Any] = json.loads(new.read_text())
    content["machine"]["cores"] = 16
    new.write_text(json.dumps(content))
    assert run("--compare", old, "--with", new) == 0
    assert "cores was 2, is 16" in capsys.readouterr().out


def test_distributions_are_found_at_any_depth() -> None:
    found = dict(command.rows({"rows": [{"ms": {"cpu": {"p50": 1.5, "p99": 2, "n": 7}}}], "median": 3}))
    assert found == {"rows / 0 / ms / cpu": {"p50": 1.5, "p99": 2.0}}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing"], "expected one of the benchmarks"),
        (["peaks", "--compare", "none.json"], "none.json"),
        (["--compare", "none.json"], "expected the name of a benchmark"),
        (["--with", "none.json"], "expected --compare"),
        (["peaks", "--report", "no/where/one.json"], "one.json"),
    ],
)
def test_mistakes_are_told(
    arguments: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 1
    assert words in capsys.readouterr().err


def test_a_report_of_something_else_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = report(tmp_path / "old.json", a=1.0), report(tmp_path / "new.json", b=1.0)
    assert run("--compare", old, "--with", new) == 1
    assert "nothing" in (said := capsys.readouterr().err) or "no duration in common" in said


def test_a_picture_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    one = report(tmp_path / "one.json", a=1.0, b=3.0)
    assert run("--compare", one, "--with", one, "--plot", tmp_path / "one.png") == 0
    assert (tmp_path / "one.png").read_bytes().startswith(b"\x89PNG")
