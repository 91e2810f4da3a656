"""Basler cameras: pylon's own emulation behind its real API, and fakes for what that does not have."""

import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poseloop.drivers.blocks import BlockCounter
from poseloop.drivers.pixels import fill
from poseloop.drivers.pylon import sdk, setup
from poseloop.drivers.pylon.camera import BaslerCamera
from poseloop.drivers.pylon.clock import CameraClock
from poseloop.live import clock
from poseloop.live.config import validate
from poseloop.live.errors import ConnectError, DeviceLost, PoseloopError, SettingRefused
from poseloop.live.types import Colour, Image, Region, Stamp

LONG_S = 60.0


def camera(**options: Any) -> BaslerCamera:
    options = {"serial": "0815-0000", "width": 64, "height": 48, "exposure_us": 500.0, **options}
    return BaslerCamera("top", BaslerCamera.Settings(**options))


@pytest.fixture
def top() -> Iterator[BaslerCamera]:
    made = camera()
    yield made
    made.close()


def begin(basler: BaslerCamera, trigger: str) -> Image:
    basler.open()
    basler.start(trigger)
    return np.zeros(basler.format.shape, np.uint8)


def pulse(basler: BaslerCamera) -> None:
    """One edge at the trigger input: the hardware-trigger configuration takes it in the emulation."""
    assert basler.device.WaitForFrameTriggerReady(5000)
    basler.device.TriggerSoftware.Execute()


def pulsed(basler: BaslerCamera, into: Image) -> Stamp:
    pulse(basler)
    stamp = basler.grab(into, LONG_S)
    assert stamp is not None
    return stamp


# What is set


def test_the_emulated_cameras_are_listed_with_model_and_serial_number() -> None:
    lines = BaslerCamera.discover()
    assert "Emulation, serial 0815-0000 (CamEmu)" in lines
    assert len(lines) == 4


def test_region_exposure_gain_and_rate_are_what_the_camera_holds() -> None:
    basler = camera(width=320, height=200, offset_x=16, offset_y=8, exposure_us=1500, gain=3.0, fps=50)
    basler.open()
    basler.start("free")
    device = basler.device
    held = (device.Width.Value, device.Height.Value, device.OffsetX.Value, device.OffsetY.Value)
    assert held == (320, 200, 16, 8)
    assert basler.format.region == Region(16, 8)
    assert (device.ExposureTimeAbs.Value, device.AcquisitionFrameRateAbs.Value) == (1500, 50)
    assert device.Gain.Value == pytest.approx(3, rel=1e-3)
    assert (device.ExposureAuto.Value, device.GainAuto.Value) == ("Off", "Off")
    assert basler.format.shape == (200, 320)
    assert basler.format.fps == 50
    basler.close()


def test_what_the_last_program_left_behind_is_gone(top: BaslerCamera) -> None:
    left = camera(offset_x=100, gain=6.0, pixel_format="RGB8", exposure_us="auto", width=None, height=None)
    left.open()
    assert left.device.ExposureAuto.Value == "Continuous"
    left.close()
    fresh = camera(width=None, height=None, exposure_us=None)
    fresh.open()
    assert fresh.format.shape == (1040, 1024)
    assert fresh.device.Gain.Value == 0
    assert fresh.device.ExposureAuto.Value == "Off"
    fresh.close()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"width": 99999}, "width: expected 99999, but the device has .* It takes 1 to 4096 in steps of 1"),
        ({"offset_x": 4090}, "offset_x: expected 4090, but the device has 0. It takes 0 to 4032"),
        ({"exposure_us": 1e9}, "exposure_us: expected 1000000000.0, but the device has"),
        ({"gain": 1000.0}, "gain: expected 1000.0"),
        ({"exposure_us": 1.5}, "exposure_us: expected 1.5, but the device has 1.0"),
    ],
)
def test_a_value_that_the_camera_does_not_hold_is_refused_with_both(options: dict[str, Any], words: str) -> None:
    basler = camera(**options)
    with pytest.raises(SettingRefused, match=f"^top: {words}"):
        basler.open()
    assert basler.device is None
    # A half-opened camera was closed again: another one may have it.
    other = camera()
    other.open()
    other.close()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"serial": "4711"}, "serial number 4711, but found: 0815-0000, 0815-0001"),
        ({"serial": None}, "expected one camera, or its serial number in the rig file; found: 0815-0000"),
    ],
)
def test_a_camera_that_is_not_there_is_named_beside_those_that_are(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConnectError, match=words):
        camera(**options).open()


