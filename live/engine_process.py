"""The engine as a process of its own: what it is told, and what it tells."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from poseloop.live import realtime
from poseloop.live.clock import now_ns
from poseloop.live.config import parse_rig
from poseloop.live.engine import Engine
from poseloop.live.process import STOP, Parent

__all__ = ["main"]

_HEALTH_NS = 250_000_000


def main(parent: Parent) -> None:
    """The engine as a process: obeys its parent's ``start`` and ``stop``, and reports at its end."""
    request = parent.receive()
    if request is None or request["event"] == STOP:
        return
    rig = parse_rig(request["rig"], Path(request["file"]), ("cameras",))
    for warning in realtime.apply(rig.realtime, rig.realtime.engine_cores):
        parent.say("notice", text=f"engine: {warning}")
    engine = Engine(rig, ended=lambda: parent.inbox.put({"event": "ended"}))
    engine.open()
    try:
        if engine.tolerance.doubt:
            parent.say("notice", text=f"engine: {engine.tolerance.doubt}")
        parent.say(
            "ready",
            endpoints=engine.publisher.endpoints,
            provider=engine.network.provider,
            sync=engine.how_sets_are_made(),
            record=engine.recording and engine.recording.request,
        )
        # Subscribers that connect now find the header; the cameras wait until the host has said that it is ready.
        unrecorded = False
        while (message := parent.receive(0.05)) is None or message["event"] == "unrecord":
            unrecorded |= message is not None
            engine.publisher.send_header()
        if message["event"] == "start":
            if engine.recording is not None:
                engine.recording.start(message["recorder"])
                if unrecorded:
                    engine.recording.end()
            engine.start()
            parent.say("capturing")
            _watch(engine, parent)
        engine.stop()
        _tell_changes(engine, {name: state for name, (state, _) in engine.states().items() if state != "hung"}, parent)
        engine.publisher.send_end(engine.published)
        if engine.error is not None:
            raise engine.error
    finally:
        if engine.started:
            parent.say("report", **engine.report())
        engine.close()


def _watch(engine: Engine, parent: Parent) -> None:
    """Send health until the parent says stop, a thread fails, or the recordings end."""
    started = False
    due_ns = 0
    states: dict[str, str] = {}
    moved: set[str] = set()
    while not engine.failed.is_set() and not engine.finished:
        message = parent.receive(max(due_ns - now_ns(), 0) / 1e9 if started else 0.005)
        if message is not None and message["event"] in (STOP, "ended"):
            return
        if message is not None and message["event"] == "latency":
            engine.act_ns = message["act_ns"]
        if message is not None and message["event"] == "unrecord" and engine.recording is not None:
            engine.recording.end()
        states = _tell_changes(engine, states, parent)
        if not started and engine.sync.sets.processed:
            started = True
            parent.say("started")
        # Not after every message: there may have been no pose since the last health, and nothing is wrong with that.
        if started and now_ns() >= due_ns:
            due_ns = now_ns() + _HEALTH_NS
            health = engine.health()
            engine.publisher.send_health(health)
            if engine.recording is not None:
                engine.recording.tell("health", health)
            parent.say("health", **health)
            moved = _tell_moved(health["world"].get("moved", {}), moved, parent)


def _tell_changes(engine: Engine, before: dict[str, str], parent: Parent) -> dict[str, str]:
    """Tell the parent which cameras are in another state than before; returns the states."""
    states = {}
    for name, (state, why) in engine.states().items():
        states[name] = state
        if state != before.get(name, "ok"):
            parent.say("camera", camera=name, state=state, detail=why)
            if engine.recording is not None:
                engine.recording.tell("camera", {"camera": name, "state": state, "detail": why})
    return states


def _tell_moved(texts: Mapping[str, str], told: set[str], parent: Parent) -> set[str]:
    """Tell the parent of cameras that were moved, each once; returns all that were told of."""
    for cameras in texts.keys() - told:
        parent.say("notice", text=texts[cameras])
    return told | texts.keys()
