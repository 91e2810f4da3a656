"""Yoked control: the stimuli that another animal has earned, at the same times."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import msgpack

from poseloop.live import config
from poseloop.live.errors import DataError
from poseloop.live.output.log import LOG_FILE
from poseloop.protocols.schedule import TimedStimuli
from poseloop.protocols.tables import number_in, read_table

__all__ = ["Yoked"]


class Yoked(TimedStimuli):
    """Acts at the times at which another session's protocol did, whatever this animal does.

    The times come from a session's folder, where those stimuli count that its board has acknowledged; or from a CSV
    file with a column ``time_s``, seconds after the first pose. Of a table that ``poseloop replay`` has written, rows
    count whose ``outcome`` is ``sent`` and whose ``command`` is not ``off``. All times are those of the poses.
    """

    class Settings(TimedStimuli.Settings):
        """Parameters of the protocol."""

        file: config.RigPath
        """The folder of the other session, or a table."""
        protocol: str | None = None
        """Take only what the protocol of this name did; in a table, its column ``protocol``."""

    settings: Settings

    def bind(self, keypoints: Sequence[str], cameras: Sequence[str], score_gate: float) -> None:
        """Read the times, once.

        Raises:
            DataError: they cannot be read, or there are none.
        """
        super().bind(keypoints, cameras, score_gate)
        file, wanted = self.settings.file, self.settings.protocol
        self._read_ns = sorted(_from_session(file, wanted) if file.is_dir() else _from_table(file, wanted))
        if not self._read_ns:
            raise DataError(f"{file}: expected the times of stimuli, but found none")

    def times_ns(self) -> Sequence[int]:
        """As read."""
        return self._read_ns


def _from_table(file: Path, wanted: str | None) -> Sequence[int]:
    rows = read_table(file, "time_s", *(("protocol",) if wanted else ()))
    return [
        round(number_in(file, line, row, "time_s") * 1e9)
        for line, row in enumerate(rows, 2)
        if row.get("command") != "off"
        and row.get("outcome", "sent") == "sent"
        and wanted in (None, row.get("protocol"))
    ]


_FIRST = "SELECT MIN(pose.exposed_ns) FROM decision JOIN pose USING (sequence)"
"""The first pose that protocols were shown, from which their times count."""

_GIVEN = "SELECT exposed_ns, device, line FROM trigger WHERE outcome = 'acknowledged' AND kind != 'off'"


def _from_session(folder: Path, wanted: str | None) -> Sequence[int]:
    log = folder / LOG_FILE
    if not log.is_file():
        raise DataError(f"{folder}: expected a session's folder, but it has no {LOG_FILE}")
    try:
        source = sqlite3.connect(f"{log.resolve().as_uri()}?mode=ro", uri=True)
        try:
            ((first_ns,),) = source.execute(_FIRST)
            given = list(source.execute(_GIVEN))
            # Every line belongs to one protocol.
            asked = source.execute("SELECT commands FROM decision") if wanted else ()
            lines = {(row[1], row[2]) for (packed,) in asked for row in msgpack.unpackb(packed) if row[0] == wanted}
        finally:
            source.close()
    except sqlite3.Error as error:
        raise DataError(f"{log}: cannot be read: {error}") from error
    return [at_ns - first_ns for at_ns, *line in given if not wanted or tuple(line) in lines]
