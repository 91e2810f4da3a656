"""Frames become sets by trigger index, and every one of them is accounted for."""

import random
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poseloop.live.capture.sync import Synchroniser
from poseloop.live.types import Frame

IMAGE = np.zeros((2, 2), np.uint8)
WAIT_NS = 20_000_000
PERIOD_NS = 10_000_000
TOLERANCE_NS = 5_000_000


class Bench:
    """A synchroniser with a clock that tests move, and a note of every slot that came back."""

    def __init__(self, cameras: str = "ab", every: bool = False, by_time: bool = False) -> None:
        self.now = 1_000_000_000
        self.released: list[tuple[str, int]] = []
        self.sync = Synchroniser(
            list(cameras),
            lambda frame: self.released.append((frame.camera, frame.slot)),
            every=every,
            by_time=by_time,
            tolerance_ns=TOLERANCE_NS,
            wait_ns=WAIT_NS,
            clock=lambda: self.now,
        )
        self.names = cameras

    def put(self, camera: int, index: int, exposed_ns: int | None = None, slot: int | None = None) -> tuple[int, str]:
        """A frame of trigger ``index``; or of one at another time, and of another slot than the index."""
        exposed = index * PERIOD_NS + camera * 1000 if exposed_ns is None else exposed_ns
        slot = index if slot is None else slot
        return self.sync.put(camera, Frame(self.names[camera], index, exposed, exposed + 5000, IMAGE, slot))

    def dropped(self, camera: str) -> dict[str, int]:
        return dict(self.sync.cameras[camera].dropped)

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


def test_a_frame_that_comes_after_the_end_is_counted_for_it() -> None:
    """Of a camera that hung in its driver, and came out of it when the counts were about to be reported."""
    bench = Bench()
    bench.put(0, 0)
    bench.put(1, 0)
    assert bench.take() == (0, "ab")
    bench.put(0, 1)
    bench.sync.drain("shutdown")
    bench.put(1, 0)
    bench.put(1, 5)
    assert bench.dropped("a") == {"shutdown": 1}
    assert bench.dropped("b") == {"shutdown": 2}
    assert len(bench.released) == 5
    assert bench.sync.sets.captured == bench.sync.sets.processed + bench.sync.sets.dropped["shutdown"] == 2


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


def test_a_frame_after_a_later_one_of_its_camera_is_swapped_and_not_lost() -> None:
    bench = Bench("a")
    for index in (0, 2, 1, 1, 3):
        bench.put(0, index)
    assert bench.dropped("a") == {"superseded": 2, "swapped": 2}
    assert bench.sync.restarts == {"a": 0}


def test_a_camera_that_misses_a_trigger_without_counting_it_is_never_paired_wrongly_and_is_put_right() -> None:
    """Camera b was not ready for trigger 2: its frames carry one less from then on, and only the times tell."""
    bench = Bench(every=True)
    for trigger in range(12):
        bench.put(0, trigger)
        if trigger != 2:
            count = trigger - (trigger > 2)
            bench.put(1, count, trigger * PERIOD_NS + 1000, slot=trigger)
    assert [bench.take() for _ in range(12)] == [(n, "a-" if 2 <= n <= 6 else "ab") for n in range(12)]
    assert bench.dropped("b") == {"out_of_step": 4}
    assert bench.sync.realigned == {"a": 0, "b": 1}
    assert bench.sync.lost == {"a": 0, "b": 1}


def test_one_wrong_time_is_no_slip() -> None:
    bench = Bench(every=True)
    for trigger in range(12):
        bench.put(0, trigger)
        bench.put(1, trigger, trigger * PERIOD_NS + (PERIOD_NS if trigger == 5 else 0))
    assert [bench.take() for _ in range(12)] == [(n, "a-" if n == 5 else "ab") for n in range(12)]
    assert bench.dropped("b") == {"out_of_step": 1}
    assert bench.sync.realigned == {"a": 0, "b": 0}


def test_cameras_that_cannot_tell_their_exposure_are_matched_by_count_alone() -> None:
    bench = Bench(every=True)
    for trigger in range(3):
        bench.put(0, trigger)
        arrived = trigger * PERIOD_NS + 3 * PERIOD_NS
        bench.sync.put(1, Frame("b", trigger, arrived, arrived, IMAGE, trigger))
    assert [bench.take() for _ in range(3)] == [(0, "ab"), (1, "ab"), (2, "ab")]


