"""Environments of the peers are made once, by pip, in the order that each needs; pip itself is not run here."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from poseloop.bench.peers import environments


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What is run, in order; an environment is an empty file where its Python would be."""
    commands: list[list[str]] = []

    def make(folder: Path, with_pip: bool) -> None:
        assert with_pip
        python = environments.python_of(folder)
        python.parent.mkdir(parents=True)
        python.touch()

    def run(command: list[Any], check: bool) -> None:
        assert check
        commands.append([str(word) for word in command])

    monkeypatch.setattr(environments.venv, "create", make)
    monkeypatch.setattr(subprocess, "run", run)
    return commands


@pytest.mark.parametrize("peer", sorted(environments.REQUIREMENTS))
def test_each_is_made_once(peer: str, tmp_path: Path, asked: list[list[str]]) -> None:
    python = environments.create(peer, tmp_path / peer)
    assert python == environments.python_of(tmp_path / peer)
    assert asked[0] == [str(python), "-m", "pip", "install", "--quiet", *environments.REQUIREMENTS[peer]]
    count = len(asked)
    assert environments.create(peer, tmp_path / peer) == python
    assert len(asked) == count


def test_sleapnn_comes_last_and_brings_nothing_along(tmp_path: Path, asked: list[list[str]]) -> None:
    environments.create("sleapnn", tmp_path / "sleapnn")
    assert not any(word.startswith("sleap-nn") for word in asked[0])
    assert asked[1][4:] == ["--quiet", "--no-deps", "sleap-nn==0.3.*"]


def test_half_of_one_is_not_left_behind(
    tmp_path: Path, asked: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(command: list[Any], check: bool) -> None:
        raise subprocess.CalledProcessError(1, command)

    monkeypatch.setattr(subprocess, "run", fails)
    with pytest.raises(subprocess.CalledProcessError):
        environments.create("sleapnn", tmp_path / "sleapnn")
    assert not (tmp_path / "sleapnn").exists()
    assert not asked
