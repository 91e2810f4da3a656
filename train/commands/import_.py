"""``poseloop import SOURCE PROJECT``: labels of DeepLabCut, Lightning Pose and SLEAP, none of them lost."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from poseloop.live.errors import ConfigError
from poseloop.train.importing import import_project

__all__ = ["HELP", "add_arguments", "run"]

HELP = "make a project of labels from DeepLabCut, Lightning Pose or SLEAP"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "source", type=Path, help="a DeepLabCut project, Lightning Pose's data folder or CSV, or SLEAP's .slp"
    )
    parser.add_argument("project", type=Path, help="the new project's folder")
    sleap = parser.add_argument_group("SLEAP (needs the extra `sleap`)")
    sleap.add_argument("--videos", type=Path, metavar="DIR", help="where the videos are, if not where the file says")
    sleap.add_argument("--predictions", action="store_true", help="also predicted animals that nobody corrected")
    sleap.add_argument(
        "--every", type=int, default=1, metavar="N", help="take each n-th labelled frame, of videos labelled throughout"
    )


def run(arguments: argparse.Namespace) -> int:
    """Import, and say what is there now."""
    if arguments.every < 1:
        raise ConfigError(f"--every: expected at least 1, but got {arguments.every}")
    made = import_project(arguments.source, arguments.project, arguments.videos, arguments.predictions, arguments.every)
    for note in made.notes:
        print(note, file=sys.stderr)
    found = made.labels
    points = int(np.isfinite(found.xy).all(axis=-1).sum())
    animals = f" of {', '.join(found.individuals)}" if len(found.individuals) > 1 else ""
    names = f"{len(found.keypoints)} keypoints{animals}"
    print(f"{arguments.project}: {len(found.frames)} labelled frames, {points} points, {names}")
    return 0
