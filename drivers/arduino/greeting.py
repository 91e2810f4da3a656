"""What the first answer on a port, or none at all, says about the thing at its other end."""

from __future__ import annotations

from poseloop.drivers.arduino.framing import Decoder, WireFrame
from poseloop.drivers.arduino.tables import (
    BOARDS,
    LAYOUTS,
    PROTOCOL_IN_BOOT,
    PROTOCOL_VERSION,
    RESET_CAUSES,
    Boot,
    ToHost,
)
from poseloop.live.errors import ConnectError, DeviceError, DeviceTimeout

_FLASH = "Flash the firmware that comes with this version of Poseloop"


def read_boot(device: str, port: str, frame: WireFrame) -> Boot:
    """Read the answer to HELLO.

    Raises:
        ConnectError: the board speaks another version of the protocol.
    """
    version = frame.payload[PROTOCOL_IN_BOOT] if frame.kind == ToHost.BOOT and frame.payload else 0
    if version != PROTOCOL_VERSION:
        raise ConnectError(
            device,
            f"expected a board that speaks protocol version {PROTOCOL_VERSION}, but the one at {port} speaks "
            f"version {version or 'unknown'}. {_FLASH}",
        )
    layout = LAYOUTS[ToHost.BOOT]
    if len(frame.payload) != layout.size:
        raise ConnectError(
            device,
            f"expected {layout.size} bytes of introduction from the board at {port}, but got "
            f"{len(frame.payload)}. {_FLASH}",
        )
    return Boot(*layout.unpack(frame.payload))


def explain_silence(device: str, port: str, baud: int, waited_s: float, decoder: Decoder) -> DeviceError:
    """Say what it means that no answer came to HELLO."""
    if decoder.damaged or decoder.pending:
        return ConnectError(
            device,
            f"something at {port} sends, but not in Poseloop's language (it began with "
            f"{decoder.sample or decoder.pending!r}): another device, another firmware, or not {baud} baud",
        )
    return DeviceTimeout(
        device,
        f"{port} was opened, but nothing answered within {waited_s:g} s. Is it the right port, and does the board "
        f"hold Poseloop's firmware? {_FLASH}",
    )


def describe_restart(payload: bytes) -> str:
    """Put an unexpected BOOT into words; empty payload = only its consequences were seen."""
    why = "it did not say why"
    if len(payload) == LAYOUTS[ToHost.BOOT].size:
        boot = Boot(*LAYOUTS[ToHost.BOOT].unpack(payload))
        cause = RESET_CAUSES.get(boot.reset_cause, RESET_CAUSES[0])
        why = f"{BOARDS.get(boot.board, 'unknown board')}: {cause}"
    return f"the board restarted by itself, all outputs are off, camera triggers too ({why})"
