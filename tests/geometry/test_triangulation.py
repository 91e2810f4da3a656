"""Triangulation against truth, OpenCV, SciPy and the Cramér–Rao bound; with liars, gaps and blind cameras."""

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import least_squares
from viewpoints import camera, ring, stage

from poseloop.live.geometry import Calibration, triangulate, triangulation
from poseloop.live.geometry.calibration import CameraModel
from poseloop.live.geometry.triangulation import Triangulator

ALL = 1e6
"""A gate that no view is beyond: plain least squares."""


def noisy(calibration: Calibration, xyz: np.ndarray, px: float, seed: int = 1) -> np.ndarray:
    return calibration.project(xyz) + np.random.default_rng(seed).normal(0, px, (len(calibration.cameras), len(xyz), 2))


@pytest.mark.parametrize("cameras", [2, 3, 4, 6, 9])
@pytest.mark.parametrize("points", [0, 1, 17])
def test_clean_views_give_the_points_back(cameras: int, points: int) -> None:
    calibration, truth = ring(cameras), stage(points)
    xyz, residual, views = triangulate(calibration, calibration.project(truth))
    np.testing.assert_allclose(xyz, truth, atol=1e-8)
    assert (residual < 1e-8).all()
    assert views.tolist() == [cameras] * points


@given(st.integers(0, 10_000), st.integers(2, 6))
def test_any_clean_subset_of_views_does(seed: int, cameras: int) -> None:
    random = np.random.default_rng(seed)
    calibration, truth = ring(cameras), stage(8, seed)
    xy = calibration.project(truth)
    hidden = random.random(xy.shape[:2]) < 0.4
    xy[hidden, random.integers(2)] = random.choice([np.nan, np.inf, -np.inf])
    xyz, residual, views = triangulate(calibration, xy)
    seen = (~hidden).sum(axis=0)
    enough = seen >= 2
    np.testing.assert_array_equal(views, np.where(enough, seen, 0))
    np.testing.assert_allclose(xyz[enough], truth[enough], atol=1e-6)
    assert np.isnan(xyz[~enough]).all()
    assert np.isnan(residual[~enough]).all()


def test_two_views_are_opencvs_up_to_noise_that_both_weigh_differently() -> None:
    calibration, truth = ring(2), stage(50)
    xy = calibration.project(truth)
    first, second = calibration.cameras
    rays = [
        cv2.undistortPoints(xy[c][None], m.matrix, m.distortion).reshape(-1, 2).T for c, m in enumerate((first, second))
    ]
    poses = [np.hstack([m.rotation, m.translation[:, None]]) for m in (first, second)]
    found = cv2.triangulatePoints(*poses, *rays)
    np.testing.assert_allclose(triangulate(calibration, xy)[0], (found[:3] / found[3]).T, atol=1e-3)


def test_without_a_gate_it_is_the_weighted_least_squares_of_the_distances_in_the_pictures() -> None:
    calibration, truth = ring(4), stage(10)
    xy = noisy(calibration, truth, 2.0)
    score = np.random.default_rng(2).uniform(0.1, 1, xy.shape[:2])
    xyz, residual, _ = triangulate(calibration, xy, score, gate_px=ALL)
    for n in range(10):
        distances = lambda p, n=n: calibration.project(p[None])[:, 0] - xy[:, n]  # noqa: E731
        weighted = lambda p, n=n: (distances(p) * np.sqrt(score[:, n, None])).ravel()  # noqa: E731,B023
        best = least_squares(weighted, truth[n], xtol=1e-14, ftol=1e-14, gtol=1e-14)
        np.testing.assert_allclose(xyz[n], best.x, atol=1e-4)
        expected = np.sqrt((distances(best.x) ** 2).sum(axis=1).mean())
        assert residual[n] == pytest.approx(expected, rel=1e-5)


def test_a_fifth_of_lying_views_hardly_matters() -> None:
    calibration, truth = ring(4), stage(3000)
    xy = noisy(calibration, truth, 1.0)
    random = np.random.default_rng(3)
    lies = random.random(xy.shape[:2]) < 0.2
    angle = random.uniform(0, 2 * np.pi, lies.sum())
    bad = xy.copy()
    bad[lies] += random.uniform(30, 200, (lies.sum(), 1)) * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    without = xy.copy()
    without[lies] = np.nan
    clean, known, spoilt = (
        np.nanmedian(np.linalg.norm(triangulate(calibration, p)[0] - truth, axis=1)) for p in (xy, without, bad)
    )
    # A fifth fewer views cost 12 to 14 % by themselves; 3,000 points tell that to 2 %.
    assert spoilt < 1.03 * known
    assert spoilt < 1.17 * clean
    _, _, views = triangulate(calibration, bad)
    one = lies.sum(axis=0) == 1
    assert (views[one] == 3).mean() > 0.97
    # Which view lied is told.
    triangulator = Triangulator(calibration, 3000)
    triangulator.run(bad, None)
    worst = triangulator.errors_px[:, one].argmax(axis=0)
    assert (worst == lies.argmax(axis=0)[one]).mean() > 0.97


