"""There and back, and against OpenCV's own idea of where a pixel goes."""

import math

import cv2
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from poseloop.live.errors import ModelError
from poseloop.live.types import CameraFormat, Colour
from poseloop.live.vision.coords import Placement, Track, View, cells_to_image, place

TOLERANCE_PX = 1e-3
"""Far below what any network resolves, far above float32 at 2,000 px (1e-4)."""


@st.composite
def views(draw: st.DrawFn) -> View:
    height, width = draw(st.integers(16, 1200)), draw(st.integers(16, 1600))
    x, y = draw(st.integers(0, width - 8)), draw(st.integers(0, height - 8))
    part = (draw(st.integers(8, width - x)), draw(st.integers(8, height - y)))
    size = draw(st.none() | st.tuples(st.integers(8, 800), st.integers(8, 800)))
    crop = draw(st.sampled_from([None, (x, y, *part)]))
    return View(height, width, Colour.GREY, crop, size)


points = st.lists(st.tuples(st.floats(-50, 1650), st.floats(-50, 1250)), min_size=1, max_size=20)


@given(view=views(), xy=points, multiple=st.sampled_from([1, 8, 32]))
def test_to_the_network_and_back(view: View, xy: list[tuple[float, float]], multiple: int) -> None:
    placement = Placement.of(view, multiple)
    there = np.array(xy, np.float64)
    np.testing.assert_allclose(placement.to_image(placement.to_network(there)), there, atol=TOLERANCE_PX)


@given(view=views(), multiple=st.sampled_from([1, 8, 32]))
def test_the_corners_of_the_part_are_the_corners_of_the_content(view: View, multiple: int) -> None:
    placement = Placement.of(view, multiple)
    x, y, width, height = view.part
    outer = np.array([[x - 0.5, y - 0.5], [x + width - 0.5, y + height - 0.5]])
    inner = np.array([[-0.5, -0.5], [placement.width - 0.5, placement.height - 0.5]])
    np.testing.assert_allclose(placement.to_network(outer), inner, atol=TOLERANCE_PX)
    assert placement.padded_width % multiple == 0
    assert 0 <= placement.padded_width - placement.width < multiple
    assert 0 <= placement.padded_height - placement.height < multiple


@given(view=views(), stride=st.sampled_from([1, 2, 4, 8, 16]), cell=st.tuples(st.floats(0, 99), st.floats(0, 99)))
def test_cells_go_the_written_way(view: View, stride: int, cell: tuple[float, float]) -> None:
    placement = Placement.of(view, 32)
    (factor_x, factor_y), (offset_x, offset_y) = placement.cells_to_image(stride)
    network = np.array([[(i + 0.5) * stride - 0.5 for i in cell]])
    expected = placement.to_image(network)[0]
    np.testing.assert_allclose(
        (cell[0] * factor_x + offset_x, cell[1] * factor_y + offset_y), expected, rtol=1e-9, atol=TOLERANCE_PX
    )


@given(view=views(), stride=st.sampled_from([1, 4, 8]))
def test_the_searched_cells_are_those_with_centres_on_the_content(view: View, stride: int) -> None:
    placement = Placement.of(view, 32)
    rows, columns = placement.cells(stride)
    for count, side in ((rows, placement.height), (columns, placement.width)):
        centres = [(i + 0.5) * stride - 0.5 for i in range(math.ceil(side / stride) + 1)]
        assert count == max(sum(centre <= side - 1 for centre in centres), 1)


@given(view=views(), at=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_like_opencvs_affine_warp(view: View, at: tuple[float, float]) -> None:
    """The line that warpAffine would need for the same picture sends every point to the same place."""
    placement = Placement.of(view)
    (scale_x, scale_y), (offset_x, offset_y) = placement.cells_to_image(1)
    matrix = np.array([[scale_x, 0, offset_x], [0, scale_y, offset_y]])
    point = np.array([[[at[0] * placement.width, at[1] * placement.height]]])
    np.testing.assert_allclose(
        cv2.transform(point, matrix).reshape(-1, 2), placement.to_image(point[0]), atol=TOLERANCE_PX
    )


def blob(height: int, width: int, x: float, y: float, sigma: float) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))


