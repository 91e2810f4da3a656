"""The whole loop: from the edge that triggers the cameras to the edge at the laser, both by the board's own clock.

``python -m poseloop.bench.closedloop RIG.toml --report FILE.json``, on a rig whose board triggers the cameras
(``camera_trigger``) and has the laser, too; or, without a rig file, in simulation, from a checkout of the repository.

In simulation everything between the two edges is what runs on a rig: the firmware that a lab flashes, cycle by cycle in
an emulated ATmega328P (simavr), makes the camera triggers; each edge triggers two Basler cameras that pylon emulates;
their pictures show the simulated animal, or are those of ``--pictures``; engine and host are processes of their own;
the command goes to the same chip at 1 Mbaud. The chip's trace, in CPU cycles, is compared with what the board reported.

The chip's clock is paced to the computer's in steps of 0.1 ms, and so are its bytes. Where the computer is too busy to
keep that pace, the chip falls behind and catches up, or, 20 ms late, never does: then a time in cycles is shorter than
what a clock on the wall would show. Both are printed, and ``pace`` says how far they went apart.

What Poseloop adds to one way from edge to edge is (pin - triggered) - (arrived - triggered) - (infer_end - infer_start)
- the command's bytes at the baud rate: all but exposure, camera, network and cable.
"""

from __future__ import annotations

import argparse
import importlib
import math
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import serial

from poseloop.bench import wired
from poseloop.bench.options import make_parser, save
from poseloop.drivers.arduino.board import ArduinoBoard
from poseloop.drivers.arduino.framing import Decoder, encode
from poseloop.drivers.arduino.tables import BAUD, LAYOUTS, PROTOCOL_VERSION, ToBoard, ToHost
from poseloop.drivers.sim import projects
from poseloop.drivers.sim.camera import SimulatedCamera
from poseloop.drivers.sim.world import KEYPOINTS
from poseloop.live.clock import now_ns
from poseloop.live.config import read_text
from poseloop.live.errors import PoseloopError
from poseloop.live.interfaces import Pingable
from poseloop.live.process import Message
from poseloop.live.supervisor import Stop, Supervisor
from poseloop.live.types import Command, CommandKind, LineSettings, PinEdge

__all__ = ["ADDED", "Scene", "added_ns", "main", "measure_decision", "measure_rig", "measure_simulated", "paint_animal"]

CAMERA_PIN, LASER_PIN = 4, 9
CYCLES_PER_US = 16
_CYCLE_NS = 1e9 / 16e6

_SHARED = """
name = "closedloop"
{cameras}
[sync]
trigger = "hardware"
wait_ms = 200
tolerance_ms = {tolerance_ms}
[model]
file = "{model}"
[gates]
age_ms = 1000          # the computer emulates camera, chip and animal, too
skew_ms = 1000
missing = {missing}
[publish]
poses = "tcp://127.0.0.1:*"
health = "tcp://127.0.0.1:*"
previews = "tcp://127.0.0.1:*"
[boards.box]
use = "arduino"
port = "{port}"
lease_ms = 2000
rearm_after_ms = 0
[boards.box.camera_trigger]
pin = {camera_pin}
fps = {fps}
[boards.box.lines.laser]
pin = {laser_pin}
max_on_ms = 100
[protocols.loop]
use = "region"
keypoint = "{keypoint}"
circle = {circle}
hysteresis = 4
output = "box.laser"
pulse_ms = 5
"""

_CAMERA = """
[cameras.camera{number}]
use = "{use}"
serial = "0815-{number:04}"
wire = {wire}
pictures = '{pictures}'
pixel_format = "{pixels}"
width = {width}
height = {height}
exposure_us = 200
"""

