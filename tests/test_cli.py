"""The command line itself: what it says when a package is missing."""

import re
import subprocess
import sys
from importlib.metadata import packages_distributions, requires
from types import SimpleNamespace

import pytest

from poseloop.live import cli, plugins
from poseloop.live.errors import ConfigError


def _command(missing: str) -> SimpleNamespace:
    def run(arguments: object) -> int:
        raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)

    return SimpleNamespace(HELP="try", add_arguments=lambda parser: None, run=run)


@pytest.mark.parametrize(
    ("missing", "extra"),
    [("onnx", "train"), ("tensorflow.keras", "train"), ("pandas", "tracks"), ("ndx_pose", "sessions")],
)
def test_a_package_of_an_extra_that_is_missing_is_told_with_the_extra(
    missing: str, extra: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(plugins, "load", lambda kind, name: _command(missing))
    assert cli.main(["train"]) == 1
    assert capsys.readouterr().err.endswith(f"pip install 'poseloop[{extra}]'\n")


@pytest.mark.parametrize("missing", ["poseloop.live.nothing", "nobody_knows_it"])
def test_a_module_that_no_extra_brings_is_a_bug_and_shown_as_one(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "load", lambda kind, name: _command(missing))
    with pytest.raises(ModuleNotFoundError):
        cli.main(["train"])


def test_help_needs_no_package_of_any_extra() -> None:
    names = [(re.split(r"[^\w-]", needed)[0].lower(), "extra ==" in needed) for needed in requires("poseloop") or ()]
    extras = {name for name, extra in names if extra} - {name for name, extra in names if not extra} - {"poseloop"}
    missing = [module for module, owners in packages_distributions().items() if extras & {o.lower() for o in owners}]
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({missing!r}));"
        "from poseloop.live.cli import main; sys.exit(main(['--help']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, encoding="utf-8", timeout=120)
    assert done.returncode == 0, done.stderr
    assert "cannot be loaded" not in done.stdout


def test_a_command_that_cannot_be_loaded_is_named_in_the_list(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    load = plugins.load

    def refuse(kind: str, use: str) -> object:
        if use == "train":
            raise ConfigError("broken at 100 %")
        return load(kind, use)

    monkeypatch.setattr(plugins, "load", refuse)
    with pytest.raises(SystemExit) as ended:
        cli.main(["--help"])
    assert ended.value.code == 0
    listed = capsys.readouterr().out
    assert "broken at 100 %" in listed
    assert "simulate" in listed
    assert cli.main(["train"]) == 1
    assert "broken at 100 %" in capsys.readouterr().err
