"""What all shipped protocols share: stimulus, refractory time, chance, maximum, time window, further conditions."""

import re

import pytest

from poseloop.live.errors import ConfigError
from poseloop.live.types import Command, CommandKind
from poseloop.protocols import Rehearsal, Triggered
from poseloop.protocols.region import Region
from poseloop.protocols.schedule import Schedule
from poseloop.protocols.stimulus import Presence, What

IN, OUT = (0, 0), (100, 100)


def region(**settings) -> Rehearsal:
    settings.setdefault("output", "box.laser")
    return Rehearsal(Region, keypoint="snout", circle=[0, 0, 10], **settings)


def entries(task: Rehearsal, count: int, every: int = 10) -> list[int]:
    """Enter every so many frames (10 ms each); the numbers of the frames at which something was asked for."""
    track = [IN if i % every == every - 1 else OUT for i in range(count * every)]
    return [index for index, _ in task.run({"snout": track})]


def fates(task: Rehearsal) -> list[str]:
    return [note.values["fate"] for note in task.notes if note.name == "occasion"]


def test_a_pulse_a_train_and_their_delay() -> None:
    ((_, pulse),) = region(pulse_ms=20, delay_ms=5).run({"snout": [OUT, IN]})
    assert pulse == Command("box", "laser", CommandKind.PULSE, on_us=20_000, delay_us=5000)
    ((_, train),) = region(pulse_ms=2, pulses=10, period_ms=50).run({"snout": [OUT, IN]})
    assert train == Command("box", "laser", CommandKind.TRAIN, on_us=2000, period_us=50_000, count=10)
    assert region(pulse_ms=2, pulses=10, period_ms=50).protocol.commands == (train,)


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"pulses": 2}, "pulses > 1 and period_ms belong together"),
        ({"period_ms": 2}, "pulses > 1 and period_ms belong together"),
        ({"pulses": 2, "period_ms": 5, "pulse_ms": 5}, "expected period_ms > pulse_ms (5), but got 5"),
        ({"from_s": 2, "until_s": 1}, "expected until_s > from_s (2), but got 1"),
        ({"when": "enter", "dwell_ms": 100}, "dwell_ms is for when = 'dwell' only"),
        ({"when": "inside", "pulse_ms": 100}, "pulse_ms cannot be set with when = 'inside'"),
        ({"probability": 1.5}, "probability: expected: .*less than or equal to 1; found 1.5"),
        ({"output": "laser"}, "output: expected board.line, such as box.laser, but got 'laser'"),
        ({"only_if": [{"use": "region", "keypoint": "snout"}]}, "only_if.0.region: expected exactly one of polygon"),
        ({"only_if": [{"use": "regoin"}]}, "only_if.0: .*'region', 'speed', 'posture', 'heading', 'input'"),
    ],
    ids=str,
)
def test_contradictions_are_refused(wrong: dict, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected if ".*" in expected else re.escape(expected)):
        region(**wrong)


def test_what_a_protocol_needs_and_switches_follows_from_the_types_of_its_parameters() -> None:
    near = {"use": "posture", "measure": "distance", "keypoints": ["snout", "tail"], "below": 10}
    above = {"use": "posture", "measure": "height", "keypoints": ["paw"], "above": 10, "space": "world"}
    task = region(only_if=[near, above], model=["paw", "snout", "tail"])
    # The paw's height is told in the world; whether the camera sees it is no matter.
    assert task.protocol.needs == ("snout", "tail")
    assert task.protocol.outputs == ("box.laser",)


def test_refractory_time_counts_from_the_last_moment_that_counted() -> None:
    task = region(refractory_ms=250)
    assert entries(task, 6) == [9, 39]
    assert fates(task) == ["stimulus", "refractory", "refractory", "stimulus", "refractory", "refractory"]


