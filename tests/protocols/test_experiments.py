"""The shipped experiments on simulated behaviour of which the right times are known."""

import contextlib
import math
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from synthetic import Plan, exposed_ns, make_session

from poseloop.bench.protocols import Scene, measure_hits, scenes
from poseloop.live.errors import ConfigError, DataError
from poseloop.live.output.log import LOG_FILE, packed
from poseloop.live.types import CommandKind
from poseloop.protocols import Rehearsal
from poseloop.protocols.heading import Heading
from poseloop.protocols.inputs import Input
from poseloop.protocols.phase import Phase
from poseloop.protocols.posture import Posture
from poseloop.protocols.region import Region
from poseloop.protocols.schedule import Schedule
from poseloop.protocols.sequence import Sequence
from poseloop.protocols.sham import Sham
from poseloop.protocols.speed import Speed
from poseloop.protocols.yoked import Yoked

OUTPUT = {"output": "box.laser"}
FPS = 100


def frames(task: Rehearsal, tracks: dict) -> list[int]:
    return [index for index, command in task.run(tracks) if command.kind is not CommandKind.OFF]


def crossings(holds: np.ndarray) -> list[int]:
    """Frames at which it begins to hold."""
    return (np.flatnonzero(holds[1:] & ~holds[:-1]) + 1).tolist()


def circling(seconds: float = 20) -> tuple[np.ndarray, np.ndarray]:
    t = np.arange(int(seconds * FPS)) / FPS
    return t, np.stack([100 * np.cos(1.1 * t), 100 * np.sin(1.7 * t)], axis=1)


def test_region_at_zero_noise_neither_misses_nor_adds() -> None:
    _, track = circling()
    truth = crossings(np.hypot(*(track - [60, 60]).T) <= 40)
    assert len(truth) > 3
    task = Rehearsal(Region, keypoint="p", circle=[60, 60, 40], **OUTPUT)
    assert frames(task, {"p": track}) == truth


def test_hysteresis_makes_one_entry_of_a_noisy_one() -> None:
    random = np.random.default_rng(1)
    t, _ = circling(30)
    slow = 100 * np.sin(0.5 * t)[:, None] * [1, 0]
    truth = crossings(slow[:, 0] < -20)
    noisy = slow + random.normal(0, 1, slow.shape)
    square = [[-200, -50], [-20, -50], [-20, 50], [-200, 50]]
    given = {h: frames(Rehearsal(Region, keypoint="p", polygon=square, hysteresis=h, **OUTPUT), {"p": noisy})
             for h in (0, 8)}  # fmt: skip
    assert len(given[0]) > len(truth)
    assert len(given[8]) == len(truth)


def test_speed_acts_when_the_run_begins() -> None:
    t = np.arange(10 * FPS) / FPS
    speed = np.where((t % 2) < 1, 0.0, 300.0)
    x = np.cumsum(speed) / FPS
    starts = [int(s * FPS) for s in (1, 3, 5, 7, 9)]
    task = Rehearsal(Speed, keypoint="p", above=150, hysteresis=50, window_ms=60, **OUTPUT)
    given = frames(task, {"p": np.stack([x, 0 * x], axis=1)})
    assert len(given) == len(starts)
    # Half of the window must be of the run before the line's slope is half of its speed.
    assert all(2 <= at - start <= 5 for start, at in zip(starts, given, strict=True))


def test_posture_acts_on_a_rear() -> None:
    t = np.arange(20 * FPS) / FPS
    height = 40 + 30 * np.sin(t)
    task = Rehearsal(Posture, measure="height", keypoints=["snout"], space="world", above=60, world=True, **OUTPUT)
    assert frames(task, {"snout": np.stack([t, t, height], axis=1)}) == crossings(height > 60)


def test_heading_acts_when_the_animal_turns_to_the_port() -> None:
    t = np.arange(20 * FPS) / FPS
    angle = 1.3 * t + 1
    tail = np.stack([10 * t, 0 * t], axis=1)
    head = tail + 30 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    port = np.array([500.0, 300.0])
    to_port = np.arctan2(*(port - head).T[::-1])
    off = np.abs(np.angle(np.exp(1j * (to_port - angle))))
    task = Rehearsal(Heading, tail="tail", head="head", place=port.tolist(), within_deg=20, **OUTPUT)
    assert frames(task, {"tail": tail, "head": head}) == crossings(off <= math.radians(20))


@pytest.mark.parametrize("phase_deg", [0, 45, 90, 180, 270, 350])
@pytest.mark.parametrize("hz", [2.0, 8.3])
def test_phase_hits_every_cycle_at_its_phase(phase_deg: float, hz: float) -> None:
    t = np.arange(20 * FPS) / FPS
    hip = np.stack([300 * np.sin(0.3 * t), 0 * t], axis=1)
    paw = hip + np.stack([15 * np.sin(math.tau * hz * t), 0 * t], axis=1)
    task = Rehearsal(Phase, keypoint="paw", relative_to="hip", phase_deg=phase_deg, least_range=10, **OUTPUT)
    given = task.run({"paw": paw, "hip": hip})
    # Once the range is known: the window, and a few cycles for the period.
    cycles = [int((index / FPS + command.delay_us / 1e6) * hz - phase_deg / 360 + 0.5) for index, command in given]
    late = [cycle for cycle in cycles if cycle > 8]
    assert late == list(range(9, late[-1] + 1))
    assert late[-1] >= int(20 * hz) - 2
    for index, command in given:
        if index > 4 * FPS:
            at = index / FPS + command.delay_us / 1e6
            off = (at * hz * 360 - phase_deg + 180) % 360 - 180
            # The interpolation of a crossing is straight, the sine between two frames is not; 12 frames a cycle.
            assert abs(off) < 6


