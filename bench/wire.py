"""What a pose costs on its way between two processes: packing, unpacking, and the socket, beside a bare ZeroMQ echo.

``python -m poseloop.bench.wire --report FILE.json``

The same bytes go there and back twice, in turn: as poses (packed, published, received and unpacked in another process,
packed and published there again, received and unpacked here), and as bytes that two bare sockets of the same kind send
back as they are. Half of it is one way. ``--pause-ms`` rests before each, as a loop does that waits for its cameras.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from multiprocessing import get_context
from typing import Any

import numpy as np
import zmq

from poseloop.bench.measuring import in_turn, ratio, summary
from poseloop.bench.options import make_parser
from poseloop.live.config import Publish
from poseloop.live.errors import DeviceTimeout
from poseloop.live.output import report as reports
from poseloop.live.output import wire
from poseloop.live.output.publish import Publisher, Subscriber
from poseloop.live.types import Keypoints, Pose, Trace

__all__ = ["main", "make_pose", "measure"]

_ANY = "tcp://127.0.0.1:*"
_PUBLISH = Publish(poses=_ANY, health=_ANY, previews=_ANY)
_HEADER = wire.Header("bench", "bench", (), (), (), 0.5)
_CAMERAS = (1, 4)
_KEYPOINTS = (4, 12, 40)
_LOOK_S = 0.2
"""How long the other process waits before it looks whether it should end."""

_LOST_S = 10.0
"""A message that takes longer is lost."""


def make_pose(cameras: int, keypoints: int) -> Pose:
    """All that a pose can hold: several cameras give points in the world, and there is a prediction."""
    random = np.random.default_rng(0)

    def numbers(*shape: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        return random.random(shape, np.float32)

    xy, score = numbers(cameras, 1, keypoints, 2), numbers(cameras, 1, keypoints)
    xyz = numbers(1, keypoints, 3) if cameras > 1 else None
    predicted = xy if xyz is None else xyz
    times = Trace(*(time.perf_counter_ns() + step * 100_000 for step in range(8)))
    views = np.full((1, keypoints), cameras, np.uint8)
    return Pose(
        sequence=123_456,
        index=123_456,
        keypoints=Keypoints(xy, score),
        xyz=xyz,
        score=numbers(1, keypoints),
        residual_px=numbers(1, keypoints),
        views=views,
        predicted=predicted,
        predicted_for_ns=times.published_ns,
        missing=0,
        skew_ns=1000,
        trace=times,
    )


class _Bytes:
    """A PUB and a SUB socket that pass bytes on."""

    def __init__(self) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._pub, self._sub = self._context.socket(zmq.PUB), self._context.socket(zmq.SUB)
        self._pub.bind(_ANY)
        self._sub.setsockopt(zmq.SUBSCRIBE, b"")
        self.endpoint = self._pub.getsockopt_string(zmq.LAST_ENDPOINT)

    def connect(self, endpoint: str) -> None:
        self._sub.connect(endpoint)

    def send(self, body: Any) -> None:
        self._pub.send(body)

    def receive(self, timeout_s: float) -> Any:
        """Return None if nothing came."""
        return self._sub.recv() if self._sub.poll(round(timeout_s * 1000)) else None

    def close(self) -> None:
        self._context.destroy(linger=0)


class _Poses:
    """The same with a true publisher and subscriber."""

    def __init__(self) -> None:
        self._publisher = Publisher(_PUBLISH, _HEADER)
        self._publisher.open()
        self.endpoint = self._publisher.endpoints["poses"]
        self._subscriber: Subscriber | None = None

    def connect(self, endpoint: str) -> None:
        self._subscriber = Subscriber(endpoint)

    def send(self, pose: Any) -> None:
        self._publisher.send_pose(pose)

    def receive(self, timeout_s: float) -> Any:
        """Return None if nothing came."""
        assert self._subscriber is not None
        return self._subscriber.newest()[0] if self._subscriber.poll(timeout_s) else None

    def close(self) -> None:
        self._publisher.close()
        if self._subscriber is not None:
            self._subscriber.close()


_Kind = type[_Bytes] | type[_Poses]


def _echo(kind: _Kind, endpoint: str, near: Any) -> None:
    """In another process: send everything back until the pipe closes."""
    link = kind()
    try:
        link.connect(endpoint)
        near.send(link.endpoint)
        while not near.poll(0):
            if (item := link.receive(_LOOK_S)) is not None:
                link.send(item)
    finally:
        link.close()


class _Partner:
    """Another process that sends back what it is sent."""

    def __init__(self, kind: _Kind, first: Any) -> None:
        processes = get_context("spawn")
        self._link = kind()
        self._pipe, near = processes.Pipe()
        self._process = processes.Process(target=_echo, args=(kind, self._link.endpoint, near))
        self._process.start()
        near.close()
        self._link.connect(self._pipe.recv())
        # What is sent before a subscription has arrived is lost, and so is the first message.
        while self._link.receive(_LOOK_S) is None:
            self._link.send(first)
        while self._link.receive(_LOOK_S) is not None:
            pass

    def there_and_back(self, item: Any) -> None:
        """Send, and wait until it has come back.

        Raises:
            DeviceTimeout: it did not.
        """
        self._link.send(item)
        if self._link.receive(_LOST_S) is None:
            raise DeviceTimeout("wire", f"expected what was sent to come back within {_LOST_S:g} s")

    def close(self) -> None:
        self._pipe.close()
        self._process.join(_LOST_S)
        self._link.close()


def measure(
    rounds: int, pause_s: float, sizes: Sequence[tuple[int, int]] = tuple(itertools.product(_CAMERAS, _KEYPOINTS))
) -> list[dict[str, Any]]:
    """Time packing, unpacking and both ways there and back, for every size of pose; ms.

    Args:
        rounds: how often each is timed.
        pause_s: rest before each.
        sizes: cameras and keypoints of each pose.
    """
    first = make_pose(1, 4)
    pack = wire.Wire().pose
    rows = []
    with ExitStack() as partners:
        poses, raw = _Partner(_Poses, first), _Partner(_Bytes, pack(first))
        partners.callback(poses.close)
        partners.callback(raw.close)
        for cameras, keypoints in sizes:
            pose = make_pose(cameras, keypoints)
            body = pack(pose)
            runs: dict[str, Callable[[], object]] = {
                "pack": partial(pack, pose),
                "unpack": partial(wire.unpack_pose, body),
                "pose there and back": partial(poses.there_and_back, pose),
                "bytes there and back": partial(raw.there_and_back, body),
            }
            times = in_turn(runs, rounds, pause_s=pause_s)
            there, bare = times["pose there and back"], times["bytes there and back"]
            rows.append(
                {
                    "cameras": cameras,
                    "keypoints": keypoints,
                    "bytes": len(body),
                    "ms": {name: summary(values) for name, values in times.items()},
                    "pose_to_bytes": ratio(there, bare),
                }
            )
    return rows


def main() -> int:
    """Measure, print a table, write JSON."""
    parser = make_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--pause-ms", type=float, default=2.0)
    arguments = parser.parse_args()
    rows = measure(arguments.rounds, arguments.pause_ms / 1e3)
    titles = list(rows[0]["ms"])
    print(f"{'medians, us':<26}{'bytes':>7}" + "".join(f"{title:>22}" for title in titles) + f"{'pose / bytes':>22}")
    for row in rows:
        numbers = "".join(f"{row['ms'][title]['p50'] * 1e3:>22.1f}" for title in titles)
        low, high = row["pose_to_bytes"]["95"]
        share = f"{row['pose_to_bytes']['ratio']:.2f} ({low:.2f}-{high:.2f})"
        size = f"{row['cameras']} cameras, {row['keypoints']} keypoints"
        print(f"  {size:<24}{row['bytes']:>7}{numbers}{share:>22}")
    if arguments.report is not None:
        result = {"rows": rows, "rounds": arguments.rounds, "pause_ms": arguments.pause_ms}
        reports.write(result | {"versions": reports.versions(), "machine": reports.machine()}, arguments.report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
