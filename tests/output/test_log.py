"""The log keeps what was committed, and waits with the rest."""

import sqlite3
from pathlib import Path

import pytest

from poseloop.live.errors import DataError
from poseloop.live.output.log import LOG_FILE, LogWriter


def rows(folder: Path, table: str) -> list[tuple]:
    log = sqlite3.connect(folder / LOG_FILE)
    try:
        return log.execute(f"SELECT * FROM {table}").fetchall()
    finally:
        log.close()


def test_rows_are_there_once_they_are_committed_and_not_before(tmp_path: Path) -> None:
    log = LogWriter(tmp_path, {"cameras": ["top"]})
    log.add("dropped", [(None, 3, "superseded"), (0, 3, "superseded")])
    assert rows(tmp_path, "dropped") == []
    log.commit()
    assert rows(tmp_path, "dropped") == [(None, 3, "superseded"), (0, 3, "superseded")]
    log.add("lost", [("host", 4, 5)])
    log.close()
    assert rows(tmp_path, "lost") == [("host", 4, 5)]
    assert ("cameras", '["top"]') in rows(tmp_path, "meta")


def test_an_existing_log_is_not_overwritten(tmp_path: Path) -> None:
    LogWriter(tmp_path, {}).close()
    with pytest.raises(DataError, match="not overwritten"):
        LogWriter(tmp_path, {})


def test_what_could_not_be_written_is_an_error_and_is_tried_again(tmp_path: Path) -> None:
    log = LogWriter(tmp_path, {})
    log._log.execute("PRAGMA busy_timeout = 10")
    other = sqlite3.connect(tmp_path / LOG_FILE, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    log.add("lost", [("host", 0, 1)])
    with pytest.raises(DataError, match="cannot be written: database is locked"):
        log.commit()
    other.execute("ROLLBACK")
    other.close()
    log.close()
    assert rows(tmp_path, "lost") == [("host", 0, 1)]
