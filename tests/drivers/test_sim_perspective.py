"""Simulated cameras in perspective: the truth against OpenCV's projection, against the pictures, and in 3D."""

import itertools
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from poseloop.drivers.sim.camera import SimulatedCamera
from poseloop.drivers.sim.painter import DYES
from poseloop.drivers.sim.view import PerspectiveView
from poseloop.live.types import Image, Stamp
from poseloop.live.vision import Network

Float64 = npt.NDArray[np.float64]

LONG_S = 60.0
LENS = (-0.15, 0.03, 0.001, -0.0005, 0.002)
PLACES = {"left": (-250.0, -300.0, 280.0), "right": (280.0, -260.0, 260.0), "back": (0.0, 330.0, 300.0)}
number = st.floats(-200, 200)


def camera(name: str = "left", **options: Any) -> SimulatedCamera:
    given_options = {"width": 640, "height": 480, "focal_px": 560.0, "distortion": LENS, "pace": "none"}
    return SimulatedCamera(
        name,
        SimulatedCamera.Settings(**{**given_options, "position_mm": PLACES.get(name, (0.0, 0.0, 450.0)), **options}),
    )


def draw(sim: SimulatedCamera, count: int) -> tuple[list[Stamp], list[Image]]:
    sim.open()
    sim.start("free")
    stamps, images = [], []
    for _ in range(count):
        images.append(np.zeros(sim.format.shape, np.uint8))
        stamp = sim.grab(images[-1], LONG_S)
        if stamp is None:
            break
        stamps.append(stamp)
    sim.close()
    return stamps, images[: len(stamps)]


def view(**options: Any) -> PerspectiveView:
    made = camera(**options).view
    assert isinstance(made, PerspectiveView)
    return made


def apart(points: Float64, px: float) -> bool:
    """No two of them are nearer than that: no mark covers another one."""
    return all(np.hypot(*(a - b)) > px for a, b in itertools.combinations(points, 2))


# Projection


