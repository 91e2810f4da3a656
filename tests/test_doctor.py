"""The doctor's checks against computers that lack something, and the command on this one."""

import json
import sys
from pathlib import Path

import pytest
from rigs import SIMULATED, poseloop, write_rig

from poseloop.live import doctor, jit
from poseloop.live.commands.doctor import as_text
from poseloop.live.config import Rig, parse_rig
from poseloop.live.types import Finding, Level


def rig(text: str = "", old: str = "", new: str = "") -> Rig:
    return parse_rig(SIMULATED.replace(old, new).replace("[protocols.task]", "") + text, Path(__file__))


def levels(findings: list[Finding]) -> dict[str, Level]:
    return {finding.subject: finding.level for finding in findings}


def package(folder: Path, name: str) -> None:
    """What pip leaves of an installed package."""
    info = folder / f"{name.replace('-', '_')}-1.2.3.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2.3\n", encoding="utf-8")
    (info / "RECORD").write_text("onnxruntime/__init__.py,,\n", encoding="utf-8")


@pytest.mark.parametrize("names", [(), ("onnxruntime",), ("onnxruntime-gpu", "onnxruntime"), ("onnxruntime-tools",)])
def test_several_packages_in_one_folder_are_found(names: tuple[str, ...], tmp_path: Path, monkeypatch) -> None:
    for name in names:
        package(tmp_path, name)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    (finding,) = doctor.onnxruntime_packages()
    assert finding.level is (Level.OK if len(names) == 1 else Level.FAIL)
    for name in names:
        assert f"{name} 1.2.3" in finding.text
    if len(names) > 1:
        assert finding.advice.startswith("pip uninstall onnxruntime onnxruntime-gpu")


def test_a_provider_counts_when_a_model_runs_on_it() -> None:
    assert levels(list(doctor.providers(None)))["provider cpu"] is Level.OK
    found = levels(list(doctor.providers(rig(old='"simulated_animal"', new='"simulated_animal"\nprovider = "cuda"'))))
    assert found["provider cpu"] is Level.OK
    assert found["provider cuda"] is Level.FAIL


def test_what_to_do_about_a_provider_is_said_once(tmp_path: Path) -> None:
    wanted = rig(old='"simulated_animal"', new='"simulated_animal"\nprovider = "cuda"')
    (finding,) = [one for one in doctor.providers(wanted) if one.subject == "provider cuda"]
    assert "pip install 'poseloop[gpu]'" in finding.advice
    assert "pip install" not in finding.text


def test_a_provider_that_is_offered_and_does_not_run_is_no_failure_unless_it_is_wanted(monkeypatch) -> None:
    monkeypatch.setattr(doctor, "available_providers", lambda: ["cuda", "cpu"])
    (cuda, cpu) = doctor.providers(None)
    assert (cuda.level, cpu.level) == (Level.WARN, Level.OK)
    assert "not available" in cuda.text


@pytest.mark.skipif(sys.platform != "linux", reason="looks at Linux's files")
def test_a_slow_adapter_and_slow_cores_are_found(tmp_path: Path) -> None:
    timer = tmp_path / "sys/bus/usb-serial/devices/ttyUSB0/latency_timer"
    governor = tmp_path / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"
    source = tmp_path / "sys/devices/system/clocksource/clocksource0/current_clocksource"
    for file, text in ((timer, "16\n"), (governor, "powersave\n"), (source, "hpet\n")):
        file.parent.mkdir(parents=True)
        file.write_text(text, encoding="ascii")
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "ttyACM0").touch()
    port, adapter = doctor.serial_ports(tmp_path)
    assert port.level is Level.OK
    assert adapter.level is Level.WARN
    assert "16 ms" in adapter.text
    assert str(timer) in adapter.advice
    frequency = list(doctor.processor(tmp_path))[-1]
    assert (frequency.level, "powersave" in frequency.text) == (Level.WARN, True)
    assert doctor.clock(tmp_path).level is Level.WARN
    timer.write_text("1\n", encoding="ascii")
    governor.write_text("performance\n", encoding="ascii")
    source.write_text("tsc\n", encoding="ascii")
    assert {f.level for f in doctor.serial_ports(tmp_path)} == {Level.OK}
    assert levels(list(doctor.processor(tmp_path)))["cpu frequency"] is Level.OK
    assert doctor.clock(tmp_path).level is Level.OK


def test_what_the_rig_asks_for_and_the_system_refuses_is_a_failure(monkeypatch) -> None:
    refusal = (
        "from poseloop.live import realtime; raise realtime._refused('SCHED_FIFO is not permitted', '- rtprio 50')"
    )
    monkeypatch.setattr(doctor, "_TRY", refusal.replace("{", "{{") + " # {}")
    asks = '[realtime]\npriority = "realtime"\n'
    for text, expected in (("", Level.WARN), (asks, Level.FAIL), (asks + 'refused = "warn"\n', Level.WARN)):
        found = {finding.subject: finding for finding in doctor.permissions(rig(text))}
        assert found["priority realtime"].level is expected
        assert found["priority realtime"].text == "SCHED_FIFO is not permitted"
        assert found["priority realtime"].advice.startswith("add the line '<user> - rtprio 50'")
        assert found["priority high"].level is Level.WARN


def test_a_driver_may_add_findings_of_its_own(monkeypatch) -> None:
    class Camera:
        @classmethod
        def discover(cls) -> list[str]:
            return []

        @classmethod
        def check(cls) -> list[Finding]:
            return [Finding("link eth1", Level.WARN, "packets of 1500 bytes", "set the MTU to 9000")]

    monkeypatch.setattr(doctor.plugins, "load", lambda kind, name: Camera)
    assert levels(list(doctor.drivers(None)))["link eth1"] is Level.WARN


def test_a_full_disk_and_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch) -> None:
    class Usage:
        free = 5e8

    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: Usage)
    assert doctor.disk(tmp_path).level is Level.FAIL
    Usage.free = 5e9
    assert doctor.disk(tmp_path).level is Level.WARN
    assert doctor.kernels().level is Level.OK
    monkeypatch.setattr(jit, "cache_folder", lambda: "")
    assert doctor.kernels().level is Level.WARN


def test_lines_fit_a_narrow_terminal() -> None:
    finding = Finding("a subject of 19 chrs", Level.WARN, "many words " * 20, "do this, then that, " * 10)
    assert max(map(len, as_text(finding, 80).splitlines())) <= 80


def test_the_command_tells_reports_and_fails_only_for_what_the_rig_needs(tmp_path: Path) -> None:
    done = poseloop("doctor", "--report", "doctor.json", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    found = {row["subject"]: row for row in json.loads((tmp_path / "doctor.json").read_text())["findings"]}
    assert {"onnxruntime", "provider cpu", "camera sim", "clock", "wake-ups", "kernel cache", "disk"} <= set(found)
    bad = write_rig(tmp_path, text=SIMULATED.replace('"simulated_animal"', '"simulated_animal"\nprovider = "cuda"'))
    done = poseloop("doctor", bad, cwd=tmp_path)
    assert done.returncode == 1
    assert "fail  provider cuda" in done.stdout
    assert "poseloop[gpu]" in done.stdout
