import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poseloop.drivers.arduino import conversation, tables
from poseloop.drivers.arduino.framing import MAX_STUFFED, Decoder, WireFrame, crc16, encode, stuff, unstuff
from poseloop.drivers.arduino.tables import LAYOUTS, MAX_BODY, REASONS, Reason, ToBoard, ToHost

PAYLOADS = st.binary(max_size=MAX_BODY - 5)
FRAMES = st.tuples(st.integers(0, 255), st.integers(0, 0xFFFF), PAYLOADS)


def test_checksum_is_the_published_one() -> None:
    assert crc16(b"123456789") == 0x29B1


@pytest.mark.parametrize(
    ("plain", "stuffed"),
    [
        # Examples of the COBS paper's authors.
        (b"", "01"),
        (b"\0", "0101"),
        (b"\0\0", "010101"),
        (b"\x11\x22\x00\x33", "0311220233"),
        (b"\x11\x22\x33\x44", "0511223344"),
        (b"\x11\x00\x00\x00", "0211010101"),
        (bytes(range(1, 255)), "ff" + bytes(range(1, 255)).hex()),
        (bytes(range(255)), "01ff" + bytes(range(1, 255)).hex()),
        (bytes(range(1, 256)), "ff" + bytes(range(1, 255)).hex() + "02ff"),
    ],
)
def test_stuffing_matches_the_published_examples(plain, stuffed) -> None:
    assert stuff(plain).hex() == stuffed
    assert unstuff(bytes.fromhex(stuffed)) == plain


@given(st.binary(max_size=1200))
def test_stuffing_round_trips_without_a_zero(data) -> None:
    assert 0 not in stuff(data)
    assert unstuff(stuff(data)) == data


@given(st.binary(max_size=80))
def test_unstuff_takes_any_bytes(data) -> None:
    unstuff(data)


@given(st.lists(FRAMES, max_size=8), st.lists(st.integers(1, 7), min_size=1))
def test_frames_survive_any_cutting_into_pieces(frames, cuts) -> None:
    data = b"".join(encode(*frame) for frame in frames)
    decoder, heard, at = Decoder(), [], 0
    while at < len(data):
        size = cuts[at % len(cuts)]
        heard += decoder.feed(data[at : at + size])
        at += size
    assert heard == [WireFrame(*frame) for frame in frames]
    assert decoder.damaged == 0


@given(FRAMES, st.data())
def test_one_damaged_bit_never_decodes(frame, data) -> None:
    wire = bytearray(encode(*frame))
    bit = data.draw(st.integers(8, len(wire) * 8 - 9))  # the delimiters around it may be damaged: they are no content
    wire[bit // 8] ^= 1 << bit % 8
    heard = Decoder().feed(bytes(wire))
    assert WireFrame(*frame) not in heard
    assert not heard


@given(FRAMES, FRAMES, st.data())
def test_the_frame_after_a_damaged_one_is_heard(first, second, data) -> None:
    wire = encode(*first)
    cut = data.draw(st.integers(0, len(wire) - 1))
    heard = Decoder().feed(wire[:cut] + encode(*second))
    assert heard[-1] == WireFrame(*second)


@given(st.binary(max_size=400), FRAMES)
def test_noise_costs_no_frame_and_no_memory(noise, frame) -> None:
    decoder = Decoder()
    decoder.feed(noise)
    assert len(decoder._tail) <= MAX_STUFFED + 1
    assert decoder.feed(encode(*frame))[-1] == WireFrame(*frame)


def test_every_layout_fits_a_frame() -> None:
    assert max(layout.size for layout in LAYOUTS.values()) + 5 <= MAX_BODY


def test_simulated_firmware_needs_the_standard_library_alone() -> None:
    code = (
        "import sys, poseloop.drivers.sim.firmware;"
        "print(sorted({'numpy', 'cv2', 'pydantic', 'serial', 'numba'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


README = Path(tables.__file__).with_name("README.md").read_text(encoding="utf-8")
KINDS = {kind.name: kind for kind in (*ToBoard, *ToHost)}


@pytest.mark.parametrize(
    ("name", "seq", "values", "wire"), re.findall(r"^\| ([A-Z]+) (\d+):([\d ]*)\| `([0-9a-f ]+)` \|$", README, re.M)
)
def test_examples_in_the_readme(name, seq, values, wire) -> None:
    payload = LAYOUTS[KINDS[name]].pack(*map(int, values.split()))
    assert encode(KINDS[name], int(seq), payload).hex(" ") == wire


def test_tables_in_the_readme() -> None:
    """The numbers of kinds and reasons, and the length of each payload, are those of tables.py."""
    sizes = {"u8": 1, "u16": 2, "u32": 4}
    kinds = re.findall(r"^\| (0x[0-9a-f]{2}) \| ([A-Z]+) \| ([^|]*)\|", README, re.M)
    assert {name: int(number, 16) for number, name, _ in kinds} == KINDS
    for _, name, payload in kinds:
        if KINDS[name] in LAYOUTS:
            fields = re.findall(r"\b(u8|u16|u32)(?: ×(\d))?", payload)
            assert sum(sizes[size] * int(times or 1) for size, times in fields) == LAYOUTS[KINDS[name]].size, name
    reasons = re.findall(r"^\| (\d+) \| ([A-Z_]+) \|", README, re.M)
    assert {name: int(number) for number, name in reasons} == {reason.name: reason for reason in Reason}
    assert set(REASONS) == set(Reason)


@pytest.mark.parametrize("cut", range(1, 20))
def test_a_frame_that_the_port_took_in_part_never_acts(cut: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever part of a pulse arrived, the next frame does not complete it: what was reported as lost stays lost."""

    class Port:
        def __init__(self) -> None:
            self.sent = b""
            self.room = 1000

        def read(self) -> bytes:
            time.sleep(0.001)
            return b""

        def write(self, data: bytes) -> bool:
            taken, self.room = data[: self.room], 1000
            self.sent += taken
            return taken == data

        def interrupt(self) -> None: ...

        def close(self) -> None: ...

    port = Port()
    monkeypatch.setattr(conversation, "open_link", lambda *where: port)
    talk = conversation.Conversation("box", "port", 9600, lambda arrival: None, lambda why: None, numbered=0)
    try:
        pulse = encode(ToBoard.PULSE, 5, LAYOUTS[ToBoard.PULSE].pack(0, 0, 10_000))
        port.room = min(cut, len(pulse) - 1)
        assert not talk.write(pulse)
        assert talk.write(encode(ToBoard.RENEW, 6))
        assert talk.write(encode(ToBoard.RENEW, 7))
    finally:
        talk.close()
    kinds = [frame.kind for frame in Decoder().feed(port.sent)]
    assert kinds == [ToBoard.RENEW, ToBoard.RENEW]
