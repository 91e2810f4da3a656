"""Where things are in the world: camera models and triangulation.

World coordinates are right-handed, in the calibration's unit (mm); a camera looks along its own +z.
Names are imported when they are first asked for, so that reading a calibration stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from poseloop.live.geometry.calibration import Calibration as Calibration
    from poseloop.live.geometry.triangulation import triangulate as triangulate
    from poseloop.live.geometry.uncertainty import covariance as covariance

__all__ = ["Calibration", "covariance", "triangulate"]

_MODULES = {"Calibration": "calibration", "covariance": "uncertainty", "triangulate": "triangulation"}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