def test_chance_leaves_moments_out_and_is_the_same_for_the_same_seed() -> None:
    first, again, other = (region(probability=0.5, seed=seed) for seed in (1, 1, 2))
    given = [entries(task, 400) for task in (first, again, other)]
    assert given[0] == given[1]
    assert given[0] != given[2]
    assert 160 < len(given[0]) < 240  # 4 standard deviations
    assert set(fates(first)) == {"stimulus", "blank"}
    first.restart()
    assert entries(first, 400) == given[0]


def test_two_protocols_of_a_rig_draw_different_lots() -> None:
    tasks = [region(probability=0.5) for _ in range(2)]
    tasks[1].protocol.name = "other"
    tasks[1].restart()
    assert entries(tasks[0], 50) != entries(tasks[1], 50)


def test_a_blank_is_followed_by_the_refractory_time_too() -> None:
    task = region(probability=0, refractory_ms=150)
    assert entries(task, 4) == []
    assert fates(task) == ["blank", "refractory", "blank", "refractory"]


def test_maximum_and_time_window() -> None:
    task = region(max_per_session=2)
    assert entries(task, 5) == [9, 19]
    assert fates(task)[2:] == ["maximum reached"] * 3
    task = region(from_s=0.1, until_s=0.3)
    assert entries(task, 5) == [19, 29]
    assert fates(task)[0] == "outside the time"


def test_only_if_must_hold_at_the_moment_and_unseen_is_not_held() -> None:
    slow = {"use": "posture", "measure": "distance", "keypoints": ["snout", "tail"], "below": 50}
    task = region(only_if=[slow, {"use": "input", "input": "box.door"}])
    door = {"box.door": True}
    cases = [({}, (1, 1), False), (door, (1, 1), True), ({}, (90, 90), False), ({}, None, False), ({}, (2, 2), True)]
    for inputs, tail, expected in cases:
        task.show(snout=OUT, tail=(0, 0))
        assert bool(task.show(inputs, snout=IN, tail=tail)) is expected
    assert fates(task).count("only_if does not hold") == 3


def test_presence_tells_first_sights_from_entries_and_forgets_what_it_has_not_seen() -> None:
    presence = Presence(dwell_ms=100, lost_ms=50)
    told = [
        (0, True, [What.FOUND]),
        (90, True, []),
        (110, True, [What.DWELT]),
        (120, False, [What.LEFT]),
        (130, True, [What.ENTERED]),
        (140, None, []),
        (179, None, []),
        (180, None, [What.LOST]),
        (190, True, [What.FOUND]),
        (200, None, []),
        (230, True, []),
        (290, True, [What.DWELT]),
        (3000, True, [What.LOST, What.FOUND]),
        (6000, False, [What.LOST]),
        (6010, True, [What.ENTERED]),
    ]
    for ms, holds, expected in told:
        assert list(presence.update(int(ms * 1e6) + 10**12, holds)) == expected, ms


def test_a_line_that_is_on_goes_off_when_poses_have_paused_and_on_again() -> None:
    task = region(when="inside")
    task.show(snout=IN)
    assert [c.kind for c in task.show(snout=IN, pause_ms=5000)] == [CommandKind.OFF, CommandKind.LEVEL]
    assert [c.kind for c in task.show(snout=OUT, pause_ms=5000)] == [CommandKind.OFF]
    assert task.show(snout=OUT) == []


def test_inside_that_was_not_switched_on_is_not_switched_off() -> None:
    assert region(when="inside", max_per_session=0).run({"snout": [OUT, IN, OUT]}) == []


def test_the_shortest_protocol_of_a_users_own() -> None:
    class EveryTenth(Triggered):
        def occasion(self, pose, events):
            return pose.index % 10 == 9

    task = Rehearsal(EveryTenth, output="box.laser", max_per_session=3)
    assert [i for i, _ in task.run({"point": [(0, 0)] * 100})] == [9, 19, 29]
    assert task.protocol.needs is None, "the gate looks at all keypoints then"


def test_schedule_needs_no_keypoint() -> None:
    assert Rehearsal(Schedule, output="box.laser", every_s=1).protocol.needs == ()
