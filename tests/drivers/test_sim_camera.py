import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from poseloop.drivers.sim.camera import SimulatedCamera
from poseloop.drivers.sim.painter import DYES
from poseloop.drivers.sim.view import WALL_MM, TopView
from poseloop.drivers.sim.world import KEYPOINTS, SKELETON, Animal, Arena
from poseloop.live.types import Image

Float64 = npt.NDArray[np.float64]

LONG_S = 60.0
SECONDS = np.arange(0, 120, 0.02)


def camera(**options: Any) -> SimulatedCamera:
    return SimulatedCamera("top", SimulatedCamera.Settings(**{"pace": "none", **options}))


def draw(count: int, **options: Any) -> tuple[list[Image], list[Float64]]:
    """Pictures and truth of the first frames."""
    sim = camera(**options)
    sim.open()
    sim.start("free")
    images = []
    for _ in range(count):
        images.append(np.zeros(sim.format.shape, np.uint8))
        assert sim.grab(images[-1], LONG_S) is not None
    sim.close()
    return images, [sim.truth(i) for i in range(count)]


def colourfulness(image: Image) -> Float64:
    """Distance from grey: a dye's share of the pixel, whatever grey is under it."""
    return image.max(axis=2).astype(np.float64) - image.min(axis=2)


@pytest.mark.parametrize(("width", "height", "seed"), [(320, 240, 0), (640, 480, 1), (333, 201, 2), (160, 120, 3)])
def test_truth_is_where_the_dye_is(width: int, height: int, seed: int) -> None:
    images, truths = draw(60, width=width, height=height, seed=seed, noise=0, fps=3.1)
    x, y = np.arange(width), np.arange(height)[:, np.newaxis]
    for image, truth in zip(images, truths, strict=True):
        colour = colourfulness(image)
        radius = np.linalg.norm(truth[0] - truth[1]) / 2
        for at, dye in zip(truth, DYES, strict=True):
            near = np.where(np.hypot(x - at[0], y - at[1]) < radius, colour, 0)
            centroid = [(near * x).sum() / near.sum(), (near * y).sum() / near.sum()]
            np.testing.assert_allclose(centroid, at, atol=0.05)
            middle = image[round(at[1]), round(at[0])]
            np.testing.assert_allclose(middle, dye, atol=1)


def test_nothing_but_dye_has_a_colour() -> None:
    for options in ({"animal": False}, {"animal": True}):
        image = draw(1, noise=0, **options)[0][0]
        assert np.count_nonzero(colourfulness(image)) < (1 if not options["animal"] else 400)


def test_left_is_left_and_the_snout_is_in_front() -> None:
    for t in (0.0, 1.3, 7.7):
        snout, left, right, tail = Animal(Arena(), 0).keypoints(t)[:, :2]
        forward = snout - tail
        # Right-handed, seen from above: left is counter-clockwise of forward.
        assert np.cross([*forward, 0], [*(left - right), 0])[2] > 0
        assert (snout - (left + right) / 2) @ forward > 0
        # In the picture y points down, so the same turn is clockwise: no mirror.
        px = TopView(320, 240, Arena()).to_px(np.array([snout, left, right, tail]))
        assert np.cross([*(px[0] - px[3]), 0], [*(px[1] - px[2]), 0])[2] < 0


@pytest.mark.parametrize("seed", range(5))
def test_the_animal_goes_everywhere_smoothly_and_stays_inside(seed: int) -> None:
    animal = Animal(Arena(), seed)
    points = np.array([animal.keypoints(t) for t in SECONDS])
    assert (np.abs(points[..., 0]) < 190).all()
    assert (np.abs(points[..., 1]) < 140).all()
    assert (points[..., 2] > 0).all()
    speed = np.linalg.norm(np.diff(points[..., :2], axis=0), axis=2) / np.diff(SECONDS)[:, np.newaxis]
    assert speed.max() < 800
    length = np.linalg.norm(points[:, 0] - points[:, 3], axis=1)
    assert 75 < length.min() <= length.max() < 95
    # Into the lower right quarter, well away from its rim, and out again.
    inside = (points[:, 0, 0] > 30) & (points[:, 0, 1] < -30)
    entries = SECONDS[1:][np.diff(inside.astype(int)) == 1]
    # Where it looks around, or rears, on the border, its snout goes out and in again.
    entries = entries[np.diff(entries, prepend=-np.inf) > 1.5]
    assert np.diff(entries).min() > 3
    assert np.diff(entries).max() < 6.5
    assert entries[0] < 6.5
    middle = np.linalg.norm(points.mean(axis=1)[:, :2], axis=1) < 25
    assert np.diff(SECONDS[middle]).max() < 5
    for corner in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
        near = np.linalg.norm(points[:, 0, :2] - np.multiply(corner, (125, 110)), axis=1) < 55
        assert np.diff(SECONDS[near]).max() < 8


