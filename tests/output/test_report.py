import json
import math
from pathlib import Path

import numpy as np
import pytest

from poseloop.live.errors import DataError
from poseloop.live.output import report
from poseloop.live.types import Trace


def test_percentiles_agree_with_numpy_to_a_bucket() -> None:
    values = np.random.default_rng(0).lognormal(math.log(2e6), 1.0, 20_000).astype(int)
    histogram = report.Histogram()
    for value in values:
        histogram.add(int(value))
    for share in (0.5, 0.9, 0.99, 0.999):
        # A bucket is 1.1 % wide; the rest is how numpy interpolates between neighbours.
        assert histogram.percentile_ms(share) == pytest.approx(np.percentile(values, share * 100) / 1e6, rel=0.015)
    assert histogram.as_report()["max"] == round(values.max() / 1e6, 4)


def test_extremes_stay_in_range() -> None:
    histogram = report.Histogram()
    assert math.isnan(histogram.percentile_ms(0.5))
    for value in (-5, 0, 1, 10**13):
        histogram.add(value)
    assert histogram.n == 4
    assert histogram.percentile_ms(0.25) <= 0.0011


def test_a_stage_counts_only_when_both_of_its_times_have_happened() -> None:
    latencies = report.Latencies(report.Latencies.TRIGGER)
    latencies.add(Trace(exposed_ns=1, arrived_ns=1_000_000, decided_ns=2_000_000, written_ns=3_000_000))
    assert list(latencies.as_report()) == ["write"]
    assert latencies["write"].as_report()["max"] == 1.0


def test_a_report_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    report.write({"frames": 1}, file)
    assert json.loads(file.read_text(encoding="utf-8")) == {"frames": 1}
    assert list(tmp_path.iterdir()) == [file]
    with pytest.raises(DataError, match="cannot be written"):
        report.write({}, tmp_path / "absent" / "report.json")


def test_machine_and_versions_name_what_a_latency_depends_on() -> None:
    assert {"system", "processor", "cores"} <= set(report.machine())
    assert {"python", "poseloop", "numpy", "onnxruntime"} <= set(report.versions())
