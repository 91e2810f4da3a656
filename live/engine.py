"""The engine: wires the stages of a frame's way and owns every thread of them.

One thread per camera waits in its driver; one inference thread takes the newest set through network, decoding and
publishing. Everything heavy releases the GIL. A third kind makes previews from sets that the loop is done with.
"""

from __future__ import annotations

import gc
import math
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import cv2
import numpy as np

from poseloop.live.capture.feed import Feed
from poseloop.live.capture.ring import Ring, live_slots, recorder_slots
from poseloop.live.capture.sync import Synchroniser
from poseloop.live.capture.tolerance import Tolerance
from poseloop.live.clock import now_ns
from poseloop.live.config import Rig
from poseloop.live.errors import CalibrationError, ConnectError, ModelError, PoseloopError, RigError
from poseloop.live.geometry.calibration import Calibration
from poseloop.live.geometry.reconstruction import Reconstruction, Together
from poseloop.live.interfaces import Camera, Patient
from poseloop.live.motion.filters import Filter
from poseloop.live.output.preview import Previewer
from poseloop.live.output.publish import Publisher
from poseloop.live.output.report import Histogram, Latencies, versions
from poseloop.live.output.wire import Header
from poseloop.live.recording import Recording
from poseloop.live.types import CameraFormat, FrameSet, Keypoints, Pose, Trace
from poseloop.live.vision.rig import RigNetwork

__all__ = ["Engine"]

_TAKE_S = 0.2
"""How long the inference thread waits for a set before it looks whether it should end."""

_JOIN_S = 2.0
"""How long all threads together may take to end; one that takes longer hangs in a driver, and is left behind."""

_DRIFT_HZ = 50.0
"""How many poses a second the drift monitor looks at."""

_HEADER_NS = 1_000_000_000
_SWITCH_INTERVAL_S = 1e-4
"""Python's default of 5 ms would let one busy thread hold up the loop that long."""


