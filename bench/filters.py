"""Filters and prediction: how far off 10, 20 and 40 ms ahead, beside no prediction, and what one call costs.

``python -m poseloop.bench.filters --report FILE.json`` on the recordings in POSELOOP_DATA, or
``python -m poseloop.bench.filters --track mine.csv --fps 100`` on a track of your own (a DeepLabCut CSV), with
``--process-noise 300 1000 3000`` to find what suits it. ``--poses 500`` is a short look at all of it.

A track is run through a filter pose by pose, as in the loop. Truth is where the point was found at the later time, on
the straight line between two frames. Where a track has an ensemble (five networks of one kind), the filter is given the
first one's points, and truth is the median of the others, which do not share its noise. Counted are points that pass a
gate of 0.5 when they are predicted, and whose truth is trusted (0.9, by all networks).
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from poseloop.bench.options import make_parser, save
from poseloop.live.clock import now_ns
from poseloop.live.config import FilterTable
from poseloop.live.errors import DataError
from poseloop.live.motion.filters import Filter
from poseloop.live.types import Keypoints

__all__ = ["Track", "error_ahead", "main", "speed"]

_HORIZONS_MS = (0, 10, 20, 40)
_GATE = 0.5
_TRUSTED = 0.9
_WARM_UP = 10
_POINTS = 40

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Track:
    """Points of one camera over time."""

    name: str
    at_ns: npt.NDArray[np.int64]
    """(T,)"""
    points: Float64
    """(T, K, 2) px, as a filter is given them."""
    score: Float64
    """(T, K)"""
    truth: Float64
    """(T, K, 2) px; NaN = not trusted."""

    def first(self, poses: int | None) -> Track:
        """The first so many poses; None = all."""
        return Track(self.name, self.at_ns[:poses], self.points[:poses], self.score[:poses], self.truth[:poses])


def error_ahead(track: Track, table: FilterTable, ahead_ms: float) -> dict[str, float]:
    """Median, p95 and root of mean square of the distance to the truth, px; ``none`` = where the point was measured.

    Raises:
        DataError: the track has no point to score.
    """
    ahead_ns = round(ahead_ms * 1e6)
    points = track.points.astype(np.float32)
    score = track.score.astype(np.float32)
    motion = Filter(table, points.shape[1:], _GATE)
    steps = zip(points, score, track.at_ns.tolist(), strict=True)
    found = np.stack([motion.step(p, s, at, at + ahead_ns) for p, s, at in steps])
    distance = np.linalg.norm(found - _truth_at(track, ahead_ns), axis=-1)
    distance[:_WARM_UP] = np.nan
    distance[~(track.score >= _GATE)] = np.nan
    counted = distance[np.isfinite(distance)]
    if not len(counted):
        raise DataError(f"{track.name}: expected points over the gate with a trusted truth, but there are none")
    return {
        "n": len(counted),
        "median": round(float(np.median(counted)), 3),
        "p95": round(float(np.percentile(counted, 95)), 3),
        "rms": round(float(np.sqrt((counted**2).mean())), 3),
    }


def _truth_at(track: Track, ahead_ns: int) -> Float64:
    """(T, K, 2): the truth so much later than each pose; NaN after the end, and beside what is not trusted."""
    at = track.at_ns + ahead_ns
    right = np.clip(np.searchsorted(track.at_ns, at), 1, len(at) - 1)
    share = (at - track.at_ns[right - 1]) / (track.at_ns[right] - track.at_ns[right - 1])
    weight = share[:, None, None]
    found: Float64 = track.truth[right - 1] * (1 - weight) + track.truth[right] * weight
    found[at > track.at_ns[-1]] = np.nan
    return found


def speed(table: FilterTable, calls: int = 5000) -> dict[str, float]:
    """Time of one call for 40 keypoints of one camera, prediction included, in us; one in twenty is not seen."""
    random = np.random.default_rng(0)
    shape = (1, 1, _POINTS, 2)
    motion = Filter(table, shape, _GATE)
    points = random.normal(100, 1, (64, *shape)).astype(np.float32)
    points[random.random(points.shape[:-1]) < 0.05] = np.nan
    score = np.ones(shape[:-1], np.float32)
    taken = np.empty(calls)
    for call in range(calls):
        at = (call + 1) * 10_000_000
        began = now_ns()
        motion.step(points[call % 64], score, at, at + 20_000_000)
        taken[call] = (now_ns() - began) / 1000
    return {name: round(float(np.percentile(taken, share)), 2) for name, share in (("p50", 50), ("p99", 99))}


def read_csv(file: Path) -> tuple[Float64, Float64]:
    """Points (T, K, 2) and likelihoods (T, K) of a DeepLabCut or Lightning Pose CSV.

    Raises:
        DataError: it is none.
    """
    try:
        with file.open(newline="", encoding="utf-8") as source:
            rows = list(csv.reader(source))
        numbers = np.array([[float(value or "nan") for value in row[1:]] for row in rows[3:]])
        table = numbers.reshape(len(numbers), -1, 3)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{file}: expected three rows of names, then x, y, likelihood of each point: {error}"
        ) from error
    return table[..., :2], table[..., 2]


def ensemble(name: str, files: Sequence[Path], clock: Float64 | float) -> Track:
    """The first file's points, with the median of the others as truth; a single file is its own truth.

    Args:
        name: for the table.
        files: of the same frames.
        clock: time of each frame, s, or frames a second.
    """
    read = [read_csv(file) for file in files]
    points, score = read[0]
    truth = np.median([other for other, _ in read[1:] or read], axis=0)
    trusted = np.min([likelihood for _, likelihood in read], axis=0) >= _TRUSTED
    times = _at_ns(np.arange(len(points)) / clock if isinstance(clock, float) else clock[: len(points)])
    return Track(name, times, points, score, np.where(trusted[..., None], truth, np.nan))


def _at_ns(seconds: Float64) -> npt.NDArray[np.int64]:
    since_first: Float64 = (seconds - seconds[0]) * 1e9
    return np.asarray(since_first.round(), np.int64)


def recordings(data: Path, video: bool, poses: int | None = None) -> Iterator[Track]:
    """The tracks in the folder of recordings.

    Args:
        data: the folder.
        video: with the one that a network has to look at.
        poses: of the video, from its beginning; None = all.
    """
    folder = data / "eks_multiview"
    for camera in "ABC":
        # The files do not tell the rate; the laboratory's paper says 300 (Karashchuk et al., Cell Reports 2021).
        yield ensemble(f"fly {camera}, 300 fps", sorted((folder / "fly").glob(f"*Cam-{camera}*.csv")), 300.0)
    # 250: Warren et al., eLife 2021.
    yield ensemble("running mouse's paws, 250 fps", sorted((folder / "mirror-mouse").glob("*.csv")), 250.0)
    for side in ("right", "left"):
        times = np.load(next((folder / "ibl-paw").glob(f"*.timestamps.{side}.npy")), allow_pickle=False)
        rate = 1 / np.median(np.diff(times))
        yield ensemble(f"paws {side}, {rate:.0f} fps", sorted((folder / "ibl-paw").glob(f"*.{side}.rng*.csv")), times)
    yield ensemble("pupil, 60 fps", sorted((folder / "ibl-pupil").glob("*.csv")), 60.0)
    yield _tracktor(data / "tracktor_mouse" / "mouse_video_tracked.csv")
    if video:
        yield _openfield(data / "dlc_openfield" / "videos" / "m3v1mp4.mp4", poses)


def _tracktor(file: Path) -> Track:
    table = np.genfromtxt(file, delimiter=",", skip_header=1)
    points = table[:, None, 2:4]
    return Track(
        "mouse's centroid, 30 fps", _at_ns(np.arange(len(points)) / 30), points, np.ones(points.shape[:2]), points
    )


def _openfield(file: Path, poses: int | None) -> Track:
    """The zoo's network on a video of another session than it was trained on."""
    import cv2

    from poseloop.live.vision import Network

    video = cv2.VideoCapture(str(file))
    found: list[Keypoints] = []
    with Network.open("openfield") as network:
        while poses is None or len(found) < poses:
            more, image = video.read()
            if not more:
                break
            _progress(len(found))
            found.append(network.infer(np.ascontiguousarray(image[None, ..., ::-1], np.uint8)))
    video.release()
    if not found:
        raise DataError(f"{file}: cannot be read as a video")
    points = np.stack([keypoints.xy[0, 0] for keypoints in found]).astype(np.float64)
    score = np.stack([keypoints.score[0, 0] for keypoints in found]).astype(np.float64)
    truth = np.where((score >= _TRUSTED)[..., None], points, np.nan)
    return Track("open field, zoo's network, 30 fps", _at_ns(np.arange(len(points)) / 30), points, score, truth)


