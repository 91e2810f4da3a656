"""``poseloop new project FOLDER --keypoints ...``: a folder for labels, which napari-deeplabcut opens and edits."""

from __future__ import annotations

import argparse
from pathlib import Path

from pydantic import ValidationError

from poseloop.live.errors import ConfigError
from poseloop.train import projects
from poseloop.train.projects import Project

__all__ = ["HELP", "add_arguments", "run"]

HELP = "make a folder for pictures and their labels, which DeepLabCut's tools open, too"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="the project: a new folder")
    parser.add_argument("--keypoints", nargs="+", required=True, metavar="NAME", help="what to label, in this order")
    parser.add_argument("--scorer", default="me", metavar="NAME", help="who labels (default: me)")
    parser.add_argument("--skeleton", nargs="+", default=[], metavar="A:B", help="pairs of keypoints drawn as lines")
    parser.add_argument(
        "--individuals", nargs="+", default=[], metavar="NAME", help="names of the animals, if there are several"
    )
    parser.add_argument(
        "--videos", nargs="+", default=[], metavar="PATH", help="where recordings are; kept in project.toml"
    )


def run(arguments: argparse.Namespace) -> int:
    """Make the folder."""
    try:
        project = Project(
            name=arguments.folder.resolve().name,
            scorer=arguments.scorer,
            keypoints=tuple(arguments.keypoints),
            skeleton=projects.pairs(arguments.skeleton),
            individuals=tuple(arguments.individuals),
            videos=tuple(str(Path(word).absolute()) for word in arguments.videos),
        )
    except ValidationError as error:
        raise ConfigError(error.errors(include_url=False)[0]["msg"]) from error
    projects.check_new(arguments.folder)
    projects.create(arguments.folder, project)
    print(f"{arguments.folder / 'project.toml'}    what is labelled: look through it")
    print(f"\nThen: poseloop frames {arguments.folder}{'' if arguments.videos else ' VIDEO...'}")
    return 0
