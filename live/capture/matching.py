"""Which frames belong to one trigger: by the cameras' trigger count, or by their times alone.

Both rules see the frames in the order in which they arrive, keep the groups that more frames may join, and say when a
group can get no more. They own no lock, no clock and no slot: `poseloop.live.capture.sync` does.

Frames of one camera come in the order of their index and of their exposure. What breaks that order is told apart by
both: a lower index at an earlier time is *swapped*, a known one is *repeated*, and a lower one at a later time means
that the camera counts from the start again; so does one for which there was no time to count so far. From then on its
indices are continued, so that none ever stands for two of its frames. Where a camera cannot tell its exposure every
frame looks later than the one before, so that only indices count: a lower one among the recent ones is swapped or
repeated, too.
"""

from __future__ import annotations

import itertools
import statistics
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from poseloop.live.types import Frame

__all__ = ["ByCount", "ByTime", "Group", "Matcher", "Track"]

_RECENT = 64
"""Frames, and closed groups, that are remembered to tell what a disorderly frame is."""

_CONFIRMATIONS = 5
"""Frames in a row that must be off by the same number of triggers before a camera's count is believed to have slipped,
or known already before it is believed to have begun again: one is no proof."""

_INTERVALS = 15
"""A camera's period is the median of so many intervals."""


@dataclass(slots=True, eq=False)
class Group:
    """Frames of one trigger, as far as they have come."""

    index: int
    """Trigger count; -1 = not known before the group is closed."""
    frames: list[Frame | None]
    began_ns: int
    """When the first frame came, on the synchroniser's clock."""
    earliest_ns: int
    """Exposures of the frames present: the earliest and the latest."""
    latest_ns: int

    def take(self, camera: int, frame: Frame) -> None:
        """Let a frame join."""
        self.frames[camera] = frame
        self.earliest_ns = min(self.earliest_ns, frame.exposed_ns)
        self.latest_ns = max(self.latest_ns, frame.exposed_ns)

    def span_ns(self, exposed_ns: int) -> int:
        """Skew that the group would have with a frame of this time."""
        return max(self.latest_ns, exposed_ns) - min(self.earliest_ns, exposed_ns)


@dataclass(slots=True)
class Track:
    """What one camera has delivered so far."""

    index: int = -1
    """Its newest frame's, in its own count, continued where that began again."""
    exposed_ns: int = 0
    away: bool = False
    """Nobody waits for it: it has finished, is gone, or has been silent for long."""
    restarted: bool = False
    """Its next frame counts from the start again."""
    first: int = 0
    """Where its count began again: what is added to it."""
    lost: int = 0
    """Triggers for which it delivered nothing, as far as its count can tell."""
    restarts: int = 0
    """How often it began to count again."""
    realigned: int = 0
    """How often its count had slipped against the others' and was put right by the times."""
    recent: deque[int] = field(default_factory=lambda: deque(maxlen=_RECENT))
    again: int = 0
    """Known indices in a row, as far as no time tells whether they are repeated or counted anew."""

    def place(self, frame: Frame, tolerance_ns: int) -> tuple[int, str]:
        """Its index among all frames of the camera, and why it is to be dropped if it comes out of their order.

        Notes a restart.
        """
        index = self.first + frame.index
        if not self.restarted:
            if index <= self.index and (disorder := self._disorder(index, frame, tolerance_ns)):
                return index, disorder
            self.restarted = index <= self.index or self._leaps(index - self.index, frame, tolerance_ns)
        if self.restarted:
            self.recent.clear()
            # Triggers that it has counted since it began again, without a frame, are lost ones.
            step = max(frame.index, 0) + 1
            index = self.index + (1 if self._leaps(step, frame, tolerance_ns) else step)
            self.first = index - frame.index
        return index, ""

    def _disorder(self, index: int, frame: Frame, tolerance_ns: int) -> str:
        if index == self.index and abs(frame.exposed_ns - self.exposed_ns) <= tolerance_ns:
            return "repeated"
        if frame.exposed_ns <= self.exposed_ns or self._may_be_an_old_one(index, frame):
            return "repeated" if index in self.recent else "swapped"
        return ""

    def _may_be_an_old_one(self, index: int, frame: Frame) -> bool:
        """Is a lower index one from before, although it seems to be exposed later? Only where no exposure is told."""
        if _tells(frame) or not self.recent or index < self.recent[0]:
            return False
        self.again += index in self.recent
        return self.again < _CONFIRMATIONS

    def _leaps(self, step: int, frame: Frame, tolerance_ns: int) -> bool:
        """Was there no time for so many triggers since the frame before? Each takes longer than the tolerance.

        Believed, one damaged number would make all frames of the other cameras late. Smaller steps are left alone: a
        recording that is played faster than it was made has less time for them.
        """
        enough = self.index < 0 or frame.exposed_ns - self.exposed_ns >= step * tolerance_ns
        return step > _RECENT and _tells(frame) and not enough

    def accept(self, frame: Frame) -> None:
        """The frame, with its index from `place`, is its newest."""
        self.again = 0
        self.index, self.exposed_ns = frame.index, frame.exposed_ns
        self.recent.append(frame.index)
        if self.restarted:
            self.restarted = False
            self.restarts += 1


