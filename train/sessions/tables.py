"""A session's log as flat tables, in Parquet or CSV: for pandas, R, Julia, MATLAB, a spreadsheet.

``poses`` (a row each, points in columns such as ``top.snout.x``), ``frames``, ``dropped``, ``decisions``, ``commands``
(what protocols asked for, and what the gates did), ``inputs`` (what protocols were told), ``triggers``, ``marks``,
``events``.
Times are ns on the session's clock; ``time_s`` counts seconds since the session's start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from poseloop.live.errors import DataError
from poseloop.live.output.columns import TIMES
from poseloop.live.output.session import Session
from poseloop.train.sessions.tracks import individuals, pictures_of
from poseloop.train.trackfiles import whole

__all__ = ["to_tables"]

_ROWS = 4096
"""Rows in memory at a time; in a Parquet file those of one group."""

_Columns = Mapping[str, Any]
"""Name → values, of as many rows as are in memory at a time."""


@dataclass(frozen=True, slots=True)
class _Table:
    types: Callable[[Session], Mapping[str, str]]
    """Name of each column → Arrow's name of its type."""
    pieces: Callable[[Session], Iterator[_Columns]]


def to_tables(session: Session, folder: Path, ending: str) -> list[Path]:
    """Write all tables; returns the files.

    Args:
        session: opened.
        folder: made where it is missing.
        ending: ``parquet`` or ``csv``.

    Raises:
        DataError: pyarrow is missing, the session is damaged, or a file cannot be written.
    """
    try:
        import pyarrow
        import pyarrow.csv
        import pyarrow.parquet
    except ImportError as error:
        raise DataError("Parquet and CSV need pyarrow: pip install 'poseloop[sessions]'") from error
    open_writer = pyarrow.parquet.ParquetWriter if ending == "parquet" else pyarrow.csv.CSVWriter
    about = {"started": session.started.isoformat(), "started_ns": str(session.started_ns)}
    written = []
    for name, table in _TABLES.items():
        types = table.types(session)
        schema = pyarrow.schema([(column, pyarrow.type_for_alias(kind)) for column, kind in types.items()], about)
        written.append(folder / f"{name}.{ending}")
        with whole(written[-1]) as part, open_writer(str(part), schema) as writer:
            for columns in table.pieces(session):
                arrays = [pyarrow.array(columns[column], schema.field(column).type) for column in types]
                writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))
    return written


def _pose_types(session: Session) -> Mapping[str, str]:
    types = dict.fromkeys(("sequence", "index"), "int64") | {"time_s": "double"}
    types |= dict.fromkeys((*TIMES, "predicted_for_ns", "skew_ns", "missing"), "int64")
    types |= {f"{camera}.picture": "int64" for camera in session.cameras}
    return types | {name: "uint8" if source == "views" else "float" for name, source, _ in _points(session)}


def _pose_pieces(session: Session) -> Iterator[_Columns]:
    taken = {camera: session.frames(camera).index for camera in session.cameras}
    points = _points(session)
    for block in session.pose_columns(_ROWS):
        columns: dict[str, Any] = {name: getattr(block, name) for name in ("sequence", "index", "skew_ns", "missing")}
        columns["time_s"] = (block.time("exposed_ns") - session.started_ns) / 1e9
        columns |= {name: block.time(name) for name in TIMES} | {"predicted_for_ns": block.predicted_for_ns}
        for number, camera in enumerate(session.cameras):
            rows = pictures_of(taken[camera], block.frames[:, number])
            columns[f"{camera}.picture"] = np.ma.masked_less(rows, 0)
        for name, source, at in points:
            columns[name] = np.ascontiguousarray(getattr(block, source)[:, *at])
        yield columns


def _points(session: Session) -> list[tuple[str, str, tuple[int, ...]]]:
    """Columns of points: name, field of `Poses`, and where in it behind the row."""
    columns: list[tuple[str, str, tuple[int, ...]]] = []
    world = session.calibration is not None
    for i, animal in enumerate([f"{name}." for name in individuals(session)] or [""]):
        for k, point in enumerate(session.keypoints):
            for c, camera in enumerate(session.cameras):
                name = f"{camera}.{animal}{point}"
                columns += [(f"{name}.x", "xy", (c, i, k, 0)), (f"{name}.y", "xy", (c, i, k, 1))]
                columns.append((f"{name}.score", "camera_score", (c, i, k)))
            name = f"{animal}{point}"
            columns.append((f"{name}.score", "score", (i, k)))
            if world:
                columns += [(f"{name}.{letter}_mm", "xyz", (i, k, axis)) for axis, letter in enumerate("xyz")]
                columns += [(f"{name}.residual_px", "residual_px", (i, k)), (f"{name}.views", "views", (i, k))]
    return columns


