"""What the benchmarks share: a command line with a description from the script's docstring, and a report."""

from __future__ import annotations

import argparse
import re
import shutil
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from poseloop.live import realtime
from poseloop.live.output import report as reports

__all__ = ["make_parser", "save"]

_ITEM = re.compile(r"\n(?=\d+\. )")


def make_parser(text: str | None, report: bool = True) -> argparse.ArgumentParser:
    """Make a parser for a script.

    Args:
        text: the script's docstring; its paragraphs and numbered items are filled to the terminal's width.
        report: it has ``--report``.
    """
    width = shutil.get_terminal_size().columns - 2
    parts = ["\n".join(_fill(item, width) for item in _ITEM.split(part)) for part in (text or "").strip().split("\n\n")]
    parser = argparse.ArgumentParser(
        description="\n\n".join(parts), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if report:
        parser.add_argument("--report", type=Path, metavar="FILE.json", help="write the numbers here, too")
    parser.add_argument("--awake", action=_Awake, help="as realtime.awake does: keep processors from falling asleep")
    return parser


def save(result: Mapping[str, Any], file: Path | None) -> None:
    """Write what was measured, with versions and machine; None: nowhere, since nobody asked for a report.

    Raises:
        DataError: it cannot be written.
    """
    if file is not None:
        about = {"awake": realtime.is_awake(), "versions": reports.versions(), "machine": reports.machine()}
        reports.write({**result, **about}, file)


class _Awake(argparse.Action):
    """For the whole process, and all that it starts."""

    def __init__(self, option_strings: Sequence[str], dest: str, **others: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, default=False, **others)

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: object, option: str | None = None
    ) -> None:
        try:
            realtime.stay_awake()
        except OSError as error:
            parser.error(f"{option}: {error.strerror}")
        setattr(namespace, self.dest, True)


def _fill(text: str, width: int) -> str:
    indent = "   " if text[:1].isdigit() else ""
    joined = " ".join(text.split())
    # A command that is to be typed keeps its words whole.
    return textwrap.fill(joined, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
