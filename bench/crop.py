"""What a crop that follows the animal costs and brings: the same points as from the whole picture, and how much sooner.

``python -m poseloop.bench.crop --report FILE.json``, with the recordings in ``POSELOOP_DATA``

1. *Follow.* Every picture of a video goes through the network twice, in turn: whole, and through the crop that follows
   (or searches). Compared are the points that both say are over the gate; the times of both are of the same run.
2. *Jitter.* Labelled stills, cut at a random place around the labelled animal, to the pixel: not on the places that the
   follower uses. Compared with the labels, beside the whole picture's error on the same frames.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from poseloop.bench.options import make_parser, save
from poseloop.drivers.replay.video import Video
from poseloop.live.types import Colour
from poseloop.live.vision import Network
from poseloop.live.vision.network import Follow, View
from poseloop.train import labels as labelled
from poseloop.train import pictures

__all__ = ["follow", "jitter", "main"]

_JITTER_PX = 40
"""Half the side of the square in which a still's crop is placed."""
_DRAWS = 8
"""Crops of each still."""
_WARM_UP = 10


def follow(model: str, video: Path, size: int, frames: int, every: int, threads: int) -> dict[str, Any]:
    """Compare the crop with the whole picture on a video.

    Args:
        model: name or file.
        video: to read.
        size: side of the crop, px.
        frames: how many pictures.
        every: take each n-th picture only; the animal then moves n times as far between two.
        threads: of a run.
    """
    with Network.open(model, threads=threads) as whole, Network.open(model, threads=threads) as crop:
        recording = Video(video, Colour.RGB, None)
        view = View.of(recording.open())
        gate = whole.info.gate
        whole.prepare([view])
        crop.prepare([view], Follow((size, size)))
        picture = np.empty(view.shape, np.uint8)
        distances, times, lost = [], [], 0
        compared = only_whole = only_crop = 0
        number = taken = 0
        while taken < frames and recording.advance() is not None:
            number += 1
            if (number - 1) % every:
                continue
            recording.copy_to(picture)
            taken += 1
            searched = crop.searching[0]
            lost += searched
            began = time.perf_counter_ns()
            expected = whole.infer([picture])
            between = time.perf_counter_ns()
            found = crop.infer([picture])
            ended = time.perf_counter_ns()
            if taken > _WARM_UP and not searched:
                times.append((between - began, ended - between))
            seen = np.stack([one.score[0, 0] >= gate for one in (expected, found)])
            distances.append(np.linalg.norm(expected.xy - found.xy, axis=-1)[0, 0][seen.all(axis=0)])
            compared += int(seen.all(axis=0).sum())
            only_whole += int((seen[0] & ~seen[1]).sum())
            only_crop += int((seen[1] & ~seen[0]).sum())
            _progress(taken, frames)
        recording.close()
    distance, ms = np.concatenate(distances), np.array(times).T / 1e6
    return {
        "video": video.name,
        "frames": taken,
        "every": every,
        "searched_whole": lost,
        "points": compared,
        "seen_only_in_whole": only_whole,
        "seen_only_in_crop": only_crop,
        "difference_px": _percentiles(distance, 50, 95, 99, 100),
        "whole_ms": _percentiles(ms[0], 50, 95),
        "crop_ms": _percentiles(ms[1], 50, 95),
        "times_faster": round(float(np.median(ms[0]) / np.median(ms[1])), 2),
    }


