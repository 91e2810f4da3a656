import datetime
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
import synthetic
from synthetic import Plan, exposed_ns, make_session, truth

from poseloop.live.errors import DataError
from poseloop.live.output import footage
from poseloop.live.output.log import LogWriter, packed
from poseloop.live.output.session import Asked, Session
from poseloop.live.types import Command, CommandKind, InputEvent, OutcomeKind


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    plan = Plan(missed=(5,), unrecorded=(20, 21), unprocessed=(30,))
    return make_session(tmp_path_factory.mktemp("session") / "small", plan)


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def test_every_row_belongs_to_its_picture(folder: Path) -> None:
    with Session.open(folder) as session:
        frames = session.frames("top")
        wanted = [index for index in range(100) if index not in (5, 20, 21)]
        assert list(frames.index) == wanted
        assert list(frames.exposed_ns) == [exposed_ns(Plan(), index) for index in wanted]
        painted = [synthetic.number_of(image) for image in footage.pictures(session.footage["top"])]
        assert painted == wanted
        assert [index for index, _, why in session.unrecorded("top") if why == "recorder_overrun"] == [20, 21]
        assert list(session.dropped()) == [("", 30, "stale"), ("top", 30, "stale")]


def test_poses_come_back_one_by_one_and_as_columns(folder: Path) -> None:
    with Session.open(folder) as session:
        poses = list(session.poses())
        blocks = list(session.pose_columns(30))
    assert [len(block) for block in blocks] == [30, 30, 30, 8]
    for name in ("index", "sequence", "missing", "skew_ns"):
        assert [value for block in blocks for value in getattr(block, name)] == [getattr(p, name) for p in poses]
    np.testing.assert_array_equal(np.concatenate([block.xy for block in blocks]), [p.keypoints.xy for p in poses])
    np.testing.assert_array_equal(np.concatenate([block.score for block in blocks]), [p.score for p in poses])
    np.testing.assert_array_equal(np.concatenate([block.predicted for block in blocks]), [p.predicted for p in poses])
    assert [list(row) for block in blocks for row in block.frames] == [[pose.index] for pose in poses]
    published = np.concatenate([block.time("published_ns") for block in blocks])
    assert list(published) == [pose.trace.published_ns for pose in poses]
    hidden = [9, 19, 29, 39, 49, 59, 69, 79, 89, 99]
    assert [pose.index for pose in poses if np.isnan(pose.keypoints.xy).any()] == hidden
    np.testing.assert_array_equal(poses[0].keypoints.xy[0, 0], truth(Plan(), 0))


def test_predictions_that_are_there_now_and_then_stay_at_their_poses(tmp_path: Path) -> None:
    from dataclasses import replace

    from poseloop.live.output.columns import pose_columns
    from poseloop.live.output.wire import Wire

    pose = synthetic.pose_at(Plan(), 0, 0)
    ahead = replace(pose, predicted=pose.predicted + 3, predicted_for_ns=9)
    columns = pose_columns([Wire().pose(item) for item in (pose, ahead, pose)], [packed([0])] * 3, (1, 1, 2))
    np.testing.assert_array_equal(columns.predicted[:, 0, 0, 0, 0] - columns.xy[:, 0, 0, 0, 0], [0, 3, 0])
    assert list(columns.predicted_for_ns) == [0, 9, 0]


def test_decisions_triggers_and_events_come_back(copy: Path) -> None:
    log = sqlite3.connect(copy / "log.sqlite")
    inputs = packed([["box", "lick", True, 77]])
    commands = packed([["corner", "box", "laser", "pulse", 5000, 0, 0, 100, "sent"]])
    log.execute("INSERT INTO decision VALUES (0, 3, 1, 50, 60, ?, ?)", (inputs, commands))
    log.execute("INSERT INTO decision VALUES (1, 1000, 0, 51, 61, ?, ?)", (packed([]), packed([])))
    values = (4, "box", "laser", "pulse", 5000, 0, 0, 100, "acknowledged", "", 1, 2, 3, 4, 5, 6, 7, 8)
    log.execute(f"INSERT INTO trigger VALUES ({', '.join('?' * 18)})", values)
    log.execute("INSERT INTO event VALUES (5, 'host', 'note', '{\"name\": \"entry\"}')")
    log.commit()
    log.close()
    with Session.open(copy) as session:
        (first, pose), (second, absent) = session.decided()
        command = Command("box", "laser", CommandKind.PULSE, 5000, delay_us=100)
        assert first.inputs == (InputEvent("box", "lick", True, 77),)
        assert first.asked == (Asked("corner", command, "sent"),)
        assert pose is not None
        assert (pose.sequence, pose.trace.received_ns) == (3, 50)
        assert (second.newest, absent) == (False, None)
        assert list(session.decisions()) == [first, second]
        (trigger,) = session.triggers()
        assert (trigger.command, trigger.index, trigger.outcome) == (command, 4, OutcomeKind.ACKNOWLEDGED)
        trace = trigger.trace
        assert (trace.exposed_ns, trace.written_ns, trace.pin_ns, trace.triggered_ns) == (1, 5, 7, 8)
        assert [event.values for event in session.events("note")] == [{"name": "entry"}]
        assert [event.kind for event in session.events()] == ["note", "notice"]


