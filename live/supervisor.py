"""Runs a rig: starts engine and host, keeps them in step, and puts their reports together.

It is the only process that a terminal talks to. Order of a start: boards opened and network warmed up at the same time
→ host subscribed and ready → cameras. Order of an end: on Ctrl-C or a fault the host first, since it switches the
outputs off; when the time is over or the recordings have ended the engine first, so that its last poses are decided on.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from poseloop.live.config import Rig, parse_rig
from poseloop.live.errors import PoseloopError
from poseloop.live.output.report import machine
from poseloop.live.process import STOP, Child, Message

__all__ = ["Supervisor"]

_POLL_S = 0.05
_END_S = 10.0
"""How long a process may take to end before it is killed; boards switch off by their lease long before."""


class Supervisor:
    """One run of one rig.

    ``listener`` is called with (process, message) for everything the processes tell: ``ready``, ``started``,
    ``health``, ``status``, ``trigger``, ``board``, ``protocol_failed``.
    """

    def __init__(self, text: str, file: Path, listener: Callable[[str, Message], None] | None = None) -> None:
        """Validate the rig.

        Args:
            text: the rig file's text; all processes see this very text, whatever happens to the file.
            file: where it lies; relative paths start at its folder.
            listener: called in the thread that calls `run`.

        Raises:
            ConfigError: the text is no valid rig.
        """
        self.rig: Rig = parse_rig(text, file)
        self._request = {"event": "open", "rig": text, "file": str(file)}
        self._listener = listener or (lambda process, message: None)
        self._inbox: queue.SimpleQueue[tuple[str, Message]] = queue.SimpleQueue()
        self._engine = Child("engine", self._inbox)
        self._host = Child("host", self._inbox)
        self._reports: dict[str, Message] = {}
        self._errors: list[Message] = []
        self._done: set[str] = set()
        self._gone: set[str] = set()

    @property
    def pids(self) -> dict[str, int]:
        """Process ids of engine and host."""
        return {child.name: child.pid for child in (self._engine, self._host)}

    def run(self, seconds: float | None, stop: threading.Event) -> dict[str, Any]:
        """Run until ``seconds`` after the first pose, until the recordings end, or until ``stop`` is set.

        Returns the report (see `poseloop.live.output.report`).

        Raises:
            PoseloopError: a process failed; by then everything has ended and the outputs are off.
        """
        started_s = 0.0
        try:
            self._engine.start(self._request)
            self._host.start(self._request)
            ready = self._wait("ready", "engine", stop)
            if ready is not None:
                self._host.say("subscribe", endpoint=ready["endpoints"]["poses"])
                if self._wait("ready", "host", stop) is not None:
                    self._engine.say("start")
                    started_s = self._watch(seconds, stop)
        finally:
            self._end()
        if self._errors:
            raise _error(self._errors)
        return self._report(time.monotonic() - started_s if started_s else 0.0)

    def _watch(self, seconds: float | None, stop: threading.Event) -> float:
        """Follow the run to its end; returns when (on the monotonic clock) the first pose came."""
        started_s, ends_s = 0.0, float("inf")
        while not stop.is_set() and not self._failed and "engine" not in self._reports:
            process, message = self._next()
            if message["event"] == "started":
                started_s = time.monotonic()
                ends_s = started_s + (float("inf") if seconds is None else seconds)
            self._tell(process, message)
            if time.monotonic() >= ends_s:
                break
        if not stop.is_set() and not self._failed:
            self._engine.say(STOP)
            self._wait_until_done(self._engine)
            self._host.say("finish")
            self._wait_until_done(self._host)
        return started_s

    def _end(self) -> None:
        # The host's line is closed first: closing means stop, and stop means outputs off.
        self._host.say(STOP)
        self._engine.say(STOP)
        for child in (self._host, self._engine):
            self._wait_until_done(child)
            child.close(_END_S)
        while not self._inbox.empty():
            self._tell(*self._next())

    @property
    def _failed(self) -> bool:
        return bool(self._errors or self._gone)

    def _wait(self, event: str, process: str, stop: threading.Event) -> Message | None:
        """The awaited message; None if the run was stopped or something failed before it came."""
        while not stop.is_set() and not self._failed:
            source, message = self._next()
            self._tell(source, message)
            if source == process and message["event"] == event:
                return message
        return None

    def _wait_until_done(self, child: Child) -> None:
        ends = time.monotonic() + _END_S
        while child.pid and child.name not in self._done | self._gone and time.monotonic() < ends:
            self._tell(*self._next())

    def _next(self) -> tuple[str, Message]:
        try:
            return self._inbox.get(timeout=_POLL_S)
        except queue.Empty:
            return "", {"event": "nothing"}

    def _tell(self, process: str, message: Message) -> None:
        match message["event"]:
            case "nothing":
                return
            case "done":
                self._done.add(process)
            case "report":
                self._reports[process] = message
            case "error":
                self._errors.append({**message, "process": process})
            case "exit":
                self._gone.add(process)
                if message["code"] and not any(error["process"] == process for error in self._errors):
                    text = f"the {process} process ended by itself (exit code {message['code']}); outputs are off"
                    self._errors.append({"process": process, "text": text, "expected": True, "trace": ""})
            case _:
                self._listener(process, message)

    def _report(self, seconds: float) -> dict[str, Any]:
        engine, host = self._reports.get("engine", {}), self._reports.get("host", {})
        empty = {"captured": 0, "processed": 0, "dropped": {}}
        return {
            "rig": self.rig.name,
            "seconds": round(seconds, 3),
            "frames": engine.get("frames", empty),
            "cameras": engine.get("cameras", {}),
            "poses": {"published": engine.get("published", 0), **host.get("poses", {})},
            "triggers": host.get("triggers", {}),
            "refusals": host.get("refusals", {}),
            "protocols": host.get("protocols", {}),
            "latency_ms": {**engine.get("latency_ms", {}), **host.get("latency_ms", {})},
            "provider": engine.get("provider", "none"),
            "versions": engine.get("versions", {}),
            "machine": machine(),
        }


def _error(errors: Sequence[Message]) -> PoseloopError:
    texts = [
        error["text"]
        if error["expected"]
        else f"a fault in the {error['process']} process: {error['text']} (run with --debug for its traceback)"
        for error in errors
    ]
    failure = PoseloopError("\n".join(dict.fromkeys(texts)))
    for error in errors:
        if error["trace"]:
            failure.add_note(f"In the {error['process']} process:\n{error['trace']}")
    return failure
