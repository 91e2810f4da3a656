"""USB cameras: OpenCV's own reader on a video file, and a fake behind `cv2.VideoCapture` for what needs a device."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from captures import UsbCamera

from poseloop.drivers.opencv import usb
from poseloop.drivers.opencv.camera import OpenCVCamera
from poseloop.live.config import validate
from poseloop.live.errors import ConnectError, DeviceLost, SettingRefused
from poseloop.live.types import Colour, Image, Stamp

LONG_S = 60.0

Made = Callable[..., OpenCVCamera]


@pytest.fixture
def plugged(monkeypatch: pytest.MonkeyPatch) -> UsbCamera:
    device = UsbCamera()
    device.plug_in(monkeypatch)
    return device


@pytest.fixture
def make() -> Iterator[Made]:
    made = []

    def camera(**options: Any) -> OpenCVCamera:
        made.append(OpenCVCamera("top", OpenCVCamera.Settings(**options)))
        return made[-1]

    yield camera
    for one in made:
        one.close()


def give(device: UsbCamera, frames: int) -> None:
    for _ in range(frames):
        device.frames.release()


def begin(camera: OpenCVCamera, device: UsbCamera) -> Image:
    give(device, 1)  # looked at by open()
    camera.open()
    camera.start("free")
    return np.zeros(camera.format.shape, np.uint8)


def grabbed(camera: OpenCVCamera, into: Image) -> Stamp:
    stamp = camera.grab(into, LONG_S)
    assert stamp is not None
    return stamp


def test_everything_is_set_and_read_back(plugged: UsbCamera, make: Made) -> None:
    camera = make(width=64, height=48, fps=60.0, fourcc="MJPG", exposure=200.0, gain=3.0)
    begin(camera, plugged)
    assert (camera.format.width, camera.format.height, camera.format.fps) == (64, 48, 60)
    assert camera.format.colour is Colour.BGR
    assert plugged.held[cv2.CAP_PROP_FOURCC] == cv2.VideoWriter.fourcc(*"MJPG")
    assert plugged.held[cv2.CAP_PROP_BUFFERSIZE] == 1
    # V4L2's menu: 1 = manual.
    assert plugged.held[cv2.CAP_PROP_AUTO_EXPOSURE] == 1
    assert plugged.held[cv2.CAP_PROP_EXPOSURE] == 200
    assert plugged.held[cv2.CAP_PROP_GAIN] == 3


def test_automatic_exposure_is_asked_for_in_the_backends_own_way(plugged: UsbCamera, make: Made) -> None:
    for backend, value in (("V4L2", 3.0), ("DSHOW", 0.75)):
        plugged.backend = backend
        camera = make(exposure="auto")
        begin(camera, plugged)
        assert plugged.held[cv2.CAP_PROP_AUTO_EXPOSURE] == value
        assert cv2.CAP_PROP_EXPOSURE not in plugged.held
        camera.close()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"width": 800, "height": 600}, "width: expected 800, but the device has 640.0"),
        ({"fps": 200.0}, "fps: expected 200.0, but the device has 60.0"),
        ({"fourcc": "H264"}, "fourcc: expected 'H264', but the device has 'YUYV'"),
        ({"exposure": 9000.0}, "exposure: expected 9000.0, but the device has 5000.0"),
    ],
)
def test_what_the_camera_does_not_hold_is_refused_with_both_values(
    plugged: UsbCamera, make: Made, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(SettingRefused, match=f"^top: {words}"):
        make(**options).open()
    assert plugged.released == plugged.opened == 1


def test_a_size_that_is_only_said_to_be_taken_is_found_out_by_a_picture(plugged: UsbCamera, make: Made) -> None:
    plugged.lies = True
    give(plugged, 1)
    with pytest.raises(SettingRefused, match="width: expected 64, but the device has 640"):
        make(width=64, height=48).open()
    assert plugged.released == 1


def test_a_camera_that_is_not_there_or_gives_nothing_is_named(plugged: UsbCamera, make: Made) -> None:
    with pytest.raises(ConnectError, match=r"^top: device 3 was opened, but gives no picture"):
        make(device=3).open()
    plugged.there = False
    with pytest.raises(ConnectError, match=r"^top: device 3 cannot be opened"):
        make(device=3).open()
    assert plugged.released == plugged.opened == 2


@pytest.mark.parametrize(
    ("name", "words"),
    [("notes.txt", "notes.txt cannot be opened: it is no video"), ("", 'is a folder; use = "replay"')],
)
def test_a_path_that_is_no_camera_says_what_it_is(make: Made, tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "notes.txt").write_text("mouse 12 bit the cable", encoding="utf-8")
    with pytest.raises(ConnectError, match=words):
        make(device=tmp_path / name).open()


@pytest.mark.parametrize("trigger", ["hardware", "software"])
def test_a_trigger_is_refused(plugged: UsbCamera, make: Made, trigger: str) -> None:
    camera = make()
    give(plugged, 1)
    camera.open()
    with pytest.raises(SettingRefused, match=r"sync.trigger: expected '(hard|soft)ware', but the device has 'free'"):
        camera.start(trigger)


@pytest.mark.parametrize("colour", ["bgr", "grey"])
def test_a_frame_is_the_cameras_picture(plugged: UsbCamera, make: Made, colour: str) -> None:
    camera = make(width=64, height=48, colour=colour)
    into = begin(camera, plugged)
    give(plugged, 1)
    grabbed(camera, into)
    expected = plugged.picture(1)
    if colour == "grey":
        expected = cv2.cvtColor(expected, cv2.COLOR_BGR2GRAY)
    np.testing.assert_array_equal(into, expected)


def test_the_newest_frame_is_taken_and_the_gap_tells_of_the_others(plugged: UsbCamera, make: Made) -> None:
    camera = make(width=64, height=48)
    into = begin(camera, plugged)
    give(plugged, 1)
    assert grabbed(camera, into).index == 0
    give(plugged, 5)
    while plugged.count < 7:
        time.sleep(0.005)
    time.sleep(0.05)
    assert grabbed(camera, into).index == 5
    np.testing.assert_array_equal(into, plugged.picture(6))


def test_times_of_the_driver_are_used_where_they_are_on_the_hosts_clock(
    plugged: UsbCamera, make: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    camera = make()
    into = begin(camera, plugged)
    plugged.taken_ms = time.perf_counter() * 1000 - 12
    give(plugged, 1)
    stamp = grabbed(camera, into)
    assert stamp.exposed_ns == pytest.approx(plugged.taken_ms * 1e6, abs=1000)
    assert stamp.arrived_ns - stamp.exposed_ns > 12_000_000
    # A wall clock's time, or none.
    for elsewhere in (1.7e12, 0.0):
        plugged.taken_ms = elsewhere
        give(plugged, 1)
        stamp = grabbed(camera, into)
        assert stamp.exposed_ns == stamp.arrived_ns


def test_a_camera_that_is_unplugged_is_lost_and_can_be_opened_when_it_is_back(plugged: UsbCamera, make: Made) -> None:
    camera = make()
    into = begin(camera, plugged)
    plugged.there = False
    give(plugged, 1)
    with pytest.raises(DeviceLost, match=r"^top: device 0 gives no more frames; was it unplugged\?"):
        camera.grab(into, LONG_S)
    assert not camera.finished
    camera.stop()
    camera.close()
    with pytest.raises(ConnectError):
        camera.open()
    plugged.there = True
    into = begin(camera, plugged)
    give(plugged, 1)
    assert grabbed(camera, into).index == 0


def test_a_picture_of_another_size_ends_it(plugged: UsbCamera, make: Made) -> None:
    camera = make()
    into = begin(camera, plugged)
    plugged.size = (64, 48)
    give(plugged, 1)
    with pytest.raises(DeviceLost):
        camera.grab(into, LONG_S)


def test_the_reader_is_a_thread_that_ends_with_the_camera(plugged: UsbCamera, make: Made) -> None:
    camera = make()
    begin(camera, plugged)
    assert "top-reader" in {thread.name for thread in threading.enumerate()}
    camera.close()
    assert "top-reader" not in {thread.name for thread in threading.enumerate()}


def test_a_device_is_a_number_or_a_path_beside_the_rig_file(tmp_path: Path) -> None:
    assert validate(OpenCVCamera.Settings, {"device": 2}, tmp_path).device == 2
    assert validate(OpenCVCamera.Settings, {"device": "a.avi"}, tmp_path).device == tmp_path / "a.avi"


@pytest.mark.real_data
def test_a_recording_is_read_as_opencv_reads_it(data: Path, make: Made) -> None:
    path = data / "lp_mirror_mouse" / "videos" / "test_vid.mp4"
    camera = make(device=path)
    camera.open()
    camera.start("free")
    into = np.zeros(camera.format.shape, np.uint8)
    reader = cv2.VideoCapture(str(path))
    count = 0
    while (stamp := camera.grab(into, LONG_S)) is not None:
        reader.grab()
        if stamp.index % 100 == 0:
            np.testing.assert_array_equal(into, reader.retrieve()[1])
        count += 1
    reader.release()
    assert camera.finished
    assert count == 994


# What is plugged in


def test_linux_tells_number_model_and_serial_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    usb_device = tmp_path / "devices" / "1-2"
    interface = usb_device / "1-2:1.0"
    interface.mkdir(parents=True)
    (usb_device / "product").write_text("HD Pro Webcam\n")
    (usb_device / "serial").write_text("A1B2C3\n")
    sysfs = tmp_path / "video4linux"
    for number, index in ((10, "0"), (2, "0"), (3, "1")):
        folder = sysfs / f"video{number}"
        folder.mkdir(parents=True)
        (folder / "index").write_text(index + "\n")
        (folder / "name").write_text("Some capture card\n")
        if number != 10:
            (folder / "device").symlink_to(interface)
    assert usb.cameras(sysfs) == [
        "device = 2: HD Pro Webcam, serial A1B2C3",
        "device = 10: Some capture card",
    ]
    assert usb.cameras(tmp_path / "none") == []


def test_elsewhere_the_numbers_are_tried_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    opened: list[object] = []

    class Two:
        def __init__(self, number: int) -> None:
            opened.append(number)

        def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
            return len(opened) <= 2

        def getBackendName(self) -> str:  # noqa: N802 - OpenCV's name
            return "MSMF"

        def release(self) -> None:
            pass

    monkeypatch.setattr(cv2, "VideoCapture", Two)
    assert usb.cameras() == ["device = 0: camera (MSMF)", "device = 1: camera (MSMF)"]


def test_a_camera_that_is_not_there_is_one_error_and_no_lines_of_opencvs_own(
    make: Made, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConnectError, match="device 99 cannot be opened"):
        make(device=99).open()
    assert capfd.readouterr().err == ""