@given(
    st.tuples(number, number, st.floats(20, 500)),
    st.tuples(number, number, st.floats(0, 15)),
    st.lists(st.tuples(number, number, st.floats(0, 60)), min_size=1, max_size=5),
)
def test_the_projection_is_opencvs(position: Any, target: Any, points: Any) -> None:
    seen = view(position_mm=position, target_mm=target)
    world = np.array(points)
    in_front = seen.depth_mm(world) > 1.0  # nearer, and a pixel of 1e10 has no sixth digit
    expected = cv2.projectPoints(
        world[:, np.newaxis], cv2.Rodrigues(seen.rotation)[0], seen.translation, seen.matrix, seen.distortion
    )[0].reshape(-1, 2)
    got = seen.to_px(world)
    # Far outside the picture the lens polynomial explodes; there the last digits differ.
    np.testing.assert_allclose(got[in_front], expected[in_front], rtol=1e-6, atol=1e-6)
    assert np.isnan(got[seen.depth_mm(world) <= 0]).all()
    np.testing.assert_allclose(seen.rotation @ seen.rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(seen.rotation) == pytest.approx(1)


def test_the_target_is_in_the_middle_and_up_is_up() -> None:
    seen = view(target_mm=(10.0, 20.0, 5.0), position_mm=(-200.0, -100.0, 300.0))
    middle, above = seen.to_px(np.array([[10.0, 20.0, 5.0], [10.0, 20.0, 15.0]]))
    np.testing.assert_allclose(middle, [319.5, 239.5], atol=1e-9)
    assert above[1] < middle[1] - 5
    assert above[0] == pytest.approx(middle[0], abs=0.1)
    # Straight down: y of the world points up in the picture, and x right, as in the view from above.
    down = view(position_mm=(0.0, 0.0, 500.0), target_mm=(0.0, 0.0, 0.0))
    origin, x, y = down.to_px(np.array([[0.0, 0, 0], [10, 0, 0], [0, 10, 0]]))
    assert x[0] > origin[0] + 5
    assert y[1] < origin[1] - 5


def test_the_floor_that_a_pixel_shows_is_projected_back_to_it() -> None:
    seen = view()
    x, y = seen.floor_mm()
    rows, columns = np.mgrid[0:480:37, 0:640:41]
    on_floor = np.column_stack([x[rows, columns].ravel(), y[rows, columns].ravel(), np.zeros(rows.size)])
    known = np.isfinite(on_floor).all(axis=1) & (np.abs(on_floor).max(axis=1) < 400)
    assert known.sum() > 50
    back = seen.to_px(on_floor[known])
    # OpenCV undistorts in five iterations.
    np.testing.assert_allclose(back, np.column_stack([columns.ravel(), rows.ravel()])[known], atol=0.05)


def test_two_views_give_back_the_world() -> None:
    left, right = camera("left"), camera("right")
    views = [one.view for one in (left, right)]
    for index in (0, 50, 333):
        rays = [
            cv2.undistortPoints(
                one.truth(index)[:, np.newaxis], seen.matrix, seen.distortion, None, None, None
            ).reshape(-1, 2)
            for one, seen in zip((left, right), views, strict=True)
        ]
        poses = [np.column_stack([seen.rotation, seen.translation]) for seen in views]
        homogeneous = cv2.triangulatePoints(*poses, rays[0].T, rays[1].T)
        np.testing.assert_allclose((homogeneous[:3] / homogeneous[3]).T, left.truth_xyz(index), atol=0.05)
        np.testing.assert_array_equal(left.truth_xyz(index), right.truth_xyz(index))


# Pictures


@pytest.mark.parametrize("name", [*PLACES, "above"])
def test_truth_is_where_the_dye_is(name: str) -> None:
    sim = camera(name, noise=0.0, fps=3.1)
    stamps, images = draw(sim, 40)
    x, y = np.arange(640), np.arange(480)[:, np.newaxis]
    compared = 0
    for stamp, image in zip(stamps, images, strict=True):
        truth = sim.truth(stamp.index)
        if not apart(truth, 18):
            continue
        colour = image.max(axis=2).astype(np.float64) - image.min(axis=2)
        for at, dye in zip(truth, DYES, strict=True):
            near = np.where(np.hypot(x - at[0], y - at[1]) < 9, colour, 0)
            centroid = [(near * x).sum() / near.sum(), (near * y).sum() / near.sum()]
            np.testing.assert_allclose(centroid, at, atol=0.05)
            np.testing.assert_allclose(image[round(at[1]), round(at[0])], dye, atol=1)
            compared += 1
    assert compared > 40


def test_the_zoos_network_sees_the_animal_from_every_side() -> None:
    cameras = [camera(name, fps=7.3) for name in PLACES]
    pictures = [draw(one, 25)[1] for one in cameras]
    errors, seen = [], 0
    with Network.open("simulated_animal") as network:
        for index in range(25):
            found = network.infer(np.stack([images[index] for images in pictures]))
            for number_of, one in enumerate(cameras):
                truth = one.truth(index)
                if apart(truth, 25):
                    errors.extend(np.hypot(*(found.xy[number_of, 0] - truth).T))
                    seen += (found.score[number_of, 0] > 0.5).sum()
    assert len(errors) > 60
    assert seen == len(errors)
    assert np.median(errors) < 0.1
    assert max(errors) < 0.5


def test_time_name_and_seed_alone_decide() -> None:
    first, again = (draw(camera("left", loss=0.2), 10) for _ in range(2))
    assert [stamp.index for stamp in first[0]] == [stamp.index for stamp in again[0]]
    np.testing.assert_array_equal(np.stack(first[1]), np.stack(again[1]))
    # Another camera at the same place: the same scene, other noise.
    other = draw(camera("twin", position_mm=PLACES["left"]), 1)[1][0].astype(int)
    same = draw(camera("left"), 1)[1][0].astype(int)
    clean = draw(camera("left", noise=0.0), 1)[1][0].astype(int)
    assert abs(np.corrcoef((same - clean).ravel(), (other - clean).ravel())[0, 1]) < 0.02
    assert (same - clean).std() == pytest.approx(2.5, rel=0.1)


def test_a_camera_without_a_view_is_refused() -> None:
    for options in (
        {"position_mm": (0.0, 0.0, 10.0), "target_mm": (0.0, 0.0, 10.0)},
        {"position_mm": (9.0, 9.0, -1.0)},
    ):
        with pytest.raises(ValidationError, match="position_mm"):
            SimulatedCamera.Settings(**options)


# What goes wrong on purpose


def test_losses_are_gaps_in_the_index_as_often_as_asked_for() -> None:
    sim = camera("left", width=64, height=48, noise=0.0, loss=0.3, frames=400)
    stamps, _ = draw(sim, 401)
    indices = [stamp.index for stamp in stamps]
    assert len(indices) == pytest.approx(400 * 0.7, abs=30)
    assert all(later > earlier for earlier, later in itertools.pairwise(indices))
    other = draw(camera("right", width=64, height=48, noise=0.0, loss=0.3, frames=400), 401)[0]
    assert indices != [stamp.index for stamp in other]


def test_everything_lost_ends_and_nothing_lost_is_whole() -> None:
    assert draw(camera(width=64, height=48, loss=1.0, frames=20), 1)[0] == []
    assert len(draw(camera(width=64, height=48, frames=20), 30)[0]) == 20


def test_jitter_is_of_arrival_and_leaves_exposure_alone() -> None:
    sim = camera("left", width=64, height=48, pace="recorded", fps=100.0, jitter_ms=8.0)
    stamps, _ = draw(sim, 40)
    assert np.diff([stamp.exposed_ns for stamp in stamps]).tolist() == [10_000_000] * 39
    late_ms = [(stamp.arrived_ns - stamp.exposed_ns) / 1e6 for stamp in stamps]
    assert max(late_ms) > 5
    assert np.std(late_ms) > 1
