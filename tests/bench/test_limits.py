"""The benchmark of limits runs, and tells each part beside its own."""

import json
from pathlib import Path

import pytest

from poseloop.bench import limits
from poseloop.drivers.sim.firmware_process import FirmwareProcess
from poseloop.live import cli


def test_every_part_stands_beside_its_limit(tmp_path: Path) -> None:
    report = tmp_path / "limits.json"
    assert cli.main(["bench", "limits", "--short", "--report", str(report)]) == 0
    rows = {row["part"].partition(",")[0]: row for row in json.loads(report.read_text())["rows"]}
    assert list(rows) == ["network", "socket", "decoding", "serial", "triangulation"]
    for name in ("network", "socket", "decoding"):
        assert rows[name]["share"] == pytest.approx(rows[name]["limit_us"] / rows[name]["part_us"], abs=1e-3)
    assert rows["serial"]["part_us"] is None
    assert rows["triangulation"]["limit_us"] is None


@pytest.mark.parametrize("baud", [1_000_000, 9600])
def test_a_command_cannot_be_faster_than_its_bytes(baud: int) -> None:
    row = limits.serial(None, baud, 1)
    # kind, sequence number, line, two times, checksum; two more for the framing
    assert row["limit_us"] == pytest.approx(16 * 10 * 1e6 / baud, rel=0.1)


def test_a_board_is_asked_for_the_time() -> None:
    firmware = FirmwareProcess("box")
    port = firmware.start()
    try:
        row = limits.serial(f"socket://127.0.0.1:{port}", 1_000_000, 3)
    finally:
        firmware.kill()
    assert row["part_us"] > 0
    assert row["limit_us"] == pytest.approx((7 + 15) * 10, rel=0.1)
