"""What protocols cost and how well they hit: time to decide, and misses and extras against noise and latency.

``python -m poseloop.bench.protocols --report FILE.json``

Three tables. The first times every shipped protocol on poses of a running animal, and the whole host around it. The
second is from a pose received over ZeroMQ to a command written with pyserial, for a protocol that always acts: the host
with the Arduino's driver beside a bare loop that receives, compares one number and writes, in turn, in one run. Each
writes to a pseudo-terminal of its own, with the simulated firmware at the other end, a process of its own (POSIX only).
The third rehearses on simulated behaviour whose right moments are known exactly: pixel noise is added to the points,
and latency to the moment at which a trigger takes effect. A trigger is right within 50 ms of its moment.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import numpy.typing as npt
import serial
import zmq

from poseloop.bench.options import make_parser, save
from poseloop.drivers.arduino.board import ArduinoBoard
from poseloop.drivers.arduino.tables import BAUD
from poseloop.drivers.sim.firmware_process import FirmwareProcess
from poseloop.live import config, plugins
from poseloop.live.config import Rig, build_rig
from poseloop.live.output.publish import Publisher, Subscriber
from poseloop.live.output.wire import POSE, Header, Wire, unpack_pose
from poseloop.live.types import Command, InputEvent, Outcome, OutcomeKind, Pose
from poseloop.protocols import Rehearsal, Triggered
from poseloop.protocols.commands.compare import score
from poseloop.protocols.host import Host

__all__ = ["Scene", "hits", "main", "measure_costs", "measure_hits", "measure_written", "rehearse", "scenes"]

FPS = 100
SECONDS = 60
TOLERANCE_S = 0.05
NOISE_PX = (0.0, 0.5, 1.0, 2.0, 4.0)
LATENCY_MS = (0, 20, 40, 80)
_WARM_UP = 100
_PAUSE_S = 0.005
"""From a decision to when the host looks at its boards, if no pose comes."""
_COMMAND = bytes(16)
"""As long as a pulse is on the wire to an Arduino."""
_OUTPUT = "box.laser"

_Float64 = npt.NDArray[np.float64]
_Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Scene:
    """Behaviour of which the right moments are known."""

    protocol: str
    settings: Mapping[str, Any]
    tracks: Mapping[str, _Float64]
    """Keypoint → (N, 2) px."""
    truth_s: Sequence[float]


def _begins(holds: _Bool) -> list[float]:
    return [float(frame) / FPS for frame in np.flatnonzero(holds[1:] & ~holds[:-1]) + 1]


def scenes(names: Sequence[str] = ()) -> Sequence[Scene]:
    """One for every protocol that looks at points, or for these; all settings are those of the docs' table."""
    return [scene for scene in _scenes() if not names or scene.protocol in names]


