"""What `poseloop doctor --latency` predicts, on simulated rigs; nothing is said about how long anything takes."""

import dataclasses
import json
from pathlib import Path

import pytest
from rigs import CORNER, SIMULATED, poseloop, write_rig

from poseloop.drivers.arduino.board import ArduinoBoard
from poseloop.live import latency, prediction
from poseloop.live.capture.tolerance import Tolerance
from poseloop.live.config import load_rig
from poseloop.live.errors import ConnectError, RigError
from poseloop.live.prediction import Part, Prediction
from poseloop.live.types import Level

PORT = "/dev/there-is-no-such-port"

OWN_DEVICES = """
from poseloop.protocols import Protocol


class Drives(Protocol):
    own_devices = True

    def decide(self, pose, events):
        raise RuntimeError("it must not be asked")
"""


def measured(busy_ms: float, tail_ms: float, network_ms: float = 3.0) -> Prediction:
    parts = [Part("network", network_ms, tail_ms), Part("board box", 0.5, 0.7), Part("board other", None)]
    decided, busy = Part("decided", 5.5, 9.3), Part("busy", busy_ms, tail_ms)
    return Prediction(parts, decided, busy, period_ms=10.0, sets=300, superseded=7, boards=2)


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rig(tmp_path_factory.mktemp("rig"), CORNER)


def test_every_part_is_measured_and_no_output_is_switched_on(rig: Path) -> None:
    found = latency.predict(rig, seconds=1.0)
    parts = {part.name: part for part in found.parts}
    assert list(parts) == ["exposure", *latency._STAGES, "board box"]
    assert parts["exposure"].p50_ms is None
    known = [part.p50_ms for part in found.parts if part.p50_ms is not None]
    assert len(known) == len(parts) - 1
    assert all(value > 0 for value in known)
    assert 0 < found.network_share < 1
    assert found.pin.p50_ms == pytest.approx(found.decided.p50_ms + parts["board box"].p50_ms)
    assert found.period_ms == pytest.approx(1000 / 60)
    assert 0 < found.sets <= 90
    edges = rig.parent / "edges.jsonl"
    assert not edges.exists() or not any(json.loads(line)["on"] for line in edges.read_text().splitlines())
    text = prediction.as_text(found, 80)
    assert max(map(len, text.splitlines())) <= 80
    assert json.loads(json.dumps(found.as_report()))["sets"] == found.sets


# Of noise, `openfield` believes nothing.
@pytest.mark.parametrize("model", ["simulated_animal", "openfield"])
def test_a_crop_is_timed_while_it_follows(rig: Path, tmp_path: Path, model: str) -> None:
    file = tmp_path / "rig.toml"
    text = rig.read_text().replace('"simulated_animal"', f'"{model}"')
    file.write_text(text + "[model.crop]\nsize = [64, 64]\n")
    its = load_rig(file)
    pulse = latency._Pulse(0.01)
    engine = latency.Engine(latency._stand_in(its, latency.formats(its), pulse))
    engine.open()
    try:
        engine.start()
        pulse.begin()
        while engine.published < 5:
            assert not engine.failed.wait(0.01), engine.error
        engine.stop()
        (searched,) = engine.network.report()[0]["searched"].values()
        assert engine.published >= 5
        assert searched == 1
    finally:
        engine.close()


def test_a_protocol_with_devices_of_its_own_is_not_asked(tmp_path: Path) -> None:
    rig = write_rig(tmp_path, 'use = "drives.py:Drives"\n')
    (tmp_path / "drives.py").write_text(OWN_DEVICES)
    found = latency.predict(rig, seconds=0.3)
    assert any("protocols.task was not asked" in note for note in found.notes)


def test_a_protocol_that_fails_is_told(tmp_path: Path) -> None:
    rig = write_rig(tmp_path, 'use = "drives.py:Drives"\n')
    (tmp_path / "drives.py").write_text(OWN_DEVICES.replace("own_devices = True", ""))
    with pytest.raises(ConnectError, match="it must not be asked"):
        latency.predict(rig, seconds=0.3)


