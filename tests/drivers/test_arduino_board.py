"""The driver when things go wrong: wrong boards, lost answers, restarts, pulled plugs."""

import contextlib
import errno
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import psutil
import pytest
import serial
from boards import (
    LASER,
    LINES,
    Ear,
    firmware,
    level,
    off,
    opened,
    patiently,
    pulse,
    read_trace,
)

from poseloop.drivers.arduino import board as board_module
from poseloop.drivers.arduino.board import ArduinoBoard
from poseloop.drivers.arduino.board_clock import BoardClock
from poseloop.drivers.arduino.ledger import TICKETS, Ledger
from poseloop.drivers.arduino.link import SerialLink, open_link
from poseloop.live.clock import now_ns
from poseloop.live.errors import ConnectError, DeviceError, DeviceLost, DeviceTimeout, SettingRefused
from poseloop.live.interfaces import BoardState
from poseloop.live.types import ALL_LINES, BoardEvent, Outcome, OutcomeKind

LONG_LEASE_MS = 3000

posix = pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals and stopped processes are POSIX things")


def arduino(port: str, timeout_s: float = 5.0) -> ArduinoBoard:
    return ArduinoBoard("board", ArduinoBoard.Settings(port=port, timeout_s=timeout_s))


def message_of(expected: type[DeviceError], port: str, timeout_s: float = 5.0) -> str:
    """Fail to open, and see that the board can still be closed and that nothing is left open."""
    board = arduino(port, timeout_s)
    with pytest.raises(expected) as caught:
        board.open()
    board.off()
    board.close()
    assert list(board.events()) == []
    return str(caught.value)


# Opening


def test_another_protocol_version_names_both_and_what_to_do() -> None:
    with firmware("--protocol-version", "7") as (_, port):
        message = message_of(ConnectError, port)
    assert "version 1" in message
    assert "version 7" in message
    assert "Flash the firmware that comes with this version" in message


@pytest.mark.parametrize("pty", [False, pytest.param(True, marks=posix)])
def test_a_silent_port_is_a_timeout(pty) -> None:
    with firmware("--silent", pty=pty) as (_, port):
        assert "nothing answered within 0.3 s" in message_of(DeviceTimeout, port, timeout_s=0.3)


def test_a_port_that_does_not_exist_lists_those_that_do(monkeypatch) -> None:
    port = "COM99" if sys.platform == "win32" else "/dev/ttyNOTHING"
    found = [type("Port", (), {"device": "COM7", "description": "Arduino Uno"})()]
    monkeypatch.setattr("poseloop.drivers.arduino.link.list_ports.comports", lambda: found)
    assert f"there is no port {port}. Ports on this computer: COM7 (Arduino Uno)" in message_of(ConnectError, port)
    assert ArduinoBoard.discover() == ["COM7 (Arduino Uno)"]


def test_a_socket_where_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert "nothing listens" in message_of(ConnectError, f"socket://127.0.0.1:{port}")
    assert "expected socket://HOST:PORT" in message_of(ConnectError, "socket://nowhere")


@posix
def test_a_port_in_use() -> None:
    with firmware(pty=True) as (_, port):
        first = arduino(port)
        first.open()
        try:
            assert "in use by another program" in message_of(ConnectError, port)
            first.configure(LINES, LONG_LEASE_MS)
        finally:
            first.close()


@posix
def test_a_file_is_no_port(tmp_path) -> None:
    file = tmp_path / "notes.txt"
    file.touch()
    assert "cannot be opened as a serial port" in message_of(ConnectError, str(file))


@pytest.mark.parametrize(
    ("code", "words"),
    [(errno.EACCES, "dialout"), (errno.EBUSY, "in use by another program"), (errno.EIO, "cannot be opened")],
)
def test_what_to_do_when_the_system_says_no(monkeypatch, code, words) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise serial.SerialException(code, os.strerror(code))

    monkeypatch.setattr(serial, "serial_for_url", refuse)
    assert words in message_of(ConnectError, "/dev/ttyACM0")


