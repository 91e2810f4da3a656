"""``poseloop demo``: a whole closed loop on this computer, with simulated cameras and a simulated board."""

from __future__ import annotations

import argparse
import threading
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zmq

from poseloop.live.commands import run as run_command
from poseloop.live.commands.demo_film import Film, Shot
from poseloop.live.config import Rig, parse_rig, read_text
from poseloop.live.errors import DeviceTimeout
from poseloop.live.output import wire
from poseloop.live.output.publish import Subscriber
from poseloop.live.output.report import check_target
from poseloop.live.process import Message
from poseloop.live.types import Pose

__all__ = ["HELP", "add_arguments", "run"]

HELP = "see a closed loop run: simulated animal → three cameras → network → place in the world → pulse"

RIG = Path(__file__).with_name("demo.toml")
_SECONDS = 15.0
_CLIP_S = 20.0
"""The clip shows the last seconds of the run; what is older is forgotten."""

_SHOWN_NS = 250_000_000
"""A pulse is shown for so long: the eye misses 20 ms."""

_POSES = 100_000
"""So many of the last poses are compared with the truth."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    run_command.add_run_arguments(parser, _SECONDS)
    parser.add_argument(
        "--clip", type=_clip, metavar="FILE.mp4", default=Path("poseloop-demo.mp4"), help="annotated clip (and a .png)"
    )


def _clip(text: str) -> Path:
    if not text.endswith(".mp4"):
        raise argparse.ArgumentTypeError(f"expected a file name that ends in .mp4, but got {text!r}")
    return Path(text)


def run(arguments: argparse.Namespace) -> int:
    """Run the demo's rig, say how near to the truth it was, and draw what happened."""
    check_target(arguments.clip)
    text = read_text(RIG)
    rig = parse_rig(text, RIG)
    witness = _Witness(rig)
    try:
        report = run_command.run_rig(text, RIG, arguments, witness.hear)
    finally:
        witness.close()
    for line in witness.truth.as_text():
        print(line)
    if witness.header is not None and witness.shots:
        print("\ndrawing the clip …", flush=True)
        picture = arguments.clip.with_suffix(".png")
        Film(rig, witness.header, witness.pulses).write(list(witness.shots), arguments.clip, picture)
        print(f"clip       {arguments.clip}\npicture    {picture}")
    return run_command.exit_code(report)


class _Witness:
    """Collects what the rig publishes while it runs; nothing is drawn until it has ended."""

    def __init__(self, rig: Rig) -> None:
        self.header: wire.Header | None = None
        self.truth = _Truth(rig)
        self.shots: deque[Shot] = deque(maxlen=round(_CLIP_S * rig.publish.preview_fps))
        """Oldest first."""
        self.pulses: deque[tuple[int, int]] = deque(maxlen=1000)
        """When each began, and until when it is shown, ns."""
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def hear(self, process: str, message: Message) -> None:
        """Start with the engine; note every pulse."""
        if process == "engine" and message["event"] == "ready":
            self._thread = threading.Thread(target=self._collect, args=(message["endpoints"],), name="witness")
            self._thread.start()
        if message["event"] == "trigger" and message["trace"]["pin_ns"]:
            began = message["trace"]["pin_ns"]
            self.pulses.append((began, began + max(message["command"]["on_us"] * 1000, _SHOWN_NS)))

    def _collect(self, endpoints: dict[str, str]) -> None:
        recent: dict[int, Pose] = {}
        with Subscriber(endpoints["poses"], queued=64) as poses, zmq.Context() as context:
            pictures = context.socket(zmq.SUB)
            pictures.setsockopt(zmq.SUBSCRIBE, wire.PREVIEW)
            pictures.setsockopt(zmq.RCVHWM, 32)
            pictures.connect(endpoints["previews"])
            try:
                self.header = poses.header
                while not self._stopping.is_set() and not poses.ended:
                    some = pictures.poll(50)
                    for pose in poses.drain():
                        recent[pose.index] = pose
                        self.truth.compare(pose, self.header.keypoints)
                    if some:
                        self._take(wire.unpack_preview(pictures.recv_multipart()[1]), recent)
            except DeviceTimeout:
                return
            finally:
                pictures.close(linger=0)

    def _take(self, preview: wire.Preview, recent: dict[int, Pose]) -> None:
        # The pictures of a set follow each other, and sets come in order: older poses are of no use any more.
        for index in [index for index in recent if index < preview.index]:
            del recent[index]
        if preview.index not in recent:
            return
        if not self.shots or self.shots[-1].pose.index != preview.index:
            self.shots.append(Shot(recent[preview.index], {}))
        self.shots[-1].previews[preview.camera] = preview

    def close(self) -> None:
        """End the collecting; idempotent."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()


@dataclass(slots=True)
class _Truth:
    """The simulation knows where the animal was: how far off were the points in the world?"""

    rig: Rig
    off_mm: deque[npt.NDArray[np.float64]] = field(default_factory=lambda: deque(maxlen=_POSES))
    """(K,) for every pose; NaN = not found."""
    entries: int = 0
    """How often the truth came into the region, as far as poses show it."""
    _camera: Any = None
    _inside: bool = True

    def __post_init__(self) -> None:
        name, table = next(iter(self.rig.cameras.items()))
        self._camera = table.build(name)

    def compare(self, pose: Pose, keypoints: tuple[str, ...]) -> None:
        """Take in one pose."""
        assert pose.xyz is not None
        order = [self._camera.keypoints.index(name) for name in keypoints]
        truth = self._camera.truth_xyz(pose.index)[order]
        self.off_mm.append(np.linalg.norm(pose.xyz[0] - truth, axis=1))
        region = next(iter(self.rig.protocols.values())).options
        place, corners = truth[keypoints.index(region.keypoint)], np.sort(region.box, axis=0)
        # One that is inside at first sight has not entered.
        was, self._inside = self._inside, bool((corners[0] <= place).all() and (place <= corners[1]).all())
        self.entries += self._inside and not was

    def as_text(self) -> list[str]:
        """For people."""
        if not self.off_mm:
            return []
        off = np.array(self.off_mm)
        found = off[np.isfinite(off)]
        many = f"{len(off)} poses x {off.shape[1]} points, {len(found) / off.size:.1%} found"
        if not len(found):
            return [f"truth      {many}"]
        middle, most = np.percentile(found, [50, 95])
        return [
            f"truth      {many}; off by {middle:.2f} mm in the median, 95 % by less than {most:.2f} mm",
            f"           the snout came into the box {self.entries} x",
        ]
