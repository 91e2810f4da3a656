"""Points go where the picture goes, and what is known of them is never more than what the sample shows."""

import math
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poseloop.live.errors import ConfigError
from poseloop.train import absent, mirror, photometric, textures
from poseloop.train.augment import Augmentation, Augmenter, Geometry, Occluders, Sample
from poseloop.train.photometric import Blur, Compression, Light, Noise

Picture = np.ndarray[Any, np.dtype[np.uint8]]

SIZE = 96
NAMES = ("snout", "leftear", "rightear")


def dots(points: np.ndarray[Any, Any], height: int, width: int, sigma: float = 3.0) -> Picture:
    """Black with a bright round dot, one pixel value a channel, at each of three points."""
    y, x = np.mgrid[:height, :width]
    channels = [np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * sigma**2)) for px, py in points]
    return np.round(250 * np.stack(channels, axis=-1)).astype(np.uint8)


def centre(channel: np.ndarray[Any, Any], near: np.ndarray[Any, Any], radius: float = 14) -> np.ndarray[Any, Any]:
    y, x = np.mgrid[: channel.shape[0], : channel.shape[1]]
    weight = channel * (np.hypot(x - near[0], y - near[1]) <= radius)
    return np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()


def geometric(**changes: Any) -> Augmentation:
    """Only the geometry of the preset for cameras above."""
    geometry = Geometry(**changes)
    return Augmentation.none().model_copy(update={"geometry": geometry})


def make(setting: Augmentation, picture: Picture, xy: np.ndarray[Any, Any], seed: int = 0, **more: Any) -> Sample:
    return Augmenter(NAMES, setting, SIZE)(picture, xy, np.random.default_rng(seed), **more)


@given(
    st.integers(0, 10_000),
    st.lists(st.tuples(st.floats(55, 105), st.floats(50, 90)), min_size=3, max_size=3),
    st.booleans(),
)
@settings(max_examples=60)
def test_points_move_as_opencv_moves_the_picture(seed: int, points: list[tuple[float, float]], flip: bool) -> None:
    xy = np.array([points])
    height, width = 140, 160
    setting = geometric(flip_horizontal=1.0 if flip else 0.0, flip_vertical=0.0, around=1, translation=0.1)
    sample = make(setting, dots(xy[0], height, width), xy, seed)
    for k in range(3):
        # A mirror turns the left ear into the right one: the channel keeps its dot, the name goes to the other.
        found = sample.xy[0, {0: 0, 1: 2, 2: 1}[k] if flip else k]
        if np.isnan(found).any() or found.min() < 16 or found.max() > SIZE - 17:
            continue
        # Half a grey level on the rim of a dot is what the tolerance has to bear.
        np.testing.assert_allclose(centre(sample.image[..., k].astype(float), found), found, atol=0.05)


@given(st.integers(0, 10_000))
@settings(max_examples=60)
def test_the_whole_matrix_is_the_way_of_the_points(seed: int) -> None:
    rng = np.random.default_rng(seed)
    xy = rng.uniform(0, 90, (2, 3, 2))
    xy[0, 1] = np.nan
    sample = make(geometric(flip_horizontal=0, flip_vertical=0), np.zeros((100, 120, 3), np.uint8), xy, seed)
    moved = cv2.transform(xy.reshape(1, -1, 2), sample.matrix).reshape(xy.shape)
    np.testing.assert_allclose(sample.moved, moved, atol=1e-3)
    np.testing.assert_array_equal(np.isnan(sample.xy).any(axis=-1), ~sample.visible)
    np.testing.assert_array_equal(sample.xy[sample.visible], sample.moved[sample.visible])
    inside = ((moved >= -0.5) & (moved <= SIZE - 0.5)).all(axis=-1)
    np.testing.assert_array_equal(sample.visible, inside)
    # Unlabelled is not known, and nothing is both seen and in doubt.
    assert not sample.known[0, 1]
    assert not (sample.visible & sample.doubtful).any()
    assert not (sample.known & sample.doubtful).any()
    assert (sample.known | sample.doubtful)[~np.isnan(xy).any(axis=-1)].all()


