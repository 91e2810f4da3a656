"""Batches depend on seed and step alone, come in time, and leave nothing behind."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from projects import Project

from poseloop.live.errors import ConfigError, DataError
from poseloop.train import labels
from poseloop.train.augment import Augmentation
from poseloop.train.batches import Batch, Batches
from poseloop.train.labels import Labels


@pytest.fixture
def project(tmp_path: Path) -> Labels:
    project = Project(tmp_path, size=(160, 120))
    rng = np.random.default_rng(0)
    for number in range(5):
        project.picture(f"img{number}.png", rng.integers(0, 256, (120, 160, 3), np.uint8))
        project.row(f"img{number}.png", {"snout": (40 + 10 * number, 60), "leftear": (50, 50), "rightear": (50, 70)})
    project.csv()
    return labels.read(tmp_path)


def take(batches: Batches, count: int) -> list[Batch]:
    with batches:
        return [next(batches) for _ in range(count)]


def same(one: list[Batch], other: list[Batch]) -> bool:
    return all(
        np.array_equal(a, b)
        for first, second in zip(one, other, strict=True)
        for a, b in zip(first, second, strict=True)
    )


@pytest.mark.parametrize("colour", ["rgb", "grey"])
def test_shapes(project: Labels, colour: str) -> None:
    channels = 1 if colour == "grey" else 3
    for images, targets, weights in take(Batches(project, Augmentation.top(), 3, 64, 8, colour=colour), 4):
        assert (images.shape, images.dtype) == ((3, 64, 64, channels), np.uint8)
        assert (targets.shape, targets.dtype) == ((3, 8, 8, 3), np.float32)
        assert (weights.shape, weights.dtype) == ((3, 3), np.float32)
        assert all(array.flags.c_contiguous for array in (images, targets, weights))
        assert 0 <= targets.min() <= targets.max() <= 1
        assert set(np.unique(weights)) <= {0, 1}


def test_workers_and_interruptions_change_nothing(project: Labels) -> None:
    def made(count: int, **options: int) -> list[Batch]:
        return take(Batches(project, Augmentation.top(), 4, 64, seed=3, **options), count)

    whole = made(12)
    assert same(whole, made(12, workers=3, ahead=7))
    assert same(whole[5:], made(7, start_step=5, workers=2))
    assert same(whole, made(12, memory_bytes=0))
    assert not same(whole, take(Batches(project, Augmentation.top(), 4, 64, seed=4), 12))


def test_step_is_where_to_go_on(project: Labels) -> None:
    with Batches(project, Augmentation.none(), 2, 64, start_step=10) as batches:
        assert batches.step == 10
        next(batches)
        next(batches)
        assert batches.step == 12


def test_an_epoch_shows_each_frame_once(project: Labels) -> None:
    with Batches(project, Augmentation.none(), 2, 64) as batches:
        names = [batches.frame(number).name for number in range(15)]
    for epoch in range(3):
        assert len(set(names[5 * epoch : 5 * epoch + 5])) == 5
    assert names[:5] != names[5:10]


def test_at_most_so_many_are_made_ahead(project: Labels, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []
    make = Batches.make
    monkeypatch.setattr(Batches, "make", lambda self, step: started.append(step) or make(self, step))
    with Batches(project, Augmentation.none(), 2, 64, ahead=3) as batches:
        next(batches)
        next(batches)
    assert len(started) <= 4


def test_who_is_slower_than_the_threads_never_waits(project: Labels) -> None:
    with Batches(project, Augmentation.top(), 2, 64, ahead=4) as batches:
        next(batches)
        assert batches.waited_s == 0
        while not all(coming.done() for coming in batches._coming):
            time.sleep(0.001)
        start = time.perf_counter()
        next(batches)
        assert 0 < batches.waited_s <= time.perf_counter() - start


def test_close_ends_the_threads_and_the_iteration(project: Labels) -> None:
    batches = Batches(project, Augmentation.top(), workers=2, size=64)
    next(batches)
    assert any(thread.name.startswith("batches") for thread in threading.enumerate())
    batches.close()
    batches.close()
    assert not any(thread.name.startswith("batches") for thread in threading.enumerate())
    assert list(batches) == []


def test_a_picture_that_vanishes_is_told(project: Labels) -> None:
    for frame in project.frames:
        frame.path.unlink()
    with Batches(project, Augmentation.top(), size=64) as batches, pytest.raises(DataError, match="cannot be read"):
        next(batches)


def test_contradictions_are_refused(project: Labels) -> None:
    with pytest.raises(ConfigError, match="multiple of the stride"):
        Batches(project, Augmentation.top(), size=100, stride=8)
    with pytest.raises(ConfigError):
        Batches(project, Augmentation.top(), batch=0)
    with pytest.raises(DataError):
        Batches(project.only([]), Augmentation.top())


def test_openfield_shows_animals_and_empty_scenes(data: Path) -> None:
    read = labels.read(data / "dlc_openfield")
    with Batches(read, Augmentation.top(), seed=0) as batches:
        kinds = [batches.sample(number).kind for number in range(150)]
        _, targets, weights = next(batches)
    assert set(kinds) >= {"animal", "painted", "empty"}
    assert 0.75 < kinds.count("animal") / len(kinds) < 0.97
    assert targets.max() > 0.9
    assert weights.mean() > 0.8


def test_an_animal_that_stays_is_never_taken_for_the_empty_scene(data: Path) -> None:
    read = labels.read(data / "lp_mirror_mouse")
    with Batches(read, Augmentation.side(), seed=0) as batches:
        kinds = [batches.sample(number).kind for number in range(150)]
    assert "empty" not in kinds
    assert "painted" in kinds
