"""A target decodes to the points that it was made of."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poseloop.live.types import Colour
from poseloop.live.vision import peaks
from poseloop.live.vision.coords import Placement, View
from poseloop.train import targets

SIDE = 128


def decoded(maps: np.ndarray[Any, Any], stride: int, window: int) -> tuple[Any, Any]:
    rows, columns, points = maps.shape
    cells, score = np.empty((1, points, 2), np.float32), np.empty((1, points), np.float32)
    peaks.centroid(maps[None], rows, columns, window, cells, score)
    view = Placement.of(View(rows * stride, columns * stride, Colour.GREY))
    (factor, _), (offset, _) = view.cells_to_image(stride)
    return cells[0] * factor + offset, score[0]


@given(
    st.sampled_from([4, 8, 16]),
    st.sampled_from([0.7, 0.8, 1.0, 1.3]),
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=5),
)
@settings(max_examples=150)
def test_decoding_gives_the_points_back(stride: int, sigma: float, shares: list[tuple[float, float]]) -> None:
    side, window = 32 * stride, targets.window(sigma)
    # So far from the rim that the window is whole.
    rim = (window // 2 + 1) * stride
    xy = rim + np.array(shares) * (side - 2 * rim)
    maps = targets.score_maps(xy[None], np.ones((1, len(xy)), np.bool_), side, side, stride, sigma)
    found, score = decoded(maps, stride, window)
    # Under a hundredth of a cell, as the window's choice promises.
    np.testing.assert_allclose(found, xy, atol=0.0125 * stride)
    assert (score > np.exp(-0.5 * 0.5 / sigma**2) - 1e-6).all()


def test_bias_at_stride_8() -> None:
    xy = np.random.default_rng(0).uniform(40, 216, (1, 500, 2))
    for sigma, window, largest in ((1.0, 7, 0.03), (0.8, 5, 0.08), (1.0, 5, 0.37)):
        maps = targets.score_maps(xy, np.ones((1, 500), np.bool_), 256, 256, 8, sigma)
        off = decoded(maps, 8, window)[0] - xy[0]
        assert np.abs(off.mean(axis=0)).max() < 0.03
        assert np.abs(off).max() < largest
    assert (targets.window(1.0), targets.window(0.8)) == (7, 5)


def test_a_cell_s_centre_is_where_it_is_said_to_be() -> None:
    maps = targets.score_maps(np.array([[(3.5, 11.5)]]), np.ones((1, 1), np.bool_), 32, 64, 8, 1.0)
    assert maps.shape == (4, 8, 1)
    assert maps.dtype == np.float32
    assert maps.flags.c_contiguous
    assert maps[1, 0, 0] == 1
    np.testing.assert_allclose(maps[1, 1, 0], np.exp(-0.5), rtol=1e-6)


def test_invisible_points_leave_an_empty_map() -> None:
    xy = np.array([[(20.0, 20.0), (40.0, 40.0), (np.nan, np.nan)]])
    maps = targets.score_maps(xy, np.array([[True, False, False]]), SIDE, SIDE, 8, 1.0)
    assert maps.max(axis=(0, 1)).tolist() == [pytest.approx(maps[..., 0].max()), 0, 0]


def test_of_two_animals_the_nearer_counts() -> None:
    xy = np.array([[(19.5, 19.5)], [(91.5, 35.5)]])
    seen = np.ones((2, 1), np.bool_)
    both = targets.score_maps(xy, seen, SIDE, SIDE, 8, 1.0)
    each = [targets.score_maps(one[None], seen[:1], SIDE, SIDE, 8, 1.0) for one in xy]
    np.testing.assert_array_equal(both, np.maximum(*each))
    assert both[2, 2, 0] == both[4, 11, 0] == 1


def test_weights_mask_what_is_not_known_or_in_doubt() -> None:
    known = np.array([[True, True, False, True], [True, False, False, False]])
    doubtful = np.array([[False, False, False, False], [False, False, False, True]])
    assert targets.weights(known, doubtful).tolist() == [1, 1, 0, 0]
    assert targets.weights(known, doubtful).dtype == np.float32