def test_views_that_do_not_agree_give_nothing() -> None:
    calibration, truth = ring(3), stage(1)
    xy = calibration.project(truth)
    two = xy.copy()
    two[2] = np.nan
    across = np.array([0.0, 0.0, 1.0]) @ calibration.cameras[0].rotation.T
    two[0, 0] += 150 * across[:2] / np.linalg.norm(across[:2])
    xyz, residual, views = triangulate(calibration, two)
    assert np.isnan(xyz).all()
    assert np.isnan(residual).all()
    assert views[0] == 0


def test_two_views_that_others_contradict_have_to_agree_better() -> None:
    calibration, truth = ring(4), stage(300)
    xy = calibration.project(truth)
    first, second = calibration.cameras[:2]
    # Out of the plane of both cameras and the point: the second camera cannot follow that.
    away = np.cross(second.centre - first.centre, truth - first.centre)
    away = calibration.project(truth + away / np.linalg.norm(away, axis=1, keepdims=True))[0] - xy[0]
    random = np.random.default_rng(0)
    for apart_px, shares in ((8.0, (1, 1, 1)), (13.0, (1, 1, 0))):
        views = xy.copy()
        views[0] += apart_px * away / np.linalg.norm(away, axis=1, keepdims=True)
        for contradicting, share in enumerate(shares):
            given = np.full_like(views, np.nan)
            given[: 2 + contradicting] = views[: 2 + contradicting]
            given[2:] += 400 * random.choice([-1, 1], given[2:].shape)
            found = triangulate(calibration, given)[2] == 2
            assert abs(found.mean() - share) < 0.25  # The liars agree with somebody now and then.


def test_the_linear_solution_alone_is_that_of_numpy() -> None:
    calibration, truth = ring(4), stage(20)
    xy = noisy(calibration, truth, 2.0)
    score = np.random.default_rng(2).uniform(0.1, 1, xy.shape[:2])
    xy[1, 3] = np.nan
    score[2, 5] = 0
    xyz, residual, views = Triangulator(calibration, 20, robust=False).run(xy, score)
    rays = calibration.undistort(xy)
    for n in range(20):
        rows, right = [], []
        for c, model in enumerate(calibration.cameras):
            if np.isfinite(rays[c, n, 0]) and score[c, n] > 0:
                for axis in range(2):
                    root = np.sqrt(score[c, n])
                    rows.append(root * (rays[c, n, axis] * model.rotation[2] - model.rotation[axis]))
                    right.append(root * (model.translation[axis] - rays[c, n, axis] * model.translation[2]))
        np.testing.assert_allclose(xyz[n], np.linalg.lstsq(np.array(rows), np.array(right))[0], rtol=1e-9)
        assert views[n] == len(rows) // 2
    off = np.linalg.norm(calibration.project(xyz) - xy, axis=-1)
    off[2, 5] = np.nan
    np.testing.assert_allclose(residual, np.sqrt(np.nanmean(off**2, axis=0)))
    # No gate: a view that lies pulls, and is counted.
    xy[0, 0] += 100
    found = Triangulator(calibration, 20, robust=False).run(xy, score)
    assert found[2][0] == 4
    assert found[1][0] > 15


def test_a_score_is_a_weight_and_none_is_no_view() -> None:
    calibration, truth = ring(4), stage(20)
    xy = calibration.project(truth)
    xy[0] += 6.0
    score = np.ones(xy.shape[:2])
    errors = []
    for weight in (1.0, 0.1):
        score[0] = weight
        errors.append(np.linalg.norm(triangulate(calibration, xy, score, gate_px=ALL)[0] - truth, axis=1))
    assert (errors[1] < 0.3 * errors[0]).all()
    for nothing in (0.0, np.nan, -1.0, np.inf):
        score[0] = nothing
        xyz, _, views = triangulate(calibration, xy, score)
        np.testing.assert_allclose(xyz, truth, atol=1e-6)
        assert (views == 3).all()


