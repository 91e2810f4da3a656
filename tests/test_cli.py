"""The command line itself: what it says when a package is missing."""

from types import SimpleNamespace

import pytest

from poseloop.live import cli, plugins


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
