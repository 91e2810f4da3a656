"""What every camera driver must do. A further driver is one more row of ROWS."""

import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from captures import UsbCamera

from poseloop.drivers.opencv.camera import OpenCVCamera
from poseloop.drivers.pylon.camera import BaslerCamera
from poseloop.drivers.replay.camera import ReplayCamera
from poseloop.drivers.sim.camera import SimulatedCamera
from poseloop.live import config
from poseloop.live.errors import ConnectError, DataError
from poseloop.live.interfaces import Camera
from poseloop.live.types import Image, Stamp

FRAMES = 12
LONG_S = 60.0
"""Longer than any test may take: whoever waits for it was not unblocked."""


@dataclass(frozen=True)
class Row:
    """One kind of camera."""

    name: str
    finite: Callable[[Path], Camera]
    """Gives FRAMES frames, as fast as they are asked for; a device that never ends goes on."""
    brisk: Callable[[Path], Camera]
    """The same at 1000 frames a second, or as fast as the device can."""
    slow: Callable[[Path], Camera]
    """Gives one frame at once, and the next one only after LONG_S."""
    absent: Callable[[Path], Camera] | None
    """Its device or file is not there; None = that cannot be."""
    waits: bool
    """Frames that are fetched late are not lost, and come with their own times."""
    recorded: bool = True
    """It ends, and shows the same pictures again when it is started again."""
    trigger: str = "free"
    """What ``slow`` is started with."""
    nudge: Callable[[Camera], None] = lambda camera: None
    """Makes ``slow`` give its one frame, once it is started."""
    plug_in: Callable[[pytest.MonkeyPatch], None] = lambda patch: None
    """Puts the device behind the SDK, for ``slow``."""


def pictures() -> list[Image]:
    rng = np.random.default_rng(3)
    return [rng.integers(0, 256, (30, 42, 3), np.uint8) for _ in range(FRAMES)]


def video(folder: Path) -> Path:
    file = folder / "recording.mkv"
    with av.open(file, "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 42, 30, "bgr0"
        for picture in pictures():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode(None))
    return file


def folder_of_pictures(folder: Path) -> Path:
    folder = folder / "pictures"
    folder.mkdir()
    for i, picture in enumerate(pictures()):
        cv2.imwrite(str(folder / f"img{i}.png"), picture[..., ::-1])
    return folder


def replay(path: Path, **options: Any) -> Camera:
    return ReplayCamera("top", ReplayCamera.Settings(path=path, **options))


def sim(**options: Any) -> Camera:
    return SimulatedCamera("top", SimulatedCamera.Settings(width=64, height=48, **options))


def opencv(device: int | Path) -> Camera:
    return OpenCVCamera("top", OpenCVCamera.Settings(device=device))


def one_usb_frame(patch: pytest.MonkeyPatch) -> None:
    # One more is looked at by open().
    UsbCamera(frames=threading.Semaphore(2), patience_s=2.0).plug_in(patch)


def basler(**options: Any) -> Camera:
    """One that pylon emulates, behind its real API."""
    return BaslerCamera("top", BaslerCamera.Settings(**{"serial": "0815-0000", "width": 64, "height": 48, **options}))


def pulse(camera: Camera) -> None:
    """One edge at the trigger input."""
    device = camera.device  # type: ignore[attr-defined]
    assert device.WaitForFrameTriggerReady(5000)
    device.TriggerSoftware.Execute()


ROWS = (
    Row(
        "sim",
        finite=lambda _: sim(frames=FRAMES, pace="none"),
        brisk=lambda _: sim(frames=FRAMES, fps=1000),
        slow=lambda _: sim(fps=1 / LONG_S),
        absent=None,
        waits=True,
    ),
    Row(
        "replay-video",
        finite=lambda folder: replay(video(folder), pace="none"),
        brisk=lambda folder: replay(video(folder), fps=1000),
        slow=lambda folder: replay(video(folder), fps=1 / LONG_S),
        absent=lambda folder: replay(folder / "none.mp4"),
        waits=True,
    ),
    Row(
        "replay-pictures",
        finite=lambda folder: replay(folder_of_pictures(folder), pace="none", fps=30, colour="grey"),
        brisk=lambda folder: replay(folder_of_pictures(folder), fps=1000),
        slow=lambda folder: replay(folder_of_pictures(folder), fps=1 / LONG_S),
        absent=lambda folder: replay(folder / "none", fps=30),
        waits=True,
    ),
    Row(
        "opencv",
        finite=lambda folder: opencv(video(folder)),
        brisk=lambda folder: opencv(video(folder)),
        slow=lambda _: opencv(0),
        absent=lambda folder: opencv(folder / "none.mp4"),
        waits=False,
        plug_in=one_usb_frame,
    ),
    Row(
        "pylon",
        finite=lambda _: basler(fps=100, exposure_us=500, buffers=100),
        brisk=lambda _: basler(fps=800, exposure_us=100, buffers=100),
        slow=lambda _: basler(),
        absent=lambda _: basler(serial="none"),
        waits=False,
        recorded=False,
        trigger="hardware",
        nudge=pulse,
    ),
)


