"""What Poseloop has set itself to reach: each number, where it stands in which benchmark's report, and its bar.

A `Target` is read from the JSON file that a run (`poseloop.bench.target_runs`) leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from poseloop.bench import closedloop
from poseloop.bench.peers.beside import SIZES
from poseloop.bench.triangulation import CLEAN, LIES, PLAIN

__all__ = ["TARGETS", "Report", "Target"]

Report = Mapping[str, Any]
"""What a benchmark wrote."""

Read = Callable[[Report], float]
"""A number from a report; KeyError or IndexError: it is not in there."""


@dataclass(frozen=True, slots=True)
class Target:
    """One number and its bar."""

    part: str
    """Heading."""
    what: str
    run: str
    """Name of a `Run`."""
    read: Read
    bar: float
    unit: str = ""
    least: bool = False
    """The bar is the least that will do; otherwise the most."""

    def met(self, value: float) -> bool:
        """Whether the bar is reached; NaN reaches none."""
        return value >= self.bar if self.least else value <= self.bar


def at(*path: str | int) -> Read:
    """Read what lies there in the report."""

    def read(report: Report) -> float:
        value: Any = report
        for step in path:
            value = value[step]
        if value is None:
            raise KeyError(path[-1])
        return float(value)

    return read


def _size(key: str, size: tuple[int, int]) -> Callable[[Report], Mapping[str, Any]]:
    """Find the row of one picture size in deeplabcut-live's report."""

    def read(report: Report) -> Mapping[str, Any]:
        row: Mapping[str, Any]
        for row in report[key]:
            if tuple(row["picture"]) == size:
                return row
        raise KeyError(size)

    return read


def _same(size: tuple[int, int]) -> Read:
    row = _size("same", size)
    return lambda report: float(row(report)["times_faster"]["poseloop"]["ratio"])


def _best(size: tuple[int, int]) -> Read:
    row = _size("best", size)
    return lambda report: max(float(one["ratio"]) for one in row(report)["times_faster"].values())


def _farthest(report: Report) -> float:
    # In the smallest pictures no animal may be seen, and nothing compared.
    found = [row["difference_px"]["poseloop"]["max"] for row in report["same"] if row["difference_px"]]
    if not found:
        raise KeyError("difference_px")
    return float(max(found))


def _on_gpu(side: int) -> Read:
    """Median of the quicker precision, picture in memory to keypoints."""

    def read(report: Report) -> float:
        rows = [row for row in report["rows"] if row["shape"][:3] == [1, side, side]]
        found = [
            float(taken["p50"])
            for row in rows
            for name, taken in row["ms"].items()
            if name.startswith("cuda") and name.endswith("keypoints")
        ]
        if not found:
            raise KeyError("cuda")
        return min(found)

    return read


def _added(key: str, awake: bool) -> Read:
    """Read what the pipeline adds, of a run in which processors were kept awake, or of one in which they were not."""
    added = at("added_ms", key)

    def read(report: Report) -> float:
        if bool(report.get("awake")) is not awake:
            raise KeyError("awake")
        return added(report)

    return read


def _unaccounted(report: Report) -> float:
    """Pulses without a whole set, and sets and frames of which nothing is known, with and without inference."""
    if len(report["runs"]) < 2 or any(run["pulses"] < 6000 or len(run["cameras"]) < 4 for run in report["runs"]):
        raise KeyError("pulses")
    return float(
        sum(
            run["pulses_without_a_set"] + run["sets"]["incomplete"] + sum(map(abs, run["unaccounted"].values()))
            for run in report["runs"]
        )
    )


def _slowest_search(report: Report) -> float:
    """Of all ways of decoding one individual."""
    return max(
        float(row["p50"])
        for name, row in report["us"].items()
        if name in ("argmax", "locref") or name.startswith("centroid")
    )


def _slowest_filter(report: Report) -> float:
    return max(float(row["p50"]) for row in report["us_for_40_keypoints"].values())


def _peer(index: int) -> Read:
    """Of triangulation's ratios, in their order; there are none without the peer."""
    return lambda report: float(list(report["ratios"].values())[index])


def _half_an_hour(read: Read) -> Read:
    """Read it from a run that was as long as that."""

    def read_long(report: Report) -> float:
        if report["minutes"] < 30:
            raise KeyError("minutes")
        return read(report)

    return read_long


def _tail_growth(report: Report) -> float:
    ratios = report["p99_ratio"]
    return float(ratios["last_third"]) / float(ratios["first_third"])


def _wrong_at_no_noise(report: Report) -> float:
    cells = [row["0 px, 0 ms"] for row in report["hits"].values()]
    return float(sum(cell[kind] for cell in cells for kind in ("late", "missed", "extra")))


def _pictures_lost(report: Report) -> float:
    """Pictures that were captured while it recorded and are not in the session; messages that did not come."""
    missed = sum(sum(one["missed"].values()) for one in report["recorded"].values())
    return float(missed + sum(report["recorder_overrun"].values()) + sum(report["messages_lost"].values()))


def _slowest_export(report: Report) -> float:
    if report["minutes"] < 60 or report["fps"] < 100:
        raise KeyError("minutes")
    return max(float(one["process_s"]) for one in report["results"].values())


def _bars_missed(recording: str) -> Read:
    """Of those that the calibration's own report names."""
    return lambda report: float(sum(row["holds"] is False for row in report["recordings"][recording]))


_PEERS, _LIVE, _LOOP = "Beside other programs", "The engine", "To the pin"
_PARTS, _LONG, _GPU = "Its parts", "For long", "On a GPU"
_BEYOND = "slot to pose in another process, beyond 1.05 bare runs"

