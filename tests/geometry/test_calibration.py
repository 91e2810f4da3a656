"""Camera models against OpenCV, and calibration files that are right, or wrong in a way that is named."""

import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from viewpoints import LENSES, camera, ring, stage

from poseloop.live.errors import CalibrationError
from poseloop.live.geometry import Calibration
from poseloop.live.geometry.calibration import CameraModel
from poseloop.live.types import CameraFormat, Colour, Region

CENTRES = st.tuples(st.floats(-600, 600), st.floats(-600, 600), st.floats(500, 900))


def opencv(model: CameraModel, xyz: np.ndarray) -> np.ndarray:
    # OpenCV's own way from matrix to vector loses half of the digits near a half turn.
    turned = Rotation.from_matrix(model.rotation).as_rotvec()
    if model.fisheye:
        return cv2.fisheye.projectPoints(xyz[:, None], turned, model.translation, model.matrix, model.distortion)[
            0
        ].reshape(-1, 2)
    return cv2.projectPoints(xyz, turned, model.translation, model.matrix, model.distortion)[0].reshape(-1, 2)


@pytest.mark.parametrize("lens", LENSES)
@given(centre=CENTRES, roll=st.floats(-3, 3), seed=st.integers(0, 1000))
def test_projection_is_opencvs(lens: str, centre: tuple[float, float, float], roll: float, seed: int) -> None:
    model = camera("a", lens, np.array(centre), roll)
    xyz = stage(20, seed)
    np.testing.assert_allclose(Calibration([model]).project(xyz)[0], opencv(model, xyz), atol=1e-8)


@pytest.mark.parametrize("lens", LENSES)
@given(centre=CENTRES, seed=st.integers(0, 1000))
def test_undistortion_is_the_inverse(lens: str, centre: tuple[float, float, float], seed: int) -> None:
    model = camera("a", lens, np.array(centre))
    calibration = Calibration([model])
    xyz = stage(20, seed)
    inside = xyz @ model.rotation.T + model.translation
    found = calibration.undistort(calibration.project(xyz))[0]
    np.testing.assert_allclose(found, inside[:, :2] / inside[:, 2:], atol=1e-10)


@pytest.mark.parametrize("lens", LENSES)
def test_undistortion_is_opencvs_over_the_whole_picture(lens: str) -> None:
    model = camera("a", lens, np.array([0, 100.0, 700]))
    grid = np.stack(np.meshgrid(np.arange(0, 1280, 40.0), np.arange(0, 1024, 40.0)), axis=-1).reshape(1, -1, 2)
    found = Calibration([model]).undistort(grid)[0]
    if model.fisheye:
        expected = cv2.fisheye.undistortPoints(grid, model.matrix, model.distortion).reshape(-1, 2)
    else:
        exact = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 200, 1e-14)
        expected = cv2.undistortPoints(grid, model.matrix, model.distortion, None, None, None, exact).reshape(-1, 2)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_what_a_camera_cannot_see_is_nan() -> None:
    model = camera("a", "five", np.array([0, 10.0, 700]))
    calibration = Calibration([model])
    behind = model.centre + (model.centre - 0) * 0.5
    xy = calibration.project(np.array([[0.0, 0, 0], behind, [np.nan, 0, 0]]))[0]
    assert np.isfinite(xy[0]).all()
    assert np.isnan(xy[1:]).all()
    # Far out the radial polynomial folds the picture back: no direction leads to that pixel, and none is made up.
    assert np.isnan(calibration.undistort(np.array([[[9000.0, 520.0], [np.nan, 3], [np.inf, 3]]]))).all()
    rotated = model.rotation.T @ np.array([3.0, 0, 1.0]) * 500 + model.centre
    assert np.isnan(calibration.project(rotated[None])).all()


def test_a_file_holds_every_bit(tmp_path: Path) -> None:
    cameras = [*ring(5).cameras, camera('odd "näme"\\ 1.0\n', "plain", np.array([1, 2, 300.0]))]
    calibration = Calibration(cameras, unit="cm")
    calibration.save(tmp_path / "c.toml")
    loaded = Calibration.load(tmp_path / "c.toml")
    assert loaded.names == calibration.names
    assert loaded.unit == "cm"
    assert loaded.rig.tobytes() == calibration.rig.tobytes()
    assert [c.size for c in loaded.cameras] == [(1280, 1024)] * 6
    assert [path.name for path in tmp_path.iterdir()] == ["c.toml"]


def test_cameras_are_found_by_name_and_put_in_the_rigs_order() -> None:
    calibration = ring(4)
    chosen = calibration.select(["c3", "c1"])
    assert chosen.names == ("c3", "c1")
    np.testing.assert_array_equal(chosen.project(stage(3)), calibration.project(stage(3))[[3, 1]])
    with pytest.raises(
        CalibrationError, match=r"expected a camera 'top' in the calibration, but it has: c0, c1, c2, c3"
    ):
        calibration.select(["c0", "top"])


