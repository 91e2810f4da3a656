"""The far ends of the boards that this computer times, each of which notes what it was told."""

import contextlib
import json
import os
import select
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import Any, ClassVar

import zmq
from boards import Ear

from poseloop.live.types import Command, Outcome

STANDINS = Path(__file__).parent / "standins"


@dataclass(frozen=True)
class Seen:
    """One thing that a device was told about one of its lines."""

    host_ns: int
    line: str
    on: bool


def edges(seen: list[Seen], line: str = "laser") -> list[Seen]:
    """Without what changed nothing: an "off" may come more than once."""
    found: list[Seen] = []
    for one in seen:
        if one.line == line and one.on != (bool(found) and found[-1].on):
            found.append(one)
    return found


def give(ear: Ear, command: Command) -> Outcome:
    """Its outcome; given again where a busy machine kept the keeper from it until it was too late to act."""
    while True:
        outcome = ear.outcome(ear.board.send(command))
        if "after it was sent" not in outcome.reason:
            return outcome


class Device:
    """Something with a thread of its own that listens until it is stopped."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=type(self).__name__)

    def note(self, line: str, on: bool) -> None:
        self.seen.append(Seen(time.perf_counter_ns(), line, on))

    def turn(self) -> None:
        """Listen for a moment."""
        raise NotImplementedError

    def free(self) -> None:
        """Give everything back."""

    def _run(self) -> None:
        while not self._stop.is_set():
            self.turn()

    def __enter__(self) -> Any:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.free()


class OnTerminal(Device):
    """A program behind a pseudo-terminal, which is a serial port as far as the other end can see. POSIX only."""

    def __init__(self) -> None:
        import tty

        super().__init__()
        self.master, self._slave = os.openpty()
        tty.setraw(self._slave)
        self.port = os.ttyname(self._slave)

    def read(self, timeout_s: float) -> bytes:
        if not select.select([self.master], [], [], timeout_s)[0]:
            return b""
        return os.read(self.master, 4096)

    def free(self) -> None:
        for descriptor in (self.master, self._slave):
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def unplug(self) -> None:
        self._stop.set()
        self._thread.join()
        self.free()


class Sketch(OnTerminal):
    """What a lab may have: H and L switch the laser, V and v the valve; H and L are answered if it was written so."""

    WORDS: ClassVar = {b"H": ("laser", True), b"L": ("laser", False), b"V": ("valve", True), b"v": ("valve", False)}

    def __init__(self, answers: bool = False, greeting: bytes = b"") -> None:
        super().__init__()
        self.answers = answers
        self._greeting = greeting

    def turn(self) -> None:
        if self._greeting and not self.seen:
            # Again and again: there is no reset here that would tell when the port was opened.
            os.write(self.master, self._greeting)
        for byte in self.read(0.02):
            word = bytes([byte])
            if word in self.WORDS:
                self.note(*self.WORDS[word])
                if self.answers:
                    os.write(self.master, b"on\n" if self.WORDS[word][1] else b"off\n")


class TeensyLaser(OnTerminal):
    """Does what the sketch of DeepLabCut-live does with each byte, its traps included."""

    THREE = Struct("<HHH")

    def __init__(self) -> None:
        super().__init__()
        self.commands: list[bytes] = []
        self.ended_by_itself = 0
        self._on = False
        self._began_ns = self._lasts_ms = 0

    def turn(self) -> None:
        data = self.read(0.001)
        while data:
            command, data = data[:1], data[1:]
            if command == b"O":
                # What has not arrived counts as zero, and a duration of zero as the longest.
                given, data = data[:6], data[6:]
                self.commands.append(command + given)
                hz, width_ms, lasts_ms = self.THREE.unpack(given.ljust(6, b"\0"))
                self._lasts_ms = lasts_ms or 65_355
                self._began_ns = time.perf_counter_ns()
                self._switch(True)
                os.write(self.master, f"{hz},{width_ms},{self._lasts_ms}\n".encode())
            elif command == b"X":
                self.commands.append(command)
                self._switch(False)
        if self._on and time.perf_counter_ns() - self._began_ns > self._lasts_ms * 1_000_000:
            self.ended_by_itself += 1
            self._switch(False)

    def _switch(self, on: bool) -> None:
        self._on = on
        self.note("laser", on)


class OpenEphys(Device):
    """The plugin Network Events, on a real REP socket; ``old`` knows only the words of GUI 0.6.0."""

    def __init__(self, old: bool = False) -> None:
        super().__init__()
        self.old = old
        self.acquires = True
        self.deaf = threading.Event()
        self.is_deaf = False
        self.asked: list[str] = []
        self._context: zmq.Context[Any] = zmq.Context()
        self._socket = self._context.socket(zmq.REP)
        self._socket.setsockopt(zmq.LINGER, 0)
        self.endpoint = f"tcp://127.0.0.1:{self._socket.bind_to_random_port('tcp://127.0.0.1')}"

    def turn(self) -> None:
        self.is_deaf = self.deaf.is_set()
        if self.is_deaf:
            time.sleep(0.005)
            return
        if self._socket.poll(20):
            text = self._socket.recv_string()
            self.asked.append(text)
            self._socket.send_string(self.answer(text))

    def answer(self, text: str) -> str:
        word, *rest = text.split()
        values = dict(part.split("=") for part in rest)
        if word == "IsAcquiring":
            return str(int(self.acquires))
        if word != "TTL":
            return "NotHandled"
        line = int(values.get("Channel" if self.old else "Line", 1))
        on = int(values.get("on" if self.old else "State", 0))
        if not 1 <= line <= 256:
            return "InvalidChannel"
        if self.acquires:
            self.note({3: "laser", 4: "valve"}.get(line, "another"), bool(on))
        return f"TTLHandled: Channel={line} on={on}"

    def free(self) -> None:
        self._socket.close()
        self._context.term()


class OscReceiver(Device):
    """A UDP socket that reads Open Sound Control."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[list[Any]] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])

    def turn(self) -> None:
        from pythonosc.osc_message import OscMessage

        if select.select([self._socket], [], [], 0.02)[0]:
            message = OscMessage(self._socket.recv(4096))
            self.said.append([message.address, *message.params])
            self.note(message.address.rpartition("/")[2], message.params[0] == 1)

    def free(self) -> None:
        self._socket.close()


