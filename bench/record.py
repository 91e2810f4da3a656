"""What recording costs the loop: the same engine with and without a recorder, in turn, in one run.

``python -m poseloop.bench.record --report FILE.json``

Cameras deliver pictures from memory. The true engine runs in this process, the true recorder in another. Recording is
switched off and on every few seconds, so that whatever else the machine does meets both alike; the first second after
each switch does not count. Told are the medians of each part, and the ratio of the medians of all; every frame that was
captured while it recorded must be in the session.
"""

from __future__ import annotations

import argparse
import queue
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from poseloop.bench.options import make_parser, save
from poseloop.live.capture.feed import Feed
from poseloop.live.config import parse_rig
from poseloop.live.engine import Engine
from poseloop.live.errors import PoseloopError
from poseloop.live.process import Child, Message
from poseloop.live.types import Pose

__all__ = ["main", "measure"]

_RIG = """
name = "bench"
[model]
file = "{model}"
size = [{network[0]}, {network[1]}]
[publish]
poses = "tcp://127.0.0.1:*"
health = "tcp://127.0.0.1:*"
previews = "tcp://127.0.0.1:*"
[record]
folder = "{folder}"
codec = "{codec}"
"""

_CAMERA = """
[cameras.camera{number}]
use = "prepared.py:PreparedCamera"
width = {width}
height = {height}
fps = {fps}
colour = "{colour}"
"""

_SETTLE_S = 1.0
_WAIT_S = 60.0


class Switch:
    """Turns the recording of a running engine off and on, without a trace on either side."""

    def __init__(self, engine: Engine) -> None:
        """Keep the engine, which was told to record."""
        assert engine.recording is not None
        self._feeds: list[Feed] = engine._feeds
        self._records = [feed.record for feed in self._feeds]
        self._recording = engine.recording
        self._poses = self._recording.send_pose

    def set(self, on: bool) -> None:
        """Record or do not; from any thread."""
        for feed, record in zip(self._feeds, self._records, strict=True):
            feed.record = record if on else None
        self._recording.send_pose = self._poses if on else lambda *_: None  # type: ignore[method-assign]