def middle(image: np.ndarray) -> np.ndarray:
    weights = image.astype(np.float64)
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    return np.array([(weights * columns).sum(), (weights * rows).sum()]) / weights.sum()


@given(
    size=st.tuples(st.integers(60, 400), st.integers(60, 400)),
    x=st.floats(90, 150),
    y=st.floats(90, 150),
    crop=st.sampled_from([None, (13, 27, 220, 200)]),
)
def test_a_blob_lands_where_the_formula_says(
    size: tuple[int, int], x: float, y: float, crop: tuple[int, int, int, int] | None
) -> None:
    view = View(240, 260, Colour.GREY, crop, size)
    placement = Placement.of(view, 32)
    into = np.empty((placement.padded_height, placement.padded_width, 1), np.uint8)
    image = np.round(255 * blob(240, 260, x, y, 10)).astype(np.uint8)
    place(view, placement, Colour.GREY, into)(image)
    found = placement.to_image(middle(into[: placement.height, : placement.width, 0])[None])[0]
    # Eight bits and linear interpolation leave this much, in raw pixels; half a network pixel would be 0.3 to 2.
    np.testing.assert_allclose(found, middle(image), atol=0.06)


@given(size=st.tuples(st.integers(130, 300), st.integers(130, 300)))
def test_enlarging_is_opencvs_affine_warp(size: tuple[int, int]) -> None:
    view = View(120, 128, Colour.GREY, (3, 5, 120, 110), size)
    placement = Placement.of(view)
    image = np.round(255 * blob(120, 128, 60, 55, 12)).astype(np.uint8)
    into = np.empty((placement.height, placement.width, 1), np.uint8)
    place(view, placement, Colour.GREY, into)(image)
    (scale_x, scale_y), (offset_x, offset_y) = placement.cells_to_image(1)
    matrix = np.array([[scale_x, 0, offset_x], [0, scale_y, offset_y]])
    warped = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    inner = np.s_[10:-10, 10:-10]
    # warpAffine knows positions to 1/32 px only; the steepest slope here is 13 grey levels a pixel.
    assert np.abs(into[inner][..., 0].astype(int) - warped[inner]).max() <= 2


COLOURS = [(camera, network) for camera in Colour for network in Colour]


@pytest.mark.parametrize(("camera", "network"), COLOURS)
@pytest.mark.parametrize("size", [None, (24, 20)])
def test_colours(camera: Colour, network: Colour, size: tuple[int, int] | None) -> None:
    rgb = (200, 100, 50)
    grey = round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)
    given_colour = {Colour.GREY: (grey,), Colour.RGB: rgb, Colour.BGR: rgb[::-1]}[camera]
    if camera is Colour.GREY:
        wanted = (grey,) * network.channels
    else:
        wanted = {Colour.GREY: (grey,), Colour.RGB: rgb, Colour.BGR: rgb[::-1]}[network]
    view = View(30, 40, camera, (4, 2, 30, 25), size)
    placement = Placement.of(view, 8)
    image = np.zeros(view.shape, np.uint8)
    image[...] = given_colour[0] if camera is Colour.GREY else given_colour
    into = np.zeros((placement.padded_height, placement.padded_width, network.channels), np.uint8)
    write = place(view, placement, network, into)
    for _ in range(2):
        write(image)
        np.testing.assert_array_equal(into, np.broadcast_to(np.array(wanted, np.uint8), into.shape))
        into[:] = 0


@pytest.mark.parametrize("colour", [Colour.GREY, Colour.RGB])
def test_equal_sizes_are_copied_bit_for_bit_and_padding_repeats_the_rim(colour: Colour) -> None:
    view = View(29, 37, colour)
    image = np.random.default_rng(0).integers(0, 256, view.shape, dtype=np.uint8)
    image.flags.writeable = False
    placement = Placement.of(view, 8)
    into = np.zeros((32, 40, colour.channels), np.uint8)
    place(view, placement, colour, into)(image)
    expected = np.pad(image.reshape(29, 37, -1), ((0, 3), (0, 3), (0, 0)), mode="edge")
    np.testing.assert_array_equal(into, expected)