@pytest.mark.parametrize("told", [False, True])
def test_a_restarted_camera_joins_again_by_time_and_the_index_goes_on(told: bool) -> None:
    bench = Bench(every=True)
    for trigger in range(20):
        bench.put(0, trigger)
        if trigger < 5:
            bench.put(1, trigger)
        elif trigger == 5 and told:
            bench.sync.leave(1)
        elif trigger >= 8:
            bench.put(1, trigger - 8, trigger * PERIOD_NS + 1000, slot=trigger)
    # One that is known to be gone is not waited for; its first frame, trigger 8, shows that it is back.
    expected = [(n, "a-" if 5 <= n < 8 + told else "ab") for n in range(20)]
    assert [bench.take() for _ in range(20)] == expected
    assert bench.sync.restarts == {"a": 0, "b": 1}
    assert bench.sync.lost == {"a": 0, "b": 3}


def test_after_all_counts_began_again_the_index_goes_on() -> None:
    bench = Bench(every=True)
    for trigger in range(10):
        for camera in (0, 1):
            bench.put(camera, trigger % 5, trigger * PERIOD_NS + camera * 1000, slot=trigger)
    assert [bench.take() for _ in range(10)] == [(n, "ab") for n in range(10)]
    assert bench.sync.restarts == {"a": 1, "b": 1}


@pytest.mark.parametrize("both", [True, False])
def test_what_triggers_the_cameras_begins_again_and_no_index_comes_twice(both: bool) -> None:
    """Its count is theirs: it was switched off and on, and no camera was lost. Or one camera's alone was."""
    bench = Bench(every=True)
    given: dict[int, list[int]] = {0: [], 1: []}
    for trigger in range(300):
        for camera in (0, 1):
            count = trigger % 100 if both or camera else trigger
            index, disorder = bench.put(camera, count, trigger * PERIOD_NS + camera * 1000, slot=trigger)
            assert not disorder
            given[camera].append(index)
    assert given == {0: list(range(300)), 1: list(range(300))}
    assert [bench.take() for _ in range(300)] == [(n, "ab") for n in range(300)]
    assert bench.sync.restarts == {"a": 2 * both, "b": 2}
    assert bench.sync.lost == {"a": 0, "b": 0}


@pytest.mark.parametrize("damaged", [[20_000], [20_000, 20_001, 20_002], [-20_000]], ids=["one", "three", "below"])
def test_a_damaged_number_costs_no_other_camera_a_frame(damaged: list[int]) -> None:
    """As a count that is taken for wrapped; believed, all that follow would be late for a frame of the future."""
    bench = Bench(every=True)
    indices = []
    for trigger in range(200):
        bench.put(0, trigger)
        count = damaged[trigger - 100] if 100 <= trigger < 100 + len(damaged) else trigger
        indices.append(bench.put(1, count, trigger * PERIOD_NS + 1000, slot=trigger)[0])
    assert [bench.take() for _ in range(200)] == [(n, "ab") for n in range(200)]
    assert (np.diff(indices) > 0).all()
    assert bench.sync.restarts == {"a": 0, "b": 2}


def test_frames_that_were_lost_for_long_are_believed() -> None:
    bench = Bench(every=True)
    for trigger in [*range(10), *range(1000, 1010)]:
        bench.put(0, trigger)
        bench.put(1, trigger)
    assert bench.take() == (0, "ab")
    assert bench.sync.restarts == {"a": 0, "b": 0}
    assert bench.sync.lost == {"a": 990, "b": 990}


def test_a_camera_that_is_silent_for_long_is_not_waited_for() -> None:
    bench = Bench()
    bench.put(0, 0)
    bench.put(1, 0)
    assert bench.take() == (0, "ab")
    bench.now += 1_100_000_000
    bench.put(0, 1)
    assert bench.take() is None, "once more it gets the wait"
    bench.now += WAIT_NS
    assert bench.take() == (1, "a-")
    bench.put(0, 2)
    assert bench.take() == (2, "a-")
    bench.put(1, 3)
    assert bench.take() is None, "it is back, and camera a is waited for"
    bench.put(0, 3)
    assert bench.take() == (3, "ab")


def stamped_on_arrival(bench: Bench, trigger: int, camera: int, index: int) -> None:
    """A frame of a camera that cannot tell its exposure."""
    bench.now = trigger * PERIOD_NS + camera * 1000
    bench.sync.put(camera, Frame(bench.names[camera], index, bench.now, bench.now, IMAGE, index))


@dataclass
class Untold:
    """What a camera that cannot tell its exposure delivers in place of the indices 4, 5, …, and what becomes of it."""

    instead: list[int]
    dropped: dict[str, int]


