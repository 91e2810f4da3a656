"""Gates, lease, failures and accounting of the host, pose by pose."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from poses import make_pose

from poseloop.live.clock import now_ns
from poseloop.live.config import Geometry, parse_rig
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
age_ms = {age_ms}
[boards.desk]
use = "parts.py:{desk}"
lease_ms = 50
rearm_after_ms = {rearm}
[boards.desk.lines.laser]
{pin}
max_on_ms = 50
[protocols.task]
use = "parts.py:{protocol}"
"""
HEADER = Header("rig", "model", ("top",), ("snout", "tail"), (), 0.5)
PULSE = Command("desk", "laser", CommandKind.PULSE, on_us=5000)
OFF = Command("desk", "laser", CommandKind.OFF)


class Bench:
    """A host on a desk board, and all that it told."""

    def __init__(
        self,
        protocol: str = "Always",
        rearm: float = 0.0,
        age_ms: float = 1000,
        desk: str = "Desk",
        pin: str = "pin = 9",
        geometry: Geometry | None = None,
    ) -> None:
        text = RIG.format(protocol=protocol, rearm=rearm, age_ms=age_ms, desk=desk, pin=pin)
        self.told: list[tuple[str, dict]] = []
        rig = parse_rig(text, Path(__file__).with_name("rig.toml"), ("boards", "protocols"))
        self.host = Host(
            rig.model_copy(update={"geometry": geometry}),
            lambda event, **values: self.told.append((event, values)),
        )
        self.host.open()
        self.host.bind(HEADER)
        self.desk = self.host._boards["desk"].board
        self.index = -1

    def pose(
        self,
        age_ms: float = 1.0,
        score: float = 0.9,
        missing: int = 0,
        skew_ms: float = 0.0,
        scores: tuple[float, ...] = (),
    ) -> Pose:
        """A pose of that age and score of the snout (or one score for each camera); the tail's score is 0."""
        self.index += 1
        exposed = now_ns() - int(age_ms * 1e6)
        snout = np.array(scores or (score,), np.float32)
        pose: Pose = make_pose(cameras=len(snout), keypoints=2)
        by_camera = np.stack([snout, np.zeros_like(snout)], axis=-1)[:, None]
        return replace(
            pose,
            index=self.index,
            keypoints=replace(pose.keypoints, score=by_camera),
            score=by_camera.max(axis=0),
            missing=missing,
            skew_ns=int(skew_ms * 1e6),
            trace=replace(pose.trace, exposed_ns=exposed, arrived_ns=exposed),
        )

    def decide(self, **pose) -> None:
        self.host.decide(self.pose(**pose))

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
    assert bench.host.triggers.counts["held"] == 1
    assert bench.host.triggers.counts["sent"] == 0
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


@pytest.mark.parametrize("pose", [{"missing": 1}, {"skew_ms": 50}])
def test_a_pose_without_all_cameras_neither_arms_nor_renews_the_lease(pose: dict) -> None:
    """A level that was switched on before must not stay on while a camera is missing."""
    bench = Bench()
    bench.decide(**pose)
    assert "arm" not in bench.desk.calls
    bench.decide()
    bench.decide(**pose)
    assert bench.desk.calls[2:] == ["arm", "renew"]
    assert bench.host.poses["stale"] == 0


def test_after_a_lapse_poses_must_stay_fresh_before_it_is_armed_again() -> None:
    bench = Bench(rearm=30)
    ends = now_ns() + 40_000_000
    while now_ns() < ends:  # fresh for longer than that already: it does not count
        bench.decide()
    bench.desk.says.append(BoardEvent("desk", "lease_lapsed", "", 0))
    lapsed = now_ns()
    while now_ns() < lapsed + 20_000_000:
        bench.decide()
        assert bench.desk.calls.count("arm") == 1 or now_ns() > lapsed + 30_000_000
    while now_ns() < lapsed + 40_000_000:
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


def test_a_trigger_of_a_board_without_pins_ends_with_its_answer() -> None:
    bench = Bench(desk="Pinless", pin="")
    bench.decide()
    bench.desk.acknowledge(1)
    bench.host.collect()
    assert [trigger["outcome"] for trigger in bench.triggers()] == [OutcomeKind.ACKNOWLEDGED]
    assert bench.host.triggers.open == 0


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


