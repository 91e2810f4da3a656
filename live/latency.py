"""What latency a rig will have, from its parts, measured on this computer in a few seconds.

The true engine runs at the rig's pace and shapes; only its cameras are stand-ins, which hand noise of the right size to
it. So the processor rests between two frames, as it will: one that has rested is two to five times slower than one that
runs the same step again and again. Another process receives the poses and asks the rig's protocols, whose commands go
nowhere. A board is asked for the time and for nothing else: no output is ever switched on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from poseloop.live import realtime
from poseloop.live.clock import now_ns
from poseloop.live.config import ModelTable, Publish, Rig, load_rig
from poseloop.live.engine import Engine
from poseloop.live.errors import ConnectError, PoseloopError, RigError
from poseloop.live.interfaces import Camera, Experiment, Pingable
from poseloop.live.output.publish import Subscriber
from poseloop.live.prediction import NETWORK, Part, Prediction
from poseloop.live.types import CameraFormat, Image, Stamp, Trace

__all__ = ["formats", "predict"]

_STAGES = {
    "into memory": ("exposed_ns", "arrived_ns", "a camera's thread wakes up and copies the picture"),
    "into a set": ("arrived_ns", "infer_start_ns", "all cameras' pictures together, the loop wakes up"),
    NETWORK: ("infer_start_ns", "infer_end_ns", ""),
    "decoding": ("infer_end_ns", "decoded_ns", ""),
    "pose": ("decoded_ns", "published_ns", "points in the world, filter, prediction"),
    "socket": ("published_ns", "received_ns", "packed, sent, received in another process"),
    "protocols": ("received_ns", "decided_ns", ""),
}
"""Part → the two times of a trace that it lies between, and what happens there."""

_UNKNOWN_RATE_FPS = 30.0
_WARM_UP = 30
"""Sets that do not count: caches and the scheduler settle."""

_ANY = 1e-9
"""A gate that everything passes, a share that one point is; a gate of 0 would let a crop use the model's own."""

_PICTURES = 4
_PINGS = 100
_PING_EVERY_S = 0.005
_READY_S = 60.0
_TOLD_S = 10.0
"""How long the other process may take to import and compile, and to tell its times after the end."""

_TAIL = 200
"""Values that a p99 needs."""


def predict(file: Path, seconds: float = 4.0) -> Prediction:
    """Measure the parts of a rig; its cameras are opened for a moment, to learn what pictures they deliver.

    Args:
        file: the rig's.
        seconds: how long the engine runs.

    Raises:
        RigError: cameras that cannot be opened.
        PoseloopError: the model, the calibration, a protocol or a socket is of no use.
    """
    rig = load_rig(file)
    found = formats(rig)
    period_s, notes = _period_s(rig, found)
    # Not the rig's own "stop": what is refused makes the prediction pessimistic, and that can be said.
    asked = rig.realtime.model_copy(update={"refused": "warn"})
    notes += realtime.apply(asked, asked.engine_cores)
    pulse = _Pulse(period_s)
    engine = Engine(_stand_in(rig, found, pulse))
    engine.open()
    processes = get_context("spawn")
    near, far = processes.Pipe()
    host = processes.Process(target=_decide, args=(str(file), engine.publisher.endpoints["poses"], far))
    try:
        host.start()
        far.close()
        _wait_for(engine, near, host)
        engine.start()
        pulse.begin()
        # From now on the socket is the inference thread's.
        engine.failed.wait(_WARM_UP * period_s + seconds)
        engine.stop()
        engine.publisher.send_end(engine.published)
        if engine.error is not None:
            raise engine.error
        told = _receive(near, host, _TOLD_S)
    finally:
        engine.close()
        near.close()
        if host.pid is not None:
            host.join(_TOLD_S)
            if host.is_alive():
                host.terminate()
                host.join()
    predicted = _summed(rig, told, engine.sync.sets.dropped.get("superseded", 0), period_s, [*notes, *told["notes"]])
    return replace(predicted, tolerance=engine.tolerance if len(rig.cameras) > 1 else None)


def formats(rig: Rig) -> list[CameraFormat]:
    """What each camera delivers, in rig order; each is opened and closed again.

    Raises:
        RigError: some cannot be opened; all of them are named.
    """
    found, faults = [], list[PoseloopError]()
    for name, table in rig.cameras.items():
        camera: Camera = table.build(name)
        try:
            camera.open()
            found.append(camera.format)
        except PoseloopError as error:
            faults.append(error)
        finally:
            camera.close()
    if faults:
        text = (
            'cameras that could not be opened; one that is not there yet is use = "sim" with its width, height and fps'
        )
        raise RigError(text, faults)
    return found


