"""``poseloop check SESSION``: is a session whole, and does every picture belong to its time?"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import sys
from pathlib import Path

from poseloop.live.commands.doctor import as_text
from poseloop.live.output import report as reports
from poseloop.live.output.session import Session
from poseloop.live.output.verify import verify
from poseloop.live.types import Level

__all__ = ["HELP", "add_arguments", "run"]

HELP = "prove that a recorded session is whole: every picture has its time, every loss is listed"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("session", type=Path, help="the session's folder")
    parser.add_argument("--quick", action="store_true", help="count pictures without decoding them")
    parser.add_argument("--report", type=Path, metavar="FILE.json", help="write all findings and numbers here, too")


def run(arguments: argparse.Namespace) -> int:
    """Print one line for each finding; 1 if the session contradicts itself or lost something in silence."""
    if arguments.report is not None:
        reports.check_target(arguments.report)
    with Session.open(arguments.session) as session:
        print(f"{session.rig}, {session.started:%Y-%m-%d %H:%M:%S}, {session.folder}\n")
        findings, numbers = verify(session, decode=not arguments.quick)
    width = min(shutil.get_terminal_size().columns, 100)
    for finding in findings:
        print(as_text(finding, width, coloured=sys.stdout.isatty()))
    failed = any(finding.level is Level.FAIL for finding in findings)
    print("\n" + ("this session is not what it says" if failed else "every picture has its time"))
    if arguments.report is not None:
        rows = [dataclasses.asdict(finding) for finding in findings]
        reports.write({"ok": not failed, "findings": rows, **numbers, "versions": reports.versions()}, arguments.report)
    return 1 if failed else 0
