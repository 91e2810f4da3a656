"""Every kernel against NumPy and SciPy, at borders, between cells, and with NaN."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given
from hypothesis import strategies as st

from poseloop.live.vision import peaks

Kernel = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def outputs(maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    batch, _, _, points = maps.shape
    return np.full((batch, points, 2), 77, np.float32), np.full((batch, points), 77, np.float32)


def argmax(maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    cells, score = outputs(maps)
    peaks.argmax(maps, *maps.shape[1:3], cells, score)
    return cells, score


def centroid(maps: np.ndarray, window: int = 5) -> tuple[np.ndarray, np.ndarray]:
    cells, score = outputs(maps)
    peaks.centroid(maps, *maps.shape[1:3], window, cells, score)
    return cells, score


def locref(maps: np.ndarray, offsets: np.ndarray | None = None, scale: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    cells, score = outputs(maps)
    if offsets is None:
        offsets = np.zeros((*maps.shape[:3], 2 * maps.shape[3]), np.float32)
    peaks.locref(maps, offsets, *maps.shape[1:3], scale, cells, score)
    return cells, score


KERNELS = [argmax, centroid, locref]


def gaussian(height: int, width: int, x: float, y: float, sigma: float = 1.0) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    values = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))
    return values.astype(np.float32)[None, :, :, None]


@given(
    batch=st.integers(1, 3),
    height=st.integers(1, 13),
    width=st.integers(1, 17),
    points=st.integers(1, 5),
    levels=st.integers(1, 6),
    seed=st.integers(0, 2**32 - 1),
)
def test_argmax_is_numpys_also_where_values_are_equal(
    batch: int, height: int, width: int, points: int, levels: int, seed: int
) -> None:
    maps = np.random.default_rng(seed).integers(1, levels + 1, (batch, height, width, points)).astype(np.float32)
    cells, score = argmax(maps)
    flat = maps.reshape(batch, height * width, points)
    first = flat.argmax(1)
    np.testing.assert_array_equal(cells[..., 0], first % width)
    np.testing.assert_array_equal(cells[..., 1], first // width)
    np.testing.assert_array_equal(score, flat.max(1))


@given(seed=st.integers(0, 2**32 - 1), window=st.sampled_from([1, 3, 5, 7]))
def test_centroid_is_scipys_centre_of_mass(seed: int, window: int) -> None:
    rng = np.random.default_rng(seed)
    maps = rng.random((2, 15, 20, 3), np.float32) - np.float32(0.3)
    cells, score = centroid(maps, window)
    for b in range(2):
        for k in range(3):
            plane = maps[b, :, :, k]
            row, column = np.unravel_index(plane.argmax(), plane.shape)
            down = min(window // 2, row, 14 - row)
            across = min(window // 2, column, 19 - column)
            part = plane[row - down : row + down + 1, column - across : column + across + 1].astype(float)
            y, x = scipy.ndimage.center_of_mass(np.maximum(part, 0))
            # Coordinates are float32: half a unit in the last place of 20 is 1e-6.
            np.testing.assert_allclose(cells[b, k], (column - across + x, row - down + y), atol=4e-6)
            assert score[b, k] == plane.max()


@given(x=st.floats(5, 15), y=st.floats(5, 9))
def test_centroid_finds_a_gaussian_between_cells(x: float, y: float) -> None:
    cells, _ = centroid(gaussian(15, 21, x, y))
    # A window of 5 cells cuts a Gaussian of sigma 1 that lies d cells off its middle unevenly; the closed form of what
    # is lost is largest at d = 0.5: 0.046 cells.
    np.testing.assert_allclose(cells[0, 0], (x, y), atol=0.05)


@pytest.mark.parametrize(("window", "worst"), [(3, 0.24), (5, 0.046), (7, 0.0041), (9, 2e-4)])
def test_each_window_loses_what_its_closed_form_says(window: int, worst: float) -> None:
    """A point half way between two cells, sigma 1: what the Gaussian has outside the window is all that is lost."""
    cells = np.arange(-(window // 2), window // 2 + 1)
    weight = np.exp(-((cells - 0.499) ** 2) / 2)
    lost = 0.499 - (weight * cells).sum() / weight.sum()
    assert abs(lost) <= worst
    found, _ = centroid(gaussian(25, 25, 12.499, 12), window)
    np.testing.assert_allclose(found[0, 0], (12.499 - lost, 12), atol=1e-5)


@given(x=st.floats(-0.5, 20.49), y=st.floats(-0.5, 14.49))
def test_centroid_stays_within_a_cell_at_the_border(x: float, y: float) -> None:
    cells, _ = centroid(gaussian(15, 21, x, y))
    # At the outermost cell the window is that cell alone: half a cell at most, and not pulled further inwards.
    np.testing.assert_allclose(cells[0, 0], (x, y), atol=0.501)


@pytest.mark.parametrize(("row", "column"), [(0, 0), (0, 19), (14, 0), (14, 19), (0, 7), (6, 19)])
@pytest.mark.parametrize("kernel", KERNELS)
def test_a_lone_cell_at_the_border_is_found_where_it_is(kernel: Kernel, row: int, column: int) -> None:
    maps = np.zeros((1, 15, 20, 1), np.float32)
    maps[0, row, column] = 0.7
    cells, score = kernel(maps)
    np.testing.assert_array_equal(cells[0, 0], (column, row))
    assert score[0, 0] == np.float32(0.7)


def test_locref_adds_the_offset_of_the_highest_cell_in_the_order_x_y() -> None:
    maps = np.zeros((1, 6, 8, 2), np.float32)
    maps[0, 2, 3, 0] = maps[0, 4, 5, 1] = 1
    offsets = np.zeros((1, 6, 8, 4), np.float32)
    offsets[0, 2, 3] = (1, -2, 50, 50)
    offsets[0, 4, 5] = (50, 50, -0.5, 0.25)
    cells, _ = locref(maps, offsets, scale=0.5)
    np.testing.assert_array_equal(cells[0], [(3.5, 1), (4.75, 4.125)])


@pytest.mark.parametrize("where", [(0, 0), (3, 4), (5, 7)])
@pytest.mark.parametrize("broken", [np.nan, np.inf])
@pytest.mark.parametrize("kernel", KERNELS)
def test_one_broken_cell_makes_its_map_unseen_and_no_other(
    kernel: Kernel, broken: float, where: tuple[int, int]
) -> None:
    maps = np.random.default_rng(0).random((2, 6, 8, 3), np.float32)
    healthy, healthy_score = (part.copy() for part in kernel(maps))
    maps[1, *where, 1] = broken
    cells, score = kernel(maps)
    assert np.isnan(cells[1, 1]).all()
    assert np.isnan(score[1, 1])
    others = np.ones((2, 3), bool)
    others[1, 1] = False
    np.testing.assert_array_equal(cells[others], healthy[others])
    np.testing.assert_array_equal(score[others], healthy_score[others])


@pytest.mark.parametrize("kernel", KERNELS)
def test_maps_of_nothing_but_nan_or_minus_infinity_are_unseen(kernel: Kernel) -> None:
    for value in (np.nan, -np.inf, np.inf):
        cells, score = kernel(np.full((1, 5, 6, 2), value, np.float32))
        assert np.isnan(cells).all()
        assert np.isnan(score).all()


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_map_without_anything_above_zero_has_no_point(kernel: Kernel) -> None:
    maps = np.zeros((1, 5, 6, 2), np.float32)
    maps[..., 1] = -0.5
    cells, score = kernel(maps)
    assert np.isnan(cells).all()
    np.testing.assert_array_equal(score, 0)


def test_minus_infinity_beside_a_peak_weighs_nothing() -> None:
    maps = gaussian(9, 9, 4, 4)
    maps[0, 3, 3] = maps[0, 5, 5] = -np.inf
    cells, _ = centroid(maps)
    np.testing.assert_allclose(cells[0, 0], (4, 4), atol=1e-6)


def test_a_broken_offset_is_unseen() -> None:
    maps = gaussian(6, 8, 3, 2)
    offsets = np.full((1, 6, 8, 2), np.nan, np.float32)
    cells, score = locref(maps, offsets)
    assert np.isnan(cells).all()
    assert np.isnan(score).all()


@pytest.mark.parametrize("kernel", [peaks.argmax, peaks.centroid])
def test_what_is_padded_is_not_searched(kernel: Any) -> None:
    maps = np.full((1, 6, 8, 2), 0.1, np.float32)
    maps[0, 5, 7] = maps[0, 4, 0] = maps[0, 0, 6] = 1
    maps[0, 2, 4] = 0.5
    cells, score = outputs(maps)
    window = (1,) if kernel is peaks.centroid else ()
    kernel(maps, 4, 6, *window, cells, score)
    np.testing.assert_array_equal(cells[0], [(4, 2), (4, 2)])
    np.testing.assert_array_equal(score, 0.5)


def test_passthrough_keeps_points_and_lets_nothing_broken_by() -> None:
    nan, inf = np.nan, np.inf
    points = np.array(
        [[(3, 4, 0.9), (nan, 4, 0.9), (3, nan, 0.9), (3, 4, nan), (inf, 4, 0.9), (3, 4, 0), (3, 4, -1)]], np.float32
    )
    cells, score = np.empty((1, 7, 2), np.float32), np.empty((1, 7), np.float32)
    peaks.passthrough(points, cells, score)
    np.testing.assert_array_equal(cells[0, 0], (3, 4))
    assert np.isnan(cells[0, 1:]).all()
    np.testing.assert_array_equal(score[0], np.array([0.9, nan, nan, nan, nan, 0, 0], np.float32))


def strongest(
    maps: np.ndarray, individuals: int, apart: int = 2, floor: float = 0.0, part: tuple[int, int] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    batch, height, width, points = maps.shape
    cells = np.full((individuals, batch, points, 2), 77, np.float32)
    score = np.full((individuals, batch, points), 77, np.float32)
    peaks.strongest(maps, *(part or (height, width)), apart, floor, cells, score)
    return cells, score


@given(seed=st.integers(0, 2**32 - 1), apart=st.integers(1, 3), individuals=st.integers(1, 5), floor=st.floats(-1, 1))
def test_the_strongest_are_scipys_local_maxima(seed: int, apart: int, individuals: int, floor: float) -> None:
    rng = np.random.default_rng(seed)
    # All values differ: what happens to equal ones is the next test's.
    maps = rng.permutation(2 * 12 * 15 * 3).reshape(2, 12, 15, 3).astype(np.float32) / 1000 - 0.1
    cells, score = strongest(maps, individuals, apart, floor)
    for b in range(2):
        for k in range(3):
            plane = maps[b, :, :, k]
            highest = scipy.ndimage.maximum_filter(plane, 2 * apart + 1, mode="constant", cval=-np.inf)
            rows, columns = np.nonzero((plane == highest) & (plane > 0) & (plane >= np.float32(floor)))
            order = np.argsort(-plane[rows, columns])[:individuals]
            n = len(order)
            np.testing.assert_array_equal(score[:n, b, k], plane[rows, columns][order])
            np.testing.assert_array_equal(cells[:n, b, k], np.stack([columns, rows], 1)[order])
            assert np.isnan(cells[n:, b, k]).all()
            assert (score[n:, b, k] == 0).all()


def test_of_equal_peaks_the_first_comes_first_and_a_plateau_is_one() -> None:
    maps = np.zeros((1, 9, 20, 1), np.float32)
    maps[0, 6, 3] = maps[0, 2, 15] = maps[0, 2, 16] = 0.5
    cells, score = strongest(maps, 3)
    np.testing.assert_array_equal(cells[:2, 0, 0], [(15, 2), (3, 6)])
    np.testing.assert_array_equal(score[:, 0, 0], np.array([0.5, 0.5, 0], np.float32))


def test_one_of_one_is_the_highest_cell() -> None:
    maps = np.random.default_rng(0).random((2, 12, 15, 3), np.float32)
    cells, score = argmax(maps)
    several_cells, several_score = strongest(maps, 1)
    np.testing.assert_array_equal(several_cells[0], cells)
    np.testing.assert_array_equal(several_score[0], score)


@pytest.mark.parametrize("where", [(0, 0), (3, 4), (5, 7)])
@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_one_broken_cell_makes_all_peaks_of_its_map_unseen(broken: float, where: tuple[int, int]) -> None:
    maps = np.random.default_rng(0).random((1, 6, 8, 2), np.float32)
    healthy, healthy_score = strongest(maps, 2)
    maps[0, *where, 1] = broken
    cells, score = strongest(maps, 2)
    assert np.isnan(cells[:, 0, 1]).all()
    assert np.isnan(score[:, 0, 1]).all()
    np.testing.assert_array_equal(cells[:, 0, 0], healthy[:, 0, 0])
    np.testing.assert_array_equal(score[:, 0, 0], healthy_score[:, 0, 0])


def test_peaks_in_the_padding_are_no_peaks() -> None:
    maps = np.full((1, 6, 8, 1), 0.1, np.float32)
    maps[0, 5, 7] = maps[0, 4, 0] = maps[0, 0, 6] = 1
    maps[0, 2, 4] = 0.5
    cells, score = strongest(maps, 2, apart=9, part=(4, 6))
    np.testing.assert_array_equal(cells[0, 0, 0], (4, 2))
    np.testing.assert_array_equal(score[:, 0, 0], np.array([0.5, 0], np.float32))
