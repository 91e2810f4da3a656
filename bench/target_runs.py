"""The benchmarks that the targets are read from, each with its arguments, and what they cannot do without.

A benchmark that is run with certain arguments is a `Run` and leaves one JSON file. What a run needs and may not be
there (a peer's environment, a GPU, recordings) is named in `NEEDS`, with how to get it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from string import Formatter

from poseloop.bench import closedloop
from poseloop.bench.peers.environments import python_of
from poseloop.live import realtime
from poseloop.live.errors import PoseloopError
from poseloop.live.vision.ort import available_providers

__all__ = ["NEEDS", "RUNS", "Need", "Places", "Run"]


@dataclass(frozen=True, slots=True)
class Places:
    """Where the user has put what cannot be found otherwise."""

    peers: Path
    """Folder of the peers' environments."""
    checkpoint: Path | None = None
    """Of a training, for the same weights in both."""
    int8: Path | None = None
    """The zoo's `openfield`, exported so."""


@dataclass(frozen=True, slots=True)
class Need:
    """What a run cannot do without."""

    what: str
    how: str
    """To get it, or to say where it is."""
    find: Callable[[Places], str | None]
    """What its name stands for in arguments; None = it is not here."""


def _recordings(places: Places) -> str | None:
    folder = os.environ.get("POSELOOP_DATA", "")
    return folder if folder and Path(folder).is_dir() else None


def _package(name: str) -> Callable[[Places], str | None]:
    return lambda places: name if find_spec(name) else None


def _environment(peer: str) -> Callable[[Places], str | None]:
    def find(places: Places) -> str | None:
        python = python_of(places.peers / peer)
        return str(python) if python.exists() else None

    return find


def _emulator(places: Places) -> str | None:
    try:
        closedloop.emulator()
    except PoseloopError:
        return None
    return "emulator"


def _awake(places: Places) -> str | None:
    return "--awake" if realtime.may_stay_awake() else None


def _gpu(places: Places) -> str | None:
    # ONNX Runtime lists its providers whether there is a GPU or not.
    return "cuda" if "cuda" in available_providers() and shutil.which("nvidia-smi") else None


NEEDS: Mapping[str, Need] = {
    "recordings": Need("the recordings", "let POSELOOP_DATA be their folder", _recordings),
    "train": Need("the extra train", 'pip install "poseloop[train]"', _package("tensorflow")),
    "basler": Need("the extra basler", 'pip install "poseloop[basler]"', _package("pypylon")),
    "terminals": Need("pseudo-terminals", "run it on Linux or macOS", _package("pty")),
    "emulator": Need(
        "the emulated chip", "a checkout of the repository, with the packages that docs/board.md names", _emulator
    ),
    "awake": Need("permission to keep processors awake", "see realtime.awake in docs/realtime.md", _awake),
    "gpu": Need("an NVIDIA GPU", 'run it on a computer with one, after pip install "poseloop[gpu]"', _gpu),
    "dlclive": Need(
        "deeplabcut-live", "poseloop bench peers.environments dlclive ~/peers; --peers", _environment("dlclive")
    ),
    "aniposelib": Need(
        "aniposelib", "poseloop bench peers.environments aniposelib ~/peers; --peers", _environment("aniposelib")
    ),
    "checkpoint": Need(
        "a training's checkpoint",
        "poseloop train leaves one beside its model; --checkpoint",
        lambda places: str(places.checkpoint) if places.checkpoint else None,
    ),
    "int8": Need(
        "`openfield` in int8",
        "poseloop export --precision int8; --int8",
        lambda places: str(places.int8) if places.int8 else None,
    ),
}


@dataclass(frozen=True, slots=True)
class Run:
    """A benchmark with its arguments; its report is ``NAME.json``."""

    name: str
    bench: str
    arguments: Sequence[str] = ()
    """``{name}`` is what the need of that name stands for."""
    needs: Sequence[str] = ()
    """Those that no argument names."""
    beside: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Need → arguments that are added where it is there; the run does without, too."""

    @property
    def needed(self) -> list[Need]:
        """What it cannot do without."""
        named = [name for part in self.arguments for _, name, _, _ in Formatter().parse(part) if name]
        return [NEEDS[name] for name in dict.fromkeys([*self.needs, *named])]

    def words(self, places: Places) -> list[str]:
        """The arguments, filled in; nothing must be missing."""
        added = [part for name, parts in self.beside.items() if NEEDS[name].find(places) for part in parts]
        return [part.format_map(_Found(places)) for part in [*self.arguments, *added]]


class _Found(dict[str, str]):
    """Looks for what an argument names, when it does."""

    def __init__(self, places: Places) -> None:
        super().__init__()
        self._places = places

    def __missing__(self, name: str) -> str:
        return NEEDS[name].find(self._places) or ""


RUNS: Sequence[Run] = (
    Run(
        "peers-dlclive",
        "peers.dlclive",
        (
            *("--python", "{dlclive}", "--checkpoint", "{checkpoint}"),
            *("--video", "{recordings}/dlc_openfield/videos/m3v1mp4.mp4"),
        ),
        ("train",),
        {"int8": ("--best", "openfield", "--best", "{int8}")},
    ),
    *(
        Run(f"pipeline-{name}{suffix}", "pipeline", (*words.split(), *flags), needs)
        for name, words in (
            ("200", "--fps 200 --frames 1500"),
            ("4-cameras", "--cameras 4 --width 320 --height 240"),
            ("openfield", "--model openfield --fps 15 --frames 400"),
            ("openfield-320", "--model openfield --width 320 --height 256 --fps 60"),
        )
        for suffix, flags, needs in (("-awake", ("--awake",), ("awake",)), ("", (), ()))
    ),
    Run("cameras", "cameras", needs=("basler",)),
    Run("closedloop", "closedloop", needs=("basler", "emulator")),
    Run("protocols", "protocols", needs=("terminals",)),
    Run("peaks", "peaks"),
    Run("filters", "filters", ("--no-video",), ("recordings",)),
    Run("crop", "crop", needs=("recordings",)),
    Run("triangulation", "triangulation", beside={"aniposelib": ("--aniposelib", "{aniposelib}")}),
    Run("calibration", "calibration", needs=("recordings",)),
    Run("decoder", "decoder", needs=("train",)),
    Run("predict", "predict", needs=("recordings",)),
    Run("record", "record", ("--model", "simulated_animal")),
    Run("sessions", "sessions"),
    Run("soak", "soak", needs=("recordings",)),
    Run(
        "inference-gpu",
        "inference",
        (
            *("--models", "openfield", "--sizes", "256x256,1024x1024", "--batches", "1", "--keypoints"),
            *("--providers", "cuda", "--precisions", "fp32,fp16"),
        ),
        ("gpu", "train"),
    ),
)
"""In the order in which they are run."""