def test_one_picture_of_a_batch_leaves_the_others_alone() -> None:
    batch = np.full((3, 16, 16, 1), 9, np.uint8)
    view = View(14, 14, Colour.GREY)
    place(view, Placement.of(view, 16), Colour.GREY, batch[1])(np.full((14, 14), 200, np.uint8))
    assert (batch[1] == 200).all()
    assert (batch[[0, 2]] == 9).all()


def image_points(
    cells: np.ndarray, score: np.ndarray, shown: tuple[bool, ...] = (True, True), gate: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """What two cameras get, the second picture of the run being the first camera's."""
    individuals, batch, points, _ = cells.shape
    xy = np.full((2, individuals, points, 2), 77, np.float32)
    its = np.full((2, individuals, points), 77, np.float32)
    lines = np.array([[[8.0, 8], [3.5, 3.5]]] * batch)
    cells_to_image(cells, score, np.array([1, 0]), lines, np.array(shown), gate, xy, its)
    return xy, its


def test_points_go_to_their_cameras_and_the_others_are_left_alone() -> None:
    cells = np.ones((1, 2, 3, 2), np.float32)
    cells[0, 1] = 2
    xy, score = image_points(cells, np.full((1, 2, 3), 0.5, np.float32), shown=(True, False))
    np.testing.assert_array_equal(xy[0], 19.5)
    np.testing.assert_array_equal(score[0], 0.5)
    assert (xy[1] == 77).all()
    assert (score[1] == 77).all()


def test_nan_cells_stay_nan() -> None:
    xy, score = image_points(np.full((2, 2, 2, 2), np.nan, np.float32), np.full((2, 2, 2), np.nan, np.float32))
    assert np.isnan(xy).all()
    assert np.isnan(score).all()


def test_under_the_gate_a_point_is_nan_and_its_score_stays() -> None:
    score = np.array([[[0.49, 0.5], [0.1, 0.9]]], np.float32)
    xy, its = image_points(np.ones((1, 2, 2, 2), np.float32), score, gate=0.5)
    np.testing.assert_array_equal(its[:, 0], score[0, ::-1])
    np.testing.assert_array_equal(np.isnan(xy[:, 0, :, 0]), score[0, ::-1] < 0.5)


@st.composite
def tracks(draw: st.DrawFn) -> tuple[View, Track, int]:
    multiple = draw(st.sampled_from([1, 8, 32]))
    view = draw(views())
    region = Placement.of(view, multiple)
    most = [side // multiple for side in (region.width, region.height)]
    assume(min(most) >= 1)
    size = tuple(multiple * draw(st.integers(1, side)) for side in most)
    return view, Track.of(view, (size[0], size[1]), multiple), multiple


@given(made=tracks(), at=st.tuples(st.floats(-100, 1700), st.floats(-100, 1300)), stride=st.sampled_from([1, 4, 8]))
def test_a_moving_crop_stays_in_its_region_and_goes_the_written_way(
    made: tuple[View, Track, int], at: tuple[float, float], stride: int
) -> None:
    view, track, _ = made
    placement = track.around(*at)
    x, y, width, height = view.part
    assert x <= placement.x <= placement.x + placement.part_width <= x + width
    assert y <= placement.y <= placement.y + placement.part_height <= y + height
    assert (placement.width, placement.height) == (track.part.width, track.part.height)
    assert (placement.padded_width, placement.padded_height) == (placement.width, placement.height)
    # The scale differs from the whole region's by the rounding to whole raw pixels alone.
    for own, whole, side in zip(placement.scale, track.region.scale, (placement.width, placement.height), strict=True):
        assert abs(own - whole) * side <= (0.5 if own * side > 1 else 1) + TOLERANCE_PX
    cells = np.array([[3.25, 1.75], [0, 0]])
    factor, offset = (np.array(part) for part in placement.cells_to_image(stride))
    expected = placement.to_image((cells + 0.5) * stride - 0.5)
    np.testing.assert_allclose(cells * factor + offset, expected, atol=TOLERANCE_PX)
    np.testing.assert_allclose(placement.to_network(placement.to_image(cells)), cells, atol=TOLERANCE_PX)


@given(made=tracks(), at=st.tuples(st.floats(0, 1600), st.floats(0, 1200)))
def test_a_moving_crop_is_central_where_its_places_and_the_region_allow(
    made: tuple[View, Track, int], at: tuple[float, float]
) -> None:
    _, track, _ = made
    placement = track.around(*at)
    for wanted, got, side, start, room, step in zip(
        at,
        (placement.x, placement.y),
        (placement.part_width, placement.part_height),
        (track.region.x, track.region.y),
        (track.region.part_width, track.region.part_height),
        track.step,
        strict=True,
    ):
        middle = got + 0.5 * side - 0.5
        off = 0.5 * step + 0.5 + TOLERANCE_PX
        if got > start:
            assert middle <= wanted + off
        if got < start + room - side:
            assert middle >= wanted - off


def test_without_resizing_a_moving_crop_keeps_the_networks_grid() -> None:
    """Where it lies on the same cells as the whole picture, a network gives the same answer."""
    track = Track.of(View(480, 640, Colour.GREY, (10, 20, 620, 440)), (256, 192), 32)
    rng = np.random.default_rng(0)
    for x, y in rng.uniform(0, (640, 480), (200, 2)):
        placement = track.around(x, y)
        if placement.x < 10 + 620 - 256:
            assert (placement.x - 10) % 32 == 0
        if placement.y < 20 + 440 - 192:
            assert (placement.y - 20) % 32 == 0


@pytest.mark.parametrize("camera", list(Colour))
@pytest.mark.parametrize("network", list(Colour))
@pytest.mark.parametrize("size", [None, (160, 120), (400, 300)])
@pytest.mark.parametrize("roi", [None, (13, 27, 220, 200)])
def test_all_of_it_together_loses_no_pixel(
    camera: Colour, network: Colour, size: tuple[int, int] | None, roi: tuple[int, int, int, int] | None
) -> None:
    """Region, resizing, colour and a crop that moves: a rendered blob comes back where it was drawn."""
    view = View(240, 260, camera, roi, size)
    track = Track.of(view, (96, 96), 32)
    into = np.zeros((96, 96, network.channels), np.uint8)
    write = place(view, track.part, network, into)
    for x, y in ((60.0, 70.0), (100.25, 130.5), (150.7, 150.3), (200.0, 190.0)):
        image = np.round(255 * blob(240, 260, x, y, 6)).astype(np.uint8)
        if camera is not Colour.GREY:
            image = np.repeat(image[:, :, None], 3, 2)
        placement = track.around(x, y)
        write(image, placement.x, placement.y)
        if min(placement.to_network(np.array([x, y]))) < 24 or max(placement.to_network(np.array([x, y]))) > 72:
            continue  # the blob is cut by the crop's rim
        scale = max(placement.scale)
        found = placement.to_image(middle(into[:, :, -1])[None])[0]
        # As above: what eight bits and interpolation leave.
        np.testing.assert_allclose(found, (x, y), atol=0.06 * max(scale, 1))


@pytest.mark.parametrize(
    ("size", "says"),
    [((250, 256), "multiples of 32 px"), ((0, 32), "multiples of 32 px"), ((256, 256), "within the 320x240 px")],
)
def test_a_moving_crop_that_does_not_fit_is_refused(size: tuple[int, int], says: str) -> None:
    with pytest.raises(ModelError, match=says):
        Track.of(View(480, 640, Colour.GREY, size=(320, 240)), size, 32)


@given(crop=st.tuples(*[st.integers(-5, 60)] * 4))
def test_a_crop_outside_the_picture_is_refused(crop: tuple[int, int, int, int]) -> None:
    x, y, width, height = crop
    assume(min(x, y) < 0 or min(width, height) < 1 or x + width > 40 or y + height > 30)
    with pytest.raises(ModelError, match="crop inside the 40x30 picture"):
        View(30, 40, Colour.GREY, crop)


def test_a_view_of_a_camera_is_its_whole_picture() -> None:
    view = View.of(CameraFormat(64, 48, Colour.RGB, 30))
    assert view.shape == (48, 64, 3)
    assert view.part == (0, 0, 64, 48)
