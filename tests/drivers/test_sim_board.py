"""The simulated board as a program: it is a board to its host, and outlives it only until all is safe."""

import os
import signal
import socket
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import psutil
import pytest
from boards import LASER, LICK, LINES, PATIENCE_S, Ear, firmware, level, opened, patiently, pulse, read_trace

from poseloop.drivers.arduino.board import ArduinoBoard
from poseloop.drivers.sim import firmware_process
from poseloop.drivers.sim.board import SimulatedBoard, SquareWave
from poseloop.live.errors import ConnectError
from poseloop.live.types import InputEvent, LineSettings, OutcomeKind

LEASE_MS = 100
SLACK_NS = 50_000_000

HOST = """
import sys, time
from pathlib import Path
from poseloop.drivers.sim.board import SimulatedBoard
from poseloop.live.types import Command, CommandKind, LineSettings

board = SimulatedBoard("board", SimulatedBoard.Settings(trace=Path(sys.argv[1])))
board.open()
board.configure([LineSettings("laser", 8, kinds=(CommandKind.LEVEL,), max_on_us=60_000_000)], int(sys.argv[2]))
board.arm()
board.send(Command("board", "laser", CommandKind.LEVEL))
print(board.pid, flush=True)
while True:
    board.renew()
    board.events()
    time.sleep(0.005)
"""


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_host_killed_while_a_level_is_on(tmp_path) -> None:
    trace = tmp_path / "trace"
    host = subprocess.Popen(
        [sys.executable, "-P", "-c", HOST, str(trace), str(LEASE_MS)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert host.stdout is not None
        pid = int(host.stdout.readline())
        patiently(lambda: read_trace(trace), "the laser on")
        time.sleep(3 * LEASE_MS / 1000)
        assert len(read_trace(trace)) == 1, "renewed, it stays on"
        host.send_signal(signal.SIGKILL)
        killed_ns = time.perf_counter_ns()
    finally:
        host.kill()
        host.wait()
        host.stdout.close()
    patiently(lambda: gone(pid), "the board to end by itself")
    _, down = read_trace(trace)
    assert not down.active
    assert down.host_ns - killed_ns < LEASE_MS * 1_000_000 + SLACK_NS


def test_the_port_belongs_to_one_host() -> None:
    with opened() as (_, _, process):
        port = next(c.laddr.port for c in psutil.Process(process.pid).net_connections())
        second = ArduinoBoard("second", ArduinoBoard.Settings(port=f"socket://127.0.0.1:{port}"))
        with pytest.raises(ConnectError, match="nothing listens"):
            second.open()


def test_it_ends_when_its_host_has_gone_and_all_is_safe(tmp_path) -> None:
    trace = tmp_path / "trace"
    with opened("--trace", str(trace), lease_ms=LEASE_MS) as (board, ear, process):
        ear.edge(board.send(level()), True)
        board._talk._link._socket.shutdown(socket.SHUT_RDWR)  # the plug, not the driver: nobody says off
        assert process.wait(PATIENCE_S)
        up, down = read_trace(trace)
    assert down.board_us - up.board_us < (LEASE_MS + 50) * 1000


def test_it_does_not_know_of_ctrl_c() -> None:
    with opened(lease_ms=3000) as (board, ear, process):
        if sys.platform != "win32":
            os.kill(process.pid, signal.SIGINT)
            assert os.getpgid(process.pid) != os.getpgid(0)
        assert ear.outcome(board.send(pulse())).kind is OutcomeKind.ACKNOWLEDGED


def test_it_ends_if_nobody_comes() -> None:
    code = "import poseloop.drivers.sim.firmware as f; f.WAIT_FOR_HOST_US = 50_000; raise SystemExit(f.main([]))"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=PATIENCE_S * 4)
    assert done.returncode == 0
    assert done.stdout.strip().isdigit()
    assert done.stderr == ""


def test_one_that_stays_waits_without_work() -> None:
    code = "import poseloop.drivers.sim.firmware as f; f.WAIT_FOR_HOST_US = 50_000; f.main(['--stay'])"
    with subprocess.Popen([sys.executable, "-P", "-c", code], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(0.2)
            before = psutil.Process(process.pid).cpu_times().user
            time.sleep(1)
            assert psutil.Process(process.pid).cpu_times().user - before < 0.1
            assert process.poll() is None
        finally:
            process.kill()


def test_a_program_that_does_not_start_is_a_connect_error(capfd) -> None:
    with (
        firmware_process.FirmwareProcess("board", "--no-such-option") as process,
        pytest.raises(ConnectError, match="did not start"),
    ):
        process.start()
    assert "--no-such-option" in capfd.readouterr().err


def test_a_program_that_hangs_is_a_connect_error(monkeypatch) -> None:
    monkeypatch.setattr(firmware_process, "_START_S", 0.0)
    with (
        firmware_process.FirmwareProcess("board") as process,
        pytest.raises(ConnectError, match="did not start"),
    ):
        process.start()


def test_closing_waits_for_the_program() -> None:
    board = SimulatedBoard("board", SimulatedBoard.Settings())
    board.open()
    pid = board.pid
    board.close()
    assert gone(pid)
    assert board.pid == 0


def test_a_board_that_cannot_be_opened_leaves_no_process(monkeypatch) -> None:
    monkeypatch.setattr(SimulatedBoard, "_arguments", lambda _: ["--protocol-version", "9"])
    board = SimulatedBoard("board", SimulatedBoard.Settings())
    with pytest.raises(ConnectError, match="version 9"):
        board.open()
    assert board.pid == 0


def test_inputs_toggle_as_told() -> None:
    wave = SquareWave(pin=7, period_ms=30, high_ms=10)
    board = SimulatedBoard("board", SimulatedBoard.Settings(inputs=(wave,)))
    try:
        board.open()
        board.configure([LASER, LICK], LEASE_MS)
        ear = Ear(board)

        def licks() -> list[InputEvent]:
            return [event for event in ear.heard if isinstance(event, InputEvent)]

        ear.until(lambda _: len(licks()) >= 8, "eight changes")
    finally:
        board.close()
    changes = licks()[1:]  # the first one tells how the line stood when it was set up
    assert {(event.board, event.line) for event in changes} == {("board", "lick")}
    assert all(later.value != earlier.value for earlier, later in pairwise(changes))
    assert all(later.at_ns > earlier.at_ns for earlier, later in pairwise(changes))


def test_faults_can_be_asked_for_in_the_rig_file(tmp_path) -> None:
    settings = SimulatedBoard.Settings(trace=tmp_path / "trace", drop_acks=1, reset_after=3)
    board = SimulatedBoard("board", settings)
    try:
        board.open()
        board.configure(LINES, 3000)
        board.arm()
        ear = Ear(board)
        kinds = [ear.outcome(board.send(pulse("valve", delay_us=0))).kind]
        ear.until(lambda event: getattr(event, "value", None) is False, "the end of the pulse")
        kinds.append(ear.outcome(board.send(pulse())).kind)
        board.send(pulse("valve"))
        ear.state("reset")
    finally:
        board.close()
    assert kinds == [OutcomeKind.LOST, OutcomeKind.ACKNOWLEDGED]


@pytest.mark.skipif(sys.platform == "win32", reason="a pseudo-terminal")
def test_a_pty_host_can_come_back(tmp_path) -> None:
    lines = [LineSettings("laser", 8, kinds=LASER.kinds, max_on_us=1_000_000)]
    with firmware("--stay", "--trace", str(tmp_path / "trace"), pty=True) as (_, port):
        assert Path(port).exists()
        for _ in range(2):
            board = ArduinoBoard("board", ArduinoBoard.Settings(port=port))
            board.open()
            try:
                board.configure(lines, LEASE_MS)
                board.arm()
                Ear(board).edge(board.send(pulse()), False)
            finally:
                board.close()
