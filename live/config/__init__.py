"""rig.toml → frozen models: the one place where a rig file is validated.

Unknown keys are refused and nothing is coerced: ``fps = "30"`` is an error, not 30. Every message names the file, the
key, what was expected and what was found; all faults of a file are reported together.

A table with ``use`` (a camera, a board, a protocol) holds the keys that all plugins of that kind share, declared here,
and the plugin's own, declared in its ``Settings``.
"""

from poseloop.live.config.boards import BoardTable, CameraTriggerTable, LineTable, SyncTable
from poseloop.live.config.rig import (
    PLUGIN_TABLES,
    Fault,
    Rig,
    build_rig,
    explain,
    load_rig,
    parse_rig,
    read_text,
    validate,
)
from poseloop.live.config.settings import Fps, PluginTable, RigPath, Settings
from poseloop.live.config.tables import (
    CameraModelTable,
    CameraTable,
    Crop,
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

__all__ = [
    "PLUGIN_TABLES",
    "BoardTable",
    "CameraModelTable",
    "CameraTable",
    "CameraTriggerTable",
    "Crop",
    "Fault",
    "FilterTable",
    "Fps",
    "Gates",
    "Geometry",
    "LineTable",
    "ModelTable",
    "PluginTable",
    "ProtocolTable",
    "Publish",
    "Realtime",
    "Record",
    "Rig",
    "RigPath",
    "Settings",
    "Sync",
    "SyncTable",
    "build_rig",
    "explain",
    "load_rig",
    "parse_rig",
    "read_text",
    "validate",
]
