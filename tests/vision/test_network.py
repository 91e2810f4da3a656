"""Pictures in, keypoints out: sizes, colours, cameras that miss, and files that are no use."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from tinymodels import Tiny, spot

from poseloop.live.errors import ModelError, UnknownPlugin
from poseloop.live.types import Colour, Keypoints
from poseloop.live.vision import Network
from poseloop.live.vision.network import View, find_model, zoo

HALF_CELL_PX = 2.0


def opened(folder: Path, **tiny: Any) -> Network:
    return Network.open(Tiny(**tiny).save(folder))


def test_one_grey_camera(tmp_path: Path) -> None:
    with opened(tmp_path) as network:
        found = network.infer([spot(96, 128, 61, 41)])
        assert network.keypoints == ("spot",)
        assert network.info.name == "tiny"
        assert network.provider == "cpu"
    assert found.xy.shape == (1, 1, 1, 2)
    assert found.score.shape == (1, 1, 1)
    assert found.xy.dtype == found.score.dtype == np.float32
    np.testing.assert_allclose(found.xy[0, 0, 0], (61, 41), atol=HALF_CELL_PX)
    assert 0.7 < found.score[0, 0, 0] < 1


def test_what_scripts_rely_on(tmp_path: Path) -> None:
    """As the design's list of public calls has it: one animal, nothing gated, NaN only where nothing was."""
    path = Tiny(colour=Colour.RGB, keypoints=("r", "g", "b")).save(tmp_path)
    for model in (path, str(path)):
        network = Network.open(model, provider="cpu")
        assert network.keypoints == ("r", "g", "b")
        image = np.zeros((64, 96, 3), np.uint8)
        image[..., 0] = spot(64, 96, 40, 30)
        image[..., 1] = spot(64, 96, 60, 20) // 50
        found = network.infer([image, image[::-1, ::-1]])
        assert isinstance(found, Keypoints)
        assert (found.xy.shape, found.score.shape) == ((2, 1, 3, 2), (2, 1, 3))
        assert (found.xy.dtype, found.score.dtype) == (np.float32, np.float32)
        assert not found.xy.flags.writeable
        np.testing.assert_allclose(found.xy[0, 0, :2], [(40, 30), (60, 20)], atol=HALF_CELL_PX)
        np.testing.assert_allclose(found.xy[1, 0, :2], [(55, 33), (35, 43)], atol=HALF_CELL_PX)
        assert 0 < found.score[0, 0, 1] < 0.05
        assert np.isnan(found.xy[:, 0, 2]).all()
        assert (found.score[:, 0, 2] == 0).all()


def test_under_the_gate_a_point_is_nan_and_its_score_stays(tmp_path: Path) -> None:
    path = Tiny().save(tmp_path)
    bright, dim = spot(96, 128, 61, 41), spot(96, 128, 61, 41) // 4
    plain = Network.open(path).infer([bright, dim])
    gated = Network.open(path, gate=0.5).infer([bright, dim])
    np.testing.assert_array_equal(gated.score, plain.score)
    np.testing.assert_array_equal(gated.xy[0], plain.xy[0])
    assert np.isnan(gated.xy[1]).all()
    assert np.isfinite(plain.xy[1]).all()