TARGETS: Sequence[Target] = (
    *(
        Target(
            _PEERS,
            f"deeplabcut-live, the same network, {size[0]} × {size[1]}: times faster",
            "peers-dlclive",
            _same(size),
            3 if size[0] < 459 else 1.3,
            "×",
            least=True,
        )
        for size in SIZES
    ),
    Target(_PEERS, "the same points in both: largest difference", "peers-dlclive", _farthest, 0.1, "px"),
    *(
        Target(
            _PEERS,
            f"deeplabcut-live, each at its best, {size[0]} × {size[1]}: times faster",
            "peers-dlclive",
            _best(size),
            4,
            "×",
            least=True,
        )
        for size in SIZES
    ),
    Target(_PEERS, "triangulation: times faster than aniposelib, fast", "triangulation", _peer(0), 8, "×", least=True),
    Target(
        _PEERS, "triangulation: times faster than aniposelib's RANSAC", "triangulation", _peer(1), 300, "×", least=True
    ),
    *(
        Target(_LIVE, f"{what}{setting}", f"pipeline-{name}{suffix}", _added(key, bool(suffix)), bar, "ms")
        for what, name, key, bar in (
            ("added to bare `session.run`, one camera 640 × 480: median", "200", "median", 0.25),
            ("the same: p99", "200", "p99", 1.0),
            ("the same, four cameras 320 × 240: median of a set", "4-cameras", "median", 0.5),
            (f"{_BEYOND}, `blob` 640 × 480", "200", "received_median", 0.3),
            (f"{_BEYOND}, `openfield` 640 × 480", "openfield", "received_median", 0.3),
            (f"{_BEYOND}, `openfield` 320 × 256", "openfield-320", "received_median", 0.3),
        )
        for suffix, setting in (("-awake", "; processors kept awake"), ("", "; not kept awake"))
    ),
    Target(
        _LIVE,
        "four emulated Basler cameras, 60 s at 100 a second, twice: pulses without a whole set, frames unaccounted",
        "cameras",
        _unaccounted,
        0,
    ),
    Target(
        _LOOP,
        "camera edge to laser edge less exposure, camera, inference and bytes: median",
        "closedloop",
        at("latency_ms", closedloop.ADDED, "p50"),
        2.0,
        "ms",
    ),
    Target(_LOOP, "decision to pin: median", "closedloop", at("decision_ms", "decision_to_pin", "p50"), 1.0, "ms"),
    Target(
        _LOOP,
        "added by the host, pose received to command written: median",
        "protocols",
        at("written_ms", "added"),
        0.2,
        "ms",
    ),
    Target(_LOOP, "triggers missed, late or extra, at no noise, all protocols", "protocols", _wrong_at_no_noise, 0),
    Target(_PARTS, "decoding 12 maps of 80 × 60, slowest way: median", "peaks", _slowest_search, 25, "µs"),
    Target(
        _PARTS,
        "filter and prediction, 40 keypoints, slowest filter: median",
        "filters",
        _slowest_filter,
        20,
        "µs",
    ),
    Target(_PARTS, "triangulation, 12 points × 4 cameras, linear", "triangulation", at("us", PLAIN, "p50"), 15, "µs"),
    Target(_PARTS, "the same, robust, clean", "triangulation", at("us", CLEAN, "p50"), 60, "µs"),
    Target(_PARTS, "the same, robust, one view of every point lies", "triangulation", at("us", LIES, "p50"), 150, "µs"),
    Target(
        _PARTS,
        "growth of the median 3D error where 20 % of the views lie, mean of the seeds",
        "triangulation",
        lambda report: 100 * float(sum(grown := report["errors"]["20%"]["lies"]["growth"])) / len(grown),
        15,
        "%",
    ),
    *(
        Target(_PARTS, f"calibration, {what}: numbers that miss their bar", "calibration", _bars_missed(recording), 0)
        for recording, what in (
            ("stereo", "stereo pairs of a chessboard"),
            ("mouse", "four cameras and a mouse"),
            ("caliscope", "four cameras, videos of an inverted board"),
        )
    ),
    Target(
        _PARTS,
        "crop that follows, to the whole picture's points: p95",
        "crop",
        at("follow", "difference_px", "p95"),
        1.0,
        "px",
    ),
    Target(_PARTS, "error that it adds on labelled stills", "crop", at("jitter", "added_px"), 0.2, "px"),
    Target(_PARTS, "times faster with it", "crop", at("follow", "times_faster"), 2.5, "×", least=True),
    Target(_PARTS, "our decoder beside a transposed convolution: ratio", "decoder", at("ratio"), 1.1),
    Target(_LONG, "`predict` beside the bare network: share of its speed", "predict", at("ratio"), 0.9, least=True),
    Target(_LONG, "two cameras 640 × 480 at 100 a second, recorded beside not: ratio", "record", at("p50_ratio"), 1.1),
    Target(_LONG, "the same: pictures and messages lost", "record", _pictures_lost, 0),
    Target(
        _LONG,
        "a session of an hour at 100 poses a second, read, checked, exported: slowest",
        "sessions",
        _slowest_export,
        30,
        "s",
    ),
    Target(_LONG, "30 minutes: memory grows by", "soak", _half_an_hour(at("memory_grown_mb")), 10, "MB"),
    Target(
        _LONG,
        "30 minutes: p99 beside the bare run's, last third / first third",
        "soak",
        _half_an_hour(_tail_growth),
        1.0,
    ),
    *(
        Target(
            _GPU,
            f"`openfield` {side} × {side}, picture in memory to keypoints: median",
            "inference-gpu",
            _on_gpu(side),
            bar,
            "ms",
        )
        for side, bar in ((256, 0.5), (1024, 1.5))
    ),
)
"""In the order of the table."""
