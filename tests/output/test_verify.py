import json
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from synthetic import Plan, make_session, write_video

from poseloop.live import cli
from poseloop.live.output.session import Session
from poseloop.live.output.verify import verify
from poseloop.live.supervisor import Stop
from poseloop.live.types import Finding, Level

PLAN = Plan(frames=60)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_session(tmp_path_factory.mktemp("verify") / "whole", PLAN)


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "copy"))


def findings(folder: Path, decode: bool = True) -> list[Finding]:
    with Session.open(folder) as session:
        return verify(session, decode)[0]


def sql(query: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        log = sqlite3.connect(folder / "log.sqlite")
        log.executescript(query)
        log.close()

    return change


def video(*without: int) -> Callable[[Path], None]:
    return lambda folder: write_video(folder / "top.mkv", PLAN, [i for i in range(60) if i not in without])


def cut(folder: Path) -> None:
    file = folder / "top.mkv"
    file.write_bytes(file.read_bytes()[:-6000])


def model(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"another")


def gone(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def ended_early(folder: Path) -> None:
    sql("DELETE FROM frame WHERE row > 55; DELETE FROM pose WHERE idx > 55")(folder)
    report = {"poses": {"published": 60}, "record": {"fault": "the disk was full"}}
    (folder / "report.json").write_text(json.dumps(report))


def crashed(change: Callable[[Path], None]) -> Callable[[Path], None]:
    return lambda folder: (gone("report.json")(folder), change(folder))[1]


@dataclass(frozen=True)
class Case:
    change: Callable[[Path], None]
    level: Level
    text: str


CASES = {
    "a picture is missing at the end": Case(video(59), Level.FAIL, "59 pictures decoded, but 60 rows"),
    "a picture is missing inside": Case(video(30), Level.FAIL, "picture 30: the video says it was taken 10 ms"),
    "the first picture is missing": Case(video(0), Level.FAIL, "59 pictures decoded, but 60 rows"),
    "a picture is there twice": Case(
        lambda folder: write_video(folder / "top.mkv", PLAN, [*range(60), 60]), Level.FAIL, "61 pictures decoded"
    ),
    "the video was cut": Case(cut, Level.FAIL, "pictures decoded, but 60 rows"),
    "the video was cut by a crash": Case(crashed(cut), Level.WARN, "rows have no picture"),
    "a crash took rows": Case(
        crashed(sql("DELETE FROM frame WHERE row > 55; DELETE FROM pose WHERE idx > 55")),
        Level.WARN,
        "the last 4 pictures have no row",
    ),
    "the video is gone": Case(gone("top.mkv"), Level.FAIL, "there is no such video"),
    "a row is missing": Case(sql("DELETE FROM frame WHERE row = 7"), Level.FAIL, "rows of 1 picture missing"),
    "rows changed places": Case(
        sql("UPDATE frame SET idx = 100 - idx WHERE row IN (40, 41)"), Level.FAIL, "row 41: expected a trigger after 60"
    ),
    "times run backwards": Case(
        sql("UPDATE frame SET exposed_ns = exposed_ns - 20000000 WHERE row = 9"), Level.FAIL, "exposed before the row"
    ),
    "a pose is missing": Case(sql("DELETE FROM pose WHERE sequence IN (9, 10)"), Level.FAIL, "2 missing: 9 to 10"),
    "a pose is missing, as was told": Case(
        sql("DELETE FROM pose WHERE sequence = 9; INSERT INTO lost VALUES ('engine', 9, 9)"), Level.WARN, "1 missing: 9"
    ),
    "a pose of no picture": Case(
        sql("UPDATE pose SET frames = x'91cd0309' WHERE sequence = 9"),
        Level.FAIL,
        "not in the log, the first with sequence 9",
    ),
    "a decision on nothing": Case(
        sql("INSERT INTO decision VALUES (0, 900, 1, 5, 6, x'90', x'90')"), Level.FAIL, "first to sequence 900"
    ),
    "a decision is missing": Case(
        sql("INSERT INTO decision VALUES (1, 1, 1, 5, 6, x'90', x'90')"), Level.FAIL, "1 missing: 0"
    ),
    "the last poses are missing": Case(
        lambda folder: (folder / "report.json").write_text(json.dumps({"poses": {"published": 62}})) and None,
        Level.FAIL,
        "published 62, but the log ends with number 59",
    ),
    "the recording ended before the run": Case(
        ended_early,
        Level.WARN,
        "the last 4 pictures have no row",
    ),
    "a crash in the first moments": Case(
        crashed(lambda folder: (folder / "top.mkv").write_bytes(b"")), Level.WARN, "its head cannot be read"
    ),
    "the model is another one": Case(model, Level.FAIL, "its hash differs"),
    "the model is gone": Case(gone("model.onnx"), Level.FAIL, "model.onnx is missing"),
    "no report": Case(gone("report.json"), Level.WARN, "it was broken off"),
}


def test_a_whole_session_has_nothing_to_say(whole: Path) -> None:
    assert {finding.level for finding in findings(whole)} == {Level.OK}
    assert {finding.level for finding in findings(whole, decode=False)} == {Level.OK}


@pytest.mark.parametrize("name", CASES)
def test_what_is_wrong_is_found(copy: Path, name: str) -> None:
    case = CASES[name]
    case.change(copy)
    found = findings(copy)
    assert [item.level for item in found if case.text in item.text] == [case.level], found
    assert max(found, key=lambda item: list(Level).index(item.level)).level == case.level


def test_counting_without_decoding_finds_missing_pictures_too(copy: Path) -> None:
    video(30, 31)(copy)
    texts = [item.text for item in findings(copy, decode=False) if item.level is Level.FAIL]
    assert "58 pictures counted, but 60 rows" in texts[0]


def test_dropped_pictures_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_session(tmp_path / "drops", Plan(frames=60, missed=(5,), unrecorded=(20, 21), unprocessed=(30,)))
    report = tmp_path / "report.json"
    assert cli.main(["check", str(folder), "--report", str(report)]) == 0
    shown = capsys.readouterr().out
    assert "1 trigger without a picture: 5" in shown
    assert "every picture has its time" in shown
    written = json.loads(report.read_text())
    assert written["ok"]
    assert written["cameras"]["top"]["absent"] == [5]
    assert written["cameras"]["top"]["unrecorded"] == [{"index": i, "reason": "recorder_overrun"} for i in (20, 21)]
    assert written["cameras"]["top"]["dropped"] == [{"index": 30, "reason": "stale"}]


def test_the_command_fails_where_the_session_does(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video(30)(copy)
    assert cli.main(["check", str(copy)]) == 1
    assert "this session is not what it says" in capsys.readouterr().out
    assert cli.main(["check", str(copy / "absent")]) == 1
    assert "expected a session's folder" in capsys.readouterr().err


def test_a_run_that_ended_before_its_first_picture_is_no_fault(tmp_path: Path) -> None:
    folder = make_session(tmp_path / "empty", Plan(frames=0, pictures=True))
    (folder / "top.mkv").write_bytes(b"")
    said = [finding for finding in findings(folder) if finding.subject == "top"]
    assert [(finding.level, finding.text) for finding in said] == [(Level.WARN, "no picture was recorded")]


def test_a_person_in_a_hurry_does_not_wait_for_the_end_of_it(whole: Path) -> None:
    stop = Stop()
    stop.again()
    with Session.open(whole) as session:
        verify(session, decode=False, done=stop.leave_if_hurried)
        stop.hurry.set()
        with pytest.raises(Exception, match=r"^$"):
            verify(session, decode=False, done=stop.leave_if_hurried)