class Engine:
    """Cameras in, poses out. Use: ``open`` → ``start`` → (wait) → ``stop`` → ``close``."""

    network: RigNetwork
    publisher: Publisher
    sync: Synchroniser
    tolerance: Tolerance
    header: Header

    def __init__(self, rig: Rig, ended: Callable[[], None] = lambda: None, clock: Callable[[], int] = now_ns) -> None:
        """Keep the rig; nothing is opened.

        Args:
            rig: cameras (with their plugins loaded), model and sockets.
            ended: called by the inference thread at its end, whatever ended it.
            clock: the host's; a replay has its own.
        """
        self.rig = rig
        self._clock = clock
        self._ended = ended
        self.latencies = Latencies(Latencies.ENGINE)
        self.recent = Latencies({"frame_to_pose": Latencies.ENGINE["frame_to_pose"]})
        """The same since the last `health`."""
        self.skew = Histogram()
        """Of every set that was processed."""
        self.published = 0
        self.act_ns = 0
        """How long after a pose is published the board acts, as the host measures it; 0 = not known yet."""
        self.error: Exception | None = None
        """What ended a thread, if anything did."""
        self.failed = threading.Event()
        self.hung = False
        """The network did not come out of its run when it was stopped."""
        self._in_work: FrameSet | None = None
        """The set that the inference thread has now."""
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._feeds: list[Feed] = []
        self._reconstruction: Reconstruction | None = None
        self.recording = Recording() if rig.record else None
        self._previewer: Previewer | None = None
        self._preview_thread: threading.Thread | None = None
        self._opened = ExitStack()
        self.cameras: list[Camera] = [table.build(name) for name, table in rig.cameras.items()]

    def open(self) -> None:
        """Open all cameras, the network and the sockets; compile and warm up everything.

        Raises:
            RigError: one or more cameras failed; all of them are named, and the others are closed again.
            CalibrationError: there is none for these cameras, or not for the pictures that they deliver.
            ModelError, ConnectError: the network or a socket.
        """
        with ExitStack() as opened, ExitStack() as closing:
            faults: list[PoseloopError] = []
            for camera in self.cameras:
                try:
                    self._check_patience(camera)
                    camera.open()
                    closing.callback(camera.close)
                except PoseloopError as error:
                    faults.append(error)
            if faults:
                raise RigError("cameras that could not be opened", faults)
            self._open_rest(opened)
            # From now on each camera has a feed, which knows whether it can still be closed.
            closing.pop_all()
            for feed in self._feeds:
                opened.callback(feed.close)
            self._opened = opened.pop_all()

    def _check_patience(self, camera: Camera) -> None:
        """With "every" no set goes on without a camera, so that one which is late or hangs would hold up all others."""
        if self.rig.sync.frames == "every" and not (isinstance(camera, Patient) and camera.waits):
            text = "expected a camera that waits for the loop, as recordings do, since sync.frames is 'every'"
            raise ConnectError(camera.name, f"{text}; use 'newest'")

    def _open_rest(self, opened: ExitStack) -> None:
        formats = [camera.format for camera in self.cameras]
        calibration = self._calibration(formats)
        self.network = RigNetwork(self.rig)
        opened.callback(self._close_network)
        self.network.open(formats)
        self.header = Header(
            rig=self.rig.name,
            model=self.network.info.name,
            cameras=tuple(self.rig.cameras),
            keypoints=tuple(self.network.keypoints),
            skeleton=self.network.info.skeleton,
            gate=self.network.gate,
        )
        individuals, keypoints = self.network.individuals, len(self.network.keypoints)
        # Individuals and keypoints do not change, and a 2D pose has no residual: one array serves all of them.
        self._no_residual = np.full((individuals, keypoints), math.nan, np.float32)
        self._no_residual.flags.writeable = False
        points: tuple[int, ...] = (len(self.cameras), individuals, keypoints, 2)
        if calibration is not None and self.rig.geometry is not None:
            every = max(1, round(max(f.fps for f in formats) / _DRIFT_HZ))
            self._reconstruction = Reconstruction(calibration, individuals, keypoints, self.rig.geometry.gate_px, every)
            points = (individuals, keypoints, 3)
        self._filter = Filter(self.rig.filter, points, self.network.gate)
        self.publisher = Publisher(self.rig.publish, self.header)
        self.publisher.open()
        opened.callback(self.publisher.close)
        sync = self.rig.sync
        buffer_ms = self.rig.record.buffer_ms if self.rig.record else 0.0
        self._rings = {
            camera.name: Ring(its.shape, live_slots(its.fps, sync.wait_ms), recorder_slots(its.fps, buffer_ms))
            for camera, its in zip(self.cameras, formats, strict=True)
        }
        for number, ring in enumerate(self._rings.values()):
            opened.callback(ring.close)
            self.network.bind(number, ring.pictures)
        self.tolerance = Tolerance.of(self.rig, dict(zip(self.rig.cameras, formats, strict=True)))
        self.sync = Synchroniser(
            list(self.rig.cameras),
            lambda frame: self._rings[frame.camera].release(frame.slot),
            every=sync.frames == "every",
            by_time=sync.by_time,
            tolerance_ns=self.tolerance.ns,
            wait_ns=int(sync.wait_ms * 1e6),
            tell=self.recording.note_drop if self.recording else None,
        )
        self._feeds = [
            Feed(
                number,
                camera,
                self._rings[camera.name],
                self.sync,
                sync.trigger,
                self._may_be_lost,
                waits=sync.frames == "every",
            )
            for number, camera in enumerate(self.cameras)
        ]
        if self.recording is not None:
            self.recording.open(self._feeds, self.header, self.network.individuals)
            opened.callback(self.recording.close)
        if self.rig.publish.preview_fps > 0:
            self._previewer = Previewer(
                self.rig.publish,
                {camera.name: camera.format.colour for camera in self.cameras},
                self.publisher.send_preview,
                self.sync.release,
            )
        # The whole way of a pose once, so that nothing is compiled, imported or allocated first in the loop.
        blank = FrameSet(0, self._clock(), tuple(None for _ in self.cameras), 0, self._clock())
        self.latencies.add(self._pose(blank, self._keypoints(blank)[0], (self._clock(),) * 3).trace)
        self.latencies = Latencies(Latencies.ENGINE)
        # What lives now lives for the whole session: the collector need not look at it again.
        gc.collect()
        gc.freeze()

    def _calibration(self, formats: Sequence[CameraFormat]) -> Calibration | None:
        """The rig's cameras in the world, for the pictures that they deliver now; None on a 2D rig."""
        if self.rig.geometry is None:
            return None
        file = self.rig.geometry.calibration
        calibration = Calibration.load(file)
        try:
            return calibration.select(list(self.rig.cameras)).delivering(formats)
        except CalibrationError as error:
            raise CalibrationError(f"{file}: {error}") from error

    @property
    def started(self) -> bool:
        """True from `start` on, also after `stop`."""
        return bool(self._threads)

    @property
    def finished(self) -> bool:
        """True when every camera has come to its end and every set has been dealt with."""
        return bool(self._threads) and not any(thread.is_alive() for thread in self._threads)

    def start(self) -> None:
        """Start cameras and threads.

        Raises:
            RigError: cameras that could not be started.
        """
        sys.setswitchinterval(_SWITCH_INTERVAL_S)
        # OpenCV would spread a colour conversion over all cores, the network's among them.
        cv2.setNumThreads(1)
        faults: list[PoseloopError] = []
        for feed in self._feeds:
            try:
                feed.start()
            except PoseloopError as error:
                faults.append(error)
        if faults:
            raise RigError("cameras that could not be started", faults)
        self._threads = [threading.Thread(target=self._guard, args=(self._infer,), name="inference")]
        for feed in self._feeds:
            self._threads.append(
                threading.Thread(target=self._guard, args=(feed.run,), name=f"camera-{feed.camera.name}")
            )
        if self._previewer is not None:
            self._preview_thread = threading.Thread(target=self._guard, args=(self._previewer.run,), name="previews")
            self._preview_thread.start()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop cameras and threads and account for every frame; idempotent.

        A camera whose driver does not come back is left behind: its state is ``hung``, and its thread cannot end. So is
        a network that does not; then `error` says so, and its set counts as failed.
        """
        self._stop_all()
        ends_s = time.monotonic() + _JOIN_S
        for thread in self._threads:
            thread.join(max(ends_s - time.monotonic(), 0.05))
        for feed, thread in zip(self._feeds, self._threads[1:], strict=False):
            feed.hung = thread.is_alive()
        if self._previewer is not None and self._preview_thread is not None:
            self._previewer.stop()
            self._preview_thread.join()
        frames, self._in_work = self._in_work, None
        if frames is not None:
            self.hung = True
            self.sync.drop(frames, "failed")
            text = f"expected to have run on set {frames.index} within {_JOIN_S:g} s of the end, but it hangs"
            self.error = self.error or ModelError(f"{self._model}: {text}; it is left behind")
        self.sync.drain("shutdown")

    def _stop_all(self) -> None:
        self._stopping.set()
        for feed in self._feeds:
            try:
                feed.stop()
            except Exception as error:  # noqa: BLE001 - one driver's fault must not keep the other cameras running
                self.error = self.error or error

    def _may_be_lost(self, feed: Feed) -> bool:
        """May the rig go on without this camera? Sets have gaps then, which the gates hold commands back for."""
        if self.rig.sync.lost_camera == "stop":
            return False
        return any(not other.lost and not other.done for other in self._feeds if other is not feed)

    def close(self) -> None:
        """Give cameras, network and sockets back; idempotent."""
        self._opened.close()

    def _close_network(self) -> None:
        # Memory that a run may still write to must not be freed.
        if not self.hung:
            self.network.close()

    @property
    def _model(self) -> str:
        return f"the model {self.network.info.name!r} on {self.network.provider!r}"

    def states(self) -> dict[str, tuple[str, str]]:
        """Camera → its state (see `poseloop.live.capture.feed.Feed.state`) and, if it is lost, why."""
        return {feed.camera.name: (feed.state, feed.lost) for feed in self._feeds}

    def health(self) -> dict[str, Any]:
        """Counters for a status line; the latencies are those since the last call."""
        recent, self.recent = self.recent, Latencies({"frame_to_pose": Latencies.ENGINE["frame_to_pose"]})
        histogram = recent["frame_to_pose"]
        sets = self.sync.sets
        return {
            "at_ns": now_ns(),
            "captured": sets.captured,
            "processed": sets.processed,
            "incomplete": self.sync.incomplete,
            "dropped": dict(sets.dropped),
            "lost": self.sync.lost,
            "cameras": self._cameras_report(),
            "p50_ms": None if histogram.n == 0 else histogram.percentile_ms(0.5),
            "p99_ms": None if histogram.n == 0 else histogram.percentile_ms(0.99),
            "skew_ms": None if self.skew.n == 0 else self.skew.percentile_ms(0.99),
            "world": self._world_report(),
        }

    def report(self) -> dict[str, Any]:
        """The engine's part of a run's report; complete after `stop`."""
        return {
            "frames": {**self.sync.sets.as_report(), "incomplete": self.sync.incomplete},
            "cameras": self._cameras_report(),
            "published": self.published,
            "skew_ms": self.skew.as_report() if self.skew.n else {},
            "sync": self.how_sets_are_made(),
            "world": self._world_report(),
            "latency_ms": self.latencies.as_report(),
            "provider": self.network.provider,
            "networks": self.network.report(),
            "versions": versions(),
        }

    def how_sets_are_made(self) -> dict[str, Any]:
        """By time or by count, and the tolerance; empty with one camera. After `open`."""
        if len(self.cameras) < 2:
            return {}
        return {"match": "time" if self.rig.sync.by_time else "count", **self.tolerance.as_report()}

    def _world_report(self) -> dict[str, Any]:
        """How well the cameras agree on points in the world (`poseloop.live.geometry.drift`); empty on a 2D rig."""
        return {} if self._reconstruction is None else self._reconstruction.drift.as_report()

    def _cameras_report(self) -> dict[str, dict[str, Any]]:
        lost, restarts, realigned = self.sync.lost, self.sync.restarts, self.sync.realigned
        return {
            feed.camera.name: {
                **self.sync.cameras[feed.camera.name].as_report(),
                "missing": self.sync.missing[feed.camera.name],
                "lost": lost[feed.camera.name],
                "restarts": restarts[feed.camera.name],
                "realigned": realigned[feed.camera.name],
                "state": feed.state,
                **({"recorder_overrun": feed.overruns} if self.rig.record else {}),
            }
            for feed in self._feeds
        }

    def _guard(self, work: Callable[..., None], *args: Any) -> None:
        """Run a thread's work; its error reaches the owner and ends the others."""
        try:
            work(*args)
        except Exception as error:  # noqa: BLE001 - whatever it is, it stops the rig and is raised by the owner
            if self.error is None:
                self.error = error
            self._stop_all()
            self.failed.set()

    def _infer(self) -> None:
        try:
            self._loop()
        finally:
            self._ended()

    def _loop(self) -> None:
        next_header_ns = 0
        while not self._stopping.is_set():
            frames = self.sync.take(_TAKE_S)
            if frames is None:
                if self.sync.finished:
                    break
                continue
            self._in_work = frames
            try:
                pose = self.pose(frames)
                if self._in_work is None:
                    return  # it hung, and was given up
                message = self.publisher.send_pose(pose)
            except Exception:
                if self._in_work is not None:
                    self._in_work = None
                    self.sync.drop(frames, "failed")
                raise
            self.published += 1
            # From here on nobody waits for this pose.
            self.latencies.add(pose.trace)
            self.recent.add(pose.trace)
            if len(self.cameras) > 1:
                self.skew.add(frames.skew_ns)
            self.sync.count(frames)
            if self.recording is not None:
                self.recording.send_pose(pose, message, frames)
            self._in_work = None
            if self._previewer is None or not self._previewer.offer(frames):
                self.sync.release(frames)
            if pose.trace.published_ns >= next_header_ns:
                next_header_ns = pose.trace.published_ns + _HEADER_NS
                self.publisher.send_header()

    def pose(self, frames: FrameSet) -> Pose:
        """Take one set through network, decoding and filter; for one thread, and in the order of the sets."""
        keypoints, times = self._keypoints(frames)
        return self._pose(frames, keypoints, times)

    def _keypoints(self, frames: FrameSet) -> tuple[Keypoints, tuple[int, int, int]]:
        started = self._clock()
        try:
            self.network.load([None if frame is None else frame.image for frame in frames.frames])
            self.network.run()
            ended = self._clock()
            keypoints = self.network.decode()
        except Exception as error:
            text = f"{self._model} failed at set {frames.index}: {type(error).__name__}: {error}"
            raise ModelError(text) from error
        return keypoints, (started, ended, self._clock())

    def _pose(self, frames: FrameSet, keypoints: Keypoints, times: tuple[int, int, int]) -> Pose:
        reconstruction = self._reconstruction
        together = self._together(keypoints) if reconstruction is None else reconstruction.step(keypoints)
        triangulated_ns = 0 if together.xyz is None else self._clock()
        predicted_for_ns = self._filter.target_ns(frames.exposed_ns, self._clock() + self.act_ns)
        measured = (keypoints.xy, keypoints.score) if together.xyz is None else (together.xyz, together.score)
        return Pose(
            sequence=self.published,
            index=frames.index,
            keypoints=keypoints,
            xyz=together.xyz,
            score=together.score,
            residual_px=together.residual_px,
            views=together.views,
            predicted=self._filter.step(*measured, frames.exposed_ns, predicted_for_ns),
            predicted_for_ns=predicted_for_ns,
            missing=sum(frame is None for frame in frames.frames),
            skew_ns=frames.skew_ns,
            trace=Trace(
                exposed_ns=frames.exposed_ns,
                arrived_ns=frames.arrived_ns,
                complete_ns=frames.complete_ns,
                infer_start_ns=times[0],
                infer_end_ns=times[1],
                decoded_ns=times[2],
                triangulated_ns=triangulated_ns,
                published_ns=self._clock(),
            ),
        )

    def _together(self, keypoints: Keypoints) -> Together:
        """What the pictures say together on a 2D rig."""
        alone = len(self.cameras) == 1
        seen = np.isfinite(keypoints.xy[..., 0])
        return Together(
            xyz=None,
            # fmax passes over NaN ("no picture"); nanmax would warn where no camera delivered.
            score=keypoints.score[0] if alone else np.fmax.reduce(keypoints.score, axis=0),
            residual_px=self._no_residual,
            views=seen[0].view(np.uint8) if alone else seen.sum(axis=0, dtype=np.uint8),
        )
