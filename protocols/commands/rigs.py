"""The rig of a replay: that of the command's words, with recordings for cameras."""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from poseloop.live import config
from poseloop.live.config import Rig, build_rig, read_text
from poseloop.live.errors import ConfigError
from poseloop.live.output.session import Session
from poseloop.live.types import Colour
from poseloop.live.vision import Network

__all__ = ["rig_of_session", "rig_of_videos"]

_FREE = "tcp://127.0.0.1:*"
_SOCKETS = {"poses": _FREE, "health": _FREE, "previews": _FREE}

_DECIDING = ("protocols", "boards", "gates", "seed")
"""What another rig file changes in the replay of a session."""


def rig_of_videos(arguments: argparse.Namespace) -> Rig:
    """The rig for a video, or a folder of pictures, for each camera.

    Raises:
        ConfigError: words or rig file are wrong, or do not fit each other.
    """
    raw, file = _tables(arguments)
    if arguments.model is not None:
        raw["model"] = {**raw.get("model", {}), "file": _model(arguments.model)}
    if "file" not in raw.get("model", {}):
        raise ConfigError("expected --model, or a --rig that names one")
    # Only to know what the network wants; the path is the rig file's.
    model_table = config.validate(config.ModelTable, raw["model"], file.parent)
    grey = Network.describe(model_table.file).colour is Colour.GREY
    names = list(raw.get("cameras", {})) or ["camera"]
    if len(names) != len(arguments.recording):
        raise ConfigError(
            f"expected a recording for each camera of the rig ({', '.join(names)}), but got {len(arguments.recording)}"
        )
    raw["cameras"] = {
        name: {
            "use": "replay",
            "path": str(path.absolute()),
            "pace": "none",
            "colour": "grey" if grey else "rgb",
            **({} if arguments.fps is None else {"fps": arguments.fps}),
        }
        for name, path in zip(names, arguments.recording, strict=True)
    }
    raw["publish"] = _SOCKETS
    raw.pop("record", None)
    return build_rig(raw, file, ("cameras", "protocols"))


def rig_of_session(session: Session, arguments: argparse.Namespace) -> Rig:
    """The rig of a session with the session's own files in it, and with what the words change.

    Raises:
        ConfigError: words or rig file are wrong, or do not fit each other.
    """
    file = session.folder / "rig.toml"
    raw = _read(file)
    raw["cameras"] = {name: _camera(session, name) for name in session.cameras}
    for name, part in session.models.items():
        table = raw["model"] if name == "model" else raw["models"][name]
        table["file"] = str(part.file.absolute())
    if "geometry" in raw and session.calibration:
        raw["geometry"]["calibration"] = str(session.calibration.file.absolute())
    raw["publish"] = _SOCKETS
    raw.pop("record", None)
    if arguments.model is not None:
        raw["model"]["file"] = _model(arguments.model)
    if arguments.rig is not None:
        if arguments.set:
            raise ConfigError("--set is for a replay without --rig: change the rig file")
        file = arguments.rig
        other = _read(file)
        for key in _DECIDING:
            raw.pop(key, None)
        raw |= {key: other[key] for key in _DECIDING if key in other}
    if arguments.protocol in raw.get("protocols", {}) or arguments.rig is not None:
        _choose(raw, arguments.protocol)
    elif arguments.protocol is not None:
        # Its file, if it has one, lies where the command was given.
        file = Path("replay.toml").absolute()
        raw["protocols"] = {"protocol": _table(arguments)}
        raw["boards"] = {}
        raw["boards"] = _boards(raw, file)
    elif arguments.set:
        raise ConfigError("--set is for a protocol that --protocol names")
    return build_rig(raw, file, ("cameras", "protocols"))


def _camera(session: Session, name: str) -> Mapping[str, Any]:
    footage = session.footage.get(name)
    path = footage.file if footage else session.folder / f"{name}.mkv"
    grey = footage is not None and footage.colour is Colour.GREY
    return {"use": "replay", "path": str(path.absolute()), "pace": "none", "colour": "grey" if grey else "rgb"}


def _read(file: Path) -> dict[str, Any]:
    text = read_text(file)
    # Its faults are told in its own words before anything is exchanged.
    config.parse_rig(text, file, ("protocols",))
    return tomllib.loads(text)


def _choose(raw: dict[str, Any], protocol: str | None) -> None:
    """Keep one of a rig's protocols, or all."""
    if protocol is None:
        return
    known = raw.get("protocols", {})
    if protocol not in known:
        raise ConfigError(f"expected --protocol to be one of {', '.join(known)}, but got {protocol!r}")
    raw["protocols"] = {protocol: known[protocol]}


def _model(name: str) -> str:
    # Paths in a rig file start at its folder, those of a command where it was given.
    return str(Path(name).absolute()) if Path(name).suffix == ".onnx" else name


def _table(arguments: argparse.Namespace) -> dict[str, Any]:
    return {"use": arguments.protocol, **_options(arguments.set)}


def _tables(arguments: argparse.Namespace) -> tuple[dict[str, Any], Path]:
    if arguments.rig is not None:
        if arguments.set:
            raise ConfigError("--set is for a replay without --rig: change the rig file")
        raw = _read(arguments.rig)
        _choose(raw, arguments.protocol)
        return raw, arguments.rig
    if arguments.protocol is None:
        raise ConfigError("expected --rig FILE, or --model and --protocol")
    raw = {"cameras": {"camera": {"use": "replay"}}, "protocols": {"protocol": _table(arguments)}}
    file = Path("replay.toml").absolute()
    raw["boards"] = _boards(raw, file)
    return raw, file


def _options(settings: Sequence[str]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        try:
            options |= tomllib.loads(f"{key} = {value}")
        except tomllib.TOMLDecodeError:
            # A word without quotes: they are lost in every shell.
            options[key.strip()] = value.strip()
        if not equals:
            raise ConfigError(f"expected --set KEY=VALUE, such as --set pulse_ms=20, but got {setting!r}")
    return options


def _boards(raw: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """Boards on which the protocol's lines do all that it can ask for."""
    rig = build_rig({**raw, "model": {"file": "blob"}}, file, ("protocols",))
    boards: dict[str, Any] = {}
    for name, table in rig.protocols.items():
        for pin, output in enumerate(table.build(name).outputs, 2):
            board, _, line = output.partition(".")
            lines = boards.setdefault(board, {"use": "paper", "lines": {}})["lines"]
            lines[line] = {"pin": pin, "kinds": ["pulse", "train", "level"], "max_on_ms": 3_600_000}
    return boards
