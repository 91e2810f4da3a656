"""Commands as the board takes them."""

from __future__ import annotations

from poseloop.drivers.arduino.tables import LAYOUTS, ToBoard
from poseloop.live.types import Command, CommandKind

_PULSE = LAYOUTS[ToBoard.PULSE]
_TRAIN = LAYOUTS[ToBoard.TRAIN]
_LEVEL = LAYOUTS[ToBoard.LEVEL]
_CAMERA = LAYOUTS[ToBoard.CAMERA]
_SYNC = LAYOUTS[ToBoard.SYNC]


def order(command: Command, line: int) -> tuple[ToBoard, bytes]:
    """Kind and payload of an on-command for the line of that index.

    Raises:
        struct.error: a number does not fit the wire.
    """
    kind = command.kind
    if kind is CommandKind.PULSE:
        return ToBoard.PULSE, _PULSE.pack(line, command.delay_us, command.on_us)
    if kind is CommandKind.LEVEL:
        return ToBoard.LEVEL, _LEVEL.pack(line, command.delay_us)
    if kind is CommandKind.TRAIN:
        times = (command.delay_us, command.on_us, command.period_us, command.count)
        return ToBoard.TRAIN, _TRAIN.pack(line, *times)
    if kind is CommandKind.CAMERA:
        return ToBoard.CAMERA, _CAMERA.pack(line, command.period_us, command.on_us, command.count)
    return ToBoard.SYNC, _SYNC.pack(line, command.code, command.on_us)
