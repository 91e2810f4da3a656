"""Protocols on a rig that looks for several animals."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from poses import make_pose

from poseloop.live.clock import now_ns
from poseloop.live.config import parse_rig
from poseloop.live.errors import ConfigError
from poseloop.live.output.wire import Header
from poseloop.live.types import Keypoints, Pose
from poseloop.protocols import Protocol, Rehearsal
from poseloop.protocols.host import Host
from poseloop.protocols.region import Region
from poseloop.protocols.sight import check_individuals

RIG = """
[cameras.top]
use = "sim"
[model]
file = "blob"
individuals = {individuals}
[gates]
age_ms = 10000
[boards.desk]
use = "parts.py:Desk"
[boards.desk.lines.laser]
pin = 9
max_on_ms = 50
[protocols.task]
"""
HEADER = Header("rig", "model", ("top",), ("snout",), (), 0.5)

REGION = 'use = "region"\nkeypoint = "snout"\ncircle = [100, 100, 20]\noutput = "desk.laser"\n'
SHAM = 'use = "sham"\nof = { use = "region", keypoint = "snout", circle = [0, 0, 1], output = "desk.laser" }'
THE_OTHER_IS_AT_HOME = '[[protocols.task.only_if]]\nuse = "region"\nkeypoint = "snout"\ncircle = [0, 0, 20]\n'

AWAY, IN, HOME = (300, 300), (100, 100), (0, 0)


def host(protocol: str, individuals: int = 2) -> Host:
    text = RIG.format(individuals=individuals) + protocol
    made = Host(parse_rig(text, Path(__file__).with_name("rig.toml"), ("boards", "protocols")))
    made.open()
    made.bind(HEADER)
    return made


def pose(*places: tuple[float, float], score: tuple[float, ...] = (1.0, 1.0)) -> Pose:
    made: Pose = make_pose(individuals=len(places), keypoints=1)
    xy = np.array(places, np.float32)[None, :, None]
    scores = np.array(score[: len(places)], np.float32)[:, None]
    exposed = now_ns() - 1_000_000
    return replace(
        made,
        keypoints=Keypoints(xy, scores[None]),
        score=scores,
        predicted=xy,
        trace=replace(made.trace, exposed_ns=exposed, arrived_ns=exposed),
    )


def given(protocol: str, *poses: Pose) -> list[int]:
    """Which of the poses led to a command."""
    task = host(protocol)
    sent = task._boards["desk"].board.sent
    found = []
    for number, one in enumerate(poses):
        before = len(sent)
        task.decide(one)
        found += [number] * (len(sent) - before)
    return found


@pytest.mark.parametrize(("individual", "expected"), [(0, [1]), (1, [2])])
def test_a_protocol_looks_at_the_animal_that_it_names(individual: int, expected: list[int]) -> None:
    poses = pose(AWAY, AWAY), pose(IN, AWAY), pose(IN, IN), pose(AWAY, IN)
    assert given(REGION + f"individual = {individual}", *poses) == expected


def test_the_gate_looks_at_the_scores_of_that_animal() -> None:
    unsure_other = pose(AWAY, AWAY, score=(0.1, 1.0)), pose(AWAY, IN, score=(0.1, 1.0))
    unsure = pose(AWAY, AWAY, score=(1.0, 1.0)), pose(AWAY, IN, score=(1.0, 0.1))
    assert given(REGION + "individual = 1", *unsure_other) == [1]
    assert given(REGION + "individual = 1", *unsure) == []


def test_a_condition_may_look_at_another_animal() -> None:
    text = REGION + "individual = 0\n" + THE_OTHER_IS_AT_HOME + "individual = 1"
    assert given(text, pose(AWAY, AWAY), pose(IN, AWAY), pose(AWAY, HOME), pose(IN, HOME)) == [3]


@pytest.mark.parametrize(
    ("text", "individuals", "expected"),
    [
        (REGION, 2, r"protocols.task: expected individual = 0 to 1, but got none: \[model\] looks for 2 individuals"),
        (REGION + "individual = 2", 2, "protocols.task: expected individual = 0 to 1, .* but got individual = 2"),
        (REGION + "individual = 1", 1, "protocols.task: expected individual = 0, .* but got individual = 1"),
        (REGION + "individual = 0\n" + THE_OTHER_IS_AT_HOME, 2, "protocols.task: expected individual = 0 to 1"),
        (SHAM, 2, "protocols.task: expected individual = 0 to 1, but got none"),
    ],
)  # fmt: skip
def test_it_must_be_clear_which_animal_is_meant(text: str, individuals: int, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        host(text, individuals)


@pytest.mark.parametrize("text", ['use = "schedule"\nevery_s = 1\noutput = "desk.laser"', 'use = "parts.py:Blind"'])
def test_what_looks_at_no_animal_need_not_name_one(text: str) -> None:
    host(text)


class Nearness(Protocol):
    """Looks at two animals."""

    individuals = (0, 1)
    needs = ("snout",)

    def decide(self, pose, events):
        apart = self.point(pose, "snout", individual=0) - self.point(pose, "snout", individual=1)
        self.note("apart", pose, px=float(np.hypot(*apart)))
        return ()


def test_a_protocol_of_ones_own_may_look_at_several() -> None:
    task = Rehearsal(Nearness, model=["snout"])
    task.protocol.decide(pose((0, 0), (3, 4)), ())
    assert task.protocol.take_notes()[0].values == {"px": 5.0}


def test_it_can_be_rehearsed() -> None:
    task = Rehearsal(Region, keypoint="snout", circle=[100, 100, 20], output="box.laser", individual=1)
    assert task.show(snout=AWAY) == []
    assert len(task.show(snout=IN)) == 1


@pytest.mark.parametrize("individual", [-1, 2])
def test_an_animal_that_there_is_not_is_no_other_one(individual: int) -> None:
    """A task of a user's own may name any number; -1 would be NumPy's last."""
    with pytest.raises(ConfigError, match=f"but got individual = {individual}"):
        check_individuals([0, individual], 2)