GOOD = """
format = "poseloop calibration 1"
unit = "mm"
[cameras.top]
model = "pinhole"
size = [640, 480]
matrix = [[500, 0, 320], [0, 500, 240], [0, 0, 1]]
distortion = [0.1, 0, 0, 0, 0]
rotation = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
translation = [0, 0, 100]
"""


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "calibration 1",
            "calibration 2",
            "expected format = 'poseloop calibration 1', but found 'poseloop calibration 2'",
        ),
        ('format = "poseloop calibration 1"', "", "calibration of another program"),
        ('unit = "mm"', "", "expected unit"),
        ('"pinhole"', '"omni"', "camera top: expected model = pinhole or fisheye, but found 'omni'"),
        ('"pinhole"', '"fisheye"', "camera top: expected 4 distortion coefficients for a fisheye, but got 5"),
        (
            "[0.1, 0, 0, 0, 0]",
            "[0.1]",
            "camera top: expected 0, 4, 5, 8 distortion coefficients for a pinhole, but got 1",
        ),
        ("[0.1, 0, 0, 0, 0]", '["a"]', "camera top: expected numbers as distortion"),
        ("[640, 480]", "[640.5, 480]", "camera top: expected size = [width, height]"),
        ("[640, 480]", "640", "camera top: expected size = [width, height]"),
        ("[500, 0, 320]", "[500, 1, 320]", "camera top: expected a matrix"),
        ("[500, 0, 320]", "[-500, 0, 320]", "camera top: expected a matrix"),
        ("[500, 0, 320]", "[nan, 0, 320]", "camera top: expected matrix as 3 x 3 of finite numbers"),
        ("[[1, 0, 0]", "[[-1, 0, 0]", "det R = -1"),
        ("[[1, 0, 0]", "[[1, 0.01, 0]", "camera top: expected a rotation"),
        ("[0, 0, 100]", "[0, 0]", "camera top: expected translation as 3 of finite numbers"),
        ("translation = [0, 0, 100]", "", "camera top: translation missing"),
        ("translation", "position = 1\ntranslation", "camera top: unknown key position"),
        ("[cameras.top]", "[camera.top]", "expected a table [cameras.NAME]"),
        ('unit = "mm"', 'unit = "mm', "cannot be read as a calibration file (TOML)"),
    ],
)
def test_a_fault_is_named_with_file_and_camera(tmp_path: Path, old: str, new: str, expected: str) -> None:
    file = tmp_path / "rig.toml"
    assert old in GOOD
    file.write_text(GOOD.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(CalibrationError) as raised:
        Calibration.load(file)
    assert expected in str(raised.value)
    assert "rig.toml" in str(raised.value)


def test_missing_and_empty_files_and_doubled_names(tmp_path: Path) -> None:
    (tmp_path / "good.toml").write_text(GOOD, encoding="utf-8")
    assert Calibration.load(str(tmp_path / "good.toml")).names == ("top",)
    with pytest.raises(CalibrationError, match="there is no such calibration file"):
        Calibration.load(tmp_path / "absent.toml")
    with pytest.raises(CalibrationError, match="cannot be written"):
        ring(2).save(tmp_path / "absent" / "c.toml")
    with pytest.raises(CalibrationError, match="at least one camera"):
        Calibration([])
    with pytest.raises(CalibrationError, match="c0 twice"):
        Calibration([ring(2).cameras[0]] * 2)


@pytest.mark.parametrize("shape", [(3,), (4, 2), (2, 2, 3)])
def test_arrays_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected points \(N, 3\)"):
        ring(2).project(np.zeros(shape))
    with pytest.raises(ValueError, match=r"expected points \(2, N, 2\)"):
        ring(2).undistort(np.zeros(shape))


def test_a_region_of_the_sensor_survives_the_file(tmp_path: Path) -> None:
    first, second = ring(2).cameras
    Calibration([replace(first, region=Region(8, 4, 2, 1)), second]).save(tmp_path / "c.toml")
    loaded = Calibration.load(tmp_path / "c.toml")
    assert [camera.region for camera in loaded.cameras] == [Region(8, 4, 2, 1), None]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("offset = [8]", "camera c0: expected offset = two whole numbers >= 0, but got [8]"),
        ("offset = [-1, 0]", "expected offset = two whole numbers >= 0, but got [-1, 0]"),
        ("offset = [0, 0]\nbinning = [0, 2]", "expected binning = two whole numbers >= 1, but got [0, 2]"),
        ("offset = [0, 0]\nbinning = [1.0, 2]", "expected binning = two whole numbers >= 1, but got [1.0, 2]"),
        ("binning = [2, 2]", "camera c0: offset missing"),
    ],
)
def test_a_wrong_region_is_named(tmp_path: Path, lines: str, expected: str) -> None:
    file = tmp_path / "c.toml"
    Calibration(ring(1).cameras).save(file)
    file.write_text(file.read_text(encoding="utf-8") + lines + "\n", encoding="utf-8")
    with pytest.raises(CalibrationError, match=re.escape(expected)):
        Calibration.load(file)


def test_what_a_smaller_region_shows_is_where_the_same_lens_puts_it() -> None:
    whole = replace(camera("top", "five", np.array([0.0, -500, 400])), region=Region(16, 8))
    part = whole.delivering(CameraFormat(640, 512, Colour.GREY, 100, Region(216, 108)))
    assert part.size == (640, 512)
    seen, cut = (Calibration([model]).project(stage(20)) for model in (whole, part))
    np.testing.assert_allclose(cut, seen - [200, 100], atol=1e-9)


def test_where_a_side_does_not_tell_its_region_the_size_has_to_be_the_same() -> None:
    model = camera("top", "five", np.array([0.0, -500, 400]))
    for known in (model, replace(model, region=Region())):
        assert known.delivering(CameraFormat(1280, 1024, Colour.GREY, 100)) is known
        with pytest.raises(CalibrationError, match=r"camera top: expected pictures of 1280 x 1024 px.*640 x 512 px"):
            known.delivering(CameraFormat(640, 512, Colour.GREY, 100))