PARTS: Mapping[str, tuple[str, str]] = {
    "camera edge to middle of the exposure": ("triggered_ns", "exposed_ns"),
    "to the last frame in memory": ("exposed_ns", "arrived_ns"),
    "to the set complete": ("arrived_ns", "complete_ns"),
    "to the start of inference": ("complete_ns", "infer_start_ns"),
    "inference": ("infer_start_ns", "infer_end_ns"),
    "to the pose published": ("infer_end_ns", "published_ns"),
    "to the pose received": ("published_ns", "received_ns"),
    "to the decision": ("received_ns", "decided_ns"),
    "to the command written": ("decided_ns", "written_ns"),
    "to the laser edge": ("written_ns", "pin_ns"),
}
"""Part of the way → the two times of a `poseloop.live.types.Trace` between which it lies, in order, without a gap."""

WHOLE = "camera edge to laser edge, the board's clock"
ADDED = "of it, added: less camera, inference and bytes"


class Scene:
    """What the simulated cameras show, and when the laser is right."""

    def __init__(
        self,
        pictures: Path,
        circle: tuple[float, float, float],
        model: str = "simulated_animal",
        keypoint: str = "snout",
        cameras: int = 2,
        fps: float = 50.0,
    ) -> None:
        """Look at the first picture for size and colour.

        Args:
            pictures: folder of pictures of one size; all cameras show the same.
            circle: x, y and radius of the region at whose entering the laser fires, px.
            model: a name of the zoo or an .onnx file.
            keypoint: what has to enter.
            cameras: how many.
            fps: camera triggers a second.

        Raises:
            PoseloopError: there is no picture.
        """
        first = next((file for file in sorted(pictures.iterdir()) if file.is_file()), None)
        image = None if first is None else cv2.imread(str(first), cv2.IMREAD_UNCHANGED)
        if image is None:
            raise PoseloopError(f"{pictures}: expected a folder of pictures, but found {first or 'none'}")
        self.pictures, self.circle, self.model, self.keypoint = pictures, circle, model, keypoint
        self.cameras, self.fps = cameras, fps
        self.height, self.width = image.shape[:2]
        self.pixels = "Mono8" if image.ndim == 2 else "RGB8"

    def rig(self, port: str, wires: Sequence[int]) -> str:
        """The rig file, for the chip at ``port`` whose wires end at these UDP ports."""
        look = {"pictures": self.pictures, "pixels": self.pixels, "width": self.width, "height": self.height}
        use = f"{Path(wired.__file__).as_posix()}:WiredCamera"
        cameras = "".join(
            _CAMERA.format(number=number, use=use, wire=wire, **look) for number, wire in enumerate(wires)
        )
        # Emulated cameras expose when their thread gets the computer's time, which may be late; the others wait for it.
        names = {
            "camera_pin": CAMERA_PIN,
            "laser_pin": LASER_PIN,
            "model": self.model,
            "keypoint": self.keypoint,
            "missing": self.cameras - 1,
            "tolerance_ms": round(800 / self.fps, 1),
        }
        return _SHARED.format(cameras=cameras, port=port, fps=self.fps, circle=list(self.circle), **names)


def paint_animal(folder: Path, count: int = 200, steps_a_s: float = 15.0) -> npt.NDArray[np.float64]:
    """Paint the simulated animal into ``folder``; returns where its snout truly is in each picture, (count, 2) px.

    Args:
        folder: an empty one.
        count: pictures.
        steps_a_s: pictures in a second of the animal's life; at 50 triggers a second 15 make it 3.3 times as quick.
    """
    snout = []
    settings = SimulatedCamera.Settings(fps=steps_a_s, frames=count, pace="none")
    for number, (image, points) in enumerate(projects.animal(settings)):
        cv2.imwrite(str(folder / f"{number:05}.bmp"), image[..., ::-1])
        snout.append(points[KEYPOINTS.index("snout")])
    return np.array(snout)


