"""Networks of ours beside a peer's, picture by picture in turn: the same pictures and threads, in memory to points."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from poseloop.bench.measuring import Times, ratio, summary
from poseloop.bench.peers.worker import Worker
from poseloop.live.errors import DataError
from poseloop.live.types import Colour, Image
from poseloop.live.vision.coords import View
from poseloop.live.vision.crop import Follow
from poseloop.live.vision.network import Network

__all__ = ["CROP", "SIZES", "Peer", "add_arguments", "frames_of", "measure", "show"]

CROP = 256
"""Side in px of a crop that follows the animal."""

SIZES = ((115, 87), (229, 174), (459, 349), (640, 480), (917, 698))
"""Width and height: those of deeplabcut-live's own benchmark."""

_MULTIPLE = 32
_PICTURES = 64
_SEEN = 0.1
"""Points are compared where both scores are at least this: below it, the highest cell is one of many."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Another program in its own environment."""

    name: str
    python: Path
    """Of that environment."""
    worker: str
    """File in this folder: ``WORKER MODEL_FOLDER FRAMES.npy THREADS``, one answer of ``ms`` and ``pose`` a frame."""


def add_arguments(parser: argparse.ArgumentParser, peer: str) -> None:
    """Declare what every such benchmark is asked for."""
    parser.add_argument("--python", type=Path, required=True, help=f"of the environment with {peer}")
    parser.add_argument("--video", type=Path, required=True, help="its pictures are looked at")
    parser.add_argument("--sizes", nargs="+", type=_size, default=list(SIZES), metavar="WIDTHxHEIGHT")
    parser.add_argument("--threads", type=int, default=2, help="of each of them")
    parser.add_argument("--rounds", type=int, default=200)


def frames_of(video: Path, size: tuple[int, int]) -> Image:
    """Pictures of a video, resized, and padded below and to the right so that the network's sides divide by 32.

    Returns:
        (n, H, W, 3) uint8, RGB.
    """
    source = cv2.VideoCapture(str(video))
    count = int(source.get(cv2.CAP_PROP_FRAME_COUNT))
    if count < _PICTURES:
        raise DataError(f"{video}: expected a video of {_PICTURES} pictures or more, but found {count}")
    pictures = []
    for number in np.linspace(0, count - 2, _PICTURES).astype(int):
        source.set(cv2.CAP_PROP_POS_FRAMES, int(number))
        read, picture = source.read()
        if read:
            small = cv2.cvtColor(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2RGB)
            right, below = (-side % _MULTIPLE for side in size)
            pictures.append(cv2.copyMakeBorder(small, 0, below, 0, right, cv2.BORDER_CONSTANT))
    source.release()
    return np.ascontiguousarray(np.stack(pictures), np.uint8)


def measure(
    ours: Mapping[str, tuple[Path, bool]],
    peer: Peer,
    folder: Path,
    frames: Image,
    threads: int,
    rounds: int,
    pause_s: float = 0.0,
) -> dict[str, Any]:
    """Ask all for the same pictures in turn.

    Args:
        ours: name → (.onnx file, whether a crop follows the animal).
        peer: the other program.
        folder: its model.
        frames: (n, H, W, 3) RGB.
        threads: of each.
        rounds: pictures that count, ten more warm up.
        pause_s: sleep before each single question, so that the other one's threads have stopped spinning.

    Returns:
        ``ms``: name → summary; ``times_faster``: name → ratio with its interval; ``difference_px``: largest distance
        of a point from the peer's (for models that look at the whole picture).
    """
    height, width = frames.shape[1:3]
    names = [*ours, peer.name]
    times: dict[str, Times] = {name: np.empty(rounds) for name in names}
    far: dict[str, list[float]] = {name: [] for name in ours}
    with ExitStack() as opened, tempfile.TemporaryDirectory() as saved:
        np.save(Path(saved) / "frames.npy", frames)
        worker = opened.enter_context(Worker(peer.python, peer.worker, folder, Path(saved) / "frames.npy", threads))
        networks = {}
        for name, (file, follow) in ours.items():
            network = opened.enter_context(Network.open(str(file), threads=threads))
            network.prepare([View(height, width, Colour.RGB)], Follow((CROP, CROP), None, 0.5, 1) if follow else None)
            networks[name] = network
        order = np.random.default_rng(0)
        for number in range(-10, rounds):
            picture = frames[number % len(frames)]
            found = {}
            for place in order.permutation(len(names)):
                name = names[place]
                if pause_s:
                    time.sleep(pause_s)
                if name in networks:
                    began = time.perf_counter_ns()
                    points = networks[name].infer([picture])
                    taken = (time.perf_counter_ns() - began) / 1e6
                    found[name] = np.concatenate([points.xy[0, 0], points.score[0, 0][:, None]], axis=1)
                else:
                    answer = worker.ask(number % len(frames))
                    taken, found[name] = answer["ms"], np.array(answer["pose"])
                if number >= 0:
                    times[name][number] = taken
            for name in ours:
                far[name].extend(_distances(found[name], found[peer.name]))
    return {
        "width": width,
        "height": height,
        "threads": threads,
        "ms": {name: summary(taken) for name, taken in times.items()},
        "times_faster": {name: ratio(times[peer.name], times[name]) for name in ours},
        "difference_px": {
            name: {"n": len(values), "max": round(max(values), 5)} for name, values in far.items() if values
        },
        "versions": worker.versions,
    }


def show(title: str, size: tuple[int, int], row: Mapping[str, Any], alike: bool) -> None:
    """Print one row of `measure`.

    Args:
        title: what it says.
        size: width and height of the picture before it was padded.
        row: of `measure`.
        alike: all ran the same network, so that their points have to agree.
    """
    print(f"\n{size[0]}x{size[1]}, {row['threads']} threads, {title}; ms{'p50':>12}{'p99':>10}{'times faster':>24}")
    for name, taken in row["ms"].items():
        print(f"  {name:<44}{taken['p50']:>9.2f}", end="")
        print(f"{taken['p99']:>10.2f}" if "p99" in taken else f"{'–':>10}", end="")
        faster = row["times_faster"].get(name)
        print("" if faster is None else f"{faster['ratio']:>10.2f} ({faster['95'][0]:.2f}–{faster['95'][1]:.2f})")
    for name, far in row["difference_px"].items() if alike else ():
        print(f"  {name}: {far['n']} points, largest difference {far['max']:.4f} px")


def _distances(one: Any, other: Any) -> list[float]:
    if one.shape != other.shape:
        return []
    seen = (one[:, 2] >= _SEEN) & (other[:, 2] >= _SEEN) & np.isfinite(one[:, 0])
    return [float(value) for value in np.linalg.norm(one[seen, :2] - other[seen, :2], axis=1)]


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    return int(width), int(height)
