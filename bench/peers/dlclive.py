"""deeplabcut-live beside Poseloop: frame to keypoints on the same network, weights, frames and threads, in turn.

``python -m poseloop.bench.peers.dlclive --python ~/peers/dlclive/bin/python --checkpoint RUN.checkpoint.npz --video V``

Two questions. *The same network*: one training's weights, as our .onnx file and as the frozen graph that
deeplabcut-live loads, with the same decoding inside that graph; the points must agree to 0.1 px. *Each at its best*:
DeepLabCut's own MobileNetV2-0.35 architecture in deeplabcut-live, beside our network with the settings that a rig would
choose (``--best``; a crop that follows the animal). Every round asks each of them for the same picture, in another
order; each measures itself, from the picture in memory to the points. Needs the extra train, and the environment that
`poseloop.bench.peers.environments` makes.
"""

from __future__ import annotations

import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from poseloop.bench.measuring import Times, ratio, summary
from poseloop.bench.options import make_parser, save
from poseloop.bench.peers.worker import Worker
from poseloop.live.errors import DataError
from poseloop.live.types import Colour, Image
from poseloop.live.vision.coords import View
from poseloop.live.vision.crop import Follow
from poseloop.live.vision.network import Network, find_model

__all__ = ["main", "measure"]

SIZES = ((115, 87), (229, 174), (459, 349), (640, 480), (917, 698))
"""Width and height: those of deeplabcut-live's own benchmark."""

_MULTIPLE = 32
_PICTURES = 64
_CROP = 256
_SEEN = 0.1
"""Points are compared where both scores are at least this: below it, the highest cell is one of many."""


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
    ours: dict[str, tuple[Path, bool]], graph: Path, python: Path, frames: Image, threads: int, rounds: int
) -> dict[str, Any]:
    """Ask all for the same pictures in turn.

    Args:
        ours: name → (.onnx file, whether a crop follows the animal).
        graph: folder of deeplabcut-live's.
        python: of its environment.
        frames: (n, H, W, 3) RGB.
        threads: of each.
        rounds: pictures that count, ten more warm up.

    Returns:
        ``ms``: name → summary; ``times_faster``: name → ratio with its interval; ``difference_px``: largest distance
        of a point from deeplabcut-live's (for models that look at the whole picture).
    """
    height, width = frames.shape[1:3]
    names = [*ours, "deeplabcut-live"]
    times: dict[str, Times] = {name: np.empty(rounds) for name in names}
    far: dict[str, list[float]] = {name: [] for name in ours}
    with ExitStack() as opened, tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "frames.npy", frames)
        peer = opened.enter_context(Worker(python, "dlclive_worker.py", graph, Path(folder) / "frames.npy", threads))
        networks = {}
        for name, (file, follow) in ours.items():
            network = opened.enter_context(Network.open(str(file), threads=threads))
            network.prepare([View(height, width, Colour.RGB)], Follow((_CROP, _CROP), None, 0.5, 1) if follow else None)
            networks[name] = network
        order = np.random.default_rng(0)
        for number in range(-10, rounds):
            picture = frames[number % len(frames)]
            found = {}
            for place in order.permutation(len(names)):
                name = names[place]
                if name in networks:
                    began = time.perf_counter_ns()
                    points = networks[name].infer([picture])
                    taken = (time.perf_counter_ns() - began) / 1e6
                    found[name] = np.concatenate([points.xy[0, 0], points.score[0, 0][:, None]], axis=1)
                else:
                    answer = peer.ask(number % len(frames))
                    taken, found[name] = answer["ms"], np.array(answer["pose"])
                if number >= 0:
                    times[name][number] = taken
            for name in ours:
                far[name].extend(_distances(found[name], found["deeplabcut-live"]))
    return {
        "width": width,
        "height": height,
        "threads": threads,
        "ms": {name: summary(taken) for name, taken in times.items()},
        "times_faster": {name: ratio(times["deeplabcut-live"], times[name]) for name in ours},
        "difference_px": {
            name: {"n": len(values), "max": round(max(values), 5)} for name, values in far.items() if values
        },
        "versions": peer.versions,
    }