def measure_rig(text: str, file: Path, seconds: float) -> dict[str, Any]:
    """Run a rig whose board triggers the cameras; returns its report, and each stimulus' way from edge to edge.

    Raises:
        PoseloopError: the rig failed.
    """
    told: list[Message] = []

    def hear(process: str, message: Message) -> None:
        if message["event"] == "trigger" and message["outcome"] == "acknowledged":
            told.append(message)

    supervisor = Supervisor(text, file, hear)
    if not any(board.camera_trigger for board in supervisor.rig.boards.values()):
        raise PoseloopError(f"{file}: expected a board with a camera_trigger table (docs/wiring.md), but found none")
    report = supervisor.run(seconds, Stop())
    if supervisor.error is not None:
        raise supervisor.error
    boards = {name: table.build(name) for name, table in supervisor.rig.boards.items()}
    wires = {name: board.command_us if isinstance(board, Pingable) else 0.0 for name, board in boards.items()}
    triggers = [_way(message, wires[message["command"]["device"]]) for message in told]
    whole = [trigger for trigger in triggers if trigger["triggered_ns"]]
    return {
        "report": report,
        "pins_known": sum(bool(trigger["pin_ns"]) for trigger in triggers),
        "camera_edges_known": len(whole),
        "latency_ms": {
            **_parts(whole),
            WHOLE: _summary([trigger["pin_ns"] - trigger["triggered_ns"] for trigger in whole]),
        },
        "traces": whole,
    }


def _parts(ways: Sequence[Mapping[str, int]]) -> dict[str, dict[str, float]]:
    parts = {part: _summary([way[end] - way[begin] for way in ways]) for part, (begin, end) in PARTS.items()}
    return {**parts, ADDED: _summary([added_ns(way) for way in ways])}


def added_ns(way: Mapping[str, int]) -> int:
    """What Poseloop adds to one way from edge to edge.

    Not its own are the exposure and what camera and driver take until the last frame is in memory
    (``triggered_ns`` to ``arrived_ns``), the network (``infer_start_ns`` to ``infer_end_ns``), and the command's bytes
    at the baud rate (``wire_ns``). The copy into the slot is counted as the camera's: 8 us for 640 x 480.
    """
    whole = way["pin_ns"] - way["triggered_ns"]
    camera = way["arrived_ns"] - way["triggered_ns"]
    return whole - camera - (way["infer_end_ns"] - way["infer_start_ns"]) - way["wire_ns"]


def _way(message: Message, wire_us: float) -> dict[str, int]:
    trace: dict[str, int] = message["trace"]
    delay_ns = message["command"]["delay_us"] * 1000
    pin_ns = trace["pin_ns"] - delay_ns if trace["pin_ns"] else 0
    return {"index": message["index"], **trace, "pin_ns": pin_ns, "wire_ns": round(wire_us * 1000)}


def _summary(latencies_ns: Sequence[float]) -> dict[str, float]:
    if not latencies_ns:
        return {"n": 0}
    values = np.array(latencies_ns) / 1e6
    shares = {"p50": 50, "p90": 90, "p99": 99, "max": 100}
    return {"n": len(values), **{name: round(float(np.percentile(values, at)), 4) for name, at in shares.items()}}


def emulator() -> Any:
    """The tools that build the firmware and run it, of the tests.

    Raises:
        PoseloopError: this is no checkout of the repository, or compiler or emulator are not installed.
    """
    tests = Path(__file__).resolve().parents[1] / "tests"
    if not (tests / "simavr").is_dir():
        raise PoseloopError(
            "expected a checkout of the repository, whose tests/simavr runs the emulated chip; or give a rig"
        )
    if str(tests) not in sys.path:
        sys.path.insert(0, str(tests))
    found = importlib.import_module("simavr.emulator")
    if why := found.missing():
        raise PoseloopError(why)
    return found


def _trace(file: Path) -> Any:
    return importlib.import_module("simavr.trace").Trace(file).read()


