import numpy as np
import pytest

from poseloop.live.capture.ring import Ring


def test_slots_go_round_and_never_more_than_there_are() -> None:
    ring = Ring((4, 5), 3)
    taken = [ring.acquire(0.0) for _ in range(3)]
    assert sorted(slot for slot in taken if slot is not None) == [0, 1, 2]
    assert ring.acquire(0.0) is None
    ring.release(1)
    assert ring.acquire(0.0) == 1
    assert ring.free == 0


def test_readers_see_what_the_driver_wrote_and_cannot_write() -> None:
    ring = Ring((4, 5, 3), 3)
    ring.writable(2)[:] = 7
    assert (ring.readable(2) == 7).all()
    assert np.shares_memory(ring.readable(2), ring.writable(2))
    with pytest.raises(ValueError, match="read-only"):
        ring.readable(2)[:] = 1


def test_too_few_slots_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 3"):
        Ring((4, 5), 2)
