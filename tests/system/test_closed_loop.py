"""The whole loop in simulation: the chip triggers the cameras, their pictures fire the laser at the same chip."""

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from poseloop.bench import closedloop as bench
from poseloop.live.vision import Network

pytestmark = pytest.mark.firmware


def test_one_trace_from_the_cameras_trigger_to_the_laser(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    snout = bench.paint_animal(pictures, count=120, steps_a_s=10)
    scene = bench.Scene(pictures, (160.0, 120.0, 40.0), fps=15)
    result = bench.measure_simulated(scene, tmp_path, seconds=8)
    ways = result["traces"]
    assert ways
    # Exposure to pin is known for every trigger, by the board's own clock, which is what its pins really did.
    report = result["report"]
    assert result["camera_edges_known"] == result["pins_known"] == report["triggers"]["acknowledged"] == len(ways)
    assert report["latency_ms"]["camera_trigger_to_pin"]["n"] == len(ways)
    assert report["boards"]["box"]["camera_triggers"] >= report["frames"]["captured"]
    assert result["laser_edges"] >= len(ways)
    assert result["report_error_us"] <= 20
    inner = [end for _, end in bench.PARTS.values()][:-1]
    for way in ways:
        times = [way[name] for name in inner]
        assert times == sorted(times)
        assert way["pin_ns"] > way["triggered_ns"]
    # The parts have no gap between them: their sum is the way from edge to edge, for each trigger.
    parts = list(bench.PARTS.values())
    assert all(end == begin for (_, end), (begin, _) in pairwise(parts))
    assert (parts[0][0], parts[-1][1]) == ("triggered_ns", "pin_ns")
    # And the laser is right: the picture that caused it shows the snout inside (4 px: the network's error).
    inside = np.hypot(*(snout - scene.circle[:2]).T) <= scene.circle[2] + 4
    for way in ways:
        shown = way["index"] % len(snout)
        assert inside[shown]


@pytest.mark.slow
def test_the_same_with_real_pictures(data: Path, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (video,) = (data / "dlc_openfield").rglob("*.mp4")
    source, shown = cv2.VideoCapture(str(video)), []
    for number in range(60):
        for _ in range(10):
            good, image = source.read()
            assert good
        shown.append(image)
        cv2.imwrite(str(pictures / f"{number:04}.bmp"), image)
    with Network.open("openfield") as network:
        at = network.keypoints.index("snout")
        found = [network.infer([image[..., ::-1]]).xy[0, 0, at] for image in shown]
    x, y = next(place for place in found[20:] if not np.isnan(place).any()).tolist()
    inside = [np.hypot(*(place - (x, y))) <= 50 for place in found]
    assert 0 < sum(inside) < len(inside)
    scene = bench.Scene(pictures, (x, y, 40.0), model="openfield", cameras=1, fps=10)
    result = bench.measure_simulated(scene, tmp_path, seconds=15)
    assert result["camera_edges_known"] == result["report"]["triggers"]["acknowledged"] > 0
    assert result["report_error_us"] <= 20
    assert all(inside[way["index"] % len(shown)] for way in result["traces"])
