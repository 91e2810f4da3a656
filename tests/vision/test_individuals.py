"""Places keep their animals while those are apart, whatever order the peaks come in."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tinymodels import Tiny, spot

from poseloop.live.errors import ModelError
from poseloop.live.types import Colour
from poseloop.live.vision import Network
from poseloop.live.vision.individuals import keep_places
from poseloop.live.vision.network import Follow, View

NAN = float("nan")


class Places:
    """The state of one camera."""

    def __init__(self, individuals: int, points: int) -> None:
        self.last = np.full((individuals, points, 2), np.nan, np.float32)
        self.fresh = np.zeros((individuals, points), np.bool_)

    def sort(self, xy: np.ndarray, score: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        xy = np.array(xy, np.float32)
        score = np.ones(xy.shape[:2], np.float32) if score is None else np.array(score, np.float32)
        keep_places(xy, score, self.last, self.fresh)
        return xy, score


@given(seed=st.integers(0, 2**32 - 1), individuals=st.integers(1, 4), points=st.integers(1, 5))
def test_animals_that_stay_apart_keep_their_places(seed: int, individuals: int, points: int) -> None:
    rng = np.random.default_rng(seed)
    places = Places(individuals, points)
    middles = np.stack([np.arange(individuals) * 200.0, rng.uniform(0, 50, individuals)], 1)
    body = rng.uniform(-30, 30, (points, 2))
    for picture in range(12):
        middles += rng.uniform(-10, 10, middles.shape)
        truth = middles[:, None] + body
        shuffled = np.stack([truth[rng.permutation(individuals), k] for k in range(points)], 1)
        unseen = rng.random((individuals, points)) < (0.3 if picture else 0)
        shuffled[unseen] = np.nan
        found, _ = places.sort(shuffled)
        if picture == 0:
            # Whatever the order of the first picture was: one animal to a place.
            order = np.argmin(np.abs(found[:, 0, 0, None] - truth[None, :, 0, 0]), axis=1)
        seen = ~np.isnan(found[..., 0])
        np.testing.assert_array_equal(found[seen], truth[order].astype(np.float32)[seen])


def test_scores_travel_with_their_points() -> None:
    places = Places(2, 1)
    places.sort([[(0, 0)], [(100, 0)]], [[0.9], [0.8]])
    xy, score = places.sort([[(101, 0)], [(1, 0)]], [[0.95], [0.7]])
    np.testing.assert_array_equal(xy[:, 0], [(1, 0), (101, 0)])
    np.testing.assert_array_equal(score[:, 0], np.array([0.7, 0.95], np.float32))


def test_one_of_two_that_disappears_leaves_its_place_empty_and_comes_back_to_it() -> None:
    places = Places(2, 1)
    places.sort([[(0, 0)], [(100, 0)]])
    for _ in range(3):
        xy, _ = places.sort([[(101, 0)], [(NAN, NAN)]])
        assert np.isnan(xy[0]).all()
        np.testing.assert_array_equal(xy[1, 0], (101, 0))
    xy, _ = places.sort([[(101, 0)], [(5, 0)]])
    np.testing.assert_array_equal(xy[:, 0], [(5, 0), (101, 0)])


def test_a_point_that_was_hidden_joins_the_nearest_animal() -> None:
    """Its own last place is where another animal is now."""
    places = Places(2, 2)
    places.sort([[(0, 0), (10, 0)], [(100, 0), (110, 0)]])
    for x in range(10, 100, 10):
        places.sort([[(0 + x, 50), (NAN, NAN)], [(100 - x, 0), (NAN, NAN)]])
    xy, _ = places.sort([[(95, 50), (105, 50)], [(5, 0), (15, 0)]])
    np.testing.assert_array_equal(xy, [[(95, 50), (105, 50)], [(5, 0), (15, 0)]])


def test_nothing_seen_changes_nothing() -> None:
    places = Places(2, 2)
    before = places.sort([[(0, 0), (10, 0)], [(100, 0), (110, 0)]])[0]
    xy, _ = places.sort(np.full((2, 2, 2), np.nan))
    assert np.isnan(xy).all()
    np.testing.assert_array_equal(places.sort(before[::-1])[0], before)


@pytest.mark.parametrize("method", ["centroid", "argmax", "locref"])
def test_a_network_finds_two(tmp_path: Path, method: str) -> None:
    with Network.open(Tiny(method=method).save(tmp_path), individuals=2, gate=0.5) as network:
        for step in range(8):
            truth = [(20.0 + 5 * step, 20.0), (100.0 - 5 * step, 70.0)]
            # One of them pales, in turn, so that the order of the scores changes.
            spots = [spot(96, 128, *place) // (10 if i == step % 2 else 9) * 9 for i, place in enumerate(truth)]
            found = network.infer([np.maximum(*spots)])
            assert found.xy.shape == (1, 2, 1, 2)
            assert found.score.shape == (1, 2, 1)
            if step == 0:
                order = [0, 1] if found.xy[0, 0, 0, 1] < 45 else [1, 0]
            np.testing.assert_allclose(found.xy[0, order, 0], truth, atol=4 if method == "locref" else 2)


def test_a_second_animal_that_is_not_there_is_nan(tmp_path: Path) -> None:
    with Network.open(Tiny().save(tmp_path), individuals=2, gate=0.5) as network:
        found = network.infer([spot(96, 128, 61, 41)])
        np.testing.assert_allclose(found.xy[0, 0, 0], (61, 41), atol=2)
        assert np.isnan(found.xy[0, 1]).all()
        assert found.score[0, 1, 0] == 0


def test_what_cannot_be_asked_for_is_refused(tmp_path: Path) -> None:
    path = Tiny(method="keypoints").save(tmp_path)
    with pytest.raises(ModelError, match="expected 1 individual, since this model decodes one itself, but got 2"):
        Network.open(path, individuals=2)
    with pytest.raises(ModelError, match="expected at least 1 individual, but got 0"):
        Network.open(path, individuals=0)
    network = Network.open(Tiny().save(tmp_path), individuals=2)
    with pytest.raises(ModelError, match="expected 1 individual where a crop follows it, but got 2"):
        network.prepare([View(96, 128, Colour.GREY)], Follow((64, 64)))
