"""How long the disk lasts is said in time, and not too often."""

from pathlib import Path

from poseloop.live.config import Record
from poseloop.live.output.room import Room, as_time, expected_rate
from poseloop.live.types import CameraFormat, Colour

GB = 1_000_000_000
CAMERAS = {"top": CameraFormat(640, 480, Colour.GREY, 100.0), "side": CameraFormat(320, 240, Colour.RGB, 0.0)}


class Disk:
    def __init__(self, free: float) -> None:
        self.free = free
        self.now_ns = 0

    def room(self, rate: float, warn_minutes: float = 10.0) -> Room:
        settings = Record(folder=Path("sessions"), keep_free_gb=1.0, warn_minutes=warn_minutes)
        return Room(Path("sessions"), settings, rate, lambda: self.now_ns, lambda folder: int(self.free))


def test_the_expected_rate_of_raw_pictures_is_their_size() -> None:
    rate = expected_rate("raw", CAMERAS)
    pixels = 640 * 480 * 100 + 320 * 240 * 3 * 30
    assert pixels < rate < 1.01 * pixels
    assert expected_rate("h264", CAMERAS) < expected_rate("ffv1", CAMERAS) < rate


def test_what_was_measured_replaces_what_was_expected() -> None:
    disk = Disk(11 * GB)
    room = disk.room(rate=1e6)
    assert room.left_s(0) == 10_000
    disk.now_ns = 20 * GB
    assert room.left_s(size=200_000_000) == 1000


def test_it_warns_once_and_again_at_half_the_time() -> None:
    disk = Disk(1.7 * GB)
    room = disk.room(rate=1e6)
    assert room.warning(0) == ""
    told = []
    for free in (1.6, 1.59, 1.5, 1.31, 1.3, 1.29, 1.2, 1.1):
        disk.free = free * GB - 1
        told.append(room.warning(0) and room.left_s(0))
    assert [round(left) for left in told if left] == [600, 300, 100]
    assert not room.is_over
    disk.free = 0.99 * GB
    assert room.is_over


def test_times_are_told_in_words() -> None:
    assert [as_time(s) for s in (40, 720, 7200, 200_000, 1e6)] == ["40 s", "12 min", "2 h", "56 h", "12 days"]
