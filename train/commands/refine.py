"""``poseloop refine MODEL PROJECT VIDEO|SESSION...``: what to label next, with the model's guess as a start."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

from poseloop.live.errors import ConfigError, DataError
from poseloop.live.geometry.calibration import Calibration
from poseloop.live.output import report as reports
from poseloop.live.vision import Network
from poseloop.live.vision.network import find_model
from poseloop.train import curve, predict, projects, refine, trackfiles
from poseloop.train.history import History
from poseloop.train.progress import Progress
from poseloop.train.refine import Doubts, Recording

__all__ = ["HELP", "add_arguments", "run"]

HELP = "choose what to label next: frames that a model is unsure of, with its guess; and the learning curve so far"

_WORDS = {
    "score": "low score",
    "jump": "jumps",
    "filter": "not where the filter expects it",
    "views": "not where other cameras see it",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("model", help="a name in the zoo, or an .onnx file")
    parser.add_argument("project", type=Path, help="a project's folder: of `poseloop new project`, or DeepLabCut's")
    parser.add_argument(
        "recordings",
        nargs="*",
        metavar="VIDEO|SESSION",
        help="videos, folders of them, patterns, sessions; with --calibration CAMERA=VIDEO (default: the project's)",
    )
    parser.add_argument(
        "--count", type=int, default=20, metavar="N", help="frames together; 0: only the curve (default: 20)"
    )
    parser.add_argument(
        "--calibration", type=Path, metavar="FILE.toml", help="of the cameras; a session brings its own"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the choice among frames of equal doubt (default: 0)")
    parser.add_argument("--provider", default="cpu", help="what runs the model: cpu, cuda, tensorrt, openvino")
    parser.add_argument("--threads", type=int, default=1, help="for the model (default: 1)")
    parser.add_argument("--batch", type=int, default=4, help="pictures in one run (default: 4)")
    parser.add_argument("--report", type=Path, metavar="FILE.json", help="write frames and reasons here")


def run(arguments: argparse.Namespace) -> int:
    """Look, choose, write; a video that cannot be read does not stop the others."""
    if arguments.count < 0:
        raise ConfigError(f"--count: expected 0 or more, but got {arguments.count}")
    if arguments.report is not None:
        reports.check_target(arguments.report)
    trackfiles.needs("deeplabcut")
    root = projects.root(arguments.project)
    project = projects.described(root)
    model = find_model(arguments.model)
    history = History(root)
    individuals = max(len(project.individuals), 1)
    with Network.open(arguments.model, arguments.provider, arguments.threads, individuals=individuals) as network:
        _check(network, project, root)
        labelled = history.now()
        history.keep(labelled)
        history.enter(model, network.info, labelled)
        rows, code = [], 0
        if arguments.count:
            found, failed = _look(network, _recordings(arguments, root), arguments, root, history)
            code = 1 if failed else 0
            chosen = refine.choose(found, arguments.count, arguments.seed)
            scorer = predict.scorer(arguments.model, individuals)
            written: dict[str, list[int]] = {}
            try:
                for one in found:
                    numbers = chosen.get(one.recording.name, [])
                    if numbers:
                        refine.write(one, numbers, root, project, network.keypoints, scorer)
                        written[one.recording.name] = numbers
                    rows += _say(one, numbers, root)
            finally:
                # What was written before something went wrong, or Ctrl-C, is a round, too.
                if written:
                    history.asked(model, written)
    test = curve.measure(history, labelled)
    print(f"\n{curve.table(history, test)}")
    drawn = curve.draw(history, test)
    if drawn is not None:
        print(f"{drawn}: the learning curve")
    if rows:
        print(
            f"\nCorrect the guesses: drop each of these folders, and {root / 'config.yaml'}, onto napari with the "
            f"plugin napari-deeplabcut"
        )
    if arguments.report is not None:
        reports.write(
            {"frames": rows, "models": list(history.models), "rounds": list(history.rounds)}, arguments.report
        )
    return code


def _check(network: Network, project: projects.Project, root: Path) -> None:
    unknown = [name for name in project.keypoints if name not in network.keypoints]
    if len(unknown) == len(project.keypoints):
        raise ConfigError(
            f"{root}: the project labels {', '.join(project.keypoints)}, but the model finds "
            f"{', '.join(network.keypoints)}: expected a keypoint in common"
        )
    if unknown:
        print(f"no guess for {', '.join(unknown)}: the model does not know them", file=sys.stderr)


def _recordings(arguments: argparse.Namespace, root: Path) -> tuple[list[Recording], dict[str, Path]]:
    words = arguments.recordings or [str(video) for video in projects.recordings(root)]
    found, calibrations = refine.recordings(words, arguments.calibration is not None)
    if arguments.calibration is not None:
        for scene in {one.scene for one in found if one.camera}:
            calibrations[scene] = arguments.calibration
        if not calibrations:
            raise ConfigError("expected CAMERA=VIDEO, or a session, beside --calibration")
    return found, calibrations


def _look(
    network: Network,
    given: tuple[list[Recording], dict[str, Path]],
    arguments: argparse.Namespace,
    root: Path,
    history: History,
) -> tuple[list[Doubts], int]:
    """Doubts about all recordings that can be read, and how many cannot."""
    scorer = predict.scorer(arguments.model, network.individuals)
    found, failed = [], 0
    for recording in given[0]:
        try:
            with Progress(recording.name, 0) as progress:
                folder = history.folder / "poses"
                found.append(refine.look(network, recording, root, folder, scorer, arguments.batch, progress.step))
        except DataError as error:
            failed += 1
            print(f"poseloop: error: {error}", file=sys.stderr)
    scenes = {one.recording.scene for one in found if one.recording.camera}
    calibrations = {scene: Calibration.load(file) for scene, file in given[1].items() if scene in scenes}
    refine.compare(found, calibrations, network.info.gate)
    return found, failed


def _say(one: Doubts, numbers: list[int], root: Path) -> list[dict[str, object]]:
    """Print what was chosen of a recording, and why; gives its rows of the report."""
    why = [one.why(number) for number in numbers]
    counts = ", ".join(f"{count} {_WORDS[kind]}" for kind, count in Counter(why).most_common())
    print(f"{one.recording.video}: {len(numbers)} frames{f' ({counts})' if counts else ''}")
    if numbers:
        print(f"  to {root / projects.PICTURES / one.recording.name}")
    return [
        {
            "recording": one.recording.name,
            "frame": number,
            "why": kind,
            "doubt": {name: round(float(values[number]), 4) for name, values in one.kinds.items()},
        }
        for number, kind in zip(numbers, why, strict=True)
    ]
