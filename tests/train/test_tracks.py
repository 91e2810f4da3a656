"""Tracks of several cameras beside each other; the files themselves are read in the commands' tests."""

import numpy as np
import pytest

from poseloop.live.errors import DataError
from poseloop.train.tracks import Tracks, together


def tracks(frames: int, *keypoints: str) -> Tracks:
    xy = np.random.default_rng(len(keypoints)).uniform(0, 100, (frames, len(keypoints), 2))
    return Tracks(keypoints, xy, np.full(xy.shape[:2], 0.9))


def test_keypoints_that_all_have_are_matched_by_name() -> None:
    one, two = tracks(5, "nose", "ear", "tail"), tracks(5, "tail", "nose")
    names, xy, score = together({"a": one, "b": two})
    assert names == ("nose", "tail")
    np.testing.assert_array_equal(xy, [one.xy[:, [0, 2]], two.xy[:, [1, 0]]])
    assert score.shape == (2, 5, 2)


def test_frames_that_a_file_lacks_at_its_end_are_not_seen() -> None:
    one, two = tracks(40, "nose"), tracks(39, "nose")
    _, xy, score = together({"a": one, "b": two})
    assert np.isnan(xy[1, 39]).all()
    assert np.isnan(score[1, 39]).all()
    assert np.isfinite(xy[1, :39]).all()


def test_what_does_not_belong_together_is_refused() -> None:
    with pytest.raises(DataError, match=r"differ in length \(frames\): a 40, b 30"):
        together({"a": tracks(40, "nose"), "b": tracks(30, "nose")})
    with pytest.raises(DataError, match="the tracks share none"):
        together({"a": tracks(5, "nose"), "b": tracks(5, "tail")})
