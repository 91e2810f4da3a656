"""A session's folder, opened to be read; docs/session.md describes it.

It opens what a crash has left, too: a log with its last commits beside it, no report, videos without an end. Nothing
is changed by reading, and nothing is read as a whole: an hour streams through a few megabytes.
"""

from __future__ import annotations

import datetime
import json
import sqlite3
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import msgpack
import numpy as np

from poseloop.live.errors import DataError
from poseloop.live.output import wire
from poseloop.live.output.columns import Poses, frame_counts, pose_columns
from poseloop.live.output.log import FORMAT, LOG_FILE
from poseloop.live.output.recorded import Asked, Decision, Event, Footage, Frames, PartFile
from poseloop.live.types import Colour, Command, CommandKind, InputEvent, OutcomeKind, Pose, Trace, TriggerEvent

__all__ = [
    "REPORT_FILE",
    "SESSION_FILE",
    "Asked",
    "Decision",
    "Event",
    "Footage",
    "Frames",
    "PartFile",
    "Session",
    "is_session",
]

SESSION_FILE = "session.toml"
REPORT_FILE = "report.json"

_BLOCK = 1024
"""Rows that are in memory at a time."""


def is_session(path: Path) -> bool:
    """Does a folder look like a session's?"""
    return path.is_dir() and ((path / SESSION_FILE).exists() or (path / LOG_FILE).exists())