@pytest.fixture(params=ROWS, ids=lambda row: row.name)
def row(request: pytest.FixtureRequest) -> Row:
    made: Row = request.param
    return made


@pytest.fixture
def finite(row: Row, tmp_path: Path) -> Iterator[Camera]:
    camera = row.finite(tmp_path)
    yield camera
    camera.close()


@pytest.fixture
def brisk(row: Row, tmp_path: Path) -> Iterator[Camera]:
    camera = row.brisk(tmp_path)
    yield camera
    camera.close()


@pytest.fixture
def slow(row: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Camera]:
    row.plug_in(monkeypatch)
    camera = row.slow(tmp_path)
    yield camera
    camera.close()


@pytest.fixture
def absent(row: Row, tmp_path: Path) -> Camera:
    if row.absent is None:
        pytest.skip("this device cannot be absent")
    return row.absent(tmp_path)


def begin(camera: Camera, trigger: str = "free") -> Image:
    """Open and start, and return a buffer for its frames."""
    camera.open()
    camera.start(trigger)
    return np.zeros(camera.format.shape, np.uint8)


def grab_all(camera: Camera, into: Image) -> tuple[list[Stamp], list[Image]]:
    """All frames of a recording, or the next FRAMES of a device."""
    stamps: list[Stamp] = []
    images: list[Image] = []
    ends = type(camera) is not BaslerCamera
    while (ends or len(stamps) < FRAMES) and (stamp := camera.grab(into, LONG_S)) is not None:
        stamps.append(stamp)
        images.append(into.copy())
    return stamps, images


class Grabber(threading.Thread):
    """Waits in ``grab`` on a thread of its own."""

    def __init__(self, camera: Camera, into: Image) -> None:
        super().__init__(name="grabber")
        self.camera, self.into = camera, into
        self.calling = threading.Event()
        self.result: object = "none yet"

    def run(self) -> None:
        self.calling.set()
        self.result = self.camera.grab(self.into, LONG_S)


def test_it_has_what_the_interface_asks_for(finite: Camera) -> None:
    assert issubclass(type(finite).Settings, config.Settings)
    assert finite.name == "top"
    assert all(isinstance(line, str) for line in type(finite).discover())
    finite.open()
    assert isinstance(finite, Camera)


def test_it_never_delivers_faster_than_it_says_is_possible(row: Row, brisk: Camera) -> None:
    """How far exposures of one set may lie apart is derived from it."""
    into = begin(brisk)
    its = brisk.format
    assert its.fps > 0
    assert its.possible_fps == 0 or its.possible_fps >= its.fps
    if row.name == "opencv":
        pytest.skip("it reads a file as fast as it can; a camera paces itself")
    stamps, _ = grab_all(brisk, into)
    took_s = (stamps[-1].exposed_ns - stamps[0].exposed_ns) / 1e9
    # Emulated exposures are known by an event each, which a busy machine may tell of late.
    assert (stamps[-1].index - stamps[0].index) / took_s <= 1.2 * max(its.fps, its.possible_fps)


def test_constructor_touches_no_device_and_open_names_what_is_missing(absent: Camera) -> None:
    for _ in range(2):
        with pytest.raises((ConnectError, DataError), match="none") as caught:
            absent.open()
        assert not isinstance(caught.value, ConnectError) or str(caught.value).startswith("top: ")
    absent.close()


def test_format_is_known_after_open_and_constant(finite: Camera) -> None:
    with pytest.raises(ConnectError, match="open"):
        _ = finite.format
    into = begin(finite)
    before = finite.format
    assert before.width > before.height > 0
    assert before.shape == into.shape
    grab_all(finite, into)
    assert finite.format == before


def test_open_and_close_may_be_repeated(finite: Camera) -> None:
    finite.close()
    into = begin(finite)
    finite.open()
    assert finite.grab(into, LONG_S) is not None
    finite.close()
    finite.close()
    assert finite.grab(into, 0.0) is None
    again = begin(finite)
    assert [stamp.index for stamp in grab_all(finite, again)[0]] == list(range(FRAMES))


def test_start_needs_open(finite: Camera) -> None:
    with pytest.raises(ConnectError, match="open"):
        finite.start("free")


def test_index_counts_from_0_by_one_and_then_it_has_finished(row: Row, finite: Camera) -> None:
    into = begin(finite)
    assert not finite.finished
    stamps, _ = grab_all(finite, into)
    assert [stamp.index for stamp in stamps] == list(range(FRAMES))
    assert finite.finished == row.recorded
    if row.recorded:
        assert finite.grab(into, LONG_S) is None


