"""GenICam cameras: Aravis, and its GigE Vision camera of software on the loopback network."""

import ctypes.util
import itertools
import shutil
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from poseloop.drivers.genicam.camera import GenicamCamera
from poseloop.live.errors import ConnectError, DeviceLost, SettingRefused
from poseloop.live.types import Colour, Image, Region, Stamp

FAKE = shutil.which("arv-fake-gv-camera-0.8")
LONG_S = 60.0

needs_camera = pytest.mark.skipif(FAKE is None, reason="needs Aravis' fake camera (apt install aravis-tools)")


@pytest.fixture
def fake() -> Iterator[subprocess.Popen[bytes]]:
    """A camera on the network: serial number PL42, 16-bit frame numbers that wrap after 135 frames."""
    assert FAKE is not None
    process = subprocess.Popen([FAKE, "-i", "127.0.0.1", "-s", "PL42"], stdout=subprocess.DEVNULL)
    ends = time.monotonic() + 20
    while not GenicamCamera.discover():
        assert time.monotonic() < ends, "the fake camera does not answer"
    yield process
    process.kill()
    process.wait()


def camera(**options: Any) -> GenicamCamera:
    options = {"width": 128, "height": 96, "exposure_us": 50_000.0, "packet_size": 8192, "line": "Line0", **options}
    return GenicamCamera("top", GenicamCamera.Settings(**options))


def begin(genicam: GenicamCamera, trigger: str = "free") -> Image:
    genicam.open()
    genicam.start(trigger)
    return np.zeros(genicam.format.shape, np.uint8)


def grabbed(genicam: GenicamCamera, into: Image) -> Stamp:
    stamp = genicam.grab(into, LONG_S)
    assert stamp is not None
    return stamp


@needs_camera
@pytest.mark.usefixtures("fake")
def test_frames_come_and_their_numbers_go_on_where_the_cameras_wrap() -> None:
    assert GenicamCamera.discover() == ["Aravis Fake, serial PL42 (GigEVision)"]
    genicam = camera(serial="PL42", fps=200.0)
    into = begin(genicam)
    assert genicam.format.shape == (96, 128)
    assert genicam.format.fps == 200
    stamps = [grabbed(genicam, into) for _ in range(250)]
    indices = [stamp.index for stamp in stamps]
    assert indices[0] == 0
    # A busy machine loses some; not 65,000 of them.
    assert all(1 <= later - earlier < 100 for earlier, later in itertools.pairwise(indices))
    assert all(earlier.arrived_ns < later.arrived_ns for earlier, later in itertools.pairwise(stamps))
    assert all(stamp.device_ns for stamp in stamps)
    assert np.ptp(into) > 50
    genicam.stop()
    assert genicam.grab(into, LONG_S) is None
    genicam.start("free")
    assert grabbed(genicam, into).index == 0
    genicam.close()
    genicam.close()
    assert genicam.grab(into, 0.0) is None
    # It was given back: another one may have it.
    other = camera()
    other.open()
    other.close()


@needs_camera
@pytest.mark.usefixtures("fake")
def test_settings_are_read_back() -> None:
    genicam = camera(pixel_format="RGB8", offset_x=32, offset_y=16, gain=2.0)
    into = begin(genicam)
    assert genicam.format.colour is Colour.RGB
    assert genicam.format.region == Region(32, 16)
    assert into.shape == (96, 128, 3)
    grabbed(genicam, into)
    genicam.close()
    for options, words in (
        ({"serial": "PL43"}, "expected serial number PL43; found: PL42"),
        ({"width": 9999}, r"region .*: expected \(0, 0, 9999, 96\), but the device has \(0, 0, 2048, 2048\)"),
        ({"exposure_us": 1e12}, "exposure_us: expected 1000000000000.0, but the device has"),
        ({"pixel_format": "BGR8"}, "pixel_format: expected 'BGR8', but the device has 'RGB8"),
    ):
        refused = camera(**options)
        with pytest.raises((SettingRefused, ConnectError), match=words):
            refused.open()
        refused.close()


@needs_camera
@pytest.mark.usefixtures("fake")
def test_a_hardware_trigger_is_set_and_gives_no_free_frames() -> None:
    genicam = camera()
    into = begin(genicam, "hardware")
    before = time.perf_counter()
    assert genicam.grab(into, 0.25) is None
    assert 0.2 < time.perf_counter() - before < LONG_S / 2
    genicam.stop()
    with pytest.raises(SettingRefused, match="expected 'software', but the device has 'free or hardware'"):
        genicam.start("software")
    genicam.close()
    wrong = camera(line="Line7")
    wrong.open()
    with pytest.raises(SettingRefused, match="line, edge: expected 'Line7, rising'"):
        wrong.start("hardware")
    wrong.close()


@needs_camera
def test_a_camera_that_is_gone_is_lost_and_can_be_opened_when_it_is_back(fake: subprocess.Popen[bytes]) -> None:
    genicam = camera()
    into = begin(genicam)
    grabbed(genicam, into)
    fake.kill()
    fake.wait()
    while (left := genicam.grab(into, 0.5)) is not None:
        assert left.index > 0
    # The heartbeat takes some seconds to notice.
    with pytest.raises(DeviceLost, match=r"^top: the camera does not answer any more"):
        genicam.grab(into, LONG_S)
    genicam.close()
    with pytest.raises(ConnectError, match="found: none"):
        genicam.open()
    genicam.close()


def test_a_missing_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: None)
    with pytest.raises(ConnectError, match=r"^top: .*Aravis 0.8.*apt install"):
        camera().open()
    with pytest.raises(ConnectError, match="apt install"):
        GenicamCamera.discover()
