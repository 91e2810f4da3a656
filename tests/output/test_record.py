"""Lines to the recorder lose nothing without a trace, and a session's folder begins complete."""

import datetime
import tomllib
from pathlib import Path

import msgpack
import pytest
import zmq

from poseloop.live.config import Rig, parse_rig
from poseloop.live.errors import DataError
from poseloop.live.output import record
from poseloop.live.output.record import Lines, make_folder, write_head

NOW = datetime.datetime(2026, 5, 4, 9, 30, 12, tzinfo=datetime.UTC)

RIG = """
[cameras.top]
use = "cameras/mine.py:Mine"
[model]
file = "blob"
[record]
subject = "m042"
"""


def rig_in(folder: Path) -> Rig:
    return parse_rig(RIG, folder / "rig.toml", ())


@pytest.fixture
def inlet():
    with zmq.Context() as context, context.socket(zmq.PULL) as socket:
        socket.bind("tcp://127.0.0.1:*")
        yield socket


def endpoint_of(socket: zmq.Socket) -> str:
    return socket.getsockopt_string(zmq.LAST_ENDPOINT)


def receive(socket: zmq.Socket) -> list:
    assert socket.poll(5000)
    return msgpack.unpackb(socket.recv())


def test_each_source_numbers_its_own_messages_and_says_goodbye(inlet: zmq.Socket) -> None:
    lines = Lines(endpoint_of(inlet))
    engine, host = lines.outlet("engine"), lines.outlet("host")
    engine.add("picture", 0, 3, 7, 1, 2, 3)
    assert engine.send()
    assert receive(inlet) == ["engine", 0, [["picture", [0, 3, 7, 1, 2, 3]]]]
    host.add("dropped", None, 4, "superseded")
    host.event("host", "note", {"name": "lick"}, at_ns=9)
    assert host.send()
    assert receive(inlet) == [
        "host",
        0,
        [["dropped", [None, 4, "superseded"]], ["event", [9, "host", "note", '{"name": "lick"}']]],
    ]
    assert host.send(), "nothing to send is no message"
    lines.close()
    lines.close()
    assert sorted(receive(inlet)[:2] for _ in range(2)) == [["engine", 1], ["host", 1]]
    assert not inlet.poll(50)


def test_a_message_that_finds_no_room_is_a_gap_in_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "_QUEUED", 2)
    # Nobody listens.
    lines = Lines("tcp://127.0.0.1:9")
    outlet = lines.outlet("engine")
    sent = []
    for _ in range(5):
        outlet.add("lost", "host", 0, 0)
        sent.append(outlet.send())
    assert sent[:2] == [True, True]
    assert not any(sent[2:])
    assert outlet._number == 5
    lines.close(hurry=True)


def test_folders_are_named_by_time_and_subject_and_never_used_twice(tmp_path: Path) -> None:
    rig = rig_in(tmp_path)
    names = [make_folder(rig, NOW).relative_to(tmp_path).as_posix() for _ in range(3)]
    first = "sessions/2026-05-04_09-30-12_m042"
    assert names == [first, f"{first}-2", f"{first}-3"]


def test_a_folder_that_cannot_be_made_names_the_key(tmp_path: Path) -> None:
    (tmp_path / "sessions").write_text("", encoding="utf-8")
    with pytest.raises(DataError, match=r"record\.folder"):
        make_folder(rig_in(tmp_path), NOW)


def test_a_session_begins_with_all_that_its_rig_file_names(tmp_path: Path) -> None:
    (tmp_path / "cameras").mkdir()
    (tmp_path / "cameras" / "mine.py").write_text("# mine\n", encoding="utf-8")
    model = tmp_path / "odd name.onnx"
    model.write_bytes(b"model")
    rig = rig_in(tmp_path)
    folder = make_folder(rig, NOW)
    cameras = {"top": {"file": "top.mkv", "lossless": False, "fps": 100.0}}
    write_head(folder, RIG, tmp_path / "rig.toml", rig, NOW, 123, {"model": model, "near": model}, cameras)
    assert (folder / "rig.toml").read_text(encoding="utf-8") == RIG
    assert (folder / "cameras" / "mine.py").is_file()
    head = tomllib.loads((folder / "session.toml").read_text(encoding="utf-8"))
    assert (head["subject"], head["started"], head["started_ns"]) == ("m042", NOW.isoformat(), 123)
    assert head["cameras"] == cameras
    assert head["models"]["near"]["file"] == "model_near.onnx"
    assert head["models"]["model"]["name"] == "odd name"
    assert (folder / "model_near.onnx").read_bytes() == b"model"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    rig = rig_in(tmp_path)
    with pytest.raises(DataError, match=r"gone\.onnx"):
        write_head(
            make_folder(rig, NOW), RIG, tmp_path / "rig.toml", rig, NOW, 1, {"model": tmp_path / "gone.onnx"}, {}
        )
