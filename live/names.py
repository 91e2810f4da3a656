"""Names that options use for things of the rig: a keypoint, an output, an input.

Each is a type of its own, so that whoever reads a plugin's options finds what the plugin refers to (`find_names`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Self, TypeVar

from pydantic import BaseModel, GetCoreSchemaHandler
from pydantic_core import core_schema

__all__ = ["InputName", "KeypointName", "OutputName", "find_names"]


class _Name(str):
    __slots__ = ()

    @classmethod
    def _check(cls, name: str) -> Self:
        return cls(name)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(cls._check, core_schema.str_schema())


class KeypointName(_Name):
    """A keypoint of the model."""

    __slots__ = ()


class _LineName(_Name):
    __slots__ = ()

    @classmethod
    def _check(cls, name: str) -> Self:
        if not re.match(r"^[^.\s]+\.[^.\s]+$", name):
            raise ValueError(f"expected board.line, such as box.laser, but got {name!r}")
        return cls(name)


class OutputName(_LineName):
    """``board.line`` of an output, as both are named in the rig file."""

    __slots__ = ()


class InputName(_LineName):
    """``board.line`` of an input, as both are named in the rig file."""

    __slots__ = ()


_NameT = TypeVar("_NameT", bound=_Name)


def find_names(options: Any, kind: type[_NameT]) -> tuple[_NameT, ...]:
    """All names of one kind among a plugin's options, in the order of their fields, each once."""
    if isinstance(options, kind):
        return (options,)
    if isinstance(options, BaseModel):
        inner: Iterable[Any] = (getattr(options, name) for name in type(options).model_fields)
    else:
        inner = options if isinstance(options, (tuple, list)) else ()
    return tuple(dict.fromkeys(name for part in inner for name in find_names(part, kind)))