def test_phase_rests_when_the_movement_does() -> None:
    t = np.arange(10 * FPS) / FPS
    moving = np.where(t < 5, 15 * np.sin(math.tau * 4 * t), 0.0)
    task = Rehearsal(Phase, keypoint="paw", phase_deg=90, least_range=10, **OUTPUT)
    given = frames(task, {"paw": np.stack([moving, 0 * t], axis=1)})
    assert len(given) > 10
    assert max(given) < 5.5 * FPS


def test_phase_does_nothing_on_noise() -> None:
    noise = np.random.default_rng(0).normal(0, 2, (20 * FPS, 2))
    task = Rehearsal(Phase, keypoint="paw", phase_deg=0, least_range=5, most_hz=12, irregular=0.3, **OUTPUT)
    assert len(frames(task, {"paw": noise})) <= 5


A = {"use": "region", "keypoint": "p", "circle": [0, 0, 10]}
B = {"use": "region", "keypoint": "p", "circle": [100, 0, 10]}
IN_A, IN_B, AWAY = (0, 0), (100, 0), (50, 0)


def sequence(first: dict | None = None, second: dict | None = None) -> Rehearsal:
    steps = [{"condition": A, **(first or {})}, {"condition": B, **(second or {})}]
    return Rehearsal(Sequence, steps=steps, **OUTPUT)


def test_sequence_wants_its_steps_in_order() -> None:
    assert frames(sequence(), {"p": [IN_B, AWAY, IN_A, AWAY, IN_B, IN_B, AWAY, IN_B]}) == [4]
    assert frames(sequence(), {"p": [IN_A, IN_B, AWAY, IN_A, IN_B]}) == [1, 4]


def test_sequence_with_a_time_limit_begins_anew() -> None:
    slow = [IN_A, *[AWAY] * 6, IN_B]
    assert frames(sequence(second={"within_ms": 50}), {"p": slow}) == []
    assert frames(sequence(second={"within_ms": 70}), {"p": slow}) == [7]
    assert frames(sequence(second={"within_ms": 50}), {"p": [*slow, IN_A, IN_B]}) == [9]


def test_sequence_with_a_stay() -> None:
    assert frames(sequence(first={"for_ms": 30}), {"p": [IN_A, IN_A, IN_B, IN_A, IN_A, None, IN_A, IN_B]}) == [7]


def test_sequence_begins_again_only_after_its_first_condition_has_ceased() -> None:
    everywhere = {"use": "region", "keypoint": "p", "circle": [0, 0, 1000]}
    task = Rehearsal(Sequence, steps=[{"condition": everywhere}, {"condition": everywhere}], **OUTPUT)
    assert frames(task, {"p": [IN_A] * 10}) == [1]


def test_input_counts_licks_within_a_time() -> None:
    task = Rehearsal(Input, input="box.lick", count=3, within_ms=100, **OUTPUT)
    licks = {2, 8, 20, 24, 27, 30, 31, 33, 50}
    given = [i for i in range(60) for _ in task.show({"box.lick": True} if i in licks else {})]
    assert given == [27, 33]


def test_input_off_edge_while_in_a_region() -> None:
    task = Rehearsal(Input, input="box.poke", edge="off", only_if=[A], **OUTPUT)
    shown = [
        ({"box.poke": True}, IN_A),
        ({"box.poke": False}, IN_A),
        ({"box.poke": False}, AWAY),
        ({"b.x": False}, IN_A),
    ]
    assert [len(task.show(inputs, p=place)) for inputs, place in shown] == [0, 1, 0, 0]


def test_schedule_at_times_and_again_and_again() -> None:
    still = {"point": [(0, 0)] * 300}
    assert frames(Rehearsal(Schedule, at_s=[0, 0.5, 0.504, 2], **OUTPUT), still) == [0, 50, 51, 200]
    assert frames(Rehearsal(Schedule, every_s=1, **OUTPUT), still) == [100, 200]
    jittered = np.diff(frames(Rehearsal(Schedule, every_s=0.1, jitter_s=0.05, **OUTPUT), {"point": [(0, 0)] * 3000}))
    assert jittered.min() >= 4
    assert jittered.max() <= 16
    assert 9.5 < jittered.mean() < 10.5
    assert len(set(jittered)) > 5


