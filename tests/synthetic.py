"""Sessions whose truth is known: a small one with pictures, and long ones of a log alone."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import av
import msgpack
import numpy as np

from poseloop.live.config import parse_rig
from poseloop.live.output.log import LogWriter, packed
from poseloop.live.output.marks import Marker
from poseloop.live.output.session import Session
from poseloop.live.output.wire import Wire
from poseloop.live.types import InputEvent, Keypoints, Pose, Trace
from poseloop.protocols.commands.again import header_of
from poseloop.protocols.commands.offline import Clock, on_paper
from poseloop.protocols.host import Host

KEYPOINTS = ("snout", "tail")
STARTED_NS = 5_000_000_000_000
FIRST_NS = STARTED_NS + 2_000_000_000
HEIGHT, WIDTH = 48, 64

RIG = """
name = "small"
seed = 3

[cameras.top]
use = "replay"
path = "top.mkv"

[model]
file = "model.onnx"

[boards.box]
use = "sim"

[boards.box.lines.laser]
pin = 7
kinds = ["pulse", "train", "level"]
max_on_ms = 100

[protocols.corner]
use = "region"
keypoint = "snout"
polygon = [[30, 0], [64, 0], [64, 48], [30, 48]]
output = "box.laser"
pulse_ms = 5
refractory_ms = 40
"""


@dataclass(frozen=True)
class Plan:
    """What a session is made of."""

    frames: int = 100
    fps: float = 100.0
    cameras: Sequence[str] = ("top",)
    keypoints: Sequence[str] = KEYPOINTS
    missed: Sequence[int] = ()
    """Triggers that no camera answered."""
    unrecorded: Sequence[int] = ()
    """Triggers whose picture the recorder had no room for."""
    unprocessed: Sequence[int] = ()
    """Triggers that the loop dropped."""
    individuals: int = 1
    absent: Sequence[int] = ()
    """Individuals of which nothing is seen."""
    world: bool = False
    """Is there a calibration, and are points in the world?"""
    codec: str = "ffv1"
    pictures: bool = True
    ended: bool = True
    rig: str = RIG
    files: dict[str, bytes] = field(default_factory=dict)


def make_session(folder: Path, plan: Plan | None = None) -> Path:
    """Write a session with frames, poses and videos; protocols have not decided anything (see `decide`)."""
    plan = plan or Plan()
    folder.mkdir(parents=True)
    model = b"no network, but a file that has a hash"
    for name, content in {"model.onnx": model, "rig.toml": plan.rig.encode(), **plan.files}.items():
        (folder / name).write_bytes(content)
    _write_head(folder, plan)
    meta = {
        "cameras": list(plan.cameras),
        "keypoints": list(plan.keypoints),
        "skeleton": [list(plan.keypoints[:2])],
        "gate": 0.5,
        "individuals": plan.individuals,
        "protocols": ["corner"],
    }
    log = LogWriter(folder, meta)
    for number, camera in enumerate(plan.cameras):
        taken = [index for index in range(plan.frames) if index not in plan.missed]
        recorded = [index for index in taken if index not in plan.unrecorded]
        row_of = {index: row for row, index in enumerate(recorded)}
        log.add(
            "frame",
            [
                (number, row_of.get(index), index, exposed_ns(plan, index), exposed_ns(plan, index) + 1_000_000, 0,
                 "" if index in row_of else "recorder_overrun")
                for index in taken
            ],
        )  # fmt: skip
        if plan.pictures:
            write_video(folder / f"{camera}.mkv", plan, recorded)
    whose = (None, *range(len(plan.cameras)))
    log.add("dropped", [(camera, index, "stale") for index in plan.unprocessed for camera in whose])
    wire, marker = Wire(), Marker(0.5)
    left = {*plan.missed, *plan.unprocessed}
    for sequence, index in enumerate(index for index in range(plan.frames) if index not in left):
        pose = pose_at(plan, sequence, index)
        trace, frames = pose.trace, msgpack.packb([index] * len(plan.cameras))
        row = (sequence, index, trace.exposed_ns, trace.published_ns, wire.pose(pose), frames)
        log.add("pose", [row])
        if (mark := marker.look("pose", row)) is not None:
            log.add("mark", [mark])
        if sequence % 5000 == 0:
            log.commit()
    log.add("event", [(FIRST_NS, "supervisor", "notice", json.dumps({"text": "begun"}))])
    log.close()
    if plan.ended:
        (folder / "report.json").write_text(json.dumps({"rig": "small", "ended": "asked to"}))
    return folder


def decide(folder: Path, *, lick_every: int = 0, older: Sequence[int] = ()) -> int:
    """Let the session's protocols decide on its poses, and write that down; returns the number of commands.

    Args:
        folder: of a session without decisions.
        lick_every: an input comes with every so many poses; 0 = none does.
        older: sequences that came while the host was busy.
    """
    file = folder / "rig.toml"
    rig = parse_rig(file.read_text(), file, ("protocols",))
    failures = []

    def hear(event: str, **values: object) -> None:
        if event == "protocol_failed":
            failures.append((FIRST_NS, "host", event, json.dumps(values)))

    host = Host(on_paper(rig, Clock()), hear)
    rows, commands = [], 0
    with Session.open(folder) as session:
        host.open()
        host.bind(header_of(session))
        for number, pose in enumerate(session.poses()):
            received = pose.trace.published_ns + 500_000
            licks = lick_every and number % lick_every == 0
            inputs = [InputEvent("box", "lick", True, received - 1000)] if licks else []
            pose = replace(pose, trace=replace(pose.trace, received_ns=received))
            newest = pose.sequence not in older
            asked = host.ask(pose, inputs if newest else [], newest)
            listed = [
                [name, c.device, c.line, c.kind.value, c.on_us, c.period_us, c.count, c.delay_us, "sent"]
                for name, c in asked
            ]
            commands += len(listed)
            heard = packed([astuple(event) for event in inputs] if newest else [])
            rows.append((number, pose.sequence, int(newest), received, received + 200_000, heard, packed(listed)))
        host.close()
    log = sqlite3.connect(folder / "log.sqlite")
    log.executemany("INSERT INTO decision VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
    log.executemany("INSERT INTO event VALUES (?, ?, ?, ?)", failures)
    log.commit()
    log.close()
    return commands


def exposed_ns(plan: Plan, index: int) -> int:
    """Not quite regular, as a camera's."""
    return FIRST_NS + round(index * 1e9 / plan.fps) + index * 7919 % 1000


