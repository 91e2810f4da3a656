"""Calibrations of other programs, there and back."""

import json
import os
import re
import subprocess
from pathlib import Path

import calibrating
import cv2
import numpy as np
import pytest
from repository import ROOT
from scipy.io import loadmat

from poseloop.live import cli
from poseloop.live.errors import CalibrationError
from poseloop.live.geometry import Calibration
from poseloop.live.geometry.calibration import CameraModel
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


_ANIPOSELIB = """
import json, sys
import numpy as np
from aniposelib.cameras import CameraGroup
group = CameraGroup.load(sys.argv[1])
group.dump(sys.argv[2])
print(json.dumps([group.get_names(), group.project(np.array(json.load(sys.stdin))).tolist()]))
"""


@pytest.mark.slow
def test_aniposelib_reads_what_is_written_and_the_other_way_round(tmp_path: Path) -> None:
    """Where ``POSELOOP_ANIPOSELIB`` is the Python of an environment that holds it."""
    if not (python := os.environ.get("POSELOOP_ANIPOSELIB")):
        pytest.skip("POSELOOP_ANIPOSELIB is not set")
    some = calibrating.rig(("mid",)).cameras  # "mid" is a fisheye
    rational = np.array([0.2, -0.1, 0.001, -0.002, 0.02, 0.3, -0.05, 0.01])
    last = some[2]
    wide = CameraModel("wide", last.size, last.matrix, rational, last.rotation, last.translation)
    cameras = Calibration([*some, wide])
    ours, theirs = tmp_path / "ours.toml", tmp_path / "theirs.toml"
    formats.write(cameras, ours, "anipose")
    done = subprocess.run(
        (python, "-c", _ANIPOSELIB, ours, theirs),
        input=json.dumps(POINTS.tolist()),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    names, xy = json.loads(done.stdout.splitlines()[-1])
    assert names == list(cameras.names)
    np.testing.assert_allclose(np.reshape(xy, (4, -1, 2)), cameras.project(POINTS), atol=1e-6)
    np.testing.assert_allclose(formats.read(theirs).project(POINTS), cameras.project(POINTS), atol=1e-6)


def test_a_file_of_aniposes_whose_unit_is_not_the_millimetre(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cameras = calibrating.rig()
    metres = Calibration(
        [
            CameraModel(one.name, one.size, one.matrix, one.distortion, one.rotation, one.translation / 1000)
            for one in cameras.cameras
        ]
    )
    file, out = tmp_path / "anipose.toml", tmp_path / "ours.toml"
    formats.write(metres, file, "anipose")
    assert cli.main(["calibrate", str(file), "--out", str(out)]) == 1
    assert "0.688 apart, which cannot be millimetres: say what it is by --unit" in capsys.readouterr().err
    assert not out.exists()
    assert cli.main(["calibrate", str(file), "--out", str(out), "--unit", "m"]) == 0
    np.testing.assert_allclose(Calibration.load(out).project(POINTS), cameras.project(POINTS), atol=1e-6)
    assert formats.read(file, places=False).names == cameras.names  # its lenses have no unit


@pytest.mark.parametrize("rotation", ["matrix", "vector"])
def test_both_layouts_of_caliscopes_array(tmp_path: Path, rotation: str) -> None:
    """Rotations are three numbers in what caliscope 0.11 writes, and were nine before."""
    cameras = calibrating.rig()
    lines = []
    for number, one in enumerate(cameras.cameras):
        turn = one.rotation if rotation == "matrix" else cv2.Rodrigues(one.rotation)[0].reshape(-1)
        lines += [
            f"[cameras.{number}]",
            f"cam_id = {number}",
            f"size = {list(one.size)}",
            f"matrix = {one.matrix.tolist()}",
            f"distortions = {one.distortion.tolist()}",
            f"rotation = {turn.tolist()}",
            f"translation = {(one.translation / 1000).tolist()}",
        ]
    file = tmp_path / "camera_array.toml"
    file.write_text("\n".join(lines))
    read = formats.read(file)
    assert read.names == ("cam_0", "cam_1", "cam_2")
    np.testing.assert_allclose(read.project(POINTS), cameras.project(POINTS), atol=1e-6)
    # Before its cameras were placed.
    file.write_text(re.sub("(rotation|translation) = .*", r'\1 = "null"', "\n".join(lines)))
    with pytest.raises(CalibrationError, match="'cam_0': 'rotation' is missing"):
        formats.read(file)
    np.testing.assert_array_equal(
        formats.lens_of(formats.read(file, places=False).cameras[1]).values, formats.lens_of(cameras.cameras[1]).values
    )


def test_the_recipe_for_matlab_and_dannce(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines of the documentation, and points by MATLAB's conventions: rows, from the left, pixels from 1."""
    cameras = calibrating.rig()
    cameras.save(tmp_path / "calibration.toml")
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "calibration.md").read_text(encoding="utf-8")
    exec(re.findall(r"```python\n(.*?savemat.*?)```", page, re.DOTALL)[0], {})  # noqa: S102
    for c, name in enumerate(cameras.names):
        theirs = loadmat(tmp_path / f"{name}_params.mat")
        seen = np.column_stack([POINTS, np.ones(len(POINTS))]) @ np.vstack([theirs["r"], theirs["t"]])
        x, y = (seen[:, :2] / seen[:, 2:]).T
        (k1, k2, k3), (p1, p2) = theirs["RDistort"][0], theirs["TDistort"][0]
        r2 = x**2 + y**2
        bend = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
        bent = [
            x * bend + 2 * p1 * x * y + p2 * (r2 + 2 * x**2),
            y * bend + p1 * (r2 + 2 * y**2) + 2 * p2 * x * y,
            np.ones_like(x),
        ]
        pixels = np.column_stack(bent) @ theirs["K"]
        np.testing.assert_allclose(pixels[:, :2] - 1, cameras.project(POINTS)[c], atol=1e-9)


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
