"""Child processes with a line to their parent: ``python -m poseloop.live.process NAME``.

Parent and child exchange lines of JSON over the child's standard input and output, which works on every system and
ends with either of them: when the parent dies, in whatever way, the child reads the end of its input and stops. A
terminal's Ctrl-C reaches the parent alone, which then decides in what order the others end. What a plugin prints goes
to standard error, so that it cannot disturb the line.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import traceback
from importlib.metadata import entry_points
from typing import IO, Any

from poseloop.live.errors import PoseloopError

__all__ = ["STOP", "Child", "Message", "Parent", "detached"]

Message = dict[str, Any]
"""``event`` says what it is; the rest depends on it."""

_GROUP = "poseloop.processes"

_HANGS_S = 3.0
_HUNG = 70
"""Exit code of a process that did not end within `_HANGS_S` of its parent's end."""

_WAITING = 1000
"""Messages that wait for a reader at most: a supervisor whose terminal is stopped must not fill the memory, nor hold up
the loop that talks to it."""

_KEPT = ("report", "error", "done", "exit")
"""Events that are never dropped; there is one of each at most."""

_LEFT_BEHIND_S = 0.5

_KILLED_S = 3.0
"""A process that was killed is gone by then, unless the system itself does not come back: from a dead network disk."""

STOP = "stop"
"""The parent wants the child to end; also what the child sees when the parent is gone."""


def detached() -> dict[str, Any]:
    """Arguments for ``Popen`` that keep a terminal's Ctrl-C from the new process."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}


class Parent:
    """The child's end of the line."""

    def __init__(self, source: IO[str], sink: IO[str]) -> None:
        self._source = source
        self._sink = sink
        self._outbox: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        """What the parent said and nobody has read yet; ``stop`` is the last."""
        self._finished = threading.Event()
        self._reader = threading.Thread(target=self._read, name="parent")
        self._writer = threading.Thread(target=self._write, name="to-parent")
        self._reader.start()
        self._writer.start()

    def _read(self) -> None:
        try:
            for line in self._source:
                self.inbox.put(json.loads(line))
        except ValueError:
            # Half a line: the parent died while it wrote.
            pass
        finally:
            self.stop()
        # The parent has closed the line. If this process still hangs in somebody's code, nobody else will end it.
        if not self._finished.wait(_HANGS_S):
            os._exit(_HUNG)

    def stop(self) -> None:
        """Tell this process to end, as if the parent had said so."""
        self.inbox.put({"event": STOP})

    def receive(self, timeout_s: float | None = None) -> Message | None:
        """The next message; None if none came within ``timeout_s`` (None = wait for ever, 0 = only look)."""
        try:
            return self.inbox.get(block=timeout_s != 0, timeout=timeout_s)
        except queue.Empty:
            return None

    def say(self, event: str, **values: Any) -> None:
        """Send a message without waiting; silently nothing if the parent is gone, since the reader tells that too.

        Dropped if `_WAITING` others wait, because the parent is stopped; what `_KEPT` names always goes.
        """
        if event in _KEPT or self._outbox.qsize() < _WAITING:
            self._outbox.put(json.dumps({"event": event, **values}) + "\n")

    def _write(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            while (line := self._outbox.get()) is not None:
                self._sink.write(line)
                self._sink.flush()

    def close(self) -> None:
        """Send what is left, then wait until the parent has closed the line (it does so on ``done``)."""
        self._outbox.put(None)
        self._writer.join()
        self._finished.set()
        self._reader.join()


class Child:
    """The parent's end of the line: one process that runs a registered ``main(parent)``."""

    def __init__(self, name: str, inbox: queue.SimpleQueue[tuple[str, Message]]) -> None:
        """Keep the name; ``start`` starts it.

        Args:
            name: an entry point of the group ``poseloop.processes``.
            inbox: gets (name, message) for all that the child says, and ``{"event": "exit", "code": …}`` at its end.
        """
        self.name = name
        self._inbox = inbox
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    @property
    def pid(self) -> int:
        """Process id; 0 before ``start``."""
        return self._process.pid if self._process else 0

    def start(self, request: Message) -> None:
        """Start the process and hand it its first message."""
        # -P: a file of the user's called queue.py must not be taken for the library's.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "poseloop.live.process", self.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            **detached(),
        )
        # A daemon: of a process that cannot be killed it would read for ever.
        self._reader = threading.Thread(target=self._read, name=f"{self.name}-line", daemon=True)
        self._reader.start()
        self.say(**request)

    def _read(self) -> None:
        process = self._process
        assert process is not None and process.stdout is not None
        for line in process.stdout:
            with contextlib.suppress(json.JSONDecodeError):
                message = json.loads(line)
                if message["event"] in _KEPT or self._inbox.qsize() < _WAITING:
                    self._inbox.put((self.name, message))
        self._inbox.put((self.name, {"event": "exit", "code": process.wait()}))

    def say(self, event: str, **values: Any) -> None:
        """Send a message; nothing happens if the child is gone (its ``exit`` is in the inbox)."""
        if self._process is None or self._process.stdin is None:
            return
        with contextlib.suppress(OSError, ValueError):
            self._process.stdin.write(json.dumps({"event": event, **values}) + "\n")
            self._process.stdin.flush()

    def close(self, timeout_s: float) -> None:
        """Close the line, which tells the child to stop, and wait; kill it after ``timeout_s``. Idempotent.

        One that cannot be killed is left behind after `_KILLED_S`: the other processes still have to be ended.
        """
        process, reader = self._process, self._reader
        if process is None or reader is None:
            return
        assert process.stdin is not None and process.stdout is not None
        with contextlib.suppress(OSError):
            process.stdin.close()
        ends = time.monotonic() + timeout_s
        while process.poll() is None and time.monotonic() < ends:
            time.sleep(0.005)
        if process.poll() is None:
            process.kill()
        self._process = None
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_KILLED_S)
            reader.join()
            process.stdout.close()


def main(name: str) -> int:
    """Run the registered function ``name`` as this process; returns the exit code."""
    # The parent alone answers the terminal.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sink = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    source = os.fdopen(os.dup(sys.stdin.fileno()), "r", encoding="utf-8")
    # What a plugin starts inherits an empty input, not the line.
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, sys.stdin.fileno())
    os.close(nothing)
    # A pipe or a terminal: what a protocol prints shows when it is printed.
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    parent = Parent(source, sink)
    # A system that shuts down asks every process; outputs go off on the way out.
    signal.signal(signal.SIGTERM, lambda number, frame: parent.stop())
    code = 0
    try:
        (point,) = entry_points(group=_GROUP, name=name)
        point.load()(parent)
    except BaseException as error:  # noqa: BLE001 - the last catch of the process: the parent must hear of it
        code = 1
        text = str(error) if isinstance(error, PoseloopError) else f"{type(error).__name__}: {error}"
        parent.say("error", text=text, expected=isinstance(error, PoseloopError), trace=traceback.format_exc())
    parent.say("done")
    parent.close()
    with contextlib.suppress(OSError):  # The parent was killed: what was left to tell it has nowhere to go.
        sink.close()
    source.close()
    _leave_the_hung_behind(code)
    return code


def _leave_the_hung_behind(code: int) -> None:
    """End the process if a thread hangs in somebody's driver: the interpreter would wait for it for ever."""
    ends = time.monotonic() + _LEFT_BEHIND_S
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join(max(ends - time.monotonic(), 0))
            if thread.is_alive():
                sys.stderr.flush()
                os._exit(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
