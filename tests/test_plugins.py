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
    (tmp_path / "task.py").write_text("class Mine:\n    pass\n", encoding="utf-8")
    mine = plugins.load("protocol", "task.py:Mine", tmp_path)
    assert mine.__name__ == "Mine"
    assert plugins.load("protocol", "task.py:Mine", tmp_path) is mine
    with pytest.raises(ConfigError, match=r"has no 'Yours'; its classes are: Mine"):
        plugins.load("protocol", "task.py:Yours", tmp_path)


@pytest.mark.parametrize(
    ("source", "expected"), [(None, "there is no file"), ("1 / 0", "ZeroDivisionError"), ("import nowhere", "nowhere")]
)
def test_a_users_file_that_cannot_be_used(tmp_path: Path, source: str | None, expected: str) -> None:
    if source is not None:
        (tmp_path / "broken.py").write_text(source, encoding="utf-8")
    with pytest.raises(ConfigError, match=expected):
        plugins.load("protocol", "broken.py:Task", tmp_path)
