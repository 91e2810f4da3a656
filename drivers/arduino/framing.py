"""Frames on the wire: byte stuffing, checksum, and a decoder that finds back into step after any damage.

A frame is kind (1 byte), sequence number (2), payload, CRC-16/CCITT-FALSE (2), stuffed with COBS (Cheshire and Baker,
"Consistent overhead byte stuffing", IEEE/ACM Transactions on Networking 7, 1999) so that 0x00 occurs only between
frames. Standard library only.
"""

from __future__ import annotations

from binascii import crc_hqx
from struct import Struct
from typing import NamedTuple

from poseloop.drivers.arduino.tables import MAX_BODY

MAX_STUFFED = MAX_BODY + 1
"""Bytes of the longest frame between two delimiters."""

_HEAD = Struct("<BH")
_CRC = Struct("<H")
_MIN_BODY = _HEAD.size + _CRC.size
_CODES = tuple(bytes((code,)) for code in range(256))
_RUN = 254


class WireFrame(NamedTuple):
    """One undamaged frame."""

    kind: int
    seq: int
    payload: bytes


def crc16(data: bytes) -> int:
    """CRC-16/CCITT-FALSE: polynomial 0x1021, start 0xFFFF; of ``b"123456789"`` it is 0x29B1."""
    return crc_hqx(data, 0xFFFF)


def stuff(data: bytes) -> bytes:
    """Encode with COBS: no 0x00 is left."""
    if len(data) < _RUN:
        return b"".join([_CODES[len(run) + 1] + run for run in data.split(b"\0")])
    out = bytearray()
    runs = data.split(b"\0")
    for number, run in enumerate(runs):
        while len(run) >= _RUN:
            out += _CODES[255] + run[:_RUN]
            run = run[_RUN:]
            if not run and number == len(runs) - 1:
                return bytes(out)
        out += _CODES[len(run) + 1] + run
    return bytes(out)


def unstuff(data: bytes) -> bytes | None:
    """Decode COBS; None if ``data`` cannot have come from `stuff`."""
    out = bytearray()
    at, end = 0, len(data)
    while at < end:
        code = data[at]
        after = at + code
        if code == 0 or after > end:
            return None
        out += data[at + 1 : after]
        at = after
        if code <= _RUN and at < end:
            out.append(0)
    return bytes(out)


def encode(kind: int, seq: int, payload: bytes = b"") -> bytes:
    """Build one frame, with a delimiter before it (noise on an idle wire must not spoil it) and after it."""
    body = _HEAD.pack(kind, seq) + payload
    return b"\0%b\0" % stuff(body + _CRC.pack(crc_hqx(body, 0xFFFF)))


def _decode(stuffed: bytes) -> WireFrame | None:
    if len(stuffed) > MAX_STUFFED:
        return None
    body = unstuff(stuffed)
    if body is None or len(body) < _MIN_BODY:
        return None
    end = len(body) - _CRC.size
    if crc_hqx(body[:end], 0xFFFF) != _CRC.unpack_from(body, end)[0]:
        return None
    kind, seq = _HEAD.unpack_from(body)
    return WireFrame(kind, seq, body[_HEAD.size : end])


class Decoder:
    """Turns a stream of bytes into frames; what is damaged is counted and left out."""

    def __init__(self) -> None:
        self._tail = b""
        self.damaged = 0
        """Stretches between delimiters that were no frame."""
        self.sample = b""
        """Beginning of the first such stretch, for error messages."""

    @property
    def pending(self) -> bytes:
        """Beginning of what has come since the last delimiter."""
        return self._tail[:16]

    def feed(self, data: bytes) -> list[WireFrame]:
        """Return the frames that ``data`` completes. At most one frame's length of bytes is kept for later."""
        *pieces, tail = (self._tail + data).split(b"\0")
        # One byte too many is enough to know that the stretch is no frame.
        self._tail = tail[: MAX_STUFFED + 1]
        frames = []
        for piece in pieces:
            if not piece:
                continue
            frame = _decode(piece)
            if frame is None:
                self.damaged += 1
                self.sample = self.sample or piece[:16]
            else:
                frames.append(frame)
        return frames