@pytest.mark.parametrize(
    "case",
    [
        Untold([5, 4], {"swapped": 1}),
        Untold([6, 4, 5], {"swapped": 2}),
        Untold([4, 3, 5], {"repeated": 1}),
    ],
    ids=["swapped", "two late", "repeated"],
)
def test_disorder_is_told_from_a_new_count_where_no_exposure_is_known(case: Untold) -> None:
    """Taken for a new count, it would pair the camera's later frames with wrong triggers without a sign of it."""
    bench = Bench()
    order = [0, 1, 2, 3, *case.instead]
    order += range(max(order) + 1, 30)
    for index in range(30):
        stamped_on_arrival(bench, index, 0, index)
    pairs = []
    for n, index in enumerate(order):
        stamped_on_arrival(bench, 30 + n, 1, index)
    assert bench.dropped("b").items() >= case.dropped.items()
    assert bench.sync.restarts["b"] == 0
    while (frames := bench.sync.take(0.0)) is not None:
        pairs.append([frame.index for frame in frames.frames if frame is not None])
    assert all(len(set(pair)) == 1 for pair in pairs)


def test_a_count_that_begins_again_is_found_where_no_exposure_is_known() -> None:
    bench = Bench()
    for trigger in range(40):
        # The camera counts from the start again after ten triggers: all its indices are known for a while.
        for camera, index in enumerate((trigger, trigger if trigger < 10 else trigger - 10)):
            stamped_on_arrival(bench, trigger, camera, index)
    assert bench.sync.restarts == {"a": 0, "b": 1}
    frames = bench.sync.take(0.0)
    assert frames is not None
    assert [frame and frame.index for frame in frames.frames] == [39, 39]


def test_without_a_trigger_frames_pair_by_time_whatever_their_index() -> None:
    """Camera b started three frames later, 4 ms out of phase."""
    bench = Bench(by_time=True, every=True)
    for n in range(3):
        bench.put(0, n)
    for n in range(3, 9):
        bench.put(0, n)
        bench.put(1, n - 3, n * PERIOD_NS + 4_000_000, slot=n)
    assert [bench.take() for _ in range(9)] == [(n, "a-" if n < 3 else "ab") for n in range(9)]
    assert bench.sync.lost == {"a": 0, "b": 0}


def test_a_faster_camera_has_unmatched_frames_and_makes_no_gaps() -> None:
    """60 and 150 Hz: every slow frame finds its partner, and the surplus of the fast camera makes no sets."""
    bench = Bench(by_time=True, every=True)
    bench.sync._matcher._tolerance_ns = 3_400_000  # type: ignore[attr-defined]
    frames = [(n * 16_666_667, 0, n) for n in range(60)] + [(n * 6_666_667 + 1_000_000, 1, n) for n in range(150)]
    for exposed, camera, n in sorted(frames):
        bench.put(camera, n, exposed)
    bench.sync.drain("shutdown")
    complete = bench.sync.sets.captured - bench.sync.incomplete
    assert complete == 60
    assert bench.sync.incomplete <= 3, "only before the periods are known"
    assert bench.dropped("b")["unmatched"] >= 85


def test_without_a_trigger_a_lost_frame_leaves_a_gap_after_the_wait() -> None:
    bench = Bench(by_time=True)
    sets = []
    for n in range(10):
        bench.put(0, n)
        if n != 6:
            bench.put(1, n)
        if n == 6:
            assert bench.take() is None
            bench.now += WAIT_NS + 1
        sets.append(bench.take())
    assert sets == [(n, "a-" if n == 6 else "ab") for n in range(10)]
    assert bench.sync.lost == {"a": 0, "b": 1}


@dataclass(frozen=True)
class Shot:
    """One frame as a camera delivers it, and the trigger that made it."""

    camera: int
    trigger: int
    count: int
    exposed_ns: int
    arrives_ns: int


FATES = ("fine",) * 12 + ("lost", "missed", "repeated", "swapped", "restart")


