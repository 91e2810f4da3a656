"""What is written as a project of labels is what the trainer reads; of the animal itself see test_simulate.py."""

from pathlib import Path

import numpy as np
import pytest

from poseloop.drivers.sim import projects
from poseloop.live.errors import DataError
from poseloop.live.types import Colour
from poseloop.train import labels, pictures


def test_points_that_are_not_labelled_stay_empty(tmp_path: Path) -> None:
    points = np.array([[4.0, 5.0], [np.nan, np.nan]])
    projects.write_video(tmp_path, "me", "top", ["nose", "tail"], [(np.zeros((32, 32), np.uint8), points)], first=7)
    projects.write_config(tmp_path, "task", "me", ["nose", "tail"])
    (frame,) = labels.read(tmp_path).frames
    assert frame.name == "labeled-data/top/img0007.png"
    np.testing.assert_array_equal(frame.xy[0], points)


def test_colours_keep_their_order(tmp_path: Path) -> None:
    picture = np.zeros((32, 32, 3), np.uint8)
    picture[..., 0] = 200
    projects.write_video(tmp_path, "me", "ä b", ["nose"], [(picture, np.array([[4.0, 5.0]]))])
    projects.write_config(tmp_path, "task", "me", ["nose"])
    (frame,) = labels.read(tmp_path).frames
    np.testing.assert_array_equal(pictures.read(frame.path, Colour.RGB), picture)


def test_a_place_that_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    (tmp_path / "labeled-data").write_text("a file")
    with pytest.raises(DataError, match="cannot be written"):
        projects.write_video(tmp_path, "me", "top", ["nose"], [])