def test_an_input_that_the_camera_lacks_is_refused() -> None:
    basler = camera(line="Line9")
    basler.open()
    with pytest.raises(SettingRefused, match=r"line: expected 'Line9', .* It takes Software, Line1, Line2"):
        basler.start("hardware")
    basler.close()


def test_a_rate_that_the_camera_cannot_keep_up_with_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    basler = camera(fps=200)
    basler.open()
    # The emulation is as fast as it is asked to be.
    monkeypatch.setattr("poseloop.drivers.pylon.setup.rate", lambda features: 81.3)
    for trigger in ("free", "hardware", "software"):
        with pytest.raises(SettingRefused, match=r"fps: expected 200.0, .* 81.3. Shorten the exposure"):
            basler.start(trigger)
    basler.close()


class Rates:
    """A camera that could do 400 frames a second, told by its settings file to do 30; as sdk.Features sees it."""

    def __init__(self, writable: bool) -> None:
        self.writable, self.own = writable, True

    def get(self, *names: str) -> Any:
        if "AcquisitionFrameRateEnable" in names:
            return self.own
        return (30.0 if self.own else 400.0) if "ResultingFrameRate" in names else None

    def set_if_there(self, wanted: bool, name: str) -> None:
        assert name == "AcquisitionFrameRateEnable"
        if not self.writable:
            raise SettingRefused("top", name, wanted, self.own)
        self.own = wanted


@pytest.mark.parametrize(("writable", "possible"), [(True, 400.0), (False, 30.0)])
def test_what_is_possible_is_not_held_back_by_the_cameras_own_rate(writable: bool, possible: float) -> None:
    """Which a hardware trigger switches off; it must be on again where the camera runs free."""
    rates = Rates(writable)
    assert setup.possible_rate(rates) == possible  # type: ignore[arg-type]
    assert rates.own
    assert setup.rate(rates) == 30  # type: ignore[arg-type]


def test_a_rate_of_its_own_that_does_not_come_back_is_told() -> None:
    rates = Rates(writable=True)
    set_if_there = rates.set_if_there

    def once(wanted: bool, name: str) -> None:
        set_if_there(wanted, name)
        rates.writable = False

    rates.set_if_there = once  # type: ignore[method-assign]
    with pytest.raises(SettingRefused):
        setup.possible_rate(rates)  # type: ignore[arg-type]


def test_the_emulated_camera_tells_what_is_possible(top: BaslerCamera) -> None:
    top.open()
    assert top.format.possible_fps == pytest.approx(100)
    assert top.device.AcquisitionFrameRateEnable.Value


def test_the_edge_and_the_line_are_set() -> None:
    basler = camera(line="Line3", edge="falling")
    begin(basler, "hardware")
    device = basler.device
    assert (device.TriggerMode.Value, device.TriggerSource.Value) == ("On", "Line3")
    assert device.TriggerActivation.Value == "FallingEdge"
    basler.stop()
    basler.start("free")
    assert device.TriggerMode.Value == "Off"
    basler.close()


def test_settings_of_the_pylon_viewer_are_loaded_and_the_rig_file_overrides_them(tmp_path: Path) -> None:
    source = camera(width=200, height=100, gain=2.0)
    source.open()
    file = tmp_path / "Mäuse.pfs"
    pylon, _ = sdk.load("test")
    file.write_text(pylon.FeaturePersistence.SaveToString(source.device.GetNodeMap()), encoding="utf-8")
    source.close()
    table = {"serial": "0815-0001", "pfs": "Mäuse.pfs", "height": 90}
    basler = BaslerCamera("top", validate(BaslerCamera.Settings, table, tmp_path))
    basler.open()
    assert basler.format.shape == (90, 200)
    assert basler.device.Gain.Value == pytest.approx(2.0, rel=1e-3)
    basler.close()
    for text, words in (("nonsense", "does not fit this camera"), (None, "cannot be read")):
        file.unlink(missing_ok=True)
        if text is not None:
            file.write_text(text, encoding="utf-8")
        with pytest.raises(ConnectError, match=words):
            basler.open()
        assert basler.device is None


