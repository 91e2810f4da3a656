"""What the decoder costs: our network beside the plain one, MobileNetV2 at stride 16 and one transposed convolution.

``python -m poseloop.bench.decoder --report FILE.json``

Weights are random, which changes no latency; both go the way of every model that is exported. Needs the extra train.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from poseloop.bench.measuring import in_turn, ratio, summary
from poseloop.bench.options import make_parser, save

__all__ = ["main", "measure"]


def _plain(points: int, alpha: float) -> Any:
    import keras

    image = keras.Input((None, None, 3), dtype="uint8", name="image")
    pixels = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(image)
    trunk = keras.applications.MobileNetV2(input_shape=(None, None, 3), alpha=alpha, include_top=False, weights=None)
    features = keras.Model(trunk.input, trunk.get_layer("block_13_expand_relu").output)(pixels)
    maps = keras.layers.Conv2DTranspose(points, 3, 2, padding="same", activation="sigmoid", name="scoremap")(features)
    return keras.Model(image, maps, name="plain")


def measure(points: int, alpha: float, width: int, height: int, threads: int, rounds: int) -> dict[str, Any]:
    """Run both in turn on one picture; ``ms``: name → summary; ``ratio`` with its interval.

    Args:
        points: keypoints.
        alpha: width of the trunk.
        width: of the picture, px.
        height: of the picture, px.
        threads: of a run.
        rounds: runs of each.
    """
    import onnxruntime

    from poseloop.train import export, model

    ours = model.scored(model.build(model.Architecture(alpha=alpha), points, None))
    picture = np.random.default_rng(0).integers(0, 255, (1, height, width, 3), np.uint8)
    runs = {}
    for name, network in (("poseloop", ours), ("plain", _plain(points, alpha))):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        for axis, size in zip(("batch", "height", "width"), picture.shape, strict=False):
            options.add_free_dimension_override_by_name(axis, size)
        file = export.to_onnx(network, 3).SerializeToString()
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        runs[name] = lambda session=session: session.run(None, {"image": picture})
    times = in_turn(runs, rounds)
    return {
        "points": points,
        "alpha": alpha,
        "width": width,
        "height": height,
        "threads": threads,
        "ms": {name: summary(taken) for name, taken in times.items()},
        **ratio(times["poseloop"], times["plain"]),
    }


def main() -> int:
    """Measure, print a table, write JSON."""
    parser = make_parser(__doc__)
    parser.add_argument("--points", type=int, default=4)
    parser.add_argument("--alpha", type=float, default=0.35)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=200)
    arguments = parser.parse_args()
    result = measure(
        arguments.points, arguments.alpha, arguments.width, arguments.height, arguments.threads, arguments.rounds
    )
    for name, taken in result["ms"].items():
        print(f"  {name:<12} {taken['p50']:.3f} ms")
    print(f"  ratio {result['ratio']:.3f} ({result['95'][0]:.3f}–{result['95'][1]:.3f})")
    save(result, arguments.report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
