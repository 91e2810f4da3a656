"""``poseloop devices``: what this computer can run a rig with."""

from __future__ import annotations

import argparse

from poseloop.live import plugins
from poseloop.live.errors import PoseloopError
from poseloop.live.vision.network import zoo
from poseloop.live.vision.ort import available_providers

__all__ = ["HELP", "add_arguments", "run"]

HELP = "list cameras, boards, protocols, models and providers"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare no arguments."""


def run(arguments: argparse.Namespace) -> int:
    """Print one section for each kind of part."""
    for kind, title in (("camera", "Cameras"), ("board", "Boards")):
        print(f"{title} (use = …)")
        for name in plugins.installed(kind):
            print(f"  {name}")
            for found in _discover(kind, name):
                print(f"      {found}")
    print("Protocols (use = …)")
    for name in plugins.installed("protocol"):
        print(f"  {name}")
    print("Models (file = …)")
    for name in zoo():
        print(f"  {name}")
    print("Providers (provider = …)")
    for name in available_providers() or ["none: install poseloop[cpu] or poseloop[gpu]"]:
        print(f"  {name}")
    return 0


def _discover(kind: str, name: str) -> list[str]:
    try:
        return list(plugins.load(kind, name).discover())
    except PoseloopError as error:
        return [f"not usable: {error}"]