def _asked(session: Session) -> Iterator[tuple[Any, ...]]:
    for decision in session.decisions(eventful=True):
        for asked in decision.asked:
            command = asked.command
            times = (command.on_us, command.period_us, command.count, command.delay_us)
            yield decision.number, asked.protocol, command.device, command.line, command.kind.value, *times, asked.fate


def _inputs(session: Session) -> Iterator[tuple[Any, ...]]:
    for decision in session.decisions(eventful=True):
        for event in decision.inputs:
            yield decision.number, event.board, event.line, event.value, event.at_ns, _seconds(session, event.at_ns)


def _seconds(session: Session, at_ns: int) -> float:
    return (at_ns - session.started_ns) / 1e9


def _listed(types: Mapping[str, str], rows: Callable[[Session], Iterator[tuple[Any, ...]]]) -> _Table:
    """A table of rows in the order of its columns."""

    def pieces(session: Session) -> Iterator[_Columns]:
        piece: list[tuple[Any, ...]] = []
        for row in rows(session):
            piece.append(row)
            if len(piece) == _ROWS:
                yield _transposed(types, piece)
                piece = []
        if piece:
            yield _transposed(types, piece)

    return _Table(lambda session: types, pieces)


def _queried(types: Mapping[str, str], query: str) -> _Table:
    """A table that a query gives; ``:zero`` in it is the session's start, ``:camera`` a camera's name."""

    def pieces(session: Session) -> Iterator[_Columns]:
        names = [name.replace("'", "''") for name in session.cameras]
        camera = "CASE camera " + " ".join(f"WHEN {n} THEN '{name}'" for n, name in enumerate(names)) + " END"
        text = query.replace(":zero", str(session.started_ns)).replace(":camera", camera)
        for piece in session.blocks(text, size=_ROWS):
            yield _transposed(types, piece)

    return _Table(lambda session: types, pieces)


def _transposed(types: Mapping[str, str], rows: Sequence[tuple[Any, ...]]) -> _Columns:
    columns = zip(types.items(), zip(*rows, strict=True), strict=True)
    # SQLite has no truth values of its own.
    return {name: [bool(value) for value in values] if kind == "bool" else values for (name, kind), values in columns}


_COMMAND = {"board": "string", "line": "string", "command": "string"}
_COMMAND |= dict.fromkeys(("on_us", "period_us", "count", "delay_us"), "int64")
_STEPS = (
    "triggered_ns",
    "exposed_ns",
    "published_ns",
    "received_ns",
    "decided_ns",
    "written_ns",
    "acknowledged_ns",
    "pin_ns",
)

_TABLES: Mapping[str, _Table] = {
    "poses": _Table(_pose_types, _pose_pieces),
    "frames": _queried(
        {"camera": "string"}
        | dict.fromkeys(("picture", "index", "exposed_ns", "arrived_ns", "device_ns"), "int64")
        | {"time_s": "double", "why": "string"},
        "SELECT :camera, row, idx, exposed_ns, arrived_ns, device_ns, (exposed_ns - :zero) / 1e9, why FROM frame",
    ),
    "dropped": _queried(
        {"camera": "string", "index": "int64", "reason": "string"}, "SELECT :camera, idx, reason FROM dropped"
    ),
    "decisions": _queried(
        dict.fromkeys(("number", "sequence"), "int64")
        | {"newest": "bool", "received_ns": "int64", "decided_ns": "int64", "time_s": "double"},
        "SELECT number, sequence, newest, received_ns, decided_ns, (received_ns - :zero) / 1e9 FROM decision "
        "ORDER BY number",
    ),
    "commands": _listed({"decision": "int64", "protocol": "string"} | _COMMAND | {"fate": "string"}, _asked),
    "inputs": _listed(
        {
            "decision": "int64",
            "board": "string",
            "line": "string",
            "value": "bool",
            "at_ns": "int64",
            "time_s": "double",
        },
        _inputs,
    ),
    "triggers": _queried(
        {"index": "int64"}
        | _COMMAND
        | {"outcome": "string", "reason": "string", "time_s": "double"}
        | dict.fromkeys(_STEPS, "int64"),
        "SELECT idx, device, line, kind, on_us, period_us, count, delay_us, outcome, reason, "
        f"(decided_ns - :zero) / 1e9, {', '.join(_STEPS)} FROM trigger ORDER BY decided_ns",
    ),
    "marks": _queried({"index": "int64", "why": "string"}, "SELECT idx, why FROM mark ORDER BY idx"),
    "events": _queried(
        {"at_ns": "int64", "time_s": "double", "source": "string", "kind": "string", "detail": "string"},
        "SELECT at_ns, (at_ns - :zero) / 1e9, source, kind, detail FROM event ORDER BY at_ns",
    ),
}