def jitter(model: str, project: Path, size: int, seed: int, threads: int, draws: int = _DRAWS) -> dict[str, Any]:
    """Compare the errors of whole stills and of crops at random places around the animal.

    Args:
        model: name or file.
        project: with labels.
        size: side of the crops, px.
        seed: of the places.
        threads: of a run.
        draws: crops of each still.
    """
    rng = np.random.default_rng(seed)
    errors: dict[str, list[npt.NDArray[np.float64]]] = {"whole": [], "crop": []}
    data = labelled.read(project)
    with Network.open(model, threads=threads) as whole, Network.open(model, threads=threads) as crop:
        columns = [data.keypoints.index(name) for name in whole.keypoints]
        for number, frame in enumerate(data.frames):
            picture = pictures.read(frame.path, Colour.RGB)
            xy = frame.xy[0, columns]
            middle = 0.5 * (np.nanmin(xy, axis=0) + np.nanmax(xy, axis=0))
            error = np.linalg.norm(whole.infer([picture]).xy[0, 0] - xy, axis=-1)
            for _ in range(draws):
                place = middle - size / 2 + rng.uniform(-_JITTER_PX, _JITTER_PX, 2)
                room = (frame.width - size, frame.height - size)
                x, y = (int(value) for value in np.clip(np.round(place), 0, room))
                found = crop.infer([picture[y : y + size, x : x + size]]).xy[0, 0] + (x, y)
                inside = ((xy >= (x, y)) & (xy <= (x + size - 1, y + size - 1))).all(axis=1)
                # What neither sees is no error of the crop's; what it alone does not see counts as a whole side.
                there = inside & np.isfinite(error)
                errors["whole"].append(error[there])
                errors["crop"].append(np.nan_to_num(np.linalg.norm(found - xy, axis=-1), nan=size)[there])
            _progress(number + 1, len(data.frames))
    both = {name: np.concatenate(parts) for name, parts in errors.items()}
    return {
        "project": project.name,
        "frames": len(data.frames),
        "crops": len(data.frames) * draws,
        "points": len(both["crop"]),
        "whole_mean_px": round(float(both["whole"].mean()), 3),
        "crop_mean_px": round(float(both["crop"].mean()), 3),
        "added_px": round(float(both["crop"].mean() - both["whole"].mean()), 3),
        "whole_p95_px": round(float(np.percentile(both["whole"], 95)), 3),
        "crop_p95_px": round(float(np.percentile(both["crop"], 95)), 3),
    }


def _percentiles(values: npt.NDArray[np.floating], *which: int) -> dict[str, float]:
    return {f"p{p}" if p < 100 else "max": round(float(np.percentile(values, p)), 4) for p in which}


def _progress(done: int, of: int) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{done}/{of}")


def main() -> int:
    """Measure, print a table, write JSON."""
    data = Path(os.environ.get("POSELOOP_DATA", "."))
    parser = make_parser(__doc__)
    parser.add_argument("--model", default="openfield")
    parser.add_argument("--video", type=Path, default=data / "dlc_openfield" / "videos" / "m3v1mp4.mp4")
    parser.add_argument("--project", type=Path, default=data / "dlc_openfield")
    parser.add_argument("--size", type=int, default=256, help="side of the crop, px")
    parser.add_argument("--frames", type=int, default=2330)
    parser.add_argument("--every", type=int, default=1, help="take each n-th picture of the video")
    parser.add_argument("--draws", type=int, default=_DRAWS, help="crops of each still")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    one = follow(arguments.model, arguments.video, arguments.size, arguments.frames, arguments.every, arguments.threads)
    two = jitter(arguments.model, arguments.project, arguments.size, arguments.seed, arguments.threads, arguments.draws)
    difference = one["difference_px"]
    print(f"\n{arguments.model}, crop {arguments.size}x{arguments.size}, {arguments.threads} thread(s)")
    print(
        f"  {one['video']}, {one['frames']} pictures ({one['searched_whole']} searched whole), {one['points']} points"
    )
    print(f"    from the whole picture's points, px   p50 {difference['p50']}  p95 {difference['p95']}", end="")
    print(f"  p99 {difference['p99']}  max {difference['max']}")
    print(f"    seen only in one of them              whole {one['seen_only_in_whole']}", end="")
    print(f"  crop {one['seen_only_in_crop']}")
    print(
        f"    ms, p50                               whole {one['whole_ms']['p50']}  crop {one['crop_ms']['p50']}",
        end="",
    )
    print(f"  ({one['times_faster']} times faster)")
    print(f"  {two['crops']} crops of {two['frames']} labelled stills, {two['points']} points")
    print(f"    mean error, px                        whole {two['whole_mean_px']}  crop {two['crop_mean_px']}", end="")
    print(f"  ({two['added_px']:+})")
    save({"model": arguments.model, "size": arguments.size, "follow": one, "jitter": two}, arguments.report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