@contextlib.contextmanager
def someone_else(says: bytes) -> Iterator[str]:
    """Another device on the port: it talks, then hangs up when the host does."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def talk() -> None:
            host, _ = listener.accept()
            with host:
                host.sendall(says)
                while says and host.recv(100):
                    pass

        thread = threading.Thread(target=talk, name="someone-else")
        thread.start()
        yield f"socket://127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


@pytest.mark.parametrize("says", [b"$GPGGA,123519,4807.038,N\r\n", b"\0\1\2\3\0garbage\0"])
def test_another_device_on_the_port(says) -> None:
    with someone_else(says) as port:
        message = message_of(ConnectError, port, timeout_s=0.3)
    assert "not in Poseloop's language" in message
    assert "1000000 baud" in message


def test_a_port_that_hangs_up_while_it_is_opened() -> None:
    with someone_else(b"") as port:
        assert "the connection is gone" in message_of(ConnectError, port)


@pytest.mark.parametrize("boot_ms", [0, 400])
def test_a_board_that_boots_late_is_awaited(boot_ms) -> None:
    """An Arduino restarts when its port is opened, and its bootloader swallows what comes meanwhile."""
    with opened("--boot-ms", str(boot_ms), lease_ms=LONG_LEASE_MS) as (board, ear, _):
        assert ear.outcome(board.send(pulse())).kind is OutcomeKind.ACKNOWLEDGED


@posix
def test_a_serial_port_that_does_not_read_is_reported_not_waited_for() -> None:
    master, slave = os.openpty()
    link = SerialLink(os.ttyname(slave), 1_000_000)
    try:
        taken = [link.write(bytes(4096)) for _ in range(40)]
    finally:
        link.close()
        os.close(master)
        os.close(slave)
    assert not taken[-1]


# Answers that do not come


def test_a_lost_answer_is_told_and_the_command_not_sent_again(tmp_path) -> None:
    trace = tmp_path / "trace"
    arguments = ("--drop-acks", "1", "--trace", str(trace))
    with opened(*arguments, lease_ms=LONG_LEASE_MS) as (board, ear, _):
        ticket = board.send(pulse())
        outcome = ear.outcome(ticket)
        assert (outcome.kind, outcome.reason) == (OutcomeKind.LOST, "no answer within 50 ms")
        assert (outcome.written_ns > 0, outcome.acknowledged_ns) == (True, 0)
        assert ear.edge(ticket, False), "the board acted once, and its edges still name the command"
        assert ear.outcome(board.send(pulse())).kind is OutcomeKind.ACKNOWLEDGED
    assert [edge.active for edge in read_trace(trace)] == [True, False] * 2


def test_off_is_repeated_until_acknowledged(tmp_path) -> None:
    trace = tmp_path / "trace"
    with opened("--drop-acks", "4", "--trace", str(trace), lease_ms=LONG_LEASE_MS) as (board, ear, _):
        ear.edge(board.send(level()), True)
        ticket = board.send(off())
        assert ear.outcome(ticket).kind is OutcomeKind.ACKNOWLEDGED
        assert ear.edge(ticket, False)
        assert not [e for e in ear.heard if isinstance(e, Outcome) and e.ticket == ticket and e != ear.outcome(ticket)]
    assert [edge.active for edge in read_trace(trace)] == [True, False]


def test_the_call_off_repeats_too() -> None:
    with opened("--drop-acks", "3", lease_ms=LONG_LEASE_MS) as (board, ear, _):
        board.off()
        ticket = board.send(pulse())
        assert ear.outcome(ticket).kind is OutcomeKind.ACKNOWLEDGED
        assert not [e for e in ear.heard if isinstance(e, Outcome) and e.ticket != ticket], "nobody asked for that one"


@posix
def test_a_board_that_hangs_is_noticed(monkeypatch) -> None:
    monkeypatch.setattr(board_module, "PING_NS", 30_000_000)
    with opened(lease_ms=LONG_LEASE_MS) as (board, ear, process):
        os.kill(process.pid, signal.SIGSTOP)
        ticket = board.send(off())
        board.off()
        assert "has not answered 3 pings" in ear.state(BoardState.LINK_LOST).detail
        assert ear.outcome(ticket).kind is OutcomeKind.LOST
        with pytest.raises(DeviceLost, match="has not answered"):
            board.send(pulse())


def test_arming_without_an_answer_is_a_timeout() -> None:
    with firmware() as (process, port):
        board = arduino(port)
        board.open()
        try:
            board.configure(LINES, LONG_LEASE_MS)
            psutil.Process(process.pid).suspend()
            with pytest.raises(DeviceTimeout, match="ARM"):
                board.arm()
            board.renew()
        finally:
            psutil.Process(process.pid).resume()
            board.close()


# Restarts and pulled plugs


def test_a_restart_in_the_middle(tmp_path) -> None:
    trace = tmp_path / "trace"
    with opened("--reset-after", "1", "--trace", str(trace), lease_ms=LONG_LEASE_MS) as (board, ear, _):
        board.send(level())
        assert "watchdog" in ear.state(BoardState.RESET).detail
        assert [edge.active for edge in read_trace(trace)] == [True, False]
        board.renew()
        board.send(pulse())
        with pytest.raises(SettingRefused):
            board.arm()
        board.configure(LINES, LONG_LEASE_MS)
        board.arm()
        ticket = board.send(pulse())
        assert ear.outcome(ticket).kind is OutcomeKind.ACKNOWLEDGED
        assert ear.edge(ticket, False)


@pytest.mark.parametrize("pty", [False, pytest.param(True, marks=posix)])
def test_a_pulled_plug(pty) -> None:
    with opened(pty=pty, lease_ms=LONG_LEASE_MS) as (board, ear, process):
        process.kill()
        ear.state(BoardState.LINK_LOST)
        for call in (board.renew, board.arm, board.disarm, lambda: board.send(pulse()), lambda: board.send(off())):
            with pytest.raises(DeviceLost, match="the connection is gone"):
                call()
        board.off()
        assert list(board.events()) == []


def test_commands_on_their_way_are_lost_with_the_plug() -> None:
    with opened("--drop-acks", "2", lease_ms=LONG_LEASE_MS) as (board, ear, process):
        tickets = [board.send(pulse()), board.send(off(ALL_LINES))]
        process.kill()
        assert {ear.outcome(ticket).kind for ticket in tickets} == {OutcomeKind.LOST}


def test_an_off_that_is_never_acknowledged_counts_as_a_lost_link() -> None:
    """The board may have switched off or not: its owner must not go on as if it had."""
    with opened("--drop-acks", "100000", lease_ms=LONG_LEASE_MS) as (board, ear, _):
        ticket = board.send(off())
        assert ear.outcome(ticket).kind is OutcomeKind.LOST
        assert "not acknowledged an off command" in ear.state(BoardState.LINK_LOST).detail
        with pytest.raises(DeviceLost):
            board.renew()


def test_after_a_lost_link_the_board_can_be_opened_again(tmp_path) -> None:
    with firmware("--stay") as (_, port):
        board = arduino(port)
        try:
            board.open()
            first = board.send(pulse("nothing"))
            board.close()
            board.open()
            board.configure([LASER], LONG_LEASE_MS)
            board.arm()
            ticket = board.send(pulse())
            assert ticket > first
            assert Ear(board).outcome(ticket).kind is OutcomeKind.ACKNOWLEDGED
        finally:
            board.close()


# Bounds, clock


def test_events_that_nobody_takes_are_dropped_and_counted(monkeypatch) -> None:
    monkeypatch.setattr(board_module, "OUTBOX_EVENTS", 8)
    with opened(lease_ms=LONG_LEASE_MS) as (board, _, _):
        tickets = [board.send(pulse("nothing")) for _ in range(20)]
        events = board.events()
        assert [e.ticket for e in events if isinstance(e, Outcome)] == tickets[-8:]
        (told,) = [e for e in events if isinstance(e, BoardEvent)]
        assert told.state == BoardState.EVENTS_LOST
        assert int(told.detail.split()[0]) >= 12
        assert len(board.events()) == 0


def test_frames_that_nobody_takes_are_dropped_and_counted(monkeypatch) -> None:
    monkeypatch.setattr("poseloop.drivers.arduino.link.INBOX_FRAMES", 16)
    with opened(lease_ms=LONG_LEASE_MS) as (board, ear, _):
        for _ in range(30):
            board.send(off())
        reader = board._talk._reader
        patiently(lambda: reader.overflow, "an overflow")
        assert "dropped" in ear.state(BoardState.EVENTS_LOST).detail


def test_times_across_the_wrap_of_the_boards_clock() -> None:
    with opened("--start-us", str(2**32 - 150_000), lease_ms=LONG_LEASE_MS) as (board, ear, _):
        for _ in range(40):
            before_ns = now_ns()
            edge = ear.edge(board.send(pulse(on_us=5000)), True)
            assert abs(edge.at_ns - before_ns) < 1_000_000_000, "a wrap would be 4295 s"
            ear.edge(edge.ticket, False)
    times = [edge.at_ns for edge in ear.edges()]
    assert times == sorted(times)


def test_clock_follows_drift_and_wraps_for_days() -> None:
    clock, start_us = BoardClock(), 2**32 - 1000

    def wire_us(host_ns: int) -> int:
        return (start_us + round(host_ns / 1000 * (1 + 30e-6))) & 0xFFFFFFFF

    assert clock.host_ns(123, 456) == 456, "before the first exchange, the arrival is the best guess"
    day_ns = 86_400 * 10**9
    for host_ns in range(0, 2 * day_ns, 60 * 10**9):
        clock.learn(host_ns - 200_000, wire_us(host_ns), host_ns + 200_000)
    for ago_ns in (0, 10**6, 10**9, 10 * 10**9):
        then_ns = 2 * day_ns - ago_ns
        assert clock.host_ns(wire_us(then_ns), 2 * day_ns) == pytest.approx(then_ns, abs=2000)


@pytest.mark.parametrize("seed", range(3))
def test_clock_stays_within_200_us_for_ten_minutes_of_drift_and_serial_jitter(seed: int) -> None:
    """50 ppm, one exchange a second, USB frames of 1 ms, an adapter's stall of up to 16 ms in one of twenty ways."""
    random = np.random.default_rng(seed)
    clock, start_us = BoardClock(), 2**32 - 300_000_000  # it wraps on the way

    def wire_us(host_ns: float) -> int:
        return (start_us + int(host_ns / 4000 * (1 + 50e-6)) * 4) & 0xFFFFFFFF  # micros() counts in fours

    def way_ns() -> float:
        stall = random.uniform(0, 16e6) if random.random() < 0.05 else 0.0
        return 100_000 + random.exponential(80_000) + random.uniform(0, 1e6) * (random.random() < 0.3) + stall

    for k in range(10):  # the burst at the start
        out, back = way_ns(), way_ns()
        clock.learn(int(k * 2e6), wire_us(k * 2e6 + out), int(k * 2e6 + out + back))
    errors = []
    for second in range(1, 601):
        began = second * 1e9
        out, back = way_ns(), way_ns()
        clock.learn(int(began), wire_us(began + out), int(began + out + back))
        edges = began + random.uniform(0.02e9, 0.98e9, 20)
        errors += [abs(clock.host_ns(wire_us(edge), int(edge + way_ns())) - edge) for edge in edges]
    assert np.percentile(errors, 95) <= 200_000


