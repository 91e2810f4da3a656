"""sleap-nn's ONNX path beside Poseloop: frame to keypoints on the same network, weights, frames and threads, in turn.

``python -m poseloop.bench.peers.sleapnn --python ~/peers/sleapnn/bin/python --video V``

One .onnx file of ours, as it is in Poseloop, and as an export folder in sleap-nn, with the same decoding inside the
graph (what sleap-nn itself exports for one animal takes the highest cell, on the grid of the stride); the points must
agree to 0.1 px. Every round asks both for the same picture, in another order; each measures itself, from the picture
in memory to the points. Before each question there is a pause, since sleap-nn's threads go on spinning for 30 ms
after a run, and would take a core from ours. Needs the extra train, and the environment that
`poseloop.bench.peers.environments` makes.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from poseloop.bench.options import make_parser, save
from poseloop.bench.peers.beside import Peer, add_arguments, frames_of, measure, show
from poseloop.live.vision.network import find_model

__all__ = ["main"]


def main() -> int:
    """Measure, print a table, write JSON."""
    from poseloop.bench.peers import sleapnn_model

    parser = make_parser(__doc__)
    add_arguments(parser, "sleap-nn")
    parser.add_argument("--model", default="openfield", help="an .onnx file of Poseloop's, or a model of the zoo")
    parser.add_argument("--pause-ms", type=float, default=50, help="before each question")
    arguments = parser.parse_args()
    peer = Peer("sleap-nn", arguments.python, "sleapnn_worker.py")
    model = find_model(arguments.model)
    result: dict[str, Any] = {"same": [], "pause_ms": arguments.pause_ms}
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        sleapnn_model.write(model, folder)
        for size in arguments.sizes:
            frames = frames_of(arguments.video, size)
            pause_s = arguments.pause_ms / 1000
            ours = {"poseloop": (model, False)}
            row = measure(ours, peer, folder, frames, arguments.threads, arguments.rounds, pause_s)
            result["same"].append({"picture": list(size), **row})
            show("the same network and weights", size, row, alike=True)
    save(result, arguments.report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
