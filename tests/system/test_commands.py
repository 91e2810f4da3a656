"""The commands as a user types them: what works, and one clear error for each thing that cannot."""

import json
import re
import socket
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper
from rigs import SIMULATED, edges, poseloop, processes_in, write_rig

from poseloop.drivers.sim.firmware_process import FirmwareProcess

REPORT_KEYS = {"frames", "cameras", "triggers", "latency_ms", "provider", "versions", "machine"}


def accounted(counts: dict) -> bool:
    return counts["captured"] == counts["processed"] + sum(counts["dropped"].values()) > 0


def test_demo_closes_the_loop_and_shows_it(tmp_path: Path) -> None:
    done = poseloop("demo", "--seconds", 8, "--report", "report.json", "--headless", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert set(report) >= REPORT_KEYS
    assert accounted(report["frames"])
    assert list(report["cameras"]) == ["top", "left", "right"]
    assert all(accounted(counts) for counts in report["cameras"].values())
    assert report["latency_ms"]["triangulate"]["n"] == report["frames"]["processed"]
    assert report["world"]["moved"] == {}
    triggers = report["triggers"]
    assert triggers["sent"] == triggers["acknowledged"] + triggers["refused"] + triggers["lost"]
    # On a machine so busy that most poses come too late, the gates hold the pulses back, as they must.
    assert triggers["acknowledged"] > 0 or 2 * report["poses"]["stale"] > report["poses"]["decided"]
    stages = {"inference", "triangulate", "frame_to_pose", "frame_to_decision"}
    assert {*stages, *(["exposure_to_pin"] if triggers["acknowledged"] else [])} <= set(report["latency_ms"])
    for row in report["latency_ms"].values():
        assert 0 <= row["p50"] <= row["p90"] <= row["p99"] <= row["p999"] <= row["max"]
    assert report["provider"] == "cpu"
    assert "captured" in done.stdout
    middle_mm = float(re.search(r"off by ([\d.]+) mm in the median", done.stdout)[1])
    assert middle_mm < 5
    for name in ("poseloop-demo.mp4", "poseloop-demo.png"):
        assert (tmp_path / name).stat().st_size > 10_000
    assert processes_in(tmp_path) == {}


def test_devices_lists_what_a_rig_can_be_made_of(tmp_path: Path) -> None:
    done = poseloop("devices", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for part in ("sim", "replay", "arduino", "region", "blob", "simulated_animal", "cpu"):
        assert part in done.stdout


def test_help_and_version(tmp_path: Path) -> None:
    for arguments in (["--help"], ["run", "--help"], ["demo", "--help"], ["--version"]):
        done = poseloop(*arguments, cwd=tmp_path)
        assert done.returncode == 0
        assert "poseloop" in done.stdout
    assert poseloop("fly", cwd=tmp_path).returncode == 2


def test_each_pulse_is_an_edge_of_the_pin(tmp_path: Path) -> None:
    done = poseloop("run", write_rig(tmp_path), "--seconds", 8, "--report", "r.json", "--headless", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    triggers = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["triggers"]
    risen = [edge for edge in edges(tmp_path) if edge["active"]]
    assert len(risen) == triggers["acknowledged"] > 0
    assert not edges(tmp_path)[-1]["active"]


def swap(old: str, new: str) -> str:
    assert old in SIMULATED
    return SIMULATED.replace(old, new, 1)


BAD_RIGS = {
    "missing video": (
        swap('use = "sim"\nfps = 60', 'use = "replay"\npath = "absent.mp4"'),
        ["top", "absent.mp4"],
    ),
    "broken video": (swap('use = "sim"\nfps = 60', 'use = "replay"\npath = "broken.mp4"'), ["broken.mp4", "video"]),
    "unknown key": (swap("fps = 60", "fsp = 60"), ["rig.toml", "cameras.top.fsp", "unknown key"]),
    "keypoint that the model lacks": (
        swap('file = "simulated_animal"', 'file = "blob"'),
        ["protocols.task", "snout", "centre"],
    ),
    "model without metadata": (swap('file = "simulated_animal"', 'file = "bare.onnx"'), ["bare.onnx", "metadata"]),
    "model that is none": (swap('file = "simulated_animal"', 'file = "broken.onnx"'), ["broken.onnx"]),
    "missing model": (swap('file = "simulated_animal"', 'file = "absent.onnx"'), ["absent.onnx"]),
    "unknown zoo name": (swap('file = "simulated_animal"', 'file = "zebra"'), ["zebra", "blob"]),
    "unknown provider": (
        swap('file = "simulated_animal"', 'file = "simulated_animal"\nprovider = "npu"'),
        ["model.provider", "npu", "cpu"],
    ),
    "provider not available": (
        swap('file = "simulated_animal"', 'file = "simulated_animal"\nprovider = "cuda"'),
        ["cuda", "not available", "poseloop[gpu]"],
    ),
    "port that does not exist": (
        swap('use = "sim"\nlease_ms = 100\ntrace = "edges.jsonl"', 'use = "arduino"\nport = "/dev/absent"'),
        ["box", "/dev/absent"],
    ),
    "board of another protocol version": (
        swap(
            'use = "sim"\nlease_ms = 100\ntrace = "edges.jsonl"',
            'use = "arduino"\nport = "socket://127.0.0.1:{board}"',
        ),
        ["box", "99", "firmware"],
    ),
    "pulse longer than the line allows": (
        SIMULATED.replace("max_on_ms = 60000", "max_on_ms = 5"),
        ["protocols.task", "box.laser would refuse 20 ms", "max_on_ms is 5"],
    ),
    "kind that the line does not obey": (
        SIMULATED.replace('kinds = ["pulse", "level"]', 'kinds = ["level"]'),
        ["protocols.task", "box.laser would refuse a pulse", "its kinds are level"],
    ),
    "address in use": (swap('health = "tcp://127.0.0.1:*"', 'health = "tcp://127.0.0.1:{taken}"'), ["publish.health"]),
}


@pytest.mark.parametrize("name", BAD_RIGS)
def test_bad_input_is_one_clear_error_and_nothing_runs(name: str, tmp_path: Path) -> None:
    text, expected = BAD_RIGS[name]
    (tmp_path / "broken.mp4").write_text("this is no video", encoding="utf-8")
    (tmp_path / "broken.onnx").write_text("this is no model", encoding="utf-8")
    shape = ["b", "h", "w", 1]
    value = [helper.make_tensor_value_info(name, TensorProto.UINT8, shape) for name in ("image", "out")]
    graph = helper.make_graph([helper.make_node("Identity", ["image"], ["out"])], "bare", value[:1], value[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "bare.onnx")
    board = FirmwareProcess("box", "--protocol-version", "99", "--stay")
    with socket.create_server(("127.0.0.1", 0)) as taken, board:
        text = text.replace("{taken}", str(taken.getsockname()[1])).replace("{board}", board.start())
        rig = write_rig(tmp_path, text=text)
        done = poseloop("run", rig, "--seconds", 5, "--headless", cwd=tmp_path)
        debug = poseloop("run", rig, "--seconds", 5, "--headless", "--debug", cwd=tmp_path)
    assert "Traceback" in debug.stderr
    assert done.returncode == 1
    assert done.stderr.count("poseloop: error:") == 1
    assert "Traceback" not in done.stderr
    for part in expected:
        assert part in done.stderr
    assert edges(tmp_path) == []
    assert processes_in(tmp_path) == {}


@pytest.mark.parametrize("target", ["absent/report.json", "."])
def test_a_report_that_cannot_be_written_is_an_error_before_the_session(target: str, tmp_path: Path) -> None:
    rig = write_rig(tmp_path)
    done = poseloop("run", rig, "--headless", "--report", target, cwd=tmp_path)
    assert done.returncode == 1
    assert f"error: {target}" in done.stderr
    assert edges(tmp_path) == []


@pytest.mark.parametrize("arguments", [["--seconds", "nan"], ["--seconds", "0"], ["--seconds", "1m"], ["--clip", "c"]])
def test_wrong_arguments_are_explained(arguments: list[str], tmp_path: Path) -> None:
    done = poseloop("demo", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert f"but got '{arguments[1]}'" in done.stderr


def test_a_reader_that_wants_no_more_is_no_fault(tmp_path: Path) -> None:
    command = f"{sys.executable} -m poseloop.live.cli devices | head -1"
    done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stderr == ""


def test_a_protocol_that_fails_ends_in_a_failing_exit_code(tmp_path: Path) -> None:
    rig = write_rig(tmp_path, '\nuse = "fails.py:Fails"\n')
    (tmp_path / "fails.py").write_text(
        "from poseloop.protocols import Protocol\n\n\nclass Fails(Protocol):\n    outputs = ('box.laser',)\n\n"
        "    def decide(self, pose, events):\n        print('a protocol may print')\n        return 1 / 0\n",
        encoding="utf-8",
    )
    done = poseloop("run", rig, "--seconds", 1, "--report", "r.json", cwd=tmp_path)
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
    report = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert report["protocols"] == {"task": "ZeroDivisionError: division by zero (fails.py, line 9)"}
    assert "a protocol may print" in done.stderr
    assert accounted(report["frames"])
