"""Yoked control: the stimuli that another animal has earned, at the same times."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from poseloop.live import config
from poseloop.live.errors import DataError
from poseloop.live.output.session import Session
from poseloop.live.types import CommandKind, OutcomeKind
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


_FIRST = "SELECT min(pose.exposed_ns) FROM decision JOIN pose USING (sequence)"
"""The first pose that protocols were shown, from which their times count."""


def _from_session(folder: Path, wanted: str | None) -> Sequence[int]:
    with Session.open(folder) as session:
        ((first_ns,),) = session.rows(_FIRST)
        given = [
            trigger
            for trigger in session.triggers()
            if trigger.outcome is OutcomeKind.ACKNOWLEDGED and trigger.command.kind is not CommandKind.OFF
        ]
        # Every line belongs to one protocol.
        asked = [asked for decision in session.decisions(eventful=True) for asked in decision.asked]
    lines = {(one.command.device, one.command.line) for one in asked if wanted in (None, one.protocol)}
    return [
        trigger.trace.exposed_ns - first_ns
        for trigger in given
        if (trigger.command.device, trigger.command.line) in lines
    ]
