"""What the supervisor makes of a recorder that hangs, only seems to, or dies early."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from sessions import recorded_rig

from poseloop.live import supervisor as supervisors
from poseloop.live.supervisor import Stop, Supervisor

RIG = """
[cameras.top]
use = "sim"
[model]
file = "blob"
[record]
"""


class Clock:
    now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(supervisors, "time", made)
    return made


@pytest.fixture
def supervisor(tmp_path: Path, clock: Clock) -> Supervisor:
    """In mid-run; its recorder has just said something."""
    made = Supervisor(RIG, tmp_path / "rig.toml")
    made._recording = True
    made._tell("recorder", {"event": "backlog"})
    made._end_a_hung_recorder()
    return made


def test_a_recorder_that_says_nothing_is_given_up(supervisor: Supervisor, clock: Clock) -> None:
    for _ in range(60):
        clock.now_s += 0.1
        supervisor._end_a_hung_recorder()
    assert not supervisor._recording
    assert "was killed" in supervisor._unrecorded


def test_a_stopped_terminal_does_not_cost_the_recording(supervisor: Supervisor, clock: Clock) -> None:
    """Ctrl-Z, Ctrl-S or a mark in a Windows console hold this process up, and not the recorder."""
    clock.now_s += 60
    supervisor._end_a_hung_recorder()
    assert supervisor._recording
    supervisor._tell("recorder", {"event": "backlog"})
    clock.now_s += 0.1
    supervisor._end_a_hung_recorder()
    assert supervisor._recording


def test_nothing_is_said_to_a_recorder_that_does_not_listen(
    supervisor: Supervisor, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipe that nobody reads is full after 4 KB on Windows, and then Ctrl-C would have no effect."""
    said: list[Any] = []
    monkeypatch.setattr(supervisor._recorder, "say", lambda event, **values: said.append(event))
    supervisor._tell("host", {"event": "notice", "text": "a"})
    clock.now_s += 3
    supervisor._tell("host", {"event": "notice", "text": "b"})
    assert said == ["log"]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_recorder_that_dies_before_the_cameras_start_costs_the_session_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rig = recorded_rig(tmp_path, 'on_fault = "continue"')

    def hear(process: str, message: dict) -> None:
        if (process, message["event"]) == ("recorder", "recording"):
            os.kill(supervisor._recorder.pid, signal.SIGKILL)

    supervisor = Supervisor(rig.read_text(encoding="utf-8"), rig, hear)
    report = supervisor.run(1.0, Stop())
    assert supervisor.error is None
    assert "was killed" in report["record"]["fault"]
    assert report["frames"]["processed"] > 0
    assert report["ended"] == "the time was over"


def test_a_ctrl_c_that_comes_twice_at_once_is_one(clock: Clock) -> None:
    """From the terminal, and from what the command was started with: nobody asked for processes to be killed."""
    stop = Stop()
    stop.again()
    clock.now_s += 0.05
    stop.again()
    assert stop.is_set()
    assert not stop.hurry.is_set()
    clock.now_s += 0.5
    stop.again()
    assert stop.hurry.is_set()


def test_a_second_signal_in_the_middle_of_the_first_does_not_wait_for_it(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Event.set() holds a lock that is not for one thread to take twice."""
    stop = Stop()
    calls: list[str] = []

    def interrupted(event: Stop) -> None:
        calls.append("set")
        assert len(calls) == 1
        event.again()

    monkeypatch.setattr(supervisors.threading.Event, "set", interrupted)
    stop.again()
    assert calls == ["set"]


def test_a_session_that_is_begun_after_it_was_given_up_is_none(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped while the recorder opened its files: what it says of them comes when it was told to throw them away."""
    supervisor._recording = False
    said: list[Any] = []
    monkeypatch.setattr(supervisor._recorder, "say", lambda event, **values: said.append(event))
    supervisor._end_recorder(Stop())
    supervisor._tell("recorder", {"event": "recording", "folder": "somewhere"})
    supervisor._tell("recorder", {"event": "exit", "code": 0})
    assert "discard" in said
    assert supervisor.session is None
    assert not supervisor._recording
    assert not supervisor._errors


def test_stopped_while_the_recorder_opens_its_files_it_leaves_no_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rig = recorded_rig(tmp_path)
    stop, supervisor = Stop(), Supervisor(rig.read_text(encoding="utf-8"), rig)
    say = supervisor._recorder.say

    def stop_then(event: str, **values: Any) -> None:
        say(event, **values)
        if event == "record":
            stop.set()

    monkeypatch.setattr(supervisor._recorder, "say", stop_then)
    report = supervisor.run(1.0, stop)
    assert supervisor.error is None
    assert supervisor.session is None
    assert report["record"] == {}
    assert not list(tmp_path.glob("sessions/*"))
