"""JSON Schema of rig.toml, from the same models that validate it: editors complete keys and mark faults with it."""

from __future__ import annotations

import json
from typing import Any

from poseloop.live import plugins
from poseloop.live.config import PLUGIN_TABLES, Rig

__all__ = ["as_text", "rig_schema"]

_FILE = r".\.py:."
"""``use = "my_task.py:RewardWhenStill"``: nothing is known of its keys."""

_NOT_KEYS = ("plugin", "options")


def rig_schema(ours_only: bool = False) -> dict[str, Any]:
    """The schema of every rig file that is valid here: our own keys, and those of all installed plugins.

    Args:
        ours_only: leave out plugins of other packages, so that the result depends on this package alone.

    Raises:
        ConfigError: an installed plugin cannot be loaded.
    """
    schema = Rig.model_json_schema()
    definitions = schema["$defs"]
    for section, (kind, table) in PLUGIN_TABLES.items():
        shared = definitions.pop(table.__name__)
        for key in _NOT_KEYS:
            del shared["properties"][key]
        variants = []
        for name in plugins.installed(kind, ours_only):
            settings = plugins.load(kind, name).Settings.model_json_schema()
            for inner, definition in settings.pop("$defs", {}).items():
                if definitions.setdefault(inner, definition) != definition:
                    raise ValueError(f"two groups of settings are called {inner!r}: rename the one of {kind} {name!r}")
            variants.append(_variant(shared, settings, {"const": name}))
        own_file = {"properties": {}, "additionalProperties": True, "required": []}
        variants.append(_variant(shared, own_file, {"type": "string", "pattern": _FILE}))
        # Its own keys are unknown, so each key that it shares with the others still has to be right.
        definitions[table.__name__] = {"description": shared["description"], "anyOf": variants}
        schema["properties"][section]["additionalProperties"] = {"$ref": f"#/$defs/{table.__name__}"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **_without_titles(schema),
        "title": "Poseloop rig file",
    }


def as_text(schema: dict[str, Any]) -> str:
    """The schema as it is written to a file."""
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def _variant(shared: dict[str, Any], own: dict[str, Any], use: dict[str, Any]) -> dict[str, Any]:
    """The table of one plugin: the keys of its kind, and its own."""
    description = shared["properties"]["use"]["description"]
    return {
        "type": "object",
        "description": own.get("description", shared["description"]),
        "properties": {**shared["properties"], **own["properties"], "use": {**use, "description": description}},
        "required": [*shared["required"], *own.get("required", [])],
        "additionalProperties": own.get("additionalProperties", False),
    }


def _without_titles(node: Any) -> Any:
    """Pydantic's titles repeat the keys; a property that is *called* title stays."""
    if isinstance(node, list):
        return [_without_titles(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: {name: _without_titles(value) for name, value in item.items()}
        if key in ("properties", "$defs")
        else _without_titles(item)
        for key, item in node.items()
        if key != "title"
    }