# What comes


@pytest.mark.parametrize(
    ("pixel_format", "colour", "channels"),
    [("Mono8", Colour.GREY, 1), ("Bayer8", Colour.RGB, 3), ("RGB8", Colour.RGB, 3), ("BGR8", Colour.BGR, 3)],
)
def test_every_pixel_format_fills_the_frame(pixel_format: str, colour: Colour, channels: int) -> None:
    basler = camera(pixel_format=pixel_format)
    into = begin(basler, "free")
    assert basler.format.colour is colour
    assert into.size == 64 * 48 * channels
    assert basler.grab(into, LONG_S) is not None
    assert np.ptp(into) > 50
    basler.close()


def test_a_pixel_format_of_more_than_8_bits_is_refused(tmp_path: Path) -> None:
    pylon, _ = sdk.load("test")
    source = camera()
    source.open()
    source.device.PixelFormat.Value = "Mono12"
    (tmp_path / "deep.pfs").write_text(pylon.FeaturePersistence.SaveToString(source.device.GetNodeMap()))
    source.close()
    with pytest.raises(SettingRefused, match=r"a format of 8 bits.*'Mono12'.*Give one of Mono8, Bayer8"):
        camera(pfs=tmp_path / "deep.pfs").open()


def test_pictures_arrive_bit_by_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    pictures = [rng.integers(0, 256, (48, 64), np.uint8) for _ in range(3)]
    for i, picture in enumerate(pictures):
        cv2.imwrite(str(tmp_path / f"{i}.bmp"), picture)
    basler = camera()
    basler.open()
    basler.device.TestImageSelector.Value = "Off"
    basler.device.ImageFileMode.Value = "On"
    basler.device.ImageFilename.Value = str(tmp_path)
    basler.start("hardware")
    into = np.zeros((48, 64), np.uint8)
    for i in range(7):
        assert pulsed(basler, into).index == i
        np.testing.assert_array_equal(into, pictures[i % 3])
    basler.close()


@pytest.mark.parametrize("pattern", ["BayerRG8", "BayerGB8", "BayerGR8", "BayerBG8"])
def test_a_bayer_pattern_is_read_with_its_own_first_pixels(pattern: str) -> None:
    rgb = np.array([200, 120, 40], np.uint8)
    raw = np.zeros((16, 16), np.uint8)
    # The two letters are the first pixels of the first row; the second row has the other two colours.
    first = pattern[5:7]
    second = {"RG": "GB", "BG": "GR", "GR": "BG", "GB": "RG"}[first]
    for row, letters in enumerate((first, second)):
        for column, letter in enumerate(letters):
            raw[row::2, column::2] = rgb["RGB".index(letter)]
    got = np.zeros((16, 16, 3), np.uint8)
    fill(got, raw, pattern)
    np.testing.assert_array_equal(got, np.broadcast_to(rgb, (16, 16, 3)))


def test_a_hardware_trigger_gives_a_frame_for_each_pulse_and_none_without(top: BaslerCamera) -> None:
    into = begin(top, "hardware")
    assert top.grab(into, 0.05) is None
    stamps = [pulsed(top, into) for _ in range(5)]
    assert [stamp.index for stamp in stamps] == [0, 1, 2, 3, 4]
    assert top.grab(into, 0.05) is None
    top.stop()
    top.start("hardware")
    assert pulsed(top, into).index == 0


def test_a_software_trigger_keeps_the_rate_and_needs_one() -> None:
    basler = camera(fps=50)
    into = begin(basler, "software")
    stamps = [basler.grab(into, LONG_S) for _ in range(20)]
    assert [stamp.index for stamp in stamps if stamp is not None] == list(range(20))
    gaps_ms = [(b.exposed_ns - a.exposed_ns) / 1e6 for a, b in itertools.pairwise(stamps) if a and b]
    # A busy machine makes some late; none may come early by more than the one before was late.
    assert np.mean(gaps_ms) > 19
    assert np.median(gaps_ms) == pytest.approx(20, rel=0.5)
    basler.close()
    basler = camera()
    basler.open()
    with pytest.raises(ConnectError, match="expected fps in the rig file"):
        basler.start("software")
    basler.close()


