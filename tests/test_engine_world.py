"""The engine with calibrated cameras: points in the world against the simulated animal's own."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
from rigs import wait_for
from worldrigs import CAMERA, PLACES, RIG, change, turn, write

from poseloop.drivers.sim.camera import SimulatedCamera
from poseloop.live.config import load_rig, parse_rig
from poseloop.live.engine import Engine
from poseloop.live.engine_process import _tell_moved
from poseloop.live.errors import CalibrationError, ConfigError
from poseloop.live.geometry import Calibration, triangulate
from poseloop.live.output import report, wire
from poseloop.live.types import Pose, Region


@contextmanager
def opened(rig: Path) -> Iterator[tuple[Engine, list[Pose]]]:
    engine = Engine(load_rig(rig))
    poses: list[Pose] = []
    engine.open()
    try:
        engine.publisher.send_pose = poses.append  # type: ignore[method-assign]
        yield engine, poses
    finally:
        engine.stop()
        engine.close()


def run(rig: Path) -> tuple[Engine, list[Pose]]:
    with opened(rig) as (engine, poses):
        engine.start()
        wait_for(lambda: engine.finished)
    assert engine.error is None
    return engine, poses


def truth(engine: Engine, index: int) -> np.ndarray:
    camera = engine.cameras[0]
    assert isinstance(camera, SimulatedCamera)
    return camera.truth_xyz(index)


def test_points_in_the_world_are_the_animals(tmp_path: Path) -> None:
    engine, poses = run(write(tmp_path, "left", "right", "back"))
    assert len(poses) == 40
    errors = []
    for pose in poses:
        assert pose.xyz is not None
        assert pose.xyz.shape == pose.predicted.shape == (1, 4, 3)
        assert pose.xyz.dtype == pose.score.dtype == pose.residual_px.dtype == np.float32
        assert pose.score.shape == pose.residual_px.shape == pose.views.shape == (1, 4)
        errors.append(np.linalg.norm(pose.xyz[0] - truth(engine, pose.index), axis=-1))
        t = pose.trace
        assert 0 < t.decoded_ns <= t.triangulated_ns <= t.published_ns
    # A pixel is 0.7 mm here, and the network is right to half of one.
    assert np.nanmedian(errors) < 0.7
    assert np.nanmax(errors) < 4
    found = np.isfinite(errors)
    assert found.mean() > 0.9
    for name in ("score", "residual_px"):
        np.testing.assert_array_equal(np.isfinite([getattr(pose, name)[0] for pose in poses]), found)
    np.testing.assert_array_equal(np.array([pose.views[0] for pose in poses]) >= 2, found)
    whole = next(pose for pose in poses if (pose.views == 3).all())
    np.testing.assert_allclose(whole.score, whole.keypoints.score.mean(axis=0), rtol=1e-6)
    assert engine.report()["latency_ms"]["triangulate"]["n"] == 40


def test_online_is_offline_from_the_same_pictures(tmp_path: Path) -> None:
    engine, poses = run(write(tmp_path, "left", "right", "back"))
    calibration = Calibration.load(tmp_path / "calibration.toml").select(list(engine.rig.cameras))
    for pose in poses:
        xyz, residual, views = triangulate(calibration, pose.keypoints.xy[:, 0], pose.keypoints.score[:, 0])
        assert pose.xyz is not None
        # Poses hold float32.
        np.testing.assert_allclose(pose.xyz[0], xyz, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(pose.residual_px[0], residual, rtol=1e-6)
        np.testing.assert_array_equal(pose.views[0], views)


def test_a_set_with_one_picture_gives_no_point(tmp_path: Path) -> None:
    rig = write(tmp_path, "left", "right")
    head, tail = rig.read_text(encoding="utf-8").split("[cameras.right]")
    gappy = Path(__file__).with_name("cameras.py").as_posix() + ":Gappy"
    rig.write_text(f"{head}[cameras.right]{tail.replace('sim', gappy, 1)}", encoding="utf-8")
    _, poses = run(rig)
    alone = [pose for pose in poses if pose.missing]
    assert len(alone) > 5
    for pose in alone:
        assert pose.xyz is not None
        assert np.isnan(pose.xyz).all()
        # So that no gate lets a command pass.
        assert np.isnan(pose.score).all()
        assert (pose.views == 0).all()


def test_world_points_travel_whole(tmp_path: Path) -> None:
    _, poses = run(write(tmp_path, "left", "right", frames=5, extra='[filter]\nuse = "kalman-cv"\nhorizon_ms = 20\n'))
    for pose in poses:
        there = wire.unpack_pose(wire.Wire().pose(pose))
        for name in ("xyz", "score", "residual_px", "views", "predicted"):
            np.testing.assert_array_equal(getattr(there, name), getattr(pose, name))
        assert there.trace.triangulated_ns == pose.trace.triangulated_ns > 0
        assert pose.predicted_for_ns == pose.trace.exposed_ns + 20_000_000


def test_the_loop_neither_compiles_nor_warns(tmp_path: Path) -> None:
    from poseloop.live.geometry.triangulation import _triangulate

    with opened(write(tmp_path, "left", "right", "back", frames=5)) as (engine, poses):
        before = len(_triangulate.signatures)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            engine.start()
            wait_for(lambda: engine.finished)
        assert len(_triangulate.signatures) == before
        assert len(poses) == 5


def test_a_camera_that_stands_elsewhere_is_named(tmp_path: Path) -> None:
    rig = write(tmp_path, "left", "right", "back", frames=60)
    engine, _ = run(rig)
    world = engine.report()["world"]
    assert world["moved"] == {}
    assert world["found"] > 0.9
    assert all(0 < residual < 2 for residual in world["residual_px"].values())
    turn(tmp_path, "right", 3)
    engine, poses = run(rig)
    world = engine.health()["world"]
    assert list(world["moved"]) == ["right"]
    assert "camera right: its views are" in world["moved"]["right"]
    assert world["residual_px"]["right"] > 10 * world["residual_px"]["left"]
    # The others carry the points.
    errors = [np.linalg.norm(pose.xyz[0] - truth(engine, pose.index), axis=-1) for pose in poses]  # type: ignore[index]
    assert np.nanmedian(errors) < 1.5
    assert "was it moved?" in "\n".join(report.as_world(world))


def test_two_cameras_that_disagree_are_both_named(tmp_path: Path) -> None:
    rig = write(tmp_path, "left", "right", frames=60)
    model = Calibration.load(tmp_path / "calibration.toml").cameras[1]
    roll = cv2.Rodrigues(np.array([np.radians(6), 0.0, 0.0]))[0]
    change(tmp_path, "right", rotation=roll @ model.rotation, translation=roll @ model.translation)
    engine, _ = run(rig)
    assert list(engine.report()["world"]["moved"]) == ["left, right"]


def test_what_moved_is_told_once() -> None:
    told: list[str] = []

    class Parent:
        def say(self, event: str, text: str) -> None:
            told.append(f"{event} {text}")

    known = _tell_moved({"side": "moved"}, set(), Parent())  # type: ignore[arg-type]
    known = _tell_moved({"side": "moved again", "top": "moved too"}, known, Parent())  # type: ignore[arg-type]
    _tell_moved({}, known, Parent())  # type: ignore[arg-type]
    assert told == ["notice moved", "notice moved too"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"size": (320, 240)}, ["camera left", "320 x 240", "640 x 480", "calibrate again"]),
        ({"name": "other"}, ["'left'", "other"]),
    ],
)
def test_a_calibration_of_other_pictures_or_names_is_refused(tmp_path: Path, values: dict, expected: list[str]) -> None:
    rig = write(tmp_path, "left", "right")
    change(tmp_path, "left", **values)
    with pytest.raises(CalibrationError) as raised:
        Engine(load_rig(rig)).open()
    for part in ["calibration.toml", *expected]:
        assert part in str(raised.value)


def test_no_calibration_is_named(tmp_path: Path) -> None:
    rig = write(tmp_path, "left", "right")
    (tmp_path / "calibration.toml").unlink()
    with pytest.raises(CalibrationError, match=r"calibration\.toml: there is no such calibration file"):
        Engine(load_rig(rig)).open()


@pytest.mark.parametrize(
    ("cameras", "extra", "expected"),
    [
        (["left"], "", "geometry: expected two cameras or more"),
        (["left", "right"], "individuals = 2", "individuals = 1 in [model], but found 2"),
    ],
)
def test_a_rig_that_cannot_have_points_in_the_world(cameras: list[str], extra: str, expected: str) -> None:
    text = RIG.replace('"simulated_animal"', f'"simulated_animal"\n{extra}')
    text += "".join(CAMERA.format(name=n, place=list(PLACES[n]), frames=1) for n in cameras)
    with pytest.raises(ConfigError) as raised:
        parse_rig(text, Path("rig.toml"))
    assert expected in str(raised.value)


REGIONED = '''
from dataclasses import replace

from poseloop.drivers.sim.camera import SimulatedCamera
from poseloop.live.types import Region


class Cut(SimulatedCamera):
    """Reads out a part of its sensor: as if the simulated picture began at column 40, row 30."""

    @property
    def format(self):
        return replace(super().format, region=Region(40, 30))
'''


def test_another_region_of_the_sensor_moves_the_principal_point(tmp_path: Path) -> None:
    rig = write(tmp_path, "left", "right")
    (tmp_path / "cut.py").write_text(REGIONED, encoding="utf-8")
    rig.write_text(rig.read_text(encoding="utf-8").replace('use = "sim"', 'use = "cut.py:Cut"'), encoding="utf-8")
    # Calibrated with the whole sensor, of which the pictures now show a part.
    for model in Calibration.load(tmp_path / "calibration.toml").cameras:
        matrix = model.matrix + np.array([[0, 0, 40], [0, 0, 30], [0, 0, 0]])
        change(tmp_path, model.name, size=(720, 540), matrix=matrix, region=Region())
    engine, poses = run(rig)
    errors = [np.linalg.norm(pose.xyz[0] - truth(engine, pose.index), axis=-1) for pose in poses]  # type: ignore[index]
    assert np.nanmedian(errors) < 1
    change(tmp_path, "right", region=Region(across=2, down=2))
    with pytest.raises(CalibrationError, match=r"camera right: expected binning 2 x 2.* but the camera has 1 x 1"):
        Engine(load_rig(rig)).open()
