"""Yoked control: the stimuli that another animal has earned, at the same times."""

from __future__ import annotations

from collections.abc import Sequence

from poseloop.live import config
from poseloop.live.errors import DataError
from poseloop.protocols.schedule import TimedStimuli
from poseloop.protocols.tables import number_in, read_table

__all__ = ["Yoked"]


class Yoked(TimedStimuli):
    """Acts at the times at which another session's protocol did, whatever this animal does.

    The times come from a CSV file with a column ``time_s``, seconds after the first pose. Of a table that ``poseloop
    replay`` has written, rows count whose ``outcome`` is ``sent`` and whose ``command`` is not ``off``.
    """

    class Settings(TimedStimuli.Settings):
        """Parameters of the protocol."""

        file: config.RigPath
        """The table of the other session."""
        protocol: str | None = None
        """Take only the rows with this name in the column ``protocol``."""

    settings: Settings

    def bind(self, keypoints: Sequence[str], cameras: Sequence[str], score_gate: float) -> None:
        """Read the table, once.

        Raises:
            DataError: it cannot be read, or holds no times.
        """
        super().bind(keypoints, cameras, score_gate)
        file, wanted = self.settings.file, self.settings.protocol
        rows = read_table(file, "time_s", *(("protocol",) if wanted else ()))
        self._read_ns = sorted(
            round(number_in(file, line, row, "time_s") * 1e9)
            for line, row in enumerate(rows, 2)
            if row.get("command") != "off"
            and row.get("outcome", "sent") == "sent"
            and wanted in (None, row.get("protocol"))
        )
        if not self._read_ns:
            raise DataError(f"{file}: expected the times of stimuli, but found none")

    def times_ns(self) -> Sequence[int]:
        """As read."""
        return self._read_ns
