import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from poseloop.live.capture.ring import LentSlots, Ring
from poseloop.live.errors import DataError


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


def test_a_slot_is_free_when_loop_and_recorder_have_both_given_it_back() -> None:
    ring = Ring((4, 5), 3, lendable=2)
    recorder = LentSlots(**slots_of(ring))
    both, recorder_last = ring.acquire(0.0), ring.acquire(0.0)
    assert both is not None
    assert recorder_last is not None
    ring.writable(both)[:] = 9
    assert ring.lend(both)
    assert ring.lend(recorder_last)
    recorder.give_back(both)
    assert ring.free == 3
    ring.release(both)
    ring.release(recorder_last)
    assert ring.free == 4
    recorder.give_back(recorder_last)
    assert ring.free == 5


def test_the_loops_own_slots_are_never_lent() -> None:
    ring = Ring((4, 5), 3, lendable=2)
    slots = [ring.acquire(0.0) for _ in range(5)]
    assert [ring.lend(slot) for slot in slots if slot is not None] == [True, True, False, False, False]
    for slot in slots:
        ring.release(slot or 0)
    assert ring.free == 3


def test_a_camera_without_a_free_slot_gets_the_one_that_the_recorder_gives_back() -> None:
    ring = Ring((4, 5), 3, lendable=1)
    recorder = LentSlots(**slots_of(ring))
    (first, *_) = (ring.acquire(0.0) for _ in range(1))
    assert first is not None
    rest = [ring.acquire(0.0) for _ in range(3)]
    assert None not in rest
    assert ring.lend(first)
    ring.release(first)
    assert ring.acquire(0.02) is None
    recorder.give_back(first)
    assert ring.acquire(0.02) == first


def test_slots_of_a_recorder_that_is_gone_come_back() -> None:
    ring = Ring((4, 5), 3, lendable=2)
    slot = ring.acquire(0.0)
    assert slot is not None
    assert ring.lend(slot)
    ring.release(slot)
    assert ring.free == 4
    ring.stop_lending()
    assert ring.free == 5
    assert not ring.lend(0)


READS = """
import sys, json
from poseloop.live.capture.ring import LentSlots
slots = LentSlots(**json.loads(sys.argv[1]))
print(int(slots.image(2).sum()), slots.image(2).shape)
slots.give_back(2)
"""


@pytest.mark.parametrize("platform", [sys.platform, "darwin"])
def test_another_process_reads_the_same_memory_which_has_no_name_left(
    platform: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if sys.platform == "win32" and platform == "darwin":
        pytest.skip("a file that is open cannot be unlinked here")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("poseloop.live.capture.ring.sys.platform", platform)
    ring = Ring((4, 5), 3, lendable=2)
    assert [ring.acquire(0.0) for _ in range(3)] == [0, 1, 2]
    ring.writable(2)[:] = 7
    assert ring.lend(2)
    command = [sys.executable, "-c", READS, json.dumps(slots_of(ring))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "140 (4, 5)"
    ring.release(2)
    assert ring.free == 3
    ring.hide()
    assert list(tmp_path.iterdir()) == []
    ring.close()


def test_slots_of_an_engine_that_is_gone_are_an_error() -> None:
    ring = Ring((4, 5), 3, lendable=2)
    address = slots_of(ring)
    ring.close()
    if sys.platform == "linux":
        with pytest.raises(DataError, match="cannot be opened"):
            LentSlots(**address)


def slots_of(ring: Ring) -> dict[str, Any]:
    return {key: value for key, value in ring.address.items() if key != "lendable"}
