"""A session on one page (HTML, one file): latency over time, what was dropped, stimuli, score, where the animal was."""

from __future__ import annotations

import base64
import html
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from poseloop.live.errors import DataError
from poseloop.live.output.chart import Chart
from poseloop.live.output.footage import pictures
from poseloop.live.output.marks import counting
from poseloop.live.output.session import Session
from poseloop.live.types import Colour, Finding, Level, OutcomeKind, TriggerEvent

__all__ = ["as_page"]

_Float64 = npt.NDArray[np.float64]

_BINS = 160
"""Intervals into which a session is divided for what changes over time."""
_PATH = 6000
"""Points of the trajectory that are drawn."""
_TRIGGERS = 3000
"""Triggers that are drawn one by one; of more, evenly chosen ones."""
_SCENE = 20
"""The picture behind the trajectory: an early one, but not the very first."""

_BLUE, _ORANGE, _GREEN, _RED, _GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#888"
_OUTCOMES = {"acknowledged": _GREEN, "refused": _ORANGE, "lost": _RED}
_REASONS = (_BLUE, _ORANGE, _RED, "#CC79A7", "#56B4E9", _GREY)

_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #222; background: #fafafa; margin: 0; }
main { max-width: 980px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 26px; margin: 0; } h2 { font-size: 17px; margin: 34px 0 4px; }
p { margin: 4px 0 10px; color: #555; max-width: 75ch; }
.tiles { display: flex; flex-wrap: wrap; gap: 12px; margin: 20px 0 8px; }
.tile { background: #fff; border: 1px solid #e4e4e4; border-radius: 8px; padding: 10px 16px; min-width: 130px; }
.tile b { display: block; font-size: 23px; font-weight: 600; } .tile span { color: #666; font-size: 13px; }
svg { width: 100%; background: #fff; border: 1px solid #e4e4e4; border-radius: 8px; }
svg text { font: 12px system-ui, sans-serif; fill: #555; } svg .grid { stroke: #eee; }
table { border-collapse: collapse; background: #fff; border: 1px solid #e4e4e4; width: 100%; }
td, th { padding: 4px 12px; text-align: right; border-top: 1px solid #f0f0f0; font-variant-numeric: tabular-nums; }
td:first-child, th:first-child { text-align: left; } th { font-weight: 600; color: #555; }
.key { display: inline-block; width: 11px; height: 11px; border-radius: 2px; margin: 0 5px 0 14px; }
.ok { color: #009E73; } .warn { color: #B07A00; } .fail { color: #D55E00; font-weight: 600; }
.findings td { text-align: left; vertical-align: top; }
"""


@dataclass(frozen=True, slots=True)
class _Course:
    """What changed from pose to pose; N of them."""

    time_s: _Float64
    latency_ms: _Float64
    """From the last picture in memory to the pose on the socket."""
    score: _Float64
    """Mean over the keypoints of the animals that are there; NaN where one of a place in the world is not known."""
    xy: _Float64
    """(N, 2) px: the middle of the first animal's points that the first camera saw."""


def as_page(session: Session, findings: Sequence[Finding]) -> str:
    """Write the page.

    Args:
        session: opened.
        findings: of `poseloop.live.output.verify`.

    Raises:
        DataError: the session is damaged, or has no pose.
    """
    course = _course(session)
    triggers = list(session.triggers())
    end_s = max(float(course.time_s[-1]), *(_seconds(session, _moment(item)) for item in triggers), 0.0)
    span = (float(course.time_s[0]), end_s)
    parts = [
        _head(session, course, triggers, span),
        *_latency(session, course, triggers, span),
        *_drops(session, span),
        *_stimuli(session, triggers, span),
        *_score(session, course, span),
        *_trajectory(session, course, triggers),
        *_table(session.report),
        *_findings(findings),
    ]
    title = html.escape(f"{session.rig} {session.subject} {session.started:%Y-%m-%d %H:%M}")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
        f"</head>\n<body><main>\n" + "\n".join(parts) + "\n</main></body></html>\n"
    )


def _course(session: Session) -> _Course:
    columns: list[list[npt.NDArray[Any]]] = [[], [], [], []]
    for block in session.pose_columns():
        columns[0].append((block.time("exposed_ns") - session.started_ns) / 1e9)
        columns[1].append((block.time("published_ns") - block.time("arrived_ns")) / 1e6)
        counted = counting(block.score)
        total_score = np.where(counted[..., None], block.score, 0).sum(axis=(1, 2), dtype=np.float64)
        columns[2].append(total_score / (counted.sum(axis=1) * block.score.shape[2]))
        seen = np.isfinite(block.xy[:, 0, 0, :, :1])
        total = np.where(seen, block.xy[:, 0, 0], 0).sum(axis=1, dtype=np.float64)
        count = seen.sum(axis=1)
        columns[3].append(np.where(count > 0, total / np.maximum(count, 1), np.nan))
    if not columns[0]:
        raise DataError(f"{session.folder}: expected poses, but the session has none")
    return _Course(*(np.concatenate(column).astype(np.float64) for column in columns))


def _head(session: Session, course: _Course, triggers: Sequence[TriggerEvent], span: tuple[float, float]) -> str:
    rows = {camera: session.frames(camera) for camera in session.cameras}
    unrecorded = sum(len(list(session.unrecorded(camera))) for camera in session.cameras)
    pictures_in = sum(len(frames.index) for frames in rows.values())
    sets = {index for camera, index, _ in session.dropped() if not camera}
    sent = [item for item in triggers if not item.reason.startswith("held")]
    exposures = [(item.trace.pin_ns - item.trace.exposed_ns) / 1e6 for item in sent if item.trace.pin_ns]
    tiles = [
        (_duration(span[1] - span[0]), "length"),
        (f"{len(course.time_s):,}", "poses"),
        (f"{np.median(course.latency_ms):.1f} ms", "picture to pose, median"),
        (f"{np.percentile(course.latency_ms, 99):.1f} ms", "picture to pose, 99 %"),
        (f"{len(sent):,}", "stimuli sent"),
        (f"{len(sets) / max(len(sets) + len(course.time_s), 1):.1%}", "of sets dropped by the loop"),
        (f"{unrecorded:,}" if unrecorded else "none", f"of {pictures_in + unrecorded:,} pictures not recorded"),
    ]
    if exposures:
        tiles.insert(5, (f"{np.median(exposures):.1f} ms", "exposure to pin, median"))
    models = ", ".join(part.name for part in session.models.values())
    protocols = ", ".join(session.protocols) or "no protocol"
    words = [f"{session.started:%d %B %Y, %H:%M:%S}", f"model {models}", f"protocol {protocols}"]
    if session.subject:
        words.insert(0, f"subject {session.subject}")
    crashed = ' <span class="warn">· broken off</span>' if session.crashed else ""
    return (
        f"<h1>{html.escape(session.rig)}{crashed}</h1>\n<p>{html.escape(' · '.join(words))}</p>\n"
        '<div class="tiles">'
        + "".join(f'<div class="tile"><b>{value}</b><span>{name}</span></div>' for value, name in tiles)
        + "</div>"
    )


def _binned(span: tuple[float, float], time_s: _Float64, values: _Float64, shares: Sequence[float]) -> list[_Float64]:
    """Middle of every interval, and a percentile of the values in it for each of ``shares`` (NaN without any)."""
    # An interval that is empty only since it is shorter than a picture takes would break the line.
    bins = min(_BINS, 1 + len(time_s) // 3)
    edges = np.linspace(*span, bins + 1)
    groups = np.clip(np.searchsorted(edges, time_s, side="right") - 1, 0, bins - 1)
    order = np.argsort(groups, kind="stable")
    starts = np.searchsorted(groups[order], np.arange(bins + 1))
    found = np.full((len(shares), bins), np.nan)
    for number, (start, stop) in enumerate(itertools.pairwise(starts)):
        piece = values[order[start:stop]]
        piece = piece[np.isfinite(piece)]
        if len(piece):
            found[:, number] = np.percentile(piece, shares)
    return [(edges[:-1] + edges[1:]) / 2, *found]


def _latency(
    session: Session, course: _Course, triggers: Sequence[TriggerEvent], span: tuple[float, float]
) -> list[str]:
    middle, median, most = _binned(span, course.time_s, course.latency_ms, (50, 99))
    pins = [item for item in triggers if item.trace.pin_ns]
    pins = pins[:: max(1, len(pins) // _TRIGGERS)]
    delays = np.array([(item.trace.pin_ns - item.trace.exposed_ns) / 1e6 for item in pins], np.float64)
    every = np.concatenate([median, most, delays])
    every = every[np.isfinite(every) & (every > 0)]
    low, high = (float(every.min()), float(every.max())) if len(every) else (1.0, 10.0)
    chart = Chart(
        span, (10 ** np.floor(np.log10(low)), 10 ** np.ceil(np.log10(high * 1.001))), "ms", log=True, height=230
    )
    chart.band(middle, median, most, _BLUE)
    chart.line(middle, median, _BLUE, "median")
    moments = np.array([_seconds(session, item.trace.pin_ns) for item in pins], np.float64)
    titles = [
        f"{item.command.device}.{item.command.line}, {delay:.1f} ms" for item, delay in zip(pins, delays, strict=True)
    ]
    chart.dots(moments, delays, _ORANGE, titles)
    key = _key(_BLUE, "picture in memory → pose, median to 99 %") + _key(_ORANGE, "exposure → pin, each stimulus")
    return ["<h2>Latency</h2>", f"<p>{key}</p>", str(chart)]


def _drops(session: Session, span: tuple[float, float]) -> list[str]:
    moments: dict[str, list[float]] = {}
    exposed = {}
    for index, exposed_ns in session.rows("SELECT idx, exposed_ns FROM frame WHERE camera = 0"):
        exposed[index] = exposed_ns
    for camera, index, reason in session.dropped():
        if not camera and index in exposed:
            moments.setdefault(f"set {reason}", []).append(_seconds(session, exposed[index]))
    for camera in session.cameras:
        for _, exposed_ns, why in session.unrecorded(camera):
            moments.setdefault(f"not recorded: {why}", []).append(_seconds(session, exposed_ns))
    if not moments:
        return ["<h2>Dropped pictures</h2>", "<p>None: every picture was processed and recorded.</p>"]
    edges = np.linspace(*span, _BINS + 1)
    counts = {reason: np.histogram(times, edges)[0].astype(np.float64) for reason, times in moments.items()}
    top = float(np.sum(list(counts.values()), axis=0).max())
    chart, base, keys = Chart(span, (0, max(top, 4) * 1.05), "pictures", height=150), np.zeros(_BINS), []
    for colour, (reason, height) in zip(itertools.cycle(_REASONS), counts.items(), strict=False):
        chart.bars(edges, height, base, colour, reason)
        keys.append(_key(colour, f"{reason}: {len(moments[reason]):,}"))
        base = base + height
    return ["<h2>Dropped pictures</h2>", f"<p>{''.join(keys)}</p>", str(chart)]


def _stimuli(session: Session, triggers: Sequence[TriggerEvent], span: tuple[float, float]) -> list[str]:
    if not triggers:
        return ["<h2>Stimuli</h2>", "<p>None was asked for.</p>"]
    lines = sorted({f"{item.command.device}.{item.command.line}" for item in triggers})
    chart = Chart(span, (-0.6, len(lines) - 0.4), "", height=50 + 34 * len(lines), rows=lines)
    fates: Counter[str] = Counter(_fate(item) for item in triggers)
    for row, line in enumerate(lines):
        for colour in (_GREY, *_OUTCOMES.values()):
            found = [i for i in triggers if f"{i.command.device}.{i.command.line}" == line and _colour(i) == colour]
            found = found[:: max(1, len(found) // _TRIGGERS)]
            moments = np.array([_seconds(session, _moment(item)) for item in found], np.float64)
            chart.ticks(moments, row, colour, [f"{_fate(item)}, frame {item.index}" for item in found])
    shown = {_fate(item): _colour(item) for item in triggers}
    keys = "".join(_key(shown[fate], f"{fate}: {count:,}") for fate, count in fates.most_common())
    return ["<h2>Stimuli</h2>", f"<p>{keys}</p>", str(chart)]


def _fate(item: TriggerEvent) -> str:
    return item.outcome.value if item.outcome is OutcomeKind.ACKNOWLEDGED else item.reason or item.outcome.value


def _colour(item: TriggerEvent) -> str:
    return _GREY if item.reason.startswith("held") else _OUTCOMES[item.outcome.value]


def _score(session: Session, course: _Course, span: tuple[float, float]) -> list[str]:
    middle, low, median = _binned(span, course.time_s, course.score, (5, 50))
    chart = Chart(span, (0, 1), "score", height=170)
    chart.band(middle, low, median, _GREEN)
    chart.line(middle, median, _GREEN, "median")
    if session.gate:
        chart.level(session.gate, _RED, f"the model's gate, {session.gate:g}")
    under = float(np.mean(~(course.score >= session.gate)))
    text = f"Mean score of a pose's keypoints, 5 % to median; under the gate in {under:.1%} of the poses."
    return ["<h2>Score</h2>", f"<p>{text}</p>", str(chart)]


def _trajectory(session: Session, course: _Course, triggers: Sequence[TriggerEvent]) -> list[str]:
    camera = session.cameras[0]
    scene, (width, height) = _scene(session, camera, course)
    path, pen = [], "M"
    for x, y in course.xy[:: max(1, len(course.xy) // _PATH)].tolist():
        if x != x:
            pen = "M"
            continue
        path.append(f"{pen}{x:.1f} {y:.1f}")
        pen = "L"
    radius = width / 150
    places = []
    for item in triggers:
        near = int(np.argmin(np.abs(course.time_s - _seconds(session, item.trace.exposed_ns))))
        x, y = course.xy[near]
        if x == x and not item.reason.startswith("held"):
            places.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="{_ORANGE}" stroke="#fff" '
                          f'stroke-width="{radius / 4:.2f}"/>')  # fmt: skip
    chart = (
        f'<svg viewBox="-0.5 -0.5 {width} {height}" style="max-width: 720px" role="img">{scene}'
        f'<path d="{"".join(path)}" fill="none" stroke="#56B4E9" stroke-width="{width / 500:.2f}" opacity="0.75"/>'
        + "".join(places[:: max(1, len(places) // _TRIGGERS)])
        + "</svg>"
    )
    key = _key("#56B4E9", "middle of the keypoints") + _key(_ORANGE, "where a stimulus was decided on")
    return [f"<h2>Where the animal was, camera {html.escape(camera)}</h2>", f"<p>{key}</p>", chart]


def _scene(session: Session, camera: str, course: _Course) -> tuple[str, tuple[int, int]]:
    """A picture as SVG, darkened a little, and its size; only the size where there is no video."""
    footage = session.footage.get(camera)
    if footage is None:
        most = np.nanmax(course.xy, axis=0, initial=1.0)
        return "", (int(most[0] * 1.1), int(most[1] * 1.1))
    size = footage.width, footage.height
    try:
        picture = None
        for picture in itertools.islice(pictures(footage, Colour.BGR), _SCENE):  # noqa: B007 - the last one is wanted
            pass
    except DataError:
        picture = None
    if picture is None:
        return "", size
    _, jpeg = cv2.imencode(".jpg", cv2.convertScaleAbs(picture, alpha=0.8), [cv2.IMWRITE_JPEG_QUALITY, 80])
    data = base64.b64encode(jpeg.tobytes()).decode()
    return f'<image x="-0.5" y="-0.5" width="{size[0]}" height="{size[1]}" href="data:image/jpeg;base64,{data}"/>', size


def _table(report: Mapping[str, Any] | None) -> list[str]:
    stages = (report or {}).get("latency_ms")
    if not stages:
        return []
    columns = ("n", "p50", "p90", "p99", "p999", "max")
    rows = [
        f"<tr><td>{html.escape(stage.replace('_', ' '))}</td>"
        + "".join(f"<td>{row[key]:,}</td>" if key == "n" else f"<td>{row[key]:.2f}</td>" for key in columns)
        + "</tr>"
        for stage, row in stages.items()
    ]
    head = "".join(f"<th>{name}</th>" for name in ("stage, ms", "n", "median", "90 %", "99 %", "99.9 %", "largest"))
    return ["<h2>All latencies</h2>", f"<table><tr>{head}</tr>{''.join(rows)}</table>"]


def _findings(findings: Sequence[Finding]) -> list[str]:
    marks = {Level.OK: "ok", Level.WARN: "note", Level.FAIL: "fault"}
    rows = [
        f'<tr><td class="{finding.level}">{marks[finding.level]}</td><td>{html.escape(finding.subject)}</td>'
        f"<td>{html.escape(finding.text)}</td></tr>"
        for finding in findings
    ]
    return ["<h2>Is it whole?</h2>", f'<table class="findings">{"".join(rows)}</table>']


def _moment(item: TriggerEvent) -> int:
    trace = item.trace
    return trace.pin_ns or trace.written_ns or trace.decided_ns or trace.exposed_ns


def _seconds(session: Session, at_ns: int) -> float:
    return (at_ns - session.started_ns) / 1e9


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{seconds:.1f} s"


def _key(colour: str, text: str) -> str:
    return f'<span class="key" style="background:{colour}"></span>{html.escape(text)}'
