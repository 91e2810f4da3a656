"""What all shipped protocols have in common: what is done at the right moment, how often, and how likely.

A protocol says when the moment is (`Triggered.occasion`, or a condition for `OnCondition`). Each moment gets a note
``occasion`` in the log, whether something was asked for or not, and why not: a moment that chance left out is the best
control that there is.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from poseloop.live import config
from poseloop.live.names import KeypointName, OutputName, find_names
from poseloop.live.types import Command, InputEvent, Pose
from poseloop.protocols.base import Protocol
from poseloop.protocols.conditions import AnyCondition, Condition, all_hold, make
from poseloop.protocols.sight import Points

__all__ = ["OnCondition", "Presence", "Triggered", "What"]


class Triggered(Protocol):
    """A protocol that gives one and the same stimulus each time that its moment has come."""

    class Settings(config.Settings):
        """What is done at a moment, and which moments count."""

        output: OutputName
        """The line to switch, ``board.line``."""
        pulse_ms: float = Field(10.0, ge=0.05)
        """Length of a pulse; the board times it."""
        pulses: int = Field(1, ge=1, le=65535)
        """How many pulses at a moment; more than one is a train."""
        period_ms: float | None = Field(None, gt=0)
        """For a train: from the start of a pulse to the start of the next."""
        delay_ms: float = Field(0.0, ge=0, le=60_000)
        """From the decision to the first edge; the board times it."""
        refractory_ms: float = Field(0.0, ge=0)
        """Least time from one moment that counts to the next."""
        probability: float = Field(1.0, ge=0, le=1)
        """With which probability a moment leads to a stimulus; the rig's ``seed`` fixes the lots. A moment that draws a
        blank counts as one all the same: the refractory time follows it, too."""
        max_per_session: int | None = Field(None, ge=0)
        """Never ask for more stimuli than this; none = no maximum."""
        from_s: float = Field(0.0, ge=0)
        """No stimulus before this time after the first pose."""
        until_s: float | None = Field(None, gt=0)
        """No stimulus begins after this time; none = to the end."""
        only_if: tuple[AnyCondition, ...] = ()
        """Conditions that must hold at the moment, too: tables with ``use``, and the keys of the protocol of that name
        that say what holds."""

        @model_validator(mode="after")
        def _a_stimulus(self) -> Triggered.Settings:
            if (self.pulses > 1) != (self.period_ms is not None):
                raise ValueError("pulses > 1 and period_ms belong together")
            if self.period_ms is not None and self.period_ms <= self.pulse_ms:
                raise ValueError(f"expected period_ms > pulse_ms ({self.pulse_ms:g}), but got {self.period_ms:g}")
            if self.until_s is not None and self.until_s <= self.from_s:
                raise ValueError(f"expected until_s > from_s ({self.from_s:g}), but got {self.until_s:g}")
            return self

    settings: Settings

    def __init__(self, name: str, settings: Any) -> None:
        super().__init__(name, settings)
        self._only_if = [make(table) for table in settings.only_if]
        self._all = [*self.conditions(), *self._only_if]

    def conditions(self) -> Sequence[Condition]:
        """Conditions that it waits for, the first of which says whose score the gate looks at; made once."""
        return ()

    @property
    def needs(self) -> Sequence[str] | None:
        """Keypoints that it looks at where `camera` does.

        A condition that looks elsewhere is not for the gate: it knows by itself what it cannot see.
        """
        settings: Any = self.settings
        tables = [condition.settings for condition in self._all if condition.settings is not settings]
        looking = [table for table in (settings, *tables) if isinstance(table, Points)]
        here = [table for table in looking if table is not settings and table.view == looking[0].view]
        own = [getattr(settings, name) for name in type(settings).model_fields if name not in ("only_if", "steps")]
        return find_names([*own, *here], KeypointName) or None

    @property
    def camera(self) -> int | None:
        """The one that its first condition looks at."""
        looking = [condition for condition in self._all if isinstance(condition.settings, Points)]
        return looking[0].camera if looking else 0

    @property
    def individuals(self) -> Sequence[int | None]:
        """Those that its conditions look at, its own first."""
        tables = [condition.settings for condition in self._all if isinstance(condition.settings, Points)]
        own = [] if tables and not hasattr(self.settings, "individual") else super().individuals
        return tuple(dict.fromkeys([*own, *(table.individual for table in tables)]))

    @property
    def commands(self) -> Sequence[Command]:
        """The one that it asks for."""
        return (self.stimulus(),)

    def bind(self, keypoints: Sequence[str], cameras: Sequence[str], score_gate: float) -> None:
        """Tell the conditions, too.

        Raises:
            ConfigError: the rig lacks something that they need.
        """
        super().bind(keypoints, cameras, score_gate)
        for condition in self._all:
            condition.bind(keypoints, cameras, score_gate)

    def reset(self, seed: int) -> None:
        """Nothing was given yet."""
        super().reset(seed)
        self._began_ns: int | None = None
        self._last_ns: int | None = None
        self._given = 0
        self._allowed: bool | None = True
        for condition in self._all:
            condition.reset()

    def decide(self, pose: Pose, events: Sequence[InputEvent]) -> Sequence[Command]:
        """Give the stimulus if this is a moment for it."""
        self.look(pose, events)
        return (self.stimulus(),) if self.occasion(pose, events) and self.counts(pose) else ()

    def occasion(self, pose: Pose, events: Sequence[InputEvent]) -> bool:
        """Has the moment come? Asked at every pose."""
        raise NotImplementedError(f"{type(self).__name__} must implement occasion(pose, events)")

    def stimulus(self) -> Command:
        """What is done then."""
        options = self.settings
        if options.period_ms is not None:
            return self.train(options.output, options.pulse_ms, options.period_ms, options.pulses, options.delay_ms)
        return self.pulse(options.output, options.pulse_ms, options.delay_ms)

    def look(self, pose: Pose, events: Sequence[InputEvent]) -> None:
        """Remember the pose, and show it to ``only_if``: conditions have a memory, and must see every pose."""
        self.see(pose)
        if self._began_ns is None:
            self._began_ns = pose.trace.exposed_ns
        if self._only_if:
            self._allowed = all_hold([condition.holds(pose, events) for condition in self._only_if])

    def counts(self, pose: Pose) -> bool:
        """A moment has come: does it lead to a stimulus? Its fate is noted."""
        now, options = pose.trace.exposed_ns, self.settings
        elapsed_s = (now - (self._began_ns or 0)) / 1e9
        if elapsed_s < options.from_s or (options.until_s is not None and elapsed_s > options.until_s):
            fate = "outside the time"
        elif not self._allowed:
            fate = "only_if does not hold"
        elif self._last_ns is not None and now - self._last_ns < options.refractory_ms * 1e6:
            fate = "refractory"
        elif options.max_per_session is not None and self._given >= options.max_per_session:
            fate = "maximum reached"
        else:
            self._last_ns = now
            fate = "stimulus" if options.probability == 1 or self.random.random() < options.probability else "blank"
        self.note("occasion", pose, fate=fate)
        self._given += fate == "stimulus"
        return fate == "stimulus"


class What(enum.Enum):
    """What happened to a condition at a pose."""

    ENTERED = enum.auto()
    """It did not hold, and does now."""
    FOUND = enum.auto()
    """It holds at the first sight."""
    DWELT = enum.auto()
    """It has now held for as long as was asked."""
    LEFT = enum.auto()
    """It held, and does not any more."""
    LOST = enum.auto()
    """It held, and cannot be told any more."""


_PAUSE_NS = 2_000_000_000
"""After so long without any pose nothing is known any more, however long ``lost_ms`` is."""


class Presence:
    """Turns a condition that holds or not, pose by pose, into what happened.

    A condition that holds at the first sight has not been entered. A pose at which it cannot be told changes nothing;
    when it could not be told for ``lost_ms``, what was known is forgotten, and the next sight is a first one.
    """

    def __init__(self, dwell_ms: float, lost_ms: float) -> None:
        self._dwell_ns, self._lost_ns = dwell_ms * 1e6, lost_ms * 1e6
        self._holds: bool | None = None
        self._told_ns = self._shown_ns = self._since_ns = 0
        self._dwelt = False

    def update(self, now_ns: int, holds: bool | None) -> Sequence[What]:
        """What happened, in order; mostly nothing."""
        happened = []
        lost = holds is None and now_ns - self._told_ns >= self._lost_ns
        if lost or now_ns - self._shown_ns >= max(_PAUSE_NS, self._lost_ns):
            if self._holds:
                happened.append(What.LOST)
            self._holds = None
        self._shown_ns = now_ns
        if holds is None:
            return happened
        self._told_ns = now_ns
        was, self._holds = self._holds, holds
        if was and not holds:
            happened.append(What.LEFT)
        elif holds and not was:
            self._since_ns, self._dwelt = now_ns, False
            happened.append(What.FOUND if was is None else What.ENTERED)
        if holds and not self._dwelt and now_ns - self._since_ns >= self._dwell_ns:
            self._dwelt = True
            happened.append(What.DWELT)
        return happened


_MOMENTS = {
    "enter": (What.ENTERED,),
    "leave": (What.LEFT,),
    "dwell": (What.DWELT,),
    "inside": (What.ENTERED, What.FOUND),
}


class OnCondition(Triggered):
    """A protocol whose moment is the entering, the leaving or the lasting of a condition."""

    class Settings(Triggered.Settings):
        """When the moment is."""

        when: Literal["enter", "leave", "dwell", "inside"] = "enter"
        """``enter``, ``leave``: when it begins, or ceases, to hold. ``dwell``: when it has held for ``dwell_ms``.
        ``inside``: no pulse, but on as long as it holds (the line's ``kinds`` must have ``level``)."""
        dwell_ms: float = Field(500.0, gt=0)
        """For ``dwell``: how long it must hold without a break."""
        lost_ms: float = Field(200.0, ge=0)
        """When it could not be told for so long (a keypoint is not seen), it counts as neither holding nor not: a line
        that is on goes off, a dwell begins anew, and to be found inside is no entering."""

        @model_validator(mode="after")
        def _fitting_keys(self) -> OnCondition.Settings:
            if self.when != "dwell" and "dwell_ms" in self.model_fields_set:
                raise ValueError("dwell_ms is for when = 'dwell' only")
            timed = {"pulse_ms", "pulses", "period_ms"} & self.model_fields_set
            if self.when == "inside" and timed:
                raise ValueError(f"{', '.join(sorted(timed))} cannot be set with when = 'inside'")
            return self

    settings: Settings
    condition: ClassVar[type[Condition]]
    """What it waits for; its settings are among the protocol's."""

    def conditions(self) -> Sequence[Condition]:
        """The one."""
        self._condition = self.condition(self.settings)
        return (self._condition,)

    def reset(self, seed: int) -> None:
        """Forget where the animal was."""
        super().reset(seed)
        self._presence = Presence(self.settings.dwell_ms, self.settings.lost_ms)
        self._on = False

    def decide(self, pose: Pose, events: Sequence[InputEvent]) -> Sequence[Command]:
        """Give the stimulus if this is a moment for it; end one that lasts."""
        self.look(pose, events)
        happened = self._presence.update(pose.trace.exposed_ns, self._condition.holds(pose, events))
        commands = []
        if self._on and (What.LEFT in happened or What.LOST in happened):
            self._on = False
            commands.append(self.off(self.settings.output))
        if any(what in happened for what in _MOMENTS[self.settings.when]) and self.counts(pose):
            self._on = self.settings.when == "inside"
            commands.append(self.stimulus())
        return commands

    def stimulus(self) -> Command:
        """A pulse, a train, or on."""
        if self.settings.when == "inside":
            return self.on(self.settings.output, self.settings.delay_ms)
        return super().stimulus()
