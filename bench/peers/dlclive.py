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
from pathlib import Path
from typing import Any

from poseloop.bench.options import make_parser, save
from poseloop.bench.peers.beside import CROP, Peer, add_arguments, frames_of, measure, show
from poseloop.live.vision.network import Network, find_model

__all__ = ["main"]


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


def main() -> int:
    """Measure, print two tables, write JSON."""
    parser = make_parser(__doc__)
    add_arguments(parser, "deeplabcut-live")
    parser.add_argument("--checkpoint", type=Path, required=True, help="what poseloop train left beside its model")
    parser.add_argument("--model", default="openfield", help="the model that it belongs to, or one like it")
    parser.add_argument("--best", action="append", default=[], help="an .onnx file for the second table; repeatable")
    arguments = parser.parse_args()
    peer = Peer("deeplabcut-live", arguments.python, "dlclive_worker.py")
    result: dict[str, Any] = {"same": [], "best": []}
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        _build(arguments.checkpoint, arguments.model, folder)
        best = {Path(file).stem: (find_model(file), False) for file in arguments.best or [arguments.model]}
        crops = {f"{name}, crop {CROP}": (file, True) for name, (file, _) in best.items()}
        for size in arguments.sizes:
            frames = frames_of(arguments.video, size)
            height, width = frames.shape[1:3]
            candidates = {**best, **(crops if min(height, width) > CROP else {})}
            for key, title, ours, graph in (
                ("same", "the same network and weights", {"poseloop": (folder / "same.onnx", False)}, folder / "same"),
                ("best", "each at its best", candidates, folder / "dlc"),
            ):
                row = measure(ours, peer, graph, frames, arguments.threads, arguments.rounds)
                result[key].append({"picture": list(size), **row})
                show(title, size, row, key == "same")
    save(result, arguments.report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