class Matcher(Protocol):
    """A rule for what belongs together."""

    @property
    def tracks(self) -> Sequence[Track]:
        """What each camera has delivered."""

    @property
    def pending(self) -> list[Group]:
        """Groups that more frames may join, oldest first; whoever closes one takes it out."""

    def add(self, camera: int, frame: Frame, now_ns: int) -> None:
        """Take a frame, in its camera's order, into its group, or drop it."""

    def is_settled(self, group: Group) -> bool:
        """True when no frame can join the group any more."""

    def is_set(self, group: Group) -> bool:
        """Called for every group that is closed, oldest first: is it a set? If not, nobody lost anything by it."""


class ByCount:
    """By trigger count, checked with the times.

    A camera that misses a pulse (it was not ready) does not count it: from then on all of its frames carry the index
    of the trigger before. Counts alone would pair them wrongly for ever. So frames of one index must also be exposed
    at the same time; the later one of two that are not is dropped as ``out_of_step``, and when a camera has been off
    by the same number of triggers several times in a row, its count is moved. A camera that counts from the start
    again is aligned by time, too. The check leaves out cameras that cannot tell their exposure (their frames' exposure
    equals their arrival, which a busy computer delays).
    """

    def __init__(self, cameras: int, tolerance_ns: int, drop: Callable[[Frame, str], None]) -> None:
        """Keep nothing of any frame yet.

        Args:
            cameras: how many.
            tolerance_ns: exposures of one trigger differ by this much at most; less than the triggers' period.
            drop: takes a frame that enters no group, and why.
        """
        self.tracks = [Track() for _ in range(cameras)]
        self.pending: list[Group] = []
        self._tolerance_ns = tolerance_ns
        self._drop = drop
        self._counts = [_Count() for _ in range(cameras)]
        self._closed = -1
        self._times: deque[tuple[int, int]] = deque(maxlen=_RECENT)
        """(index, earliest exposure) of the newest closed groups."""

    def add(self, camera: int, frame: Frame, now_ns: int) -> None:
        """Take a frame into its group, or drop it."""
        track, count = self.tracks[camera], self._counts[camera]
        if track.restarted:
            count.shift = self._align(frame) - frame.index
            count.slips.clear()
        track.accept(frame)
        index = frame.index + count.shift
        if not self._in_step(camera, index, frame):
            self._slipped(camera, index, frame.exposed_ns)
            slipped_to, index = index, frame.index + count.shift
            if index == slipped_to or not self._in_step(camera, index, frame):
                count.reach(index, track)
                self._drop(frame, "out_of_step")
                return
        if not count.reach(index, track) or index <= self._closed:
            self._drop(frame, "late")
            return
        group = self._group(index)
        if group is not None:
            group.take(camera, frame)
            return
        frames: list[Frame | None] = [None] * len(self.tracks)
        frames[camera] = frame
        at = len(self.pending)
        while at and self.pending[at - 1].index > index:
            at -= 1
        self.pending.insert(at, Group(index, frames, now_ns, frame.exposed_ns, frame.exposed_ns))

    def is_settled(self, group: Group) -> bool:
        """True when every absent camera has delivered a later index, or is not waited for."""
        for frame, track, count in zip(group.frames, self.tracks, self._counts, strict=True):
            if frame is None and not track.away and count.reached < group.index:
                return False
        return True

    def is_set(self, group: Group) -> bool:
        """Note that it is closed; every group is a set."""
        self._closed = group.index
        self._times.append((group.index, group.earliest_ns))
        return True

    def _group(self, index: int) -> Group | None:
        for group in reversed(self.pending):
            if group.index == index:
                return group
        return None

    def _in_step(self, camera: int, index: int, frame: Frame) -> bool:
        """Compare a frame's time with those of its trigger; the others leave the group if they are the later ones."""
        if not _tells(frame):
            return True
        if index <= self._closed:
            times = [time for known, time in self._times if known == index]
            return not times or frame.exposed_ns <= times[0] + self._tolerance_ns
        group = self._group(index)
        if group is None:
            return True
        others = [(n, at) for n, at in enumerate(group.frames) if n != camera and at is not None and _tells(at)]
        if not others:
            return True
        if frame.exposed_ns > min(at.exposed_ns for _, at in others) + self._tolerance_ns:
            return False
        for other, at in others:
            if at.exposed_ns > frame.exposed_ns + self._tolerance_ns:
                group.frames[other] = None
                self._drop(at, "out_of_step")
                self._slipped(other, index, at.exposed_ns)
            else:
                self._counts[other].slips.clear()
        present = [at.exposed_ns for at in group.frames if at is not None]
        group.earliest_ns, group.latest_ns = min(present, default=frame.exposed_ns), max(present, default=0)
        self._counts[camera].slips.clear()
        return True

    def _slipped(self, camera: int, index: int, exposed_ns: int) -> None:
        """Note that a frame was out of step; move the camera's count if that has been so in the same way for long."""
        count = self._counts[camera]
        count.slips.append((index, exposed_ns))
        if len(count.slips) < _CONFIRMATIONS:
            return
        # The newest trigger may be one that no other camera has delivered yet.
        moved = [None if at is None else at - by for by, at in ((i, self._index_at(t)) for i, t in count.slips)]
        known = {move for move in moved if move is not None}
        if len(known) == 1 and moved.count(None) <= 1:
            count.shift += known.pop()
            count.slips.clear()
            self.tracks[camera].realigned += 1

    def _index_at(self, exposed_ns: int) -> int | None:
        """The trigger at that time, if another camera has told of it."""
        for group in reversed(self.pending):
            if group.span_ns(exposed_ns) <= self._tolerance_ns:
                return group.index
        for index, earliest_ns in reversed(self._times):
            if abs(earliest_ns - exposed_ns) <= self._tolerance_ns:
                return index
        return None

    def _align(self, frame: Frame) -> int:
        """The trigger of the first frame after a restart: the one at its time, or a new one."""
        index = self._index_at(frame.exposed_ns)
        return index if index is not None else max(self._closed, *(count.reached for count in self._counts)) + 1


