"""``poseloop export MODEL PROJECT``: a smaller or faster file of a trained model, proven and measured."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from poseloop.live.output import report as reports
from poseloop.live.types import Colour
from poseloop.live.vision import Network
from poseloop.live.vision.network import find_model
from poseloop.train import evaluate, labels, pictures

__all__ = ["HELP", "add_arguments", "run"]

HELP = "make a smaller or faster file of a trained model: fp16, int8, points from the graph, grey input"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("model", help="a name in the zoo, or the .onnx file that `poseloop train` wrote")
    parser.add_argument("project", type=Path, help="the labels that it was trained on")
    parser.add_argument("--out", type=Path, metavar="FILE.onnx", required=True, help="the file to write")
    parser.add_argument(
        "--precision", choices=("fp32", "fp16", "int8"), default="fp32", help="fp16: for GPUs; int8: for CPUs"
    )
    parser.add_argument("--decoded", action="store_true", help="the graph gives points instead of score maps")
    parser.add_argument("--grey", action="store_true", help="one input channel, for mono cameras")
    parser.add_argument("--report", type=Path, metavar="FILE.json", help="write all numbers here")


def run(arguments: argparse.Namespace) -> int:
    """Check the source, make the variant, prove and measure it."""
    # They need the extra `train`, and the list of all commands must not.
    from poseloop.train import export, proof, recipe

    source = find_model(arguments.model)
    info = Network.describe(source)
    project = labels.read(arguments.project)
    golden = recipe.golden_pictures(project, info.training)
    if info.training.get("data_digest") == project.digest:
        proof.recheck(source, golden)
    frames, which = evaluate.choose(info, project)
    held_out = {frame.name for frame in frames.frames}
    learned = [frame for frame in project.frames if frame.name not in held_out] or list(project.frames)
    calibration = [pictures.read(frame.path, Colour.RGB) for frame in learned]

    def measure(network: Network) -> dict[str, Any]:
        return evaluate.measure(evaluate.predict(network, frames), info.gate)

    wanted = export.Variant(arguments.precision, arguments.decoded, arguments.grey)
    result = export.variant(source, arguments.out, wanted, golden, calibration, measure)
    before, after = result["error"]["source"], result["error"]["this"]
    times = result["latency_ms"]
    print(f"measured on {len(held_out)} frames: {which}")
    rows = [(source.name, before, times["source"]), (arguments.out.name, after, times["this"])]
    width = max(len(name) for name, _, _ in rows)
    print(f"{'file':<{width}}  {'mean px':>8}  {'median':>8}  {'ms':>8}")
    for name, error, milliseconds in rows:
        print(f"{name:<{width}}  {error['rmse_px']:>8.2f}  {error['median_px']:>8.2f}  {milliseconds:>8.2f}")
    worst = result["difference"]
    print(f"worst difference: {worst['score']:.1e} in score, {worst['position_px']:.1e} px")
    if arguments.report is not None:
        reports.write({**result, "versions": reports.versions(), "machine": reports.machine()}, arguments.report)
    return 0