def _scenes() -> Sequence[Scene]:
    t = np.arange(SECONDS * FPS) / FPS
    run = np.stack([320 + 200 * np.cos(1.1 * t), 240 + 150 * np.sin(1.7 * t)], axis=1)
    distance = np.hypot(*(run - [440, 330]).T)
    bouts = np.where(t % 3 < 1.5, 20.0, 320.0)
    way = np.cumsum(bouts) / FPS / 200
    in_bouts = np.stack([320 + 200 * np.cos(way), 240 + 200 * np.sin(way)], axis=1)
    bent = 150 + 30 * np.sin(5 * t)
    knee = run + np.array([40, 0])
    foot = knee + 40 * np.stack([-np.cos(np.radians(bent)), np.sin(np.radians(bent))], axis=1)
    axis = 1.3 * t
    head = run + 40 * np.stack([np.cos(axis), np.sin(axis)], axis=1)
    off = np.abs(np.angle(np.exp(1j * axis)))
    hz = 4.0
    paw = run + np.stack([15 * np.sin(math.tau * hz * t), 0 * t], axis=1)
    left, right = np.hypot(*(run - [130, 240]).T) < 60, np.hypot(*(run - [510, 240]).T) < 60
    region = {"keypoint": "snout", "hysteresis": 6}
    step = {"use": "region", "keypoint": "snout", "hysteresis": 6}
    sequence = [{"condition": {**step, "circle": [130, 240, 60]}}, {"condition": {**step, "circle": [510, 240, 60]}}]
    cycles = np.arange(3.0 * hz, SECONDS * hz) / hz + 0.25 / hz
    return [
        Scene("region", {**region, "circle": [440, 330, 60]}, {"snout": run}, _begins(distance <= 60)),
        Scene(
            "speed",
            {"keypoint": "snout", "above": 170, "hysteresis": 60, "window_ms": 50},
            {"snout": in_bouts},
            np.arange(1.5, SECONDS, 3).tolist(),
        ),
        Scene(
            "posture",
            {"measure": "angle", "keypoints": ["hip", "knee", "foot"], "below": 135, "hysteresis": 6},
            {"hip": run, "knee": knee, "foot": foot},
            _begins(bent < 135),
        ),
        Scene(
            "heading",
            {"tail": "tail", "head": "head", "direction_deg": 0, "within_deg": 20, "hysteresis_deg": 8},
            {"tail": run, "head": head},
            _begins(off <= math.radians(20)),
        ),
        Scene(
            "phase",
            {"keypoint": "paw", "relative_to": "hip", "phase_deg": 90, "least_range": 20},
            {"paw": paw, "hip": run},
            cycles.tolist(),
        ),
        Scene("sequence", {"steps": sequence}, {"snout": run}, _second_after_first(left, right)),
    ]


def _second_after_first(first: _Bool, second: _Bool) -> list[float]:
    """Times at which ``second`` begins, each the first one after ``first`` held."""
    times, seen = [], False
    for i in range(1, len(first)):
        seen = seen or bool(first[i - 1])
        if seen and second[i]:
            times.append(i / FPS)
            seen = False
    return times


def rehearse(scene: Scene, noise_px: float, seed: int = 0) -> list[float]:
    """When the protocol acts on the scene without any latency, s; the noise is drawn with the seed."""
    random = np.random.default_rng(seed)
    task = Rehearsal(
        plugins.load("protocol", scene.protocol), fps=FPS, seed=seed, output=_OUTPUT, **dict(scene.settings)
    )
    noisy = {name: track + random.normal(0, 1, track.shape) * noise_px for name, track in scene.tracks.items()}
    return [index / FPS + command.delay_us / 1e6 for index, command in task.run(noisy)]


def hits(scene: Scene, acts_s: Sequence[float], latency_ms: float) -> dict[str, int]:
    """Moments, and what became of them, when every act comes later by the latency."""
    late_s = [at + latency_ms / 1e3 for at in acts_s]
    # What cannot be known yet is nobody's fault: the phase needs its range and a few cycles first.
    first = scene.truth_s[0] - TOLERANCE_S
    result = score([at for at in late_s if at >= first], scene.truth_s, TOLERANCE_S, late_s=1.0)
    return {
        "moments": len(scene.truth_s),
        "late": len(result.late),
        "missed": len(result.missed),
        "extra": len(result.extra),
    }


def measure_hits(scene: Scene, noise_px: float, latency_ms: float, seed: int = 0) -> dict[str, int]:
    """Moments, and what became of them, for one scene."""
    return hits(scene, rehearse(scene, noise_px, seed), latency_ms)


class _Always(Triggered):
    """Acts at every pose, if the first keypoint is seen to the right of 0."""

    def occasion(self, pose: Pose, events: Sequence[InputEvent]) -> bool:
        """Always, in this benchmark."""
        return bool(self.point(pose, "snout")[0] > 0)


class _Null:
    """A board driver that answers at once."""

    def __init__(self, name: str, settings: Any) -> None:
        self.name = name
        self._answers: list[Outcome] = []
        self._tickets = 0

    def send(self, command: Command) -> int:
        self._tickets += 1
        self._answers.append(Outcome(self.name, self._tickets, OutcomeKind.ACKNOWLEDGED, "", 1, 2))
        return self._tickets

    def events(self) -> Sequence[InputEvent | Outcome]:
        answers, self._answers = self._answers, []
        return answers

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments: None