def test_cameras_that_are_not_there_are_named(tmp_path: Path) -> None:
    film = '[cameras.top]\nuse = "replay"\npath = "none.mp4"\n'
    rig = write_rig(tmp_path, CORNER, SIMULATED.replace('[cameras.top]\nuse = "sim"\nfps = 60\n', film))
    with pytest.raises(RigError, match="could not be opened"):
        latency.predict(rig)


@pytest.mark.parametrize(("baud", "pulse_us"), [(1_000_000, 160), (115_200, 1389)])
def test_a_board_that_is_not_connected_counts_with_its_bytes(
    rig: Path, tmp_path: Path, baud: int, pulse_us: int
) -> None:
    file = tmp_path / "rig.toml"
    board = f'use = "arduino"\nport = "{PORT}"\nbaud = {baud}\n'
    file.write_text(
        rig.read_text()
        .replace('[boards.box]\nuse = "sim"\n', f"[boards.box]\n{board}")
        .replace('trace = "edges.jsonl"\n', "")
    )
    part = latency._board("box", load_rig(file))
    assert part.p50_ms == pytest.approx(pulse_us / 1e3, rel=0.1)
    assert "not connected" in part.note


def test_a_socket_has_no_baud_rate() -> None:
    settings = ArduinoBoard.Settings(port="socket://127.0.0.1:1")
    assert ArduinoBoard("box", settings).command_us == 0


@pytest.mark.parametrize(
    ("busy_ms", "tail_ms", "level"), [(12.0, 14.0, Level.FAIL), (6.0, 11.0, Level.WARN), (6.0, 7.0, Level.OK)]
)
def test_a_network_that_is_too_slow_is_told_with_what_helps(
    rig: Path, busy_ms: float, tail_ms: float, level: Level
) -> None:
    pace, *_ = prediction.judge(measured(busy_ms, tail_ms), load_rig(rig))
    assert pace.level is level
    if level is not Level.OK:
        for way in ("[model.crop]", "int8", "size", "GPU"):
            assert way in pace.advice


@pytest.mark.parametrize(("doubt", "level"), [("", Level.OK), ("give sync.tolerance_ms", Level.WARN)])
def test_how_sets_are_made_is_told_where_there_are_several_cameras(rig: Path, doubt: str, level: Level) -> None:
    tolerance = Tolerance(2_500_000, 5_000_000, "half of 5 ms", doubt)
    _, found = prediction.judge(dataclasses.replace(measured(6.0, 7.0), tolerance=tolerance), load_rig(rig))
    assert (found.subject, found.level, found.advice) == ("sync", level, doubt)
    assert "at most 2.5 ms (half of 5 ms) apart" in found.text


def test_what_the_rig_already_does_is_not_advised(rig: Path, tmp_path: Path) -> None:
    file = tmp_path / "rig.toml"
    file.write_text(rig.read_text() + "[model.crop]\nsize = [64, 64]\n")
    (pace,) = prediction.judge(measured(12.0, 14.0), load_rig(file))
    assert "[model.crop]" not in pace.advice


def test_the_sum_has_the_slowest_board_and_an_upper_bound() -> None:
    found = measured(6.0, 7.0)
    assert found.pin.p50_ms == pytest.approx(6.0)
    assert found.pin.p99_ms == pytest.approx(10.0)
    assert found.network_share == pytest.approx(0.5)
    few = dataclasses.replace(found, decided=Part("decided", 5.5), boards=0)
    assert few.pin == Part("to the pin", 5.5, None, few.pin.note)


def test_the_command_wants_a_rig(tmp_path: Path) -> None:
    done = poseloop("doctor", "--latency", cwd=tmp_path)
    assert done.returncode == 1
    assert "expected a rig file beside --latency" in done.stderr