def test_what_lies_just_outside_is_neither_there_nor_absent() -> None:
    # Untouched, and with the crop around the middle between the outermost points.
    setting = geometric(rotation_deg=0, zoom=(1, 1), shear_deg=0, translation=0, flip_horizontal=0, around=1, rim_px=8)
    half = SIZE / 2
    for beyond, state in ((-1.0, "visible"), (-0.1, "visible"), (0.1, "doubtful"), (7.9, "doubtful"), (8.1, "absent")):
        xy = np.array([[(200 - half - beyond, 100.0), (200 + half + beyond, 100.0), (np.nan, np.nan)]])
        sample = make(setting, np.zeros((200, 400, 3), np.uint8), xy)
        assert sample.visible[0, :2].all() == (state == "visible")
        assert sample.doubtful[0, :2].all() == (state == "doubtful")
        assert sample.known[0].tolist() == [state != "doubtful"] * 2 + [False]


@pytest.mark.parametrize("picture", [(40, 30), (40, 400), (300, 300)])
@pytest.mark.parametrize("channels", [0, 3])
def test_any_size_of_picture_and_any_labels_give_a_sample(picture: tuple[int, int], channels: int) -> None:
    shape = (*picture, channels) if channels else picture
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    before = image.copy()
    for seed in range(40):
        xy = np.random.default_rng(seed).uniform(0, 30, (2, 3, 2))
        xy[0] = np.nan
        xy[1, seed % 3 :] = np.nan
        sample = make(Augmentation.top(), image, xy, seed)
        assert sample.image.shape == (SIZE, SIZE, channels or 1)
        assert sample.image.dtype == np.uint8
    np.testing.assert_array_equal(image, before)


def test_none_cuts_out_and_changes_nothing() -> None:
    image = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
    xy = np.array([[(100.5, 80.5), (100.5, 80.5), (np.nan, np.nan)]])
    sample = make(Augmentation.none(), image, xy)
    np.testing.assert_array_equal(sample.image, image[33 : 33 + SIZE, 53 : 53 + SIZE])
    np.testing.assert_allclose(sample.xy[0, 0], (47.5, 47.5))


@pytest.mark.parametrize("around", [0.0, 1.0])
def test_crop_and_picture_lie_in_each_other(around: float) -> None:
    setting = geometric(rotation_deg=0, shear_deg=0, around=around, translation=2.0)
    for height, width in ((80, 60), (60, 300), (200, 300)):
        places = set()
        for seed in range(30):
            xy = np.random.default_rng(seed).uniform((0, 0), (width, height), (1, 3, 2))
            matrix = make(setting, np.zeros((height, width, 3), np.uint8), xy, seed).matrix
            corners = np.sort(cv2.transform(np.array([[(-0.5, -0.5), (width - 0.5, height - 0.5)]]), matrix)[0], axis=0)
            for low, high in zip(*corners, strict=True):
                inside = low >= -0.5 - 1e-6 and high <= SIZE - 0.5 + 1e-6
                outside = low <= -0.5 + 1e-6 and high >= SIZE - 0.5 - 1e-6
                assert inside or outside
            places.add(tuple(matrix[:, 2]))
        assert len(places) == 30


def test_the_same_generator_gives_the_same_sample() -> None:
    image = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
    xy = np.array([[(100.0, 80.0), (120.0, 80.0), (110.0, 90.0)]])
    for seed in range(20):
        one, other = (make(Augmentation.top(), image, xy, seed) for _ in range(2))
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.xy, other.xy)


def test_views_differ_in_what_may_turn() -> None:
    assert Augmentation.preset("top").geometry.rotation_deg == 180
    side = Augmentation.preset("side").geometry
    assert (side.rotation_deg, side.flip_horizontal, side.flip_vertical) == (15, 0, 0)
    with pytest.raises(ConfigError, match="top, side, none"):
        Augmentation.preset("below")
    alone = ("snout", "left_ear")
    assert Augmentation.preset("top", alone).geometry.flip_horizontal == 0
    with pytest.raises(ConfigError, match="left_ear"):
        Augmenter(alone, Augmentation.top(), SIZE)


