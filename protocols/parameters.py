"""A protocol's parameters as a table: what their declaration says, for documents and for people at a terminal."""

from __future__ import annotations

import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

__all__ = ["Parameter", "as_markdown", "parameters"]

_UNITS = {"ms": "ms", "s": "s", "px": "px", "mm": "mm", "deg": "degrees", "hz": "Hz"}
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


def parameters(settings: type[BaseModel]) -> Sequence[Parameter]:
    """All parameters of a ``Settings`` class: its own first, then those that are common to many."""
    return [_parameter(name, field) for name, field in settings.model_fields.items()]


def as_markdown(table: Sequence[Parameter]) -> str:
    """A table for a document."""
    lines = ["| key | type | default | what |", "|---|---|---|---|"]
    for item in table:
        kind = " ".join(part for part in (item.type, item.unit, item.range) if part)
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
        return "[]"
    return "{}" if isinstance(default, dict) else f"{default:g}"
