"""Sockets: poses, health and previews each on a PUB socket of its own, so that nothing can push a pose out.

A full queue of a PUB socket drops the newest message. The queues are short, so that a subscriber that cannot keep up
gets old poses for a moment only, and sees the gap in ``sequence``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import TracebackType

import zmq

from poseloop.live.clock import now_ns
from poseloop.live.config import Publish
from poseloop.live.errors import ConnectError, DataError, DeviceTimeout
from poseloop.live.output import wire
from poseloop.live.types import Pose

__all__ = ["Publisher", "Subscriber"]

_POSES_QUEUED = 64
_OTHERS_QUEUED = 4
_MORE = zmq.DONTWAIT | zmq.SNDMORE


class Publisher:
    """The engine's three PUB sockets. Each is used by one thread at a time; none of the calls blocks."""

    def __init__(self, settings: Publish, header: wire.Header) -> None:
        """Keep endpoints and header; ``open`` binds."""
        self._settings = settings
        self._header = wire.Wire().header(header)
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._pose_wire, self._health_wire, self._preview_wire = wire.Wire(), wire.Wire(), wire.Wire()
        self.endpoints: dict[str, str] = {}
        """Where each socket can really be reached, after ``open``: keys ``poses``, ``health``, ``previews``."""

    def open(self) -> None:
        """Bind the sockets.

        Raises:
            ConnectError: an address is in use or cannot be bound; none is bound afterwards.
        """
        self._context = zmq.Context()
        try:
            self._poses = self._bind("poses", self._settings.poses, _POSES_QUEUED)
            self._health = self._bind("health", self._settings.health, _OTHERS_QUEUED)
            self._previews = self._bind("previews", self._settings.previews, _OTHERS_QUEUED)
        except ConnectError:
            self.close()
            raise

    def _bind(self, name: str, endpoint: str, queued: int) -> zmq.Socket[bytes]:
        assert self._context is not None
        socket = self._context.socket(zmq.PUB)
        # A moment to flush the last message; a dead subscriber must not hold the engine's exit.
        socket.setsockopt(zmq.LINGER, 200)
        socket.setsockopt(zmq.SNDHWM, queued)
        try:
            socket.bind(endpoint)
        except zmq.ZMQError as error:
            raise ConnectError(
                f"publish.{name}",
                f"cannot bind {endpoint}: {error}. Is another rig running? Choose another port, or * for a free one",
            ) from error
        self.endpoints[name] = socket.getsockopt_string(zmq.LAST_ENDPOINT)
        return socket

    def send_header(self) -> None:
        """Tell subscribers what the numbers mean; repeated, since a late one missed the first."""
        self._poses.send_multipart((wire.HEADER, self._header), zmq.DONTWAIT)

    def send_pose(self, pose: Pose) -> bytes:
        """Send one pose; returns its message."""
        # Packed first: if that fails, the socket must not be left in the middle of a message.
        body = self._pose_wire.pose(pose)
        # Two sends: after an idle moment send_multipart takes 50 us more.
        self._poses.send(wire.POSE, _MORE)
        self._poses.send(body, zmq.DONTWAIT)
        return body

    def send_end(self, published: int) -> None:
        """Tell subscribers that no pose will follow, and how many were sent."""
        self._poses.send_multipart((wire.END, self._pose_wire.plain({"published": published})), zmq.DONTWAIT)

    def send_health(self, values: dict[str, object]) -> None:
        """Send the counters."""
        self._health.send_multipart((wire.HEALTH, self._health_wire.plain(values)), zmq.DONTWAIT)

    def send_preview(self, preview: wire.Preview) -> None:
        """Send a small picture."""
        self._previews.send_multipart((wire.PREVIEW, self._preview_wire.preview(preview)), zmq.DONTWAIT)

    def close(self) -> None:
        """Close all sockets; idempotent."""
        if self._context is not None:
            self._context.destroy()
            self._context = None