def measure_simulated(scene: Scene, folder: Path, seconds: float) -> dict[str, Any]:
    """Run the loop in simulation, and compare what the board has reported with what its pins did.

    Args:
        scene: what cameras show.
        folder: for rig file and trace.
        seconds: how long, from the first pose on.
    """
    chip = emulator()
    # Read by pylon when it is loaded, in the engine's process.
    os.environ["PYLON_CAMEMU"] = str(max(scene.cameras, int(os.environ.get("PYLON_CAMEMU", "0"))))
    ports = [wired.free_port() for _ in range(scene.cameras)]
    wires = [word for port in ports for word in ("--wire", f"{CAMERA_PIN}:{port}")]
    with chip.on_terminal(folder / "trace.jsonl", *wires) as port:
        text, file = scene.rig(port, ports), folder / "rig.toml"
        file.write_text(text, encoding="utf-8")
        result = measure_rig(text, file, seconds)
    trace = _trace(folder / "trace.jsonl")
    cameras, lasers = trace.rises(CAMERA_PIN), trace.rises(LASER_PIN)
    pulses = [order for order in trace.orders if order.kind == ToBoard.PULSE]
    in_cycles, on_the_wall, in_firmware, error_us = [], [], [], []
    seen = []
    for way in result["traces"]:
        camera = cameras[way["index"]]
        claimed = camera.cycle + (way["pin_ns"] - way["triggered_ns"]) / 1000 * CYCLES_PER_US
        laser = min(lasers, key=lambda edge: abs(edge.cycle - claimed))
        arrived = max((order for order in pulses if order.cycle <= laser.cycle), key=lambda order: order.cycle)
        error_us.append((laser.cycle - claimed) / CYCLES_PER_US)
        in_cycles.append((laser.cycle - camera.cycle) * _CYCLE_NS)
        on_the_wall.append(laser.host_ns - camera.host_ns)
        seen.append({**way, "triggered_ns": camera.host_ns, "pin_ns": laser.host_ns})
        in_firmware.append((laser.cycle - arrived.cycle) * _CYCLE_NS)
    # When the emulator made the edges is known: better than to map a clock that runs as fast as the computer lets it.
    result["latency_ms"] |= {
        **_parts(seen),
        "the same, the chip's cycles": _summary(in_cycles),
        "the same, the wall's clock": _summary(on_the_wall),
        "of it, last byte at the chip to laser edge, cycles": _summary(in_firmware),
    }
    return {
        **result,
        "laser_edges": len(lasers),
        "report_error_us": round(max(map(abs, error_us), default=math.nan), 1),
        "pace": pace(trace),
    }


def pace(trace: Any) -> dict[str, float]:
    """How far the chip's clock and the wall's went apart: ms that it lost for good, and its scatter about that.

    Only while something happened at its pins or its port.
    """
    cycles, host_ns = np.array(trace.clock, np.float64).T
    behind_ms = (host_ns - host_ns[0] - (cycles - cycles[0]) * _CYCLE_NS) / 1e6
    lost_ms = np.minimum.accumulate(behind_ms[::-1])[::-1]
    scatter = behind_ms - lost_ms
    return {
        "lost_ms": round(float(lost_ms[-1] - lost_ms[0]), 3),
        "behind_p50_ms": round(float(np.percentile(scatter, 50)), 3),
        "behind_p99_ms": round(float(np.percentile(scatter, 99)), 3),
    }