class Session:
    """The recorder's process."""

    def __init__(self, text: str, file: Path) -> None:
        self._inbox: queue.SimpleQueue[tuple[str, Message]] = queue.SimpleQueue()
        self._child = Child("recorder", self._inbox)
        self._child.start({"event": "open", "rig": text, "file": str(file)})
        self._ready = self._wait("ready")

    def begin(self, request: Message) -> str:
        """Open the cameras' slots and all files; returns where to send."""
        self._child.say("record", **request)
        self._wait("recording")
        endpoint: str = self._ready["endpoint"]
        return endpoint

    def end(self) -> Message:
        """Let it finish and return its report."""
        self._child.say("finish")
        return self._wait("report")

    def close(self) -> None:
        """End it, whatever happened."""
        self._child.close(5.0)

    def _wait(self, event: str) -> Message:
        ends = time.monotonic() + _WAIT_S
        while time.monotonic() < ends:
            try:
                _, message = self._inbox.get(timeout=1.0)
            except queue.Empty:
                continue
            if message["event"] == event:
                return message
            if message["event"] == "notice":
                print(message["text"])
            if message["event"] in ("error", "exit"):
                raise PoseloopError(f"the recorder: {message.get('text', 'ended by itself')}")
        raise PoseloopError(f"the recorder has not said {event!r} within {_WAIT_S:g} s")


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run the engine for so many parts, each once without and once with recording; all times in ms."""
    text = _RIG.format(
        model=arguments.model, network=arguments.network, folder=folder.as_posix(), codec=arguments.codec
    )
    for number in range(arguments.cameras):
        text += _CAMERA.format(
            number=number, width=arguments.width, height=arguments.height, fps=arguments.fps, colour=arguments.colour
        )
    file = Path(__file__)
    engine = Engine(parse_rig(text, file))
    session = Session(text, file)
    times: dict[bool, list[float]] = {False: [], True: []}
    parts: list[dict[str, float]] = []
    try:
        engine.open()
        recording = engine.recording
        assert recording is not None
        recording.start(session.begin(recording.request))
        latest: list[float] = []
        send = engine.publisher.send_pose

        def send_pose(pose: Pose) -> bytes:
            message = send(pose)
            latest.append((time.perf_counter_ns() - pose.trace.arrived_ns) / 1e6)
            return message

        engine.publisher.send_pose = send_pose  # type: ignore[method-assign]
        switch = Switch(engine)
        switch.set(False)
        engine.start()
        time.sleep(2 * _SETTLE_S)
        for number in range(arguments.parts):
            part: dict[str, float] = {}
            # Which comes first takes turns, too.
            for on in (False, True) if number % 2 == 0 else (True, False):
                switch.set(on)
                time.sleep(_SETTLE_S)
                latest.clear()
                time.sleep(arguments.seconds)
                taken = list(latest)
                times[on] += taken
                part["recorded" if on else "alone"] = round(float(np.median(taken)), 4)
            parts.append(part)
            print("  ".join(f"{name} {value:.3f} ms" for name, value in part.items()), flush=True)
        switch.set(False)
        engine.stop()
        if engine.error is not None:
            raise engine.error
        overruns = {feed.camera.name: feed.overruns for feed in engine._feeds}
    finally:
        engine.close()
        try:
            record = session.end()
        finally:
            session.close()
    alone, recorded = (np.array(times[on]) for on in (False, True))
    return {
        "cameras": arguments.cameras,
        "picture": [arguments.width, arguments.height],
        "network": list(arguments.network),
        "fps": arguments.fps,
        "codec": arguments.codec,
        "model": arguments.model,
        "alone_ms": _summary(alone),
        "recorded_ms": _summary(recorded),
        "p50_ratio": round(float(np.median(recorded) / np.median(alone)), 4),
        "p50_ratio_of_parts": round(float(np.median([part["recorded"] / part["alone"] for part in parts])), 4),
        "parts": parts,
        "recorder_overrun": overruns,
        "recorded": record["cameras"],
        "messages_lost": record["messages_lost"],
        "dropped_by_the_loop": dict(engine.sync.sets.dropped),
    }


def _summary(values: np.ndarray[Any, np.dtype[np.float64]]) -> dict[str, float]:
    shares = {"p50": 50, "p90": 90, "p99": 99}
    return {"n": len(values), **{name: round(float(np.percentile(values, at)), 4) for name, at in shares.items()}}


def main() -> int:
    """Measure, print a table, write JSON."""
    parser = make_parser(__doc__)
    parser.add_argument("--model", default="openfield")
    parser.add_argument("--cameras", type=int, default=2)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--network", type=int, nargs=2, default=(320, 256), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--colour", default="grey")
    parser.add_argument("--codec", default="h264")
    parser.add_argument("--fps", type=float, default=100.0)
    parser.add_argument("--parts", type=int, default=6, help="each once without and once with recording")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each half of a part, after settling")
    parser.add_argument(
        "--folder", type=Path, help="disk to record to; default: a temporary folder, removed afterwards"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        result = measure(arguments, Path(folder))
    print(f"\n{'last frame in slot to pose on socket, ms':<42}{'n':>8}{'p50':>10}{'p90':>10}{'p99':>10}")
    for title, key in (("not recorded", "alone_ms"), ("recorded", "recorded_ms")):
        row = result[key]
        print(f"  {title:<40}{row['n']:>8}" + "".join(f"{row[share]:>10.3f}" for share in ("p50", "p90", "p99")))
    print(f"  ratio of the medians {result['p50_ratio']:.3f}, median of the parts' {result['p50_ratio_of_parts']:.3f}")
    print(f"  frames recorded and missed: {result['recorded']}, messages lost: {result['messages_lost'] or 'none'}")
    save(result, arguments.report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
