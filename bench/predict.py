"""What `poseloop predict` adds to the bare network: frames a second of both, in turns, on the same frames.

The bare network is given pictures that are in memory already; `predict` decodes the video beside it and keeps every
frame's points on disk. A ratio of 1 means that decoding costs nothing. Needs the extra cpu.

    python -m poseloop.bench.predict [--model mouse.onnx --video mine.mp4]
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from poseloop.bench.options import make_parser, save
from poseloop.live.types import Colour, Image
from poseloop.live.vision import Network
from poseloop.live.vision.coords import View
from poseloop.train import predict, videos


class _Enough(Exception):
    """The frames wanted have been done."""


def _load(video: Path, frames: int) -> Image:
    """(n, H, W, 3) RGB: the first frames."""
    with videos.opened(video) as opened:
        pictures = []
        for _ in opened.numbers():
            pictures.append(np.array(opened.picture(Colour.RGB)))
            if len(pictures) == frames:
                break
    return np.stack(pictures)


def bare(network: Network, pictures: Image, batch: int) -> tuple[float, float]:
    """Seconds of the clock and of the processor for the pictures, batch by batch."""
    start, cpu = time.perf_counter(), time.process_time()
    for first in range(0, len(pictures), batch):
        predict.run(network, pictures[first : first + batch], batch)
    return time.perf_counter() - start, time.process_time() - cpu


def whole(network: Network, video: Path, frames: int, batch: int) -> tuple[float, float]:
    """Seconds of the clock and of the processor from a video file to its points on disk."""
    done = 0

    def count(more: int) -> None:
        nonlocal done
        done += more
        if done >= frames:
            raise _Enough

    with tempfile.TemporaryDirectory() as folder:
        start, cpu = time.perf_counter(), time.process_time()
        target = predict.Target(video, Path(folder), "bench")
        with target.store(1, len(network.keypoints)) as store:
            try:
                with videos.opened(video) as opened:
                    predict.predict(network, opened, store, batch, count)
            except _Enough:
                pass
        return time.perf_counter() - start, time.process_time() - cpu


def main() -> int:
    """Measure, print a table, write JSON."""
    data = Path(os.environ.get("POSELOOP_DATA", "."))
    parser = make_parser(__doc__)
    parser.add_argument("--model", default="openfield")
    parser.add_argument("--video", type=Path, default=data / "dlc_openfield" / "videos" / "m3v1mp4.mp4")
    parser.add_argument("--frames", type=int, default=400, help="of the video's start, in each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--provider", default="cpu")
    arguments = parser.parse_args()
    pictures = _load(arguments.video, arguments.frames)
    frames, (height, width) = len(pictures), pictures.shape[1:3]
    times = []
    with Network.open(arguments.model, arguments.provider, arguments.threads) as network:
        network.prepare([View(height, width, Colour.RGB)] * arguments.batch)
        bare(network, pictures[: 4 * arguments.batch], arguments.batch)
        for _ in range(arguments.rounds):
            # In turns: what else the machine does changes from minute to minute.
            times.append(
                (
                    bare(network, pictures, arguments.batch),
                    whole(network, arguments.video, frames, arguments.batch),
                    bare(network, pictures, arguments.batch),
                )
            )
    measured = np.array(times)  # (rounds, 3, 2)
    before, predicted, after = measured[..., 0].T
    cpu_ms = 1000 * np.median(measured[..., 1], axis=0) / frames
    ratios = (before + after) / 2 / predicted
    result = {
        "model": arguments.model,
        "video": f"{arguments.video.name} {width}x{height}",
        "frames": frames,
        "rounds": arguments.rounds,
        "batch": arguments.batch,
        "threads": arguments.threads,
        "provider": arguments.provider,
        "bare_frames_per_s": round(float(np.median(2 * frames / (before + after))), 1),
        "predict_frames_per_s": round(float(np.median(frames / predicted)), 1),
        "ratio": round(float(np.median(ratios)), 3),
        "bare_cpu_ms": round(float(cpu_ms[[0, 2]].mean()), 2),
        "predict_cpu_ms": round(float(cpu_ms[1]), 2),
        "ratios": [round(float(ratio), 3) for ratio in ratios],
    }
    print(
        f"{result['model']}, {result['video']}, {frames} frames, batch {arguments.batch}, {arguments.threads} thread(s)"
    )
    for name, key in (("bare network    ", "bare"), ("poseloop predict", "predict")):
        print(f"  {name}  {result[f'{key}_frames_per_s']} frames/s, {result[f'{key}_cpu_ms']} ms of all cores a frame")
    print(f"  ratio             {result['ratio']} (rounds: {', '.join(map(str, result['ratios']))})")
    save(result, arguments.report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
