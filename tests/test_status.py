"""What a person sees while a rig runs."""

import io

import pytest

from poseloop.live.commands.status import Status


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def health(processed: int, at_s: float, side: str = "ok", p50: float | None = 2.5) -> dict:
    return {
        "event": "health",
        "at_ns": int(at_s * 1e9),
        "processed": processed,
        "dropped": {"superseded": 2, "failed": 1},
        "p50_ms": p50,
        "p99_ms": 7.25,
        "cameras": {"top": {"state": "ok"}, "side": {"state": side}},
    }


def test_the_line_tells_rate_latency_drops_triggers_and_cameras_in_trouble(monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    screen = Terminal()
    with Status(screen, quiet=False) as status:
        counts = {"sent": 5, "acknowledged": 4}
        status.hear("host", {"event": "status", "triggers": counts, "armed": {"box": True, "led": False}})
        status.hear("engine", health(100, 1.0))
        status.hear("engine", health(160, 2.0))
        line = screen.getvalue().split("\r")[-1]
        status.hear("engine", health(160, 3.0, side="lost", p50=None))
        later = screen.getvalue().split("\r")[-1]
    for part in ("160 sets", "60.0/s", "2.5 ms (p99 7.2)", "dropped 3", "triggers 4/5", "box armed", "led safe"):
        assert part in line
    assert "side" not in line
    assert "side lost" in later
    assert "no pose" in later


@pytest.mark.parametrize(
    ("state", "detail", "expected"),
    [
        ("lost", "side: unplugged", "camera side: is gone (side: unplugged); it is opened again"),
        ("silent", "", "camera side: delivers nothing"),
        ("hung", "", "camera side: hangs in its driver"),
        ("ok", "", "camera side: delivers again"),
    ],
)
def test_what_becomes_of_a_camera_is_told_even_without_a_status_line(state: str, detail: str, expected: str) -> None:
    screen = io.StringIO()
    with Status(screen, quiet=True) as status:
        status.hear("engine", {"event": "camera", "camera": "side", "state": state, "detail": detail})
    assert screen.getvalue().startswith(expected)
    assert screen.getvalue().endswith("\n")


def test_a_file_gets_a_line_now_and_then() -> None:
    screen = io.StringIO()
    with Status(screen, quiet=False) as status:
        for number in range(41):
            status.hear("engine", health(number * 10, number / 4))
    assert screen.getvalue().count("\n") == 2


def test_how_sets_are_made_is_told_at_the_start_of_a_rig_of_several_cameras() -> None:
    sync = {"match": "time", "tolerance_ms": 16.6667, "tolerance_from": "half of 33.3 ms"}
    screen = io.StringIO()
    with Status(screen, quiet=False) as status:
        status.hear("engine", {"event": "ready", "sync": {}})
        status.hear("host", {"event": "ready"})
        status.hear("engine", {"event": "ready", "sync": sync})
    assert screen.getvalue() == "sets by time: exposures within 16.7 ms (half of 33.3 ms)\n"
