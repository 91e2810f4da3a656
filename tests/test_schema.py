"""The schema that editors use says the same as the models that validate."""

import json
import tomllib
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from repository import ROOT
from rigs import CORNER, SIMULATED, poseloop

from poseloop.live.schema import as_text, rig_schema

SHIPPED = ROOT / "live" / "rig.schema.json"
EXAMPLES = [*sorted((ROOT / "docs" / "rigs").glob("*.toml")), ROOT / "live" / "commands" / "demo.toml"]
VALIDATOR = Draft202012Validator(json.loads(SHIPPED.read_text(encoding="utf-8")))


def test_the_shipped_schema_is_current() -> None:
    expected = as_text(rig_schema(ours_only=True))
    assert SHIPPED.read_text(encoding="utf-8") == expected, (
        "run `poseloop schema --ours-only live/rig.schema.json` in the repository"
    )
    Draft202012Validator.check_schema(json.loads(expected))


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.name)
def test_our_rig_files_are_valid_and_name_the_schema(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    VALIDATOR.validate(tomllib.loads(text))
    if file.parent.name == "rigs":
        name = text.splitlines()[0].removeprefix("#:schema ")
        assert (file.parent / name).resolve() == SHIPPED


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("fps = 60", "fsp = 60"),
        ("fps = 60", 'fps = "60"'),
        ('use = "sim"\nfps', 'use = "kodak"\nfps'),
        ('use = "sim"\nfps', "fps"),
        ("pulse_ms = 20", "pulse_ms = 0"),
        ('name = "test"', 'nane = "test"'),
        ('name = "test"', 'name = "test"\nsync = {match = "luck"}'),
    ],
)
def test_it_finds_the_faults_that_the_models_find(old: str, new: str) -> None:
    text = SIMULATED + CORNER
    VALIDATOR.validate(tomllib.loads(text))
    assert old in text
    assert not VALIDATOR.is_valid(tomllib.loads(text.replace(old, new, 1)))


def test_a_class_of_the_users_own_may_have_any_keys() -> None:
    text = SIMULATED + 'use = "always.py:On"\nanything = 3\n'
    VALIDATOR.validate(tomllib.loads(text))


def test_the_command_writes_it(tmp_path: Path) -> None:
    done = poseloop("schema", "rig.schema.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / "rig.schema.json").read_text(encoding="utf-8"))
    assert set(VALIDATOR.schema["properties"]) == set(written["properties"])
    assert poseloop("schema", "absent/rig.schema.json", cwd=tmp_path).returncode == 1
