"""Lint, types and import directions are tests, so that one command checks everything."""

import shutil
import subprocess
import sysconfig

import pytest
from repository import FOLDERS, ROOT
from typing_tree import link_folders

SCRIPTS = sysconfig.get_path("scripts")


def check(*command: str) -> None:
    tool = shutil.which(command[0], path=SCRIPTS)
    assert tool, f"expected {command[0]} in {SCRIPTS}: install the extra `dev`"
    done = subprocess.run([tool, *command[1:]], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.fail(f"{' '.join(command)}\n{done.stdout}{done.stderr}", pytrace=False)


def test_ruff_finds_nothing() -> None:
    check("ruff", "check", "--quiet", "--output-format=concise", ".")


def test_code_is_formatted() -> None:
    check("ruff", "format", "--check", "--quiet", ".")


def test_mypy_finds_nothing() -> None:
    link_folders(ROOT)
    check("mypy", "--no-error-summary", "--hide-error-context")


def test_plugins_keep_to_their_seams() -> None:
    link_folders(ROOT)
    check("mypy", "--no-error-summary", "tests/seams.py")


def test_imports_point_one_way() -> None:
    check("lint-imports", "--no-cache")


def test_typing_tree_links_each_folder(tmp_path) -> None:
    for folder in FOLDERS:
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").touch()
    for _ in range(2):  # the second time finds the links
        tree = link_folders(tmp_path)
    assert sorted(path.name for path in (tree / "poseloop").iterdir()) == sorted(FOLDERS)
    assert all((tree / "poseloop" / folder / "__init__.py").is_file() for folder in FOLDERS)
