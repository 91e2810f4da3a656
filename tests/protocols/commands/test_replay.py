"""``poseloop replay``: the same bytes each time, the rig's own decisions, and a fair comparison with labels."""

import json
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poseloop.live.cli import main
from poseloop.protocols.commands.compare import differences, score
from poseloop.protocols.tables import read_table

CIRCLE = "circle=[240, 120, 50]"
ENTRIES = (24, 74, 124)
"""Frames at which the disc of `video` comes within 50 px of (240, 120), give or take one for the network's error."""


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    """A dark disc that goes to and fro on a plain floor: 3 s, 50 frames a second."""
    file = tmp_path_factory.mktemp("video") / "disc.mp4"
    rows, columns = np.mgrid[:240, :320]
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264", rate=50, options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for i in range(150):
            x = 160 - 100 * np.cos(2 * np.pi * i / 50)
            image = np.full((240, 320, 3), 190, np.uint8)
            image[(columns - x) ** 2 + (rows - 120) ** 2 < 18**2] = 40
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return file


def replay(video: Path, *more: object) -> int:
    words = ["--model", "blob", "--protocol", "region", "--set", "keypoint=centre", "--set", CIRCLE, "--set"]
    return main(["replay", str(video), *words, "output=box.laser", *map(str, more)])


def frames(table: Path) -> list[int]:
    return [int(row["frame"]) for row in read_table(table)]


