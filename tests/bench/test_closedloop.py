"""What Poseloop adds to a way from edge to edge is what nothing else has taken."""

from poseloop.bench.closedloop import PARTS, added_ns

MS = 1_000_000


def test_camera_network_and_bytes_are_not_ours() -> None:
    begins_ms = {"triggered_ns": 0, "exposed_ns": 5, "arrived_ns": 8, "complete_ns": 8.5, "infer_start_ns": 9}
    later_ms = {"infer_end_ns": 19, "published_ns": 19.25, "received_ns": 19.5, "decided_ns": 20, "written_ns": 20.25}
    way = {name: round(1000 + at * MS) for name, at in (begins_ms | later_ms | {"pin_ns": 21}).items()}
    # Set and hand-over 1 ms; from the network to the written command 1.25; to the pin 0.75, of which 0.25 are bytes.
    assert added_ns({**way, "wire_ns": MS // 4}) == round(2.75 * MS)
    # All its times are told as parts of the way, too.
    assert set(way) == {name for part in PARTS.values() for name in part}
