"""``poseloop new protocol NAME``: a commented start for a protocol of your own, and its test."""

from __future__ import annotations

import argparse
import keyword
import re
import sys
from pathlib import Path
from string import Template

from poseloop.live.errors import ConfigError, DataError

__all__ = ["HELP", "add_arguments", "run"]

HELP = "write a commented start for a protocol of your own, with its test"

_TEMPLATES = Path(__file__).with_name("templates")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("name", metavar="NAME", help="its name, such as RewardWhenStill or reward_when_still")
    parser.add_argument("--folder", type=Path, default=Path(), help="where; beside the rig file is best; default: here")


def run(arguments: argparse.Namespace) -> int:
    """Write both files; never over others."""
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+", arguments.name)
    module, name = "_".join(words).lower(), "".join(word[:1].upper() + word[1:] for word in words)
    # A file called queue.py would be taken for the library's.
    taken = {*keyword.kwlist, *sys.stdlib_module_names}
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", arguments.name) or module in taken:
        raise ConfigError(
            f"expected a free name of letters, digits and _, such as RewardWhenStill, but got {arguments.name!r}"
        )
    file, test = arguments.folder / f"{module}.py", arguments.folder / f"test_{module}.py"
    values = {"name": name, "module": module, "file": file.name, "test": test.name, "table": module}
    values["title"] = " ".join(words).lower().capitalize()
    written = []
    try:
        for target, template in ((file, "protocol.py.txt"), (test, "test_protocol.py.txt")):
            text = Template((_TEMPLATES / template).read_text(encoding="utf-8")).substitute(values)
            with target.open("x", encoding="utf-8") as opened:
                written.append(target)
                opened.write(text)
    except OSError as error:
        for target in written:
            target.unlink(missing_ok=True)
        why = "there is such a file already" if isinstance(error, FileExistsError) else error.strerror
        raise DataError(f"{error.filename}: cannot be written: {why}") from error
    print(f"{file}    the protocol: read it from top to bottom, then change it")
    print(f"{test}    its test: pytest {test}")
    print(f'\nIn the rig file:\n\n[protocols.{module}]\nuse = "{file.name}:{name}"')
    print('keypoint = "snout"\noutput = "box.valve"')
    return 0
