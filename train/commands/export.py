"""``poseloop export``: a session for other programs, or a smaller or faster file of a trained model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from poseloop.live.errors import ConfigError
from poseloop.live.output import report as reports
from poseloop.live.output.session import Session, is_session

__all__ = ["HELP", "add_arguments", "run"]

HELP = "a session for DeepLabCut, SLEAP, NWB, Parquet or CSV; or a smaller or faster file of a trained model"

_FORMATS = ("dlc", "sleap", "nwb", "parquet", "csv", "labels")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "source", metavar="SESSION|MODEL", help="a session's folder; or a name in the zoo or an .onnx file"
    )
    parser.add_argument(
        "project", type=Path, nargs="?", help="with a model: the labels that it was trained on, which prove the result"
    )
    parser.add_argument(
        "--out", type=Path, metavar="PATH", required=True, help="of a session: a folder, or FILE.nwb; else FILE.onnx"
    )
    session = parser.add_argument_group("of a session")
    session.add_argument(
        "--to",
        choices=_FORMATS,
        help="dlc: DeepLabCut's h5 and CSV, one for each camera; sleap: analysis h5, likewise; nwb: one file, videos "
        "linked; parquet, csv: tables of everything; labels: pictures that the network was unsure of, with its guess, "
        "into a DeepLabCut project",
    )
    session.add_argument("--count", type=int, default=20, metavar="N", help="for labels: poses at most; default: 20")
    session.add_argument(
        "--about", type=Path, metavar="FILE.toml", help="for nwb: experimenter, institution…, and a table [subject]"
    )
    model = parser.add_argument_group("of a model")
    model.add_argument(
        "--precision", choices=("fp32", "fp16", "int8"), default="fp32", help="fp16: for GPUs; int8: for CPUs"
    )
    model.add_argument("--decoded", action="store_true", help="the graph gives points instead of score maps")
    model.add_argument("--grey", action="store_true", help="one input channel, for mono cameras")
    model.add_argument("--report", type=Path, metavar="FILE.json", help="write all numbers here")


def run(arguments: argparse.Namespace) -> int:
    """Export what was given."""
    if arguments.to is not None or is_session(Path(arguments.source)):
        return _session(arguments)
    if arguments.project is None:
        raise ConfigError(
            f"expected `poseloop export SESSION --to FORMAT`, or `poseloop export MODEL PROJECT`: {arguments.source!r} "
            f"is no session's folder, and there is no PROJECT"
        )
    return _model(arguments)


def _session(arguments: argparse.Namespace) -> int:
    if arguments.to is None:
        raise ConfigError(f"{arguments.source} is a session: expected --to, one of {', '.join(_FORMATS)}")
    if arguments.project is not None:
        raise ConfigError(f"expected one session, but got {arguments.project} beside it")
    from poseloop.train.sessions import labelling, nwb, tables, tracks

    with Session.open(arguments.source) as session:
        match arguments.to:
            case "dlc":
                written = tracks.to_deeplabcut(session, arguments.out)
            case "sleap":
                written = tracks.to_sleap(session, arguments.out)
            case "nwb":
                written = nwb.to_nwb(session, arguments.out, arguments.about)
            case "labels":
                written = list(labelling.to_labelling(session, arguments.out, arguments.count))
            case _:
                written = tables.to_tables(session, arguments.out, arguments.to)
    for file in written:
        print(file)
    if arguments.to == "nwb" and arguments.about is None:
        print("archives such as DANDI also want the animal's species, sex and age: --about FILE.toml")
    return 0


def _model(arguments: argparse.Namespace) -> int:
    """Check the source, make the variant, prove and measure it."""
    # They need the extra `train`; sessions and the list of all commands must not.
    from poseloop.live.types import Colour
    from poseloop.live.vision import Network
    from poseloop.live.vision.network import find_model
    from poseloop.train import evaluate, export, labels, pictures, proof, recipe

    source = find_model(arguments.source)
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
