"""One camera's way into the synchroniser, when its device goes away and comes back."""

import threading

import pytest

from poseloop.live.capture import feed as feeds
from poseloop.live.capture.feed import Feed
from poseloop.live.capture.ring import Ring
from poseloop.live.capture.sync import Synchroniser
from poseloop.live.clock import now_ns
from poseloop.live.errors import DeviceLost
from poseloop.live.types import CameraFormat, Colour, Frame, Image, Stamp


class Unplugged:
    """Delivers three frames, is lost, and does so again when it was opened again: then it has finished."""

    name = "top"
    format = CameraFormat(4, 4, Colour.GREY, 100.0)

    def __init__(self) -> None:
        self.starts = self.next = 0

    @property
    def finished(self) -> bool:
        return self.starts == 2 and self.next == 3

    def open(self) -> None: ...

    def start(self, trigger: str) -> None:
        self.starts, self.next = self.starts + 1, 0

    def grab(self, into: Image, timeout_s: float) -> Stamp | None:
        if self.next == 3:
            raise DeviceLost("top", "unplugged")
        self.next += 1
        return Stamp(self.next - 1, now_ns(), now_ns())

    def stop(self) -> None: ...

    def close(self) -> None: ...


def test_no_index_stands_for_two_frames_of_a_camera_that_came_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session tells by it which picture a pose was made of."""
    monkeypatch.setattr(feeds, "_PAUSE_S", 0.01)
    ring, put, recorded = Ring((4, 4), 4), [], []
    sync = Synchroniser(["top"], lambda frame: ring.release(frame.slot))
    take = sync.put

    def note(camera: int, frame: Frame) -> tuple[int, str]:
        index, disorder = take(camera, frame)
        put.append(index)
        return index, disorder

    monkeypatch.setattr(sync, "put", note)
    feed = Feed(0, Unplugged(), ring, sync, "free", lambda lost: True)
    feed.record = lambda camera, slot, index, stamp: recorded.append(index)
    feed.start()
    thread = threading.Thread(target=feed.run)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
    sync.drain("shutdown")
    assert put == recorded == [0, 1, 2, 3, 4, 5]
    assert sync.restarts == {"top": 1}
    assert sync.lost == {"top": 0}
    assert ring.free == 4


class Stutters(Unplugged):
    """Gives these stamps (index, exposure in ms), and has finished."""

    stamps = ((0, 0), (1, 10), (1, 10), (3, 30), (2, 20), (0, 40), (1, 50))

    @property
    def finished(self) -> bool:
        return self.next == len(self.stamps)

    def grab(self, into: Image, timeout_s: float) -> Stamp | None:
        index, at_ms = self.stamps[self.next]
        self.next += 1
        return Stamp(index, at_ms * 1_000_000, at_ms * 1_000_000 + 1000)


def test_what_is_recorded_rises_whatever_the_camera_counts_and_lent_slots_come_back() -> None:
    """A frame that comes again or too late has no picture in the video; a count that begins again goes on."""
    ring, recorded, dropped = Ring((4, 4), 4, lendable=8), [], []
    sync = Synchroniser(
        ["top"],
        lambda frame: ring.release(frame.slot),
        every=True,
        tell=lambda camera, index, reason: dropped.append((camera, index, reason)),
    )
    feed = Feed(0, Stutters(), ring, sync, "hardware")
    feed.record = lambda camera, slot, index, stamp: recorded.append((index, stamp.exposed_ns // 1_000_000, slot))
    feed.start()
    feed.run()
    assert [row[:2] for row in recorded] == [(0, 0), (1, 10), (3, 30), (4, 40), (5, 50)]
    assert all(slot >= 0 for *_, slot in recorded)
    assert dropped == [(0, 1, "repeated"), (0, 2, "swapped")]
    assert (sync.restarts, sync.lost) == ({"top": 1}, {"top": 0})
    assert ring.free == len(ring) - 5, "the recorder holds five, and the others are free"
    sync.drain("shutdown")
    ring.close()
