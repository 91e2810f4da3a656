"""``poseloop labels PROJECT``: which labels may be wrong, listed and drawn; with an action, labels are changed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np

from poseloop.live.output import report as reports
from poseloop.live.types import Colour
from poseloop.live.vision import Network
from poseloop.train import drawing, evaluate, labels, pictures, suspicious
from poseloop.train.commands import editing
from poseloop.train.progress import Progress
from poseloop.train.suspicious import Suspicion

__all__ = ["HELP", "add_arguments", "run"]

HELP = "find labels that may be wrong; rename, merge and drop keypoints, swap sides, take labels of others"

_WIDTH = 800
"""Of a drawing, about."""
_RADIUS = 14


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("project", type=Path, help="a folder with labels: DeepLabCut's or Lightning Pose's")
    parser.add_argument("--model", metavar="MODEL", help="compare with what this model sees, too")
    parser.add_argument("--most", type=int, default=30, metavar="N", help="list and draw this many (default: 30)")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="draw them here, the worst first")
    parser.add_argument("--report", type=Path, metavar="FILE.json", help="write all of them here")
    editing.add_actions(parser)


def run(arguments: argparse.Namespace) -> int:
    """List and draw; nothing is changed without an action."""
    if arguments.action is not None:
        return editing.run(arguments)
    project = labels.read(arguments.project)
    for problem in project.problems:
        print(problem, file=sys.stderr)
    predictions, gate = None, 0.0
    if arguments.model is not None:
        with (
            Network.open(arguments.model) as network,
            Progress(Path(arguments.model).stem, len(project.frames)) as progress,
        ):
            predictions, gate = evaluate.predict(network, project, progress.step), network.info.gate
    found = suspicious.find(project, predictions, gate)
    for number, one in enumerate(found[: arguments.most], start=1):
        print(one)
        if arguments.plots is not None:
            _draw(one, project.keypoints, arguments.plots / f"{number:03d}_{one.kind}_{Path(one.frame.name).stem}.png")
    frames = len({one.frame.name for one in found})
    print(
        f"{len(found)} label{'s' * (len(found) > 1)} to look at, in {frames} of {len(project.frames)} frames"
        if found
        else f"nothing {'else ' if project.problems else ''}looks wrong"
    )
    if arguments.report is not None:
        rows = [
            {
                "frame": one.frame.name,
                "individual": project.individuals[one.individual],
                "keypoints": one.keypoints,
                "kind": one.kind,
                "badness": round(one.badness, 3),
                "text": one.text,
            }
            for one in found
        ]
        reports.write({"project": str(arguments.project), "suspicious": rows}, arguments.report)
    return 0


def _draw(one: Suspicion, names: tuple[str, ...], file: Path) -> None:
    """The picture, enlarged, with all labels; those that are meant in a ring, and a line to where a model sees them."""
    small = drawing.as_bgr(pictures.read(one.frame.path, Colour.BGR), rgb=False)
    factor = max(1, round(_WIDTH / small.shape[1]))
    size = (small.shape[1] * factor, small.shape[0] * factor)
    picture = np.asarray(cv2.resize(small, size, interpolation=cv2.INTER_CUBIC), np.uint8)
    palette = drawing.colours(len(names))
    for animal in one.frame.xy:
        for k, point in enumerate(animal):
            if point[0] == point[0]:
                drawing.cross(picture, point, palette[k], 6, factor)
    for name in one.keypoints:
        k = names.index(name)
        point = one.frame.xy[one.individual, k]
        if point[0] == point[0]:
            drawing.ring(picture, point, palette[k], _RADIUS, factor)
            drawing.beside(picture, name, point, _RADIUS, factor)
            if one.seen is not None:
                drawing.line(picture, point, np.array(one.seen), palette[k], factor)
    lines = [f"{one.frame.name}", f"{', '.join(one.keypoints)}: {one.text}"]
    drawing.save(drawing.titled(picture, lines), file)
