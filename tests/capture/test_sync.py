"""Frames become sets by trigger index, and every one of them is accounted for."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from poseloop.live.capture.sync import Synchroniser
from poseloop.live.types import Frame

IMAGE = np.zeros((2, 2), np.uint8)
WAIT_NS = 20_000_000


class Bench:
    """A synchroniser with a clock that tests move, and a note of every slot that came back."""

    def __init__(self, cameras: str = "ab", every: bool = False) -> None:
        self.now = 1_000_000_000
        self.released: list[tuple[str, int]] = []
        self.sync = Synchroniser(
            list(cameras),
            lambda frame: self.released.append((frame.camera, frame.slot)),
            every=every,
            wait_ns=WAIT_NS,
            clock=lambda: self.now,
        )
        self.names = cameras

    def put(self, camera: int, index: int) -> None:
        exposed = index * 10_000_000 + camera * 1000
        self.sync.put(camera, Frame(self.names[camera], index, exposed, exposed + 5000, IMAGE, slot=index))

    def take(self) -> tuple[int, str] | None:
        """Index of the next set, and which cameras are in it."""
        frames = self.sync.take(0.0)
        if frames is None:
            return None
        self.sync.count(frames)
        self.sync.release(frames)
        return frames.index, "".join(frame.camera if frame else "-" for frame in frames.frames)


def test_a_set_is_handed_out_when_its_last_frame_came() -> None:
    bench = Bench()
    bench.put(0, 0)
    assert bench.take() is None
    bench.put(1, 0)
    frames = bench.sync.take(0.0)
    assert frames is not None
    assert (frames.index, frames.skew_ns, frames.exposed_ns, frames.arrived_ns) == (0, 1000, 500, 6000)


def test_a_later_frame_proves_that_a_camera_missed_this_one() -> None:
    bench = Bench(every=True)
    bench.put(0, 0)
    bench.put(0, 1)
    bench.put(1, 1)
    assert bench.take() == (0, "a-")
    assert bench.take() == (1, "ab")
    assert bench.sync.lost == {"a": 0, "b": 1}


def test_a_missing_camera_is_waited_for_so_long_and_its_late_frame_is_counted() -> None:
    bench = Bench()
    bench.put(0, 0)
    bench.now += WAIT_NS - 1
    assert bench.take() is None
    bench.now += 2
    assert bench.take() == (0, "a-")
    bench.put(1, 0)
    assert bench.take() is None
    assert bench.sync.cameras["b"].dropped == {"late": 1}
    assert ("b", 0) in bench.released


def test_newest_first_drops_the_older_set_and_says_so() -> None:
    bench = Bench("a")
    for index in range(3):
        bench.put(0, index)
    assert bench.take() == (2, "a")
    assert bench.sync.sets.dropped == {"superseded": 2}
    assert bench.released == [("a", 0), ("a", 1), ("a", 2)]


def test_every_keeps_all_in_order() -> None:
    bench = Bench("a", every=True)
    for index in range(3):
        bench.put(0, index)
    assert [bench.take() for _ in range(4)] == [(0, "a"), (1, "a"), (2, "a"), None]


def test_a_repeated_frame_is_dropped() -> None:
    bench = Bench("a")
    bench.put(0, 0)
    bench.put(0, 0)
    assert bench.sync.cameras["a"].dropped == {"repeated": 1}


def test_cameras_that_have_finished_are_not_waited_for() -> None:
    bench = Bench(every=True)
    bench.put(0, 0)
    bench.sync.finish(1)
    assert bench.take() == (0, "a-")
    assert not bench.sync.finished
    bench.sync.finish(0)
    assert bench.sync.finished


@given(
    st.booleans(),
    st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3), st.integers(0, 30), st.booleans()), max_size=60),
)
def test_captured_is_processed_plus_dropped_and_every_slot_comes_back_once(
    every: bool, steps: list[tuple[int, int, int, bool]]
) -> None:
    bench = Bench("abc", every)
    latest = [-1, -1, -1]
    put: list[tuple[str, int]] = []
    sets: list[int] = []
    for camera, gap, passed_ms, take in steps:
        latest[camera] += gap
        bench.put(camera, latest[camera])
        put.append(("abc"[camera], latest[camera]))
        bench.now += passed_ms * 1_000_000
        if take and (found := bench.take()):
            sets.append(found[0])
    bench.sync.drain("shutdown")
    assert sets == sorted(set(sets))
    for counts in (bench.sync.sets, *bench.sync.cameras.values()):
        assert counts.captured == counts.processed + sum(counts.dropped.values())
    assert Counter(bench.released) == Counter(put)
