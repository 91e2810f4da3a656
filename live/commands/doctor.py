"""``poseloop doctor [RIG]``: is this computer ready, and what to do where it is not."""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import sys
import textwrap
from pathlib import Path
from typing import Any

from poseloop.live import latency, prediction
from poseloop.live.config import load_rig
from poseloop.live.doctor import examine
from poseloop.live.errors import ConfigError, PoseloopError, RigError
from poseloop.live.output import report as reports
from poseloop.live.types import Finding, Level

__all__ = ["HELP", "add_arguments", "run"]

HELP = "check this computer: providers, drivers, permissions, clocks, disk; and say what to do"

_INDENT = 26
_COLOURS = {Level.OK: "32", Level.WARN: "33", Level.FAIL: "31"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("rig", type=Path, nargs="?", help="a rig file: what it asks for has to be there")
    parser.add_argument("--latency", action="store_true", help="predict the rig's latency from its parts, measured now")
    parser.add_argument("--report", type=Path, metavar="FILE.json", help="write the findings here, too")


def run(arguments: argparse.Namespace) -> int:
    """Print one line for each finding; 0 unless one of them is a failure.

    Raises:
        ConfigError: a latency is asked for, and no rig is given.
    """
    if arguments.latency and arguments.rig is None:
        raise ConfigError("expected a rig file beside --latency: poseloop doctor rig.toml --latency")
    if arguments.report is not None:
        reports.check_target(arguments.report)
    rig = None if arguments.rig is None else load_rig(arguments.rig)
    width = min(shutil.get_terminal_size().columns, 100)
    findings: list[Finding] = []
    values: dict[str, Any] = {}

    def tell(finding: Finding) -> None:
        findings.append(finding)
        print(as_text(finding, width, coloured=sys.stdout.isatty()), flush=True)

    for finding in examine(rig, arguments.report.parent if arguments.report else Path()):
        tell(finding)
    if arguments.latency and rig is not None:
        try:
            found = latency.predict(arguments.rig)
            values["latency"] = found.as_report()
            print(f"\n{prediction.as_text(found, width)}\n", flush=True)
            for finding in prediction.judge(found, rig):
                tell(finding)
        except PoseloopError as error:
            causes = error.exceptions if isinstance(error, RigError) else (error,)
            tell(Finding("latency", Level.FAIL, f"not measured: {'; '.join(map(str, causes))}"))
    count = {level: sum(finding.level is level for finding in findings) for level in Level}
    print(f"\n{count[Level.OK]} ok, {count[Level.WARN]} to think about, {count[Level.FAIL]} to mend")
    if arguments.report is not None:
        rows = [dataclasses.asdict(finding) for finding in findings]
        values |= {"findings": rows, "versions": reports.versions(), "machine": reports.machine()}
        reports.write(values, arguments.report)
    return 1 if count[Level.FAIL] else 0


def as_text(finding: Finding, width: int, coloured: bool = False) -> str:
    """One finding: level, subject, text, and the advice below it."""
    level = f"\033[{_COLOURS[finding.level]}m{finding.level:<4}\033[0m" if coloured else f"{finding.level:<4}"
    space = " " * _INDENT
    lines = textwrap.wrap(finding.text, max(width - _INDENT, 20), break_long_words=False) or [""]
    lines += [f"→ {line}" if n == 0 else f"  {line}" for n, line in enumerate(_wrapped_advice(finding, width))]
    subject = finding.subject.ljust(_INDENT - 7) + " "
    # One that is too long for its column stands on a line of its own.
    gap = f"\n{space}" if len(subject) > _INDENT - 6 else ""
    return f"{level}  {subject}{gap}" + f"\n{space}".join(lines)


def _wrapped_advice(finding: Finding, width: int) -> list[str]:
    # A command that is to be typed keeps its words whole.
    return textwrap.wrap(finding.advice, max(width - _INDENT - 2, 20), break_long_words=False, break_on_hyphens=False)
