"""Pictures to keypoints: a model file, the runtime that runs it, and the decoding of what it puts out.

`Network` is imported when it is first asked for, so that reading a model's description stays light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from poseloop.live.vision.network import Network as Network

__all__ = ["Network"]


def __getattr__(name: str) -> Any:
    if name == "Network":
        from poseloop.live.vision.network import Network

        return Network
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
