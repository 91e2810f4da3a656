"""Environments of the peers: each in a folder of its own, since their dependencies exclude ours.

``python -m poseloop.bench.peers.environments dlclive ~/peers`` makes ``~/peers/dlclive`` (a gigabyte or two; sleapnn
takes six, nearly all of it PyTorch with the CUDA libraries that it wants even on a CPU).
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import venv
from collections.abc import Mapping, Sequence
from pathlib import Path

from poseloop.bench.options import make_parser

__all__ = ["REQUIREMENTS", "create", "main", "python_of"]

REQUIREMENTS: Mapping[str, Sequence[str]] = {
    "aniposelib": ("aniposelib==0.8.*",),
    "dlclive": ("deeplabcut-live[tf]==1.1.*",),
    "sleapnn": (
        "torch",
        "torchvision>=0.20",
        "onnxruntime==1.31.*",
        "sleap-io==0.9.*",
        "skia-python<=138.0",
        "attrs",
        "lightning",
        "loguru",
        "networkx",
        "numpy",
        "omegaconf",
        "opencv-python-headless",
        "psutil",
        "rich",
        "scipy",
    ),
}
"""Peer → what pip is told to install."""

_BARE: Mapping[str, Sequence[str]] = {"sleapnn": ("sleap-nn==0.3.*",)}
"""Peer → what is installed without its own requirements: half of sleap-nn's are for training, notebooks and plots."""


def python_of(folder: Path) -> Path:
    """The environment's Python."""
    return folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def create(peer: str, folder: Path) -> Path:
    """Make the peer's environment, unless it is there; returns its Python.

    Raises:
        subprocess.CalledProcessError: pip failed; it has said why.
    """
    python = python_of(folder)
    if not python.exists():
        venv.create(folder, with_pip=True)
        install = [str(python), "-m", "pip", "install", "--quiet"]
        try:
            subprocess.run([*install, *REQUIREMENTS[peer]], check=True)
            if peer in _BARE:
                subprocess.run([*install, "--no-deps", *_BARE[peer]], check=True)
        except BaseException:
            # What is there is taken for whole the next time.
            shutil.rmtree(folder)
            raise
    return python


def main() -> int:
    """Make one environment and say where its Python is."""
    parser = make_parser(__doc__, report=False)
    parser.add_argument("peer", choices=tuple(REQUIREMENTS))
    parser.add_argument("folder", type=Path, help="where; the peer's name is added")
    parser.add_argument("--report", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    print(create(arguments.peer, arguments.folder.expanduser() / arguments.peer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