def test_rays_side_by_side_and_points_behind_cameras_are_no_points() -> None:
    twin = camera("twin", "plain", np.array([0, 0, 700.0]))
    same = Calibration([twin, CameraModel("copy", twin.size, twin.matrix, [], twin.rotation, twin.translation)])
    xyz, _, views = triangulate(same, same.project(stage(5)))
    assert np.isnan(xyz).all()
    assert (views == 0).all()
    # Two cameras side by side whose rays part: they meet behind both.
    left = CameraModel("l", (640, 480), [[500, 0, 320], [0, 500, 240], [0, 0, 1]], [], np.eye(3), [50, 0, 0])
    right = CameraModel("r", (640, 480), [[500, 0, 320], [0, 500, 240], [0, 0, 1]], [], np.eye(3), [-50, 0, 0])
    parting = np.array([[[220.0, 240]], [[420.0, 240]]])
    assert np.isnan(triangulate(Calibration([left, right]), parting)[0]).all()
    assert triangulate(Calibration([left, right]), parting[::-1])[0][0, 2] == pytest.approx(250)


@given(st.lists(st.floats(width=64), min_size=24, max_size=24), st.lists(st.floats(width=64), min_size=12, max_size=12))
def test_whatever_comes_in_points_are_good_or_nan(pixels: list[float], scores: list[float]) -> None:
    calibration = ring(4)
    xy, score = np.reshape(pixels, (4, 3, 2)), np.reshape(scores, (4, 3))
    with np.errstate(all="ignore"):
        xyz, residual, views = triangulate(calibration, xy, score)
    found = views >= 2
    assert ((views == 0) | found).all()
    assert np.isfinite(xyz[found]).all()
    assert (residual[found] <= 15).all()
    assert np.isnan(xyz[~found]).all()


def test_a_triangulator_can_be_used_again_and_gives_the_same_bits() -> None:
    calibration, truth = ring(4), stage(12)
    xy = noisy(calibration, truth, 2.0)
    triangulator = Triangulator(calibration, 12)
    first = triangulator.run(xy, None)
    triangulator.run(np.full_like(xy, np.nan), None)
    second = triangulator.run(xy.astype(np.float64), np.ones(xy.shape[:2]))
    for a, b, c in zip(first, second, triangulate(calibration, xy), strict=True):
        assert a.tobytes() == b.tobytes() == c.tobytes()
        assert not np.shares_memory(a, b)


def test_no_layout_of_an_array_is_compiled_for_in_the_loop() -> None:
    calibration, truth = ring(4), stage(12)
    xy = noisy(calibration, truth, 2.0)
    triangulator = Triangulator(calibration, 12)
    compiled = len(triangulation._triangulate.signatures)
    expected = triangulator.run(xy, None)[0]
    locked = xy.copy()
    locked.flags.writeable = False
    for laid_out in (locked, np.asfortranarray(xy), xy[:, ::-1][:, ::-1]):
        np.testing.assert_array_equal(triangulator.run(laid_out, np.ones((4, 12), np.float32))[0], expected)
    np.testing.assert_allclose(triangulator.run(xy.astype(np.float32), None)[0], expected, atol=1e-3)
    assert len(triangulation._triangulate.signatures) == compiled


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="two cameras or more"):
        triangulate(Calibration(ring(2).cameras[:1]), np.zeros((1, 3, 2)))
    with pytest.raises(ValueError, match=r"expected xy \[2, 3, 2\] and score \[2, 3\], but got \[4, 3, 2\]"):
        triangulate(ring(2), np.zeros((4, 3, 2)))
    with pytest.raises(ValueError, match=r"but got \[2, 3, 2\] and \[3, 2\]"):
        triangulate(ring(2), np.zeros((2, 3, 2)), np.zeros((3, 2)))
    with pytest.raises(ValueError, match=r"expected xy \(C, N, 2\)"):
        triangulate(ring(2), np.zeros((3, 2)))


NAMES = ("back", "mid", "side", "top")


@dataclass(frozen=True)
class Mouse:
    calibration: Calibration
    """By OpenCV: each camera by itself, then three stereo pairs; no bundle adjustment."""
    corners: np.ndarray
    """(C, T, 70, 2): of the board in 21 pictures."""
    xy: np.ndarray
    """(C, T, K, 2): the keypoints, corrected by hand."""
    nodes: list[str]


@pytest.fixture(scope="module")
def mouse(data: Path) -> Mouse:
    folder = data / "sleap_anipose_mouse4cam" / "minimal_session"
    with h5py.File(folder / "calibration.metadata.h5") as file:
        corners = file["detected_corners"][:]
    # 8 × 11 squares of 24 mm have 7 × 10 inner corners.
    board = np.stack([*np.meshgrid(np.arange(7), np.arange(10)), np.zeros((10, 7))], axis=-1).reshape(-1, 3) * 24.0
    return Mouse(_calibrate(corners, board.astype(np.float32)), corners, *_keypoints(folder))