class _Pulse:
    """When the stand-ins' frames are due: one beginning for all of them."""

    def __init__(self, period_s: float) -> None:
        self.period_ns = round(period_s * 1e9)
        self.began = threading.Event()
        self.start_ns = 0

    def begin(self) -> None:
        """From now on a frame every period."""
        self.start_ns = now_ns() + self.period_ns
        self.began.set()


class _StandIn:
    """Delivers noise of a camera's size, a frame every period; see `poseloop.live.interfaces.Camera`."""

    def __init__(self, name: str, options: tuple[CameraFormat, _Pulse]) -> None:
        self.name = name
        self.format, self._pulse = options
        self.finished = False
        self._stopped = threading.Event()
        self._next = 0
        random = np.random.default_rng(0)
        self._pictures = [random.integers(0, 255, self.format.shape, np.uint8) for _ in range(_PICTURES)]

    def open(self) -> None:
        """Nothing to connect."""

    def start(self, trigger: str) -> None:
        """Wait for the pulse."""
        self._stopped.clear()

    def grab(self, into: Image, timeout_s: float) -> Stamp | None:
        """Copy the next picture at its time; those whose time is over are lost, as a camera's are."""
        pulse = self._pulse
        if not pulse.began.wait(timeout_s):
            return None
        self._next = max(self._next, (now_ns() - pulse.start_ns) // pulse.period_ns)
        due_ns = pulse.start_ns + self._next * pulse.period_ns
        left_s = (due_ns - now_ns()) / 1e9
        if left_s > timeout_s or self._stopped.wait(max(left_s, 0.0)):
            return None
        np.copyto(into, self._pictures[self._next % _PICTURES])
        index, self._next = self._next, self._next + 1
        return Stamp(index, due_ns, now_ns())

    def stop(self) -> None:
        """Unblock ``grab``."""
        self._stopped.set()

    def close(self) -> None:
        """Nothing to give back."""


def _period_s(rig: Rig, found: Sequence[CameraFormat]) -> tuple[float, list[str]]:
    triggers = [table.camera_trigger.fps for table in rig.boards.values() if table.camera_trigger is not None]
    rates = triggers or [one.fps for one in found if one.fps > 0]
    if rates:
        return 1 / max(rates), []
    return 1 / _UNKNOWN_RATE_FPS, [f"no camera tells its rate: {_UNKNOWN_RATE_FPS:g} frames a second were assumed"]


def _stand_in(rig: Rig, found: Sequence[CameraFormat], pulse: _Pulse) -> Rig:
    """The same rig with stand-ins for its cameras, free sockets and no recording.

    Nothing is to be seen in noise. With a gate of next to nothing all points count, so that a crop follows them, and
    every point is triangulated.
    """
    cameras = {
        name: table.model_copy(update={"plugin": _StandIn, "options": (its, pulse)})
        for (name, table), its in zip(rig.cameras.items(), found, strict=True)
    }
    any_port = "tcp://127.0.0.1:*"
    publish = Publish(poses=any_port, health=any_port, previews=any_port)
    changed = {
        "cameras": cameras,
        "publish": publish,
        "record": None,
        "sync": rig.sync.model_copy(update={"frames": "newest"}),
        "model": _without_gate(rig.model),
        "models": {name: _without_gate(table) for name, table in rig.models.items()},
    }
    return rig.model_copy(update=changed)


def _without_gate(table: ModelTable) -> ModelTable:
    crop = None if table.crop is None else table.crop.model_copy(update={"seen": _ANY})
    return table.model_copy(update={"gate": _ANY, "crop": crop})


def _wait_for(engine: Engine, near: Any, host: Any) -> None:
    """Until the other process has subscribed and its protocols are bound."""
    until = time.monotonic() + _READY_S
    while not near.poll(0.05):
        # It subscribes at any moment, and waits for the names.
        engine.publisher.send_header()
        if time.monotonic() > until or not host.is_alive():
            break
    _receive(near, host, 0.0)


def _receive(near: Any, host: Any, timeout_s: float) -> dict[str, Any]:
    message: dict[str, Any] = {}
    try:
        if near.poll(timeout_s):
            message = near.recv()
    except EOFError:
        pass
    if not message:
        raise ConnectError("latency", f"the process that receives poses has ended or hangs (exit code {host.exitcode})")
    if "error" in message:
        raise ConnectError("latency", f"the process that receives poses: {message['error']}")
    return message


def _decide(file: str, endpoint: str, far: Any) -> None:
    """In another process: receive poses as the host does, ask the protocols, tell the times."""
    protocols: dict[str, Experiment] = {}
    try:
        rig = load_rig(Path(file))
        realtime.apply(rig.realtime.model_copy(update={"refused": "warn"}), rig.realtime.host_cores)
        notes = []
        for name, table in rig.protocols.items():
            protocol: Experiment = table.build(name)
            if getattr(protocol, "own_devices", False):
                notes.append(f"protocols.{name} was not asked: it drives devices of its own")
            else:
                protocols[name] = protocol
        times: list[tuple[int, ...]] = []
        with Subscriber(endpoint, timeout_s=_READY_S) as poses:
            header = poses.header
            for protocol in protocols.values():
                protocol.bind(header.keypoints, header.cameras, rig.gates.score)
                protocol.reset(rig.seed)
            far.send({"ready": True})
            while not poses.ended:
                if not poses.poll(_READY_S):
                    break
                pose, _ = poses.newest()
                if pose is None:
                    continue
                for protocol in protocols.values():
                    protocol.decide(pose, ())
                decided_ns = now_ns()
                if pose.sequence >= _WARM_UP:
                    times.append(_times(pose.trace, decided_ns))
        far.send({"times": times, "notes": notes})
    except Exception as error:  # noqa: BLE001 - a user's protocol may raise anything; the parent tells it
        far.send({"error": f"{type(error).__name__}: {error}"})
    finally:
        for protocol in protocols.values():
            protocol.close()
        far.close()


_TIMES = tuple(dict.fromkeys(name for first, last, _ in _STAGES.values() for name in (first, last)))


def _times(trace: Trace, decided_ns: int) -> tuple[int, ...]:
    return (*(getattr(trace, name) for name in _TIMES[:-1]), decided_ns)


def _summed(rig: Rig, told: Mapping[str, Any], superseded: int, period_s: float, notes: Sequence[str]) -> Prediction:
    if not told["times"]:
        raise ConnectError("latency", "no pose came through within the time: try more seconds")
    columns = dict(zip(_TIMES, np.array(told["times"], np.int64).T, strict=True))
    parts = [Part("exposure", None, note=_CAMERA)]
    for name, (first, last, note) in _STAGES.items():
        parts.append(_part(name, columns[last] - columns[first], note or _about(name, rig)))
    parts += [_board(name, rig) for name in rig.boards]
    if not rig.boards:
        parts.append(Part("board", None, note="the rig has none: nothing is switched"))
    return Prediction(
        parts,
        _part("decided", columns["decided_ns"] - columns["exposed_ns"]),
        _part("busy", columns["published_ns"] - columns["infer_start_ns"]),
        period_s * 1e3,
        len(told["times"]),
        superseded,
        len(rig.boards),
        notes,
    )


_CAMERA = (
    "half of the exposure time, the sensor's read-out and the way through the cable: its data sheet has the first two; "
    "row `arrival` of a run has all, if its camera maps its clock; or an LED in view, switched by the board"
)


def _about(name: str, rig: Rig) -> str:
    if name == NETWORK:
        notes = [f"{table.file} on {table.provider}, {table.threads} thread(s)" for table, _ in rig.networks()]
        return "; ".join(notes) + (", cropped" if any(table.crop for table, _ in rig.networks()) else "")
    return ", ".join(rig.protocols) or "none" if name == "protocols" else ""


def _part(name: str, values_ns: npt.NDArray[np.int64], note: str = "") -> Part:
    p99 = float(np.percentile(values_ns, 99)) / 1e6 if len(values_ns) >= _TAIL else None
    return Part(name, float(np.median(values_ns)) / 1e6, p99, note)


def _board(name: str, rig: Rig) -> Part:
    """The link to a board: asked for the time if it is there, else the bytes of a command at its rate."""
    board = rig.boards[name].build(name)
    title = f"board {name}"
    if not isinstance(board, Pingable):
        return Part(title, None, note="its driver cannot be timed from here: rows `write` and `pin` of a run")
    wire_ms = board.command_us / 1e3
    try:
        board.open()
        taken = []
        for _ in range(_PINGS):
            time.sleep(_PING_EVERY_S)
            taken.append(board.ping_ns())
    except PoseloopError as error:
        if not wire_ms:
            return Part(title, None, note=f"not connected: {error}")
        return Part(title, wire_ms, wire_ms, "the bytes of a pulse at its rate, alone: not connected")
    finally:
        board.close()
    note = f"there and back again ({_PINGS} pings): the pin changes before that"
    return Part(title, float(np.median(taken)) / 1e6, float(np.max(taken)) / 1e6, note + "; p99 is the longest")