def test_a_software_trigger_that_is_not_due_waits_no_longer_than_the_time_out() -> None:
    basler = camera(fps=0.05)
    into = begin(basler, "software")
    assert basler.grab(into, LONG_S) is not None
    assert basler.grab(into, 0.02) is None
    basler.close()


def test_failed_buffers_are_a_gap_and_no_exception(top: BaslerCamera) -> None:
    into = begin(top, "hardware")
    assert pulsed(top, into).index == 0
    top.device.ForceFailedBufferCount.Value = 3
    top.device.ForceFailedBuffer.Execute()
    for _ in range(3):
        pulse(top)
        assert top.grab(into, 0.3) is None
    assert pulsed(top, into).index == 4
    assert top.failed == 3


def test_frames_that_nobody_fetched_are_dropped_oldest_first() -> None:
    basler = camera(buffers=2)
    into = begin(basler, "hardware")
    for _ in range(6):
        pulse(basler)
    assert basler.device.WaitForFrameTriggerReady(5000)
    time.sleep(0.5)  # ready for the next pulse, while the last one's picture is still under way
    stamps = [basler.grab(into, 0.5) for _ in range(3)]
    assert [stamp and stamp.index for stamp in stamps] == [4, 5, None]
    basler.close()


def test_the_middle_of_the_exposure_lies_half_of_it_before_its_end() -> None:
    basler = camera(exposure_us=30_000)
    into = begin(basler, "hardware")
    for _ in range(5):
        before_ns = clock.now_ns()
        stamp = pulsed(basler, into)
        # By the event of the exposure's end, on the host's clock.
        assert before_ns + 10_000_000 < stamp.exposed_ns <= stamp.arrived_ns - 15_000_000
    basler.close()


def test_a_camera_that_is_unplugged_is_lost_and_can_be_opened_when_it_is_back(top: BaslerCamera) -> None:
    into = begin(top, "hardware")
    assert pulsed(top, into).index == 0
    # Makes the emulated device report its own removal.
    top.device.FirePnPCallback.Execute()
    with pytest.raises(DeviceLost, match=r"^top: the camera was unplugged"):
        top.grab(into, LONG_S)
    top.stop()
    top.close()
    assert top.grab(into, 0.0) is None
    into = begin(top, "hardware")
    assert pulsed(top, into).index == 0


def test_start_on_a_camera_that_is_gone_says_so(top: BaslerCamera) -> None:
    begin(top, "free")
    top.device.FirePnPCallback.Execute()
    with pytest.raises(PoseloopError, match=r"^top: .*removed"):
        top.start("free")


# Frame numbers


@given(st.integers(1, 65_535), st.lists(st.integers(1, 30_000), max_size=60))
def test_frame_numbers_go_on_where_they_wrap(first: int, steps: list[int]) -> None:
    counter = BlockCounter(1, 65_535)
    truth = first - 1
    assert counter.index(first) == truth
    for step in steps:
        truth += step
        # 65,535 is followed by 1.
        assert counter.index(truth % 65_535 + 1) == truth


def test_frame_numbers_of_64_bits_do_not_wrap_and_may_start_anywhere() -> None:
    usb = BlockCounter(0)
    assert [usb.index(block) for block in (0, 1, 65_535, 65_536, 70_000)] == [0, 1, 65_535, 65_536, 70_000]
    unknown = BlockCounter()
    assert [unknown.index(block) for block in (17, 18, 20)] == [0, 1, 3]


def test_a_frame_that_comes_again_is_no_gap() -> None:
    counter = BlockCounter(1, 65_535)
    assert [counter.index(block) for block in (1, 2, 3, 2, 3, 4)] == [0, 1, 2, 1, 2, 3]
    counter = BlockCounter(1, 65_535)
    assert [counter.index(block) for block in (1, 1, 65_535, 1, 2)] == [0, 0, -1, 0, 1]


# Camera clocks


class Node:
    """A GenICam node."""

    def __init__(self, value: Any = None, execute: Any = None) -> None:
        self.Value, self.Execute = value, execute


