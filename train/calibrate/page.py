"""The report for people: one page of verdicts, numbers and pictures."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from poseloop.live.errors import DataError
from poseloop.live.geometry.calibration import Calibration
from poseloop.live.types import Image
from poseloop.train import drawing
from poseloop.train.calibrate import choose, findings
from poseloop.train.calibrate.board import Float64
from poseloop.train.calibrate.detect import Sightings
from poseloop.train.calibrate.findings import Verdict
from poseloop.train.calibrate.geometry import Motion, compose, transform
from poseloop.train.calibrate.solve import Rig
from poseloop.train.calibrate.sources import Source

__all__ = ["write"]

_WORST = 4
_WIDE = 960
_CORNERS = 8
"""That are drawn with their epipolar lines."""
_LINE = 15.0
"""Length of the usual error in a picture of a worst view, px: errors are far smaller than pixels."""
_LEVELS = {"bad": "Stop", "warning": "Warning", "good": "Good"}
"""What a verdict begins with: colours alone do not reach everybody."""
_STYLE = """body{font-family:sans-serif;margin:2em auto;max-width:64em;padding:0 1em;line-height:1.45}
h2{margin-top:1.6em}img{max-width:100%;height:auto}small{color:#444}
.wide{overflow-x:auto}table{border-collapse:collapse}
td,th{padding:.25em .8em;border-bottom:1px solid #ccc;text-align:right;white-space:nowrap}
td:first-child,th:first-child{text-align:left}.bad{border-left:.5em solid #c22}.warning{border-left:.5em solid #e90}
.good{border-left:.5em solid #2a2}.bad,.warning,.good{padding:.4em .8em;margin:.4em 0;background:#f6f6f6}
.views{display:grid;grid-template-columns:repeat(auto-fit,minmax(22em,1fr));gap:1em}.views p{margin:0}"""


def write(
    folder: Path,
    title: str,
    verdicts: Sequence[Verdict],
    sightings: Sequence[Sightings],
    sources: Sequence[Source],
    rig: Rig | None = None,
    numbers: Mapping[str, Mapping[str, Any]] | None = None,
    pairs: Sequence[Mapping[str, Any]] = (),
    cameras: Calibration | None = None,
    world: tuple[Motion, str] | None = None,
) -> Path:
    """Draw the pictures and write ``index.html``.

    Args:
        folder: where to.
        title: of the page.
        verdicts: in plain words.
        sightings: where the board was seen.
        sources: the pictures, for the worst views.
        rig: the result; None if there is none, and the page says why.
        numbers: of `findings.cameras`.
        pairs: of `findings.epipolar`.
        cameras: the result in the world's coordinates.
        world: from the first camera's coordinates to the world's, and its description.

    Raises:
        DataError: a file cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        parts = [] if rig is not None else ["<p>No calibration was made. What is in the way:</p>"]
        parts += [
            f'<div class="{one.level}"><b>{_LEVELS[one.level]}</b>: {html.escape(one.text)}</div>' for one in verdicts
        ]
        _coverage(sightings, rig, folder / "coverage.png")
        if rig is not None and numbers is not None and cameras is not None and world is not None:
            parts.append(
                f"<p>Board: {html.escape(rig.scene.board.words)}, at {len(rig.moments)} moments. "
                f"World: {html.escape(world[1])}. Unit: mm.</p>"
            )
            parts += ["<h2>Cameras</h2>", _numbers(numbers)]
            _residuals(rig, folder / "residuals.png")
            parts.append(
                _picture(
                    "residuals.png",
                    "How far corners are from where the model has them. Left: each corner; the ring holds half of "
                    "them. Right: median of each moment; one that stands out was blurred, moving, or found wrongly.",
                )
            )
        parts.append("<h2>Coverage</h2>")
        parts.append(
            _picture(
                "coverage.png",
                "Where corners of the board were seen; colour: how far the model misses them. Grey cells: never.",
            )
        )
        if rig is not None and cameras is not None and world is not None:
            _layout(rig, cameras, world[0], folder / "layout.png")
            parts += [
                "<h2>Layout</h2>",
                _picture("layout.png", "Cameras and the board at each moment, from the side and from above."),
            ]
            parts += ["<h2>Pairs of cameras</h2>", _pairs(pairs)]
            if words := _lines(rig, cameras, pairs, folder / "pairs.png"):
                parts.append(_picture("pairs.png", words))
            parts += ["<h2>Worst views</h2>", '<div class="views">', *_worst(rig, sources, folder), "</div>"]
        if rig is None:
            parts += ["<h2>What the cameras see</h2>", '<div class="views">']
            parts += [*_seen(sightings, sources, folder), "</div>"]
        page = folder / "index.html"
        page.write_text(
            f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
            f"<style>{_STYLE}</style></head>\n<body><h1>{html.escape(title)}</h1>\n"
            + "\n".join(parts)
            + "\n</body></html>\n",
            encoding="utf-8",
        )
    except OSError as error:
        raise DataError(f"{folder}: the report cannot be written: {error}") from error
    return page


def _picture(file: str, words: str) -> str:
    return (
        f'<p><a href="{file}"><img src="{file}" alt="{html.escape(words)}"></a><br>'
        f"<small>{html.escape(words)}</small></p>"
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ['<div class="wide"><table><tr>' + "".join(f"<th>{html.escape(word)}</th>" for word in head) + "</tr>"]
    lines += ["<tr>" + "".join(f"<td>{html.escape(word)}</td>" for word in row) + "</tr>" for row in rows]
    return "\n".join([*lines, "</table></div>"])


def _numbers(numbers: Mapping[str, Mapping[str, Any]]) -> str:
    head = [
        "camera",
        "RMS",
        "median",
        "views",
        "corners",
        "left out",
        "picture covered",
        "board tilted",
        "focal length",
    ]
    rows = []
    for name, row in numbers.items():
        known = "given" if row["lens"] == "given" else f"± {row['focal_spread_px']:.1f} px"
        rows.append(
            [
                name,
                f"{row['rms_px']:.2f} px" if row["rms_px"] is not None else "-",
                f"{row['median_px']:.2f} px" if row["median_px"] is not None else "-",
                f"{row['views_used']} of {row['views']}",
                str(row["corners"]),
                str(row["corners_removed"]),
                f"{100 * row['coverage']:.0f} %",
                "{:.0f} to {:.0f}°".format(*row["tilt_deg"]) if row["tilt_deg"] else "-",
                f"{row['focal_px'][0]:.1f} px ({known})",
            ]
        )
    return _table(head, rows) + (
        "<p><small>RMS and median: how far corners are from where the model has them; 0.1 to 0.3 px is good, above "
        "0.5 px something is amiss. ±: standard deviation of the focal length. Tilt: between board and picture; a lens "
        "needs some of 20° and more.</small></p>"
    )


def _pairs(pairs: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        [
            " and ".join(pair["cameras"]),
            str(pair.get("moments", 0)),
            str(pair["corners"]),
            f"{pair['median_px']:.2f} px" if pair.get("median_px") is not None else "never together",
        ]
        for pair in pairs
    ]
    return _table(["pair", "moments", "corners seen by both", "distance from the epipolar line"], rows) + (
        "<p><small>What one camera sees must lie on a line in the other's picture; the median distance tells whether "
        "two cameras agree: it should be no larger than their own medians.</small></p>"
    )


def _coverage(sightings: Sequence[Sightings], rig: Rig | None, file: Path) -> None:
    from matplotlib.figure import Figure

    columns = min(len(sightings), 2 if len(sightings) <= 4 else 3)
    rows = -(-len(sightings) // columns)
    tall = max(camera.size[1] / camera.size[0] for camera in sightings)
    wide = 9.6 / columns
    figure = Figure(figsize=(wide * columns + 0.9, (wide * tall + 0.3) * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    top = 1.0 if rig is None else max(0.5, float(np.percentile(np.linalg.norm(rig.error, axis=1), 98)))
    dots = None
    for c, (camera, one) in enumerate(zip(sightings, axes, strict=False)):
        counts = findings.coverage(camera)
        width, height = camera.size
        one.imshow(counts == 0, cmap="Greys", vmin=0, vmax=4, extent=(-0.5, width - 0.5, height - 0.5, -0.5))
        if rig is not None:
            mine = rig.seen.camera == c
            size = np.linalg.norm(rig.error[mine], axis=1)
            dots = one.scatter(*rig.seen.xy[mine].T, c=size, s=2, vmin=0, vmax=top, cmap="viridis")
        elif camera.views:
            one.scatter(*np.concatenate([view.xy for view in camera.views.values()]).T, s=2)
        share = 100 * float((counts > 0).mean())
        one.set_title(f"{camera.camera}: {len(camera.views)} views, {share:.0f} % covered", fontsize=10)
        one.set_xlim(-0.5, width - 0.5)
        one.set_ylim(height - 0.5, -0.5)
        one.set_aspect("equal")
        one.set_xticks(np.linspace(0, width, choose.GRID[0] + 1), [])
        one.set_yticks(np.linspace(0, height, choose.GRID[1] + 1), [])
        one.grid(alpha=0.3)
    for one in axes[len(sightings) :]:
        one.axis("off")
    if dots is not None:
        figure.colorbar(dots, ax=list(axes), label="px", shrink=0.6, aspect=30)
    figure.savefig(file, dpi=110)


def _residuals(rig: Rig, file: Path) -> None:
    from matplotlib.figure import Figure

    names = rig.scene.names
    figure = Figure(figsize=(10.5, 1.9 * len(names) + 0.5), layout="constrained")
    axes = figure.subplots(len(names), 2, squeeze=False, width_ratios=[1, 4], sharex="col")
    size = np.linalg.norm(rig.error, axis=1)
    reach = max(0.5, float(np.percentile(size, 99)))
    for c, name in enumerate(names):
        mine = rig.seen.camera == c
        left, right = axes[c]
        left.scatter(*rig.error[mine].T, s=2, alpha=0.4, linewidths=0)
        turn = np.linspace(0, 2 * np.pi, 100)
        median = float(np.median(size[mine])) if mine.any() else 0.0
        left.plot(median * np.cos(turn), median * np.sin(turn), "k", linewidth=1)
        left.set_xlim(-reach, reach)
        left.set_ylim(reach, -reach)
        left.set_aspect("equal")
        left.set_ylabel(name)
        blocks = np.unique(rig.seen.block[mine])
        medians = [float(np.median(size[mine & (rig.seen.block == b)])) for b in blocks]
        right.plot([rig.moments[b] for b in blocks], medians, ".-", linewidth=0.6)
        right.set_ylim(bottom=0)
        right.grid(alpha=0.3)
        right.xaxis.get_major_locator().set_params(integer=True)
    axes[0][0].set_title("each corner, px", fontsize=10)
    axes[0][1].set_title("median, px", fontsize=10)
    axes[-1][1].set_xlabel("moment (number of the picture or frame)")
    figure.savefig(file, dpi=110)


def _layout(rig: Rig, cameras: Calibration, world: Motion, file: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 5.5), layout="constrained")
    space = figure.add_subplot(1, 2, 1, projection="3d")
    plan = figure.add_subplot(1, 2, 2)
    columns, rows = rig.scene.board.corners
    corners = rig.scene.board.points[[0, columns - 1, columns * rows - 1, columns * (rows - 1), 0]]
    for b in range(len(rig.moments)):
        moved = transform(compose(world, (rig.state.block_turn[b], rig.state.block_shift[b])), corners)
        space.plot(*moved.T, color="tab:grey", linewidth=0.5, alpha=0.5)
        plan.plot(*moved[:, :2].T, color="tab:grey", linewidth=0.5, alpha=0.5)
    centres = np.array([camera.centre for camera in cameras.cameras])
    middle = np.median(transform(world, rig.state.block_shift), axis=0)
    depth = 0.25 * float(np.median(np.linalg.norm(centres - middle, axis=1)))
    for c, camera in enumerate(cameras.cameras):
        colour = f"C{c}"
        for line in _frustum(camera.matrix, camera.size, depth):
            moved = (line - camera.translation) @ camera.rotation
            space.plot(*moved.T, color=colour, linewidth=1)
            plan.plot(*moved[:, :2].T, color=colour, linewidth=1)
        space.text(*camera.centre, f" {camera.name}", color=colour)
        plan.annotate(f" {camera.name}", (camera.centre[0], camera.centre[1]), color=colour)
    axis = depth
    for k, colour in enumerate(("r", "g", "b")):
        end = np.zeros((2, 3))
        end[1, k] = axis
        space.plot(*end.T, color=colour, linewidth=2)
        plan.plot(*end[:, :2].T, color=colour, linewidth=2)
    space.set_aspect("equal")
    for one in (space, plan):
        one.set_xlabel("x, mm")
        one.set_ylabel("y, mm")
    space.set_zlabel("z, mm")
    plan.set_aspect("equal")
    plan.grid(alpha=0.3)
    plan.set_title("along z; red, green, blue: the world's x, y, z", fontsize=10)
    figure.savefig(file, dpi=110)


def _lines(rig: Rig, cameras: Calibration, pairs: Sequence[Mapping[str, Any]], file: Path) -> str:
    """Draw some corners of the pair that agrees least, with their epipolar lines; returns what is shown, or nothing."""
    from matplotlib.figure import Figure

    seen = [pair for pair in pairs if pair.get("median_px") is not None]
    if not seen:
        return ""
    names = max(seen, key=lambda pair: float(pair["median_px"]))["cameras"]
    a, b = (rig.scene.names.index(name) for name in names)
    count = len(rig.scene.board.points)
    rows = [np.flatnonzero(rig.seen.camera == c) for c in (a, b)]
    keys = [rig.seen.block[r] * count + rig.corner[r] for r in rows]
    shared, i, j = np.intersect1d(keys[0], keys[1], return_indices=True)
    blocks, counts = np.unique(shared // count, return_counts=True)
    block = int(blocks[np.argmax(counts)])
    some = np.flatnonzero(shared // count == block)
    some = some[np.linspace(0, len(some) - 1, min(len(some), _CORNERS)).astype(int)]
    xy = [rig.seen.xy[r[k[some]]] for r, k in ((rows[0], i), (rows[1], j))]
    one = cameras.cameras[a]
    rays = np.full((len(cameras.names), len(some), 2), np.nan)
    rays[a] = xy[0]
    away = np.column_stack([cameras.undistort(rays)[a], np.ones(len(some))])
    board = compose(
        (rig.state.turn[a], rig.state.shift[a]), (rig.state.block_turn[block], rig.state.block_shift[block])
    )
    depths = float(board[1][2]) * np.geomspace(0.3, 4, 200)
    sizes = [cameras.cameras[c].size for c in (a, b)]
    tall = max(height / width for width, height in sizes)
    figure = Figure(figsize=(10.5, 5 * tall + 0.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for n, ray in enumerate(away):
        line = cameras.project((depths[:, np.newaxis] * ray - one.translation) @ one.rotation)[b]
        right.plot(*line.T, color=f"C{n}", linewidth=0.8)
        for axes, places in ((left, xy[0]), (right, xy[1])):
            axes.plot(*places[n], "o", color=f"C{n}", markersize=4)
    width, height = sizes[0]
    left.set_xlim(-0.5, width - 0.5)
    left.set_ylim(height - 0.5, -0.5)
    # The other picture from near: a line that misses by a pixel or two would hit every dot of a whole one.
    near = 0.6 * float((np.ptp(xy[1], axis=0) / sizes[1]).max()) * np.array(sizes[1])
    middle = (xy[1].min(axis=0) + xy[1].max(axis=0)) / 2
    right.set_xlim(middle[0] - near[0], middle[0] + near[0])
    right.set_ylim(middle[1] + near[1], middle[1] - near[1])
    for axes, words in ((left, names[0]), (right, f"{names[1]}, from near, with the lines of what {names[0]} sees")):
        axes.set_aspect("equal")
        axes.set_title(words, fontsize=10)
    figure.savefig(file, dpi=110)
    return f"Some corners of moment {rig.moments[block]}, in the pair that agrees least: each has to lie on its line."


def _frustum(matrix: Float64, size: tuple[int, int], depth: float) -> list[Float64]:
    """A camera's field of view as lines (n, 3) in its own coordinates, without the lens's bend."""
    edge = np.array([[0, 0], [size[0], 0], [size[0], size[1]], [0, size[1]], [0, 0]], float)
    far = np.column_stack([np.clip((edge - matrix[:2, 2]) / np.diag(matrix)[:2], -2, 2), np.ones(5)]) * depth
    return [far, *(np.array([[0, 0, 0], corner]) for corner in far[:4])]


def _seen(sightings: Sequence[Sightings], sources: Sequence[Source], folder: Path) -> list[str]:
    """One picture of each camera with the corners that were found, if any: the one that shows most of the board."""
    parts = []
    known = {source.camera: source for source in sources}
    for place, camera in enumerate(sightings):
        source, xy = known[camera.camera], np.zeros((0, 2))
        if camera.views:
            moment = max(camera.views, key=lambda when: len(camera.views[when].numbers))
            shown, xy = (moment, source.picture(moment)), camera.views[moment].xy
        elif (middle := next(islice(source.frames(), source.length() // 2, None), None)) is not None:
            shown = middle
        else:
            continue
        file = f"seen_{place + 1:02d}.jpg"
        drawing.save(_drawn(shown[1], xy, np.zeros_like(xy), 1), folder / file)
        words = f"the board was found in {len(camera.views)} of {camera.looked} pictures"
        parts.append(_picture(file, f"{camera.camera}, {source.name_of(shown[0])}: {len(xy)} corners; {words}."))
    return parts


def _worst(rig: Rig, sources: Sequence[Source], folder: Path) -> list[str]:
    parts = []
    known = {source.camera: source for source in sources}
    each = 1 if len(rig.scene.names) >= _WORST else 2
    for place, (name, moment, error) in enumerate(findings.worst(rig, _WORST, each)):
        source = known.get(name)
        if source is None:
            continue
        c, b = rig.scene.names.index(name), rig.moments.index(moment)
        mine = (rig.seen.camera == c) & (rig.seen.block == b)
        file = f"worst_{place + 1:02d}.jpg"
        times = max(1, round(_LINE / max(error, 0.01)))
        drawing.save(_drawn(source.picture(moment), rig.seen.xy[mine], rig.error[mine], times), folder / file)
        parts.append(
            _picture(
                file,
                f"{name}, {source.name_of(moment)}: median {error:.2f} px. Cross: corner found; line: towards the "
                f"model's, {times} times as long.",
            )
        )
    return parts


def _drawn(picture: Image, xy: Float64, error: Float64, times: int) -> Image:
    factor = _WIDE / picture.shape[1]
    canvas = drawing.as_bgr(np.asarray(cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)))
    for place, miss in zip((xy + 0.5) * factor - 0.5, error * factor, strict=True):
        start, end = (tuple(int(v) for v in np.round(16 * point)) for point in (place, place + times * miss))
        cv2.line(canvas, start, end, (0, 200, 255), 2, cv2.LINE_AA, 4)
        drawing.cross(canvas, place, (80, 255, 80), 4)
    return canvas
