"""``poseloop demo``: a whole closed loop on this computer, with a simulated camera and a simulated board."""

from __future__ import annotations

import argparse
import threading
from collections import deque
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import zmq

from poseloop.live.commands import run as run_command
from poseloop.live.config import Rig, parse_rig, read_text
from poseloop.live.errors import DataError, DeviceTimeout
from poseloop.live.output import wire
from poseloop.live.output.draw import Canvas
from poseloop.live.output.publish import Subscriber
from poseloop.live.output.report import check_target
from poseloop.live.process import Message
from poseloop.live.types import Image, Pose

__all__ = ["HELP", "add_arguments", "run"]

HELP = "see a closed loop run: simulated animal → network → region → pulse"

RIG = Path(__file__).with_name("demo.toml")
_SECONDS = 15.0
_SHOWN_NS = 250_000_000
"""A pulse is shown for so long: the eye misses 20 ms."""

_CLIP_S = 20.0
"""The clip shows the last seconds of the run; what is older is forgotten."""

_WIDTH = 960


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
    """Run the demo's rig, then draw what happened."""
    check_target(arguments.clip)
    text = read_text(RIG)
    rig = parse_rig(text, RIG)
    film = _Film(rig)
    try:
        report = run_command.run_rig(text, RIG, arguments, film.hear)
    finally:
        film.close()
    shots = film.shots()
    if shots:
        picture = arguments.clip.with_suffix(".png")
        print("\ndrawing the clip …", flush=True)
        _write(film, shots, arguments.clip, picture)
        print(f"clip       {arguments.clip}\npicture    {picture}")
    return run_command.exit_code(report)


@dataclass(frozen=True, slots=True)
class _Shot:
    preview: wire.Preview
    pose: Pose


class _Film:
    """Collects previews with their poses while the rig runs; nothing is drawn until it has ended."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.header: wire.Header | None = None
        self._shots: deque[_Shot] = deque(maxlen=round(_CLIP_S * rig.publish.preview_fps))
        self._pulses: deque[tuple[int, int]] = deque(maxlen=1000)
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def fps(self) -> float:
        """Of the clip."""
        return self.rig.publish.preview_fps

    def hear(self, process: str, message: Message) -> None:
        """Start with the engine; note every pulse."""
        if process == "engine" and message["event"] == "ready":
            self._thread = threading.Thread(target=self._collect, args=(message["endpoints"],), name="film")
            self._thread.start()
        if message["event"] == "trigger" and message["trace"]["pin_ns"]:
            began = message["trace"]["pin_ns"]
            self._pulses.append((began, began + max(message["command"]["on_us"] * 1000, _SHOWN_NS)))

    def _collect(self, endpoints: dict[str, str]) -> None:
        recent: dict[int, Pose] = {}
        with Subscriber(endpoints["poses"]) as poses, zmq.Context() as context:
            pictures = context.socket(zmq.SUB)
            pictures.setsockopt(zmq.SUBSCRIBE, wire.PREVIEW)
            pictures.setsockopt(zmq.RCVHWM, 8)
            pictures.connect(endpoints["previews"])
            try:
                self.header = poses.header
                while not self._stopping.is_set() and not poses.ended:
                    if not pictures.poll(50):
                        continue
                    recent.update((pose.index, pose) for pose in poses.drain())
                    preview = wire.unpack_preview(pictures.recv_multipart()[1])
                    if preview.index in recent:
                        self._shots.append(_Shot(preview, recent[preview.index]))
                    # Previews come in order: older poses are of no use any more.
                    recent = {index: pose for index, pose in recent.items() if index > preview.index}
            except DeviceTimeout:
                return
            finally:
                pictures.close(linger=0)

    def close(self) -> None:
        """End the collecting; idempotent."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def shots(self) -> list[_Shot]:
        """What was collected, oldest first."""
        return list(self._shots)

    def is_on(self, shot: _Shot) -> bool:
        """Was the stimulus on during this shot, or did it go on within its display time?"""
        began = shot.pose.trace.exposed_ns
        ended = began + int(1e9 / self.fps)
        return any(on < ended and off > began for on, off in self._pulses)

    def draw(self, shot: _Shot) -> Image:
        """Draw one annotated picture."""
        assert self.header is not None
        canvas = Canvas(wire.decode_jpeg(shot.preview), _WIDTH)
        on = self.is_on(shot)
        for table in self.rig.protocols.values():
            corners = np.array(getattr(table.options, "polygon", None) or (), np.float32)
            canvas.polygon(shot.preview.place(corners), on)
        keypoints = shot.pose.keypoints
        xy = shot.preview.place(keypoints.xy[0, 0])
        canvas.animal(self.header, xy, keypoints.score[0, 0], self.rig.gates.score)
        canvas.legend(self.header)
        trace = shot.pose.trace
        canvas.text(f"frame {shot.pose.index}   pose {(trace.published_ns - trace.arrived_ns) / 1e6:.1f} ms", (16, 30))
        if on:
            canvas.text("LASER ON", (16, canvas.image.shape[0] - 18), strong=True)
        return canvas.image


def _write(film: _Film, shots: list[_Shot], clip: Path, picture: Path) -> None:
    """Write the clip as H.264, and the first picture with the stimulus on (else the last one) as PNG."""
    import cv2

    best = film.draw(next((shot for shot in shots if film.is_on(shot)), shots[-1]))
    _, png = cv2.imencode(".png", best)
    # Under another name until it is whole, so that an interrupt leaves no half clip behind.
    part = clip.with_name(clip.name + ".part")
    try:
        picture.write_bytes(png.tobytes())
        with av.open(str(part), "w", format="mp4") as container:
            rate = Fraction(film.fps).limit_denominator(1000)
            stream = container.add_stream("libx264", rate=rate, options={"crf": "20", "preset": "veryfast"})
            stream.pix_fmt = "yuv420p"
            stream.height, stream.width = best.shape[:2]
            for shot in shots:
                image = np.ascontiguousarray(film.draw(shot))
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
            container.mux(stream.encode())
        part.replace(clip)
    except (OSError, av.FFmpegError) as error:
        picture.unlink(missing_ok=True)
        raise DataError(f"clip and picture cannot be written to {clip.absolute().parent}: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)
