"""Recorded runs for tests, and what must hold of what they leave."""

import sqlite3
from dataclasses import dataclass
from pathlib import Path

import av
from rigs import ALWAYS_INSIDE, SIMULATED, write_rig

RECORDED = SIMULATED.replace("[publish]", '[record]\nsubject = "m1"\n{settings}\n[publish]')


def recorded_rig(folder: Path, settings: str = "", text: str = RECORDED) -> Path:
    return write_rig(folder, ALWAYS_INSIDE, text.format(settings=settings))


@dataclass
class Session:
    """What lies in a session's folder."""

    folder: Path

    @staticmethod
    def only(folder: Path) -> "Session":
        (session,) = (folder / "sessions").iterdir()
        return Session(session)

    def rows(self, query: str) -> list[tuple]:
        # Read only: connecting would create a log that is not there yet.
        log = sqlite3.connect(f"{(self.folder / 'log.sqlite').as_uri()}?mode=ro", uri=True)
        try:
            return log.execute(query).fetchall()
        finally:
            log.close()

    def pictures(self, camera: str = "top") -> list[int]:
        """Times in the video, ms."""
        try:
            with av.open(str(self.folder / f"{camera}.mkv")) as video:
                return [frame.pts for frame in video.decode(video=0)]
        except av.EOFError:
            # Killed before the first cluster was written.
            return []

    def check(self) -> None:
        """Picture i is row i."""
        rows = self.rows("SELECT row, exposed_ns FROM frame WHERE row IS NOT NULL ORDER BY row")
        times = self.pictures()
        assert [row for row, _ in rows] == list(range(len(rows)))
        # Each is cut off by a crash where it is.
        for at_ms, (_, exposed_ns) in zip(times, rows, strict=False):
            assert abs(at_ms - (exposed_ns - rows[0][1]) / 1e6) <= 2
        assert not self.rows("SELECT * FROM lost")
