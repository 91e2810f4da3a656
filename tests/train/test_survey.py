"""Crops and turns are chosen as a person who looks at the labels would."""

import math
from pathlib import Path

import numpy as np
import pytest
from projects import Project

from poseloop.train import labels, survey
from poseloop.train.labels import Labels

SIZE = (640, 480)


def project(folder: Path, angles: list[float], length: float = 100, size: tuple[int, int] = SIZE) -> Labels:
    """An animal of two points, a frame for each angle (degrees)."""
    made = Project(folder, keypoints=("snout", "tailbase"), size=size)
    for number, angle in enumerate(angles):
        ahead = np.array([math.cos(math.radians(angle)), math.sin(math.radians(angle))]) * length / 2
        middle = np.array(size) / 2
        made.picture(f"img{number}.png")
        made.row(f"img{number}.png", {"snout": tuple(middle + ahead), "tailbase": tuple(middle - ahead)})
    made.csv()
    return labels.read(folder)


@pytest.mark.parametrize(
    ("angles", "view"),
    [
        ([36.0 * n for n in range(10)], "top"),
        ([10.0 * math.sin(n) for n in range(10)], "side"),
        ([180.0 * (n % 2) + 10.0 * math.sin(n) for n in range(10)], "side"),  # runs both ways
        ([0.0, 5.0, -5.0], "top"),  # too few to tell
    ],
)
def test_an_animal_that_turns_is_seen_from_above(tmp_path: Path, angles: list[float], view: str) -> None:
    assert survey.view(project(tmp_path, angles)) == view


def test_every_camera_is_looked_at_by_itself(tmp_path: Path) -> None:
    made = Project(tmp_path, keypoints=("snout", "tailbase"), size=SIZE)
    for video, angle in (("one", 0.0), ("other", 90.0)):
        made.video, made.rows = video, []
        for number in range(8):
            ahead = 50 * np.array([math.cos(math.radians(angle)), math.sin(math.radians(angle))])
            made.picture(f"img{number}.png")
            made.row(f"img{number}.png", {"snout": tuple(200 + ahead), "tailbase": tuple(200 - ahead)})
        made.csv()
    assert survey.view(labels.read(tmp_path)) == "side"


@pytest.mark.parametrize(
    ("length", "size", "expected"),
    [(50, SIZE, 256), (200, SIZE, 320), (440, SIZE, 512), (300, (396, 406), 416), (60, (160, 120), 160)],
)
def test_a_crop_holds_one_and_a_half_animals(
    tmp_path: Path, length: float, size: tuple[int, int], expected: int
) -> None:
    made = project(tmp_path, [0.0] * 3, length, size)
    assert survey.length_px(made) == pytest.approx(length)
    assert survey.crop_size(made) == expected


@pytest.mark.real_data
def test_real_sets(data: Path) -> None:
    above, beside = labels.read(data / "dlc_openfield"), labels.read(data / "lp_mirror_mouse")
    assert (survey.view(above), survey.crop_size(above)) == ("top", 256)
    assert (survey.view(beside), survey.crop_size(beside)) == ("side", 416)
