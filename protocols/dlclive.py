"""DeepLabCut-Live processors, unchanged: ``use = "dlclive:path.py:Class"``.

A processor's own outputs, such as a serial port that it opens itself, are its own business: no gate holds them back, no
lease switches them off, and nobody measures when they happened. Moving the decision into a protocol, and the output to
a board, is worth the hour.
"""

from __future__ import annotations

import importlib.util
import sys
import time
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from poseloop.live import config, plugins
from poseloop.live.errors import ConfigError
from poseloop.live.names import KeypointName
from poseloop.live.types import Command, InputEvent, Pose
from poseloop.protocols.base import Protocol
from poseloop.protocols.dlclive_base import KalmanFilterPredictor, Processor

__all__ = ["Dlclive"]


class Dlclive(Protocol):
    """Shows every pose to a processor written for DeepLabCut-Live.

    ``process`` gets an array (K, 3) of x, y and likelihood, and ``frame_time`` and ``pose_time`` (seconds of the wall
    clock, as ``time.time`` tells) and ``record``. A point that was not seen is NaN with a likelihood of 0, so that
    comparisons with it are false. What it returns is not used. The processor is made when the session starts; at its
    end, or when it fails, its port is closed (``close_serial``, ``close`` or ``stop``, if it has one), after ``save``.
    """

    class Settings(config.Settings):
        """Parameters of the adapter."""

        arguments: dict[str, Any] = Field(default_factory=dict)
        """What the processor's class is called with: { com = "COM3", baudrate = 115200 }."""
        keypoints: tuple[KeypointName, ...] = ()
        """The rows of its array, in order; none = the model's keypoints in the model's order."""
        camera: str | None = None
        """Name of the camera whose points it gets; none = the rig's first."""
        individual: int | None = Field(None, ge=0)
        """Which place of a pose it gets, from 0; to be given where ``[model]`` looks for several ``individuals``."""
        save: config.RigPath | None = None
        """Where its ``save`` writes at the end; none = it is not called."""
        record: bool = True
        """What it is told as ``record``: many processors act only if it is true."""
        own_devices: bool = True
        """It opens devices of its own; then it is never replayed, since that would drive them. false: it opens none."""

    settings: Settings
    processor_class: ClassVar[Any] = None
    _processor: Any = None
    _camera = 0

    @classmethod
    def adapt(cls, use: str, folder: Path) -> type[Dlclive]:
        """A protocol of the processor that ``path.py:Class`` names.

        Raises:
            ConfigError: it is missing, cannot be imported, or is no processor.
        """
        _provide_package()
        found = plugins.from_file(use, folder)
        if not callable(getattr(found, "process", None)):
            raise ConfigError(f"use = 'dlclive:{use}': expected a DeepLabCut-Live processor, but it has no process()")
        return type(found.__name__, (cls,), {"processor_class": found, "__doc__": found.__doc__})

    @property
    def needs(self) -> Sequence[str]:
        """Those that are named; nothing that it does could be held back by a gate."""
        return self.settings.keypoints

    @property
    def camera(self) -> int:
        """The one that was chosen."""
        return self._camera

    @property
    def individuals(self) -> Sequence[int | None]:
        """The one that was chosen."""
        return (self.settings.individual,)

    @property
    def own_devices(self) -> bool:
        """Does it drive devices by itself?"""
        return self.settings.own_devices

    def bind(self, keypoints: Sequence[str], cameras: Sequence[str], score_gate: float) -> None:
        """Find camera and keypoints.

        Raises:
            ConfigError: there is none of that name, or the processor was not named.
        """
        super().bind(keypoints, cameras, score_gate)
        if self.processor_class is None:
            raise ConfigError("expected use = 'dlclive:path.py:Class', but got no file and class")
        name = self.settings.camera
        if name is not None and name not in cameras:
            raise ConfigError(f"camera: expected one of {', '.join(cameras)}, but got {name!r}")
        self._camera = 0 if name is None else list(cameras).index(name)
        self._rows = [self.keypoints.index(point) for point in self.settings.keypoints or self.keypoints]

    def reset(self, seed: int) -> None:
        """Make a new processor, which may open its port."""
        super().reset(seed)
        self.close()
        self._processor = self.processor_class(**self.settings.arguments)
        # Fixed for the session: a step of the wall clock must not be a step of the animal.
        self._wall_ns = time.time_ns() - time.perf_counter_ns()

    def decide(self, pose: Pose, events: Sequence[InputEvent]) -> Sequence[Command]:
        """Show it the pose."""
        trace = pose.trace
        self._processor.process(
            self._array(pose),
            frame_time=(trace.exposed_ns + self._wall_ns) / 1e9,
            pose_time=((trace.decoded_ns or trace.exposed_ns) + self._wall_ns) / 1e9,
            record=self.settings.record,
        )
        return ()

    def _array(self, pose: Pose) -> npt.NDArray[np.float64]:
        rows, individual = np.empty((len(self._rows), 3)), self._individual
        rows[:, :2] = pose.keypoints.xy[self._camera, individual, self._rows]
        rows[:, 2] = np.nan_to_num(pose.keypoints.score[self._camera, individual, self._rows], nan=0.0)
        rows[np.isnan(rows).any(axis=1), 2] = 0.0
        return rows

    def close(self) -> None:
        """Save what it has, and close its port."""
        processor, self._processor = self._processor, None
        if processor is None:
            return
        try:
            if self.settings.save is not None:
                processor.save(str(self.settings.save))
        finally:
            for name in ("close_serial", "close", "stop"):
                if callable(end := getattr(processor, name, None)):
                    end()
                    break


def _provide_package() -> None:
    """Let ``from dlclive import Processor`` work where DeepLabCut-Live is not installed; NumPy 2 rules it out."""
    if "dlclive" in sys.modules or importlib.util.find_spec("dlclive") is not None:
        return
    for name in ("dlclive", "dlclive.processor", "dlclive.processor.processor", "dlclive.processor.kalmanfilter"):
        module = types.ModuleType(name, "Stands in for DeepLabCut-Live: the bases that its processors inherit from.")
        module.Processor = Processor  # type: ignore[attr-defined]
        module.KalmanFilterPredictor = KalmanFilterPredictor  # type: ignore[attr-defined]
        module.__path__ = []
        sys.modules[name] = module
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)
