"""What every group of options is made of."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo

__all__ = ["Fps", "PluginTable", "RigPath", "Settings", "resolve"]


class Settings(BaseModel):
    """Base of every group of options: frozen, and strict about keys and types."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    EXCLUSIVE: ClassVar[Sequence[str]] = ()
    """Of a driver's: keys that name a device, which no two tables of a rig can have. A file may serve any number."""


def resolve(path: Path, info: ValidationInfo) -> Path:
    """Expand ``${NAME}`` and ``~``, and start at the rig file's folder, which the context tells.

    Raises:
        ValueError: an environment variable is not set.
    """
    text = os.path.expandvars(str(path))
    left = re.search(r"\$\{?(\w+)", text)
    if left:
        raise ValueError(f"the environment variable {left[1]} is not set; set it, or write the path out")
    folder = (info.context or {}).get("folder", Path())
    return Path(folder, Path(text).expanduser())


RigPath = Annotated[Path, AfterValidator(resolve)]
"""A path in a rig file: relative to the file's folder; ``${NAME}`` and ``~`` are expanded."""

Fps = Annotated[float, Field(ge=0.001, le=100_000)]
"""Frames a second, of which a period can be made that fits into a clock."""


class PluginTable(Settings):
    """A table with ``use``: the keys that all plugins of a kind share, and the plugin with its own options."""

    use: str
    """Which plugin: see ``poseloop devices``, or ``file.py:Class`` beside the rig file."""
    plugin: Any = None
    """The class that ``use`` names; not a key of the file."""
    options: Any = None
    """Its ``Settings``, made of the table's other keys; not a key of the file."""

    def build(self, name: str) -> Any:
        """Construct the plugin under its name in the rig file."""
        return self.plugin(name, self.options)
