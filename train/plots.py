"""Pictures of an evaluation, in a folder with a page that shows them all.

Curves are drawn with matplotlib where it is installed (it comes with the extra ``train``), else with OpenCV.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from poseloop.live.errors import DataError
from poseloop.live.types import Colour
from poseloop.train import drawing, pictures
from poseloop.train.evaluate import Predictions, worst

__all__ = ["write"]

_WORST = 8


def write(
    predictions: Predictions,
    result: Mapping[str, Any],
    title: str,
    folder: Path,
    history: Sequence[Mapping[str, Any]] = (),
) -> list[Path]:
    """Draw errors per keypoint, the score's reliability, the training and the worst frames, and a page with them.

    Args:
        predictions: what the model said.
        result: what `evaluate.measure` made of it.
        title: of page and plots.
        folder: where all goes; the page is ``index.html``.
        history: the model's own ``training["history"]``; without it, no learning curve is drawn.

    Returns:
        The files, the page first.

    Raises:
        DataError: a file cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder}: the folder cannot be made: {error}") from error
    files = [folder / "error_per_keypoint.png", folder / "reliability.png"]
    if find_spec("matplotlib") is not None:
        _errors(predictions, title, files[0])
        _reliability(result["reliability"], title, files[1])
    else:
        _plain(result, files)
    if history and find_spec("matplotlib") is not None:
        files.append(folder / "learning_curve.png")
        _learning(history, title, files[-1])
    files.extend(_worst(predictions, folder))
    page = folder / "index.html"
    shown = "\n".join(f'<p><img src="{file.name}" alt="{html.escape(file.stem)}"></p>' for file in files)
    text = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>body{{font-family:sans-serif;margin:2em}}img{{max-width:100%}}</style></head>\n"
        f"<body><h1>{html.escape(title)}</h1>\n{shown}\n</body></html>\n"
    )
    try:
        page.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DataError(f"{page}: cannot be written: {error}") from error
    return [page, *files]


def _errors(predictions: Predictions, title: str, file: Path) -> None:
    """Every point's error on a logarithmic scale, with median and mean, a row for each keypoint."""
    from matplotlib.figure import Figure

    names = predictions.keypoints
    figure = Figure(figsize=(8, 1.4 + 0.35 * len(names)), layout="constrained")
    axes = figure.subplots()
    rng = np.random.default_rng(0)
    for k in range(len(names)):
        error = predictions.error_px[:, k]
        error = np.maximum(error[~np.isnan(error)], 0.05)
        if not len(error):
            continue
        axes.scatter(error, k + rng.uniform(-0.25, 0.25, len(error)), s=9, alpha=0.5, linewidths=0)
        axes.plot(np.median(error), k, "k|", markersize=14, label="median" if k == 0 else None)
        axes.plot(error.mean(), k, "kx", markersize=6, label="mean" if k == 0 else None)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel("distance from the label, px")
    axes.set_title(title)
    axes.grid(axis="x", which="both", alpha=0.25)
    axes.legend(loc="lower right", fontsize="small")
    figure.savefig(file, dpi=120)


def _reliability(reliability: Mapping[str, Any], title: str, file: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5.5), layout="constrained")
    share, count = figure.subplots(2, 1, height_ratios=[3, 1], sharex=True)
    bins = [part for part in reliability["bins"] if part["n"]]
    share.plot([0, 1], [0, 1], "k:", linewidth=1)
    share.plot([part["score"] for part in bins], [part["right"] for part in bins], "o-")
    share.set_ylabel(f"share within {reliability['within_px']:g} px")
    share.set_ylim(-0.03, 1.03)
    share.set_title(title)
    count.bar(
        [(part["from"] + part["to"]) / 2 for part in reliability["bins"]],
        [part["n"] for part in reliability["bins"]],
        width=0.09,
    )
    count.set_yscale("symlog")
    count.set_xlabel("score")
    count.set_ylabel("points")
    figure.savefig(file, dpi=120)


def _learning(history: Sequence[Mapping[str, Any]], title: str, file: Path) -> None:
    """Loss and held-out error over the training's minutes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    minutes = [point["elapsed_s"] / 60 for point in history]
    axes.plot(minutes, [point["loss"] for point in history], "s-", color="tab:grey", label="loss (left)")
    axes.set_ylabel("loss")
    axes.set_xlabel("minutes of training")
    axes.set_title(title)
    right = axes.twinx()
    right.plot(minutes, [point["error_px"] for point in history], "o-", label="held-out error (right)")
    right.set_ylim(bottom=0)
    right.set_ylabel("mean error of held-out frames, px")
    figure.legend(loc="outside lower center", ncols=2, fontsize="small")
    figure.savefig(file, dpi=120)


def _plain(result: Mapping[str, Any], files: list[Path]) -> None:
    def value(number: float | None) -> float:
        return float("nan") if number is None else number

    errors = {name: (value(row["rmse_px"]), value(row["median_px"])) for name, row in result["per_keypoint"].items()}
    drawing.save(drawing.bars(errors, "mean distance from the label (tick: median)", "px"), files[0])
    shares = {
        f"score {part['from']:.1f} - {part['to']:.1f} (n {part['n']})": (value(part["right"]), value(part["score"]))
        for part in result["reliability"]["bins"]
    }
    within = result["reliability"]["within_px"]
    drawing.save(drawing.bars(shares, f"share within {within:g} px (tick: mean score)", ""), files[1])


def _worst(predictions: Predictions, folder: Path) -> list[Path]:
    files = []
    for place, number in enumerate(worst(predictions, _WORST)):
        frame = predictions.frames[number]
        error = predictions.error_px[number]
        lost = predictions.labelled[number] & np.isnan(error)
        largest = "a point not seen" if lost.any() else f"up to {np.nanmax(error):.1f} px"
        drawn = drawing.comparison(
            pictures.read(frame.path, Colour.RGB),
            predictions.label[number],
            predictions.xy[number],
            predictions.score[number],
            predictions.keypoints,
            f"{frame.name}: {largest} (x label, o model)",
        )
        file = folder / f"worst_{place + 1:02d}.png"
        drawing.save(drawn, file)
        files.append(file)
    return files
