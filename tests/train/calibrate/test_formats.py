"""Calibrations of other programs, there and back."""

from pathlib import Path

import calibrating
import cv2
import numpy as np
import pytest

from poseloop.live.errors import CalibrationError
from poseloop.live.geometry import Calibration
from poseloop.train.calibrate import formats

POINTS = np.random.default_rng(0).uniform(-100, 100, (20, 3))


@pytest.mark.parametrize("kind", formats.FORMATS)
def test_there_and_back(tmp_path: Path, kind: str) -> None:
    cameras = calibrating.rig(("mid",))
    file = tmp_path / ("rig.yaml" if kind == "opencv" else "rig.toml")
    formats.write(cameras, file, kind)
    read = formats.read(file)
    assert read.names == cameras.names
    assert [one.size for one in read.cameras] == [one.size for one in cameras.cameras]
    np.testing.assert_allclose(read.project(POINTS), cameras.project(POINTS), atol=1e-6)


def test_anipose_cameras_are_matched_by_name(tmp_path: Path) -> None:
    rig = [calibrating.camera(f"c{k}", 3.0 * k) for k in range(12)]
    file = tmp_path / "anipose.toml"
    formats.write(Calibration(rig), file, "anipose")
    # Written as text in another order: cam_10 before cam_2, as sorting the keys does.
    parts = file.read_text().split("\n\n")
    blocks = sorted(part for part in parts if part.startswith("[cam_"))
    file.write_text("\n\n".join(blocks) + "\n\n[metadata]\nerror = 0.3\n")
    read = formats.read(file)
    assert read.names != tuple(one.name for one in rig)
    np.testing.assert_allclose(read.select(["c10"]).project(POINTS), Calibration([rig[10]]).project(POINTS), atol=1e-6)


def test_opencv_reads_what_is_written(tmp_path: Path) -> None:
    file = tmp_path / "rig.yml"
    cameras = calibrating.rig()
    formats.write(cameras, file, "opencv")
    storage = cv2.FileStorage(str(file), cv2.FILE_STORAGE_READ)
    node = storage.getNode("cameras").at(2)
    assert node.getNode("name").string() == "right"
    np.testing.assert_array_equal(node.getNode("camera_matrix").mat(), cameras.cameras[2].matrix)
    storage.release()


def test_the_yaml_of_opencvs_own_calibration_gives_a_lens(tmp_path: Path) -> None:
    file = tmp_path / "top.yml"
    storage = cv2.FileStorage(str(file), cv2.FILE_STORAGE_WRITE)
    storage.write("image_width", 640)
    storage.write("image_height", 480)
    storage.write("camera_matrix", np.array([[500.0, 0, 320], [0, 501, 240], [0, 0, 1]]))
    storage.write("distortion_coefficients", np.array([[-0.1], [0.02], [0], [0], [0.001]]))
    storage.release()
    lens = formats.lens_of(formats.read(file).cameras[0])
    np.testing.assert_allclose(lens.values[:9], [500, 501, 320, 240, -0.1, 0.02, 0, 0, 0.001])


def test_caliscopes_metres_become_millimetres(data: Path) -> None:
    read = formats.read(data / "caliscope_charuco_4cam_A/charuco_calibration/camera_array.toml")
    assert read.names == ("cam_0", "cam_1", "cam_2", "cam_3")
    centres = np.array([camera.centre for camera in read.cameras])
    assert np.linalg.norm(centres[0] - centres[1]) == pytest.approx(1131.8, abs=0.1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[cam_0]\nname = 'a'\nmatrix = [[1,0,0],[0,1,0],[0,0,1]]", "'a'.*'size' is missing"),
        ("x = 1", "found no cameras"),
        ("[cam_0", "cannot be read"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "calibration.toml"
    file.write_text(text)
    with pytest.raises(CalibrationError, match=words) as caught:
        formats.read(file)
    assert str(file) in str(caught.value)
    with pytest.raises(CalibrationError, match="there is no such"):
        formats.read(tmp_path / "none.toml")
