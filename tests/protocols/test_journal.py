"""What the host writes down of its decisions is what it was given and what it did."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgpack
import pytest
import zmq
from poses import make_pose

from poseloop.live.clock import now_ns
from poseloop.live.config import parse_rig
from poseloop.live.output.wire import Header
from poseloop.live.types import BoardEvent, CommandKind, InputEvent, Pose
from poseloop.protocols.host import Host

RIG = """
[cameras.top]
use = "sim"
[model]
file = "blob"
[gates]
score = 0.0
age_ms = 1000
[boards.desk]
use = "parts.py:Desk"
[boards.desk.lines.laser]
pin = 9
max_on_ms = 50
[protocols.task]
use = "parts.py:{protocol}"
"""
HEADER = Header("rig", "model", ("top",), ("snout", "tail"), (), 0.5)


class Listener:
    def __init__(self, socket: zmq.Socket) -> None:
        self.socket = socket
        self.endpoint = socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def rows(self, table: str) -> list[list]:
        """Of all messages so far; each is looked at once."""
        found = []
        while self.socket.poll(200):
            source, _, rows = msgpack.unpackb(self.socket.recv())
            assert source == "host"
            found += [row for name, row in rows if name == table]
        return found


@pytest.fixture
def listener() -> Iterator[Listener]:
    with zmq.Context() as context, context.socket(zmq.PULL) as socket:
        socket.bind("tcp://127.0.0.1:*")
        yield Listener(socket)


def host_for(protocol: str, listener: Listener) -> Host:
    file = Path(__file__).with_name("rig.toml")
    host = Host(parse_rig(RIG.format(protocol=protocol), file, ("boards", "protocols")))
    host.open()
    host.bind(HEADER)
    host.journal.open(listener.endpoint)
    return host


def pose(sequence: int, age_ms: float = 1.0) -> Pose:
    made = make_pose(keypoints=2)
    exposed = now_ns() - int(age_ms * 1e6)
    trace = replace(made.trace, exposed_ns=exposed, received_ns=exposed + 500)
    return replace(made, sequence=sequence, index=2 * sequence, trace=trace, score=made.score * 0 + 1)


def test_a_decision_holds_the_pose_its_inputs_and_the_fate_of_every_command(listener: Listener) -> None:
    host = host_for("Always", listener)
    desk = host._boards["desk"].board
    desk.says.append(InputEvent("desk", "lick", True, 77))
    poses = [pose(4), pose(5, age_ms=2000)]
    for one in poses:
        host.decide(one)
    host.journal.close()
    first, second = listener.rows("decision")
    number, sequence, newest, received_ns, decided_ns, inputs, commands = first
    assert (number, sequence, newest, received_ns) == (0, 4, 1, poses[0].trace.received_ns)
    assert decided_ns > received_ns
    assert msgpack.unpackb(inputs) == [["desk", "lick", True, 77]]
    (sent,) = desk.sent
    assert msgpack.unpackb(commands) == [["task", "desk", "laser", "pulse", sent.on_us, 0, 0, 0, "sent"]]
    assert (second[0], second[1]) == (1, 5)
    assert msgpack.unpackb(second[5]) == []
    assert msgpack.unpackb(second[6])[0][-1] == "held: stale pose"
    host.close()


def test_an_older_pose_that_was_shown_was_decided_on(listener: Listener) -> None:
    """A replay asks nobody where nothing was decided."""
    host = host_for("Counts", listener)
    host.pass_on(pose(0))
    host.decide(pose(1))
    host.journal.close()
    older, newest = listener.rows("decision")
    assert (older[2], newest[2]) == (0, 1)
    assert 0 < older[4] < newest[4]
    fates = [row[-1] for row in msgpack.unpackb(older[6])]
    assert fates == ["held: a newer pose is there", "off"]
    host.close()


def test_triggers_inputs_and_boards_are_written_down(listener: Listener) -> None:
    host = host_for("Always", listener)
    desk = host._boards["desk"].board
    host.decide(pose(0))
    desk.says.append(InputEvent("desk", "lick", True, 77))
    desk.says.append(BoardEvent("desk", "limit", "too long", 88))
    desk.acknowledge(1)
    host.decide(pose(1))
    host.triggers.close_all()
    host.journal.close()
    kinds: dict[str, list] = {}
    while listener.socket.poll(200):
        for table, row in msgpack.unpackb(listener.socket.recv())[2]:
            kinds.setdefault(table, []).append(row)
    triggers = kinds["trigger"]
    assert [(row[0], row[1], row[3], row[8]) for row in triggers] == [
        (0, "desk", CommandKind.PULSE, "acknowledged"),
        (2, "desk", CommandKind.PULSE, "lost"),
    ]
    assert all(len(row) == 18 for row in triggers)
    events = {row[2]: row for row in kinds["event"]}
    assert events["input"][0] == 77
    assert events["board"][0] == 88
    assert '"limit"' in events["board"][3]
    host.close()


def test_a_protocol_that_fails_is_written_down(listener: Listener) -> None:
    host = host_for("Breaks", listener)
    for sequence in range(3):
        host.decide(pose(sequence))
    host.journal.close()
    (failed,) = [row for row in listener.rows("event") if row[2] == "protocol_failed"]
    assert "ZeroDivisionError" in failed[3]
    host.close()


def test_without_a_recorder_nothing_is_kept() -> None:
    file = Path(__file__).with_name("rig.toml")
    host = Host(parse_rig(RIG.format(protocol="Always"), file, ("boards", "protocols")))
    host.open()
    host.bind(HEADER)
    host.decide(pose(0))
    host.journal.send()
    host.journal.close()
    host.close()
