"""Runs a rig: starts engine, host and recorder, keeps them in step, and puts their reports together.

It is the only process that a terminal talks to. Order of a start: boards opened and network warmed up at the same time
→ host subscribed and ready → cameras → the board that triggers them, if one does. Order of an end: on Ctrl-C or a fault
the host first, since it switches the outputs off; when the time is over or the recordings have ended the engine first,
so that its last poses are decided on. The recorder begins before the cameras and ends after everybody; nobody waits for
it in between.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from poseloop.live.config import Rig, parse_rig
from poseloop.live.errors import DataError, PoseloopError
from poseloop.live.output import report as reports
from poseloop.live.process import STOP, Child, Message
from poseloop.live.types import Level

__all__ = ["Stop", "Supervisor"]

_POLL_S = 0.05
_END_S = 5.0
"""How long all processes together may take to end before they are killed; boards are off by their lease long before."""

_FIRST_S = 5.0
"""A first pose may take so long to come, whatever the run's time: cameras need a moment for their first picture."""

_RECORDER_END_S = 8.0
"""How long the recorder may take to encode what waits, after engine and host have gone."""

_RECORDER_SILENT_S = 5.0
"""The recorder tells its state twice a second; one that has not for so long hangs, and is killed."""

_HELD_UP_S = 1.0
"""Who was held up for so long himself, by a terminal that was stopped, cannot say that another was silent."""

_SILENT_S = 1.0
"""The host tells its state four times a second; when it has not for so long, one of its protocols hangs."""

_ONCE_S = 0.3
"""A Ctrl-C may come twice: from the terminal, and passed on by what the command was started with (``timeout``, a
script). Nobody presses it again so soon, and to hurry means to kill processes that were switching outputs off."""


class _Hurry(Exception):
    """A person does not want to wait for what is being done."""


class Stop(threading.Event):
    """Set = come to an end. ``hurry`` set too = do not wait for anybody."""

    def __init__(self) -> None:
        super().__init__()
        self.hurry = threading.Event()
        self._asked_s = 0.0

    def again(self) -> None:
        """Ask to stop; the second time, to hurry. What comes `_ONCE_S` after the first is part of it."""
        if not (self._asked_s or self.is_set()):
            # First of all: a signal that comes in the middle of set() must not call it, too, and wait for its lock.
            self._asked_s = time.monotonic()
            self.set()
        elif time.monotonic() - self._asked_s > _ONCE_S:
            self.hurry.set()

    def leave_if_hurried(self, count: int = 1) -> None:
        """Leave a long piece of work that calls this now and then; its ``count`` is of no interest."""
        if self.hurry.is_set():
            raise _Hurry


