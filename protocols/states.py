"""Experiments as state machines: states, entry and exit, timers, inputs.

The form is pyControl's (Akam et al. 2022, eLife 11:e67846): each state is a method that is called with an event.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from poseloop.live.types import Command, Float32, InputEvent, Pose
from poseloop.protocols.base import Protocol

__all__ = ["StateMachine"]

_STEPS = 100
"""State changes in one pose; more is an endless loop in the user's states."""


class StateMachine(Protocol):
    """An experiment whose states are methods; each is called with the name of what happens while it is the state.

    ======================  ============================================================================
    ``"entry"``, ``"exit"``  the state begins, ends
    ``"pose"``              a pose has come: look at it with `where`, `pose` and `now_ms`
    ``"box.poke"``          an input went on, named as ``board.line``
    ``"box.poke off"``      it went off again
    a timer's name          a timer that `set_timer` has set is due
    ======================  ============================================================================

    Call `goto`, `do`, `set_timer` and `note_now` from there. What happens between two poses is told in the order of its
    time, before ``"pose"``; a timer is due at the first pose at or after its time.

    ::

        class PokeThenRun(StateMachine):
            start = "waiting"
            outputs = ("box.valve",)

            def waiting(self, event):
                if event == "box.poke":
                    self.goto("running")

            def running(self, event):
                if event == "entry":
                    self.set_timer("too slow", 2000)
                if event == "pose" and self.where("snout")[0] > 300:
                    self.do(self.pulse("box.valve", 50))
                    self.goto("waiting")
                if event == "too slow":
                    self.goto("waiting")
    """

    start: ClassVar[str] = ""
    """Name of the first state; every machine must give it."""

    def reset(self, seed: int) -> None:
        """Before the first state; it is entered with the first pose."""
        super().reset(seed)
        self.state = ""
        """Name of the state; empty before the first pose."""
        self._commands: list[Command] = []
        self._timers: list[tuple[int, int, str]] = []
        self._count = 0
        self._next: str | None = None

    def decide(self, pose: Pose, events: Sequence[InputEvent]) -> Sequence[Command]:
        """Tell the state what has happened since the last pose; returns what `do` was called with."""
        self.pose = pose
        """The newest pose."""
        self.see(pose)
        self._now_ns = pose.trace.exposed_ns
        if not self.state:
            self._enter(self.start)
            self._change()
        for event in sorted(events, key=lambda event: event.at_ns):
            self._tell_timers(min(event.at_ns, self._now_ns))
            name = f"{event.board}.{event.line}"
            self._tell(name if event.value else f"{name} off")
        self._tell_timers(self._now_ns)
        self._tell("pose")
        commands, self._commands = self._commands, []
        return commands

    @property
    def now_ms(self) -> float:
        """Time of the pose; only differences of it mean anything."""
        return self._now_ns / 1e6

    def where(self, keypoint: str, *, predicted: bool = False) -> Float32:
        """Where a keypoint is at the pose, as `point` tells; NaN = not seen, and every comparison is then false."""
        return self.point(self.pose, keypoint, predicted=predicted)

    def goto(self, state: str) -> None:
        """Change the state, as soon as this one's method has returned; the last call counts."""
        self._state(state)
        self._next = state

    def do(self, command: Command) -> None:
        """Ask for a command."""
        self._commands.append(command)

    def set_timer(self, name: str, after_ms: float) -> None:
        """Tell the state ``name`` that long after the pose; a timer of that name that runs already is set anew.

        It goes on over a change of state, and is told to whatever state there is then.
        """
        self.stop_timer(name)
        self._count += 1
        heapq.heappush(self._timers, (self._now_ns + round(after_ms * 1e6), self._count, name))

    def stop_timer(self, name: str) -> None:
        """Let a timer not go off; nothing if none of that name runs."""
        self._timers = [timer for timer in self._timers if timer[2] != name]
        heapq.heapify(self._timers)

    def note_now(self, name: str, **values: Any) -> None:
        """Put an event with its values into the session's log."""
        self.note(name, self.pose, **values)

    def _tell_timers(self, until_ns: int) -> None:
        while self._timers and self._timers[0][0] <= until_ns:
            self._tell(heapq.heappop(self._timers)[2])

    def _tell(self, event: str) -> None:
        self._state(self.state)(event)
        self._change()

    def _change(self) -> None:
        for _ in range(_STEPS):
            if self._next is None:
                return
            following, self._next = self._next, None
            self._state(self.state)("exit")
            self._enter(following)
        raise RuntimeError(f"state {self.state!r}: {_STEPS} changes of state at one pose; two states call each other")

    def _enter(self, state: str) -> None:
        self.note("state", self.pose, state=state)
        self.state = state
        self._state(state)("entry")

    def _state(self, name: str) -> Callable[[str], None]:
        method = getattr(self, name, None)
        if not callable(method) or hasattr(StateMachine, name):
            raise ValueError(f"expected a state, a method of {type(self).__name__}, but got {name!r}")
        state: Callable[[str], None] = method
        return state
