"""A crop that follows: the same points as from the whole picture, found again when lost, and no half pixel anywhere."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tinymodels import STRIDE, Tiny, spot

from poseloop.drivers.sim.camera import SimulatedCamera
from poseloop.live.errors import ModelError
from poseloop.live.types import Colour, Image
from poseloop.live.vision import Network
from poseloop.live.vision.coords import Track
from poseloop.live.vision.crop import Follower, box
from poseloop.live.vision.network import Follow, View

HEIGHT, WIDTH = 240, 320
VIEW = View(HEIGHT, WIDTH, Colour.GREY)
NAN = float("nan")


def follower(seen: float = 0.5, lost_after: int = 1, points: int = 2) -> Follower:
    follow = Follow((64, 64), seen=seen, lost_after=lost_after)
    return Follower(Track.of(VIEW, (64, 64), 8), follow, points, gate=0.5)


def show(one: Follower, *xy: tuple[float, float], score: float = 0.9) -> tuple[int, int] | None:
    one.update(np.array(xy, np.float32), np.full(len(xy), score, np.float32))
    return None if one.placement is None else (one.placement.x, one.placement.y)


def test_it_begins_by_searching_and_then_centres_the_box() -> None:
    one = follower()
    assert one.placement is None
    assert show(one, (150, 100), (170, 120)) == (128, 80)
    assert one.placement is not None
    assert (one.placement.part_width, one.placement.part_height) == (64, 64)


def test_it_leads_by_half_of_the_last_movement() -> None:
    one = follower()
    show(one, (100, 100), (100, 100))
    assert show(one, (140, 100), (140, 100)) == (128, 72)
    assert show(one, (140, 100), (140, 100)) == (112, 72)


@pytest.mark.parametrize(("score", "xy"), [(0.49, (100.0, 100.0)), (NAN, (100.0, 100.0)), (0.9, (NAN, NAN))])
def test_what_is_not_over_the_gate_is_not_seen(score: float, xy: tuple[float, float]) -> None:
    one = follower()
    show(one, (100, 100), (100, 100))
    assert show(one, xy, xy, score=score) is None


def test_it_waits_before_it_searches_and_keeps_its_place() -> None:
    one = follower(lost_after=3)
    place = show(one, (100, 100), (100, 100))
    assert [show(one, (NAN, NAN), (NAN, NAN)) for _ in range(3)] == [place, place, None]
    assert show(one, (200, 100), (200, 100)) == (168, 72)
    assert show(one, (NAN, NAN), (NAN, NAN)) == (168, 72)


@pytest.mark.parametrize(("seen", "needed"), [(0.01, 1), (0.5, 2), (0.51, 3), (1.0, 4)])
def test_how_many_points_must_be_seen(seen: float, needed: int) -> None:
    one = follower(seen=seen, points=4)
    for count in range(5):
        points = [(100.0, 100.0)] * count + [(NAN, NAN)] * (4 - count)
        assert (show(one, *points) is not None) == (count >= needed)


@given(st.lists(st.tuples(st.floats(0, 300), st.floats(0, 300), st.floats(0, 1)), min_size=1, max_size=8))
def test_the_box_is_numpys(points: list[tuple[float, float, float]]) -> None:
    table = np.array(points, np.float32)
    last, age = np.full((len(table), 2), np.nan, np.float32), np.zeros(len(table), np.int64)
    seen, x, y = box(table[:, :2].copy(), table[:, 2].copy(), 0.5, last, age)
    inside = table[table[:, 2] >= 0.5, :2]
    assert seen == len(inside)
    if seen:
        np.testing.assert_allclose((x, y), (inside.min(axis=0) + inside.max(axis=0)) / 2, atol=1e-3)


def test_a_point_that_the_rim_cut_off_is_looked_for_where_it_was() -> None:
    one = follower(points=3)
    show(one, (150, 100), (154, 100), (190, 100))
    # Its head walks on by a pixel a picture, and the tail is not seen: the box moves on with all three.
    for step in range(1, 11):
        one.update(np.array([(150 + step, 100), (154 + step, 100), (NAN, NAN)], np.float32), np.ones(3, np.float32))
        assert one.placement is not None
        assert one.placement.x == pytest.approx(170 + step + 0.5 - 32, abs=4.5)
    # After ten pictures it is no longer believed to be there.
    one.update(np.array([(161, 100), (165, 100), (NAN, NAN)], np.float32), np.ones(3, np.float32))
    one.update(np.array([(161, 100), (165, 100), (NAN, NAN)], np.float32), np.ones(3, np.float32))
    assert one.placement.x == pytest.approx(163 + 0.5 - 32, abs=4.5)


def opened(folder: Path, *views: View, follow: Follow | None = None, **tiny: object) -> Network:
    network = Network.open(Tiny(window=9, size_multiple=8, **tiny).save(folder), gate=0.3)  # type: ignore[arg-type]
    network.prepare(views or [VIEW], follow)
    return network


def walk(pictures: int, seed: int = 0) -> np.ndarray:
    """(N, 2): a path that also runs along the rim."""
    rng = np.random.default_rng(seed)
    steps = rng.uniform(-9, 9, (pictures, 2)) + 6 * np.sin(np.arange(pictures)[:, None] / (9, 7))
    return np.clip(np.cumsum(steps, axis=0) + np.array((160, 120)), (6, 6), (WIDTH - 7, HEIGHT - 7))


def test_it_gives_the_whole_pictures_points(tmp_path: Path) -> None:
    whole, crop = opened(tmp_path), opened(tmp_path, follow=Follow((64, 64)))
    truth = walk(120)
    assert crop.searching == (True,)
    for x, y in truth:
        image = spot(HEIGHT, WIDTH, x, y)
        expected, found = whole.infer([image]), crop.infer([image])
        # The same cells of the same picture; only at the far rim the crop is off the grid of the whole picture.
        np.testing.assert_allclose(found.xy, expected.xy, atol=0.6 if max(x - WIDTH, y - HEIGHT) > -32 else 1e-4)
        np.testing.assert_allclose(found.score, expected.score, atol=0.05)
    assert crop.searched == {0: 1}
    assert crop.searching == (False,)


def test_the_same_pictures_give_the_same_bits(tmp_path: Path) -> None:
    images = [spot(HEIGHT, WIDTH, *place) for place in walk(40)]
    images[20] = np.zeros_like(images[20])
    runs = []
    for _ in range(2):
        network = opened(tmp_path, follow=Follow((64, 64)))
        runs.append(np.stack([network.infer([image]).xy for image in images]))
    np.testing.assert_array_equal(*runs)


def test_an_animal_that_jumps_is_lost_for_one_picture_and_found_in_the_next(tmp_path: Path) -> None:
    network = opened(tmp_path, follow=Follow((64, 64)))
    here, there = spot(HEIGHT, WIDTH, 60, 60), spot(HEIGHT, WIDTH, 250, 180)
    network.infer([here])
    network.infer([here])
    lost = network.infer([there])
    assert np.isnan(lost.xy).all()
    assert np.isfinite(lost.score).all()
    assert network.searching == (True,)
    np.testing.assert_allclose(network.infer([there]).xy[0, 0, 0], (250, 180), atol=0.05)
    assert network.searching == (False,)
    np.testing.assert_allclose(network.infer([there]).xy[0, 0, 0], (250, 180), atol=0.05)
    assert network.searched == {0: 2}


def test_a_missing_picture_counts_as_not_seen(tmp_path: Path) -> None:
    network = opened(tmp_path, follow=Follow((64, 64)))
    network.infer([spot(HEIGHT, WIDTH, 60, 60)])
    missed = network.infer([None])
    assert np.isnan(missed.xy).all()
    assert np.isnan(missed.score).all()
    np.testing.assert_allclose(network.infer([spot(HEIGHT, WIDTH, 250, 180)]).xy[0, 0, 0], (250, 180), atol=0.05)


def test_an_empty_arena_is_searched_all_the_time(tmp_path: Path) -> None:
    network = opened(tmp_path, follow=Follow((64, 64)))
    for _ in range(5):
        assert np.isnan(network.infer([np.zeros((HEIGHT, WIDTH), np.uint8)]).xy).all()
    assert network.searched == {0: 5}


def test_cameras_follow_each_for_itself(tmp_path: Path) -> None:
    """Two sizes, one camera lost, one missing, one found: as if each were alone."""
    views = [VIEW, View(200, 280, Colour.GREY), VIEW]
    together = opened(tmp_path, *views, follow=Follow((64, 64)))
    alone = [opened(tmp_path, view, follow=Follow((64, 64))) for view in views]
    rng = np.random.default_rng(1)
    for _ in range(40):
        images: list[Image | None] = []
        for view in views:
            kind = rng.random()
            place = rng.uniform(20, 180, 2) if kind < 0.2 else np.array((90.0, 80.0))
            images.append(None if kind > 0.9 else spot(view.height, view.width, *place))
        found = together.infer(images)
        for camera, (network, image) in enumerate(zip(alone, images, strict=True)):
            single = network.infer([image])
            np.testing.assert_array_equal(found.xy[camera], single.xy[0])
            np.testing.assert_array_equal(found.score[camera], single.score[0])
    assert together.searching == tuple(network.searching[0] for network in alone)
    assert [one["shape"] for one in together.inputs] != [[2, 64, 64, 1]]
    assert together.inputs[0] == {"shape": [3, 64, 64, 1], "cameras": [0, 1, 2]}


def test_a_smaller_search_finds_and_the_crop_makes_exact(tmp_path: Path) -> None:
    network = opened(tmp_path, follow=Follow((64, 64), search=(160, 120)))
    image = spot(HEIGHT, WIDTH, 203.25, 91.5)
    np.testing.assert_allclose(network.infer([image]).xy[0, 0, 0], (203.25, 91.5), atol=2)
    np.testing.assert_allclose(network.infer([image]).xy[0, 0, 0], (203.25, 91.5), atol=0.05)
    assert [one["shape"] for one in network.inputs] == [[1, 64, 64, 1], [1, 120, 160, 1]]


def test_a_crop_that_does_not_fit_leaves_nothing_open(tmp_path: Path) -> None:
    network = Network.open(Tiny(size_multiple=8).save(tmp_path))
    with pytest.raises(ModelError, match="expected a crop within the 320x240 px"):
        network.prepare([VIEW], Follow((512, 512)))
    assert network.inputs == []


@pytest.mark.parametrize("roi", [None, (64, 32, 560, 430)])
@pytest.mark.parametrize("follow", [None, Follow((320, 256)), Follow((320, 256), search=(320, 240))])
def test_the_simulated_animal_is_where_it_was_drawn(
    roi: tuple[int, int, int, int] | None, follow: Follow | None
) -> None:
    """A picture drawn from a known truth, a network calculated for it, and every way of showing it: no bias."""
    camera = SimulatedCamera("top", SimulatedCamera.Settings(width=640, height=480, pace="none"))
    camera.open()
    camera.start("free")
    network = Network.open("simulated_animal", gate=0.5)
    network.prepare([View(480, 640, camera.format.colour, roi)], follow)
    image = np.zeros(camera.format.shape, np.uint8)
    errors = []
    for number in range(40):
        camera.grab(image, 1.0)
        error = network.infer([image]).xy[0, 0] - camera.truth(number)
        # The first picture is searched, at half its size where that is said.
        if number:
            errors.append(error)
    camera.close()
    seen = np.isfinite(np.array(errors)).all(axis=-1)
    found = np.array(errors)[seen]
    assert seen.mean() > 0.9
    assert np.abs(found.mean(axis=0)).max() < 0.02
    assert np.linalg.norm(found, axis=-1).mean() < 0.05


@pytest.mark.parametrize("camera", list(Colour))
@pytest.mark.parametrize("model", list(Colour))
@pytest.mark.parametrize("roi", [None, (13, 27, 291, 203)])
@pytest.mark.parametrize("scale", [1.0, 0.5, 1.3])
@pytest.mark.parametrize("follow", [None, Follow((72, 64))])
def test_no_half_pixel_in_any_combination(
    tmp_path: Path,
    camera: Colour,
    model: Colour,
    roi: tuple[int, int, int, int] | None,
    scale: float,
    follow: Follow | None,
) -> None:
    """Spots drawn at known places between pixels, found by a network whose score map is the picture itself."""
    _, _, width, height = roi or (0, 0, WIDTH, HEIGHT)
    size = None if scale == 1 else (round(width * scale), round(height * scale))
    view = View(HEIGHT, WIDTH, camera, roi, size)
    # One point for each channel; all of them see the same spot.
    network = opened(tmp_path, view, follow=follow, colour=model, keypoints=tuple("abc"[: model.channels]))
    rng = np.random.default_rng(0)
    errors = []
    for place in rng.uniform((90, 90), (WIDTH - 90, HEIGHT - 90), (24, 2)):
        # As wide in the network's input as its cells, so that the window sees all of it.
        image = spot(HEIGHT, WIDTH, *place, sigma=STRIDE / scale)
        if camera is not Colour.GREY:
            image = np.repeat(image[:, :, None], 3, 2)
        network.infer([image])
        errors.append(network.infer([image]).xy[0, 0] - place)
    assert np.abs(np.mean(errors, axis=0)).max() < 0.05
    assert np.linalg.norm(errors, axis=-1).mean() < 0.05
