"""A session's log: one SQLite file that is only ever added to (its tables are described in docs/session.md).

SQLite keeps every transaction that was committed, whatever ends the process or fills the disk, and every language
reads it. Poses are stored as the very messages of the socket (`poseloop.live.output.wire`), so there is one format.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgpack

from poseloop.live.errors import DataError

__all__ = ["FORMAT", "LOG_FILE", "SCHEMA", "LogWriter"]

FORMAT = 1
"""Raised when an older reader would misread a newer log."""

LOG_FILE = "log.sqlite"

SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE frame (
    camera INTEGER NOT NULL,        -- number in the order of the rig file
    row INTEGER,                    -- picture of the camera's video, from 0; NULL: there is none
    idx INTEGER NOT NULL,           -- trigger count
    exposed_ns INTEGER NOT NULL,
    arrived_ns INTEGER NOT NULL,
    device_ns INTEGER NOT NULL,     -- the camera's own clock, 0: it has none
    why TEXT NOT NULL               -- why there is no picture, '' where there is one
);
CREATE UNIQUE INDEX frame_row ON frame (camera, row);
CREATE TABLE dropped (
    camera INTEGER,                 -- NULL: a whole set; each of its frames has a row of its own, too
    idx INTEGER NOT NULL,
    reason TEXT NOT NULL            -- as in reports
);
CREATE TABLE pose (
    sequence INTEGER PRIMARY KEY,
    idx INTEGER NOT NULL,
    exposed_ns INTEGER NOT NULL,
    published_ns INTEGER NOT NULL,
    message BLOB NOT NULL,          -- as on the socket
    frames BLOB NOT NULL            -- msgpack: trigger count of each camera's frame that it was made of, nil: missing
);
CREATE TABLE decision (
    number INTEGER PRIMARY KEY,     -- order in which the host took poses, from 0
    sequence INTEGER NOT NULL,      -- of the pose
    newest INTEGER NOT NULL,        -- 0: an older pose, shown to the protocols that want every one
    received_ns INTEGER NOT NULL,
    decided_ns INTEGER NOT NULL,    -- 0: nobody was asked to decide
    inputs BLOB NOT NULL,           -- msgpack: [[board, line, value, at_ns], ...] that came with it
    commands BLOB NOT NULL          -- msgpack: [[protocol, device, line, kind, on_us, period_us, count, delay_us,
                                    --            fate], ...]; fate: 'sent', 'off', or 'held: ' and why
);
CREATE TABLE trigger (
    idx INTEGER NOT NULL,           -- trigger count of the frame set that caused it
    device TEXT NOT NULL,
    line TEXT NOT NULL,
    kind TEXT NOT NULL,
    on_us INTEGER NOT NULL,
    period_us INTEGER NOT NULL,
    count INTEGER NOT NULL,
    delay_us INTEGER NOT NULL,
    outcome TEXT NOT NULL,          -- acknowledged, refused, lost
    reason TEXT NOT NULL,
    exposed_ns INTEGER NOT NULL,
    published_ns INTEGER NOT NULL,
    received_ns INTEGER NOT NULL,
    decided_ns INTEGER NOT NULL,
    written_ns INTEGER NOT NULL,
    acknowledged_ns INTEGER NOT NULL,
    pin_ns INTEGER NOT NULL,        -- 0: not known
    triggered_ns INTEGER NOT NULL   -- edge that triggered the camera, where a board made it; 0: not known
);
CREATE TABLE mark (
    idx INTEGER NOT NULL,           -- trigger count of a pose that a person should look at
    why TEXT NOT NULL               -- score: a keypoint is under the model's gate; held: a command was held back for
                                    -- that; alarm: a protocol noted it
);
CREATE TABLE event (
    at_ns INTEGER NOT NULL,
    source TEXT NOT NULL,           -- engine, host, recorder, supervisor
    kind TEXT NOT NULL,             -- note, input, board, camera, notice, protocol_failed, health, silent, error,
                                    -- recording_ended
    detail TEXT NOT NULL            -- JSON
);
CREATE TABLE lost (
    source TEXT NOT NULL,           -- whose messages to the recorder are missing: engine or host
    first INTEGER NOT NULL,         -- numbers of the messages, each source counts its own from 0
    last INTEGER NOT NULL
);
"""

_COLUMNS = {
    "frame": 7,
    "dropped": 3,
    "pose": 6,
    "decision": 7,
    "trigger": 18,
    "mark": 2,
    "event": 4,
    "lost": 3,
}


class LogWriter:
    """Writes one log; for one thread."""

    def __init__(self, folder: Path, meta: Mapping[str, Any]) -> None:
        """Create the log.

        Args:
            folder: the session's.
            meta: what does not change in a session; values are stored as JSON.

        Raises:
            DataError: there is a log already, or it cannot be written.
        """
        file = folder / LOG_FILE
        if file.exists():
            raise DataError(f"{file}: expected a new session, but there is a log already; it is not overwritten")
        try:
            self._log = sqlite3.connect(file, isolation_level=None)
            # WAL: a commit is one append. NORMAL: an unplugged computer loses the last commits, never the file.
            self._log.execute("PRAGMA journal_mode = WAL")
            self._log.execute("PRAGMA synchronous = NORMAL")
            self._log.executescript(SCHEMA)
            self._log.execute("BEGIN")
            values = [("format", json.dumps(FORMAT)), *((key, json.dumps(value)) for key, value in meta.items())]
            self._log.executemany("INSERT INTO meta VALUES (?, ?)", values)
            self._log.execute("COMMIT")
        except sqlite3.Error as error:
            raise DataError(f"{file}: cannot be written: {error}") from error
        self._file = file
        self._waiting: dict[str, list[Sequence[Any]]] = {table: [] for table in _COLUMNS}

    def add(self, table: str, rows: Iterable[Sequence[Any]]) -> None:
        """Keep rows of ``table`` (in the order of its columns) for the next `commit`."""
        self._waiting[table].extend(rows)

    def commit(self) -> None:
        """Write what was added; afterwards a crash cannot take it.

        Raises:
            DataError: the disk is full or gone; what was added waits for the next try.
        """
        if not any(self._waiting.values()):
            return
        try:
            self._log.execute("BEGIN")
            for table, rows in self._waiting.items():
                if rows:
                    marks = ", ".join("?" * _COLUMNS[table])
                    self._log.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)
            self._log.execute("COMMIT")
        except sqlite3.Error as error:
            if self._log.in_transaction:
                self._log.execute("ROLLBACK")
            raise DataError(f"{self._file}: cannot be written: {error}") from error
        for rows in self._waiting.values():
            rows.clear()

    def close(self) -> None:
        """Commit and close; idempotent.

        Raises:
            DataError: the last rows could not be written.
        """
        try:
            self.commit()
        finally:
            self._log.close()


def packed(rows: Sequence[Sequence[Any]]) -> bytes:
    """A list of plain values as the log's BLOB columns hold it."""
    data: bytes = msgpack.packb(list(rows))
    return data