def _rig(protocols: Mapping[str, Any], board: Any = _Null, port: str = "") -> Rig:
    raw: dict[str, Any] = {
        "cameras": {"camera": {"use": "none"}},
        "model": {"file": "none"},
        "gates": {"age_ms": 10_000},
        "boards": {"box": {"use": "none", "lease_ms": 10_000, "lines": {"laser": {"pin": 9, "max_on_ms": 100}}}},
        "protocols": protocols,
    }
    rig = build_rig(raw, Path("bench.toml"), ("protocols",))
    update = {"plugin": board, "options": ArduinoBoard.Settings(port=port) if port else None}
    boards = {name: table.model_copy(update=update) for name, table in rig.boards.items()}
    return rig.model_copy(update={"boards": boards})


def measure_costs(scene: Scene, poses: int) -> dict[str, float]:
    """Median and 99 % of ``decide``, and of the host around it less a bare loop, in ms."""
    protocol = plugins.load("protocol", scene.protocol)
    task = Rehearsal(protocol, fps=FPS, output=_OUTPUT, **dict(scene.settings))
    names = list(scene.tracks)
    host = Host(_rig({"task": {"use": scene.protocol, "output": _OUTPUT, **scene.settings}}))
    host.open()
    host.bind(Header("bench", "none", ("camera",), task.keypoints, (), 0.5))
    wire, decide, whole, bare = Wire(), [], [], []
    for i in range(poses):
        points = {name: scene.tracks[name][i] for name in names}
        task.now_ns = time.perf_counter_ns()
        body = wire.pose(task.pose(points))
        began = time.perf_counter_ns()
        pose = unpack_pose(body, began)
        bool(pose.keypoints.xy[0, 0, 0, 0] > 100)  # the least that can be decided
        bare.append(time.perf_counter_ns() - began)
        began = time.perf_counter_ns()
        task.protocol.decide(pose, ())
        decide.append(time.perf_counter_ns() - began)
        began = time.perf_counter_ns()
        host.decide(unpack_pose(body, began))
        whole.append(time.perf_counter_ns() - began)
    host.close()
    figures = {"decide": np.array(decide), "host_added": np.array(whole) - np.array(bare)}
    return {
        f"{name}_{label}": round(float(np.percentile(values / 1e6, share)), 4)
        for name, values in figures.items()
        for label, share in (("p50", 50), ("p99", 99))
    }


def measure_written(poses: int) -> dict[str, float]:
    """From a pose received to a command written, ms: host, bare loop, and the difference of their medians."""
    with FirmwareProcess("host's", "--pty") as hosts, FirmwareProcess("bare", "--pty") as bare:
        return _written(poses, hosts.start(), bare.start())