def test_stamps_are_monotonic_and_lie_in_the_call(brisk: Camera) -> None:
    into = begin(brisk)
    started_ns = time.perf_counter_ns()
    stamps, _ = grab_all(brisk, into)
    ended_ns = time.perf_counter_ns()
    for earlier, later in itertools.pairwise(stamps):
        assert earlier.exposed_ns < later.exposed_ns
        assert earlier.arrived_ns < later.arrived_ns
    assert all(stamp.exposed_ns <= stamp.arrived_ns for stamp in stamps)
    assert stamps[-1].arrived_ns < ended_ns
    assert stamps[0].arrived_ns > started_ns - 1_000_000_000


def test_grab_fills_the_buffer_and_nothing_else(row: Row, finite: Camera) -> None:
    shape = begin(finite).shape
    canvases = [np.full((shape[0] + 2, *shape[1:]), value, np.uint8) for value in (0, 255)]
    for canvas in canvases:
        finite.stop()
        finite.start("free")
        assert finite.grab(canvas[1:-1], LONG_S) is not None
    dark, light = canvases
    assert (dark[[0, -1]] == 0).all()
    assert (light[[0, -1]] == 255).all()
    if row.recorded:
        np.testing.assert_array_equal(dark[1:-1], light[1:-1])
    assert np.ptp(dark[1:-1]) > 50
    assert np.ptp(light[1:-1]) > 50


def test_frames_that_are_fetched_late_come_at_once_and_none_is_lost(row: Row, brisk: Camera) -> None:
    if not row.waits:
        pytest.skip("this device loses them, and says so by its index")
    into = begin(brisk)
    # The last frame is due 11 ms after the start.
    time.sleep(0.05)
    stamps, _ = grab_all(brisk, into)
    assert [stamp.index for stamp in stamps] == list(range(FRAMES))
    assert stamps[-1].exposed_ns - stamps[0].exposed_ns == pytest.approx(11e6, abs=2)


def test_a_time_out_gives_none_and_loses_nothing(row: Row, slow: Camera) -> None:
    into = begin(slow, row.trigger)
    row.nudge(slow)
    first = slow.grab(into, LONG_S)
    assert first is not None
    assert first.index == 0
    before = time.perf_counter()
    assert slow.grab(into, 0.02) is None
    assert slow.grab(into, 0.0) is None
    assert time.perf_counter() - before < LONG_S / 2
    assert not slow.finished


@pytest.mark.parametrize("end", ["stop", "close"])
def test_stop_and_close_unblock_a_grab_that_waits(row: Row, slow: Camera, end: str) -> None:
    into = begin(slow, row.trigger)
    row.nudge(slow)
    assert slow.grab(into, LONG_S) is not None
    grabber = Grabber(slow, into)
    grabber.start()
    grabber.calling.wait()
    time.sleep(0.02)
    getattr(slow, end)()
    grabber.join(LONG_S / 4)
    assert not grabber.is_alive()
    assert grabber.result is None


def test_after_stop_grab_gives_none_at_once(finite: Camera) -> None:
    finite.stop()
    into = begin(finite)
    assert finite.grab(into, LONG_S) is not None
    finite.stop()
    finite.stop()
    before = time.perf_counter()
    assert finite.grab(into, LONG_S) is None
    assert time.perf_counter() - before < LONG_S / 4


def test_before_start_grab_gives_none(finite: Camera) -> None:
    finite.open()
    assert finite.grab(np.zeros(finite.format.shape, np.uint8), 0.0) is None


@pytest.mark.parametrize("already", [0, 5, FRAMES + 1])
def test_start_after_stop_begins_again(row: Row, finite: Camera, already: int) -> None:
    into = begin(finite)
    expected = grab_all(finite, into)[1]
    finite.stop()
    finite.start("free")
    for _ in range(already):
        finite.grab(into, LONG_S)
    finite.stop()
    finite.start("free")
    assert not finite.finished
    stamps, images = grab_all(finite, into)
    assert [stamp.index for stamp in stamps] == list(range(FRAMES))
    if row.recorded:
        np.testing.assert_array_equal(np.stack(images), np.stack(expected))


def test_a_gap_in_the_index_is_what_was_lost(row: Row, brisk: Camera) -> None:
    if row.waits or row.recorded:
        pytest.skip("it loses nothing")
    into = begin(brisk)
    first = brisk.grab(into, LONG_S)
    time.sleep(0.3)
    stamps, _ = grab_all(brisk, into)
    indices = np.array([stamp.index for stamp in [first, *stamps] if stamp is not None])
    assert (np.diff(indices) >= 1).all()
    # Only so many frames wait; at 800 a second more than that came while nobody fetched them.
    assert indices[1] > 0
    assert indices[1] + 100 >= 0.3 * 400


@pytest.mark.parametrize(("camera", "package", "extra"), [(BaslerCamera, "pypylon", "poseloop[basler]")])
def test_a_missing_sdk_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, camera: type[Any], package: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    made = camera("top", camera.Settings())
    with pytest.raises(ConnectError, match=r"top: .*pip install") as caught:
        made.open()
    assert extra in str(caught.value)
    made.close()
    with pytest.raises(ConnectError, match="pip install"):
        camera.discover()