@pytest.mark.parametrize("window", [3, 5, 7, 9])
def test_the_window_is_the_files(tmp_path: Path, window: int) -> None:
    """A second spot pulls the point as soon as it is inside the window."""
    image = np.maximum(spot(96, 128, 61.5, 41.5, 1), spot(96, 128, 61.5 + 16, 41.5, 1) // 2)
    found = opened(tmp_path, window=window).infer([image]).xy[0, 0, 0]
    assert (found[0] > 62) == (window == 9)


def test_a_window_without_a_middle_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a window with an odd side, but got 4"):
        Tiny(window=4).info  # noqa: B018


@pytest.mark.parametrize("method", ["centroid", "argmax"])
@pytest.mark.parametrize(("height", "width"), [(96, 128), (97, 131), (95, 126)])
def test_sizes_that_are_no_multiple_are_padded(tmp_path: Path, method: str, height: int, width: int) -> None:
    network = opened(tmp_path, method=method, size_multiple=32)
    for x, y in ((61, 41), (6, 6), (width - 7, height - 7)):
        found = network.infer([spot(height, width, x, y)])
        np.testing.assert_allclose(found.xy[0, 0, 0], (x, y), atol=HALF_CELL_PX)


def test_a_bright_rim_is_found_inside_the_picture(tmp_path: Path) -> None:
    image = np.zeros((97, 129), np.uint8)
    image[-8:, -8:] = 255
    found = opened(tmp_path, size_multiple=32).infer([image])
    assert 120 <= found.xy[0, 0, 0, 0] <= 128
    assert 88 <= found.xy[0, 0, 0, 1] <= 96


def test_locref_moves_the_cell_by_the_offset_in_pixels(tmp_path: Path) -> None:
    found = opened(tmp_path, method="locref").infer([spot(96, 128, 62, 42)])
    plain = opened(tmp_path, method="argmax").infer([spot(96, 128, 62, 42)])
    # The offset head says (+score, -score), and locref_std is 2 px.
    moved = 2 * float(plain.score[0, 0, 0])
    np.testing.assert_allclose(found.xy - plain.xy, [[[[moved, -moved]]]], atol=1e-5)


def test_keypoints_from_the_graph_are_pixels_of_the_raw_image(tmp_path: Path) -> None:
    network = opened(tmp_path, method="keypoints", size_multiple=32)
    network.prepare([View(96, 128, Colour.GREY, crop=(10, 20, 64, 64), size=(32, 32))])
    found = network.infer([np.full((96, 128), 51, np.uint8)])
    # The graph says x = 100 * mean, y = 50 * mean, score = mean, and the mean is 0.2.
    np.testing.assert_allclose(found.xy[0, 0, 0], (10 + 20.5 * 2 - 0.5, 20 + 10.5 * 2 - 0.5), atol=1e-3)
    np.testing.assert_allclose(found.score, 0.2, atol=1e-6)


def test_cameras_of_one_size_share_a_run_and_one_may_miss(tmp_path: Path) -> None:
    network = opened(tmp_path)
    places = [(30, 20), (61, 41), (90, 70)]
    images = [spot(96, 128, *place) for place in places]
    together = network.infer(images)
    np.testing.assert_allclose(together.xy[:, 0, 0], places, atol=HALF_CELL_PX)
    missing = network.infer([images[0], None, images[2]])
    assert np.isnan(missing.xy[1]).all()
    assert np.isnan(missing.score[1]).all()
    np.testing.assert_array_equal(missing.xy[[0, 2]], together.xy[[0, 2]])
    np.testing.assert_array_equal(missing.score[[0, 2]], together.score[[0, 2]])
    np.testing.assert_array_equal(network.infer(np.stack(images)).xy, together.xy)


def test_all_cameras_may_miss_and_come_back(tmp_path: Path) -> None:
    network = opened(tmp_path)
    image = spot(96, 128, 61, 41)
    before = network.infer([image, image])
    nothing = network.infer([None, None])
    assert np.isnan(nothing.xy).all()
    assert np.isnan(nothing.score).all()
    np.testing.assert_array_equal(network.infer([image, image]).xy, before.xy)


def test_cameras_of_different_sizes_and_colours(tmp_path: Path) -> None:
    network = opened(tmp_path)
    colour = np.repeat(spot(64, 160, 100, 30)[:, :, None], 3, 2)
    images = [spot(96, 128, 30, 20), colour, spot(96, 128, 90, 70)]
    found = network.infer(images)
    np.testing.assert_allclose(found.xy[:, 0, 0], [(30, 20), (100, 30), (90, 70)], atol=HALF_CELL_PX)
    alone = [network.infer([image]).xy[0] for image in images]
    np.testing.assert_array_equal(found.xy, alone)


@pytest.mark.parametrize("camera", list(Colour))
@pytest.mark.parametrize("model", list(Colour))
def test_colour_orders(tmp_path: Path, model: Colour, camera: Colour) -> None:
    """A model with one point for each channel tells which channel it was given."""
    names = ("grey",) if model is Colour.GREY else tuple(model.value)
    network = opened(tmp_path, colour=model, keypoints=names)
    view = View(64, 64, camera)
    network.prepare([view])
    image = np.zeros(view.shape, np.uint8)
    image[20:40, 20:40, ...] = 255 if camera is Colour.GREY else [255 * (c == "r") for c in camera.value]
    score = dict(zip(names, network.infer([image]).score[0, 0], strict=True))
    if model is Colour.GREY:
        assert score["grey"] == pytest.approx(1 if camera is Colour.GREY else 0.299, abs=0.01)
    else:
        assert score["r"] == 1
        assert score["g"] == score["b"] == (1 if camera is Colour.GREY else 0)


def test_stages_are_what_infer_does_and_pictures_may_be_overwritten_after_load(tmp_path: Path) -> None:
    network = opened(tmp_path)
    image = spot(96, 128, 61, 41)
    network.prepare([View(96, 128, Colour.GREY)])
    whole = network.infer([image])
    network.load([image])
    image[:] = 0
    network.run()
    parts = network.decode()
    np.testing.assert_array_equal(parts.xy, whole.xy)
    np.testing.assert_array_equal(parts.score, whole.score)


def test_results_are_fresh_and_read_only(tmp_path: Path) -> None:
    network = opened(tmp_path)
    first = network.infer([spot(96, 128, 61, 41)])
    kept = first.xy.copy()
    network.infer([spot(96, 128, 20, 20)])
    np.testing.assert_array_equal(first.xy, kept)
    with pytest.raises(ValueError, match="read-only"):
        first.xy[0] = 0


def test_a_prepared_network_refuses_other_pictures(tmp_path: Path) -> None:
    network = opened(tmp_path)
    network.prepare([View(96, 128, Colour.GREY), View(64, 64, Colour.BGR)])
    good = [np.zeros((96, 128), np.uint8), np.zeros((64, 64, 3), np.uint8)]
    network.infer(good)
    for bad, says in (
        (good[:1], "expected pictures of 2 cameras, but got 1"),
        ([good[0], good[0]], r"camera 1: expected a picture \[64, 64, 3\] uint8, but got \[96, 128\] uint8"),
        ([good[0].astype(np.float32), good[1]], r"camera 0: .* but got \[96, 128\] float32"),
    ):
        with pytest.raises(ModelError, match=says):
            network.infer(bad)


def test_an_unprepared_network_follows_the_pictures(tmp_path: Path) -> None:
    network = opened(tmp_path)
    assert network.infer([spot(96, 128, 61, 41)]).xy.shape[0] == 1
    np.testing.assert_allclose(network.infer([spot(64, 96, 33, 22)]).xy[0, 0, 0], (33, 22), atol=HALF_CELL_PX)
    assert network.infer([spot(64, 96, 33, 22), spot(96, 128, 61, 41)]).xy.shape[0] == 2
    network.close()
    network.close()
    assert network.infer([spot(64, 96, 33, 22)]).xy.shape[0] == 1


@pytest.mark.parametrize(
    "images", [np.zeros((96, 128), np.uint8), np.zeros((96, 128, 3), np.uint8), [np.zeros((96, 128, 4), np.uint8)], []]
)
def test_pictures_of_no_known_shape_are_refused(tmp_path: Path, images: Any) -> None:
    with pytest.raises(ModelError, match="expected"):
        opened(tmp_path).infer(images)


def test_a_first_call_without_a_picture_asks_for_prepare(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="call prepare"):
        opened(tmp_path).infer([spot(96, 128, 61, 41), None])


def test_describe_needs_no_runtime(tmp_path: Path) -> None:
    path = Tiny().save(tmp_path)
    program = (
        "import sys; sys.modules['onnxruntime'] = None\n"
        "from poseloop.live.vision import Network\n"
        f"print(Network.describe({str(path)!r}).keypoints)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "('spot',)"


def test_an_unknown_zoo_name_lists_the_zoo() -> None:
    with pytest.raises(ModelError, match=r"no model is called 'squirrel'; the zoo holds: .*blob"):
        Network.open("squirrel")
    assert "blob" in zoo()


def test_paths_start_at_the_folder_that_is_given(tmp_path: Path) -> None:
    path = Tiny().save(tmp_path)
    assert find_model("tiny.onnx", tmp_path) == path
    assert find_model(path, Path("elsewhere")) == path
    assert find_model("blob", tmp_path).name == "blob.onnx"
    with pytest.raises(ModelError, match=r"elsewhere/tiny\.onnx: there is no such model file"):
        find_model("tiny.onnx", tmp_path / "elsewhere")


def test_files_that_are_no_models_are_refused(tmp_path: Path) -> None:
    text = tmp_path / "text.onnx"
    text.write_text("I am no model")
    bare = tmp_path / "bare.onnx"
    bare.write_bytes(Tiny().graph().SerializeToString())
    for path, says in (
        (tmp_path / "absent.onnx", "there is no such model file"),
        (text, "expected an ONNX model"),
        (bare, "Export it with `poseloop export`"),
    ):
        with pytest.raises(ModelError, match=says):
            Network.open(path)


def test_an_unknown_runtime_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownPlugin, match="no runtime is called 'abacus'"):
        Network.open(Tiny().save(tmp_path), runtime="abacus")


def test_a_provider_that_is_not_there_is_refused_when_opened(tmp_path: Path) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime was built for CUDA")
    with pytest.raises(ModelError, match="provider 'cuda'"):
        Network.open(Tiny().save(tmp_path), provider="cuda")


@pytest.mark.parametrize(
    ("tiny", "says"),
    [
        (Tiny(stride=8), "8 pixels a cell, but a 128x96 picture gives 32x24 cells"),
        (Tiny(keypoints=("nose", "tail")), r"expected an output scoremap \[1, 24, 32, 2\]"),
    ],
)
def test_a_description_that_contradicts_the_graph_is_refused(tmp_path: Path, tiny: Tiny, says: str) -> None:
    network = Network.open(tiny.save(tmp_path))
    for _ in range(2):
        with pytest.raises(ModelError, match=says):
            network.infer([spot(96, 128, 61, 41)])


@pytest.mark.parametrize("method", ["locref", "keypoints", "centroid"])
def test_an_output_that_is_missing_is_named(tmp_path: Path, method: str) -> None:
    path = Tiny(method=method).save(tmp_path)
    model = onnx.load(path)
    wanted = model.graph.output[-1].name
    for node in model.graph.node:
        node.output[:] = ["other" if name == wanted else name for name in node.output]
    model.graph.output[-1].name = "other"
    onnx.save(model, path)
    with pytest.raises(ModelError, match=f"expected an output {wanted}"):
        Network.open(path).infer([spot(96, 128, 61, 41)])


def test_a_picture_smaller_than_the_multiple_still_runs(tmp_path: Path) -> None:
    found = opened(tmp_path, size_multiple=32).infer([np.full((3, 5), 255, np.uint8)])
    assert 0 <= found.xy[0, 0, 0, 0] <= 4


@pytest.mark.parametrize("colour", [Colour.GREY, Colour.RGB])
def test_pictures_are_read_where_they_lie(tmp_path: Path, colour: Colour) -> None:
    """Every slot gives its own points, and what comes in another array is copied as before."""
    channels = () if colour is Colour.GREY else (3,)
    slots = np.zeros((3, 64, 96, *channels), np.uint8)
    places = [(40, 30), (60, 20), (20, 50)]
    for slot, (x, y) in zip(slots, places, strict=True):
        slot[:] = spot(64, 96, x, y).reshape(64, 96, *(1,) * len(channels))
    slots.flags.writeable = False
    pictures = list(slots)
    keypoints = ("spot",) if colour is Colour.GREY else ("r", "g", "b")
    with opened(tmp_path, colour=colour, keypoints=keypoints) as network:
        network.prepare([View(64, 96, colour)])
        copied = [network.infer([picture.copy()]).xy for picture in pictures]
        assert network.bind(0, pictures)
        feed = network._cameras[0]
        feed.write = refuse
        for number in (2, 0, 1, 0):
            np.testing.assert_array_equal(network.infer([pictures[number]]).xy, copied[number])
        with pytest.raises(AssertionError, match="copied"):
            network.infer([pictures[0].copy()])


def refuse(*_: Any) -> None:
    raise AssertionError("copied")


def test_pictures_that_come_elsewhere_are_copied_again(tmp_path: Path) -> None:
    first, second = spot(64, 96, 40, 30), spot(64, 96, 60, 20)
    with opened(tmp_path) as network:
        network.prepare([View(64, 96, Colour.GREY)])
        assert network.bind(0, [first])
        for picture, place in ((first, (40, 30)), (second, (60, 20)), (first, (40, 30)), (second, (60, 20))):
            np.testing.assert_allclose(network.infer([picture]).xy[0, 0, 0], place, atol=HALF_CELL_PX)


@pytest.mark.parametrize(
    "views",
    [
        [View(64, 96, Colour.GREY, crop=(0, 0, 96, 60))],
        [View(64, 96, Colour.GREY, size=(48, 32))],
        [View(62, 96, Colour.GREY)],
        [View(64, 96, Colour.RGB)],
        [View(64, 96, Colour.GREY)] * 2,
    ],
    ids=["cut", "resized", "padded", "colour", "two cameras in one run"],
)
def test_pictures_that_the_network_is_not_shown_as_they_are_must_be_copied(tmp_path: Path, views: list[View]) -> None:
    with opened(tmp_path) as network:
        network.prepare(views)
        assert not network.bind(0, [np.zeros(views[0].shape, np.uint8)])


def test_pictures_in_scattered_memory_must_be_copied(tmp_path: Path) -> None:
    """An input made of them would be a copy, of what was in them then."""
    with opened(tmp_path) as network:
        network.prepare([View(64, 96, Colour.GREY)])
        assert not network.bind(0, [np.zeros((64, 192), np.uint8)[:, ::2]])
