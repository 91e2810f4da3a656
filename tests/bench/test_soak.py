"""The benchmark of long runs, run for a moment."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from poseloop.bench.soak import memory_mb, soak
from poseloop.live.errors import DataError


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Half a second of pictures whose size is no multiple of the network's cells."""
    file = tmp_path / "short.avi"
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"MJPG"), 60.0, (100, 84))
    for number in range(30):
        picture = np.full((84, 100, 3), 220, np.uint8)
        cv2.circle(picture, (20 + number, 40), 8, (20, 20, 20), -1)
        writer.write(picture)
    writer.release()
    return file


def test_parts_of_a_run_are_compared_and_the_video_goes_round(video: Path) -> None:
    result = soak(video, "blob", "grey", threads=1, minutes=0.05, parts=3)
    assert len(result["rows"]) == 3
    assert sum(row["poses"] for row in result["rows"]) > 30, "more than one round"
    assert result["rows"][-1]["poses"] < result["frames"]["processed"], "each row counts its own poses"
    assert result["p99_ratio"].keys() == {"first_third", "last_third"}
    assert (result["memory_grown_mb"] is None) == (memory_mb() is None)


def test_a_part_without_a_pose_is_said(video: Path) -> None:
    with pytest.raises(DataError, match="no pose in part 1 of 1000"):
        soak(video, "blob", "grey", threads=1, minutes=0.0001, parts=1000)


def test_memory_that_is_taken_is_seen() -> None:
    before = memory_mb()
    if before is None:
        pytest.skip("this system does not tell a process's memory")
    # Much of it: a system that is short of memory may take back some that was not used for long.
    taken = np.ones(400_000_000, np.uint8)
    assert (memory_mb() or 0) - before > 200
    del taken
