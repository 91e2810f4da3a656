"""``poseloop augment PROJECT --sheet FILE.png``: look at what a network would be trained on."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

from poseloop.live.types import Colour
from poseloop.train import drawing, labels, survey, targets
from poseloop.train.augment import Augmentation
from poseloop.train.batches import Batches

__all__ = ["HELP", "add_arguments", "run"]

HELP = "write a contact sheet of training samples: crops, keypoints, score maps"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("project", type=Path, help="a folder with labels: DeepLabCut's or Lightning Pose's")
    parser.add_argument("--sheet", type=Path, metavar="FILE.png", required=True, help="where to write it")
    parser.add_argument(
        "--view", choices=("top", "side", "none"), help="how pictures are changed (default: as `poseloop train` would)"
    )
    parser.add_argument("--samples", type=_count, default=24, metavar="N", help="how many (default: 24)")
    parser.add_argument(
        "--size", type=_count, metavar="PX", help="side of a sample (default: as `poseloop train` would)"
    )
    parser.add_argument("--stride", type=_count, default=8, metavar="PX", help="pixels a cell (default: 8)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--colour", choices=("rgb", "grey"), default="rgb")


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a number of at least 1, but got {text}")
    return value


def run(arguments: argparse.Namespace) -> int:
    """Read the labels, write the sheet, say what was wrong with the labels."""
    project = labels.read(arguments.project)
    for problem in project.problems:
        print(problem, file=sys.stderr)
    settings = Augmentation.preset(arguments.view or survey.view(project), project.keypoints)
    size, stride = arguments.size or survey.crop_size(project), arguments.stride
    tiles, kinds = [], Counter[str]()
    with Batches(
        project, settings, size=size, stride=stride, seed=arguments.seed, colour=Colour(arguments.colour)
    ) as batches:
        for number in range(arguments.samples):
            frame, sample = batches.frame(number), batches.sample(number)
            kinds[sample.kind] += 1
            maps = targets.score_maps(sample.xy, sample.visible, size, size, stride, settings.sigma)
            weights = targets.weights(sample.known, sample.doubtful)
            words = f"{Path(frame.name).stem} {'' if sample.kind == 'animal' else sample.kind}"
            tiles.append(drawing.sample(sample.image, maps, weights, sample.moved, sample.visible, words))
    drawing.save(drawing.grid(tiles, columns=max(1, min(4, 2400 // (2 * size)))), arguments.sheet)
    kinds_text = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    print(f"{arguments.sheet}: {len(tiles)} samples ({kinds_text}) of {len(project.frames)} labelled frames")
    return 0
