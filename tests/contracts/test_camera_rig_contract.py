"""What several cameras of one driver must do together when one trigger serves all of them."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from poseloop.drivers.pylon.camera import BaslerCamera
from poseloop.drivers.replay.camera import ReplayCamera
from poseloop.drivers.sim.camera import SimulatedCamera
from poseloop.live.interfaces import Camera
from poseloop.live.types import Image, Stamp

FRAMES = 20
LONG_S = 60.0


@dataclass(frozen=True)
class Row:
    """One kind of rig."""

    name: str
    make: Callable[[Path], Sequence[Camera]]
    """Cameras that give FRAMES frames each at 100 frames a second."""
    skew_ns: int
    """How much the exposures of one trigger may differ."""
    pulse: Callable[[Sequence[Camera]], None] = lambda cameras: None
    """One edge for all of them, where they wait for one."""


def videos(folder: Path, **options: Any) -> list[Camera]:
    cameras: list[Camera] = []
    for number in range(4):
        file = folder / f"{number}.mkv"
        with av.open(file, "w") as container:
            stream = container.add_stream("ffv1", rate=100)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "gray"
            for i in range(FRAMES):
                picture = np.full((48, 64), 10 * number + i, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "gray")))
            container.mux(stream.encode(None))
        cameras.append(ReplayCamera(f"cam{number}", ReplayCamera.Settings(path=file, colour="grey", **options)))
    return cameras


def simulated(**options: Any) -> list[Camera]:
    return [
        SimulatedCamera(
            f"cam{number}",
            SimulatedCamera.Settings(
                width=64, height=48, fps=100.0, frames=FRAMES, position_mm=place, focal_px=60.0, **options
            ),
        )
        for number, place in enumerate(((-250.0, -300.0, 280.0), (280.0, -260.0, 260.0), (0.0, 330.0, 300.0)))
    ]


def baslers() -> list[Camera]:
    return [
        BaslerCamera(
            f"cam{number}",
            BaslerCamera.Settings(serial=f"0815-000{number}", width=64, height=48, exposure_us=200.0, buffers=FRAMES),
        )
        for number in range(4)
    ]


def pulse(cameras: Sequence[Camera]) -> None:
    devices = [camera.device for camera in cameras if isinstance(camera, BaslerCamera)]
    for device in devices:
        assert device.WaitForFrameTriggerReady(5000)
    for device in devices:
        device.TriggerSoftware.Execute()


ROWS = (
    Row("replay x 4", videos, 0),
    Row("replay x 4, unpaced", lambda folder: videos(folder, pace="none"), 0),
    Row("sim x 3", lambda _: simulated(), 0),
    Row("sim x 3, unpaced", lambda _: simulated(pace="none"), 0),
    Row("sim x 3, with losses and jitter", lambda _: simulated(loss=0.2, jitter_ms=5.0), 0),
    # A busy machine may look away between the pulses of two cameras; the next one comes when all are ready.
    Row("pylon x 4", lambda _: baslers(), 500_000_000, pulse),
)


@pytest.fixture(params=ROWS, ids=lambda row: row.name)
def row(request: pytest.FixtureRequest) -> Row:
    made: Row = request.param
    return made


@pytest.fixture
def cameras(row: Row, tmp_path: Path) -> Iterator[Sequence[Camera]]:
    with contextlib.ExitStack() as stack:
        made = row.make(tmp_path)
        for camera in made:
            stack.callback(camera.close)
            camera.open()
        yield made


def run(row: Row, cameras: Sequence[Camera]) -> list[dict[int, tuple[Stamp, Image]]]:
    """Start all, then grab on a thread for each, as the engine does; index → stamp and picture of every camera."""
    taken: list[dict[int, tuple[Stamp, Image]]] = [{} for _ in cameras]

    def grab(camera: Camera, into: dict[int, tuple[Stamp, Image]]) -> None:
        image = np.zeros(camera.format.shape, np.uint8)
        while not camera.finished and len(into) < FRAMES:
            stamp = camera.grab(image, 0.5)
            if stamp is not None:
                into[stamp.index] = stamp, image.copy()
            elif camera.finished or pulses_over.is_set():
                return

    pulses_over = threading.Event()
    for camera in cameras:
        camera.start("hardware")
    threads = [threading.Thread(target=grab, args=pair, name="grab") for pair in zip(cameras, taken, strict=True)]
    for thread in threads:
        thread.start()
    for _ in range(FRAMES):
        row.pulse(cameras)
    pulses_over.set()
    for thread in threads:
        thread.join(LONG_S)
        assert not thread.is_alive()
    for camera in cameras:
        camera.stop()
    return taken


def test_frames_of_one_index_were_taken_at_one_time(row: Row, cameras: Sequence[Camera]) -> None:
    taken = run(row, cameras)
    common = set.intersection(*(set(frames) for frames in taken))
    assert len(common) == FRAMES or "losses" in row.name
    assert len(common) > FRAMES / 4
    for index in common:
        exposed = [frames[index][0].exposed_ns for frames in taken]
        assert max(exposed) - min(exposed) <= row.skew_ns
    for frames in taken:
        stamps = [frames[index][0] for index in sorted(frames)]
        assert all(stamp.exposed_ns <= stamp.arrived_ns for stamp in stamps)
        assert (np.diff([stamp.exposed_ns for stamp in stamps]) > 0).all()


def test_they_start_together_again_after_a_stop(row: Row, cameras: Sequence[Camera]) -> None:
    first = run(row, cameras)
    again = run(row, cameras)
    for before, after in zip(first, again, strict=True):
        assert sorted(before) == sorted(after)
        last, next_one = max(before), min(after)
        assert after[next_one][0].exposed_ns > before[last][0].exposed_ns


def test_one_that_stops_leaves_the_others_alone(row: Row, cameras: Sequence[Camera]) -> None:
    for camera in cameras:
        camera.start("hardware")
    cameras[0].close()
    row.pulse(cameras[1:])
    for camera in cameras[1:]:
        image = np.zeros(camera.format.shape, np.uint8)
        stamp = camera.grab(image, LONG_S)
        assert stamp is not None
        assert stamp.index >= 0
