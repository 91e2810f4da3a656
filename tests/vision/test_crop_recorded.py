"""The crop on a recorded mouse: the benchmark's three claims, on a part of the recordings."""

from pathlib import Path

import pytest

from poseloop.bench import crop


@pytest.mark.parametrize("every", [1, 8])
def test_it_gives_the_whole_pictures_points_much_sooner(data: Path, every: int) -> None:
    found = crop.follow("openfield", data / "dlc_openfield/videos/m3v1mp4.mp4", 256, 100, every, threads=1)
    assert found["frames"] == 100
    assert found["searched_whole"] <= 2
    assert found["points"] > 380
    assert found["seen_only_in_whole"] + found["seen_only_in_crop"] <= 4
    assert found["difference_px"]["p95"] <= 1
    # Far from the 4 that it is: other work shares this machine.
    assert found["times_faster"] >= 2


@pytest.mark.slow
def test_stills_cut_at_random_places_are_as_good_as_whole(data: Path) -> None:
    found = crop.jitter("openfield", data / "dlc_openfield", 256, seed=1, threads=1, draws=1)
    assert found["frames"] == 92
    assert found["points"] > 350
    assert found["added_px"] <= 0.2