def test_times_have_dates(folder: Path) -> None:
    with Session.open(folder) as session:
        later = session.wall_clock(synthetic.STARTED_NS + 1_500_000_000)
        assert later - session.started == datetime.timedelta(seconds=1.5)
        assert later.utcoffset() == datetime.timedelta(hours=2)


def test_what_a_crash_left_is_read_up_to_the_last_commit(tmp_path: Path) -> None:
    folder = make_session(tmp_path / "whole", Plan(frames=50, ended=False))
    left = tmp_path / "left"
    (folder / "log.sqlite").unlink()
    log = LogWriter(folder, {"cameras": ["top"], "keypoints": ["snout", "tail"]})
    log.add("frame", [(0, row, row, row, row, 0, "") for row in range(7)])
    log.commit()
    log.add("frame", [(0, 7, 7, 7, 7, 0, "")])
    # As the disk is at this moment, the log still open; the video is cut in the middle of a picture.
    shutil.copytree(folder, left)
    log.close()
    video = left / "top.mkv"
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    assert (left / "log.sqlite-wal").stat().st_size > 0
    with Session.open(left) as session:
        assert session.crashed
        assert len(session.frames("top").index) == 7
        painted = [synthetic.number_of(image) for image in footage.pictures(session.footage["top"])]
    assert 10 < len(painted) < 40
    assert painted == list(range(len(painted)))


def test_rows_that_are_missing_leave_a_gap(copy: Path) -> None:
    log = sqlite3.connect(copy / "log.sqlite")
    log.execute("DELETE FROM frame WHERE row IN (3, 4)")
    log.commit()
    log.close()
    with Session.open(copy) as session:
        assert list(session.frames("top").index[:7]) == [0, 1, 2, -1, -1, 6, 7]


def test_a_folder_that_is_no_session_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected a session's folder .*but it is none"):
        Session.open(tmp_path)
    with pytest.raises(DataError, match="but it is none"):
        Session.open(tmp_path / "absent")


def test_a_part_that_is_missing_is_named(copy: Path) -> None:
    (copy / "log.sqlite").unlink()
    with pytest.raises(DataError, match=r"log\.sqlite: is missing"):
        Session.open(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("format = 1", "format = 2"), r"session\.toml: expected format 1, but found 2; a newer Poseloop"),
        (("format = 1", "format = "), r"session\.toml: is damaged"),
        (("started_ns", "begun_ns"), r"session\.toml: started_ns: expected int, but found None"),
        (("2026-05-04", "yesterday"), r"session\.toml: started: expected a date"),
        (('colour = "grey"', 'colour = "pink"'), r"cameras\.top: expected a video's table.*pink"),
    ],
)
def test_a_head_that_cannot_be_used_is_explained(copy: Path, change: tuple[str, str], message: str) -> None:
    file = copy / "session.toml"
    file.write_text(file.read_text().replace(*change))
    with pytest.raises(DataError, match=message):
        Session.open(copy)


def test_a_newer_log_is_refused(copy: Path) -> None:
    log = sqlite3.connect(copy / "log.sqlite")
    log.execute("UPDATE meta SET value = '2' WHERE key = 'format'")
    log.commit()
    log.close()
    with pytest.raises(DataError, match=r"log\.sqlite: expected format 1, but found 2; a newer Poseloop"):
        Session.open(copy)


def test_a_log_without_a_beginning_is_refused(copy: Path) -> None:
    log = sqlite3.connect(copy / "log.sqlite")
    log.execute("DELETE FROM meta")
    log.commit()
    log.close()
    with pytest.raises(DataError, match="ended before it began"):
        Session.open(copy)


def test_a_damaged_log_is_refused(copy: Path) -> None:
    file = copy / "log.sqlite"
    content = bytearray(file.read_bytes())
    content[:100] = bytes(100)
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"log\.sqlite: (expected a session's log|cannot be opened)"):
        Session.open(copy)


def test_damage_in_the_middle_is_told_where_it_is_met(copy: Path) -> None:
    file = copy / "log.sqlite"
    content = bytearray(file.read_bytes())
    content[len(content) // 2 : -4096] = b"\xff" * len(content[len(content) // 2 : -4096])
    file.write_bytes(content)
    with Session.open(copy) as session, pytest.raises(DataError, match=r"log\.sqlite: (is damaged|table pose)"):
        for _ in session.poses():
            pass


def test_a_pose_that_is_none_is_named(copy: Path) -> None:
    log = sqlite3.connect(copy / "log.sqlite")
    log.execute("UPDATE pose SET message = x'80' WHERE sequence = 42")
    log.commit()
    log.close()
    with Session.open(copy) as session:
        with pytest.raises(DataError, match=r"table pose, sequence 42: expected wire version"):
            list(session.poses())
        with pytest.raises(DataError, match=r"table pose, sequence 0 to 97"):
            list(session.pose_columns())
