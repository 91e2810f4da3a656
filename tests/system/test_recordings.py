"""The rig files of the documentation, on the recordings that they name."""

import json
from pathlib import Path

import pytest
from repository import ROOT
from rigs import poseloop, processes_in
from simavr.emulator import on_terminal

RIGS = ROOT / "docs" / "rigs"


def run(rig: str | Path, folder: Path, *arguments: object) -> dict:
    done = poseloop("run", RIGS / rig, "--headless", "--report", "r.json", *arguments, cwd=folder, timeout=300)
    assert done.returncode == 0, done.stderr
    assert processes_in(folder) == {}
    return json.loads((folder / "r.json").read_text(encoding="utf-8"))


def test_a_recorded_mouse_puts_its_snout_into_a_region_and_a_pulse_goes_out(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSELOOP_DATA", str(data.resolve()))
    report = run("openfield_snout.toml", tmp_path, "--seconds", 20)
    frames = report["frames"]
    # At 30 frames a second, and the clock starts after the first one.
    assert 595 <= frames["captured"] <= 615
    assert frames["processed"] + sum(frames["dropped"].values()) == frames["captured"]
    assert report["cameras"]["top"]["lost"] == 0
    triggers = report["triggers"]
    # On a machine that is not busy with something else, all are acknowledged and none is held.
    assert triggers["sent"] == triggers["acknowledged"] + triggers["refused"] + triggers["lost"]
    assert triggers["acknowledged"] > 0
    assert report["latency_ms"]["frame_to_pin"]["n"] == triggers["acknowledged"]


def test_the_obstacle_that_comes_once_gives_one_pulse(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSELOOP_DATA", str(data.resolve()))
    text = (RIGS / "mirror_mouse.toml").read_text(encoding="utf-8")
    # Around the obstacle, every frame, on a computer as slow as may be.
    text = text.replace("fps = 50", 'pace = "none"\nskip = 350\nframes = 80')
    text = text.replace('use = "sim"', 'use = "sim"\nlease_ms = 5000')
    text += '[gates]\nage_ms = 5000\n[sync]\nframes = "every"\n'
    (tmp_path / "rig.toml").write_text(text, encoding="utf-8")
    report = run(tmp_path / "rig.toml", tmp_path)
    assert report["frames"] == {"captured": 80, "processed": 80, "dropped": {}, "incomplete": 0}
    triggers = report["triggers"]
    assert (triggers["sent"], triggers["acknowledged"], triggers["held"]) == (1, 1, 0)


@pytest.mark.slow
def test_every_frame_of_a_whole_recording_is_accounted_for(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSELOOP_DATA", str(data.resolve()))
    report = run("openfield.toml", tmp_path)
    assert report["ended"] == "the recordings have ended"
    for counts in (report["frames"], report["cameras"]["top"]):
        assert counts["captured"] == 2330
        assert counts["processed"] + sum(counts["dropped"].values()) == 2330
    assert report["cameras"]["top"]["lost"] == 0
    triggers = report["triggers"]
    assert triggers["sent"] == triggers["acknowledged"] + triggers["refused"] + triggers["lost"] > 0


@pytest.mark.slow
def test_as_fast_as_possible_skips_no_frame(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSELOOP_DATA", str(data.resolve()))
    report = run("tracktor.toml", tmp_path)
    assert report["frames"] == {"captured": 10000, "processed": 10000, "dropped": {}, "incomplete": 0}


@pytest.mark.firmware
def test_the_same_with_the_firmware_that_a_lab_flashes(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a recorded mouse to a pin of the emulated chip: its edges are the triggers that were acknowledged."""
    monkeypatch.setenv("POSELOOP_DATA", str(data.resolve()))
    trace = tmp_path / "trace.jsonl"
    rig = (RIGS / "openfield_snout.toml").read_text(encoding="utf-8")
    assert 'use = "sim"' in rig
    # Network and emulated chip share what cores there are: a machine that is busy must not make all poses stale.
    rig = rig.replace("lease_ms = 100", "lease_ms = 1000") + "\n[gates]\nage_ms = 500\n"
    with on_terminal(trace) as port:
        (tmp_path / "rig.toml").write_text(rig.replace('use = "sim"', f'use = "arduino"\nport = "{port}"'), "utf-8")
        report = run(tmp_path / "rig.toml", tmp_path, "--seconds", 25)
    rows = [json.loads(line) for line in trace.read_text(encoding="utf-8").splitlines()]
    laser = [(row["cycle"], row["driven"] and row["high"]) for row in rows if row.get("pin") == 9]
    rises = [cycle for (cycle, on), (_, was_on) in zip(laser[1:], laser, strict=False) if on and not was_on]
    falls = [cycle for (cycle, on), (_, was_on) in zip(laser[1:], laser, strict=False) if was_on and not on]
    triggers = report["triggers"]
    assert triggers["sent"] == triggers["acknowledged"] + triggers["refused"] + triggers["lost"]
    # Equal to what was acknowledged, and to what was sent, unless a busy machine kept the loop or an answer waiting.
    assert 0 < triggers["acknowledged"] <= len(rises) <= triggers["acknowledged"] + triggers["lost"]
    for rise, fall in zip(rises, falls, strict=True):
        # 20 ms at 16 MHz; shorter only if the run's end or a lapse on a busy machine cut it off.
        assert fall - rise <= 20_000 * 16 + 160
    assert not laser[-1][1]
