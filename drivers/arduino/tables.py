"""The serial protocol's constants as tables; README.md beside this file says what they mean.

Standard library only: the simulated board starts from this file, and has to start quickly.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from struct import Struct
from typing import NamedTuple

PROTOCOL_VERSION = 1

BAUD = 1_000_000
"""Exact on a 16 MHz AVR, which 115,200 is not."""

MAX_BODY = 32
"""Bytes of the longest frame: kind, sequence number, payload and checksum, before byte stuffing."""

ALL = 0xFF
"""The line number that means every output."""

NO_LINE = 0xFF
"""The line number in a STATE that concerns the whole board."""

MAX_SEQ = 0xFFFF
"""Sequence numbers are 1..MAX_SEQ; 0 means "no command"."""

MIN_ON_US = 50
"""Shortest pulse, and shortest pause inside a train, that an AVR's timer interrupt keeps."""

INPUT_HOLD_US = 1000
"""Shortest time between two reports of one input, so that a bouncing contact cannot fill the line."""

DUTY_SLOTS = 8
"""A duty window is counted in this many parts, plus the one that is running."""

SYNC_BITS = 32
"""Bits that SYNC writes after its start bit."""

LOAD_BUDGET = 128
"""What trains, camera triggers and syncs may cost together, see `LOAD_US`: 8 edges a millisecond. An edge takes an AVR
some 60 microseconds; the rest is for the wire, the lease and the limits."""

RESERVED_PINS = frozenset({0, 1, 13})
"""The serial port's pins, and the one that the bootloader blinks."""


class ToBoard(enum.IntEnum):
    """Kinds of frame from host to board."""

    HELLO = 0x01
    CONFIG = 0x02
    LINE = 0x03
    ARM = 0x04
    DISARM = 0x05
    RENEW = 0x06
    PING = 0x07
    OFF = 0x08
    PULSE = 0x10
    TRAIN = 0x11
    LEVEL = 0x12
    CAMERA = 0x20
    SYNC = 0x21


class ToHost(enum.IntEnum):
    """Kinds of frame from board to host."""

    BOOT = 0x81
    ACK = 0x82
    REFUSED = 0x83
    EDGE = 0x84
    INPUT = 0x85
    STATE = 0x86
    PONG = 0x87
    FRAME = 0x88


LOAD_US: Mapping[int, int] = {ToBoard.TRAIN: 32_000, ToBoard.CAMERA: 32_000, ToBoard.SYNC: 16_000}
"""Kind of command → this divided by its period (a sync's bit), rounded up, is what it costs of `LOAD_BUDGET`."""

LAYOUTS: Mapping[int, Struct] = {
    ToBoard.HELLO: Struct("<B"),  # protocol version
    ToBoard.CONFIG: Struct("<HB"),  # lease_ms, number of lines
    ToBoard.LINE: Struct("<BBBBHII"),  # index, pin, flags, kinds, duty in thousandths, max_on_us, window_us
    ToBoard.ARM: Struct("<H"),  # checksum of the settings
    ToBoard.DISARM: Struct("<"),
    ToBoard.RENEW: Struct("<"),
    ToBoard.PING: Struct("<"),
    ToBoard.OFF: Struct("<B"),  # line
    ToBoard.PULSE: Struct("<BII"),  # line, delay_us, on_us
    ToBoard.TRAIN: Struct("<BIIII"),  # line, delay_us, on_us, period_us, count
    ToBoard.LEVEL: Struct("<BI"),  # line, delay_us
    ToBoard.CAMERA: Struct("<BIII"),  # line, period_us, width_us, count
    ToBoard.SYNC: Struct("<BII"),  # line, code, bit_us
    ToHost.BOOT: Struct("<BBBBBBBHIHHI"),  # see Boot
    ToHost.ACK: Struct("<I"),  # time
    ToHost.REFUSED: Struct("<BBI"),  # reason, kind of the refused frame, time
    ToHost.EDGE: Struct("<BBI"),  # line, 1 = at its active level, time
    ToHost.INPUT: Struct("<BBI"),  # line, 1 = at its active level, time
    ToHost.STATE: Struct("<BBBI"),  # state, cause, line, time
    ToHost.PONG: Struct("<IHH"),  # time, damaged frames received, frames not sent
    ToHost.FRAME: Struct("<BII"),  # line, count, time
}
"""Payload of every kind of frame; little-endian, without padding."""