class RealCamera:
    """The nodes by which a real camera tells its time: ticks since it was switched on, with a drift."""

    def __init__(self, prefix: str, ticks_per_s: int, drift: float) -> None:
        self.now_ns = 50_000_000_000
        self.ticks_per_s, self.drift = ticks_per_s, drift
        self.random = np.random.default_rng(0)
        latch, value = {"usb": ("TimestampLatch", "TimestampLatchValue")}.get(
            prefix, ("GevTimestampControlLatch", "GevTimestampValue")
        )
        self.nodes = {latch: Node(execute=self.latch), value: Node(0), "ExposureTimeAbs": Node(2000.0)}
        self.value = self.nodes[value]
        if prefix == "gige":
            self.nodes["GevTimestampTickFrequency"] = Node(ticks_per_s)

    def ticks(self, host_ns: int) -> int:
        return round((host_ns - 49_000_000_000) * self.drift * self.ticks_per_s / 1e9)

    def latch(self) -> None:
        out, back = (150_000 + self.random.exponential(100_000, 2)).astype(int)
        self.now_ns += int(out)
        self.value.Value = self.ticks(self.now_ns)
        self.now_ns += int(back)

    # As sdk.Features sees it.
    def find(self, *names: str) -> Node | None:
        return next((self.nodes[name] for name in names if name in self.nodes), None)

    def get(self, *names: str) -> Any:
        node = self.find(*names)
        return None if node is None else node.Value

    def readable(self, node: Node) -> bool:
        return True


@pytest.mark.parametrize(("prefix", "ticks_per_s"), [("gige", 125_000_000), ("usb", 1_000_000_000)])
@pytest.mark.parametrize("drift", [1.0, 1 + 60e-6, 1 - 60e-6])
def test_time_stamps_are_mapped_to_the_middle_of_the_exposure(
    monkeypatch: pytest.MonkeyPatch, prefix: str, ticks_per_s: int, drift: float
) -> None:
    real = RealCamera(prefix, ticks_per_s, drift)
    monkeypatch.setattr("poseloop.drivers.pylon.clock.now_ns", lambda: real.now_ns)
    mapped = CameraClock(real)  # type: ignore[arg-type]
    assert mapped.exposed_ns(real.ticks(real.now_ns), 0) == (0, 0)
    mapped.start()
    errors = []
    for _ in range(30_000):
        real.now_ns += 10_000_000
        mapped.refresh()
        exposed_ns, device_ns = mapped.exposed_ns(real.ticks(real.now_ns), 0)
        assert device_ns == real.ticks(real.now_ns) * 1_000_000_000 // ticks_per_s
        errors.append(exposed_ns - (real.now_ns + 1_000_000))
    # Before the drift is known it adds up to 60 µs a second; the two ways of an exchange differ by 100 µs at random.
    assert np.abs(errors[:400]).max() < 400_000
    assert np.abs(errors[1000:]).max() < 60_000
    assert mapped.drift_ppm == pytest.approx((1 / drift - 1) * 1e6, abs=2)


def test_exchanges_become_rare_when_the_line_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    real = RealCamera("usb", 1_000_000_000, 1.0)
    latched: list[int] = []
    real.nodes["TimestampLatch"].Execute = lambda: (latched.append(real.now_ns), real.latch())
    monkeypatch.setattr("poseloop.drivers.pylon.clock.now_ns", lambda: real.now_ns)
    mapped = CameraClock(real)  # type: ignore[arg-type]
    mapped.start()
    for _ in range(30_000):
        real.now_ns += 10_000_000
        mapped.refresh()
    assert len(latched) < 16 + 48 + 60
    assert np.diff(latched)[-5:].min() >= 5_000_000_000


def test_frames_that_waited_get_times_between_those_that_are_known() -> None:
    basler = camera(buffers=20, exposure_us=2000)
    before_ns = clock.now_ns()
    into = begin(basler, "hardware")
    for _ in range(12):
        pulse(basler)
    assert basler.device.WaitForFrameTriggerReady(5000)
    stamps = [basler.grab(into, LONG_S) for _ in range(12)]
    exposed = [stamp.exposed_ns for stamp in stamps if stamp is not None]
    assert before_ns < exposed[0]
    assert (np.diff(exposed) > 0).all()
    # They were all taken before the first of them was fetched.
    assert exposed[-1] < min(stamp.arrived_ns for stamp in stamps if stamp is not None)
    basler.close()
