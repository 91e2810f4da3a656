"""The keys of a rig file as tables: what their declarations say, for documents and for people at a terminal."""

from __future__ import annotations

import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from poseloop.live import plugins
from poseloop.live.config import (
    BoardTable,
    CameraModelTable,
    CameraTriggerTable,
    Crop,
    FilterTable,
    Gates,
    Geometry,
    LineTable,
    ModelTable,
    PluginTable,
    Publish,
    Realtime,
    Record,
    Sync,
    SyncTable,
)
from poseloop.protocols.sequence import Step
from poseloop.protocols.sight import Points
from poseloop.protocols.stimulus import OnCondition, Triggered

__all__ = ["Parameter", "parameters", "reference", "rig_reference"]

_UNITS = {
    "us": "µs",
    "ms": "ms",
    "s": "s",
    "gb": "GB",
    "minutes": "minutes",
    "px": "px",
    "mm": "mm",
    "deg": "degrees",
    "hz": "Hz",
}
"""Unit of a parameter by the end of its name; the help says it for the others."""

_RANGE = {"ge": "≥ {}", "gt": "> {}", "le": "≤ {}", "lt": "< {}", "min_length": "{} or more"}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One key of a protocol's table in the rig file."""

    name: str
    type: str
    unit: str
    range: str
    default: str
    """As in the file; empty = it must be given."""
    help: str


def parameters(settings: type[BaseModel], without: Sequence[type[BaseModel]] = ()) -> Sequence[Parameter]:
    """The parameters of a ``Settings`` class.

    Args:
        settings: the class.
        without: leave out what these declare.
    """
    elsewhere = {name for other in without for name in other.model_fields}
    return [_parameter(name, field) for name, field in settings.model_fields.items() if name not in elsewhere]


def reference() -> str:
    """The parameters of all installed protocols, as the part of a document (Markdown)."""
    common: Sequence[type[BaseModel]] = (Triggered.Settings, OnCondition.Settings, Points)
    titles = (
        "All but `sham` and `dlclive`",
        "`region`, `speed`, `posture`, `heading`",
        "What looks at points: these, `phase`, and conditions",
    )
    parts = [
        _section(title, parameters(settings, common[:number] if settings is not Points else ()))
        for number, (title, settings) in enumerate(zip(titles, common, strict=True))
    ]
    for name in plugins.installed("protocol"):
        settings = plugins.load("protocol", name).Settings
        shown = parameters(settings, common if issubclass(settings, Triggered.Settings) else ())
        parts.append(_section(f"`{name}`", shown))
    parts.append(_section("A step of `sequence`", parameters(Step)))
    return "\n".join(parts)


def rig_reference() -> str:
    """The tables of a rig file that all rigs share, as the part of a document (Markdown)."""
    plugged = (PluginTable,)  # how each of these is shown: `use`, and what it brings, is told in its own guide
    tables: Sequence[tuple[str, type[BaseModel], Sequence[type[BaseModel]]]] = (
        ("[sync]", Sync, ()),
        ("[model]", ModelTable, ()),
        ("[model.crop]", Crop, ()),
        ("[models.NAME]", CameraModelTable, (ModelTable,)),
        ("[geometry]", Geometry, ()),
        ("[filter]", FilterTable, ()),
        ("[gates]", Gates, ()),
        ("[boards.NAME]", BoardTable, plugged),
        ("[boards.NAME.lines.LINE]", LineTable, ()),
        ("[boards.NAME.camera_trigger]", CameraTriggerTable, ()),
        ("[boards.NAME.sync]", SyncTable, ()),
        ("[record]", Record, ()),
        ("[publish]", Publish, ()),
        ("[realtime]", Realtime, ()),
    )
    return "\n".join(_section(f"`{title}`", parameters(table, without)) for title, table, without in tables)


def _section(title: str, table: Sequence[Parameter]) -> str:
    lines = [f"### {title}", "", "| key | type | default | what |", "|---|---|---|---|"]
    for item in table:
        kind = ", ".join(part for part in (item.type, item.unit, item.range) if part)
        default = f"`{item.default}`" if item.default else "required"
        lines.append(f"| `{item.name}` | {kind} | {default} | {item.help} |")
    return "\n".join(lines) + "\n"


def _parameter(name: str, field: FieldInfo) -> Parameter:
    limits = []
    for limit in field.metadata:
        limits += [text.format(getattr(limit, key)) for key, text in _RANGE.items() if hasattr(limit, key)]
    default = field.get_default(call_default_factory=True, validated_data={})
    return Parameter(
        name=name,
        type=_type(field.annotation),
        unit=_UNITS.get(name.rpartition("_")[2], ""),
        range=", ".join(limits),
        default="" if default is PydanticUndefined else _value(default),
        help=" ".join((field.description or "").split()).replace("``", "`"),
    )


def _type(annotation: Any) -> str:
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _type(inner[0])
    if origin is Literal:
        return " or ".join(f"`{word}`" for word in inner)
    if origin in (typing.Union, types.UnionType):
        kinds = dict.fromkeys(_type(part) for part in inner if part is not type(None))
        return " or ".join(kinds)
    if origin is tuple:
        parts = [_type(part) for part in inner if part is not ...]
        return f"[{parts[0]}, …]" if ... in inner else f"[{', '.join(parts)}]"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "table"
    names = {"str": "text", "KeypointName": "keypoint", "OutputName": "output", "InputName": "input", "int": "integer"}
    name = getattr(annotation, "__name__", str(annotation))
    return {"float": "number", "bool": "true or false", "dict": "table", "Any": "table", "Path": "path"}.get(
        name, names.get(name, "table" if origin is dict else name)
    )


def _value(default: Any) -> str:
    if default is None:
        return "none"
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, str):
        return f'"{default}"'
    if isinstance(default, (tuple, list)):
        return f"[{', '.join(map(_value, default))}]"
    return "{}" if isinstance(default, dict) else f"{default:g}"
