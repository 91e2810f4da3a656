"""The benchmark of the filters: its yardstick against known motion, and what it finds on recordings."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from poseloop.bench.filters import Track, ensemble, error_ahead
from poseloop.live.config import FilterTable
from poseloop.live.errors import DataError

NONE = FilterTable()


def line(score: float = 1.0) -> Track:
    """100 px/s along x, at 100 fps."""
    at_ns = np.arange(200, dtype=np.int64) * 10_000_000
    points = np.stack([np.arange(200.0), np.zeros(200)], axis=-1)[:, None]
    return Track("line", at_ns, points, np.full((200, 1), score), points)


@pytest.mark.parametrize("ahead_ms", [0, 10, 25])
def test_without_prediction_the_error_is_the_way_that_the_point_went_on(ahead_ms: float) -> None:
    found = error_ahead(line(), NONE, ahead_ms)
    assert found["median"] == found["p95"] == pytest.approx(ahead_ms / 10, abs=1e-3)
    # The first ten are left out, and at the end there is no truth.
    assert found["n"] == 190 - int(np.ceil(ahead_ms / 10))


def test_a_line_is_predicted() -> None:
    table = FilterTable(use="kalman-cv", caution_sigma=0.0, fade_ms=0.0)
    assert error_ahead(line(), table, 25)["median"] < 0.05


def test_truth_is_what_the_other_networks_say(tmp_path: Path) -> None:
    for number, x in enumerate((0.0, 3.0, 4.0, 5.0)):
        rows = ["scorer,a,a,a", "bodyparts,p,p,p", "coords,x,y,likelihood", *[f"{i},{x + i},7,0.95" for i in range(5)]]
        (tmp_path / f"{number}.csv").write_text("\n".join(rows), encoding="utf-8")
    track = ensemble("four", sorted(tmp_path.glob("*.csv")), 100.0)
    np.testing.assert_array_equal(track.points[:, 0, 0], np.arange(5.0))
    np.testing.assert_array_equal(track.truth[:, 0], np.stack([4 + np.arange(5.0), np.full(5, 7.0)], axis=-1))
    with pytest.raises(DataError, match="three rows of names"):
        ensemble("none", [tmp_path / "absent.csv"], 100.0)


def test_where_a_mouse_runs_prediction_helps(data: Path) -> None:
    track = ensemble("paws", sorted((data / "eks_multiview" / "mirror-mouse").glob("*.csv")), 250.0)
    none, predicted = (error_ahead(track, table, 20) for table in (NONE, FilterTable(use="kalman-cv")))
    assert predicted["n"] == none["n"]
    assert predicted["median"] < 0.65 * none["median"]
    assert predicted["p95"] < 0.95 * none["p95"]


def test_a_track_of_ones_own_is_scored_and_reported(tmp_path: Path) -> None:
    rows = ["scorer,a,a,a", "bodyparts,p,p,p", "coords,x,y,likelihood", *[f"{i},{i},7,1" for i in range(60)]]
    (tmp_path / "mine.csv").write_text("\n".join(rows), encoding="utf-8")
    command = (sys.executable, "-m", "poseloop.bench.filters", "--track", "mine.csv", "--fps", "100")
    noise = ("--process-noise", "100", "1000", "--poses", "50")
    done = subprocess.run([*command, *noise, "--report", "r.json"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert set(report["error_px"]["mine.csv"]["40 ms"]) == {"none", "cv 100", "cv 1000"}
    assert set(report["us_for_40_keypoints"]) == {"cv 100", "cv 1000"}
    assert "mine.csv" in done.stdout
