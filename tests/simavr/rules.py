"""Tests of rules, each with the proof that it fails where the firmware lacks the rule."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from simavr import emulator
from simavr.emulator import Run, Script, output, variant

from poseloop.drivers.arduino.tables import Reason, ToHost

MS = 1000

Test = Callable[[], None]


@dataclass(frozen=True)
class Removal:
    """A rule, how to take it out of the firmware, and the test that must then fail."""

    name: str
    changes: Mapping[str, str]
    test: Test


class Rules(list[Removal]):
    """The rules that a file of tests proves."""

    def fails_without(self, name: str, changes: Mapping[str, str]) -> Callable[[Test], Test]:
        """Note a rule that the test proves.

        Args:
            name: its row in the safety table, and a few words.
            changes: see `simavr.emulator.variant`.
        """

        def note(test: Test) -> Test:
            self.append(Removal(name, changes, test))
            return test

        return note


def fails(removal: Removal) -> str:
    """Run the test on firmware without the rule; returns why it failed, empty = it did not."""
    emulator.current = variant(removal.changes)
    try:
        removal.test()
    except (AssertionError, ValueError, IndexError) as error:
        return f"{type(error).__name__}: {error}"
    finally:
        emulator.current = emulator.SKETCH
    return ""


class Talk(Script):
    """A script that gives the number of each frame, and waits long enough for its answer."""

    def ask(self, *frame: int, seq: int | None = None) -> int:
        """Say it; returns its number."""
        self.say(*frame, seq=seq)
        self.wait(2 * MS)
        return self.seq if seq is None else seq


def talk(*lines: tuple[int, ...], lease_ms: int = 1000, arm: bool = True) -> Talk:
    """Begin with a board that is set up; with one line on pin 8 unless others are given."""
    script = Talk()
    script.configure(*(lines or (output(8),)), lease_ms=lease_ms, arm=arm)
    return script


def told(run: Run, seq: int) -> Reason | None:
    """Why a frame was refused; None = it was obeyed."""
    answer = run.answer(seq)
    return Reason(answer.values[0]) if answer.kind == ToHost.REFUSED else None
