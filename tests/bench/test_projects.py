"""A project of the simulated animal is one that the trainer reads, and its labels are the truth."""

from pathlib import Path

import numpy as np

from poseloop.bench import projects
from poseloop.drivers.sim.world import KEYPOINTS
from poseloop.live.types import Colour
from poseloop.live.vision import Network
from poseloop.train import labels, pictures


def test_labels_are_where_the_animal_is(tmp_path: Path) -> None:
    projects.simulated(tmp_path, 3, 320, 240)
    project = labels.read(tmp_path)
    assert not project.problems
    assert project.keypoints == KEYPOINTS
    assert [(frame.width, frame.height) for frame in project.frames] == [(320, 240)] * 3
    with Network.open("simulated_animal") as network:
        assert network.keypoints == KEYPOINTS
        for frame in project.frames:
            found = network.infer([pictures.read(frame.path, Colour.RGB)]).xy[0, 0]
            np.testing.assert_allclose(found, frame.xy[0], atol=0.5)


def test_points_that_are_not_labelled_stay_empty(tmp_path: Path) -> None:
    points = np.array([[4.0, 5.0], [np.nan, np.nan]])
    projects.write_video(tmp_path, "me", "top", ["nose", "tail"], [(np.zeros((32, 32), np.uint8), points)], first=7)
    projects.write_config(tmp_path, "task", "me", ["nose", "tail"])
    (frame,) = labels.read(tmp_path).frames
    assert frame.name == "labeled-data/top/img0007.png"
    np.testing.assert_array_equal(frame.xy[0], points)