def _keypoints(folder: Path) -> tuple[np.ndarray, list[str]]:
    found = []
    for name in NAMES:
        with h5py.File(folder / name / f"minimal_{name}_proofread.analysis.h5") as file:
            found.append(file["tracks"][0].transpose(2, 1, 0))
            nodes = [node.decode() for node in file["node_names"][:]]
    return np.stack(found), nodes


def _calibrate(corners: np.ndarray, board: np.ndarray) -> Calibration:
    models, seen = [], [np.isfinite(c[..., 0]) for c in corners]
    for name, found, there in zip(NAMES, corners, seen, strict=True):
        frames = [f for f in range(len(found)) if there[f].sum() >= 10]
        flags = cv2.CALIB_FIX_K3 | cv2.CALIB_ZERO_TANGENT_DIST
        _, matrix, distortion, _, _ = cv2.calibrateCamera(
            [board[there[f]] for f in frames],
            [found[f][there[f]].astype(np.float32) for f in frames],
            (1280, 1024),
            None,
            None,
            flags=flags,
        )
        models.append((name, matrix, distortion.ravel()))
    cameras = []
    for number, (name, matrix, distortion) in enumerate(models):
        rotation, translation = np.eye(3), np.zeros(3)
        if number:
            both = seen[0] & seen[number]
            frames = [f for f in range(len(both)) if both[f].sum() >= 8]
            _, _, _, _, _, rotation, translation, _, _ = cv2.stereoCalibrate(
                [board[both[f]] for f in frames],
                [corners[0][f][both[f]].astype(np.float32) for f in frames],
                [corners[number][f][both[f]].astype(np.float32) for f in frames],
                *(models[0][1:]),
                matrix,
                distortion,
                (1280, 1024),
                flags=cv2.CALIB_FIX_INTRINSIC,
            )
        cameras.append(CameraModel(name, (1280, 1024), matrix, distortion, rotation, translation.ravel()))
    return Calibration(cameras)


def test_the_squares_of_a_real_board_have_their_size(mouse: Mouse) -> None:
    xyz, residual, _ = triangulate(mouse.calibration, mouse.corners.reshape(4, -1, 2))
    board = xyz.reshape(-1, 10, 7, 3)
    for axis in (1, 2):
        sides = np.linalg.norm(np.diff(board, axis=axis), axis=-1)
        assert abs(np.nanmedian(sides) - 24) < 0.05
        assert np.nanpercentile(np.abs(sides - 24), 95) < 0.5
    assert np.nanmedian(residual) < 0.5


def nose_to_tail(mouse: Mouse, xyz: np.ndarray) -> float:
    points = xyz.reshape(-1, len(mouse.nodes), 3)
    length = np.linalg.norm(points[:, mouse.nodes.index("Nose")] - points[:, mouse.nodes.index("TTI")], axis=-1)
    return float(np.nanmedian(length))


def test_a_real_mouse_has_its_length(mouse: Mouse) -> None:
    xyz, residual, views = triangulate(mouse.calibration, mouse.xy.reshape(4, -1, 2))
    # A bundle-adjusted calibration makes it 75.0.
    assert abs(nose_to_tail(mouse, xyz) - 75) < 1.5
    assert (views >= 2).all()
    assert np.nanmedian(residual) < 5


def test_a_camera_that_was_moved_is_passed_over_and_can_be_told(mouse: Mouse) -> None:
    back, mid, side, top = mouse.calibration.cameras
    turn = cv2.Rodrigues(np.array([0.0, np.radians(8), 0.0]))[0]
    moved = replace(side, rotation=turn @ side.rotation, translation=turn @ side.translation)
    calibration = Calibration([back, mid, moved, top])
    xy = mouse.xy.reshape(4, -1, 2)
    triangulator = Triangulator(calibration, xy.shape[1])
    xyz, _, views = triangulator.run(xy, None)
    errors = np.nanmedian(triangulator.errors_px, axis=1)
    assert errors.argmax() == NAMES.index("side")
    assert errors[2] > 5 * np.delete(errors, 2).max()
    without = xy.copy()
    without[2] = np.nan
    assert abs(nose_to_tail(mouse, xyz) - nose_to_tail(mouse, triangulate(calibration, without)[0])) < 1.0
    assert (views <= 3).mean() > 0.95
