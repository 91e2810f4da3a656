"""A recorded run as a user has it: the folder, whole after an end and usable after any crash."""

import json
import sqlite3
import tomllib
from dataclasses import dataclass
from pathlib import Path

import av
from rigs import ALWAYS_INSIDE, SIMULATED, poseloop, write_rig

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
        log = sqlite3.connect(self.folder / "log.sqlite")
        try:
            return log.execute(query).fetchall()
        finally:
            log.close()

    def pictures(self, camera: str = "top") -> list[int]:
        """Times in the video, ms."""
        with av.open(str(self.folder / f"{camera}.mkv")) as video:
            return [frame.pts for frame in video.decode(video=0)]

    def check(self) -> None:
        """Picture i is row i."""
        rows = self.rows("SELECT row, exposed_ns FROM frame WHERE row IS NOT NULL ORDER BY row")
        times = self.pictures()
        assert [row for row, _ in rows] == list(range(len(rows)))
        # Each is cut off by a crash where it is.
        for at_ms, (_, exposed_ns) in zip(times, rows, strict=False):
            assert abs(at_ms - (exposed_ns - rows[0][1]) / 1e6) <= 2
        assert not self.rows("SELECT * FROM lost")


def test_a_run_leaves_a_session_in_which_every_frame_has_its_row(tmp_path: Path) -> None:
    done = poseloop("run", recorded_rig(tmp_path), "--seconds", 2, "--report", "r.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    session = Session.only(tmp_path)
    session.check()
    report = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert report == json.loads((session.folder / "report.json").read_text(encoding="utf-8"))
    captured = report["frames"]["captured"]
    assert report["record"]["cameras"] == {"top": {"recorded": captured, "missed": {}}}
    assert len(session.pictures()) == captured == session.rows("SELECT count(*) FROM frame")[0][0]
    assert str(session.folder) in done.stderr
    assert f"{captured} frames recorded, 0 lost" in done.stdout
    assert session.rows("SELECT count(*) FROM pose") == [(report["poses"]["published"],)]
    assert session.rows("SELECT count(*) FROM decision WHERE newest") == [(report["poses"]["decided"],)]
    sent = report["triggers"]["sent"]
    assert session.rows("SELECT count(*) FROM trigger WHERE reason NOT LIKE 'held%'") == [(sent,)]
    dropped = dict(session.rows("SELECT reason, count(*) FROM dropped WHERE camera IS NULL GROUP BY reason"))
    assert dropped == report["frames"]["dropped"]
    head = tomllib.loads((session.folder / "session.toml").read_text(encoding="utf-8"))
    assert head["cameras"]["top"]["codec"] == "h264"
    assert head["subject"] == "m1"
    assert session.folder.name.endswith("_m1")
    assert (session.folder / "always.py").is_file()
    assert (session.folder / "rig.toml").read_bytes() == (tmp_path / "rig.toml").read_bytes()
