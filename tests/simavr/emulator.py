"""Builds the firmware as the Arduino IDE does, and runs it cycle by cycle: by script, or on a pseudo-terminal."""

import atexit
import contextlib
import functools
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from poseloop.drivers.arduino import tables
from poseloop.drivers.arduino.framing import Decoder, crc16, encode
from poseloop.drivers.arduino.tables import LAYOUTS, PROTOCOL_VERSION, LineFlag, ToBoard, ToHost

SKETCH = Path(tables.__file__).parent / "firmware" / "poseloop"
CORE = Path("/usr/share/arduino/hardware/arduino/avr")
TOOLS = ("avr-gcc", "avr-g++", "avr-gcc-ar", "gcc")

CYCLES_PER_US = 16
BYTE_US = 10
"""Ten bits at 1 Mbaud."""

HIGH = LineFlag.OUTPUT | LineFlag.ACTIVE_HIGH


@dataclass(frozen=True)
class Chip:
    """One kind of Arduino."""

    mcu: str
    variant: str
    name: str
    flags: tuple[str, ...] = ()


UNO = Chip("atmega328p", "standard", "UNO")
MEGA = Chip("atmega2560", "mega", "MEGA2560")
LEONARDO = Chip("atmega32u4", "leonardo", "LEONARDO", ("-DUSB_VID=0x2341", "-DUSB_PID=0x8036"))
"""For building only: the emulator does not have its USB."""


def missing() -> str:
    """What is not installed; empty = nothing."""
    absent = [tool for tool in TOOLS if shutil.which(tool) is None]
    absent += [str(path) for path in (CORE, Path("/usr/include/simavr/sim_avr.h")) if not path.exists()]
    return f"the firmware cannot be built and run here, for want of {', '.join(absent)}" if absent else ""


@functools.cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="poseloop-firmware-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _command(*words: str | Path) -> None:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr


@functools.cache
def runner() -> Path:
    """Build the program that runs firmware."""
    program = _folder() / "runner"
    source = Path(__file__).with_name("runner.c")
    _command("gcc", "-O2", "-std=c11", source, "-o", program, "-lsimavr", "-lutil", "-lelf")
    return program


def _compilers(chip: Chip) -> tuple[list[str], list[str]]:
    """How the Arduino IDE's platform calls the compilers for C++ and C."""
    # DECIMAL_DIG: Debian's compiler and core do not agree about where it comes from.
    common = [
        "-c", "-g", "-Os", "-flto", "-ffunction-sections", "-fdata-sections", f"-mmcu={chip.mcu}", "-DF_CPU=16000000L",
        "-DARDUINO=10819", f"-DARDUINO_AVR_{chip.name}", "-DARDUINO_ARCH_AVR", "-DDECIMAL_DIG=__DECIMAL_DIG__",
        f"-I{CORE}/cores/arduino", f"-I{CORE}/variants/{chip.variant}", *chip.flags,
    ]  # fmt: skip
    cpp = ["avr-g++", *common, "-std=gnu++11", "-fpermissive", "-fno-exceptions", "-fno-threadsafe-statics"]
    return cpp, ["avr-gcc", *common, "-std=gnu11", "-w"]


def _all_done(jobs: Iterable[list[str | Path]]) -> None:
    with ThreadPoolExecutor() as pool:
        for _ in pool.map(lambda job: _command(*job), jobs):
            pass


@functools.cache
def _core(chip: Chip) -> Path:
    """Build what every sketch is linked with."""
    cpp, c = _compilers(chip)
    folder = Path(tempfile.mkdtemp(prefix=f"{chip.name}-core-", dir=_folder()))
    sources = sorted((CORE / "cores" / "arduino").glob("*.c*"))
    _all_done(
        [*(c if source.suffix == ".c" else [*cpp, "-w"]), source, "-o", folder / f"{source.name}.o"]
        for source in sources
    )
    _command("avr-gcc-ar", "rcs", folder / "core.a", *sorted(folder.glob("*.o")))
    return folder / "core.a"


_objects: dict[tuple[Chip, str, bytes], Path] = {}
"""What was compiled, by source and headers: variants of the sketch share all that they do not change."""


