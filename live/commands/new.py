"""``poseloop new KIND NAME``: a start for something of your own; each folder brings its kinds by entry point."""

from __future__ import annotations

import argparse

from poseloop.live import plugins

__all__ = ["HELP", "add_arguments", "run"]

HELP = "write a start for something of your own: a protocol, a project of labels"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare a sub-command for each kind that is installed."""
    kinds = parser.add_subparsers(title="kinds", metavar="KIND", required=True)
    for name in plugins.installed("start"):
        module = plugins.load("start", name)
        kind = kinds.add_parser(name, help=module.HELP, description=module.HELP)
        module.add_arguments(kind)
        kind.set_defaults(start=module.run)


def run(arguments: argparse.Namespace) -> int:
    """Write it."""
    code: int = arguments.start(arguments)
    return code
