"""A rig's lines as the board takes them, and the board's refusals as errors that name the key."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

from poseloop.drivers.arduino.tables import LAYOUTS, REASONS, Boot, KindFlag, LineFlag, Reason, ToBoard
from poseloop.live.errors import SettingRefused
from poseloop.live.types import CommandKind, LineSettings

_KINDS = {
    CommandKind.PULSE: KindFlag.PULSE,
    CommandKind.TRAIN: KindFlag.TRAIN,
    CommandKind.LEVEL: KindFlag.LEVEL,
    CommandKind.CAMERA: KindFlag.CAMERA,
    CommandKind.SYNC: KindFlag.SYNC,
}


def config_payload(device: str, lines: Sequence[LineSettings], lease_ms: int) -> bytes:
    """Payload of CONFIG.

    Raises:
        SettingRefused: a number does not fit the wire.
    """
    try:
        return LAYOUTS[ToBoard.CONFIG].pack(lease_ms, len(lines))
    except struct.error:
        raise SettingRefused(device, "lease_ms", lease_ms, "at most 65535 ms, and at most 255 lines") from None


def line_payload(device: str, index: int, line: LineSettings) -> bytes:
    """Payload of LINE. A duty is rounded down to a thousandth: a limit may only become lower.

    Raises:
        SettingRefused: a number does not fit the wire.
    """
    flags = LineFlag.ACTIVE_HIGH if line.active_high else LineFlag(0)
    kinds = KindFlag(0)
    limits = (0, 0, 0)
    if line.direction == "output":
        flags |= LineFlag.OUTPUT
        for kind in line.kinds:
            kinds |= _KINDS[kind]
        limits = (math.floor(line.max_duty * 1000 + 1e-9), line.max_on_us, line.window_us)
    elif line.pull_up:
        flags |= LineFlag.PULL_UP
    try:
        return LAYOUTS[ToBoard.LINE].pack(index, line.pin, flags, kinds, *limits)
    except struct.error:
        wanted = f"pin {line.pin}, max_on {line.max_on_us} µs, window {line.window_us} µs"
        raise SettingRefused(
            device, f"lines.{line.name}", wanted, "room for times up to 4294967295 µs and pins up to 255"
        ) from None


def refused_setting(
    device: str, reason: int, boot: Boot, line: LineSettings | None, lines: int, lease_ms: int
) -> SettingRefused:
    """Say which key the board refused; ``line`` is None where CONFIG was."""
    advice = f"The board says: {REASONS.get(reason, f'reason {reason}')}."
    if line is None:
        if reason == Reason.CEILING:
            return SettingRefused(device, "lease_ms", lease_ms, f"{boot.min_lease_ms} to {boot.max_lease_ms}", advice)
        if reason == Reason.BAD_LINE:
            return SettingRefused(device, "lines", lines, f"1 to {boot.lines} lines", advice)
        return SettingRefused(device, "settings", "new ones", "its old ones", advice)
    key = f"lines.{line.name}"
    if reason == Reason.BAD_PIN:
        return SettingRefused(device, f"{key}.pin", line.pin, "no such pin to spare", advice)
    if reason == Reason.CEILING:
        ceiling_ms = boot.max_on_us / 1000
        return SettingRefused(device, f"{key}.max_on_ms", line.max_on_us / 1000, ceiling_ms, advice)
    return SettingRefused(device, key, line, "refused it", advice)