def truth(plan: Plan, index: int) -> np.ndarray:
    """Where the keypoints are, (K, 2): they go round in a circle."""
    angle = index / 25 * 2 * np.pi + np.arange(len(plan.keypoints))
    return np.stack([32 + 20 * np.cos(angle), 24 + 15 * np.sin(angle)], axis=-1).astype(np.float32)


def pose_at(plan: Plan, sequence: int, index: int) -> Pose:
    cameras, points = len(plan.cameras), len(plan.keypoints)
    # Each animal is 4 px to the right of the one before.
    beside = 4 * np.arange(plan.individuals, dtype=np.float32)[:, None, None] * (1, 0)
    xy = np.broadcast_to(truth(plan, index) + beside, (cameras, plan.individuals, points, 2)).astype(np.float32)
    xyz = np.concatenate([10 * xy[0], 50 + 0 * xy[0, ..., :1]], axis=-1) if plan.world else None
    score = np.full((cameras, plan.individuals, points), 0.9, np.float32)
    for animal in plan.absent:
        xy[:, animal], score[:, animal] = np.nan, 0.0
    if index % 10 == 9:
        # The second one is hidden now and then.
        xy[:, 0, 1], score[:, 0, 1] = np.nan, 0.1
        if xyz is not None:
            xyz[0, 1] = np.nan
    at = exposed_ns(plan, index)
    steps = [at + n * 500_000 for n in (2, 2, 3, 6, 7)]
    return Pose(
        sequence=sequence,
        index=index,
        keypoints=Keypoints(xy, score),
        xyz=xyz,
        score=score.max(axis=0),
        residual_px=np.full((plan.individuals, points), 0.5 if plan.world else np.nan, np.float32),
        views=np.full((plan.individuals, points), cameras, np.uint8),
        predicted=xy if xyz is None else xyz,
        predicted_for_ns=0,
        missing=0,
        skew_ns=0,
        trace=Trace(at, *steps, 0, at + 4_000_000),
    )


def picture(plan: Plan, index: int) -> np.ndarray:
    """Its number is painted into its top row, in blocks of 4 px: a bit each."""
    image = np.full((HEIGHT, WIDTH), 100, np.uint8)
    for bit in range(16):
        image[:4, bit * 4 : bit * 4 + 4] = 255 * (index >> bit & 1)
    for x, y in truth(plan, index):
        image[round(float(y)) - 2 : round(float(y)) + 3, round(float(x)) - 2 : round(float(x)) + 3] = 250
    return image


def number_of(image: np.ndarray) -> int:
    return sum(int(image[1, bit * 4 + 1] > 127) << bit for bit in range(16))


def write_video(file: Path, plan: Plan, indices: Sequence[int]) -> None:
    codec = {"ffv1": ("ffv1", "gray"), "h264": ("libx264", "yuv420p")}[plan.codec]
    with av.open(file, "w") as container:
        stream = container.add_stream(codec[0], rate=round(plan.fps), options={"g": "10"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, codec[1]
        stream.codec_context.max_b_frames = 0
        for index in indices:
            frame = av.VideoFrame.from_ndarray(picture(plan, index), format="gray")
            frame.pts = (exposed_ns(plan, index) - exposed_ns(plan, indices[0])) // 1000
            frame.time_base = Fraction(1, 1_000_000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _write_head(folder: Path, plan: Plan) -> None:
    digest = hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    lines = [
        "format = 1",
        'rig = "small"',
        'subject = "m042"',
        'started = "2026-05-04T09:30:12.345678+02:00"',
        f"started_ns = {STARTED_NS}",
        "\n[versions]",
        'poseloop = "0.1.0"',
        "\n[machine]",
        'system = "Linux"',
        "\n[models.model]",
        'file = "model.onnx"',
        'name = "small"',
        f'sha256 = "{digest}"',
    ]
    if plan.world:
        content = b"no cameras, but a file that has a hash"
        (folder / "calibration.toml").write_bytes(content)
        lines += ["\n[calibration]", 'file = "calibration.toml"', f'sha256 = "{hashlib.sha256(content).hexdigest()}"']
    for camera in plan.cameras if plan.pictures else ():
        lines += [
            f"\n[cameras.{camera}]",
            f'file = "{camera}.mkv"',
            f'codec = "{plan.codec}"',
            f"lossless = {str(plan.codec == 'ffv1').lower()}",
            f"width = {WIDTH}",
            f"height = {HEIGHT}",
            'colour = "grey"',
            f"fps = {plan.fps}",
        ]
    else:
        lines += [] if plan.pictures else ["\n[cameras]"]
    (folder / "session.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
