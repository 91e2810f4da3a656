"""A rig file as a whole: read, validated, its faults told together."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field, ValidationError

from poseloop.live import plugins
from poseloop.live.config.boards import BoardTable
from poseloop.live.config.settings import PluginTable, Settings
from poseloop.live.config.tables import (
    CameraModelTable,
    CameraTable,
    FilterTable,
    Gates,
    Geometry,
    ModelTable,
    ProtocolTable,
    Publish,
    Realtime,
    Record,
    Sync,
)
from poseloop.live.errors import ConfigError

__all__ = [
    "PLUGIN_TABLES",
    "Fault",
    "Rig",
    "build_rig",
    "explain",
    "load_rig",
    "parse_rig",
    "read_text",
    "validate",
]

_Name = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
_TYPE = re.compile(r"(float|int|str|bool|constrained-\w+)$|(literal|function-\w+|tuple|list)\[")
_DEVICES_OF_WINDOWS = {"CON", "PRN", "AUX", "NUL", *(f"{port}{n}" for port in ("COM", "LPT") for n in range(10))}


class Rig(Settings):
    """A whole rig file."""

    name: str = "rig"
    """Stands in reports and messages; the file's own name if it is not given."""
    seed: int = Field(0, ge=0)
    """Given to every protocol's ``reset``."""
    cameras: dict[str, CameraTable] = Field(min_length=1)
    sync: Sync = Sync()
    model: ModelTable
    models: dict[str, CameraModelTable] = Field(default_factory=dict)
    geometry: Geometry | None = None
    """Leave it out for a rig whose poses are in pictures only."""
    filter: FilterTable = FilterTable()
    publish: Publish = Publish()
    realtime: Realtime = Realtime()
    gates: Gates = Gates()
    record: Record | None = None
    """Leave it out for a run that is not recorded."""
    boards: dict[str, BoardTable] = Field(default_factory=dict)
    protocols: dict[str, ProtocolTable] = Field(default_factory=dict)

    def networks(self) -> list[tuple[ModelTable, tuple[int, ...]]]:
        """Return each model and the numbers of its cameras, in rig order."""
        names = list(self.cameras)
        others = [(table, tuple(names.index(camera) for camera in table.cameras)) for table in self.models.values()]
        taken = {number for _, numbers in others for number in numbers}
        rest = tuple(number for number in range(len(names)) if number not in taken)
        return [(self.model, rest), *((table, tuple(sorted(numbers))) for table, numbers in others)]


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with one key."""

    key: str
    text: str


_SettingsT = TypeVar("_SettingsT", bound=Settings)

PLUGIN_TABLES: Mapping[str, tuple[str, type[PluginTable]]] = {
    "cameras": ("camera", CameraTable),
    "boards": ("board", BoardTable),
    "protocols": ("protocol", ProtocolTable),
}
"""Section of a rig file whose tables name plugins → their kind, and the keys that they share."""


def load_rig(file: Path) -> Rig:
    """Read and validate a rig file.

    Raises:
        ConfigError: the file is missing, is no TOML, or holds wrong keys or values (all are listed).
    """
    return parse_rig(read_text(file), file)


def read_text(file: Path) -> str:
    """Read a rig file as text.

    Raises:
        ConfigError: it is missing or not UTF-8.
    """
    try:
        # Windows' Notepad may put a mark before the first letter.
        return file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"{file}: there is no such rig file") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{file}: expected a rig file (TOML, saved as UTF-8), but it is no such text") from None
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read as a rig file: {error.strerror}") from error


def parse_rig(text: str, file: Path, plugin_tables: Sequence[str] = tuple(PLUGIN_TABLES)) -> Rig:
    """Validate the text of a rig file.

    Args:
        text: TOML.
        file: where it came from: named in errors, and relative paths start at its folder.
        plugin_tables: which of ``cameras``, ``boards`` and ``protocols`` to load plugins for; the plugins of the
            others stay None. The engine has no need to import a user's protocol.

    Raises:
        ConfigError: lists every fault.
    """
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        hint = "; in a Windows path write / or put it in 'single quotes'" if "\\" in text else ""
        raise ConfigError(f"{file}: is not valid TOML: {error}{hint}") from error
    return build_rig(raw, file, plugin_tables)


def build_rig(raw: Mapping[str, Any], file: Path, plugin_tables: Sequence[str] = tuple(PLUGIN_TABLES)) -> Rig:
    """Validate the tables of a rig file; arguments and errors are those of `parse_rig`."""
    folder = file.parent
    faults: list[Fault] = []
    built: dict[tuple[str, str], Mapping[str, Any]] = {}
    common: dict[str, Any] = {"name": file.stem, **raw}
    for section, (kind, table_type) in PLUGIN_TABLES.items():
        tables = raw.get(section)
        if not isinstance(tables, dict):
            continue
        common[section] = {}
        for name, table in tables.items():
            key = f"{section}.{name}"
            if not _Name.match(name):
                faults.append(Fault(key, "expected a name of letters, digits, _ and -"))
            if not isinstance(table, dict):
                common[section][name] = table
                continue
            shared = set(table_type.model_fields) - {"plugin", "options"}
            common[section][name] = {k: v for k, v in table.items() if k in shared}
            if section not in plugin_tables or not isinstance(table.get("use"), str):
                continue
            own = {k: v for k, v in table.items() if k not in shared}
            try:
                plugin = plugins.load(kind, table["use"], folder)
                options = validate(plugin.Settings, own, folder)
                built[section, name] = {"plugin": plugin, "options": options}
                if section == "boards":
                    faults.extend(_pin_faults(key, table, getattr(plugin, "uses_pins", True)))
            except ConfigError as error:
                faults.append(Fault(f"{key}.use", str(error)))
            except ValidationError as error:
                faults.extend(explain(error, key, [*shared, *plugin.Settings.model_fields]))
    rig: Rig | None = None
    try:
        rig = validate(Rig, common, folder)
    except ValidationError as error:
        faults.extend(explain(error, "", list(Rig.model_fields)))
    if rig is not None:
        faults.extend(_contradictions(rig))
        faults.extend(_shared_devices(built))
    if faults or rig is None:
        lines = [f"  {fault.key}: {fault.text}" if fault.key else f"  {fault.text}" for fault in faults]
        count = "one fault" if len(faults) == 1 else f"{len(faults)} faults"
        raise ConfigError(f"{file}: {count}:\n" + "\n".join(lines))
    return rig.model_copy(
        update={
            section: {
                name: table.model_copy(update=built.get((section, name), {}))
                for name, table in getattr(rig, section).items()
            }
            for section in PLUGIN_TABLES
        }
    )


def validate(model: type[_SettingsT], table: Mapping[str, Any], folder: Path) -> _SettingsT:
    """Validate one table strictly; going through JSON keeps lists-for-tuples and words-for-enums, and nothing else.

    Raises:
        pydantic.ValidationError: keys or values are wrong.
    """
    text = json.dumps(table, default=str)
    return model.model_validate_json(text, strict=True, context={"folder": folder})


def _shared_devices(built: Mapping[tuple[str, str], Mapping[str, Any]]) -> list[Fault]:
    """Devices that two tables ask for: whichever is opened second would only say that it is in use."""
    faults = []
    owners: dict[tuple[Any, str, str], str] = {}
    for (section, name), made in built.items():
        for key in made["options"].EXCLUSIVE:
            value = getattr(made["options"], key)
            if value is None or (isinstance(value, Path) and value.is_file()):
                continue
            owner = owners.setdefault((made["plugin"], key, str(value)), f"{section}.{name}")
            if owner != f"{section}.{name}":
                text = f"expected a device of its own, but {value!r} is {owner}'s"
                faults.append(Fault(f"{section}.{name}.{key}", text))
    return faults


def _same_files(rig: Rig) -> list[Fault]:
    """Cameras whose files of a session could not be told apart, or made, on every system."""
    faults = []
    owners: dict[str, str] = {}
    for name in rig.cameras:
        if name.upper() in _DEVICES_OF_WINDOWS:
            faults.append(Fault(f"cameras.{name}", "expected another name: on Windows no file can be called so"))
        owner = owners.setdefault(name.casefold(), name)
        if owner != name:
            text = f"expected a name that differs from {owner!r} by more than capital letters: files are named by it"
            faults.append(Fault(f"cameras.{name}", text))
    return faults


def _contradictions(rig: Rig) -> list[Fault]:
    faults = [
        Fault(f"boards.{name}.lines.{line}", "expected a name of letters, digits, _ and -")
        for name, board in rig.boards.items()
        for line in board.lines
        if not _Name.match(line)
    ]
    triggers = [f"boards.{name}.camera_trigger" for name, board in rig.boards.items() if board.camera_trigger]
    if triggers and rig.sync.trigger != "hardware":
        found = f"but found {rig.sync.trigger!r}: no camera would obey it"
        faults.append(Fault(triggers[0], f'expected [sync] trigger = "hardware" beside it, {found}'))
    if len(triggers) > 1:
        faults.append(Fault(triggers[1], f"one pin triggers all cameras of a rig, but {triggers[0]} is there too"))
    if rig.geometry is not None and len(rig.cameras) < 2:
        faults.append(Fault("geometry", "expected two cameras or more, but the rig has one"))
    if rig.geometry is not None and rig.model.individuals > 1:
        text = f"expected individuals = 1 in [model], but found {rig.model.individuals}: nothing tells which animal of"
        faults.append(Fault("geometry", f"{text} one picture is which of another one"))
    return [*faults, *_same_files(rig), *_model_contradictions(rig)]


def _model_contradictions(rig: Rig) -> list[Fault]:
    faults = []
    owner: dict[str, str] = {}
    for name, table in rig.models.items():
        for camera in table.cameras:
            if camera not in rig.cameras:
                text = f"expected cameras of this rig ({', '.join(rig.cameras)}), but got {camera!r}"
                faults.append(Fault(f"models.{name}.cameras", text))
            elif camera in owner:
                text = f"expected one model for each camera, but {camera} is listed twice, in {owner[camera]} too"
                faults.append(Fault(f"models.{name}.cameras", text))
            owner[camera] = f"models.{name}"
        if table.individuals != rig.model.individuals:
            text = f"expected {rig.model.individuals}, as in [model], but got {table.individuals}"
            faults.append(Fault(f"models.{name}.individuals", text))
    if set(rig.cameras) <= set(owner):
        text = "no camera is left for it: give one of [models] as [model], without its cameras"
        faults.append(Fault("model", text))
    tables: dict[str, ModelTable] = {"model": rig.model}
    tables |= {f"models.{name}": table for name, table in rig.models.items()}
    for key, its in tables.items():
        for camera in its.roi:
            if camera not in rig.cameras or owner.get(camera, "model") != key:
                faults.append(Fault(f"{key}.roi.{camera}", "is no camera of this model"))
    return faults


def _pin_faults(key: str, table: Mapping[str, Any], uses_pins: bool) -> list[Fault]:
    lines = table.get("lines")
    wrong = [
        f"{key}.lines.{name}.pin"
        for name, line in (lines.items() if isinstance(lines, dict) else ())
        if isinstance(line, dict) and ("pin" in line) != uses_pins
    ]
    return [Fault(key, "is missing" if uses_pins else "the lines of this board have no pins") for key in wrong]


def explain(error: ValidationError, prefix: str, known: Sequence[str]) -> list[Fault]:
    """The faults that pydantic found, in words for people.

    Args:
        error: what `validate` raised.
        prefix: the key of the table that was validated.
        known: the keys that this table may have.
    """
    faults: dict[str, str] = {}
    for item in error.errors(include_url=False):
        # Where a value may be of several types pydantic tells of each, with the type in place of a key.
        where = item["loc"]
        if len(where) > 1 and _TYPE.match(str(where[-1])):
            where = where[:-1]
        key = ".".join(str(part) for part in (prefix, *where) if part != "")
        match item["type"]:
            case "extra_forbidden":
                own = known if len(item["loc"]) == 1 else ()
                near = get_close_matches(str(item["loc"][-1]), own, 1)
                guess = f"; did you mean {near[0]}?" if near else ""
                hint = f"; known here: {', '.join(sorted(own))}" if own else ""
                text = f"unknown key{guess}{hint}"
            case "missing":
                text = "is missing"
            case "value_error":
                text = str(item["ctx"]["error"]) if "ctx" in item else item["msg"]
            case _:
                message = item["msg"][0].lower() + item["msg"][1:]
                text = f"expected: {message.removeprefix('input should be ')}; found {item['input']!r}"
        before, found, what = faults.get(key, "").partition("; found ")
        if found and text.endswith(found + what):
            text = f"{before}, or {text.removeprefix('expected: ')}"
        faults[key] = text
    return [Fault(key, text) for key, text in faults.items()]