@functools.cache
def firmware(chip: Chip = UNO, sketch: Path = SKETCH) -> Path:
    """Build the firmware with the flags of the Arduino IDE's platform."""
    if reason := missing():
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix=chip.name, dir=_folder()))
    cpp, _ = _compilers(chip)
    # The core's macros compare unsigned pins with 0. Where something was cut out, something else may be of no use.
    strict = ["-Wall", "-Wextra", "-Werror", "-Wno-type-limits"] if sketch == SKETCH else ["-w"]
    headers = b"".join(path.read_bytes() for path in sorted(sketch.glob("*.h")))
    objects: list[Path] = []
    jobs: list[list[str | Path]] = []
    for source in sorted((*sketch.glob("*.cpp"), *sketch.glob("*.ino"))):
        key = (chip, source.name, source.read_bytes() + headers)
        if key not in _objects:
            _objects[key] = folder / f"{source.name}.o"
            as_cpp = ["-x", "c++", "-include", "Arduino.h"] if source.suffix == ".ino" else []
            jobs.append([*cpp, *strict, *as_cpp, source, "-o", _objects[key]])
        objects.append(_objects[key])
    _all_done(jobs)
    elf = folder / "poseloop.elf"
    link = ["avr-gcc", "-w", "-Os", "-g", "-flto", "-fuse-linker-plugin", "-Wl,--gc-sections", f"-mmcu={chip.mcu}"]
    _command(*link, *objects, _core(chip), "-lm", "-o", elf)
    return elf


current: Path = SKETCH
"""What `Script.run` runs unless it is told otherwise."""


def variant(changes: Mapping[str, str], of: Path = SKETCH) -> Path:
    """Copy the sketch and change it.

    Args:
        changes: what stands exactly once in all its files → what is to stand there instead.
        of: the sketch's folder.
    """
    folder = Path(tempfile.mkdtemp(prefix="variant-", dir=_folder()))
    texts = {path.name: path.read_text(encoding="utf-8") for path in of.iterdir()}
    for old, new in changes.items():
        found = [name for name, text in texts.items() for _ in range(text.count(old))]
        assert len(found) == 1, f"expected {old!r} once in the sketch, but found it in {found}"
        texts[found[0]] = texts[found[0]].replace(old, new)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@dataclass(frozen=True)
class Change:
    """A pin changed."""

    us: float
    pin: int
    high: bool
    driven: bool


@dataclass(frozen=True)
class Heard:
    """A frame from the board."""

    us: float
    """When its last byte was handed to the port."""
    kind: int
    seq: int
    values: tuple[int, ...]


@dataclass
class Run:
    """What came of a script."""

    changes: list[Change] = field(default_factory=list)
    heard: list[Heard] = field(default_factory=list)
    lost: int = 0
    """Bytes for which the chip had no room."""
    resets: list[float] = field(default_factory=list)
    stack: int = 0

    def edges(self, pin: int, active_high: bool = True) -> list[tuple[float, bool]]:
        """Changes between active and not active; a floating pin is safe, the rig's resistor sees to it."""
        found: list[tuple[float, bool]] = []
        before = False
        for change in self.changes:
            active = change.driven and change.high == active_high
            if change.pin == pin and active != before:
                found.append((change.us, active))
                before = active
        return found

    def pulses(self, pin: int, active_high: bool = True) -> list[tuple[float, float]]:
        """Start and width of every finished pulse, in microseconds."""
        edges = self.edges(pin, active_high)
        return [(up, down - up) for (up, _), (down, _) in zip(edges[::2], edges[1::2], strict=False)]

    def of(self, *kinds: int) -> list[Heard]:
        """Frames of some kinds."""
        return [heard for heard in self.heard if heard.kind in kinds]

    def answer(self, seq: int) -> Heard:
        """The one answer to a frame."""
        answers = (ToHost.BOOT, ToHost.ACK, ToHost.REFUSED, ToHost.PONG)
        (found,) = [heard for heard in self.of(*answers) if heard.seq == seq]
        return found


def output(pin: int = 8, flags: int = HIGH, kinds: int = 7, duty: int = 1000, max_on_us: int = 2_000_000,
           window_us: int = 1_000_000) -> tuple[int, ...]:  # fmt: skip
    """Values of LINE, after its index, for an output."""
    return (pin, flags, kinds, duty, max_on_us, window_us)


def input_line(pin: int = 7, flags: int = LineFlag.ACTIVE_HIGH) -> tuple[int, ...]:
    """Values of LINE, after its index, for an input."""
    return (pin, flags, 0, 0, 0, 0)