class Subscribed(Device):
    """A SUB socket that connects again and again, as ZeroMQ's do."""

    def __init__(self) -> None:
        super().__init__()
        import msgpack

        self._unpack = msgpack.unpackb
        self.said: list[dict[str, Any]] = []
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.endpoint = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        self._context: zmq.Context[Any] = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.RECONNECT_IVL, 5)
        self._socket.subscribe(b"rig1.")
        self._socket.connect(self.endpoint)

    def turn(self) -> None:
        if self._socket.poll(20):
            topic, data = self._socket.recv_multipart()
            message = self._unpack(data)
            self.said.append({"topic": topic.decode(), **message})
            self.note(message["line"], message["on"])

    def free(self) -> None:
        self._socket.close()
        self._context.term()


class NidaqCalls:
    """What the stand-in for NI's package was called with."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "calls.jsonl"

    @property
    def calls(self) -> list[dict[str, Any]]:
        if not self.file.exists():
            return []
        return [json.loads(line) for line in self.file.read_text(encoding="utf-8").splitlines()]

    @property
    def seen(self) -> list[Seen]:
        """By active level: line 0 is the laser, line 1 the valve, which is active low."""
        writes = [call for call in self.calls if call["call"] == "write"]
        return [
            Seen(call["host_ns"], "laser", call["high"])
            if call["line"].endswith("line0")
            else Seen(call["host_ns"], "valve", not call["high"])
            for call in writes
        ]


@contextlib.contextmanager
def standins(folder: Path, monkeypatch: Any) -> Iterator[NidaqCalls]:
    """Let this process, and those that are started now, find the stand-in instead of NI's package."""
    calls = NidaqCalls(folder)
    real = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "nidaqmx"}
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", str(STANDINS))
        patch.setenv("NIDAQ_CALLS", str(calls.file))
        patch.syspath_prepend(STANDINS)
        yield calls
    for name in [name for name in sys.modules if name.split(".")[0] == "nidaqmx"]:
        del sys.modules[name]
    sys.modules.update(real)
