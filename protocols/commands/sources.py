"""Where the poses of a session's replay come from: its log, or its videos through a network."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from typing import Any

import numpy as np

from poseloop.live import config
from poseloop.live.engine import Engine
from poseloop.live.errors import ConfigError
from poseloop.live.output.footage import pictures
from poseloop.live.output.session import Frames, Session
from poseloop.live.output.wire import Header
from poseloop.live.types import Colour, Frame, FrameSet, Image, InputEvent, Pose
from poseloop.protocols.commands.again import header_of
from poseloop.protocols.commands.offline import Clock, Decision

__all__ = ["FootageSource", "LogSource", "inputs_of", "logged"]


def inputs_of(session: Session) -> list[InputEvent]:
    """All inputs that protocols were told of, in order of time."""
    found = [event for decision in session.decisions(eventful=True) for event in decision.inputs]
    return sorted(found, key=lambda event: event.at_ns)


def logged(session: Session) -> Iterator[Decision]:
    """What the session's protocols asked for, and what the gates did, as a replay tells it."""
    first_ns: int | None = None
    for decision, pose in session.decided():
        if pose is None:
            continue
        at_ns = pose.trace.exposed_ns
        first_ns = at_ns if first_ns is None else first_ns
        for asked in decision.asked:
            fate = "sent" if asked.fate == "off" else asked.fate
            yield Decision(asked.protocol, pose.index, at_ns - first_ns, asked.command, fate, {})


class LogSource:
    """The poses that the session's host took, at the times at which it took them."""

    def __init__(self, session: Session, most: int | None = None) -> None:
        """Keep what to play.

        Args:
            session: opened.
            most: how many poses, from the beginning; None = all.
        """
        self._session = session
        self._most = most
        self.header: Header = header_of(session)

    def poses(self, clock: Clock) -> Iterator[Pose]:
        """Each pose in turn."""
        yield from itertools.islice(self._all(clock), self._most)

    def _all(self, clock: Clock) -> Iterator[Pose]:
        # A rig without protocols has decided on nothing; then every pose counts.
        nobody = not self._session.count("decision")
        for pose, _, received_ns in self._session.history():
            if received_ns or nobody:
                clock.now_ns = received_ns or pose.trace.published_ns
                yield pose


class FootageSource:
    """The poses that a network finds in the session's videos, at the times at which the host took the recorded ones."""

    header: Header

    def __init__(self, session: Session, rig: config.Rig, most: int | None = None) -> None:
        """Keep what to play.

        Args:
            session: opened.
            rig: the session's, perhaps with another model; cameras with their plugins loaded.
            most: how many poses, from the beginning; None = all.

        Raises:
            ConfigError: a camera was not recorded.
        """
        for camera in session.cameras:
            if camera not in session.footage:
                raise ConfigError(f"{session.folder}: camera {camera} has no video, so no model can look at it again")
        self._session = session
        self._rig = rig
        self._most = most
        self.compared = 0
        """Poses that were laid beside the recorded ones."""
        self.unequal_sets = 0
        """Poses left out of that: not all pictures that the recorded one was made of are in the videos."""
        self.largest_px = 0.0
        self.largest_at = 0
        """Trigger count of the pose with the largest difference."""
        self.largest_score = 0.0
        self.largest_mm = 0.0
        self.seen_otherwise = 0
        """Points that one of the two saw and the other did not."""
        self.shared: tuple[str, ...] = ()
        """Keypoints that both have."""

    def poses(self, clock: Clock) -> Iterator[Pose]:
        """Until the first of the videos ends.

        Raises:
            RigError, DataError: a video cannot be read.
            ModelError: the model cannot be used.
        """
        session = self._session
        # Each pose passes through the engine's filter, whether the host took it or not.
        nobody = not session.count("decision")
        engine = Engine(self._rig, clock=clock)
        engine.open()
        with ExitStack() as opened:
            opened.enter_context(closing(engine))
            self.header = engine.header
            reels = [opened.enter_context(closing(_Reel(session, camera))) for camera in session.cameras]
            for recorded, made_of, received_ns in itertools.islice(session.history(), self._most):
                frames = [reel.frame(index) for reel, index in zip(reels, made_of, strict=True)]
                if any(reel.ended for reel in reels):
                    return
                trace = recorded.trace
                clock.now_ns = received_ns or trace.published_ns
                together = tuple(frames), recorded.skew_ns, trace.complete_ns
                pose = engine.pose(FrameSet(recorded.index, trace.exposed_ns, *together))
                whole = all(
                    frame is not None for frame, index in zip(frames, made_of, strict=True) if index is not None
                )
                self._compare(recorded, pose, whole)
                if received_ns or nobody:
                    yield pose
                engine.published += 1

    def _compare(self, recorded: Pose, pose: Pose, whole: bool) -> None:
        if not whole:
            self.unequal_sets += 1
            return
        self.compared += 1
        self.shared = tuple(name for name in self._session.keypoints if name in self.header.keypoints)
        before = [self._session.keypoints.index(name) for name in self.shared]
        now = [self.header.keypoints.index(name) for name in self.shared]
        individuals = min(recorded.score.shape[0], pose.score.shape[0])
        xy = recorded.keypoints.xy[:, :individuals, before], pose.keypoints.xy[:, :individuals, now]
        distance = _distance(*xy)
        if distance > self.largest_px:
            self.largest_px, self.largest_at = distance, recorded.index
        seen = [np.isfinite(points[..., 0]) for points in xy]
        self.seen_otherwise += int((seen[0] != seen[1]).sum())
        score = recorded.score[:individuals, before] - pose.score[:individuals, now]
        self.largest_score = max(self.largest_score, float(np.nan_to_num(np.abs(score)).max(initial=0.0)))
        if recorded.xyz is not None and pose.xyz is not None:
            apart = _distance(recorded.xyz[:individuals, before], pose.xyz[:individuals, now])
            self.largest_mm = max(self.largest_mm, apart)


def _distance(a: Any, b: Any) -> float:
    """The largest between points that both have."""
    lengths = np.linalg.norm(np.asarray(a, np.float64) - b, axis=-1)
    return float(np.nan_to_num(lengths).max(initial=0.0))


class _Reel:
    """One camera's video, wound forward to the pictures that poses were made of."""

    def __init__(self, session: Session, camera: str) -> None:
        footage = session.footage[camera]
        self._camera = camera
        self._frames: Frames = session.frames(camera)
        self._row_of: Mapping[int, int] = {int(index): row for row, index in enumerate(self._frames.index)}
        # The network converts from what the rig's camera delivers, which is this.
        self._pictures = pictures(footage, Colour.GREY if footage.colour is Colour.GREY else Colour.RGB)
        self._row = -1
        self._image: Image | None = None
        self.ended = False
        """True: the video has no more pictures, although a pose was made of one."""

    def frame(self, index: int | None) -> Frame | None:
        """The frame of one trigger, which must not be before the last one; None = not in the video."""
        row = None if index is None else self._row_of.get(index)
        if row is None or index is None:
            return None
        while self._row < row and not self.ended:
            self._image = next(self._pictures, None)
            self._row += 1
            self.ended = self._image is None
        if self._image is None:
            return None
        times = int(self._frames.exposed_ns[row]), int(self._frames.arrived_ns[row])
        return Frame(self._camera, index, *times, self._image, slot=0)

    def close(self) -> None:
        self._pictures.close()
