"""The ``poseloop`` command. Sub-commands are found by entry point, and imported only when they are needed.

A sub-command is a module with ``HELP`` (one line), ``add_arguments(parser)`` and ``run(arguments) -> int``.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import requires, version
from typing import TextIO

from poseloop.live import plugins
from poseloop.live.errors import ConfigError, PoseloopError

__all__ = ["main"]

_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0 means that it worked."""
    for stream in (sys.stdout, sys.stderr):
        # A file or pipe on Windows may not know every letter that we print; better a "?" than an end.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    try:
        code = _run(given, debug)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # The reader (head, a closed pager) wants no more.
        _silence(sys.stdout)
    except OSError as error:
        # Above all a full disk under a redirected output.
        with contextlib.suppress(OSError):
            if debug:
                traceback.print_exc()
            print(f"poseloop: error: {error}", file=sys.stderr, flush=True)
        _silence(sys.stdout, sys.stderr)
    return 1


def _run(given: Sequence[str], debug: bool) -> int:
    try:
        parsed = _parser(given).parse_args(given)
        code: int = parsed.run(parsed)
        return code
    except PoseloopError as error:
        if debug:
            traceback.print_exc()
        print(f"poseloop: error: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        extra = _extra(error.name or "")
        if debug or extra is None:
            raise
        print(
            f"poseloop: error: this needs the package {error.name}, which is not installed: "
            f"pip install 'poseloop[{extra}]'",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print("poseloop: interrupted", file=sys.stderr)
        return _INTERRUPTED


def _extra(module: str) -> str | None:
    """The extra of this package that brings a module; None where no extra does."""
    name = module.partition(".")[0].lower().replace("_", "-")
    if name == "poseloop":  # it stands in its own extras; a part of it that is missing is a bug
        return None
    for needed in requires("poseloop") or ():
        found = re.match(r"""(?P<package>[\w-]+).*extra == ["'](?P<extra>[\w-]+)["']""", needed)
        if found and found["package"].lower().removesuffix("-cpu") == name:
            return found["extra"].removesuffix("-common")  # `train` and `train-gpu` share their list under this name
    return None


def _silence(*streams: TextIO) -> None:
    """What is left to flush at exit has nowhere to go."""
    for stream in streams:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _parser(given: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="poseloop", description="Closed-loop experiments on behaviour: cameras → poses → lasers and rewards."
    )
    parser.add_argument("--version", action="version", version=f"poseloop {version('poseloop')}")
    parser.add_argument("--debug", action="store_true", help="show where an error comes from")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    names = plugins.installed("command")
    # Only the command that is asked for is imported; the list of all of them needs all.
    asked = next((word for word in given if not word.startswith("-")), None)
    for name in [name for name in names if name == asked] or names:
        try:
            module = plugins.load("command", name)
        except ConfigError as error:
            if name == asked:
                raise
            # The list is what somebody looks at to find out what is wrong.
            commands.add_parser(name, help=str(error).replace("%", "%%"))
            continue
        command = commands.add_parser(name, help=module.HELP, description=module.HELP)
        command.add_argument(
            "--debug", action="store_true", default=argparse.SUPPRESS, help="show where an error comes from"
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
