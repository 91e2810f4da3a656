"""``poseloop evaluate MODEL PROJECT``: how far a model's points are from labels."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from poseloop.live.output import report as reports
from poseloop.live.vision import Network
from poseloop.train import emptiness, evaluate, labels, plots
from poseloop.train.evaluate import Predictions
from poseloop.train.labels import Labels
from poseloop.train.progress import Progress

__all__ = ["HELP", "add_arguments", "run"]

HELP = "measure a model's error on labelled frames, by the decoding that a rig uses"

_WORST = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("model", help="a name in the zoo, or an .onnx file")
    parser.add_argument("project", type=Path, help="a folder with labels: DeepLabCut's or Lightning Pose's")
    parser.add_argument("--report", type=Path, metavar="FILE.json", help="write all numbers here")
    parser.add_argument(
        "--frames",
        choices=("held-out", "all"),
        help="default: those held out when the model was trained, if it was trained on this project; else all",
    )
    parser.add_argument("--compare", metavar="OTHER.onnx", help="measure this model on the same frames, too")
    parser.add_argument(
        "--empty",
        type=Path,
        action="append",
        default=[],
        metavar="PATH",
        help="score what has no animal, too: a video (its median, and its frames with the animal painted over by "
        "that), or a folder of pictures of something else; may be given several times",
    )
    parser.add_argument("--plots", type=Path, metavar="DIR", help="write pictures and a page that shows them here")
    parser.add_argument("--provider", default="cpu", help="what runs the model: cpu, cuda, tensorrt, openvino")
    parser.add_argument("--threads", type=int, default=1, help="for the model (default: 1)")


def run(arguments: argparse.Namespace) -> int:
    """Evaluate, print a table, write report and plots."""
    project = labels.read(arguments.project)
    for problem in project.problems:
        print(problem, file=sys.stderr)
    info = Network.describe(arguments.model)
    frames, which = evaluate.choose(info, project, arguments.frames)
    print(f"{len(frames.frames)} of {len(project.frames)} labelled frames: {which}")
    predictions, result = _evaluate(arguments.model, frames, arguments)
    print(evaluate.table(result))
    report = {
        "model": arguments.model,
        "project": str(arguments.project),
        "data_digest": project.digest,
        "frames": {"n": len(frames.frames), "which": which, "names": [frame.name for frame in frames.frames]},
        **result,
        "worst": _worst(predictions),
        "problems": [str(problem) for problem in project.problems],
    }
    if arguments.empty:
        with Network.open(arguments.model, arguments.provider, arguments.threads) as network:
            report["empty"] = {str(path): emptiness.measure(network, path) for path in arguments.empty}
        print(emptiness.table(report["empty"]))
    if arguments.compare is not None:
        report["compare"] = _compare(predictions, frames, arguments)
    if arguments.plots is not None:
        title = f"{Path(arguments.model).stem} on {project.project.name}, {len(frames.frames)} frames"
        page, *_ = plots.write(predictions, result, title, arguments.plots, info.training.get("history", ()))
        print(f"plots: {page}")
    if arguments.report is not None:
        reports.write({**report, "versions": reports.versions(), "machine": reports.machine()}, arguments.report)
    return 0


def _evaluate(model: str, frames: Labels, arguments: argparse.Namespace) -> tuple[Predictions, dict[str, Any]]:
    with Network.open(model, arguments.provider, arguments.threads) as network:
        left = [name for name in network.keypoints if name not in frames.keypoints]
        if left:
            print(f"not labelled, so not measured: {', '.join(left)}", file=sys.stderr)
        with Progress(Path(model).stem, len(frames.frames)) as progress:
            predictions = evaluate.predict(network, frames, progress.step)
        result = evaluate.measure(predictions, network.info.gate)
        return predictions, {**result, "provider": network.provider}


def _worst(predictions: Predictions) -> list[dict[str, Any]]:
    rows = []
    for number in evaluate.worst(predictions, _WORST):
        error = predictions.error_px[number]
        rows.append(
            {
                "frame": predictions.frames[number].name,
                "error_px": {
                    name: None if error[k] != error[k] else round(float(error[k]), 2)
                    for k, name in enumerate(predictions.keypoints)
                    if predictions.labelled[number, k]
                },
            }
        )
    return rows


def _compare(predictions: Predictions, frames: Labels, arguments: argparse.Namespace) -> dict[str, Any]:
    other, result = _evaluate(arguments.compare, frames, arguments)
    comparison = evaluate.compare(predictions, other)
    low, high = comparison["interval_px"]
    print(f"\n{arguments.compare}\n{evaluate.table(result)}")
    if comparison["n"]:
        print(
            f"\n{arguments.compare} minus {arguments.model}: {comparison['difference_px']:+.2f} px (95 % of resampled "
            f"frames: {low:+.2f} … {high:+.2f}); the first is nearer on {100 * comparison['nearer']:.0f} % of "
            f"{comparison['n']} points"
        )
    return {"model": arguments.compare, **comparison, "result": result}
