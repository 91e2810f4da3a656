"""Camera triggers and sync, as the host asks a board for them."""

from pathlib import Path
from typing import Any

import pytest

from poseloop.live.config import parse_rig
from poseloop.live.errors import DeviceError
from poseloop.live.types import CameraTrigger, Command, CommandKind, Outcome, OutcomeKind
from poseloop.protocols.signals import Signals

RIG = """
[cameras.top]
use = "sim"
[sync]
trigger = "hardware"
[model]
file = "blob"
[boards.desk]
use = "parts.py:Desk"
"""
CAMERA = "[boards.desk.camera_trigger]\npin = 4\nfps = 100\n"
SYNC = "[boards.desk.sync]\npin = 5\nwidth_us = 200\n"


def signals(tables: str) -> tuple[Signals, Any]:
    table = parse_rig(RIG + tables, Path(__file__).with_name("rig.toml")).boards["desk"]
    desk = table.build("desk")
    return Signals("desk", table, desk), desk


def answer(ticket: int, kind: OutcomeKind = OutcomeKind.ACKNOWLEDGED) -> Outcome:
    return Outcome("desk", ticket, kind, "too busy", 1, 2)


def test_cameras_are_triggered_without_end_and_counted() -> None:
    found, desk = signals(CAMERA)
    found.start_cameras()
    assert desk.sent == [Command("desk", "camera_trigger", CommandKind.CAMERA, on_us=1000, period_us=10_000)]
    found.answered(answer(1))
    for index in (0, 1, 4):
        found.triggered(CameraTrigger("desk", "camera_trigger", index, 0))
    assert found.report() == {"camera_triggers": 5}, "also those that were not reported"


def test_a_refused_camera_trigger_is_an_error() -> None:
    found, _ = signals(CAMERA)
    found.start_cameras()
    with pytest.raises(DeviceError, match="camera trigger did not start: too busy"):
        found.answered(answer(1, OutcomeKind.REFUSED))


def test_a_camera_trigger_without_an_answer_may_have_started() -> None:
    for triggers in (1, 0):
        found, _ = signals(CAMERA)
        found.start_cameras()
        found.answered(answer(1, OutcomeKind.LOST))
        found.check(900_000_000)
        for _ in range(triggers):
            found.triggered(CameraTrigger("desk", "camera_trigger", 0, 0))
        if triggers:
            found.check(2_000_000_000)
        else:
            with pytest.raises(DeviceError, match="neither answer nor trigger"):
                found.check(2_000_000_000)


def test_a_code_carries_the_number_of_its_frame_set() -> None:
    found, desk = signals(SYNC)
    for index in (0, 1, 5, 2**32 + 7):
        found.mark(index)
    assert [command.code for command in desk.sent] == [0, 1, 5, 7]
    assert {(command.kind, command.on_us) for command in desk.sent} == {(CommandKind.SYNC, 200)}
    for ticket, kind in ((1, OutcomeKind.ACKNOWLEDGED), (2, OutcomeKind.REFUSED), (3, OutcomeKind.LOST)):
        found.answered(answer(ticket, kind))
    found.answered(answer(77))  # a protocol's
    assert found.report() == {"syncs": {"sent": 4, "acknowledged": 1, "refused": 1, "lost": 1}}


def test_pulses_every_few_frame_sets() -> None:
    found, desk = signals(SYNC + 'mode = "pulse"\nevery = 10\n')
    for index in (0, 3, 9, 12, 13, 25):
        found.mark(index)
    pulse = Command("desk", "sync", CommandKind.CAMERA, on_us=200, period_us=400, count=1)
    assert desk.sent == [pulse] * 3, "for 0, 12 and 25: a set that was skipped moves the next one"


def test_a_board_without_either() -> None:
    found, desk = signals("lines.laser = { pin = 9, max_on_ms = 5 }\n")
    found.start_cameras()
    found.mark(3)
    assert desk.sent == []
    assert found.report() == {}