class Supervisor:
    """One run of one rig.

    ``listener`` is called with (process, message) for everything the processes tell: ``ready``, ``capturing``,
    ``started``, ``health``, ``status``, ``trigger``, ``board``, ``camera``, ``notice``, ``protocol_failed``,
    ``recording``, ``backlog``, and for what the supervisor itself sees: ``silent`` (the host does not answer),
    ``unrecorded`` (the recording has ended before the run) and ``stopping``.
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
        self._request = {"event": "open", "rig": text, "file": str(file.absolute())}
        self._listener = listener or (lambda process, message: None)
        self._inbox: queue.SimpleQueue[tuple[str, Message]] = queue.SimpleQueue()
        self._engine = Child("engine", self._inbox)
        self._host = Child("host", self._inbox)
        self._recorder = Child("recorder", self._inbox)
        self._recording = False
        """Is a session written now?"""
        self._started = False
        """Was the engine told to start the cameras?"""
        self._capturing = False
        """Were the cameras ever started? If not, a session holds nothing that anybody wants."""
        self._discarded = False
        """See `_discard`."""
        self.session: Path | None = None
        """The folder of the session, if one was begun."""
        self._unrecorded = ""
        """Why the recording ended before the run."""
        self._recorder_heard_s = self._looked_s = 0.0
        self._recorder_endpoint: str | None = None
        self._answers: dict[tuple[str, str], Message] = {}
        """(process, event) → what it said when it was ready; another one may have been waited for then."""
        self._reports: dict[str, Message] = {}
        self._errors: list[Message] = []
        self._done: set[str] = set()
        self._gone: set[str] = set()
        self._heard_s = 0.0
        self._act_ns = 0
        self.error: PoseloopError | None = None
        """Why the run failed, after `run`; None if it did not."""

    def run(self, seconds: float | None, stop: Stop) -> dict[str, Any]:
        """Run until ``seconds`` after the first pose, until the recordings end, or until ``stop`` is set.

        Without any pose (no pulses at the trigger inputs) the time counts from the cameras' start, and is `_FIRST_S` at
        least.

        When it returns, every process has ended and the outputs are off. A process that failed leaves its reason in
        `error`; the report then holds what is known.
        """
        started_s, why = 0.0, "it was stopped"
        try:
            if self.rig.record is not None:
                self._recorder.start(self._request)
            self._engine.start(self._request)
            self._host.start(self._request)
            ready = self._wait("ready", "engine", stop)
            if ready is not None and self._bind_host(ready, stop) and self._begin_session(ready["record"], stop):
                self._started = True
                self._engine.say("start", recorder=self._recorder_endpoint)
                started_s, why = self._watch(seconds, stop)
        finally:
            self._end(stop)
        if self._errors:
            self.error = _error(self._errors)
            why = "something failed"
        report = self._report(time.monotonic() - started_s if started_s else 0.0, why)
        if self.session is not None:
            self._leave(report, self.session, stop)
        return report

    def _leave(self, report: dict[str, Any], folder: Path, stop: Stop) -> None:
        """Close the session: with its report it has ended properly, and what is in it can be held against that."""
        # Only a run that has recorded needs what reads videos.
        from poseloop.live.output.session import REPORT_FILE, Session
        from poseloop.live.output.verify import verify

        try:
            reports.write(report, folder / REPORT_FILE)
            self._hear("supervisor", {"event": "checking", "folder": str(folder)})
            with Session.open(folder) as session:
                findings, _ = verify(session, decode=False, done=stop.leave_if_hurried)
            found = [asdict(finding) for finding in findings if finding.level is not Level.OK]
            whole = not any(finding.level is Level.FAIL for finding in findings)
            report["record"]["check"] = {"whole": whole, "found": found}
            reports.write(report, folder / REPORT_FILE)
        except _Hurry:
            return
        except DataError as error:
            self._hear("supervisor", {"event": "notice", "text": f"the session could not be checked: {error}"})

    def _bind_host(self, ready: Message, stop: Stop) -> bool:
        """Let the host subscribe, and refuse a rig that its protocols cannot work on; False = it did, or was stopped.

        Before there is a session: one of a rig that was refused would hold nothing.
        """
        if ready["record"] is not None:
            recorder = self._wait("ready", "recorder", stop)
            if recorder is None:
                return False
            self._recorder_endpoint = recorder["endpoint"]
        self._host.say("subscribe", endpoint=ready["endpoints"]["poses"], recorder=self._recorder_endpoint)
        return self._wait("ready", "host", stop) is not None

    def _begin_session(self, cameras: Message | None, stop: Stop) -> bool:
        """Let the recorder open the engine's slots and all files; False = it could not, or the run was stopped."""
        if cameras is None:
            return True
        meta = {**cameras["meta"], "protocols": list(self.rig.protocols)}
        self._recorder.say("record", cameras=cameras["cameras"], meta=meta)
        return self._wait("recording", "recorder", stop) is not None

    def _watch(self, seconds: float | None, stop: Stop) -> tuple[float, str]:
        """Follow the run to its end; returns when (on the monotonic clock) the first pose came, and why it ended."""
        started_s, ends_s, why = 0.0, float("inf"), "the recordings have ended"
        self._heard_s, silent = time.monotonic(), False
        while not stop.is_set() and not self._failed and "engine" not in self._reports:
            process, message = self._next()
            if message["event"] == "capturing":
                # Trigger 0 has to be every camera's first frame.
                self._host.say("start_cameras")
                ends_s = time.monotonic() + (float("inf") if seconds is None else max(seconds, _FIRST_S))
            if message["event"] == "started":
                started_s = time.monotonic()
                ends_s = started_s + (float("inf") if seconds is None else seconds)
            self._tell(process, message)
            self._end_a_hung_recorder()
            was, silent = silent, time.monotonic() - self._heard_s > _SILENT_S
            if silent and not was:
                self._tell("host", {"event": "silent", "seconds": _SILENT_S})
            host_ended = "host" in self._done | self._reports.keys()
            # When the recordings end, the host may have noticed before the engine's report is here.
            if host_ended and not self._reports.get("host", {}).get("engine_ended"):
                self._errors.append({"process": "host", "text": "the host ended by itself", "expected": True})
            if time.monotonic() >= ends_s:
                why = "the time was over"
                break
        if stop.is_set():
            why = "it was stopped"
        elif not self._failed:
            ends_s = time.monotonic() + _END_S
            self._engine.say(STOP)
            self._wait_until_done(self._engine, ends_s, stop)
            self._host.say("finish")
            self._wait_until_done(self._host, ends_s, stop)
        return started_s, why

    def _end(self, stop: Stop) -> None:
        """End both processes, whatever happens: the pipes must be closed, or they and their readers wait for ever."""
        ends_s = time.monotonic() + _END_S
        try:
            # The host first: its end means outputs off.
            self._host.say(STOP)
            if not self._started:
                # Before the engine's slots go, which it may be about to open.
                self._discard()
            self._engine.say(STOP)
            self._tell("", {"event": "stopping"})
            for child in (self._host, self._engine):
                self._wait_until_done(child, ends_s, stop)
        finally:
            try:
                self._host.close(0.0 if stop.hurry.is_set() else max(ends_s - time.monotonic(), 0.5))
            finally:
                try:
                    self._engine.close(0.0 if stop.hurry.is_set() else max(ends_s - time.monotonic(), 0.5))
                finally:
                    self._end_recorder(stop)
        while not self._inbox.empty():
            self._tell(*self._next())

    def _end_recorder(self, stop: Stop) -> None:
        """Let it write what waits: everybody else has gone."""
        try:
            if not self._capturing:
                self._discard()
            self._recorder.say("finish" if self._recording else STOP)
            self._wait_until_done(self._recorder, time.monotonic() + _RECORDER_END_S, stop)
            if self._recording and "recorder" not in self._reports:
                self._end_recording("the recorder did not end in time; the end of the session may be missing")
        finally:
            # What it has written stays, however it ends.
            self._recorder.close(0.0 if stop.hurry.is_set() else 0.5)

    def _discard(self) -> None:
        """No camera was started: let the recorder throw away what it has begun, or is about to begin.

        What is there of a recording that has ended by a fault stays, with the report that names it.
        """
        if not self._unrecorded:
            self._discarded, self._recording, self.session = True, False, None
            self._recorder.say("discard")

    def _end_a_hung_recorder(self) -> None:
        now_s = time.monotonic()
        if now_s - self._looked_s > _HELD_UP_S:
            # What it said meanwhile has not been read yet.
            self._recorder_heard_s = now_s
        self._looked_s = now_s
        if self._recording and now_s - self._recorder_heard_s > _RECORDER_SILENT_S:
            # First, since it must not read slots that the cameras fill again.
            self._recorder.close(0.0)
            self._end_recording(f"the recorder had not answered for {_RECORDER_SILENT_S:g} s and was killed")

    def _end_recording(self, why: str) -> None:
        """The recording ended before the run: say so at once; the run goes on or ends by ``record.on_fault``."""
        assert self.rig.record is not None
        self._recording, self._unrecorded = False, why
        self._engine.say("unrecord")
        self._host.say("unrecord")
        self._hear("recorder", {"event": "unrecorded", "folder": str(self.session), "text": why})
        if self.rig.record.on_fault == "stop":
            text = f"the recording ended: {why}. The run was stopped, since record.on_fault is 'stop'"
            self._errors.append({"process": "recorder", "text": text, "expected": True})

    def _log(self, process: str, message: Message) -> None:
        """Let the recorder write down what only the supervisor sees, or what is told by word alone."""
        # The line of one that hangs fills up, and then whoever talks to it hangs, too.
        listens = time.monotonic() - self._recorder_heard_s < _RECORDER_SILENT_S / 2
        if self._recording and listens and process != "recorder":
            detail = {key: value for key, value in message.items() if key != "event"}
            self._recorder.say("log", source=process or "supervisor", kind=message["event"], detail=detail)

    @property
    def _failed(self) -> bool:
        return bool(self._errors or self._gone - {"recorder"})

    def _wait(self, event: str, process: str, stop: Stop) -> Message | None:
        """The awaited message; None if the run was stopped or something failed before it came."""
        while not stop.is_set() and not self._failed:
            if (answer := self._answers.get((process, event))) is not None:
                return answer
            self._tell(*self._next())
        return None

    def _wait_until_done(self, child: Child, ends_s: float, stop: Stop) -> None:
        while child.pid and child.name not in self._done | self._gone:
            if time.monotonic() >= ends_s or stop.hurry.is_set():
                return
            self._tell(*self._next())

    def _next(self) -> tuple[str, Message]:
        try:
            return self._inbox.get(timeout=_POLL_S)
        except queue.Empty:
            return "", {"event": "nothing"}

    def _tell(self, process: str, message: Message) -> None:
        if process == "host" and message["event"] != "silent":
            self._heard_s = time.monotonic()
        if process == "recorder":
            self._recorder_heard_s = time.monotonic()
        if message["event"] in ("notice", "silent", "error") or message.get("code"):
            self._log(process, message)
        match message["event"]:
            case "nothing":
                return
            case "error" | "exit" if process == "recorder" and self._discarded:
                # Whatever it could not do, such as open the slots of an engine that has ended: nobody wants it.
                if message["event"] == "exit":
                    self._gone.add(process)
            case "report" | "error" | "exit" if process == "recorder" and self.session is not None:
                self._recorder_ends(message)
            case "status" if message["act_ns"] != self._act_ns:
                self._act_ns = message["act_ns"]
                self._engine.say("latency", act_ns=self._act_ns)
                self._hear(process, message)
            case "done":
                self._done.add(process)
            case "report":
                self._reports[process] = message
            case "error":
                self._errors.append({**message, "process": process})
            case "exit":
                self._gone.add(process)
                if message["code"] and not any(error["process"] == process for error in self._errors):
                    self._errors.append({"process": process, "text": _ending(process, message), "expected": True})
            case event:
                if event in ("ready", "recording"):
                    self._answers[process, event] = message
                if event == "recording" and not self._discarded:
                    self._recording, self.session = True, Path(message["folder"])
                self._capturing |= event == "capturing"
                self._hear(process, message)

    def _recorder_ends(self, message: Message) -> None:
        """In whatever way; if nobody has told it to, the recording is over and the run is not."""
        why = ""
        match message["event"]:
            case "report":
                self._reports["recorder"] = message
                why = message["fault"]
            case "error":
                why = message["text"]
            case "exit":
                self._gone.add("recorder")
                if "recorder" not in self._reports:
                    how = "was killed" if message["code"] < 0 else "ended by itself"
                    why = f"the recorder process {how} (exit code {message['code']})"
        if why and self._recording:
            self._end_recording(why)

    def _hear(self, process: str, message: Message) -> None:
        try:
            self._listener(process, message)
        except Exception as error:  # noqa: BLE001 - a full disk under a status line must not keep the processes alive
            self._listener = lambda process, message: None
            text = f"what the run tells cannot be shown: {type(error).__name__}: {error}"
            self._errors.append({"process": "supervisor", "text": text, "expected": True})

    def _record_report(self) -> dict[str, Any]:
        """What became of the session; empty if none was begun."""
        if self.session is None:
            return {}
        known = self._reports.get("recorder", {})
        return {
            "folder": str(self.session),
            **{key: known.get(key, {}) for key in ("cameras", "messages_lost", "marked")},
            "bytes": known.get("bytes", 0),
            "fault": self._unrecorded,
        }

    def _report(self, seconds: float, why: str) -> dict[str, Any]:
        engine, host = self._reports.get("engine", {}), self._reports.get("host", {})
        return {
            "rig": self.rig.name,
            "seconds": round(seconds, 3),
            "ended": why,
            "error": str(self.error) if self.error else None,
            "frames": engine.get("frames", {"captured": 0, "processed": 0, "dropped": {}, "incomplete": 0}),
            "cameras": engine.get("cameras", {}),
            "poses": {"published": engine.get("published", 0), **host.get("poses", {})},
            "triggers": host.get("triggers", dict.fromkeys(("sent", "acknowledged", "refused", "lost", "held"), 0)),
            "refusals": host.get("refusals", {}),
            "boards": host.get("boards", {}),
            "protocols": host.get("protocols", {}),
            "skew_ms": engine.get("skew_ms", {}),
            "sync": engine.get("sync", {}),
            "world": engine.get("world", {}),
            "latency_ms": {**engine.get("latency_ms", {}), **host.get("latency_ms", {})},
            "provider": engine.get("provider", "none"),
            "networks": engine.get("networks", []),
            "record": self._record_report(),
            "versions": engine.get("versions", {}),
            "machine": reports.machine(),
        }


def _ending(process: str, message: Message) -> str:
    how = "was killed" if message["code"] < 0 else "ended by itself"
    outputs = "" if process == "recorder" else "; outputs go off when their lease lapses"
    return f"the {process} process {how} (exit code {message['code']}){outputs}"


def _error(errors: Sequence[Message]) -> PoseloopError:
    texts = [
        error["text"]
        if error["expected"]
        else f"a fault in the {error['process']} process: {error['text']} (run with --debug for its traceback)"
        for error in errors
    ]
    failure = PoseloopError("\n".join(dict.fromkeys(texts)))
    for error in errors:
        if error.get("trace"):
            failure.add_note(f"In the {error['process']} process:\n{error['trace']}")
    return failure