def _progress(done: int) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{done} frames")


def _arguments() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--track", type=Path, metavar="FILE.csv", help="a track of your own, instead of the recordings")
    parser.add_argument("--fps", type=float, default=30.0, help="of --track")
    parser.add_argument("--process-noise", type=float, nargs="+", metavar="Q", help="compare kalman-cv with these")
    parser.add_argument("--caution", type=float, metavar="SIGMA", help="caution_sigma of the Kalman filters")
    parser.add_argument("--no-video", action="store_true", help="leave out the video that a network has to look at")
    parser.add_argument("--poses", type=int, metavar="N", help="only the first N of each track, and N timed calls")
    return parser.parse_args()


def _tables(arguments: argparse.Namespace) -> dict[str, FilterTable]:
    extra: dict[str, Any] = {} if arguments.caution is None else {"caution_sigma": arguments.caution}
    tables = {"none": FilterTable()}
    if arguments.process_noise:
        for noise in arguments.process_noise:
            tables[f"cv {noise:g}"] = FilterTable(use="kalman-cv", process_noise=noise, **extra)
        return tables
    tables["one-euro"] = FilterTable(use="one-euro")
    return tables | {
        "kalman-cv": FilterTable(use="kalman-cv", **extra),
        "kalman-ca": FilterTable(use="kalman-ca", **extra),
    }


