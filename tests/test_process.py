"""The line between parent and child, when one of them does not listen."""

import io
import json
import os
import queue
import subprocess
import sys
import threading

import pytest

from poseloop.live.process import Child, Parent


def test_a_parent_that_is_paused_holds_nobody_up_and_gets_what_matters() -> None:
    """A pipe that nobody reads is full after 64 KB; the report still has to come when the parent goes on."""
    read, write = os.pipe()
    ours_read, ours_write = os.pipe()
    parent = Parent(os.fdopen(ours_read, "r"), os.fdopen(write, "w"))
    for number in range(20_000):
        parent.say("health", number=number, text="x" * 200)
    parent.say("report", frames=7)
    parent.say("done")
    lines: list[str] = []

    def listen() -> None:
        with os.fdopen(read, "r") as line:
            lines.extend(line)

    reader = threading.Thread(target=listen)
    reader.start()
    os.close(ours_write)
    parent.close()
    parent._sink.close()
    parent._source.close()
    reader.join()
    told = [json.loads(line) for line in lines]
    assert [message["event"] for message in told[-2:]] == ["report", "done"]
    assert told[0]["number"] == 0
    assert 1000 <= len(told) < 20_000, "the oldest wait, the others are dropped"


def test_a_supervisor_whose_terminal_is_stopped_does_not_fill_its_memory() -> None:
    inbox: queue.SimpleQueue = queue.SimpleQueue()
    child = Child("engine", inbox)
    lines = [json.dumps({"event": "health"})] * 5000 + [json.dumps({"event": "report"})]

    class Process:
        stdout = io.StringIO("\n".join(lines) + "\n")

        def wait(self) -> int:
            return 0

    child._process = Process()  # type: ignore[assignment]
    child._read()
    events = [inbox.get()[1]["event"] for _ in range(inbox.qsize())]
    assert events.count("health") == 1000
    assert events[-2:] == ["report", "exit"]


def test_a_child_that_cannot_be_killed_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that waits for a dead disk inside the system does not come back, not even to die."""
    sleeper = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    kill = sleeper.kill
    monkeypatch.setattr(sleeper, "kill", lambda: None)
    child = Child("recorder", queue.SimpleQueue())
    child._process = sleeper
    child._reader = threading.Thread(target=child._read, daemon=True)
    child._reader.start()
    closing = threading.Thread(target=child.close, args=(0.0,), daemon=True)
    closing.start()
    closing.join(20)
    hangs = closing.is_alive()
    kill()
    closing.join()
    child._reader.join()
    assert sleeper.stdout is not None
    sleeper.stdout.close()
    assert not hangs
    child.say("stop")
    child.close(0.0)


def test_a_child_whose_parent_was_killed_ends_as_always_and_says_nothing_of_its_own_end() -> None:
    """What it still had to tell (nothing is registered under this name) goes into a pipe that nobody holds."""
    child = subprocess.Popen(
        [sys.executable, "-m", "poseloop.live.process", "nobody"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stderr is not None
    child.stdin.close()
    child.stdout.close()
    with child.stderr:
        assert child.stderr.read() == ""
    assert child.wait() == 1
