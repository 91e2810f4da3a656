"""What the demo says of itself and draws; that it closes its loop is among the commands' tests."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from poses import make_pose

from poseloop.drivers.sim.camera import SimulatedCamera
from poseloop.live.commands import demo
from poseloop.live.commands.demo_film import Film, Shot
from poseloop.live.config import Rig, load_rig
from poseloop.live.errors import DataError
from poseloop.live.geometry import Calibration, triangulate
from poseloop.live.output import wire
from poseloop.live.types import Keypoints, Pose
from poseloop.live.vision import Network

KEYPOINTS = ("tailbase", "snout", "rightear", "leftear")
"""Another order than the simulation's: they are found by their names."""


@pytest.fixture(scope="module")
def rig() -> Rig:
    return load_rig(demo.RIG)


@pytest.fixture(scope="module")
def cameras(rig: Rig) -> list[SimulatedCamera]:
    return [table.build(name) for name, table in rig.cameras.items()]


@pytest.fixture(scope="module")
def film(rig: Rig) -> Film:
    header = wire.Header("demo", "m", tuple(rig.cameras), KEYPOINTS, (("snout", "tailbase"),), 0.5)
    return Film(rig, header, [(500_000_000, 510_000_000)])


def pose_of(cameras: list[SimulatedCamera], index: int, exposed_ns: int = 0) -> Pose:
    """The truth of a frame."""
    order = [cameras[0].keypoints.index(name) for name in KEYPOINTS]
    xy = np.array([camera.truth(index)[order] for camera in cameras], np.float32)[:, np.newaxis]
    pose = make_pose(len(cameras), keypoints=len(KEYPOINTS), world=True)
    return replace(
        pose,
        index=index,
        keypoints=Keypoints(xy, np.ones(xy.shape[:3], np.float32)),
        xyz=cameras[0].truth_xyz(index)[order].astype(np.float32)[np.newaxis],
        score=np.ones((1, len(KEYPOINTS)), np.float32),
        trace=replace(pose.trace, exposed_ns=exposed_ns),
    )


def test_the_calibration_that_comes_with_it_is_that_of_its_cameras(rig: Rig, cameras: list[SimulatedCamera]) -> None:
    assert rig.geometry is not None
    calibration = Calibration.load(rig.geometry.calibration).select(list(rig.cameras))
    for known, camera in zip(calibration.cameras, cameras, strict=True):
        assert camera.model is not None
        assert known.size == camera.model.size
        for part in ("matrix", "distortion", "rotation", "translation"):
            np.testing.assert_allclose(getattr(known, part), getattr(camera.model, part), atol=1e-12)
    # All of them see the animal wherever it goes.
    for index in range(0, 900, 7):
        inside = [
            (truth > 4).all() and (truth < np.subtract(c.view.size, 4)).all()
            for c in cameras
            for truth in [c.truth(index)]
        ]
        assert all(inside)


def test_it_says_how_far_off_the_points_were_and_how_often_the_snout_came_in(
    rig: Rig, cameras: list[SimulatedCamera]
) -> None:
    truth = demo._Truth(rig)
    assert truth.as_text() == []
    poses = [pose_of(cameras, index) for index in range(450)]
    for number, pose in enumerate(poses):
        assert pose.xyz is not None
        xyz = pose.xyz + np.array((3, 0, 4), np.float32)
        if number == 0:
            xyz[0, 2] = np.nan
        truth.compare(replace(pose, xyz=xyz), KEYPOINTS)
    text = "\n".join(truth.as_text())
    assert "450 poses x 4 points, 99.9% found; off by 5.00 mm" in text
    snout = np.array([pose.xyz[0, 1] for pose in poses])  # type: ignore[index]
    low, high = rig.protocols["rearing"].options.box
    inside = ((snout >= low) & (snout <= high)).all(axis=1)
    entries = int((np.diff(inside.astype(int)) == 1).sum())
    assert f"came into the box {entries} x" in text
    # Several times in the fifteen seconds that it runs; and it also rears outside, and walks under the box.
    assert entries >= 3
    assert (~inside & (snout[:, 2] > 45)).any()
    assert (~inside & (snout[:, 0] > 20) & (snout[:, 2] < 15)).any()


def test_a_picture_shows_every_camera_and_the_world(film: Film, rig: Rig, cameras: list[SimulatedCamera]) -> None:
    grey = np.full((240, 320, 3), 128, np.uint8)
    _, jpeg = cv2.imencode(".jpg", grey)
    names = list(rig.cameras)
    previews = {name: wire.Preview(3, name, 1.0, jpeg.tobytes()) for name in names[:2]}
    quiet = film.draw(Shot(pose_of(cameras, 3), previews))
    assert quiet.shape == (960, 1280, 3)
    tiles = [quiet[:480, :640], quiet[:480, 640:], quiet[480:, :640], quiet[480:, 640:]]
    for tile in tiles[:2]:
        assert np.median(tile) == pytest.approx(128, abs=3)
    # The third camera's picture did not come.
    assert np.median(tiles[2]) < 60
    # The tail base, the first keypoint, has its colour where the camera sees it.
    at = np.rint((cameras[0].truth(3)[3] + 0.5) * 2 - 0.5).astype(int)
    assert tiles[0][at[1], at[0]].tolist() == [0, 159, 230]
    on = film.draw(Shot(pose_of(cameras, 3, 505_000_000), previews))
    assert np.abs(on.astype(int) - quiet).sum(axis=2).astype(bool).mean() > 0.05


def test_a_clip_that_cannot_be_written_leaves_nothing(
    film: Film, cameras: list[SimulatedCamera], tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="cannot be written"):
        film.write([Shot(pose_of(cameras, 3), {})], tmp_path / "absent" / "c.mp4", tmp_path / "c.png")
    assert list(tmp_path.iterdir()) == []


def test_its_network_finds_the_animal_from_every_side_and_in_the_world(rig: Rig) -> None:
    """On the demo's own walk, which the network was not trained on."""
    walk = {"pace": "none", "fps": 1.3, "frames": 12}
    cameras = [table.plugin(name, table.options.model_copy(update=walk)) for name, table in rig.cameras.items()]
    found, truth = [], []
    with Network.open(rig.model.file) as network:
        for camera in cameras:
            camera.open()
            camera.start("free")
        for index in range(walk["frames"]):
            images = [np.empty(camera.format.shape, np.uint8) for camera in cameras]
            for camera, image in zip(cameras, images, strict=True):
                assert camera.grab(image, 60.0) is not None
            found.append(network.infer(images))
            truth.append([camera.truth(index) for camera in cameras])
        for camera in cameras:
            camera.close()
    xy = np.array([keypoints.xy[:, 0] for keypoints in found], np.float64)
    score = np.array([keypoints.score[:, 0] for keypoints in found], np.float64)
    errors = np.linalg.norm(xy - truth, axis=-1)
    assert (np.median(errors, axis=(0, 2)) < 2.0).all()
    assert (score > rig.gates.score).mean() > 0.97
    calibration = Calibration([camera.model for camera in cameras])
    points = np.moveaxis(xy, 0, 1).reshape(len(cameras), -1, 2)
    xyz, _, _ = triangulate(calibration, points, np.moveaxis(score, 0, 1).reshape(len(cameras), -1))
    world = np.concatenate([cameras[0].truth_xyz(index) for index in range(walk["frames"])])
    off_mm = np.linalg.norm(xyz - world, axis=1)
    assert np.isfinite(off_mm).mean() > 0.97
    assert np.nanmedian(off_mm) < 3.0