@dataclass(slots=True)
class _Count:
    """How one camera's own count stands to the rig's."""

    shift: int = 0
    """Trigger = the camera's index + shift."""
    reached: int = -1
    """The newest trigger it has delivered, or proved to have missed."""
    slips: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=_CONFIRMATIONS))
    """(trigger by count, exposure) of the newest frames, as long as all of them were out of step."""

    def reach(self, index: int, track: Track) -> bool:
        """Move on to a trigger and count the ones in between as lost; False if it had been passed before."""
        if index <= self.reached:
            return False
        track.lost += index - self.reached - 1
        self.reached = index
        return True


def _tells(frame: Frame) -> bool:
    return frame.exposed_ns != frame.arrived_ns


class ByTime:
    """By exposure times alone, for cameras that run freely.

    Frames belong together when all their exposures lie within the tolerance. Where one camera is faster than another
    it delivers frames for which the other has none to give: they are dropped as ``unmatched`` and make no set. A group
    that lacks a camera which *should* have delivered is a set with a gap; whether it should is known from its period.
    """

    def __init__(self, cameras: int, tolerance_ns: int, drop: Callable[[Frame, str], None]) -> None:
        """Keep nothing of any frame yet; arguments as in `ByCount`."""
        self.tracks = [Track() for _ in range(cameras)]
        self.pending: list[Group] = []
        self._tolerance_ns = tolerance_ns
        self._drop = drop
        self._exposures: list[deque[int]] = [deque(maxlen=_INTERVALS + 1) for _ in range(cameras)]
        self._sets = 0
        self._closed_ns = -1
        self._gaps: Group | None = None
        """The newest set, if a camera was missing."""

    def add(self, camera: int, frame: Frame, now_ns: int) -> None:
        """Take a frame into its group, or drop it."""
        track = self.tracks[camera]
        if not track.restarted:
            track.lost += frame.index - track.index - 1
        track.accept(frame)
        time_ns = frame.exposed_ns
        self._exposures[camera].append(time_ns)
        if time_ns <= self._closed_ns or self._fits(self._gaps, camera, time_ns):
            self._drop(frame, "late")
            return
        fitting = [group for group in self.pending if self._fits(group, camera, time_ns)]
        if fitting:
            min(fitting, key=lambda group: abs(group.earliest_ns - time_ns)).take(camera, frame)
            return
        frames: list[Frame | None] = [None] * len(self.tracks)
        frames[camera] = frame
        at = len(self.pending)
        while at and self.pending[at - 1].earliest_ns > time_ns:
            at -= 1
        self.pending.insert(at, Group(-1, frames, now_ns, time_ns, time_ns))

    def is_settled(self, group: Group) -> bool:
        """True when every absent camera has delivered a frame that is too late for the group, or will."""
        for camera, frame in enumerate(group.frames):
            track = self.tracks[camera]
            if frame is not None or track.away or track.exposed_ns > group.earliest_ns + self._tolerance_ns:
                continue
            if self._should_have_come(camera, group.earliest_ns):
                return False
        return True

    def is_set(self, group: Group) -> bool:
        """Note that it is closed; it is a set if every absent camera should have had a frame for it."""
        self._closed_ns = max(self._closed_ns, group.earliest_ns)
        absent = [camera for camera, frame in enumerate(group.frames) if frame is None]
        if not all(self._should_have_come(camera, group.earliest_ns) for camera in absent):
            return False
        group.index = self._sets
        self._sets += 1
        self._gaps = group if absent else None
        return True

    def _fits(self, group: Group | None, camera: int, time_ns: int) -> bool:
        return group is not None and group.frames[camera] is None and group.span_ns(time_ns) <= self._tolerance_ns

    def _should_have_come(self, camera: int, time_ns: int) -> bool:
        """Was a frame of this camera due about then? False if its neighbours in time are just one period apart."""
        times = self._exposures[camera]
        before = max((time for time in times if time <= time_ns), default=None)
        after = min((time for time in times if time > time_ns), default=None)
        if before is None or len(times) < 3:
            return True
        recent = list(times)
        period = statistics.median_low(late - early for early, late in itertools.pairwise(recent))
        if after is not None:
            return after - before > 1.5 * period
        return time_ns + self._tolerance_ns > before + 0.75 * period
