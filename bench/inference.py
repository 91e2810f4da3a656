"""How long a network takes: sizes × models × batches × providers × precisions, through our runtime and bare.

``python -m poseloop.bench.inference --report FILE.json``

All cells of one size are run in turn, round by round, beside one bare ``session.run`` of the same file on the CPU, so
that a ratio means the same on every machine. What a provider really ran on is read back from its session. Cells whose
provider is not there say so. For a GPU: ``--providers cuda,cpu --sizes 128x128,256x256,512x512,1024x1024 --batches
1,2,4,8 --precisions fp32,fp16 --keypoints``.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np

from poseloop.bench.measuring import Times, in_turn, ratio, summary
from poseloop.bench.options import make_parser, save
from poseloop.live.errors import ModelError
from poseloop.live.vision.coords import View
from poseloop.live.vision.network import Network, find_model
from poseloop.live.vision.ort import OnnxRuntime, available_providers

__all__ = ["bare_session", "main", "measure"]


def measure(
    models: Sequence[str],
    sizes: Sequence[tuple[int, int]],
    batches: Sequence[int],
    providers: Sequence[str],
    precisions: Sequence[str],
    threads: int,
    rounds: int,
    keypoints: bool = False,
) -> Iterator[dict[str, Any]]:
    """Yield one row for each model, size and batch, whose ``ms`` has a cell for each provider and precision.

    Args:
        models: names in the zoo or .onnx files.
        sizes: (width, height) of the network's input, px.
        batches: pictures in one run.
        providers: as in a rig file.
        precisions: ``fp32``; ``fp16`` and ``int8`` (needs the extra train, as ``poseloop export`` does).
        threads: of every session on a CPU.
        rounds: runs of each cell.
        keypoints: each cell also from pictures in memory to points.
    """
    with tempfile.TemporaryDirectory() as folder:
        for model in models:
            files = {precision: _file(model, precision, Path(folder)) for precision in precisions}
            for (width, height), batch in itertools.product(sizes, batches):
                yield _row(model, files, (batch, height, width), providers, threads, rounds, keypoints)


def _row(
    model: str,
    files: dict[str, Path],
    size: tuple[int, int, int],
    providers: Sequence[str],
    threads: int,
    rounds: int,
    keypoints: bool,
) -> dict[str, Any]:
    info = Network.describe(model)
    shape = (*size, info.colour.channels)
    images = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    pictures = images[..., 0] if info.colour.channels == 1 else images
    missing: dict[str, str] = {}
    with ExitStack() as opened:
        bare = bare_session(find_model(model), shape, threads)
        runs: dict[str, Any] = {"bare session.run, cpu fp32": lambda: bare[0].run(None, {bare[1]: images})}
        for provider, (precision, file) in itertools.product(providers, files.items()):
            name = f"{provider} {precision}"
            runtime = opened.enter_context(closing(OnnxRuntime(file, provider, threads)))
            try:
                runtime.open(shape)
            except ModelError as error:
                missing[name] = str(error).partition(": ")[2][:200] or str(error)
                continue
            # Another array is copied into the runtime's own memory, as every frame is.
            runs[name] = lambda runtime=runtime: runtime.run(images)
            if keypoints:
                whole = opened.enter_context(Network.open(file, provider, threads))
                whole.prepare([View(size[1], size[2], info.colour)] * size[0])
                runs[f"{name}, to keypoints"] = lambda whole=whole: whole.infer(pictures)
        times = in_turn(runs, rounds)
    first, *others = times
    return {
        "model": model,
        "shape": list(shape),
        "threads": threads,
        "ms": {name: summary(taken) for name, taken in times.items()},
        "to_bare": {name: ratio(times[name], times[first]) for name in others},
        "frames_a_second": {name: _rate(taken, shape[0]) for name, taken in times.items()},
        "missing": missing,
    }


def _rate(taken: Times, batch: int) -> float:
    return round(batch * 1e3 / float(np.median(taken)), 1)


def bare_session(file: Path, shape: tuple[int, int, int, int], threads: int) -> tuple[Any, str]:
    """ONNX Runtime's own session with our settings, for images of this (B, H, W, c), and the name of its input."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.force_spinning_stop", "1")
    for name, size in zip(("batch", "height", "width"), shape, strict=False):
        options.add_free_dimension_override_by_name(name, size)
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    return session, session.get_inputs()[0].name


def _file(model: str, precision: str, folder: Path) -> Path:
    """The model's file in that precision; fp16 is made here, for its latency only: ``export`` proves it."""
    file = find_model(model)
    if precision == "fp32":
        return file
    if precision != "fp16":
        raise ModelError(f"expected fp32 or fp16 (others as files of their own, by --models), but got {precision!r}")
    try:
        import onnx
        from onnxruntime.transformers.float16 import convert_float_to_float16
    except ImportError as error:
        raise ModelError('expected onnx for fp16; install it with: pip install "poseloop[train]"') from error
    half = folder / f"{file.stem}.fp16.onnx"
    onnx.save(convert_float_to_float16(onnx.load(str(file)), keep_io_types=True), str(half))
    return half


def _sizes(text: str) -> list[tuple[int, int]]:
    return [(int(width), int(height)) for width, _, height in (part.partition("x") for part in text.split(","))]


def main() -> int:
    """Measure, print a table, write JSON."""
    parser = make_parser(__doc__)
    parser.add_argument("--models", default="openfield,blob", help="zoo names or .onnx files, with commas")
    parser.add_argument("--sizes", type=_sizes, default="320x256,640x480", help="WIDTHxHEIGHT, with commas")
    parser.add_argument("--batches", default="1,4", help="pictures a run, with commas")
    parser.add_argument("--providers", default=",".join(available_providers()), help="with commas; default: all here")
    parser.add_argument("--precisions", default="fp32", help="fp32, fp16; with commas")
    parser.add_argument("--threads", type=int, default=1, help="of a session on a CPU")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--keypoints", action="store_true", help="each also from pictures in memory to points")
    arguments = parser.parse_args()
    sizes = _sizes(arguments.sizes) if isinstance(arguments.sizes, str) else arguments.sizes
    result: dict[str, Any] = {"rows": []}
    for row in measure(
        arguments.models.split(","),
        sizes,
        [int(batch) for batch in arguments.batches.split(",")],
        arguments.providers.split(","),
        arguments.precisions.split(","),
        arguments.threads,
        arguments.rounds,
        arguments.keypoints,
    ):
        result["rows"].append(row)
        batch, height, width, _ = row["shape"]
        print(f"\n{row['model']}, {batch} x {width}x{height}; ms{'p50':>20}{'p99':>10}{'frames/s':>11}{'to bare':>10}")
        for name, taken in row["ms"].items():
            beside = row["to_bare"].get(name, {}).get("ratio", 1.0)
            tail = f"{taken['p99']:>10.3f}" if "p99" in taken else f"{'–':>10}"
            print(f"  {name:<34}{taken['p50']:>9.3f}{tail}{row['frames_a_second'][name]:>11.1f}{beside:>10.2f}")
        for name, why in row["missing"].items():
            print(f"  {name:<34} not here: {why[:80]}")
    save(result, arguments.report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