PROTOCOL_IN_BOOT = 0
"""Byte of a BOOT's payload that holds the protocol version, in this and every later version."""


class Boot(NamedTuple):
    """Payload of BOOT: who the board is, and what its firmware was compiled to allow."""

    protocol: int
    major: int
    minor: int
    patch: int
    board: int
    lines: int
    reset_cause: int
    min_on_us: int
    max_on_us: int
    min_lease_ms: int
    max_lease_ms: int
    time_us: int


class LineFlag(enum.IntFlag):
    """Bits of a LINE's flags."""

    OUTPUT = 1
    ACTIVE_HIGH = 2
    PULL_UP = 4


class KindFlag(enum.IntFlag):
    """Bits of a LINE's kinds: the commands that the line obeys besides OFF."""

    PULSE = 1
    TRAIN = 2
    LEVEL = 4
    CAMERA = 8
    SYNC = 16


TIMED = KindFlag.PULSE | KindFlag.TRAIN | KindFlag.LEVEL
"""Commands under the lease."""

FREE_RUNNING = KindFlag.CAMERA | KindFlag.SYNC
"""The others; a line obeys these or those."""


class State(enum.IntEnum):
    """First byte of a STATE."""

    DISARMED = 0
    ARMED = 1
    LEASE_LAPSED = 2
    LIMIT = 3


class Cause(enum.IntEnum):
    """Second byte of a STATE: why."""

    COMMAND = 0
    LEASE = 1
    MAX_ON = 2
    DUTY = 3


class Reason(enum.IntEnum):
    """First byte of a REFUSED."""

    UNKNOWN_KIND = 1
    BAD_LENGTH = 2
    NO_HELLO = 3
    OLD_SEQ = 4
    NOT_ARMED = 5
    ARMED = 6
    NOT_CONFIGURED = 7
    SETTINGS_DIFFER = 8
    BAD_LINE = 9
    BAD_PIN = 10
    BAD_VALUE = 11
    CEILING = 12
    KIND_NOT_ALLOWED = 13
    TOO_LONG = 14
    TOO_SHORT = 15
    BUSY = 16
    DUTY = 17
    TOO_FAST = 18


REASONS: Mapping[int, str] = {
    Reason.UNKNOWN_KIND: "the firmware does not know this kind of command",
    Reason.BAD_LENGTH: "the command has the wrong length",
    Reason.NO_HELLO: "the board restarted and waits to be set up again",
    Reason.OLD_SEQ: "the command came twice, or after a newer one",
    Reason.NOT_ARMED: "the board is not armed",
    Reason.ARMED: "settings can only be changed while the board is disarmed",
    Reason.NOT_CONFIGURED: "not all lines were set up",
    Reason.SETTINGS_DIFFER: "the settings that the board holds are not the ones that were sent",
    Reason.BAD_LINE: "the board has no such output line",
    Reason.BAD_PIN: "the board has no such pin, keeps it for itself (0, 1, 13), or another line uses it",
    Reason.BAD_VALUE: "a value is outside of what the board can do",
    Reason.CEILING: "it is outside of the limits that the firmware was compiled with",
    Reason.KIND_NOT_ALLOWED: "the rig file does not allow this kind of command on the line",
    Reason.TOO_LONG: "the pulse is longer than the line's max_on_ms",
    Reason.TOO_SHORT: "the pulse or pause is shorter than the board can time",
    Reason.BUSY: "the line still carries out an earlier command",
    Reason.DUTY: "the line would be on for more than max_duty of its window",
    Reason.TOO_FAST: "with it, all lines together would make more than the board's 8,000 edges a second",
}
"""A refusal in words, for the person at the rig."""

BOARDS: Mapping[int, str] = {
    1: "Arduino Uno or Nano (ATmega328P)",
    2: "Arduino Mega (ATmega2560)",
    3: "Arduino Leonardo or Micro (ATmega32U4; untested)",
    255: "simulated",
}
"""Fifth byte of a BOOT."""

SIMULATED = 255

RESET_CAUSES: Mapping[int, str] = {
    0: "unknown cause",
    1: "power-up",
    2: "reset button or the port was opened",
    3: "supply voltage fell",
    4: "the firmware hung and its watchdog restarted it",
}
"""Seventh byte of a BOOT."""
