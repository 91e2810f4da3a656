"""Camera triggers and sync of a rig that runs as a user runs it."""

import json
from pathlib import Path

from rigs import CORNER, SIMULATED, edges, poseloop, write_rig

CAMERA_PIN, SYNC_PIN = 4, 5

RIG = SIMULATED.replace(
    "[boards.box.lines",
    f"""[boards.box.camera_trigger]
pin = {CAMERA_PIN}
fps = 60
[boards.box.sync]
pin = {SYNC_PIN}
[boards.box.lines""",
).replace("[model]", '[sync]\ntrigger = "hardware"\n[model]')


def test_a_run_triggers_its_cameras_and_marks_its_frame_sets(tmp_path: Path) -> None:
    rig = write_rig(tmp_path, CORNER, RIG)
    done = poseloop("run", rig, "--seconds", 2, "--headless", "--report", "r.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    box = report["boards"]["box"]
    found = edges(tmp_path)
    triggers = [edge for edge in found if edge["pin"] == CAMERA_PIN]
    starts = [edge["board_us"] for edge in triggers if edge["active"]]
    assert len(starts) >= box["camera_triggers"] >= 60
    period_us = round(1e6 / 60)
    assert [at - starts[0] for at in starts] == [number * period_us for number in range(len(starts))]
    assert not triggers[-1]["active"], "the pin is off at the end"
    syncs = box["syncs"]
    assert syncs["acknowledged"] > 0.5 * syncs["sent"]
    assert syncs["sent"] <= report["poses"]["decided"]
    assert codes(found) == sorted(set(codes(found)))
    assert syncs["acknowledged"] <= len(codes(found)) <= syncs["sent"]


def codes(found: list[dict]) -> list[int]:
    """The numbers that the sync pin wrote, read as a recording system would."""
    bit_us = 200
    numbers = []
    pin = [edge for edge in found if edge["pin"] == SYNC_PIN]
    while pin:
        begun = pin[0]["board_us"]
        ended = begun + 33 * bit_us
        code = 0
        for number in range(32):
            middle = begun + (number + 1.5) * bit_us
            level = [edge["active"] for edge in pin if edge["board_us"] <= middle][-1]
            code |= level << number
        numbers.append(code)
        pin = [edge for edge in pin if edge["board_us"] >= ended]
    return numbers
