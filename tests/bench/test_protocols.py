"""The tools that measure protocols, on little."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from poseloop.bench import curves
from poseloop.bench.protocols import Scene, hits, measure_written

BACK_AND_FORTH = np.stack([100 + 100 * np.sin(np.arange(500) / 16), np.zeros(500)], axis=1)
INSIDE = BACK_AND_FORTH[:, 0] > 150
ENTERED_S = [float(frame) / 100 for frame in np.flatnonzero(INSIDE[1:] & ~INSIDE[:-1]) + 1]
SCENE = Scene("region", {"keypoint": "p", "circle": [200, 0, 50]}, {"p": BACK_AND_FORTH}, ENTERED_S)


def test_a_latency_beyond_the_tolerance_makes_every_trigger_late() -> None:
    assert hits(SCENE, ENTERED_S, 0) == {"moments": 5, "late": 0, "missed": 0, "extra": 0}
    assert hits(SCENE, ENTERED_S, 40)["late"] == 0
    assert hits(SCENE, ENTERED_S, 80)["late"] == 5


def test_curves_are_drawn(tmp_path: Path) -> None:
    result = curves.measure(SCENE, seeds=2)
    assert result["noise_px"][0.0] == {"missed": [0.0], "extra": [0.0]}
    assert max(result["noise_px"][4.0]["extra"]) > 0, "without a hysteresis, noise at the border is a series of entries"
    assert result["latency_ms"][80.0]["missed"] == [1.0]
    curves.draw({"region": result}, tmp_path / "curves.png")
    assert cv2.imread(str(tmp_path / "curves.png")).std() > 1


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are a POSIX thing")
def test_the_host_and_the_bare_loop_both_write_to_a_serial_port() -> None:
    written = measure_written(20)
    assert 0 < written["bare"] < 1000
    assert 0 < written["host"] < 1000