def test_schedule_makes_up_for_a_pause_with_one_stimulus() -> None:
    task = Rehearsal(Schedule, every_s=0.1, **OUTPUT)
    task.show()
    assert len(task.show(pause_ms=1000)) == 1


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({}, "either at_s or every_s"),
        ({"at_s": [2, 1]}, "at_s to ascend"),
        ({"every_s": 1, "jitter_s": 1}, "jitter_s < every_s"),
        ({"at_s": [1], "count": 3}, "jitter_s and count are for every_s only"),
    ],
)
def test_plans_that_are_none(wrong: dict, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        Rehearsal(Schedule, **wrong, **OUTPUT)


def test_yoked_repeats_what_another_has_earned(tmp_path: Path) -> None:
    file = tmp_path / "master.csv"
    file.write_text(
        "frame,time_s,protocol,output,command,outcome\n"
        "3,0.03,corner,box.laser,pulse,sent\n4,0.04,corner,box.laser,off,sent\n"
        "5,0.05,corner,box.laser,pulse,held: stale pose\n7,0.07,other,box.laser,pulse,sent\n"
        "9,0.09,corner,box.laser,train,sent\n"
    )
    still = {"point": [(0, 0)] * 20}
    assert frames(Rehearsal(Yoked, file=str(file), **OUTPUT), still) == [3, 7, 9]
    assert frames(Rehearsal(Yoked, file="master.csv", folder=tmp_path, protocol="corner", **OUTPUT), still) == [3, 9]
    for text, expected in (
        ("x\n1\n", "a column 'time_s'"),
        ("time_s\n", "found none"),
        ("time_s\nsoon\n", "line 2.*'soon'"),
    ):
        file.write_text(text)
        with pytest.raises(DataError, match=expected):
            Rehearsal(Yoked, file=str(file), **OUTPUT)


def test_yoked_repeats_what_a_session_s_board_has_acknowledged(tmp_path: Path) -> None:
    folder = make_session(tmp_path / "master", Plan(frames=20))
    asked = {3: "corner", 5: "corner", 7: "other"}
    outcomes = {3: "acknowledged", 5: "refused", 7: "acknowledged"}
    with contextlib.closing(sqlite3.connect(folder / LOG_FILE)) as log, log:
        for index in range(20):
            at_ns, protocol = exposed_ns(Plan(), 0) + index * 10**7, asked.get(index)
            line = "laser" if protocol == "corner" else "light"
            commands = [[protocol, "box", line, "pulse", 10, 0, 0, 0, "sent"]] if protocol else []
            row = (index, index, 1, at_ns, at_ns, packed([]), packed(commands))
            log.execute("INSERT INTO decision VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            if protocol:
                row = (index, "box", line, "pulse", 10, 0, 0, 0, outcomes[index], "", at_ns, *[0] * 7)
                log.execute(f"INSERT INTO trigger VALUES ({', '.join('?' * 18)})", row)
    still = {"point": [(0, 0)] * 20}
    assert frames(Rehearsal(Yoked, file=str(folder), **OUTPUT), still) == [3, 7]
    assert frames(Rehearsal(Yoked, file=str(folder), protocol="corner", **OUTPUT), still) == [3]
    with pytest.raises(DataError, match="expected the times of stimuli, but found none"):
        Rehearsal(Yoked, file=str(folder), protocol="nobody", **OUTPUT)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="expected a session's folder"):
        Rehearsal(Yoked, file=str(tmp_path / "empty"), **OUTPUT)
    (folder / LOG_FILE).write_text("no database")
    with pytest.raises(DataError, match=r"expected a session's log|cannot be opened"):
        Rehearsal(Yoked, file=str(folder), **OUTPUT)


def test_sham_withholds_or_redirects_what_the_other_decides() -> None:
    of = {**A, "when": "inside", "output": "box.laser"}
    track = {"p": [AWAY, IN_A, IN_A, AWAY]}
    real = Rehearsal(Region, **{key: value for key, value in of.items() if key != "use"}).run(track)
    masked = Rehearsal(Sham, of=of, output="box.light", model=["p"])
    assert [(i, c.kind, c.line) for i, c in masked.run(track)] == [(i, c.kind, "light") for i, c in real]
    assert masked.protocol.outputs == ("box.light",)
    silent = Rehearsal(Sham, of=of, model=["p"])
    assert silent.run(track) == []
    assert silent.protocol.outputs == ()
    assert [note.values["kind"] for note in silent.notes if note.name == "withheld"] == ["level", "off"]
    assert silent.protocol.needs == ("p",)
    with pytest.raises(ConfigError, match=r"of: keypoint: is missing"):
        Rehearsal(Sham, of={"use": "region", "circle": [0, 0, 1], "output": "box.laser"})
    with pytest.raises(ConfigError, match="no protocol is called 'nope'"):
        Rehearsal(Sham, of={"use": "nope"})


@pytest.mark.parametrize("scene", scenes(), ids=lambda scene: scene.protocol)
def test_in_the_benchmark_too_nothing_is_missed_or_extra_without_noise(scene: Scene) -> None:
    found = measure_hits(scene, noise_px=0, latency_ms=0)
    assert found["moments"] >= 10
    assert (found["late"], found["missed"], found["extra"]) == (0, 0, 0)
