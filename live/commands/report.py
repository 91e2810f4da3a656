"""``poseloop report SESSION``: a session on one page, and its video with what the loop made of it."""

from __future__ import annotations

import argparse
from pathlib import Path

from poseloop.live.errors import ConfigError, DataError
from poseloop.live.output import report as reports
from poseloop.live.output.overlay import write_overlay
from poseloop.live.output.page import as_page
from poseloop.live.output.session import Session
from poseloop.live.output.verify import verify

__all__ = ["HELP", "add_arguments", "run"]

HELP = "a session on one page (HTML), and its video with poses, notes and stimuli drawn into it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("session", type=Path, help="the session's folder")
    parser.add_argument("--out", type=Path, metavar="FILE.html", help="the page; default: SESSION.html, here")
    parser.add_argument("--overlay", type=Path, metavar="FILE.mp4", help="write this video, too")
    parser.add_argument("--camera", help="of the video; default: the first")


def run(arguments: argparse.Namespace) -> int:
    """Write the page, and the video where it is asked for."""
    with Session.open(arguments.session) as session:
        out = arguments.out or Path(f"{session.folder.resolve().name}.html")
        for target in (out, arguments.overlay):
            if target is not None:
                reports.check_target(target)
        if not session.footage and arguments.overlay is not None:
            raise ConfigError(f"{session.folder}: no camera was recorded, so there is no video to draw into")
        findings, _ = verify(session, decode=False)
        page = as_page(session, findings)
        try:
            out.write_text(page, encoding="utf-8")
        except OSError as error:
            raise DataError(f"{out}: the page cannot be written: {error.strerror}") from error
        print(out)
        if arguments.overlay is not None:
            count = write_overlay(session, arguments.camera or next(iter(session.footage)), arguments.overlay)
            print(f"{arguments.overlay}: {count} pictures")
    return 0