class Session:
    """One recorded run.

    ::

        with Session.open("sessions/2026-05-04_0930") as session:
            for pose in session.poses():
                print(pose.index, pose.keypoints.xy[0, 0])

    All times are those of the session's clock; `wall_clock` gives the date that belongs to one. For one thread.
    """

    def __init__(self, folder: Path, head: Mapping[str, Any], log: sqlite3.Connection) -> None:
        """Keep what `open` found.

        Raises:
            DataError: ``session.toml`` or the log's ``meta`` lacks something.
        """
        self.folder = folder
        self._log = log
        file = folder / SESSION_FILE
        self.rig: str = _entry(file, head, "rig", str)
        self.subject: str = head.get("subject", "")
        """Whose session it is; empty = not told."""
        self.started_ns: int = _entry(file, head, "started_ns", int)
        """The moment `started`, on the clock of all other times."""
        try:
            self.started = datetime.datetime.fromisoformat(_entry(file, head, "started", str))
            """Wall-clock time, with its zone."""
        except ValueError as error:
            raise DataError(f"{file}: started: expected a date and time (ISO 8601): {error}") from error
        self.versions: Mapping[str, str] = head.get("versions", {})
        self.machine: Mapping[str, Any] = head.get("machine", {})
        self.models = {
            name: PartFile(folder / _entry(file, table, "file", str), str(table.get("name", name)), table["sha256"])
            for name, table in _entry(file, head, "models", dict).items()
        }
        """Networks, by their name in the rig file (``model``, or that of a table of ``[models]``)."""
        table = head.get("calibration")
        self.calibration = table and PartFile(folder / table["file"], "calibration", table["sha256"])
        """None on a 2D rig."""
        meta = self._meta()
        self.cameras: tuple[str, ...] = tuple(meta["cameras"])
        """In rig order."""
        self.keypoints: tuple[str, ...] = tuple(meta["keypoints"])
        self.skeleton: tuple[tuple[str, str], ...] = tuple((a, b) for a, b in meta.get("skeleton", ()))
        self.gate = float(meta.get("gate", 0.0))
        """Scores under it should not be trusted, says the model."""
        self.individuals = int(meta.get("individuals", 1))
        self.protocols: tuple[str, ...] = tuple(meta.get("protocols", ()))
        tables = _entry(file, head, "cameras", dict)
        self.footage = {
            camera: _footage(file, folder, camera, tables[camera]) for camera in self.cameras if camera in tables
        }
        """Camera → its video; a camera that is not recorded has none."""
        self.report: Mapping[str, Any] | None = _report(folder / REPORT_FILE)
        """What the run amounted to; None after a crash."""

    @classmethod
    def open(cls, folder: str | Path) -> Session:
        """Open a session.

        Raises:
            DataError: there is none, a newer Poseloop wrote it, or it is damaged.
        """
        folder = Path(folder)
        head = _head(folder)
        log = _connect(folder / LOG_FILE)
        try:
            return cls(folder, head, log)
        except BaseException:
            log.close()
            raise

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the log; idempotent."""
        self._log.close()

    @property
    def crashed(self) -> bool:
        """True = it was not ended properly (or is still being recorded)."""
        return self.report is None

    def wall_clock(self, at_ns: int) -> datetime.datetime:
        """The date and time that belongs to a time of the session."""
        return self.started + datetime.timedelta(microseconds=(at_ns - self.started_ns) / 1000)

    def count(self, table: str) -> int:
        """Rows of one of the log's tables."""
        return int(next(self.rows(f"SELECT count(*) FROM {table}"))[0])

    def frames(self, camera: str) -> Frames:
        """Times and trigger counts of a camera's pictures."""
        number = (self.cameras.index(camera),)
        last = next(self.rows("SELECT max(row) FROM frame WHERE camera = ?", number))[0]
        table = np.zeros((4, 0 if last is None else last + 1), np.int64)
        table[0] = -1
        query = "SELECT row, idx, exposed_ns, arrived_ns, device_ns FROM frame WHERE camera = ? AND row IS NOT NULL"
        for block in self.blocks(query, number):
            values = np.array(block, np.int64)
            table[:, values[:, 0]] = values[:, 1:].T
        return Frames(*table)

    def unrecorded(self, camera: str) -> Iterator[tuple[int, int, str]]:
        """Pictures that were taken but are not in the video: trigger count, mid-exposure (ns), why."""
        query = "SELECT idx, exposed_ns, why FROM frame WHERE camera = ? AND row IS NULL ORDER BY idx"
        return self.rows(query, (self.cameras.index(camera),))

    def dropped(self) -> Iterator[tuple[str, int, str]]:
        """Pictures and sets that the loop dropped: camera ("" = a whole set), trigger count, reason."""
        for camera, index, reason in self.rows("SELECT camera, idx, reason FROM dropped ORDER BY idx"):
            yield "" if camera is None else self.cameras[camera], index, reason

    def lost(self) -> Iterator[tuple[str, int, int]]:
        """Messages that the recorder never got: whose (``engine`` or ``host``), the first, the last."""
        return self.rows("SELECT source, first, last FROM lost")

    def poses(self) -> Iterator[Pose]:
        """Every pose, as a subscriber got it."""
        for sequence, message in self.rows("SELECT sequence, message FROM pose ORDER BY sequence"):
            yield self._pose(sequence, message)

    def pose_columns(self, block: int = _BLOCK) -> Iterator[Poses]:
        """Every pose, as columns of at most ``block`` rows."""
        shape = (len(self.cameras), self.individuals, len(self.keypoints))
        for rows in self.blocks("SELECT sequence, message, frames FROM pose ORDER BY sequence", size=block):
            try:
                yield pose_columns([row[1] for row in rows], [row[2] for row in rows], shape)
            except DataError as error:
                first, last = rows[0][0], rows[-1][0]
                raise DataError(f"{self._file}: table pose, sequence {first} to {last}: {error}") from error

    def decisions(self, eventful: bool = False) -> Iterator[Decision]:
        """Every decision, in the host's order; ``eventful``: only those with an input or a command."""
        # x'90' is an empty list.
        where = "WHERE inputs <> x'90' OR commands <> x'90' " if eventful else ""
        for row in self.rows(f"SELECT * FROM decision {where}ORDER BY number"):
            yield self._decision(*row)

    def decided(self) -> Iterator[tuple[Decision, Pose | None]]:
        """Every decision with exactly the pose that protocols were given; None = the log has lost it."""
        query = "SELECT decision.*, message FROM decision LEFT JOIN pose USING (sequence) ORDER BY number"
        for *row, message in self.rows(query):
            decision = self._decision(*row)
            yield decision, message and self._pose(decision.sequence, message, decision.received_ns)

    def history(self) -> Iterator[tuple[Pose, tuple[int | None, ...], int]]:
        """Every pose, the trigger counts of its cameras' frames (None = missing), and when the host took it.

        The time is that of the decision on it as the newest pose; 0 = the host passed it over.
        """
        query = (
            "SELECT pose.sequence, message, frames, coalesce(received_ns, 0) FROM pose LEFT JOIN decision "
            "ON decision.sequence = pose.sequence AND newest ORDER BY pose.sequence"
        )
        for sequence, message, frames, received_ns in self.rows(query):
            indices = frame_counts([frames], len(self.cameras))[0].tolist()
            made_of = tuple(None if index < 0 else index for index in indices)
            yield self._pose(sequence, message, received_ns), made_of, received_ns

    def triggers(self) -> Iterator[TriggerEvent]:
        """Every command that was sent to a board, or held by a gate; of its times those that the log has."""
        for row in self.rows("SELECT * FROM trigger ORDER BY decided_ns, rowid"):
            index, device, line, kind, on_us, period_us, count, delay_us, outcome, reason, *times = row
            command = Command(device, line, CommandKind(kind), on_us, period_us, count, delay_us)
            names = (
                "exposed_ns", "published_ns", "received_ns", "decided_ns", "written_ns", "acknowledged_ns", "pin_ns",
                "triggered_ns",
            )  # fmt: skip
            yield TriggerEvent(
                command, index, OutcomeKind(outcome), reason, Trace(**dict(zip(names, times, strict=True)))
            )

    def events(self, kind: str | None = None) -> Iterator[Event]:
        """Everything else that happened, in order of time; ``kind``: only those."""
        where, values = ("", ()) if kind is None else (" WHERE kind = ?", (kind,))
        for at_ns, source, what, detail in self.rows(f"SELECT * FROM event{where} ORDER BY at_ns, rowid", values):
            try:
                yield Event(at_ns, source, what, json.loads(detail))
            except ValueError as error:
                raise DataError(f"{self._file}: table event, {what} at {at_ns}: no JSON: {error}") from error

    def marks(self) -> Iterator[tuple[int, str]]:
        """Poses that were marked for a person's look: trigger count, why (`poseloop.live.output.marks`)."""
        return self.rows("SELECT idx, why FROM mark ORDER BY idx")

    def rows(self, query: str, values: tuple[Any, ...] = ()) -> Iterator[Any]:
        """Stream a query of the log, row by row.

        Raises:
            DataError: the log is damaged.
        """
        for block in self.blocks(query, values):
            yield from block

    def blocks(self, query: str, values: tuple[Any, ...] = (), size: int = _BLOCK) -> Iterator[list[Any]]:
        """The same, in lists of at most ``size`` rows."""
        try:
            cursor = self._log.execute(query, values)
            while block := cursor.fetchmany(size):
                yield block
        except sqlite3.DatabaseError as error:
            raise DataError(f"{self._file}: is damaged: {error}") from error

    @property
    def _file(self) -> Path:
        return self.folder / LOG_FILE

    def _meta(self) -> dict[str, Any]:
        # A newer log may have other tables, but it has to tell its format first.
        meta = {key: json.loads(value) for key, value in self.rows("SELECT key, value FROM meta")}
        if not meta:
            raise DataError(f"{self._file}: is empty: the session ended before it began")
        _check_format(self._file, meta.get("format"))
        for key in ("cameras", "keypoints"):
            if key not in meta:
                raise DataError(f"{self._file}: table meta: expected a row {key!r}, but there is none")
        return meta

    def _pose(self, sequence: int, message: bytes, received_ns: int = 0) -> Pose:
        try:
            return wire.unpack_pose(message, received_ns)
        except DataError as error:
            raise DataError(f"{self._file}: table pose, sequence {sequence}: {error}") from error

    def _decision(
        self, number: int, sequence: int, newest: int, received: int, decided: int, inputs: bytes, commands: bytes
    ) -> Decision:
        try:
            events = tuple(InputEvent(*values) for values in msgpack.unpackb(inputs))
            asked = tuple(
                Asked(protocol, Command(device, line, CommandKind(kind), *times), fate)
                for protocol, device, line, kind, *times, fate in msgpack.unpackb(commands)
            )
        except (ValueError, TypeError, msgpack.UnpackException) as error:
            raise DataError(f"{self._file}: table decision, number {number}: cannot be unpacked: {error}") from error
        return Decision(number, sequence, bool(newest), received, decided, events, asked)


