"""How far the exposures of one set may lie apart, by what the rig file and the cameras say."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from poseloop.live.capture.tolerance import Tolerance
from poseloop.live.config import parse_rig
from poseloop.live.types import CameraFormat, Colour

RIG = """
[model]
file = "blob"
[sync]
{sync}
{cameras}
"""
BOARD = """
[boards.box]
use = "sim"
[boards.box.camera_trigger]
pin = 3
fps = 200
"""


def tolerance(sync: str, formats: Sequence[CameraFormat], rest: str = "") -> Tolerance:
    cameras = "\n".join(f'[cameras.{name}]\nuse = "sim"' for name, _ in zip("abc", formats, strict=False))
    rig = parse_rig(RIG.format(sync=sync, cameras=cameras) + rest, Path("rig.toml"), ())
    return Tolerance.of(rig, dict(zip("abc", formats, strict=False)))


def camera(fps: float, possible_fps: float = 0.0) -> CameraFormat:
    return CameraFormat(64, 48, Colour.GREY, fps, None, possible_fps)


@dataclass
class Case:
    """What is said, the tolerance in ms, and words that say where it comes from."""

    sync: str
    formats: Sequence[CameraFormat]
    ms: float
    words: str
    rest: str = ""


CASES = {
    "free: the fastest camera's period": Case(
        'trigger = "free"', [camera(100, 500), camera(50, 500)], 5, "half of 10 ms, .* (camera a)"
    ),
    "pulses from elsewhere may come as fast as a camera can follow": Case(
        'trigger = "hardware"', [camera(100, 250), camera(100, 500)], 1, "half of 2 ms, .* (camera b)"
    ),
    "a camera that does not tell more": Case('trigger = "hardware"', [camera(100)] * 2, 5, "half of 10 ms"),
    "pulses of the rig's own board": Case(
        'trigger = "hardware"', [camera(100, 800)] * 2, 2.5, "half of 5 ms, .* (board box)", BOARD
    ),
    "by software": Case('trigger = "software"', [camera(50, 500)] * 2, 10, "half of 20 ms"),
    "nobody tells": Case('trigger = "free"', [camera(0), camera(0)], 5, "no camera tells"),
    "one tells": Case('trigger = "free"', [camera(0), camera(25)], 20, "(camera b)"),
    "the rig file": Case("tolerance_ms = 3.5", [camera(100)] * 2, 3.5, "sync.tolerance_ms"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_it_is_half_of_the_shortest_time_between_two_frames(case: Case) -> None:
    found = tolerance(case.sync, case.formats, case.rest)
    assert found.ns == case.ms * 1e6
    for word in case.words.split(" .* "):
        assert word in found.source
    assert bool(found.doubt) == (case.words == "no camera tells")
    assert found.as_report() == {"tolerance_ms": case.ms, "tolerance_from": found.source}


@pytest.mark.parametrize(
    ("sync", "formats", "words"),
    [
        ("tolerance_ms = 10", [camera(100)] * 2, "expected less than 10 ms, .* camera a.*, but found 10"),
        ('trigger = "hardware"\ntolerance_ms = 4', [camera(100, 400)] * 2, "expected less than 2.5 ms"),
        ('trigger = "free"', [camera(0)] * 2, "give sync.tolerance_ms"),
        ("tolerance_ms = 10", [camera(100)], ""),
        ('trigger = "free"', [camera(0)], ""),
        ("tolerance_ms = 10", [camera(0)] * 2, ""),
    ],
)
def test_one_that_lets_two_triggers_into_a_set_is_told_of(
    sync: str, formats: Sequence[CameraFormat], words: str
) -> None:
    doubt = tolerance(sync, formats).doubt
    if not words:
        assert not doubt
    for word in words.split(".*"):
        assert word.strip() in doubt
