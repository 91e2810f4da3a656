"""What the engine adds to the network: from the last frame in its slot to the pose on the socket, beside a bare run.

``python -m poseloop.bench.pipeline --report FILE.json``, and with ``--cameras 4`` for a set of four

The true engine runs: camera threads fill slots, the inference thread takes sets, decodes, packs and sends to a
subscriber in another process. The cameras deliver at a pace that leaves the loop idle half of the time; in that idle
time, after the same pause that a frame waits for, the inference thread makes one bare ``session.run`` of a session of
its own, with the same settings, on one batch of pictures of the same size. So both are measured in one run, on one
thread, in turn.
"""

from __future__ import annotations

import sys
import threading
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from poseloop.bench.inference import bare_session
from poseloop.bench.measuring import in_turn
from poseloop.bench.options import make_parser, save
from poseloop.live.clock import now_ns
from poseloop.live.config import parse_rig
from poseloop.live.engine import Engine
from poseloop.live.errors import ConnectError
from poseloop.live.output.publish import Subscriber
from poseloop.live.types import Colour, Pose
from poseloop.live.vision import Network
from poseloop.live.vision.network import find_model

__all__ = ["Milliseconds", "Probe", "main", "measure"]

_CAMERA = """
[cameras.camera{number}]
use = "prepared.py:PreparedCamera"
width = {width}
height = {height}
fps = {fps}
colour = "{colour}"
"""

_RIG = """
name = "bench"
[model]
file = "{model}"
threads = {threads}
[publish]
poses = "tcp://127.0.0.1:*"
health = "tcp://127.0.0.1:*"
previews = "tcp://127.0.0.1:*"
"""

Milliseconds = np.ndarray[Any, np.dtype[np.float64]]

_TOLD_S = 10.0
"""How long the other process may take to tell its times after the end."""

_WARM_UP = 30
"""Frames that are not counted: caches and the scheduler settle."""


class Probe:
    """Stands before the engine's socket: times each pose until it is sent, then makes a bare run."""

    def __init__(self, engine: Engine, threads: int, idle_s: float) -> None:
        """Load the bare session for what the engine's first network is shown.

        Args:
            engine: open, not started; whose ``publisher.send_pose`` is then to be ours.
            threads: of the session.
            idle_s: pause before the bare run.
        """
        self._send = engine.publisher.send_pose
        self._idle_s = idle_s
        shape = tuple(engine.network.report()[0]["inputs"][0])
        self._images = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
        self._session, self._name = bare_session(find_model(engine.rig.model.file), shape, threads)
        self.total_ns: list[int] = []
        self.own_run_ns: list[int] = []
        self.bare_ns: list[int] = []

    def send_pose(self, pose: Pose) -> bytes:
        """Send, note the times, rest, run bare."""
        message = self._send(pose)
        sent = now_ns()
        time.sleep(self._idle_s)
        began = now_ns()
        self._session.run(None, {self._name: self._images})
        self.bare_ns.append(now_ns() - began)
        trace = pose.trace
        self.total_ns.append(sent - trace.arrived_ns)
        self.own_run_ns.append(trace.infer_end_ns - trace.infer_start_ns)
        return message

    def take(self) -> tuple[Milliseconds, Milliseconds]:
        """Times since the last call, in ms: frame to socket, and bare run; from any thread."""
        total, bare = self.total_ns, self.bare_ns
        self.total_ns, self.bare_ns = [], []
        return np.array(total) / 1e6, np.array(bare) / 1e6


def _subscribe(endpoint: str, told: Any) -> None:
    """In another process: tell that it hears the engine, receive every pose, tell when each came after its frame."""
    taken = []
    with Subscriber(endpoint) as poses:
        told.send(poses.header.rig)
        for pose in poses:
            taken.append((pose.sequence, pose.trace.received_ns - pose.trace.arrived_ns))
    told.send(taken)


