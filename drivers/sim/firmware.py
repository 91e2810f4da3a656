"""The simulated board as a program: ``python -m poseloop.drivers.sim.firmware``.

It speaks the serial protocol of ``drivers/arduino/README.md`` over a TCP socket on loopback, or over a pseudo-terminal,
and behaves as a board does: it does not know of Ctrl-C, and when its host is gone the lease lapses, the outputs go off,
and only then does it end. Standard library only, so that it starts quickly.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NamedTuple, Protocol

from poseloop.drivers.arduino.tables import PROTOCOL_VERSION
from poseloop.drivers.sim.faults import FaultyFirmware
from poseloop.drivers.sim.machine import Step

HOST = "127.0.0.1"

WAIT_FOR_HOST_US = 10_000_000
"""A board to which nobody ever connects ends after this time."""


class Channel(Protocol):
    """The cable between host and board; only one host at a time."""

    where: str
    """What the host needs to know in order to connect."""
    connected: bool

    def fileno(self) -> int:
        """Descriptor to wait for; -1 = there is nothing more to come."""

    def read(self) -> bytes:
        """Read what has come, or take note that a host came or went."""

    def write(self, data: bytes) -> None:
        """Send; what the host is too slow to take is lost, as on a serial line."""

    def close(self) -> None:
        """Free the channel."""


class TcpChannel:
    """A socket on loopback."""

    def __init__(self, port: int, stay: bool) -> None:
        self._stay = stay
        self._listener = socket.create_server((HOST, port), backlog=1)
        self._host: socket.socket | None = None
        self.where = str(self._listener.getsockname()[1])
        self.connected = False

    def fileno(self) -> int:
        """Descriptor to wait for."""
        return (self._host or self._listener).fileno()

    def read(self) -> bytes:
        """Read what has come, or take note that a host came or went."""
        if self._host is None:
            self._host, _ = self._listener.accept()
            self._host.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._host.setblocking(False)
            self.connected = True
            if not self._stay:
                self._listener.close()
            return b""
        try:
            data = self._host.recv(4096)
        except BlockingIOError:
            return b""
        except OSError:
            data = b""
        if not data:
            self._host.close()
            self._host, self.connected = None, False
        return data

    def write(self, data: bytes) -> None:
        """Send what fits."""
        if self._host is None:
            return
        try:
            self._host.send(data)
        except OSError:  # full, or gone: the next read tells
            return

    def close(self) -> None:
        """Free the channel."""
        self._listener.close()
        if self._host is not None:
            self._host.close()


class PtyChannel:
    """A pseudo-terminal: a serial port as far as the host can see. POSIX only."""

    def __init__(self, stay: bool) -> None:
        import tty

        self._stay = stay
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.where = os.ttyname(self._slave)
        self.connected = False

    def fileno(self) -> int:
        """Descriptor to wait for."""
        return self._master

    def read(self) -> bytes:
        """Read what has come, or take note that a host came or went."""
        try:
            data = os.read(self._master, 4096)
        except BlockingIOError:
            return b""
        except OSError:  # no one has the other end open any more
            data = b""
        if data and not self.connected:
            # With our own end of it open we would never learn that the host has gone.
            os.close(self._slave)
            self._slave, self.connected = -1, True
        elif not data and self.connected:
            self.connected = False
            if self._stay:
                self._slave = os.open(self.where, os.O_RDWR | os.O_NOCTTY)
            else:
                os.close(self._master)
                self._master = -1
        return data

    def write(self, data: bytes) -> None:
        """Send what fits."""
        if not self.connected:
            return
        try:
            os.write(self._master, data)
        except OSError:  # full, or gone: the next read tells
            return

    def close(self) -> None:
        """Free the channel."""
        for descriptor in (self._master, self._slave):
            if descriptor >= 0:
                os.close(descriptor)
        self._master = self._slave = -1


class SquareWave(NamedTuple):
    """Something outside that drives an input pin: high for ``high_us`` at the start of every ``period_us``."""

    pin: int
    period_us: int
    high_us: int

    def next_change_us(self, after_us: int) -> int:
        """First change later than ``after_us``."""
        phase = after_us % self.period_us
        return after_us - phase + (self.high_us if phase < self.high_us else self.period_us)

    def high(self, at_us: int) -> bool:
        """Level at a time."""
        return at_us % self.period_us < self.high_us


class Board:
    """Runs the state machine in real time."""

    def __init__(
        self,
        machine: FaultyFirmware,
        channel: Channel,
        waves: Sequence[SquareWave] = (),
        trace: IO[str] | None = None,
        boot_us: int = 0,
        stay: bool = False,
    ) -> None:
        """Put the parts together.

        Args:
            machine: the board's logic, not yet powered.
            channel: the cable.
            waves: what happens at the input pins.
            trace: gets one line of JSON for every edge of an output.
            boot_us: how long the bootloader runs, deaf, after a host has connected.
            stay: wait for the next host when one has gone.
        """
        self._machine = machine
        self._channel = channel
        self._waves = [(wave, wave.next_change_us(0)) for wave in waves]
        self._trace = trace
        self._boot_us = boot_us
        self._stay = stay
        self._zero_ns = time.perf_counter_ns()
        self._boots_at_us: int | None = None
        self._had_host = False

    def run(self) -> None:
        """Run until the host has gone and everything is off."""
        self._emit(self._machine.power_up(self._now()))
        while not self._over():
            heard = self._wait()
            now = self._now()
            if heard:
                # A board takes bytes in an interrupt; this program may have been kept from running. What waits when it
                # comes late to a deadline counts as come before it.
                deadline = self._machine.deadline_us
                self._listen(now if deadline is None else min(now, deadline))
            self._drive_inputs(now)
            self._emit(self._machine.advance(now))
            if self._boots_at_us is not None and self._boots_at_us <= now:
                self._boots_at_us = None
                self._emit(self._machine.power_up(now))

    def _now(self) -> int:
        return (time.perf_counter_ns() - self._zero_ns) // 1000

    def _over(self) -> bool:
        if self._stay or self._channel.connected:
            return False
        return self._machine.safe if self._had_host else self._now() > WAIT_FOR_HOST_US

    def _wait(self) -> bool:
        """Wait for bytes until the next deadline; True = there are some."""
        due = [change for _, change in self._waves]
        due += [at for at in (self._machine.deadline_us, self._boots_at_us) if at is not None]
        if not self._had_host and not self._stay:
            due.append(WAIT_FOR_HOST_US + 1000)
        timeout_s = max(min(due) - self._now(), 0) / 1e6 if due else None
        if self._channel.fileno() < 0:
            time.sleep(timeout_s or 0)
            return False
        return bool(select.select([self._channel], [], [], timeout_s)[0])

    def _listen(self, now: int) -> None:
        before = self._channel.connected
        data = self._channel.read()
        if self._channel.connected and not before:
            self._had_host = True
            if isinstance(self._channel, TcpChannel):
                # Opening the port resets an Arduino: the line DTR is wired to its reset pin.
                self._trace_edges(self._machine.power_up(now))
                self._boots_at_us = now + self._boot_us
        if data and self._boots_at_us is None:
            self._emit(self._machine.receive(data, now))

    def _drive_inputs(self, now: int) -> None:
        for at, (wave, change) in enumerate(self._waves):
            while change <= now:
                self._emit(self._machine.drive(wave.pin, wave.high(change), change))
                change = wave.next_change_us(change)
            self._waves[at] = (wave, change)

    def _emit(self, step: Step) -> None:
        self._trace_edges(step)
        if step.sent:
            self._channel.write(step.sent)

    def _trace_edges(self, step: Step) -> None:
        if self._trace is None:
            return
        host_ns = time.perf_counter_ns()
        for edge in step.edges:
            self._trace.write(json.dumps({"host_ns": host_ns, **edge._asdict()}) + "\n")
        self._trace.flush()


def _square_wave(text: str) -> SquareWave:
    pin, period_ms, high_ms = text.split(":")
    wave = SquareWave(int(pin), round(float(period_ms) * 1000), round(float(high_ms) * 1000))
    if not 0 < wave.high_us < wave.period_us:
        raise ValueError
    return wave


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A simulated board that speaks Poseloop's serial protocol.")
    parser.add_argument("--port", type=int, default=0, help="TCP port on loopback; 0 = a free one (printed)")
    parser.add_argument("--pty", action="store_true", help="use a pseudo-terminal and print its path (POSIX)")
    parser.add_argument("--trace", type=Path, help="file that gets one line of JSON for every edge of an output")
    parser.add_argument("--input", type=_square_wave, action="append", default=[], metavar="PIN:PERIOD_MS:HIGH_MS")
    parser.add_argument("--start-us", type=int, default=0, help="what the board's clock shows at power-up")
    parser.add_argument("--boot-ms", type=int, default=0, help="deaf for this long after a host connects")
    parser.add_argument("--stay", action="store_true", help="wait for the next host when one has gone")
    faults = parser.add_argument_group("faults")
    faults.add_argument("--protocol-version", type=int, default=PROTOCOL_VERSION)
    faults.add_argument("--silent", action="store_true", help="never answer")
    faults.add_argument("--drop-acks", type=int, default=0, metavar="N", help="lose N acknowledgements once armed")
    faults.add_argument("--reset-after", type=int, default=0, metavar="N", help="restart in on-command N")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    options = _options(arguments)
    machine = FaultyFirmware(
        options.protocol_version, options.start_us, options.silent, options.drop_acks, options.reset_after
    )
    channel: Channel = PtyChannel(options.stay) if options.pty else TcpChannel(options.port, options.stay)
    trace = options.trace.open("w", encoding="utf-8") if options.trace else None
    try:
        sys.stdout.write(f"{channel.where}\n")
        sys.stdout.flush()
        Board(machine, channel, options.input, trace, options.boot_ms * 1000, options.stay).run()
    finally:
        channel.close()
        if trace is not None:
            trace.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