def test_ledger_forgets_the_oldest_tickets() -> None:
    ledger = Ledger()
    for number in range(1, TICKETS + 10):
        ledger.add_on(number, number, 0, b"")
    assert ledger.ticket(9) == 0
    assert ledger.ticket(10) == 10
    ledger.add_off(10, 0, 0, b"")
    assert ledger.ticket(10) == 0, "the number was used again for something that nobody asked for"


def test_settings_are_checked(tmp_path) -> None:
    with pytest.raises(ValueError, match="port"):
        ArduinoBoard.Settings(port="")
    assert ArduinoBoard.Settings(port="COM7").baud == 1_000_000


def test_low_latency_is_asked_for_where_there_is_such_a_mode(monkeypatch) -> None:
    class Port:
        def __init__(self) -> None:
            self.asked: list[bool] = []

        def set_low_latency_mode(self, value: bool) -> None:
            self.asked.append(value)
            raise ValueError("Failed to set ASYNC_LOW_LATENCY flag")

    port, options = Port(), {}
    monkeypatch.setattr(serial, "serial_for_url", lambda url, **given: options.update(given) or port)
    open_link("board", "/dev/ttyUSB0", 1_000_000)
    assert port.asked == [True]
    assert options["exclusive"]
    assert options["write_timeout"] < 0.05


def test_a_line_given_again_with_other_limits() -> None:
    with opened(lease_ms=LONG_LEASE_MS) as (board, ear, _):
        board.disarm()
        board.configure([replace(LASER, max_on_us=2000)], LONG_LEASE_MS)
        board.arm()
        assert ear.outcome(board.send(pulse(on_us=2001))).kind is OutcomeKind.REFUSED
        assert ear.outcome(board.send(pulse(on_us=2000))).kind is OutcomeKind.ACKNOWLEDGED