@pytest.mark.parametrize(
    ("names", "partners"),
    [
        (("snout", "leftear", "rightear", "tailbase"), (0, 2, 1, 3)),
        (("ear_L", "nose", "ear_R"), (2, 1, 0)),
        (("earL", "earR"), (1, 0)),
        (("l_hip", "r_hip", "hip"), (1, 0, 2)),
        (("LeftPaw1", "RightPaw1", "LeftPaw2", "RightPaw2"), (1, 0, 3, 2)),
        (("paw1LH_top", "paw2LF_top", "paw3RF_top", "paw4RH_top", "paw1LH_bot", "paw4RH_bot"), (3, 2, 1, 0, 5, 4)),
        (("tail", "nose", "flank", "bright"), (0, 1, 2, 3)),
    ],
)
def test_left_and_right_are_told_from_names(names: tuple[str, ...], partners: tuple[int, ...]) -> None:
    assert mirror.partners(names) == partners
    for name in mirror.unpaired(names):
        assert name == "bright"  # it holds `right`: better no flips than wrong ones
    assert mirror.unpaired(("LeftPaw", "RightPaw1", "RightPaw2")) == ("LeftPaw", "RightPaw1", "RightPaw2")


def symmetric_dot() -> Picture:
    return np.asarray(dots(np.array([(48.0, 48.0)] * 3), SIZE, SIZE, 5.0) // 2 + 60)


@pytest.mark.parametrize("seed", range(12))
def test_light_lens_sensor_and_codec_move_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = symmetric_dot()
    image = photometric.relight(image, Light(share=1, gamma=(0.9, 1.1), contrast=(0.9, 1.1)), rng)
    image = photometric.blur(image, Blur(share=1, motion_share=1), rng)
    image = photometric.roughen(image, Noise(share=1, sigma=(1, 3)), rng)
    image = photometric.compress(image, Compression(share=1, quality=(70, 90)), rng)
    grey = image.astype(float).mean(axis=-1)
    grey = np.clip(grey - np.median(grey) - 12, 0, None)
    # Noise and JPEG's blocks shake the centroid; a kernel that is off by half a pixel would not pass.
    np.testing.assert_allclose(centre(grey, np.array([48.0, 48.0]), 22), (48, 48), atol=0.15)


@pytest.mark.parametrize("length", range(2, 14))
@pytest.mark.parametrize("angle", [0, 0.3, math.pi / 4, 1.2, 3])
def test_a_smear_has_its_weight_in_the_middle(length: int, angle: float) -> None:
    kernel = photometric._line(length, angle)
    middle = np.array([(kernel.shape[1] - 1) / 2, (kernel.shape[0] - 1) / 2])
    np.testing.assert_allclose(centre(kernel, middle, 99), middle, atol=1e-5)
    assert kernel.sum() == pytest.approx(1)
    assert kernel.shape[0] % 2 == 1


@pytest.mark.parametrize("hidden", ["masked", "absent", "kept"])
def test_what_is_behind_something(hidden: str) -> None:
    occluders = Occluders.model_validate({"share": 1, "most": 3, "size": (0.2, 0.4), "hidden": hidden})
    setting = Augmentation.none().model_copy(update={"occluders": occluders})
    image = np.full((300, 300, 3), 100, np.uint8)
    xy = np.array([[(140.0, 140.0), (150.0, 150.0), (np.nan, np.nan)]])
    states = set()
    for seed in range(60):
        sample = make(setting, image, xy, seed)
        for k in range(2):
            states.add((bool(sample.visible[0, k]), bool(sample.known[0, k]), bool(sample.doubtful[0, k])))
        assert not sample.known[0, 2]
    seen = (True, True, False)
    behind = {"masked": (False, False, True), "absent": (False, True, False), "kept": seen}[hidden]
    assert states == {seen, behind}


def test_no_occluder_shows_a_second_keypoint() -> None:
    """Pieces of the picture are pasted elsewhere, but never those with a point in them."""
    occluders = Occluders(share=1, most=1, size=(0.5, 0.9))
    setting = Augmentation.none().model_copy(update={"occluders": occluders})
    xy = np.array([[(140.0, 140.0), (161.0, 150.0), (150.0, 165.0)]])  # so that no pixel is between two
    image = np.random.default_rng(0).integers(0, 60, (300, 300, 3), np.uint8)
    for x, y in xy[0].astype(int):
        image[y, x] = 255
    for seed in range(80):
        sample = make(setting, image, xy, seed)
        if not (sample.image == 255).all(axis=-1).sum() < 50:
            continue  # an occluder of one colour, or a texture, may be white
        assert (sample.image == 255).all(axis=-1).sum() <= sample.visible.sum()


def scene_and_animal() -> tuple[Picture, Picture, np.ndarray[Any, Any]]:
    scene = np.full((240, 320, 3), 180, np.uint8)
    picture = scene.copy()
    cv2.ellipse(picture, (150, 120), (30, 15), 0, 0, 360, (20, 20, 20), -1)
    return scene, picture, np.array([[(180.0, 120.0), (175.0, 112.0), (120.0, 120.0)]])


def all_absent(setting: Augmentation, **shares: float) -> Augmentation:
    return setting.model_copy(update={"absent": absent.Absent(**{"painted": 0, "other": 0, "decoys": 0, **shares})})


def test_an_animal_that_is_painted_over_is_gone_and_said_to_be() -> None:
    scene, picture, xy = scene_and_animal()
    kinds = set()
    for seed in range(30):
        setting = all_absent(geometric(flip_horizontal=0, around=1), painted=1)
        sample = make(setting, picture, xy, seed, scene=scene)
        kinds.add(sample.kind)
        assert not sample.visible.any()
        assert sample.known.all()
        inner = sample.image[20:-20, 20:-20]
        assert not ((inner > 30) & (inner < 150)).any()  # the animal was darker; beyond the picture may be any colour
        assert np.isnan(sample.xy).all()
    assert kinds == {"painted", "empty"}


def test_of_an_animal_painted_over_what_nobody_labelled_stays_unknown() -> None:
    _, picture, xy = scene_and_animal()
    xy[0, 1] = np.nan
    for seed in range(30):
        sample = make(all_absent(geometric(flip_horizontal=0), painted=1), picture, xy, seed)
        assert sample.kind == "painted"
        assert sample.known.tolist() == [[True, False, True]]


def test_other_things_show_no_keypoint_at_all() -> None:
    _, picture, xy = scene_and_animal()
    xy[0, 1] = np.nan
    sample = make(all_absent(Augmentation.none(), other=1), picture, xy)
    assert (sample.kind, sample.known.all(), sample.visible.any()) == ("other", True, False)


@pytest.mark.parametrize("shape", [(80, 96), (80, 96, 3)])
def test_textures_differ(shape: tuple[int, ...]) -> None:
    made = [textures.texture(shape, np.random.default_rng(seed), rich=0.5) for seed in range(30)]
    assert all(one.shape == shape and one.dtype == np.uint8 for one in made)
    assert len({one.tobytes() for one in made}) == 30


def test_a_body_is_wider_than_its_keypoints() -> None:
    mask = absent.body(np.array([[(40.0, 50.0), (80.0, 50.0), (np.nan, np.nan)]]), (100, 120))
    assert mask[50, 30] == mask[50, 90] == mask[62, 60] == 255
    assert mask[50, 10] == mask[90, 60] == 0
    assert not absent.body(np.full((2, 3, 2), np.nan), (10, 10)).any()


def test_a_place_without_animals_is_found_only_where_there_is_one() -> None:
    xy = np.array([[(40.0, 40.0), (60.0, 40.0)]])
    shift = absent.free_shift(xy, 400, 300, 12, np.random.default_rng(0))
    assert shift is not None
    assert max(abs(shift[0]), abs(shift[1])) >= 24
    xy = np.array([[(40.0, 20.0), (60.0, 20.0)]])
    assert absent.free_shift(xy, 70, 40, 12, np.random.default_rng(0)) is None


@pytest.mark.parametrize("shape", [(96, 96), (96, 96, 3)])
def test_decoys_have_the_animal_s_colours_and_no_point(shape: tuple[int, ...]) -> None:
    colours = np.full((4, *shape[2:]), 40, np.uint8)
    white = np.full(shape, 250, np.uint8)
    shares = []
    for seed in range(20):
        painted = textures.decoys(white.copy(), colours, np.random.default_rng(seed))
        assert painted.shape == shape
        assert painted.dtype == np.uint8
        shares.append(float((np.abs(painted.astype(int) - 40) < 50).mean()))
    assert max(shares) > 0.1
    assert len(set(shares)) > 15


def test_pictures_without_an_animal_have_decoys() -> None:
    scene, picture, xy = scene_and_animal()
    setting = all_absent(geometric(flip_horizontal=0, around=1), painted=1, decoys=1)
    made = [make(setting, picture, xy, seed, scene=scene) for seed in range(20)]
    assert not any(sample.visible.any() for sample in made)
    assert all(sample.known.all() for sample in made)
    # Scene and animal are 180 and 20; the rim is left out, since beyond the picture may be any colour.
    assert sum(bool((sample.image[40:-40, 40:-40] < 100).any()) for sample in made) > 3
