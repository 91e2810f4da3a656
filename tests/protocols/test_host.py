"""Gates, lease, failures and accounting of the host, pose by pose."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from poses import make_pose

from poseloop.live.clock import now_ns
from poseloop.live.config import parse_rig
from poseloop.live.errors import ConfigError, DeviceLost
from poseloop.live.output.wire import Header
from poseloop.live.types import BoardEvent, Command, CommandKind, InputEvent, OutcomeKind, PinEdge, Pose
from poseloop.protocols.host import Host

RIG = """
[cameras.top]
use = "sim"
[model]
file = "blob"
[gates]
score = 0.5
age_ms = 1000
[boards.desk]
use = "parts.py:Desk"
lease_ms = 50
rearm_after_ms = {rearm}
[boards.desk.lines.laser]
pin = 9
max_on_ms = 50
[protocols.task]
use = "parts.py:{protocol}"
"""
HEADER = Header("rig", "model", ("top",), ("snout", "tail"), (), 0.5)
PULSE = Command("desk", "laser", CommandKind.PULSE, on_us=5000)
OFF = Command("desk", "laser", CommandKind.OFF)


class Bench:
    """A host on a desk board, and all that it told."""

    def __init__(self, protocol: str = "Always", rearm: float = 0.0) -> None:
        text = RIG.format(protocol=protocol, rearm=rearm)
        self.told: list[tuple[str, dict]] = []
        self.host = Host(
            parse_rig(text, Path(__file__).with_name("rig.toml"), ("boards", "protocols")),
            lambda event, **values: self.told.append((event, values)),
        )
        self.host.open()
        self.host.bind(HEADER)
        self.desk = self.host._boards["desk"].board
        self.index = -1

    def decide(self, age_ms: float = 1.0, score: float = 0.9, missing: int = 0) -> None:
        self.index += 1
        exposed = now_ns() - int(age_ms * 1e6)
        pose: Pose = make_pose(keypoints=2)
        self.host.decide(
            replace(
                pose,
                index=self.index,
                score=np.array([[score, 0.0]], np.float32),
                missing=missing,
                trace=replace(pose.trace, exposed_ns=exposed, arrived_ns=exposed),
            )
        )

    def triggers(self) -> list[dict]:
        return [values for event, values in self.told if event == "trigger"]


def test_open_configures_and_does_not_arm() -> None:
    assert Bench().desk.calls == ["open", "configure laser 50"]


def test_the_first_fresh_pose_arms_and_each_further_one_renews_the_lease() -> None:
    bench = Bench()
    for _ in range(3):
        bench.decide()
    assert bench.desk.calls[2:] == ["arm", "renew", "renew", "renew"]
    assert bench.desk.sent == [PULSE] * 3


@pytest.mark.parametrize(
    ("pose", "reason"),
    [
        ({"age_ms": 1500}, "held: stale pose"),
        ({"score": 0.4}, "held: low score"),
        ({"score": np.nan}, "held: low score"),
        ({"missing": 1}, "held: incomplete set"),
    ],
    ids=str,
)
def test_a_gate_holds_on_commands_back_and_lets_off_pass(pose: dict, reason: str) -> None:
    bench = Bench()
    bench.decide(**pose)
    assert bench.desk.sent == []
    assert bench.host.triggers["held"] == 1
    assert bench.host.triggers["sent"] == 0
    assert [trigger["reason"] for trigger in bench.triggers()] == [reason]
    bench = Bench("Off")
    bench.decide(**pose)
    assert bench.desk.sent == [OFF]


def test_a_stale_pose_does_not_renew_the_lease() -> None:
    bench = Bench()
    bench.decide()
    bench.decide(age_ms=1500)
    assert bench.desk.calls[2:] == ["arm", "renew"]
    assert bench.host.poses["stale"] == 1


def test_after_a_lapse_poses_must_stay_fresh_before_it_is_armed_again() -> None:
    bench = Bench(rearm=30)
    bench.decide()
    bench.desk.says.append(BoardEvent("desk", "lease_lapsed", "", 0))
    ends = now_ns() + 40_000_000
    bench.decide()
    assert bench.desk.calls.count("arm") == 1
    while now_ns() < ends:
        bench.decide()
    bench.decide()
    assert bench.desk.calls.count("arm") == 2


def test_inputs_reach_the_protocol_with_the_next_pose() -> None:
    bench = Bench()
    lick = InputEvent("desk", "lick", True, 5)
    bench.desk.says.append(lick)
    bench.decide()
    bench.decide()
    assert bench.host._protocols["task"].inputs == [lick]


def test_a_trigger_is_followed_to_the_pin() -> None:
    bench = Bench()
    bench.decide()
    bench.desk.acknowledge(1)
    bench.desk.says.append(PinEdge("desk", "laser", True, at_ns=now_ns(), ticket=1))
    bench.desk.says.append(PinEdge("desk", "laser", False, at_ns=now_ns(), ticket=1))
    bench.host.collect()
    (trigger,) = bench.triggers()
    assert trigger["index"] == 0
    assert trigger["trace"]["exposed_ns"] < trigger["trace"]["decided_ns"] <= trigger["trace"]["pin_ns"]
    assert "exposure_to_pin" in bench.host.report()["latency_ms"]


def test_every_trigger_sent_is_acknowledged_refused_or_lost() -> None:
    bench = Bench()
    for _ in range(4):
        bench.decide()
    bench.desk.acknowledge(1)
    bench.desk.acknowledge(2, OutcomeKind.REFUSED, "duty limit")
    bench.desk.acknowledge(3, OutcomeKind.LOST, "no answer within 50 ms")
    bench.host.settle(0.01)
    assert bench.host.triggers == {"sent": 4, "acknowledged": 1, "refused": 1, "lost": 2, "held": 0}
    assert bench.host.refusals == {"duty limit": 1, "no answer within 50 ms": 1, "no answer until the end": 1}
    assert len(bench.triggers()) == 4


def test_a_protocol_that_fails_is_disabled_and_its_lines_go_off() -> None:
    bench = Bench("Breaks")
    for _ in range(5):
        bench.decide()
    assert [command.kind for command in bench.desk.sent] == [CommandKind.LEVEL, CommandKind.LEVEL, CommandKind.OFF]
    assert bench.host.report()["protocols"] == {"task": "ZeroDivisionError: division by zero"}
    assert ("protocol_failed", {"protocol": "task", "error": "ZeroDivisionError: division by zero", "index": 2}) in (
        bench.told
    )


def test_a_line_that_the_rig_does_not_have_is_never_switched() -> None:
    bench = Bench("Strays")
    bench.decide()
    bench.decide()
    assert bench.desk.sent == []
    assert "desk.shutter, which the rig does not have" in bench.host.failures["task"]
    with pytest.raises(ConfigError, match=r"protocols.task: it switches 'desk.shutter', but .* are: desk.laser"):
        Bench("Greedy")


def test_a_keypoint_that_the_model_does_not_have_is_named() -> None:
    bench = Bench()
    with pytest.raises(ConfigError, match=r"protocols.task: it needs the keypoint\(s\) snout, but .* has: centre"):
        bench.host.bind(replace(HEADER, keypoints=("centre",)))


@pytest.mark.parametrize("state", ["reset", "link_lost"])
def test_a_board_that_is_gone_ends_the_run(state: str) -> None:
    bench = Bench()
    bench.decide()
    bench.desk.says.append(BoardEvent("desk", state, "the cable was pulled", 0))
    with pytest.raises(DeviceLost, match="desk: the cable was pulled"):
        bench.decide()


def test_close_closes_every_board_once() -> None:
    bench = Bench()
    bench.host.close()
    bench.host.close()
    assert bench.desk.calls.count("close") == 1
