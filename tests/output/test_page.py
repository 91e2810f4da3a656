"""The report of a session and its video: what happened is where it happened."""

import sqlite3
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import av
import numpy as np
import pytest
from synthetic import Plan, decide, exposed_ns, make_session

from poseloop.live.cli import main
from poseloop.live.output.chart import Chart
from poseloop.live.output.page import as_page
from poseloop.live.output.session import Session


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    plan = Plan(frames=60, missed=(5,), unrecorded=(20, 21), unprocessed=(30,), codec="h264")
    folder = make_session(tmp_path_factory.mktemp("page") / "small", plan)
    decide(folder)
    log = sqlite3.connect(folder / "log.sqlite")
    for index, outcome, reason in ((18, "acknowledged", ""), (43, "refused", "held: low score")):
        at = exposed_ns(plan, index)
        times = [at, at + 4_000_000, at + 5_000_000, at + 5_500_000, at + 5_600_000, at + 6_500_000, at + 6_000_000]
        row = (index, "box", "laser", "pulse", 5000, 0, 0, 0, outcome, reason, *times, 0)
        log.execute(f"INSERT INTO trigger VALUES ({', '.join('?' * 18)})", row)
    log.execute("INSERT INTO event VALUES (?, 'host', 'note', ?)", (exposed_ns(plan, 18), '{"protocol": "corner"}'))
    log.commit()
    log.close()
    return folder


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.addresses: list[str] = []
        self.feed(text)

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in ("href", "src")]


def test_the_page_tells_what_happened_and_needs_nothing_else(folder: Path, tmp_path: Path) -> None:
    assert main(["report", str(folder), "--out", str(tmp_path / "page.html")]) == 0
    page = _Page((tmp_path / "page.html").read_text())
    text = " ".join(page.words)
    for words in ("subject m042", "set stale: 1", "not recorded: recorder_overrun: 2", "acknowledged: 1", "6.0 ms"):
        assert words in text, words
    assert "held: low score: 1" in text
    assert "1 trigger without a picture: 5" in text
    assert page.addresses
    assert all(address.startswith("data:") for address in page.addresses)


def test_the_overlay_has_every_picture_and_shows_when_the_laser_was_on(folder: Path, tmp_path: Path) -> None:
    words = ["--out", str(tmp_path / "page.html"), "--overlay", str(tmp_path / "o.mp4")]
    assert main(["report", str(folder), *words]) == 0
    with av.open(str(tmp_path / "o.mp4")) as video:
        edges = [frame.to_ndarray(format="bgr24")[3, 400] for frame in video.decode(video=0)]
    taken = [index for index in range(60) if index not in (5, 20, 21)]
    assert len(edges) == len(taken)
    # The frame around a picture is blue; a stimulus of 5 ms is shown for 60.
    lit = [index for index, edge in zip(taken, edges, strict=True) if int(edge[0]) - int(edge[2]) > 60]
    assert lit == [19, 22, 23, 24]


def test_a_recording_is_not_drawn_over(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recording = folder / "top.mkv"
    before = recording.read_bytes()
    assert main(["report", str(folder), "--out", str(tmp_path / "page.html"), "--overlay", str(recording)]) == 1
    assert "is a recording of this session" in capsys.readouterr().err
    assert recording.read_bytes() == before


def test_a_chart_puts_values_where_they_belong() -> None:
    chart = Chart((0, 10), (1, 100), "ms", log=True)
    chart.line(np.array([0.0, 5.0, 6.0, 10.0]), np.array([1.0, 10.0, np.nan, 100.0]), "red")
    path = ElementTree.fromstring(str(chart)).find("path")
    assert path is not None
    assert path.get("d") == "M92.0 162.0L510.0 86.0M928.0 10.0"


def test_a_session_without_poses_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_session(tmp_path / "empty", Plan(frames=3, missed=(0, 1, 2)))
    assert main(["report", str(folder), "--out", str(tmp_path / "page.html")]) == 1
    assert "expected poses, but the session has none" in capsys.readouterr().err


def test_an_animal_that_is_not_there_does_not_lower_the_score(tmp_path: Path) -> None:
    folder = make_session(tmp_path / "pair", Plan(frames=50, individuals=2, absent=(1,)))
    with Session.open(folder) as session:
        text = as_page(session, [])
    assert "under the gate in 100.0% of the poses" not in text