def test_the_way_from_publication_to_the_pin_is_measured_robustly() -> None:
    bench = Bench()
    assert bench.host.status()["act_ns"] == 0
    for ticket in range(1, 101):
        pose = bench.pose()
        published = now_ns()
        bench.host.decide(replace(pose, trace=replace(pose.trace, published_ns=published)))
        # Every third one is late by a second.
        took = 1_000_000_000 if ticket % 3 == 0 else 4_000_000 + ticket * 1000
        bench.desk.acknowledge(ticket)
        bench.desk.says.append(PinEdge("desk", "laser", True, at_ns=published + took, ticket=ticket))
        bench.host.collect()
    assert 4_060_000 < bench.host.status()["act_ns"] < 4_110_000


def test_every_trigger_sent_is_acknowledged_refused_or_lost() -> None:
    bench = Bench()
    for _ in range(4):
        bench.decide()
    bench.desk.acknowledge(1)
    bench.desk.acknowledge(2, OutcomeKind.REFUSED, "duty limit")
    bench.desk.acknowledge(3, OutcomeKind.LOST, "no answer within 50 ms")
    bench.host.settle(0.01)
    assert bench.host.triggers.counts == {"sent": 4, "acknowledged": 1, "refused": 1, "lost": 2, "held": 0}
    assert bench.host.triggers.reasons == {"duty limit": 1, "no answer within 50 ms": 1, "no answer until the end": 1}
    assert len(bench.triggers()) == 4


def test_a_protocol_that_fails_is_disabled_and_its_lines_go_off() -> None:
    bench = Bench("Breaks")
    for _ in range(5):
        bench.decide()
    assert [command.kind for command in bench.desk.sent] == [CommandKind.LEVEL, CommandKind.LEVEL, CommandKind.OFF]
    (failure,) = [values for event, values in bench.told if event == "protocol_failed"]
    assert failure["index"] == 2
    assert failure["error"].startswith("ZeroDivisionError: division by zero (parts.py, line ")
    assert bench.host.report()["protocols"] == {"task": failure["error"]}


def test_a_line_that_was_not_announced_is_never_switched_and_the_protocols_own_goes_off() -> None:
    bench = Bench("Strays")
    for _ in range(5):
        bench.decide()
    assert [(c.line, c.kind) for c in bench.desk.sent] == [
        ("laser", CommandKind.LEVEL),
        ("laser", CommandKind.LEVEL),
        ("laser", CommandKind.OFF),
    ]
    assert "desk.shutter, which is not among its outputs" in bench.host.failures["task"]
    with pytest.raises(ConfigError, match=r"protocols.task: it switches 'desk.shutter', but .* are: desk.laser"):
        Bench("Greedy")


@pytest.mark.parametrize(
    ("protocol", "why"),
    [("Exits", "SystemExit: 3"), ("Mumbles", "must return a list of commands, () for none, but it returned [None]")],
)
def test_whatever_a_protocol_does_wrong_disables_it_alone(protocol: str, why: str) -> None:
    bench = Bench(protocol)
    bench.decide()
    bench.decide()
    assert why in bench.host.failures["task"]
    assert bench.desk.sent == [OFF]


def test_a_board_that_no_living_protocol_serves_is_disarmed_and_its_lease_not_renewed() -> None:
    bench = Bench("Breaks")
    for _ in range(6):
        bench.decide()
    after = bench.desk.calls[bench.desk.calls.index("arm") :]
    assert after == ["arm", "renew", "renew", "disarm"]


def test_a_protocol_that_decides_too_long_gets_no_stimulus_and_no_lease() -> None:
    bench = Bench("Slow", age_ms=50)
    bench.decide()
    assert bench.desk.sent == []
    assert "renew" not in bench.desk.calls
    assert [trigger["reason"] for trigger in bench.triggers()] == ["held: stale pose"]


def test_a_pose_from_the_future_is_not_fresh() -> None:
    bench = Bench()
    bench.decide(age_ms=-3_600_000)
    assert bench.desk.sent == []
    assert "arm" not in bench.desk.calls


