"""Poses over real sockets: none is lost without being counted, and nothing else pushes one out."""

from dataclasses import replace

import pytest
from poses import make_pose

from poseloop.live.config import Publish
from poseloop.live.errors import ConnectError, DataError, DeviceTimeout
from poseloop.live.output import Subscriber
from poseloop.live.output.publish import Publisher
from poseloop.live.output.wire import Header

ANY = "tcp://127.0.0.1:*"
HEADER = Header("rig", "model", ("top",), ("a", "b", "c", "d"), (), 0.5)


@pytest.fixture
def publisher():
    publisher = Publisher(Publish(poses=ANY, health=ANY, previews=ANY), HEADER)
    publisher.open()
    yield publisher
    publisher.close()


def connected(publisher: Publisher, **options) -> Subscriber:
    """A subscriber whose subscription has arrived: it has got a header."""
    subscriber = Subscriber(publisher.endpoints["poses"], timeout_s=5, **options)
    while not subscriber.poll(0.01):
        publisher.send_header()
    assert subscriber.header == HEADER
    return subscriber


def test_poses_arrive_in_order_and_iterating_ends_with_the_engine(publisher: Publisher) -> None:
    with connected(publisher) as subscriber:
        for sequence in range(10):
            publisher.send_pose(replace(make_pose(), sequence=sequence))
            publisher.send_health({"processed": sequence})
        publisher.send_end(10)
        poses = list(subscriber)
    assert [pose.sequence for pose in poses] == list(range(10))
    assert all(pose.trace.received_ns > 0 for pose in poses)
    assert (subscriber.received, subscriber.lost) == (10, 0)


def test_the_newest_is_taken_and_skipped_ones_are_not_called_lost(publisher: Publisher) -> None:
    with connected(publisher) as subscriber:
        for sequence in range(5):
            publisher.send_pose(replace(make_pose(), sequence=sequence))
        publisher.send_end(5)
        newest, skipped = None, 0
        while not subscriber.ended:
            subscriber.poll(1)
            pose, older = subscriber.newest()
            if pose is not None:
                newest = pose
                skipped += older
        assert newest is not None
        assert newest.sequence == 4
        assert (subscriber.received, subscriber.lost) == (5, 0)
        assert subscriber.newest() == (None, 0)


def test_gaps_in_the_sequence_are_counted_as_lost(publisher: Publisher) -> None:
    with connected(publisher) as subscriber:
        for sequence in (0, 1, 5, 6):
            publisher.send_pose(replace(make_pose(), sequence=sequence))
        publisher.send_end(7)
        assert len(list(subscriber)) == 4
        assert subscriber.lost == 3


def test_a_slow_subscriber_loses_its_own_poses_and_nobody_elses(publisher: Publisher) -> None:
    """Far more poses than its queues hold; it is told how many it has missed, and never gets one out of order."""
    count = 20_000
    with connected(publisher, queued=100) as quick, connected(publisher, queued=1) as slow:
        for sequence in range(count):
            publisher.send_pose(replace(make_pose(), sequence=sequence))
            while sequence % 10 == 9 and quick.received <= sequence:
                assert quick.poll(5), "nobody waits for the slow one"
                quick.drain()
        late: list[int] = []
        while not slow.ended:
            late += [pose.sequence for pose in slow.drain()]
            publisher.send_end(count)
        assert (quick.received, quick.lost) == (count, 0)
        assert late == sorted(set(late))
        assert 0 < len(late) < count
        assert slow.lost == count - slow.received


def test_an_address_in_use_is_named(publisher: Publisher) -> None:
    taken = publisher.endpoints["poses"]
    second = Publisher(Publish(poses=ANY, health=taken, previews=ANY), HEADER)
    with pytest.raises(ConnectError, match=rf"publish.health: cannot bind {taken}.*another rig"):
        second.open()
    second.close()


def test_a_silent_endpoint_and_a_wrong_one_are_named() -> None:
    with Subscriber("tcp://127.0.0.1:9", timeout_s=0.05) as subscriber:
        with pytest.raises(DeviceTimeout, match="is the rig running"):
            _ = subscriber.header
        with pytest.raises(DeviceTimeout, match="no pose for"):
            list(subscriber)
    with pytest.raises(ConnectError, match="expected an endpoint"):
        Subscriber("nonsense")


def test_a_stranger_on_the_socket_is_refused(publisher: Publisher) -> None:
    with connected(publisher) as subscriber:
        for parts in ((b"pose",), (b"pose", b"", b"and more", b"")):
            publisher._poses.send_multipart(parts)
            with pytest.raises(DataError, match=f"two parts .* has {len(parts)}"):
                list(subscriber)
        publisher.send_end(0)
        assert list(subscriber) == []
