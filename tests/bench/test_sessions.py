from pathlib import Path

from poseloop.bench import sessions
from poseloop.live.output.session import Session


def test_everything_that_is_measured_is_done(tmp_path: Path) -> None:
    folder = tmp_path / "session"
    sessions.make(folder, 300, 100.0, 3)
    with Session.open(folder) as session:
        assert [len(block) for block in session.pose_columns(200)] == [200, 100]
        assert session.count("decision") == 300
    for name in ("read", "poses", "check", "export csv"):
        sessions.WORK[name](folder)
    assert len((tmp_path / "out_csv" / "poses.csv").read_text().splitlines()) == 301