class Script:
    """What happens to the board, in order; nothing of it depends on the board's answers, so a run repeats exactly."""

    START_US = 2000
    """The board has started long before."""

    def __init__(self) -> None:
        self.us: float = self.START_US
        self.seq = 0
        self._orders: list[tuple[int, int, str]] = []

    def _add(self, us: float, order: str) -> None:
        self._orders.append((round(us * CYCLES_PER_US), len(self._orders), order))

    def raw(self, data: bytes, at: float | None = None) -> float:
        """Send bytes; returns when the last one has arrived."""
        begin = self.us if at is None else at
        for start in range(0, len(data), 4096):  # an order has to fit a line
            self._add(begin + start * BYTE_US, f"rx {data[start : start + 4096].hex()}")
        end = begin + len(data) * BYTE_US
        self.us = max(self.us, end)
        return end

    def frame(self, kind: int, *values: int, seq: int | None = None) -> bytes:
        """Build the next frame."""
        if seq is None:
            self.seq = seq = self.seq + 1
        return encode(kind, seq, LAYOUTS[kind].pack(*values))

    def say(self, kind: int, *values: int, at: float | None = None, seq: int | None = None) -> float:
        """Send a frame; returns when its last byte has arrived."""
        return self.raw(self.frame(kind, *values, seq=seq), at)

    def wait(self, us: float) -> None:
        """Let time pass."""
        self.us += us

    def drive(self, pin: int, high: bool, at: float | None = None) -> None:
        """Let the world drive a pin."""
        self._add(self.us if at is None else at, f"pin {pin} {int(high)}")

    def hang(self, what: str) -> None:
        """Stop the main loop (``main``), or everything (``all``)."""
        self._add(self.us, f"hang {what}")

    def configure(self, *lines: tuple[int, ...], lease_ms: int = 10_000, arm: bool = True) -> None:
        """Greet, configure and arm, with room between the frames."""
        settings = [LAYOUTS[ToBoard.CONFIG].pack(lease_ms, len(lines))]
        self.say(ToBoard.HELLO, PROTOCOL_VERSION)
        self.wait(1000)
        self.say(ToBoard.CONFIG, lease_ms, len(lines))
        self.wait(1000)
        for index, line in enumerate(lines):
            self.say(ToBoard.LINE, index, *line)
            settings.append(LAYOUTS[ToBoard.LINE].pack(index, *line))
            self.wait(1000)
        self.checksum = crc16(b"".join(settings))
        if arm:
            self.say(ToBoard.ARM, self.checksum)
            self.wait(2000)

    def run(self, chip: Chip = UNO, sketch: Path | None = None) -> Run:
        """Run it all until now."""
        elf = firmware(chip, sketch or current)
        with tempfile.TemporaryDirectory(dir=_folder()) as folder:
            script, trace = Path(folder, "script"), Path(folder, "trace")
            orders = [*sorted(self._orders), (round(self.us * CYCLES_PER_US), 0, "end")]
            script.write_text("".join(f"{cycle} {order}\n" for cycle, _, order in orders), encoding="utf-8")
            _command(runner(), "--mcu", chip.mcu, "--elf", elf, "--script", script, "--trace", trace)
            return read_run(trace)


def read_run(trace: Path) -> Run:
    """Read a trace."""
    run = Run()
    decoder = Decoder()
    for line in trace.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        us = row["cycle"] / CYCLES_PER_US
        if "tx" in row:
            for kind, seq, payload in decoder.feed(bytes((row["tx"],))):
                run.heard.append(Heard(us, kind, seq, LAYOUTS[kind].unpack(payload)))
        elif "pin" in row:
            run.changes.append(Change(us, row["pin"], row["high"], row["driven"]))
        elif "reset" in row:
            run.resets.append(us)
        elif "end" in row:
            run.stack = row["stack"]
        else:
            run.lost += row.get("lost", False)
    assert decoder.damaged == 0
    return run


@contextlib.contextmanager
def on_terminal(trace: Path, *arguments: str, chip: Chip = UNO) -> Iterator[str]:
    """Run the firmware in real time; gives the port to open."""
    elf = firmware(chip)  # first, since it skips where tools are missing
    words: Sequence[str | Path] = (
        runner(), "--mcu", chip.mcu, "--elf", elf, "--trace", trace, "--pty", *arguments,
    )  # fmt: skip
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()
            process.wait(10)
