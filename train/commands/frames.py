"""``poseloop frames PROJECT VIDEO|SESSION...``: pictures to label, from many videos, none of them twice."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from poseloop.live.errors import ConfigError, DataError
from poseloop.live.output.session import Session, is_session
from poseloop.live.types import Colour
from poseloop.train import chosen, drawing, frames, pictures, projects, videos
from poseloop.train.progress import Progress
from poseloop.train.sessions import labelling

__all__ = ["HELP", "add_arguments", "run"]

HELP = "choose frames of videos or sessions to label, and write them into a project"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "project", type=Path, help="the folder of a project: of `poseloop new project`, or DeepLabCut's"
    )
    parser.add_argument(
        "videos",
        nargs="*",
        metavar="VIDEO|SESSION",
        help="videos, folders of them, or patterns (default: the project's); of a session those pictures that were "
        "marked while it was recorded, each with the network's guess",
    )
    parser.add_argument("--count", type=int, default=20, metavar="N", help="of each video (default: 20)")
    parser.add_argument(
        "--how",
        choices=frames.HOWS,
        default=frames.HOWS[0],
        help="kmeans: as different as possible; uniform: at equal distances; motion: more where more moves "
        "(default: kmeans)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of kmeans (default: 0)")
    parser.add_argument(
        "--sheet", type=Path, metavar="FILE.png", help="draw what was chosen of videos, small, on one sheet"
    )


def run(arguments: argparse.Namespace) -> int:
    """Choose and write; a video that cannot be read does not stop the others."""
    if arguments.count < 1:
        raise ConfigError(f"--count: expected at least 1, but got {arguments.count}")
    sessions = [Path(word) for word in arguments.videos if is_session(Path(word))]
    words = [word for word in arguments.videos if not is_session(Path(word))]
    given = videos.find(words) if words else [] if sessions else projects.recordings(arguments.project)
    project = projects.root(arguments.project)
    owners: dict[str, Path] = {}
    for video in given:
        projects.claim(owners, projects.recording(video), video)
    failed, written = [], []
    for source in (*sessions, *given):
        try:
            if source in sessions:
                _marked(source, project, arguments.count)
            else:
                written += _one(source, project, arguments)
        except DataError as error:
            failed.append(error)
            print(f"poseloop: error: {error}", file=sys.stderr)
    if len(failed) < len(sessions) + len(given):
        print(
            f"\nLabel them: drop each of these folders, and {project / 'config.yaml'}, "
            f"onto napari with the plugin napari-deeplabcut"
        )
    if arguments.sheet is not None and written:
        shots = [(pictures.read(file, Colour.BGR), f"{file.parent.name} {file.stem}") for file in written]
        drawing.save(drawing.contact(shots), arguments.sheet)
        print(f"{arguments.sheet}: what was chosen")
    return 1 if failed else 0


def _marked(folder: Path, project: Path, count: int) -> None:
    with Session.open(folder) as session:
        for made, files in labelling.to_labelling(session, project, count).items():
            print(f"{folder}: {len(files)} frames to {made}")


def _one(video: Path, project: Path, arguments: argparse.Namespace) -> list[Path]:
    name = projects.recording(video)
    folder = project / projects.PICTURES / name
    projects.check_recording(project, video, name)
    there = chosen.taken(project, name)
    with videos.opened(video) as opened, Progress(video.name, opened.length) as progress:
        kept = frames.thumbnails(opened, progress.step)
    numbers = frames.choose(kept, arguments.how, arguments.count, there, arguments.seed)
    if len(numbers) < arguments.count:
        print(f"{video}: only {len(numbers)} frames are left to choose from", file=sys.stderr)
    files: list[Path] = []
    if numbers:
        with videos.opened(video) as opened:
            files = frames.save(opened, numbers, folder, kept.length)
        chosen.remember(project, name, numbers)
        projects.add_recording(project, video, name)
    print(f"{video}: {len(files)} frames to {folder}")
    return files