def test_the_gate_looks_at_all_keypoints_unless_the_protocol_says_which() -> None:
    bench = Bench("Careful")
    bench.decide()  # the tail's score is 0
    assert bench.desk.sent == []
    bench = Bench("Blind")
    bench.decide(score=np.nan)
    assert bench.desk.sent == [PULSE]


def test_the_gate_looks_at_the_protocols_own_camera() -> None:
    for protocol, sent in (("Always", []), ("Second", [PULSE])):
        bench = Bench(protocol)
        bench.decide(scores=(0.01, 0.9))
        assert bench.desk.sent == sent


def test_cameras_out_of_step_hold_on_commands_back() -> None:
    bench = Bench()
    bench.decide(skew_ms=11)
    assert [trigger["reason"] for trigger in bench.triggers()] == ["held: cameras not in step"]


def test_nothing_is_sent_to_a_board_that_is_not_armed() -> None:
    bench = Bench(rearm=10_000)
    bench.decide()
    bench.desk.says.append(BoardEvent("desk", "lease_lapsed", "", 0))
    bench.decide()
    assert bench.desk.sent == [PULSE]
    assert [trigger["reason"] for trigger in bench.triggers()] == ["held: board not armed"]
    assert bench.host.report()["boards"] == {"desk": {"lapses": 1}}


def test_every_pose_is_shown_to_who_wants_it_but_only_the_newest_can_switch_on() -> None:
    bench = Bench("Counts")
    bench.decide()
    assert bench.host.wants_every_pose
    bench.host.pass_on(bench.pose())
    assert bench.host._protocols["task"].seen == 2
    assert bench.desk.sent == [PULSE, OFF, OFF]
    assert [trigger["reason"] for trigger in bench.triggers()] == ["held: a newer pose is there"]
    assert not Bench("Always").host.wants_every_pose


@pytest.mark.parametrize(
    ("protocol", "expected"), [("Letters", "tuple of names, but got 'snout'"), ("NoReset", "cannot start: ZeroDiv")]
)
def test_a_protocol_that_cannot_be_started_is_named(protocol: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=rf"protocols.task: .*{expected}"):
        Bench(protocol)


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


def test_two_protocols_on_one_line_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"protocols\.other: it switches desk\.laser, which protocols\.task"):
        Bench(protocol='Always"\n[protocols.other]\nuse = "parts.py:Always')


def test_what_a_protocol_notes_is_told_with_its_pose() -> None:
    bench = Bench("Writes")
    bench.decide()
    bench.decide()
    first, second = [values for event, values in bench.told if event == "note"]
    assert first["protocol"] == "task"
    assert (first["name"], first["index"], second["index"]) == ("seen", 0, 1)
    assert first["at_ns"] < second["at_ns"]
    # It crosses a process in JSON; the snout's place in these poses is NaN.
    assert json.loads(json.dumps(first["values"], allow_nan=False)) == {"where": None, "who": "snout"}


def test_a_protocol_is_closed_at_the_end_and_its_failure_then_is_told() -> None:
    bench = Bench("Writes")
    bench.host.close()
    assert bench.host._protocols["task"].closed == 1
    (failure,) = [values for event, values in bench.told if event == "protocol_failed"]
    assert "the port is gone" in failure["error"]


def test_the_gate_of_a_protocol_that_looks_at_the_world_is_the_score_of_the_world() -> None:
    for score, sent in ((0.9, [PULSE]), (0.4, [])):
        bench = Bench("InTheWorld", geometry=Geometry(calibration=Path("calibration.toml")))
        pose = bench.pose(scores=(0.9, 0.9))
        bench.host.decide(replace(pose, score=np.full_like(pose.score, score)))
        assert bench.desk.sent == sent


def test_a_protocol_in_the_world_is_refused_on_a_rig_without_one() -> None:
    with pytest.raises(ConfigError, match=r"protocols.task: it looks at points in the world .*\[geometry\]"):
        Bench("InTheWorld")


def test_a_clock_of_its_own() -> None:
    bench = Bench(age_ms=50)
    pose = bench.pose(age_ms=10_000)
    bench.host._clock = lambda: pose.trace.exposed_ns + 40_000_000
    bench.host.decide(pose)
    assert bench.desk.sent == [PULSE]
    bench.host._clock = lambda: pose.trace.exposed_ns + 60_000_000
    bench.host.decide(pose)
    assert bench.desk.sent == [PULSE]
