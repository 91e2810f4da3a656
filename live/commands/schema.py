"""``poseloop schema``: the JSON Schema of rig files, for editors."""

from __future__ import annotations

import argparse
from pathlib import Path

from poseloop.live.errors import DataError
from poseloop.live.schema import as_text, rig_schema

__all__ = ["HELP", "add_arguments", "run"]

HELP = "write the JSON Schema of rig files, with which an editor completes keys and marks faults"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("file", type=Path, nargs="?", help="where to write it; without it, it is printed")
    parser.add_argument(
        "--ours-only", action="store_true", help="leave out plugins of other packages, as the file in our package does"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print or write it."""
    text = as_text(rig_schema(arguments.ours_only))
    if arguments.file is None:
        print(text, end="")
        return 0
    try:
        arguments.file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DataError(f"{arguments.file}: the schema cannot be written: {error.strerror}") from error
    print(f'wrote {arguments.file}; the first line of a rig file names it: "#:schema {arguments.file.name}"')
    return 0
