"""What every shipped protocol must do, whatever the animal does: be deterministic, survive gaps, keep its promises."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from shipped import EXAMPLES, STEREO, settings

from poseloop.live import plugins
from poseloop.live.config import validate
from poseloop.live.types import CommandKind
from poseloop.protocols import Rehearsal
from poseloop.protocols.parameters import parameters

KEYPOINTS = ("snout", "neck", "tail")


def behaviour(seed: int, world: bool, frames: int = 900) -> list[dict]:
    """Points of an animal that runs, wiggles and turns, with frames in which some or all are not seen."""
    random = np.random.default_rng(seed)
    t = np.arange(frames) / 100
    centre = np.stack([80 * np.sin(0.9 * t + seed), 60 * np.sin(1.7 * t), 5 + 0 * t], axis=1)
    angle = 2 * t + seed + 0.8 * np.sin(30 * t)
    axis = np.stack([np.cos(angle), np.sin(angle), 0 * t], axis=1)
    tracks = {"snout": centre + 30 * axis, "neck": centre, "tail": centre + np.array([-25, 0, 0])}
    poses = []
    for i in range(frames):
        hidden = set() if i % 97 < 80 else {name for name in KEYPOINTS if random.random() < 0.5}
        noisy = {name: track[i, : 3 if world else 2] + random.normal(0, 1) for name, track in tracks.items()}
        poses.append({name: None if name in hidden else point for name, point in noisy.items()})
    return poses


def act(name: str, folder: Path, seed: int = 3, world: bool = False, pauses: bool = True) -> tuple:
    protocol = plugins.load("protocol", name)
    world = world and name in STEREO
    task = Rehearsal(protocol, seed=seed, model=KEYPOINTS, world=world, folder=folder, **settings(name, folder, world))
    given = []
    for i, points in enumerate(behaviour(seed, world)):
        inputs = {"box.lick": i % 14 < 7} if i % 7 == 0 else {}
        pause_ms = 700 if pauses and i % 250 == 249 else 0
        given += [(task.now_ns, command) for command in task.show(inputs, pause_ms=pause_ms, **points)]
    return task, given


def test_every_installed_protocol_has_an_example() -> None:
    assert {*EXAMPLES, "dlclive"} == set(plugins.installed("protocol"))


@pytest.mark.parametrize("world", [False, True], ids=["picture", "world"])
@pytest.mark.parametrize("name", EXAMPLES)
def test_the_same_seed_and_poses_give_the_same_commands(name: str, world: bool, tmp_path: Path) -> None:
    first, given = act(name, tmp_path, world=world)
    second, again = act(name, tmp_path, world=world)
    assert given == again
    assert given, "an example that never acts shows nothing"
    assert first.notes == second.notes
    # Reset is as good as new.
    second.restart()
    poses = behaviour(3, world and name in STEREO)
    for task in (first, second):
        task.restart()
    assert [first.show(**points) for points in poses] == [second.show(**points) for points in poses]


@pytest.mark.parametrize("name", EXAMPLES)
def test_it_commands_only_what_it_announced(name: str, tmp_path: Path) -> None:
    task, given = act(name, tmp_path)
    outputs = set(task.protocol.outputs)
    announced = {(command.device, command.line, command.kind, command.on_us) for command in task.protocol.commands}
    for _, command in given:
        assert f"{command.device}.{command.line}" in outputs
        assert (command.device, command.line, command.kind, command.on_us) in announced


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_host_can_ask_it_before_anything_is_known(name: str, tmp_path: Path) -> None:
    protocol = plugins.load("protocol", name)
    made = protocol("task", validate(protocol.Settings, settings(name, tmp_path), tmp_path))
    assert len(made.outputs) == len(made.commands) == 1
    assert made.camera in (0, None)
    assert isinstance(made.needs, tuple)


@pytest.mark.parametrize("name", sorted(EXAMPLES.keys() - {"schedule", "yoked"}))
def test_an_animal_that_is_never_seen_gets_nothing(name: str, tmp_path: Path) -> None:
    protocol = plugins.load("protocol", name)
    task = Rehearsal(protocol, model=KEYPOINTS, folder=tmp_path, **settings(name, tmp_path))
    given = [task.show({"box.lick": i % 2 == 0}, snout=(0, 0), score=0.4) for i in range(300)]
    given += [task.show({"box.lick": i % 2 == 0}) for i in range(300)]
    assert not any(given)


@pytest.mark.parametrize("name", sorted(EXAMPLES.keys() - {"sham"}))
@pytest.mark.parametrize("seed", range(3))
def test_common_promises(name: str, seed: int, tmp_path: Path) -> None:
    protocol = plugins.load("protocol", name)
    keys = {**settings(name, tmp_path), "refractory_ms": 400, "max_per_session": 3, "from_s": 1, "until_s": 8}
    task = Rehearsal(protocol, seed=seed, model=KEYPOINTS, folder=tmp_path, **keys)
    start_ns, times = 0, []
    for i, points in enumerate(behaviour(seed, world=False)):
        commands = task.show({"box.lick": i % 14 < 7} if i % 7 == 0 else {}, **points)
        start_ns = start_ns or task.now_ns
        times += [(task.now_ns - start_ns) / 1e9 for command in commands if command.kind is not CommandKind.OFF]
    assert len(times) <= 3
    assert all(1 <= at <= 8 for at in times)
    assert all(after - before >= 0.4 for before, after in itertools.pairwise(times))
    given = [note.values["fate"] for note in task.notes if note.name == "occasion"]
    assert given.count("stimulus") == len(times)


@pytest.mark.parametrize("name", [*EXAMPLES, "dlclive"])
def test_parameters_are_documented_where_they_are_declared(name: str) -> None:
    table = parameters(plugins.load("protocol", name).Settings)
    for item in table:
        assert item.help.endswith("."), f"{name}.{item.name}: {item.help!r}"
        assert item.type != "Annotated"
    timed = [item for item in table if item.name.endswith(("_ms", "_s", "_px", "_deg", "_hz"))]
    assert all(item.unit for item in timed)


@pytest.mark.parametrize("name", EXAMPLES)
def test_its_file_reads_like_a_methods_section(name: str) -> None:
    protocol = plugins.load("protocol", name)
    assert len((protocol.__doc__ or "").split()) > 25, "say what is measured, and when it acts"
    assert "Settings" in vars(protocol)
