"""What the engine's process tells its parent, and when."""

from types import SimpleNamespace
from typing import Any

import pytest

from poseloop.live import engine_process
from poseloop.live.process import STOP

_LATENCY = {"event": "latency", "act_ns": 1}


def test_a_message_brings_no_health_before_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Just after the last one there may be no pose to tell of, and "no pose" would be shown of a rig that is well."""
    now = [0]
    monkeypatch.setattr(engine_process, "now_ns", lambda: now[0])
    # Each with how long it is after the one before.
    coming = [(None, 5), (_LATENCY, 50), (_LATENCY, 100), (None, 100), (None, 250), ({"event": STOP}, 1)]
    waited = []

    def receive(timeout_s: float) -> dict[str, Any] | None:
        message, after_ms = coming.pop(0)
        waited.append(timeout_s)
        now[0] += after_ms * 1_000_000
        return message

    told = []
    parent = SimpleNamespace(receive=receive, say=lambda event, **values: told.append((event, now[0] // 1_000_000)))
    engine = SimpleNamespace(
        failed=SimpleNamespace(is_set=lambda: False),
        finished=False,
        recording=None,
        sync=SimpleNamespace(sets=SimpleNamespace(processed=1)),
        publisher=SimpleNamespace(send_health=lambda health: None),
        states=dict,
        health=lambda: {"world": {}},
    )
    engine_process._watch(engine, parent)
    assert told == [("started", 5), ("health", 5), ("health", 255), ("health", 505)]
    assert waited == pytest.approx([0.005, 0.25, 0.2, 0.1, 0.25, 0.25])