def _distances(one: Any, other: Any) -> list[float]:
    if one.shape != other.shape:
        return []
    seen = (one[:, 2] >= _SEEN) & (other[:, 2] >= _SEEN) & np.isfinite(one[:, 0])
    return [float(value) for value in np.linalg.norm(one[seen, :2] - other[seen, :2], axis=1)]


def _build(checkpoint: Path, model: str, folder: Path) -> int:
    """Make our .onnx file and both graphs; returns K."""
    from poseloop.bench.peers import graphs
    from poseloop.train import export, modelfile

    info = Network.describe(model)
    network = graphs.from_checkpoint(checkpoint)
    modelfile.save(export.to_onnx(network, info.colour.channels), info, folder / "same.onnx")
    points = len(info.keypoints)
    graphs.freeze(graphs.ours(network, info), points, folder / "same")
    graphs.freeze(graphs.dlc_mobilenet(points), points, folder / "dlc")
    return points


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    return int(width), int(height)


def main() -> int:
    """Measure, print two tables, write JSON."""
    parser = make_parser(__doc__)
    parser.add_argument("--python", type=Path, required=True, help="of the environment with deeplabcut-live")
    parser.add_argument("--checkpoint", type=Path, required=True, help="what poseloop train left beside its model")
    parser.add_argument("--model", default="openfield", help="the model that it belongs to, or one like it")
    parser.add_argument("--best", action="append", default=[], help="an .onnx file for the second table; repeatable")
    parser.add_argument("--video", type=Path, required=True, help="its pictures are looked at")
    parser.add_argument("--sizes", nargs="+", type=_size, default=list(SIZES), metavar="WIDTHxHEIGHT")
    parser.add_argument("--threads", type=int, default=2, help="of each of them")
    parser.add_argument("--rounds", type=int, default=200)
    arguments = parser.parse_args()
    result: dict[str, Any] = {"same": [], "best": []}
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        _build(arguments.checkpoint, arguments.model, folder)
        best = {Path(file).stem: (find_model(file), False) for file in arguments.best or [arguments.model]}
        crops = {f"{name}, crop {_CROP}": (file, True) for name, (file, _) in best.items()}
        for size in arguments.sizes:
            frames = frames_of(arguments.video, size)
            height, width = frames.shape[1:3]
            candidates = {**best, **(crops if min(height, width) > _CROP else {})}
            for key, ours, graph in (
                ("same", {"poseloop": (folder / "same.onnx", False)}, folder / "same"),
                ("best", candidates, folder / "dlc"),
            ):
                row = measure(ours, graph, arguments.python, frames, arguments.threads, arguments.rounds)
                result[key].append({"picture": list(size), **row})
                _show(key, size, row)
    save(result, arguments.report)
    return 0


def _show(key: str, size: tuple[int, int], row: dict[str, Any]) -> None:
    title = "the same network and weights" if key == "same" else "each at its best"
    print(f"\n{size[0]}x{size[1]}, {row['threads']} threads, {title}; ms{'p50':>12}{'p99':>10}{'times faster':>24}")
    for name, taken in row["ms"].items():
        print(f"  {name:<44}{taken['p50']:>9.2f}", end="")
        print(f"{taken['p99']:>10.2f}" if "p99" in taken else f"{'–':>10}", end="")
        faster = row["times_faster"].get(name)
        print("" if faster is None else f"{faster['ratio']:>10.2f} ({faster['95'][0]:.2f}–{faster['95'][1]:.2f})")
    if key == "same":
        for far in row["difference_px"].values():
            print(f"  {far['n']} points, largest difference {far['max']:.4f} px")


if __name__ == "__main__":
    sys.exit(main())
