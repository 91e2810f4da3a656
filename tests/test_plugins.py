from pathlib import Path

import pytest

from poseloop.live import plugins
from poseloop.live.errors import ConfigError, UnknownPlugin


def test_every_installed_plugin_loads() -> None:
    for kind in plugins.KINDS:
        assert plugins.installed(kind)
        for name in plugins.installed(kind):
            assert plugins.load(kind, name) is not None


def test_an_unknown_name_lists_what_is_installed() -> None:
    with pytest.raises(UnknownPlugin, match=r"no camera is called 'kodak'; installed: .*replay.*sim"):
        plugins.load("camera", "kodak")


def test_a_class_in_a_users_file(tmp_path: Path) -> None:
    source = "from poseloop.protocols import Protocol as P\n\n\nclass Mine(P):\n    pass\n\n\nclass Bare:\n    pass\n"
    (tmp_path / "task.py").write_text(source, encoding="utf-8")
    mine = plugins.load("protocol", "task.py:Mine", tmp_path)
    assert mine.__name__ == "Mine"
    assert plugins.load("protocol", "task.py:Mine", tmp_path) is mine
    with pytest.raises(ConfigError, match=r"has no 'Yours'; its classes are: P, Mine, Bare"):
        plugins.load("protocol", "task.py:Yours", tmp_path)
    with pytest.raises(ConfigError, match=r"expected a protocol, but .*Bare.* has no Settings, needs"):
        plugins.load("protocol", "task.py:Bare", tmp_path)
    with pytest.raises(ConfigError, match=r"expected a camera, but .*Mine.* has no open"):
        plugins.load("camera", "task.py:Mine", tmp_path)


@pytest.mark.parametrize(
    ("source", "expected"),
    [(None, "there is no file"), ("1 / 0", "ZeroDivision"), ("import nowhere", "nowhere"), ("exit()", "Exit")],
)
def test_a_users_file_that_cannot_be_used(tmp_path: Path, source: str | None, expected: str) -> None:
    if source is not None:
        (tmp_path / "broken.py").write_text(source, encoding="utf-8")
    with pytest.raises(ConfigError, match=expected):
        plugins.load("protocol", "broken.py:Task", tmp_path)