def main() -> int:
    """Measure, print two tables, write JSON."""
    arguments = _arguments()
    tables = _tables(arguments)
    if arguments.track is not None:
        tracks: Iterator[Track] = iter([ensemble(arguments.track.name, [arguments.track], arguments.fps)])
    elif os.environ.get("POSELOOP_DATA"):
        tracks = recordings(Path(os.environ["POSELOOP_DATA"]), not arguments.no_video, arguments.poses)
    else:
        print("expected --track FILE.csv, or POSELOOP_DATA to name the folder of recordings", file=sys.stderr)
        return 2
    result: dict[str, Any] = {"error_px": {}}
    print(f"error in px, median / p95{'ahead':>17}" + "".join(f"{name:>17}" for name in tables))
    for whole in tracks:
        track = whole.first(arguments.poses)
        rows = result["error_px"][track.name] = {}
        for ahead in _HORIZONS_MS:
            row = rows[f"{ahead} ms"] = {name: error_ahead(track, table, ahead) for name, table in tables.items()}
            numbers = "".join(f"{cell['median']:>9.2f} /{cell['p95']:>6.1f}" for cell in row.values())
            print(f"{track.name if ahead == 0 else '':<36}{ahead:>3} ms{numbers}")
    result["us_for_40_keypoints"] = {
        name: speed(table, arguments.poses or 5000) for name, table in tables.items() if name != "none"
    }
    print(f"\n{'filter + prediction of 40 keypoints, us':<42}" + f"{'p50':>10}{'p99':>10}")
    for name, taken in result["us_for_40_keypoints"].items():
        print(f"  {name:<40}{taken['p50']:>10.1f}{taken['p99']:>10.1f}")
    save(result, arguments.report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