def measure(
    model: str, width: int, height: int, threads: int, frames: int, fps: float, cameras: int = 1
) -> dict[str, Any]:
    """Run the engine for so many frame sets and return all times in ms: medians, tails, and what the engine adds."""
    colour = "grey" if Network.describe(model).colour is Colour.GREY else "rgb"
    text = _RIG.format(model=model, threads=threads)
    for number in range(cameras):
        text += _CAMERA.format(number=number, width=width, height=height, fps=fps, colour=colour)
    rig = parse_rig(text, Path(__file__))
    engine = Engine(rig)
    engine.open()
    processes = get_context("spawn")
    heard, told = processes.Pipe(duplex=False)
    listener = processes.Process(target=_subscribe, args=(engine.publisher.endpoints["poses"], told))
    received: list[tuple[int, int]] = []
    try:
        probe = Probe(engine, threads, idle_s=0.4 / fps)
        engine.publisher.send_pose = probe.send_pose  # type: ignore[method-assign]
        listener.start()
        # A short run would be over before another process has loaded what it needs.
        while not heard.poll(0.05) and listener.is_alive():
            engine.publisher.send_header()
        if not heard.poll():
            raise ConnectError("subscriber", "the process that is to receive the poses did not start")
        heard.recv()
        stopping = threading.Event()
        engine.start()
        while len(probe.bare_ns) < frames + _WARM_UP and not engine.failed.is_set():
            _progress(len(probe.bare_ns), frames + _WARM_UP)
            stopping.wait(0.1)
        engine.stop()
        engine.publisher.send_end(engine.published)
        if engine.error is not None:
            raise engine.error
        if heard.poll(_TOLD_S):
            received = heard.recv()
    finally:
        engine.close()
        if listener.pid is not None:
            listener.join()
    arrived = np.array([taken for sequence, taken in received if sequence >= _WARM_UP]) / 1e6
    total, own, bare = (np.array(v[_WARM_UP:]) / 1e6 for v in (probe.total_ns, probe.own_run_ns, probe.bare_ns))
    return {
        "model": model,
        "cameras": cameras,
        "width": width,
        "height": height,
        "threads": threads,
        "fps": fps,
        "frames": len(total),
        "frame_to_socket_ms": _summary(total),
        "frame_to_received_ms": _summary(arrived) if len(arrived) else {},
        "bare_run_ms": _summary(bare),
        "added_ms": {
            "median": round(float(np.median(total) - np.median(bare)), 4),
            "p99": round(float(np.percentile(total, 99) - np.percentile(bare, 99)), 4),
            "median_beside_own_run": round(float(np.median(total - own)), 4),
            "p99_beside_own_run": round(float(np.percentile(total - own, 99)), 4),
            "received_median": round(float(np.median(arrived) - 1.05 * np.median(bare)), 4) if len(arrived) else None,
        },
        "ratio": round(float(np.median(total) / np.median(bare)), 4),
        "processed": engine.sync.sets.processed,
        "incomplete": engine.sync.incomplete,
        "dropped": dict(engine.sync.sets.dropped),
        "latency_ms": engine.latencies.as_report(),
    }


def _summary(values: Milliseconds) -> dict[str, float]:
    return {name: round(float(np.percentile(values, at)), 4) for name, at in (("p50", 50), ("p99", 99), ("p999", 99.9))}


def _progress(done: int, of: int) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{done}/{of} frames")


def half_idle(model: str, cameras: int, width: int, height: int, threads: int) -> float:
    """Sets a second that leave the loop half of its time, beside our run, the bare one and the rest between them."""
    grey = Network.describe(model).colour is Colour.GREY
    picture = np.zeros((height, width) if grey else (height, width, 3), np.uint8)
    with Network.open(model, threads=threads) as network:
        taken = in_turn({"run": lambda: network.infer([picture] * cameras)}, 30)["run"]
    return float(round(1000 / (8 * float(np.median(taken)))))


def main() -> int:
    """Measure, print a table, write JSON."""
    parser = make_parser(__doc__)
    parser.add_argument("--model", default="blob")
    parser.add_argument("--cameras", type=int, default=1)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--frames", type=int, default=600)
    parser.add_argument("--fps", type=float, help="sets a second; default: the loop is idle for half of the time")
    arguments = parser.parse_args()
    shape = (arguments.cameras, arguments.width, arguments.height, arguments.threads)
    fps = arguments.fps or half_idle(arguments.model, *shape)
    result = measure(
        arguments.model,
        arguments.width,
        arguments.height,
        arguments.threads,
        arguments.frames,
        fps,
        arguments.cameras,
    )
    size = f"{result['cameras']} x {result['width']}x{result['height']}"
    print(f"\n{result['model']}, {size}, {fps:g} a second, {result['threads']} thread(s)", end="")
    print(f"{', awake' * arguments.awake}, {result['frames']} frames; ms{'p50':>14}{'p99':>10}{'p99.9':>10}")
    for title, key in (
        ("last frame in slot to pose on socket", "frame_to_socket_ms"),
        ("last frame in slot to another process", "frame_to_received_ms"),
        ("bare session.run", "bare_run_ms"),
    ):
        if result[key]:
            print(f"  {title:<40}" + "".join(f"{result[key][p]:>10.3f}" for p in ("p50", "p99", "p999")))
    added = result["added_ms"]
    print(f"  {'added by the engine':<40}{added['median']:>10.3f}{added['p99']:>10.3f}")
    print(f"  {'  beside its own run of the same frame':<40}", end="")
    print(f"{added['median_beside_own_run']:>10.3f}{added['p99_beside_own_run']:>10.3f}")
    if added["received_median"] is not None:
        print(f"  {'  until received, beyond 1.05 bare runs':<40}{added['received_median']:>10.3f}")
    save(result, arguments.report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