@pytest.mark.parametrize("seed", range(5))
def test_it_rears_every_few_seconds_and_hardly_moves_on_meanwhile(seed: int) -> None:
    animal = Animal(Arena(), seed)
    bodies = [animal.body(t) for t in SECONDS]
    snout = np.array([body.keypoints[0, 2] for body in bodies])
    assert snout.min() == pytest.approx(10, abs=0.5)
    assert 55 < snout.max() < 80
    up = snout > 40
    assert 1.9 < np.diff(SECONDS[1:][np.diff(up.astype(int)) == 1]).mean() < 2.5
    hips = np.array([body.hips for body in bodies])
    speed = np.linalg.norm(np.diff(hips[:, :2], axis=0), axis=1) / 0.02
    assert np.median(speed[snout[1:] > 55]) < 0.5 * np.median(speed[~up[1:]])
    # The hips stay where they are, and no part goes through the floor.
    assert hips[:, 2].tolist() == [14.0] * len(hips)
    assert min(body.keypoints[3, 2] for body in bodies) > 3
    for body in bodies[::50]:
        for axes in (body.trunk, body.head):
            np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-12)
            assert np.linalg.det(axes) == pytest.approx(1)
            assert axes[1, 2] == 0  # it does not roll


def test_time_and_seed_alone_decide() -> None:
    first, again, other = Animal(Arena(), 4), Animal(Arena(), 4), Animal(Arena(), 5)
    later = [first.keypoints(t) for t in (3.0, 1.0, 2.0)]
    np.testing.assert_array_equal(later[1], again.keypoints(1.0))
    assert np.abs(first.keypoints(1.0) - other.keypoints(1.0)).max() > 1
    images = [draw(4, seed=3)[0] for _ in range(2)]
    np.testing.assert_array_equal(images[0], images[1])
    assert first.keypoints(0.0).shape == (len(KEYPOINTS), 3)
    assert {name for pair in SKELETON for name in pair} == set(KEYPOINTS)


def test_an_arena_too_small_to_turn_in_is_refused() -> None:
    with pytest.raises(ValueError, match="wider than"):
        Animal(Arena(100, 300), 0)


def test_noise_is_as_strong_as_asked_for_and_never_the_same_twice() -> None:
    clean = draw(1, noise=0, animal=False)[0][0].astype(int)
    noisy = np.stack(draw(20, noise=4, animal=False)[0]).astype(int) - clean
    assert noisy.std() == pytest.approx(4, rel=0.05)
    assert abs(noisy.mean()) < 0.05
    for one, next_one in itertools.pairwise(noisy):
        assert abs(np.corrcoef(one.ravel(), next_one.ravel())[0, 1]) < 0.02


def test_the_view_shows_the_whole_arena_with_its_middle_in_the_middle() -> None:
    view = TopView(640, 360, Arena(400, 300))
    np.testing.assert_allclose(view.to_px(np.zeros((1, 3))), [[319.5, 179.5]])
    corners = view.to_px(np.array([[-200.0, 150.0], [200.0, -150.0]]))
    # The height limits the scale; pixel centres are integers, so the picture reaches from -0.5 to 359.5.
    np.testing.assert_allclose(corners[:, 1], [-0.5 + WALL_MM * view.px_per_mm, 359.5 - WALL_MM * view.px_per_mm])
    assert corners[0, 0] < corners[1, 0]


@pytest.mark.parametrize("trigger", ["free", "hardware", "software"])
def test_every_trigger_gives_frames(trigger: str) -> None:
    sim = camera()
    sim.open()
    sim.start(trigger)
    assert sim.grab(np.zeros(sim.format.shape, np.uint8), LONG_S) is not None
    sim.close()
