"""Finds cameras, boards, protocols, runtimes, commands and starts: the only place that loads what others install.

A plugin is named by its entry point (``use = "replay"``; groups below) or, where a rig file allows it, by a file of the
user's own (``use = "my_task.py:RewardWhenStill"``, relative to the rig file). A plugin is loaded when it is asked for,
never at import.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from poseloop.live.errors import ConfigError, UnknownPlugin

__all__ = ["KINDS", "from_file", "installed", "load"]

KINDS = {
    "camera": "poseloop.cameras",
    "board": "poseloop.boards",
    "protocol": "poseloop.protocols",
    "runtime": "poseloop.runtimes",
    "command": "poseloop.commands",
    "start": "poseloop.starts",  # of `poseloop new`
}
"""Kind of plugin → entry-point group."""

_PARTS = {
    "camera": ("Settings", "open", "start", "grab", "stop", "close"),
    "board": ("Settings", "open", "configure", "arm", "disarm", "renew", "send", "events", "off", "close"),
    "protocol": ("Settings", "needs", "outputs", "camera", "bind", "reset", "decide", "take_notes", "close"),
    "runtime": ("check", "open", "run", "close"),
    "command": ("HELP", "add_arguments", "run"),
    "start": ("HELP", "add_arguments", "run"),
}
"""What tells, before anything is constructed, that a class is of the kind it is used as."""


def _points(kind: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=KINDS[kind])}


def installed(kind: str, ours_only: bool = False) -> Sequence[str]:
    """Names of the installed plugins of one kind, sorted; ``ours_only`` leaves out those of other packages."""
    return sorted(name for name, point in _points(kind).items() if not ours_only or point.value.startswith("poseloop."))


def load(kind: str, use: str, folder: Path | None = None) -> Any:
    """Return the class (or, for commands, the module) that ``use`` names.

    Args:
        kind: a key of `KINDS`.
        use: an entry point's name, ``file.py:Name`` for a class in a user's own file, or ``adapter:file.py:Name`` for a
            class that an installed plugin makes one of our kind of (its ``adapt(use, folder)``).
        folder: where a relative file is looked up; None = files are not allowed here.

    Raises:
        UnknownPlugin: nothing of that name is installed.
        ConfigError: the user's file or the class in it is missing, or an installed plugin cannot be imported.
    """
    points = _points(kind)
    adapter, _, rest = use.partition(":")
    if folder is not None and ":" in use:
        if adapter not in points or ":" not in rest:
            return _checked(kind, use, from_file(use, folder))
        adapt = getattr(load(kind, adapter), "adapt", None)
        if adapt is None:
            raise ConfigError(f"use = {use!r}: the {kind} {adapter!r} takes no class of a file")
        return _checked(kind, use, adapt(rest, folder))
    if use not in points:
        raise UnknownPlugin(kind, use, list(points))
    try:
        return _checked(kind, use, points[use].load())
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"the {kind} {use!r} is installed ({points[use].value}) but cannot be loaded: {error}. "
            f"Install what it needs, or reinstall the package that provides it"
        ) from error


def _checked(kind: str, use: str, found: Any) -> Any:
    absent = [part for part in _PARTS[kind] if not hasattr(found, part)]
    if absent:
        raise ConfigError(f"use = {use!r}: expected a {kind}, but {found!r} has no {', '.join(absent)}")
    return found


def from_file(use: str, folder: Path) -> Any:
    """What ``file.py:Name`` names in a user's own file; the file is run once in a process.

    Raises:
        ConfigError: the file or the name in it is missing, or the file cannot be imported.
    """
    file_name, _, attribute = use.rpartition(":")
    file = (folder / file_name).resolve()
    if not file.is_file():
        raise ConfigError(f"use = {use!r}: there is no file {file}")
    module_name = f"_poseloop_user_{file.stem}_{abs(hash(file)):x}"
    module = sys.modules.get(module_name)
    if module is None:
        spec = importlib.util.spec_from_file_location(module_name, file)
        if spec is None or spec.loader is None:
            raise ConfigError(f"use = {use!r}: expected a Python file (.py), but got {file}")
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module
        try:
            spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:
            # Anything can go wrong while a user's file runs; all of it is an error in that file.
            del sys.modules[module_name]
            raise ConfigError(f"use = {use!r}: {file} cannot be imported: {type(error).__name__}: {error}") from error
    if not hasattr(module, attribute):
        classes = ", ".join(name for name, value in vars(module).items() if isinstance(value, type))
        raise ConfigError(f"use = {use!r}: {file} has no {attribute!r}; its classes are: {classes or 'none'}")
    return getattr(module, attribute)