def test_the_same_recording_gives_the_same_bytes(video: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert replay(video) == 0
    assert replay(video, "--out", "again.csv", "--notes", "notes.jsonl", "--against", "disc.commands.csv") == 0
    first, again = Path("disc.commands.csv"), Path("again.csv")
    assert first.read_bytes() == again.read_bytes()
    found = frames(first)
    # Cosine of the way: at 80 px right of the middle, less the radius of 50: x = 190, which is 0.3 of the amplitude.
    expected = [round(50 * (np.arccos(-0.3) / (2 * np.pi) + turn)) for turn in range(3)]
    assert len(found) == 3
    assert all(abs(got - wanted) <= 1 for got, wanted in zip(found, expected, strict=True))
    row = read_table(first)[0]
    assert row["time_s"] == f"{found[0] / 50:.9f}"
    assert (row["output"], row["command"], row["on_ms"], row["outcome"]) == ("box.laser", "pulse", "10.000", "sent")
    notes = [json.loads(line) for line in Path("notes.jsonl").read_text().splitlines()]
    assert [note["frame"] for note in notes if note["note"] == "occasion"] == found


def test_a_difference_is_shown_and_fails(video: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert replay(video) == 0
    capsys.readouterr()
    assert replay(video, "--set", "pulse_ms=20", "--against", "disc.commands.csv", "--report", "report.json") == 1
    shown = capsys.readouterr().out
    assert "6 differences from disc.commands.csv" in shown
    assert shown.count("  - ") == shown.count("  + ") == 3
    assert json.loads(Path("report.json").read_text())["differences"] == 6


def test_labels_are_matched_by_frame_or_time(video: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    replay(video)
    found = frames(Path("disc.commands.csv"))
    Path("frames.csv").write_text(f"frame\n{found[0]}\n{found[1] - 10}\n5\n")
    assert replay(video, "--truth", "frames.csv", "--tolerance-ms", 50, "--late-ms", 300, "--report", "r.json") == 0
    counts = json.loads(Path("r.json").read_text())["truth"]["protocol"]
    assert counts == {"on_time": 1, "late": 1, "missed": 1, "extra": 1, "median_delay_ms": 200.0}
    assert "missed: 0.100 s" in capsys.readouterr().out
    Path("times.csv").write_text("\n".join(["time_s", *(f"{frame / 50}" for frame in found)]))
    assert replay(video, "--truth", "times.csv", "--report", "r.json") == 0
    assert json.loads(Path("r.json").read_text())["truth"]["protocol"]["on_time"] == 3
    Path("frames.csv").write_text("frame\n150\n")
    assert replay(video, "--truth", "frames.csv") == 1
    assert "line 2: expected a frame from 0 to 149, but found 150" in capsys.readouterr().err


RIG = """
[cameras.top]
use = "a_camera_that_is_not_installed_here"
serial = 5
[model]
file = "blob"
[gates]
age_ms = 100
[boards.box]
use = "arduino"
port = "COM99"
[boards.box.lines.laser]
pin = 9
max_on_ms = 50
[boards.box.lines.valve]
pin = 10
max_on_ms = 50
[boards.box.lines.lick]
pin = 2
direction = "input"
[protocols.corner]
use = "region"
keypoint = "centre"
circle = [240, 120, 50]
output = "box.laser"
[protocols.licks]
use = "input"
input = "box.lick"
output = "box.valve"
"""


def test_a_rig_file_is_replayed_without_its_devices(video: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rig.toml").write_text(RIG)
    Path("licks.csv").write_text("time_s,input,value\n0.1,box.lick,1\n0.15,box.lick,0\n2.0,box.lick,1\n")
    assert main(["replay", str(video), "--rig", "rig.toml", "--inputs", "licks.csv", "--out", "a.csv"]) == 0
    rows = read_table(Path("a.csv"))
    assert [int(row["frame"]) for row in rows if row["protocol"] == "licks"] == [5, 100]
    assert len([row for row in rows if row["protocol"] == "corner"]) == 3
    # The gates decide as in a rig: 150 ms after the exposure a pose is stale.
    argv = ["replay", str(video), "--rig", "rig.toml", "--protocol", "corner", "--latency-ms", "150", "--out", "b.csv"]
    assert main(argv) == 0
    assert [row["outcome"] for row in read_table(Path("b.csv"))] == ["held: stale pose"] * 3
    assert "0 on-commands, 3 held back by gates" in capsys.readouterr().out


def test_a_rig_of_two_cameras_takes_two_recordings(video: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    second = '[cameras.side]\nuse = "sim"\n[model]'
    side = 'circle = [240, 120, 50]\ncamera = "side"'
    Path("rig.toml").write_text(RIG.replace("[model]", second).replace("circle = [240, 120, 50]", side))
    assert main(["replay", str(video), str(video), "--rig", "rig.toml", "--protocol", "corner", "--out", "a.csv"]) == 0
    assert replay(video, "--out", "b.csv") == 0
    assert frames(Path("a.csv")) == frames(Path("b.csv"))


OWN = """
from poseloop.protocols import Protocol


class Fails(Protocol):
    outputs = ("box.laser",)

    def decide(self, pose, events):
        if pose.index == 3:
            1 / 0
        return [self.pulse("box.laser", 1)]


class Drives(Fails):
    own_devices = True
"""


def test_a_users_own_file_one_that_fails_and_one_that_drives_devices(
    video: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(OWN)
    assert main(["replay", str(video), "--model", "blob", "--protocol", "own.py:Fails", "--out", "a.csv"]) == 1
    assert "failed: ZeroDivisionError: division by zero (own.py, line 10) (frame 3)" in capsys.readouterr().out
    on, *off = read_table(Path("a.csv"))[-2:]
    assert (on["command"], off[0]["command"]) == ("pulse", "off")
    assert main(["replay", str(video), "--model", "blob", "--protocol", "own.py:Drives"]) == 1
    assert "drives devices of its own" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ([], "expected --rig FILE, or --model and --protocol"),
        (["--protocol", "region", "--set", "keypoint"], "expected --set KEY=VALUE"),
        (["--protocol", "region", "--set", "keypoint=c"], "output: is missing"),
        (["--protocol", "nope", "--model", "blob"], "no protocol is called 'nope'"),
        (["--rig", "rig.toml", "--protocol", "nope"], "one of corner, licks, but got 'nope'"),
        (["--rig", "rig.toml", "more.mp4"], "a recording for each camera of the rig"),
        (["--rig", "none.toml"], "there is no such rig file"),
    ],
)
def test_what_is_missing_is_told(argv: list, expected: str, video: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rig.toml").write_text(RIG)
    recordings = [word for word in argv if word.endswith(".mp4")]
    words = [word for word in argv if word not in recordings]
    assert main(["replay", str(video), *recordings, *words]) == 1
    assert expected in capsys.readouterr().err


TIMES = st.lists(st.floats(0, 100), max_size=30, unique=True)


@given(TIMES, TIMES)
def test_every_label_and_every_trigger_is_counted_once(triggers: list, truth: list) -> None:
    result = score(triggers, truth, 0.05, 1.0)
    assert len(result.on_time) + len(result.late) + len(result.missed) == len(truth)
    assert len(result.on_time) + len(result.late) + len(result.extra) == len(triggers)
    assert all(abs(at - label) <= 0.05 for label, at in result.on_time)
    assert all(label < at <= label + 1 for label, at in result.late)
    assert score(truth, truth, 0.05, 1.0).extra == []


def test_differences_count_repeated_rows() -> None:
    row, other = {"frame": "3", "command": "pulse"}, {"frame": "1", "command": "pulse"}
    assert differences([row, row], [row, other]) == [("+", other), ("-", row)]
    assert differences([row], [row]) == []


def test_a_real_mouse_enters_where_another_tracker_says_it_does(data: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = data / "tracktor_mouse"
    track = np.loadtxt(folder / "mouse_video_tracked.csv", delimiter=",", skiprows=1)[:1500, 2:]
    inside, was = np.zeros(len(track), bool), False
    for i, distance in enumerate(np.hypot(*(track - [320, 240]).T)):
        was = inside[i] = distance <= (110 if was else 80)
    entries = np.flatnonzero(inside[1:] & ~inside[:-1]) + 1
    Path("truth.csv").write_text("\n".join(["frame", *map(str, entries)]))
    words = ["--model", "blob", "--protocol", "region", "--set", "keypoint=centre", "--set", "output=box.laser"]
    words += ["--set", "circle=[320, 240, 80]", "--set", "hysteresis=30", "--frames", "1500", "--report", "r.json"]
    # The trackers differ by 2.4 px (median). Over this border the mouse runs: that is a frame or two of 33 ms; along a
    # border that it grazes it would be seconds.
    words += ["--truth", "truth.csv", "--tolerance-ms", "100"]
    assert main(["replay", str(folder / "mouse_video.mp4"), *words]) == 0
    report = json.loads(Path("r.json").read_text())
    assert report["frames"] == 1500
    counts = report["truth"]["protocol"]
    assert counts["on_time"] == len(entries) >= 2
    assert (counts["late"], counts["missed"], counts["extra"]) == (0, 0, 0)