def measure_decision(folder: Path, count: int) -> dict[str, Any]:
    """From a decision to the pin, ms: through the board's driver, beside bare serial round trips, in one run.

    Args:
        folder: for the trace.
        count: pulses, and round trips.
    """
    chip = emulator()
    file = folder / "decision.jsonl"
    with chip.on_terminal(file) as port:
        bare = _round_trips(port, count // 2)
        board = ArduinoBoard("box", ArduinoBoard.Settings(port=port))
        board.open()
        try:
            line = LineSettings("laser", LASER_PIN, kinds=(CommandKind.PULSE,), max_on_us=10_000)
            board.configure([line], 5000)
            board.arm()
            decided_ns = [_pulse(board) for _ in range(count)]
        finally:
            board.close()
        bare += _round_trips(port, count - count // 2)
    rises = _trace(file).rises(LASER_PIN)
    if len(rises) != count:
        raise PoseloopError(f"expected {count} pulses at the pin, but found {len(rises)}")
    to_pin = [rise.host_ns - at for rise, at in zip(rises, decided_ns, strict=True)]
    return {"decision_to_pin": _summary(to_pin), "bare_round_trip": _summary(bare)}


def _pulse(board: ArduinoBoard) -> int:
    """Decide on a short pulse and wait for its end; returns when it was decided."""
    board.renew()
    decided_ns = now_ns()
    ticket = board.send(Command("box", "laser", CommandKind.PULSE, on_us=500))
    ends_ns = decided_ns + 2_000_000_000
    while now_ns() < ends_ns:
        for event in board.events():
            if isinstance(event, PinEdge) and event.ticket == ticket and not event.value:
                return decided_ns
        time.sleep(0.0005)
    raise PoseloopError("the board did not tell of the end of a pulse within 2 s")


def _round_trips(port: str, count: int) -> list[int]:
    """Ask for the time and wait for the answer, with pyserial and nothing else; ns each."""
    found = []
    with serial.Serial(port, BAUD, timeout=2.0) as line:
        _ask(line, encode(ToBoard.HELLO, 1, LAYOUTS[ToBoard.HELLO].pack(PROTOCOL_VERSION)), ToHost.BOOT)
        for number in range(count):
            frame = encode(ToBoard.PING, number % 60_000 + 2, b"")
            began = now_ns()
            _ask(line, frame, ToHost.PONG)
            found.append(now_ns() - began)
    return found


def _ask(line: serial.Serial, frame: bytes, answer: ToHost) -> None:
    line.write(frame)
    decoder = Decoder()
    while True:
        heard = line.read(max(1, line.in_waiting))
        if not heard:
            raise PoseloopError("the board did not answer within 2 s")
        if any(kind == answer for kind, _, _ in decoder.feed(heard)):
            return


def _table(title: str, rows: Mapping[str, Mapping[str, float]]) -> None:
    print(f"\n{title:<52}{'n':>6}{'p50':>10}{'p90':>10}{'p99':>10}{'max':>10}")
    for name, row in rows.items():
        print(
            f"  {name:<50}{row['n']:>6}"
            + "".join(f"{row[at]:>10.3f}" for at in ("p50", "p90", "p99", "max") if at in row)
        )


def main() -> int:
    """Measure, print the tables, write JSON."""
    parser = make_parser(__doc__)
    parser.add_argument("rig", nargs="?", type=Path, help="a rig file; in simulation if it is not given")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--pulses", type=int, default=1000, help="in simulation, for the time from decision to pin")
    parser.add_argument("--fps", type=float, default=50.0, help="in simulation: camera triggers a second")
    parser.add_argument("--cameras", type=int, default=2, help="in simulation")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="show these instead of the simulated animal")
    parser.add_argument("--model", default="simulated_animal", help="that finds the keypoint in them")
    parser.add_argument("--keypoint", default="snout")
    parser.add_argument("--circle", type=float, nargs=3, default=(160.0, 120.0, 40.0), metavar=("X", "Y", "RADIUS"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            result = _measure(arguments, folder)
        except PoseloopError as error:
            print(error, file=sys.stderr)
            return 1
    latencies = result["latency_ms"]
    _table("camera edge to laser edge, ms", {part: row for part, row in latencies.items() if row["n"]})
    known, sent = result["camera_edges_known"], result["report"]["triggers"]["acknowledged"]
    print(f"\n{sent} triggers; camera edge and laser edge known for {known}, by the board's own clock")
    if "pace" in result:
        print(f"{result['laser_edges']} laser edges at the chip; the board's reports are wrong by", end=" ")
        print(f"{result['report_error_us']} us at most")
        print(f"the chip's clock: {result['pace']}")
        _table("decision to pin, 1 Mbaud, ms", result["decision_ms"])
    save(result, arguments.report)
    return 0


def _measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    if arguments.rig is not None:
        return measure_rig(read_text(arguments.rig), arguments.rig, arguments.seconds)
    pictures = arguments.pictures
    if pictures is None:
        pictures = folder / "pictures"
        pictures.mkdir()
        paint_animal(pictures)
    scene = Scene(
        pictures.absolute(),
        tuple(arguments.circle),
        arguments.model,
        arguments.keypoint,
        arguments.cameras,
        arguments.fps,
    )
    result = measure_simulated(scene, folder, arguments.seconds)
    return {**result, "decision_ms": measure_decision(folder, arguments.pulses)}


if __name__ == "__main__":
    sys.exit(main())
