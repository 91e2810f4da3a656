"""What is packed is what is unpacked; what is damaged is refused; and the bytes are those of docs/wire.md."""

import re

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from poses import make_pose
from repository import ROOT

from poseloop.live.errors import DataError
from poseloop.live.output import wire
from poseloop.live.types import Trace


@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 20), st.booleans(), st.sampled_from([0, 123]))
def test_a_pose_comes_back_as_it_was(cameras: int, individuals: int, keypoints: int, world: bool, ahead: int) -> None:
    sent = make_pose(cameras, individuals, keypoints, world, ahead)
    got = wire.unpack_pose(wire.Wire().pose(sent), received_ns=9)
    assert got.trace == Trace(1, 2, 3, 4, 5, 6, 0, 8, received_ns=9)
    for name in ("sequence", "index", "predicted_for_ns", "missing", "skew_ns"):
        assert getattr(got, name) == getattr(sent, name)
    for name in ("score", "residual_px", "views", "predicted"):
        np.testing.assert_array_equal(getattr(got, name), getattr(sent, name))
    np.testing.assert_array_equal(got.keypoints.xy, sent.keypoints.xy)
    np.testing.assert_array_equal(got.keypoints.score, sent.keypoints.score)
    if sent.xyz is None:
        assert got.xyz is None
    else:
        np.testing.assert_array_equal(got.xyz, sent.xyz)
    assert not got.keypoints.xy.flags.writeable


def test_the_keys_are_those_that_the_document_lists() -> None:
    message = msgpack.unpackb(wire.Wire().pose(make_pose()))
    assert list(message) == [
        "v", "sequence", "index", "missing", "skew_ns", "times", "cameras", "individuals", "keypoints", "xy",
        "camera_score", "xyz", "score", "residual_px", "views", "predicted_for_ns", "predicted",
    ]  # fmt: skip
    assert message["xy"][8:16] == np.array(make_pose().keypoints.xy[0, 0, 1], "<f4").tobytes()


def rows(title: str) -> list[str]:
    """First column of the table under a title of docs/wire.md."""
    text = (ROOT / "docs" / "wire.md").read_text(encoding="utf-8").split(f"\n## `{title}`\n")[1].split("\n## ")[0]
    names = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    return [name for cell in names for name in re.findall(r"`(\w+)`", cell)]


def test_the_document_lists_every_key() -> None:
    packer = wire.Wire()
    assert rows("pose") == list(msgpack.unpackb(packer.pose(make_pose())))
    header = wire.Header("rig", "model", ("a",), ("snout",), (), 0.5)
    assert ["v", *rows("header")] == list(msgpack.unpackb(packer.header(header)))
    assert ["v", *rows("preview")] == list(msgpack.unpackb(packer.preview(wire.Preview(3, "a", 0.5, b""))))


def test_the_bytes_in_the_document_are_those_of_a_pose() -> None:
    body = wire.Wire().pose(make_pose(keypoints=1)).hex(" ")
    text = (ROOT / "docs" / "wire.md").read_text(encoding="utf-8").split("### Byte by byte")[1].split("```")[1]
    for line in text.splitlines()[1:]:
        for run in re.findall(r"(?:[0-9a-f]{2} )*[0-9a-f]{2}(?= |$)", line.split("  ")[0]):
            assert run in body, line


@pytest.mark.parametrize(
    "damage",
    [
        lambda body: b"",
        lambda body: body[:-3],
        lambda body: b"\xc1" + body,
        lambda body: msgpack.packb([1, 2]),
        lambda body: msgpack.packb({"v": 2}),
        lambda body: msgpack.packb({"v": 1}),
        lambda body: msgpack.packb({**msgpack.unpackb(body), "keypoints": 5}),
        lambda body: msgpack.packb({**msgpack.unpackb(body), "times": None}),
    ],
)
def test_damaged_messages_are_refused(damage) -> None:
    with pytest.raises(DataError, match="expected"):
        wire.unpack_pose(damage(wire.Wire().pose(make_pose())))


def test_header_and_preview_come_back_as_they_were() -> None:
    header = wire.Header("rig", "model", ("a", "b"), ("snout", "tail"), (("snout", "tail"),), 0.5)
    assert wire.unpack_header(wire.Wire().header(header)) == header
    preview = wire.Preview(3, "a", 0.5, b"jpeg")
    assert wire.unpack_preview(wire.Wire().preview(preview)) == preview