class Subscriber:
    """Receives poses in any process or program of the same machine.

    ::

        with Subscriber("tcp://127.0.0.1:5570") as poses:
            for pose in poses:
                print(pose.index, pose.keypoints.xy[0, 0])

    Iterating ends when the engine stops. ``header`` names cameras and keypoints.
    """

    def __init__(self, endpoint: str = "tcp://127.0.0.1:5570", timeout_s: float = 10.0, queued: int = 16) -> None:
        """Subscribe.

        Args:
            endpoint: the rig's ``publish.poses``.
            timeout_s: how long iterating, or the wait for the header, goes on without any message.
            queued: messages that wait here at most; beyond it the newest are lost, which ``lost`` counts.
        """
        self.endpoint = endpoint
        self.ended = False
        """True when the engine has said that no pose will follow."""
        self.received = 0
        self.lost = 0
        """Poses that were published but did not arrive, from gaps in ``sequence``."""
        self._timeout_s = timeout_s
        self._header: wire.Header | None = None
        self._next_sequence = -1
        self._published = 0
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.setsockopt(zmq.RCVHWM, queued)
        self._socket.setsockopt(zmq.LINGER, 0)
        for topic in (wire.POSE, wire.HEADER, wire.END):
            self._socket.setsockopt(zmq.SUBSCRIBE, topic)
        # Polling and receiving without pyzmq's conveniences: after an idle moment these take 20 us more.
        self._polled = [(self._socket, zmq.POLLIN)]
        try:
            self._socket.connect(endpoint)
        except zmq.ZMQError as error:
            self._context.destroy()
            text = f"expected an endpoint such as tcp://127.0.0.1:5570, but got {endpoint!r}: {error}"
            raise ConnectError("subscriber", text) from error

    @property
    def header(self) -> wire.Header:
        """Names of rig, model, cameras and keypoints; waits for the engine to send it (it does once a second).

        Raises:
            DeviceTimeout: no header came.
        """
        ends = time.monotonic() + self._timeout_s
        while self._header is None:
            left = ends - time.monotonic()
            if left <= 0 or not self.poll(left):
                raise DeviceTimeout("subscriber", f"nothing is published at {self.endpoint}; is the rig running?")
            self._receive()
        return self._header

    def poll(self, timeout_s: float) -> bool:
        """True as soon as a message waits, False after ``timeout_s``."""
        return bool(zmq.zmq_poll(self._polled, max(int(timeout_s * 1000), 0)))

    def drain(self) -> list[Pose]:
        """All poses that have arrived, oldest first; never waits."""
        poses = []
        while (body := self._receive()) is not None:
            if body:
                poses.append(self._unpack(body))
        self._count_the_last()
        return poses

    def newest(self) -> tuple[Pose | None, int]:
        """The newest pose that has arrived, and how many older ones were skipped; never waits."""
        newest, waiting = b"", 0
        while (body := self._receive()) is not None:
            if body:
                newest, waiting = body, waiting + 1
        # Skipped ones arrived all the same: only what is missing beyond them was lost.
        pose = self._unpack(newest, skipped=waiting - 1) if waiting else None
        self._count_the_last()
        return pose, max(waiting - 1, 0)

    def _count_the_last(self) -> None:
        """After the end nothing will show a gap any more: compare with what the engine says it has sent."""
        if self.ended and self._next_sequence >= 0:
            self.lost += max(self._published - self._next_sequence, 0)
            self._next_sequence = -1

    def _receive(self) -> bytes | None:
        """The body of a waiting pose; b"" for another message, None when nothing waits."""
        try:
            topic = self._socket.recv(zmq.DONTWAIT)
        except zmq.Again:
            return None
        # The parts of a message arrive together.
        body = self._socket.recv(zmq.DONTWAIT) if self._socket.getsockopt(zmq.RCVMORE) else None
        if body is None or self._socket.getsockopt(zmq.RCVMORE):
            raise DataError(f"expected messages of two parts at {self.endpoint}, but one has {self._parts(body)}")
        if topic == wire.POSE:
            return body
        if topic == wire.HEADER:
            self._header = wire.unpack_header(body)
        elif topic == wire.END:
            self.ended = True
            self._published = wire.unpack(body)["published"]
        return b""

    def _parts(self, body: bytes | None) -> int:
        """How many parts a message of which these were received has; takes the others."""
        parts = 1 + (body is not None)
        while self._socket.getsockopt(zmq.RCVMORE):
            self._socket.recv(zmq.DONTWAIT)
            parts += 1
        return parts

    def _unpack(self, body: bytes, skipped: int = 0) -> Pose:
        pose = wire.unpack_pose(body, received_ns=now_ns())
        self.received += 1 + skipped
        if self._next_sequence >= 0:
            self.lost += max(pose.sequence - self._next_sequence - skipped, 0)
        self._next_sequence = pose.sequence + 1
        return pose

    def __iter__(self) -> Iterator[Pose]:
        while True:
            yield from self.drain()
            if self.ended:
                return
            if not self.poll(self._timeout_s):
                raise DeviceTimeout("subscriber", f"no pose for {self._timeout_s:g} s at {self.endpoint}")

    def close(self) -> None:
        """Unsubscribe; idempotent."""
        self._context.destroy(linger=0)

    def __enter__(self) -> Subscriber:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
