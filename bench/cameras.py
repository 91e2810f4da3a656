"""Hardware-triggered cameras: does every pulse become a set, and every frame an entry in the counts?

``python -m poseloop.bench.cameras --report FILE.json``

Four Basler cameras that pylon emulates, behind its real API and in the configuration of real ones: an exposure starts
with an edge at ``Line1``. The emulation takes ``TriggerSoftware`` for that edge, so a thread of this script is the
trigger wire: it sends a pulse to all cameras when all of them are ready, at the rate asked for. The true engine
captures, synchronises and publishes, once with the network and once without.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from poseloop.bench.options import make_parser, save
from poseloop.drivers.pylon.camera import BaslerCamera
from poseloop.live.clock import Pacer, now_ns
from poseloop.live.config import Rig, parse_rig
from poseloop.live.engine import Engine
from poseloop.live.types import Pose

__all__ = ["Pulses", "main", "measure"]

_RIG = """
name = "cameras"
{cameras}
[sync]
trigger = "hardware"
[model]
file = "{model}"
threads = {threads}
[publish]
poses = "tcp://127.0.0.1:*"
health = "tcp://127.0.0.1:*"
previews = "tcp://127.0.0.1:*"
"""

_CAMERA = """
[cameras.camera{number}]
use = "pylon"
serial = "0815-{number:04}"
width = {width}
height = {height}
exposure_us = 200
fps = {fps}
"""

_READY_MS = 5000
"""A camera that is not ready for a pulse for this long hangs."""

_SETTLE_S = 3.0
"""How long the last frames may take after the last pulse."""


class Pulses(threading.Thread):
    """The trigger wire of emulated cameras: an edge for all of them at once, when all of them wait for one.

    Real cameras lose a pulse that comes while they are not ready, without a word; a rig's pulse rate has to leave them
    the time. So it is here: what is measured is what happens after a pulse was seen.
    """

    def __init__(self, cameras: Sequence[BaslerCamera], fps: float, count: int) -> None:
        """Send ``count`` pulses, ``fps`` a second, or as many as the cameras are ready for."""
        super().__init__(name="pulses")
        self._devices = [camera.device for camera in cameras]
        self._period_ns = round(1e9 / fps)
        self._count = count
        self._stopping = threading.Event()
        self.sent = 0
        self.error: Exception | None = None

    def run(self) -> None:
        """Send them all, or until stopped."""
        try:
            pacer = Pacer(now_ns(), stop=self._stopping)
            due_ns = 0
            for number in range(self._count):
                if not pacer.wait_until(due_ns):
                    return
                for device in self._devices:
                    if not device.WaitForFrameTriggerReady(_READY_MS):
                        raise TimeoutError(f"a camera was not ready for pulse {number} within {_READY_MS} ms")
                for device in self._devices:
                    device.TriggerSoftware.Execute()
                self.sent += 1
                # A wire sends no bursts: after a pulse that came late by more than half a period, all later ones do.
                sent_ns = now_ns() - pacer.start_ns
                due_ns = (due_ns if sent_ns - due_ns < self._period_ns // 2 else sent_ns) + self._period_ns
        except Exception as error:  # noqa: BLE001 - a thread's error reaches its owner
            self.error = error

    def stop(self) -> None:
        """Send no more, and wait for the thread."""
        self._stopping.set()
        self.join()


def measure(rig: Rig, fps: float, count: int, inference: bool) -> dict[str, Any]:
    """Run the engine for so many pulses and return what became of them."""
    engine = Engine(rig)
    engine.open()
    skews_ns: list[int] = []
    try:
        send = engine.publisher.send_pose

        def send_pose(pose: Pose) -> bytes:
            skews_ns.append(pose.skew_ns)
            return send(pose)

        engine.publisher.send_pose = send_pose  # type: ignore[method-assign]
        if not inference:
            # The warm-up's score maps are decoded over and over.
            engine.network.run = lambda: None  # type: ignore[method-assign]
        engine.start()
        began = now_ns()
        pulses = Pulses([_basler(camera) for camera in engine.cameras], fps, count)
        pulses.start()
        while pulses.is_alive() and not engine.failed.is_set():
            pulses.join(0.2)
            _progress(pulses.sent, count)
        pulses.stop()
        seconds = (now_ns() - began) / 1e9
        ends = now_ns() + round(_SETTLE_S * 1e9)
        while now_ns() < ends and engine.report()["frames"]["captured"] < pulses.sent:
            time.sleep(0.02)
        engine.stop()
        for error in (engine.error, pulses.error):
            if error is not None:
                raise error
        report = engine.report()
        failed = sum(_basler(camera).failed for camera in engine.cameras)
    finally:
        engine.close()
    frames, cameras = report["frames"], report["cameras"]
    in_sets = frames["processed"] + sum(frames["dropped"].values())
    skews_ms = np.array(skews_ns or [0]) / 1e6
    return {
        "inference": inference,
        "pulses": pulses.sent,
        "pulses_a_second": round(pulses.sent / seconds, 2),
        "seconds": round(seconds, 1),
        "sets": frames,
        "cameras": cameras,
        "failed_buffers": failed,
        "pulses_without_a_set": pulses.sent - frames["captured"],
        "unaccounted": {
            "sets": frames["captured"] - in_sets,
            "frames": sum(abs(pulses.sent - one["captured"] - one["lost"]) for one in cameras.values()),
        },
        "skew_ms": {"p50": round(float(np.percentile(skews_ms, 50)), 3), "max": round(float(skews_ms.max()), 3)},
        "latency_ms": {stage: report["latency_ms"][stage] for stage in ("arrival", "frame_to_pose")},
    }


def _basler(camera: object) -> BaslerCamera:
    if not isinstance(camera, BaslerCamera):
        raise TypeError(f"expected Basler cameras, which can be given pulses, but got {camera!r}")
    return camera


def _progress(done: int, of: int) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{done}/{of} pulses")


def main() -> int:
    """Measure with and without inference, print a table, write JSON; 0 = every pulse and every frame was found."""
    parser = make_parser(__doc__)
    parser.add_argument("--cameras", type=int, default=4)
    parser.add_argument("--model", default="blob")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--fps", type=float, default=100.0)
    parser.add_argument("--seconds", type=float, default=60.0)
    arguments = parser.parse_args()
    # Read by pylon when it is loaded.
    os.environ["PYLON_CAMEMU"] = str(arguments.cameras)
    cameras = "".join(
        _CAMERA.format(number=i, width=arguments.width, height=arguments.height, fps=arguments.fps)
        for i in range(arguments.cameras)
    )
    rig = parse_rig(_RIG.format(cameras=cameras, model=arguments.model, threads=arguments.threads), Path(__file__))
    count = round(arguments.seconds * arguments.fps)
    results = [measure(rig, arguments.fps, count, inference) for inference in (False, True)]
    print(f"\n{arguments.cameras} emulated Basler cameras, {arguments.width}x{arguments.height}, {arguments.model}")
    print(f"  {'':<34}{'capture only':>14}{'with inference':>16}")
    rows: list[tuple[str, Callable[[dict[str, Any]], object]]] = [
        ("pulses", lambda r: r["pulses"]),
        ("pulses a second", lambda r: r["pulses_a_second"]),
        ("sets captured", lambda r: r["sets"]["captured"]),
        ("  of these with a camera missing", lambda r: r["sets"]["incomplete"]),
        ("  processed", lambda r: r["sets"]["processed"]),
        ("  dropped for a newer one", lambda r: sum(r["sets"]["dropped"].values())),
        ("frames lost, and seen as lost", lambda r: sum(c["lost"] for c in r["cameras"].values())),
        ("sets and frames unaccounted", lambda r: sum(r["unaccounted"].values())),
        ("skew of a set, median, ms", lambda r: r["skew_ms"]["p50"]),
        ("frame to pose, p50, ms", lambda r: r["latency_ms"]["frame_to_pose"]["p50"]),
        ("frame to pose, p99, ms", lambda r: r["latency_ms"]["frame_to_pose"]["p99"]),
    ]
    for title, value in rows:
        print(
            f"  {title:<34}"
            + "".join(f"{value(result):>{width}}" for result, width in zip(results, (14, 16), strict=True))
        )
    save({"runs": results}, arguments.report)
    good = all(r["pulses_without_a_set"] == 0 and not any(r["unaccounted"].values()) for r in results)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
