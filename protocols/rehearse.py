"""Rehearse a protocol before an animal is in the rig: give it poses, see what it commands.

::

    task = Rehearsal(Region, keypoint="snout", circle=[100, 100, 20], output="box.laser")
    assert task.show(snout=(0, 0)) == []
    assert task.show(snout=(100, 100)) == [task.protocol.pulse("box.laser", 10)]
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from poseloop.live import config
from poseloop.live.errors import ConfigError
from poseloop.live.names import KeypointName, find_names
from poseloop.live.types import Command, InputEvent, Keypoints, Note, Pose, Trace

__all__ = ["Rehearsal"]

_START_NS = 1_000_000_000_000
"""Time of the first pose: not 0, as in a rig."""


class Rehearsal:
    """One protocol with poses that are made up; time goes on by a frame with each of them."""

    def __init__(
        self,
        protocol: Any,
        /,
        *,
        fps: float = 100.0,
        seed: int = 0,
        model: Sequence[str] = (),
        cameras: Sequence[str] = ("camera",),
        world: bool = False,
        score_gate: float = 0.5,
        folder: Path = Path(),
        **settings: Any,
    ) -> None:
        """Make the protocol as a rig would.

        Args:
            protocol: its class.
            fps: poses a second.
            seed: the rig's.
            model: its keypoints, in order; by default those that the settings name, or the class says it needs.
            cameras: the rig's.
            world: points are in the world (mm), not in pictures.
            score_gate: the rig's.
            folder: where relative paths in the settings start.
            settings: the keys that the protocol's table in the rig file would have.

        Raises:
            ConfigError: wrong keys or values, or what the protocol needs is not there.
        """
        try:
            options = config.validate(protocol.Settings, settings, folder)
        except ValidationError as error:
            faults = config.explain(error, "", list(protocol.Settings.model_fields))
            raise ConfigError("; ".join(f"{fault.key}: {fault.text}" for fault in faults)) from error
        self.protocol = protocol("rehearsal", options)
        self.keypoints = tuple(model or find_names(options, KeypointName) or self.protocol.needs or ("point",))
        self.cameras = tuple(cameras)
        self.notes: list[Note] = []
        """All that it has noted."""
        self._world = world
        self._interval_ns = round(1e9 / fps)
        self._seed = seed
        self.protocol.bind(self.keypoints, self.cameras, score_gate)
        self.restart()

    def restart(self) -> None:
        """Begin anew, at the time of the first pose."""
        self.protocol.reset(self._seed)
        self.notes.clear()
        self.index = -1
        """Number of the last pose."""
        self.now_ns = _START_NS - self._interval_ns
        """Its time."""

    def show(
        self,
        inputs: Mapping[str, bool] | None = None,
        *,
        score: float = 1.0,
        pause_ms: float = 0.0,
        **points: Sequence[float] | None,
    ) -> list[Command]:
        """Show one pose, a frame after the last; returns the commands.

        Args:
            inputs: lines that change between the last pose and this one, as ``{"box.lick": True}``.
            score: of every point that is seen.
            pause_ms: how much later the pose comes than a frame after the last.
            points: where keypoints are, (x, y) or (x, y, z); those that are not named, or None, are not seen.
        """
        before_ns = self.now_ns
        self.now_ns += self._interval_ns + round(pause_ms * 1e6)
        self.index += 1
        at_ns = (before_ns + self.now_ns) // 2
        events = []
        for name, value in (inputs or {}).items():
            board, _, line = name.partition(".")
            events.append(InputEvent(board, line, value, at_ns))
        commands = list(self.protocol.decide(self.pose(points, score), events))
        self.notes.extend(self.protocol.take_notes())
        return commands

    def run(self, tracks: Mapping[str, Iterable[Sequence[float] | None]], **how: Any) -> list[tuple[int, Command]]:
        """Show a pose for each row of the tracks (N, 2) or (N, 3); returns commands with their pose's number."""
        given = []
        for row in zip(*tracks.values(), strict=True):
            commands = self.show(**dict(zip(tracks, row, strict=True)), **how)
            given += [(self.index, command) for command in commands]
        return given

    def pose(self, points: Mapping[str, Sequence[float] | None], score: float = 1.0) -> Pose:
        """The pose at `now_ns`; every camera sees the same, and so does who looks at any individual."""
        size = 3 if self._world else 2
        count = 1 + max((place or 0 for place in self.protocol.individuals), default=0)
        where = np.full((count, len(self.keypoints), size), np.nan, np.float32)
        scores = np.full((count, len(self.keypoints)), np.nan, np.float32)
        for name, point in points.items():
            if point is not None:
                number = self.keypoints.index(name)
                where[:, number], scores[:, number] = point, score
        flat = np.full((len(self.cameras), count, len(self.keypoints), 2), np.nan, np.float32)
        if not self._world:
            flat[:] = where
        return Pose(
            sequence=self.index,
            index=self.index,
            keypoints=Keypoints(flat, np.repeat(scores[None], len(self.cameras), axis=0)),
            xyz=where if self._world else None,
            score=scores,
            residual_px=np.full_like(scores, np.nan),
            views=np.where(np.isnan(scores), 0, len(self.cameras)).astype(np.uint8),
            predicted=where if self._world else flat,
            predicted_for_ns=0,
            missing=0,
            skew_ns=0,
            trace=Trace(exposed_ns=self.now_ns, arrived_ns=self.now_ns),
        )
