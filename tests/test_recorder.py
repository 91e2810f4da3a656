"""The recorder in this process: what it does when encoder, disk or senders fail it."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from rigs import wait_for

from poseloop.live.capture.ring import Ring
from poseloop.live.config import parse_rig
from poseloop.live.errors import DataError
from poseloop.live.output.video import VideoWriter
from poseloop.live.recorder import OVERRUN, Recorder

RIG = """
[cameras.top]
use = "sim"
[model]
file = "blob"
[record]
{settings}
"""
SHAPE = (48, 64)


class Bench:
    """A recorder, and an engine's ring before it."""

    def __init__(self, folder: Path, settings: str) -> None:
        self.folder = folder
        self.ring = Ring(SHAPE, 3, lendable=4)
        camera = {"name": "top", "width": 64, "height": 48, "colour": "grey", "fps": 100.0, **self.ring.address}
        rig = parse_rig(RIG.format(settings=settings), folder / "rig.toml", ())
        self.notices: list[str] = []
        self.recorder = Recorder(rig, folder, {"cameras": [camera], "meta": {"gate": 0.5}}, self.tell)
        self.frames = self.messages = 0

    def tell(self, event: str, text: str) -> None:
        assert event == "notice"
        self.notices.append(text)

    def send(self, *rows: Any, source: str = "engine", skip: int = 0) -> None:
        self.messages += skip
        self.recorder.take(msgpack.packb([source, self.messages, rows]))
        self.messages += 1

    def frame(self) -> bool:
        """As an engine does; False = the recorder holds too many."""
        slot = self.ring.acquire(1.0)
        assert slot is not None
        self.ring.writable(slot)[:] = self.frames
        lent = self.ring.lend(slot)
        times = (self.frames, self.frames * 10_000_000, 0, 0)
        self.send(["picture", [0, slot if lent else -1, *times]])
        self.ring.release(slot)
        self.frames += 1
        return lent

    def rows(self, query: str) -> list[tuple]:
        log = sqlite3.connect(self.folder / "log.sqlite")
        try:
            return log.execute(query).fetchall()
        finally:
            log.close()


@contextmanager
def opened(folder: Path, settings: str = "") -> Iterator[Bench]:
    bench = Bench(folder, settings)
    bench.recorder.open(lambda cameras: None)
    try:
        yield bench
    finally:
        bench.recorder.close()
        bench.ring.close()


def test_what_was_taken_is_on_the_disk_within_a_moment(tmp_path: Path) -> None:
    with opened(tmp_path) as bench:
        for _ in range(3):
            assert bench.frame()
        wait_for(lambda: bench.ring.free == len(bench.ring))
        wait_for(lambda: bench.rows("SELECT row, idx, why FROM frame") == [(0, 0, ""), (1, 1, ""), (2, 2, "")])
        assert bench.recorder.watch()
    assert bench.recorder.report()["cameras"] == {"top": {"recorded": 3, "missed": {}}}
    assert bench.notices == []


def test_an_encoder_that_does_not_keep_up_is_told_of_before_pictures_are_lost(tmp_path: Path, monkeypatch) -> None:
    write = VideoWriter.write

    def slow(self: VideoWriter, image: np.ndarray, exposed_ns: int) -> None:
        time.sleep(0.1)
        write(self, image, exposed_ns)

    monkeypatch.setattr(VideoWriter, "write", slow)
    with opened(tmp_path) as bench:
        lent = [bench.frame() for _ in range(4)]
        assert all(lent)
        bench.recorder.watch()
        assert any("do not keep up" in text for text in bench.notices)
        lent += [bench.frame() for _ in range(8)]
        assert not all(lent)
        wait_for(lambda: bench.ring.free == len(bench.ring))
        bench.recorder.watch()
        bench.recorder.watch()
    missed = lent.count(False)
    assert [text for text in bench.notices if "not recorded" in text] == [
        f"recorder: camera top: {missed} pictures were not recorded so far"
    ]
    # Each has its row, in order, and says why it has no picture.
    rows = bench.rows("SELECT idx, row IS NOT NULL, why FROM frame ORDER BY rowid")
    assert rows == [(idx, there, "" if there else OVERRUN) for idx, there in enumerate(lent)]
    assert bench.recorder.report()["cameras"]["top"] == {"recorded": 12 - missed, "missed": {OVERRUN: missed}}
    assert any("notice" in row for row in bench.rows("SELECT kind FROM event"))


def test_messages_that_never_came_are_listed(tmp_path: Path) -> None:
    with opened(tmp_path) as bench:
        bench.frame()
        bench.send(["end", []], skip=3)
        bench.recorder.watch()
        assert bench.recorder.ended == {"engine"}
    assert bench.rows("SELECT * FROM lost") == [("engine", 1, 3)]
    assert bench.recorder.report()["messages_lost"] == {"engine": 3}
    assert "3 messages of engine" in bench.notices[0]


def test_a_video_that_cannot_be_written_ends_the_recording_and_gives_all_slots_back(
    tmp_path: Path, monkeypatch
) -> None:
    with opened(tmp_path) as bench:
        bench.frame()
        wait_for(lambda: bench.ring.free == len(bench.ring))

        def fail(self: VideoWriter, image: np.ndarray, exposed_ns: int) -> None:
            raise DataError("top.mkv: the video cannot be written: No space left on device")

        monkeypatch.setattr(VideoWriter, "write", fail)
        bench.frame()
        bench.frame()
        wait_for(lambda: bench.ring.free == len(bench.ring))
        assert not bench.recorder.watch()
    assert "No space left" in bench.recorder.report()["fault"]
    assert bench.rows("SELECT idx, row, why FROM frame ORDER BY idx") == [
        (0, 0, ""),
        (1, None, "top.mkv: the video cannot be written: No space left on device"),
        (2, None, "the recording has ended"),
    ]
    assert "No space left" in bench.rows("SELECT detail FROM event WHERE kind = 'recording_ended'")[0][0]


def test_a_disk_that_fills_is_warned_of_and_the_recording_ends_before_it_is_full(tmp_path: Path, monkeypatch) -> None:
    class Usage:
        free = 5e12

    monkeypatch.setattr("shutil.disk_usage", lambda folder: Usage)
    with opened(tmp_path) as bench:
        assert bench.recorder.watch()
        Usage.free = 1e9 + 1e6
        assert bench.recorder.watch()
        assert "the disk is full in about" in bench.notices[0]
        Usage.free = 0.9e9
        bench.frame()
        assert not bench.recorder.watch()
    assert "record.keep_free_gb" in bench.recorder.report()["fault"]
    assert bench.rows("SELECT row FROM frame") == [(0,)]


def test_a_log_that_cannot_be_written_is_a_fault(tmp_path: Path) -> None:
    with opened(tmp_path) as bench:
        for _ in range(2):
            bench.send(["pose", [0, 0, 0, 0, b"", b""]])
        wait_for(lambda: not bench.recorder.watch())
    assert "log.sqlite: cannot be written: UNIQUE" in bench.recorder.report()["fault"]


def test_nothing_is_left_open_when_the_log_cannot_be_created(tmp_path: Path) -> None:
    (tmp_path / "log.sqlite").write_text("", encoding="utf-8")
    bench = Bench(tmp_path, "")
    with pytest.raises(DataError, match="not overwritten"):
        bench.recorder.open(lambda cameras: None)
    bench.recorder.close()