@st.composite
def sessions(draw: st.DrawFn, counted: bool, calm: int = 0) -> list[Shot]:
    """Deliveries of 2 or 3 cameras over some triggers, in the order of their arrival.

    ``lost`` frames are counted by their camera, ``missed`` triggers are not; ``swapped`` changes places with the one
    before; at a ``restart`` the camera's count begins again. Frames arrive up to 1.5 periods late. In the last ``calm``
    triggers nothing happens.
    """
    cameras, triggers = draw(st.integers(2, 3)), draw(st.integers(1, 40))
    shots: list[Shot] = []
    for camera in range(cameras):
        count, arrived, mine = 0, 0, []
        period = PERIOD_NS if counted else draw(st.sampled_from([PERIOD_NS, 16_666_667, 6_666_667]))
        phase = 0 if counted else draw(st.integers(0, period))
        for trigger in range(triggers + calm):
            fate = draw(st.sampled_from(FATES)) if trigger < triggers else "fine"
            exposed = trigger * period + phase + draw(st.integers(0, 1_000_000))
            arrived = max(arrived, exposed + draw(st.integers(100_000, 15_000_000)))
            if fate == "restart":
                count = 0
            if fate == "missed":
                continue
            if fate != "lost":
                mine.append(Shot(camera, trigger, count, exposed, arrived))
                if fate == "repeated":
                    mine.append(mine[-1])
                if fate == "swapped" and len(mine) > 1:
                    a, b = mine[-2:]
                    mine[-2:] = replace(b, arrives_ns=a.arrives_ns), replace(a, arrives_ns=b.arrives_ns)
            count += 1
        shots += mine
    return sorted(shots, key=lambda shot: shot.arrives_ns)


def play(bench: Bench, shots: list[Shot], takes: random.Random) -> list[list[Shot]]:
    """Feed a session; returns the sets that were taken, as the shots in them."""
    sets: list[list[Shot]] = []
    last_index = -1

    def take() -> None:
        nonlocal last_index
        while (frames := bench.sync.take(0.0)) is not None:
            assert frames.index > last_index
            last_index = frames.index
            taken = [shots[frame.slot] for frame in frames.frames if frame is not None]
            exposures = [shot.exposed_ns for shot in taken]
            assert frames.skew_ns == max(exposures) - min(exposures)
            sets.append(taken)
            bench.sync.count(frames)
            bench.sync.release(frames)

    newest = [-1, -1, -1]
    for number, shot in enumerate(shots):
        bench.now = 1_000_000_000 + shot.arrives_ns
        index, disorder = bench.put(shot.camera, shot.count, shot.exposed_ns, slot=number)
        assert disorder or index > newest[shot.camera], "no index stands for two frames of a camera"
        newest[shot.camera] = max(newest[shot.camera], index)
        if takes.random() < 0.5:
            take()
    bench.now += 10 * WAIT_NS
    take()
    bench.sync.drain("shutdown")
    return sets


def check_accounts(bench: Bench, shots: list[Shot], sets: list[list[Shot]]) -> None:
    for counts in (bench.sync.sets, *bench.sync.cameras.values()):
        assert counts.captured == counts.processed + sum(counts.dropped.values())
    assert sum(counts.captured for counts in bench.sync.cameras.values()) == len(shots)
    assert sum(counts.processed for counts in bench.sync.cameras.values()) == sum(map(len, sets))
    assert sorted(slot for _, slot in bench.released) == list(range(len(shots)))


@given(sessions(counted=True), st.booleans(), st.randoms(use_true_random=False))
def test_by_count_every_set_is_of_one_trigger_and_every_frame_ends_in_one_place(
    shots: list[Shot], every: bool, takes: random.Random
) -> None:
    bench = Bench("abc", every)
    for camera in {0, 1, 2} - {shot.camera for shot in shots}:
        bench.sync.finish(camera)
    sets = play(bench, shots, takes)
    for taken in sets:
        assert len({shot.trigger for shot in taken}) == 1, taken
    check_accounts(bench, shots, sets)


@given(sessions(counted=True, calm=40), st.randoms(use_true_random=False))
def test_by_count_whatever_happened_sets_become_complete_again(shots: list[Shot], takes: random.Random) -> None:
    bench = Bench("abc", every=True)
    cameras = {shot.camera for shot in shots}
    for camera in {0, 1, 2} - cameras:
        bench.sync.finish(camera)
    last = max(shot.trigger for shot in shots)
    complete = {taken[0].trigger for taken in play(bench, shots, takes) if len(taken) == len(cameras)}
    assert complete >= set(range(last - 10, last - 1))


@given(sessions(counted=False), st.booleans(), st.randoms(use_true_random=False))
def test_by_time_every_set_lies_within_the_tolerance_and_every_frame_ends_in_one_place(
    shots: list[Shot], every: bool, takes: random.Random
) -> None:
    bench = Bench("abc", every, by_time=True)
    for camera in {0, 1, 2} - {shot.camera for shot in shots}:
        bench.sync.finish(camera)
    sets = play(bench, shots, takes)
    for taken in sets:
        exposures = [shot.exposed_ns for shot in taken]
        assert max(exposures) - min(exposures) <= TOLERANCE_NS
    check_accounts(bench, shots, sets)


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