def _head(folder: Path) -> Mapping[str, Any]:
    file = folder / SESSION_FILE
    if not is_session(folder):
        raise DataError(f"{folder}: expected a session's folder (with {SESSION_FILE} and {LOG_FILE}), but it is none")
    for part in (file, folder / LOG_FILE):
        if not part.exists():
            raise DataError(f"{part}: is missing: a session has {SESSION_FILE} and {LOG_FILE}")
    try:
        head = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: is damaged: {error}") from error
    _check_format(file, head.get("format"))
    return head


def _check_format(file: Path, found: object) -> None:
    if found != FORMAT:
        advice = "; a newer Poseloop wrote it: update" if isinstance(found, int) and found > FORMAT else ""
        raise DataError(f"{file}: expected format {FORMAT}, but found {found!r}{advice}")


def _connect(file: Path) -> sqlite3.Connection:
    """Open a log for reading; the commits beside it (-wal) belong to it."""
    address = f"{file.absolute().as_uri()}?mode=ro"
    try:
        return _tried(sqlite3.connect(address, uri=True))
    except sqlite3.OperationalError as error:
        # To see the commits beside the log, SQLite makes a small file there. Without any it needs none.
        beside = file.with_name(f"{file.name}-wal")
        if beside.exists() and beside.stat().st_size:
            raise DataError(
                f"{file}: cannot be opened: {error}. After a crash its last rows lie in {beside.name}: copy the folder "
                f"to where you may write, and open the copy"
            ) from error
        try:
            return _tried(sqlite3.connect(f"{address}&immutable=1", uri=True))
        except sqlite3.DatabaseError as second:
            raise DataError(f"{file}: cannot be opened: {second}") from second
    except sqlite3.DatabaseError as error:
        raise DataError(f"{file}: expected a session's log, but it is none, or damaged: {error}") from error


def _tried(log: sqlite3.Connection) -> sqlite3.Connection:
    try:
        log.execute("SELECT count(*) FROM meta").fetchone()
    except sqlite3.DatabaseError:
        log.close()
        raise
    return log


def _entry(file: Path, table: Mapping[str, Any], key: str, kind: type) -> Any:
    value = table.get(key)
    if not isinstance(value, kind):
        raise DataError(f"{file}: {key}: expected {kind.__name__}, but found {value!r}")
    return value


def _footage(file: Path, folder: Path, camera: str, table: Mapping[str, Any]) -> Footage:
    try:
        return Footage(
            camera,
            folder / table["file"],
            str(table["codec"]),
            bool(table["lossless"]),
            int(table["width"]),
            int(table["height"]),
            Colour(table["colour"]),
            float(table["fps"]),
        )
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(f"{file}: cameras.{camera}: expected a video's table, but: {error!r}") from error


def _report(file: Path) -> Mapping[str, Any] | None:
    if not file.exists():
        return None
    try:
        found: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: expected a run's report (JSON), but it cannot be read: {error}") from error
    return found