def _written(poses: int, port: str, bare_port: str) -> dict[str, float]:
    use = {"use": "region", "keypoint": "snout", "circle": [0, 0, 1], "output": _OUTPUT}
    rig = _rig({"task": use}, ArduinoBoard, port)
    options = config.validate(_Always.Settings, {"output": _OUTPUT, "pulse_ms": 0.1}, Path())
    tables = {"task": rig.protocols["task"].model_copy(update={"plugin": _Always, "options": options})}
    traces: list[dict[str, int]] = []

    def hear(event: str, **values: Any) -> None:
        if event == "trigger":
            traces.append(values["trace"])

    host = Host(rig.model_copy(update={"protocols": tables}), hear)
    header = Header("bench", "none", ("camera",), ("snout",), (), 0.5)
    free = "tcp://127.0.0.1:*"
    publisher = Publisher(config.Publish(poses=free, health=free, previews=free), header)
    maker = Rehearsal(_Always, model=["snout"], output=_OUTPUT)
    bare_ns: list[int] = []
    publisher.open()
    bare_context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with (
        serial.Serial(bare_port, BAUD) as line,
        Subscriber(publisher.endpoints["poses"]) as poses_in,
        bare_context.socket(zmq.SUB) as bare,
    ):
        bare.setsockopt(zmq.SUBSCRIBE, POSE)
        bare.connect(publisher.endpoints["poses"])
        time.sleep(0.3)
        publisher.send_header()
        host.open()
        host.bind(poses_in.header)
        for _ in range(poses + _WARM_UP):
            maker.now_ns = time.perf_counter_ns()
            publisher.send_pose(maker.pose({"snout": (100, 100)}))
            bare.poll(1000)
            _, body = bare.recv_multipart()
            began = time.perf_counter_ns()
            message = msgpack.unpackb(body)
            if np.frombuffer(message["xy"], np.float32)[0] > 0:
                line.write(_COMMAND)
            bare_ns.append(time.perf_counter_ns() - began)
            poses_in.poll(1)
            pose, _ = poses_in.newest()
            assert pose is not None
            host.decide(pose)
            # As in the host's loop, where it hears the board's answers while it waits for the next pose.
            time.sleep(_PAUSE_S)
            host.collect()
        host.settle(1.0)
    host.close()
    publisher.close()
    bare_context.destroy(linger=0)
    host_ns = [trace["written_ns"] - trace["received_ns"] for trace in traces if trace["written_ns"]]
    times = {"host": host_ns[_WARM_UP:], "bare": bare_ns[_WARM_UP:]}
    medians = {name: float(np.median(values)) / 1e6 for name, values in times.items()}
    tails = {f"{name}_p99": float(np.percentile(values, 99)) / 1e6 for name, values in times.items()}
    found = {**medians, **tails, "added": medians["host"] - medians["bare"]}
    return {name: round(value, 4) for name, value in found.items()}


def main() -> int:
    """Measure, print the tables, write JSON."""
    parser = make_parser(__doc__)
    parser.add_argument("--poses", type=int, default=3000, help="for the times")
    parser.add_argument("--protocols", nargs="+", metavar="NAME", default=[], help="only these")
    arguments = parser.parse_args()
    shown = scenes(arguments.protocols)
    result: dict[str, Any] = {"fps": FPS, "seconds": SECONDS, "tolerance_s": TOLERANCE_S, "cost_ms": {}, "hits": {}}
    print(f"ms{'decide p50':>22}{'p99':>10}{'host adds p50':>16}{'p99':>10}")
    for scene in shown:
        cost = measure_costs(scene, min(arguments.poses, SECONDS * FPS))
        result["cost_ms"][scene.protocol] = cost
        print(f"  {scene.protocol:<12}{cost['decide_p50']:>10.3f}{cost['decide_p99']:>10.3f}", end="")
        print(f"{cost['host_added_p50']:>16.3f}{cost['host_added_p99']:>10.3f}")
    written = result["written_ms"] = measure_written(arguments.poses)
    print("\npose received to command written, ms: ", end="")
    print(f"host {written['host']:.3f} (p99 {written['host_p99']:.3f}), ", end="")
    print(f"bare loop {written['bare']:.3f} ({written['bare_p99']:.3f}); added {written['added']:.3f}")
    print(f"\nlate + missed / extra, of moments; {FPS} poses a second, right within {TOLERANCE_S * 1e3:g} ms")
    heads = [(noise, 0) for noise in NOISE_PX] + [(0.0, latency) for latency in LATENCY_MS[1:]]
    print(f"{'':24}" + "".join(f"{f'{n:g} px' if not ms else f'{ms} ms':>11}" for n, ms in heads))
    for scene in shown:
        cells = {f"{noise:g} px, {latency} ms": measure_hits(scene, noise, latency) for noise, latency in heads}
        result["hits"][scene.protocol] = cells
        texts = [f"{cell['late'] + cell['missed']:g} / {cell['extra']:g}" for cell in cells.values()]
        print(f"  {scene.protocol:<12}{len(scene.truth_s):>6} of" + "".join(f"{text:>11}" for text in texts))
    save(result, arguments.report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
