"""The learning curve of a project: the error of every model that it had, on the same frames where there are such.

The models are all kept (`poseloop.train.history`), so each is measured again when test frames come or are corrected,
and what the curve compares are the models and nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from poseloop.live.errors import ModelError
from poseloop.live.vision import Network
from poseloop.train import evaluate
from poseloop.train.history import History
from poseloop.train.labels import Labels
from poseloop.train.trackfiles import whole

__all__ = ["draw", "measure", "table"]


def measure(history: History, now: Labels, done: Callable[[str], object] = lambda name: None) -> Labels:
    """Find the error of every model on the project's test frames; what was measured on these very labels is known.

    A model that has learned from one of them, or does not find all that is labelled, has no such error.

    Args:
        history: of the project.
        now: its labels.
        done: called with the name of each model that is measured.

    Returns:
        The test frames; none where the project has none.

    Raises:
        DataError: a picture cannot be read, or the history not written.
    """
    names = {frame.name for frame in now.frames}
    test = now.only(names.intersection(history.test))
    if test.frames:
        digest = _digest(test)
        for one in history.models:
            if one.get("test", {}).get("of") != digest:
                history.tested(one["sha256"], digest, _error_px(history.folder / one["file"], test))
                done(one["name"])
    return test


def table(history: History, test: Labels) -> str:
    """Write the curve for a terminal: a line for each model, in order of time, and what the numbers are of."""
    rows = [("model", "labelled", "held out", "mean px", "test px", "labels kept")]
    kept = {version["digest"]: version["folder"] for version in history.versions}
    for one in history.models:
        labelled = (one["learned"] or 0) + (one["held_out"] or 0)
        rows.append(
            (
                f"{one['name']} ({one['sha256'][:8]})",
                str(labelled or "-"),
                str(one["held_out"] or "-"),
                _text(one["error_px"]),
                _text(_tested(one, test)),
                kept.get(one["data_digest"], "-"),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.append("mean px: each model's own held-out frames, which may be others from line to line")
    if test.frames:
        lines.append(
            f"test px: the same {len(test.frames)} test frames for all; -: it learned from one of them, or does not "
            f"find all that is labelled"
        )
    return "\n".join(lines)


def draw(history: History, test: Labels) -> Path | None:
    """Draw the curve; None: there is nothing to draw yet, or nothing to draw with (matplotlib).

    Raises:
        DataError: it cannot be written.
    """
    same = any(_tested(one, test) is not None for one in history.models)
    errors = [_tested(one, test) if same else one["error_px"] for one in history.models]
    known = [(one, px) for one, px in zip(history.models, errors, strict=True) if px is not None and one["learned"]]
    if not known or find_spec("matplotlib") is None:
        return None
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    frames = [one["learned"] + (one["held_out"] or 0) for one, _ in known]
    axes.plot(frames, [px for _, px in known], "o-")
    for count, (one, px) in zip(frames, known, strict=True):
        axes.annotate(one["name"], (count, px), (4, 4), textcoords="offset points", fontsize=8)
    axes.set_xlabel("labelled frames")
    what = f"the same {len(test.frames)} test frames" if same else "held-out frames, other ones at each point"
    axes.set_ylabel(f"mean error of {what}, px")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    file = history.folder / "curve.png"
    with whole(file) as part:
        figure.savefig(part, dpi=120, format="png")
    return file


def _digest(test: Labels) -> str:
    digest = hashlib.sha256(repr(test.keypoints).encode())
    for frame in test.frames:
        digest.update(frame.name.encode())
        digest.update((np.round(frame.xy, 3) + 0.0).tobytes())  # + 0.0: no negative zero
    return digest.hexdigest()


def _tested(one: Mapping[str, Any], test: Labels) -> float | None:
    """A model's error on these very test frames; None: it has none."""
    found = one.get("test")
    if not (test.frames and found and found["of"] == _digest(test)):
        return None
    px: float | None = found["error_px"]
    return px


def _error_px(file: Path, test: Labels) -> float | None:
    try:
        with Network.open(file) as network:
            learned = {str(name) for name in network.info.training.get("learned", ())}
            if learned.intersection(frame.name for frame in test.frames) or set(test.keypoints) - {*network.keypoints}:
                return None
            px: float | None = evaluate.measure(evaluate.predict(network, test), network.info.gate)["rmse_px"]
            return px
    except ModelError:  # its copy was removed, or is of no use any more
        return None


def _text(px: float | None) -> str:
    return "-" if px is None else f"{px:.2f}"
