"""Bundle adjustment against derivatives by differences, SciPy's least squares, and a known rig."""

from dataclasses import replace

import calibrating
import cv2
import numpy as np
import pytest
from scipy.optimize import least_squares

from poseloop.train.calibrate import bundle, geometry
from poseloop.train.calibrate.bundle import CAMERA, Observations, State
from poseloop.train.calibrate.formats import lens_of


def _problem(noise_px: float = 0.2, fisheye: tuple[str, ...] = ("mid",)) -> tuple[State, Observations]:
    cameras = calibrating.rig(fisheye)
    boards = calibrating.moments(8)
    seen = calibrating.sightings(cameras, boards, noise_px)
    rows = [
        (c, m, n, xy)
        for c, s in enumerate(seen)
        for m, v in s.views.items()
        for n, xy in zip(v.numbers, v.xy, strict=True)
    ]
    camera, block, number = (np.array([row[k] for row in rows]) for k in range(3))
    observed = Observations.sorted(
        camera, block, calibrating.CHARUCO.points[number], np.array([row[3] for row in rows])
    )
    state = State(
        np.array([lens_of(one).values for one in cameras.cameras]),
        tuple(one.fisheye for one in cameras.cameras),
        np.array([one.rotation for one in cameras.cameras]),
        np.array([one.translation for one in cameras.cameras]),
        np.array([place.turn for place in boards]),
        np.array([place.shift for place in boards]),
    )
    return state, observed


@pytest.mark.parametrize("fisheye", [False, True])
def test_projection_and_its_slopes_agree_with_differences(fisheye: bool) -> None:
    lens = lens_of(calibrating.camera("a", 0, fisheye)).values
    x = np.array([[30.0, -20.0, 300.0], [-120.0, 90.0, 400.0]])
    uv, by_point, by_lens = geometry.project(lens, fisheye, x)
    for k in range(3):
        step = np.zeros(3)
        step[k] = 1e-4
        slope = (geometry.project(lens, fisheye, x + step)[0] - geometry.project(lens, fisheye, x - step)[0]) / 2e-4
        np.testing.assert_allclose(by_point[:, :, k], slope, rtol=1e-5, atol=1e-7)
    for k in range(8):
        step = np.zeros(geometry.LENS)
        step[k] = 1e-5
        slope = (geometry.project(lens + step, fisheye, x)[0] - geometry.project(lens - step, fisheye, x)[0]) / 2e-5
        np.testing.assert_allclose(by_lens[:, :, k], slope, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        geometry.normalise(lens, fisheye, uv), x[:, :2] / x[:, 2:], atol=1e-6
    )  # OpenCV stops its fisheye iteration there


def test_finds_what_scipy_finds_with_rotation_vectors_and_no_schur_complement() -> None:
    truth, seen = _problem()
    free = np.zeros((3, CAMERA), bool)
    free[1:, :6] = True
    free[:, 6:8] = True
    rng = np.random.default_rng(3)
    start = replace(
        truth,
        turn=geometry.exponential(rng.normal(0, 0.01, (3, 3)) * [[0], [1], [1]]) @ truth.turn,
        shift=truth.shift + rng.normal(0, 5, (3, 3)) * [[0], [1], [1]],
        block_shift=truth.block_shift + rng.normal(0, 5, truth.block_shift.shape),
    )
    far = 1e3  # no error counts linearly, so both minimise plain squares
    ours = bundle.adjust(start, seen, free, far)

    def unpacked(v: np.ndarray) -> State:
        cameras, boards = v[:18].reshape(3, 6), v[24:].reshape(-1, 6)
        return replace(
            start,
            lens=np.concatenate([v[18:24].reshape(3, 2), start.lens[:, 2:]], axis=1),
            turn=np.array([cv2.Rodrigues(w)[0] for w in cameras[:, :3]]),
            shift=cameras[:, 3:],
            block_turn=np.array([cv2.Rodrigues(w)[0] for w in boards[:, :3]]),
            block_shift=boards[:, 3:],
        )

    fixed = np.concatenate([cv2.Rodrigues(start.turn[0])[0].ravel(), start.shift[0]])

    def error(v: np.ndarray) -> np.ndarray:
        return bundle.residuals(unpacked(np.concatenate([fixed, v])), seen).ravel()

    v0 = [np.concatenate([cv2.Rodrigues(start.turn[c])[0].ravel(), start.shift[c]]) for c in (1, 2)]
    v0.append(start.lens[:, :2].ravel())
    v0 += [
        np.concatenate([cv2.Rodrigues(R)[0].ravel(), t])
        for R, t in zip(start.block_turn, start.block_shift, strict=True)
    ]
    reference = least_squares(error, np.concatenate(v0), x_scale="jac", method="trf", xtol=1e-12, ftol=1e-12)
    theirs = unpacked(np.concatenate([fixed, reference.x]))
    cost = 0.5 * (bundle.residuals(ours, seen) ** 2).sum()
    assert cost == pytest.approx(reference.cost, rel=1e-6)
    np.testing.assert_allclose(ours.shift, theirs.shift, atol=0.01)
    np.testing.assert_allclose(ours.lens[:, :2], theirs.lens[:, :2], atol=0.01)


def test_spread_is_how_far_results_scatter() -> None:
    free = np.zeros((3, CAMERA), bool)
    free[1:, :6] = True
    found, said = [], []
    for seed in range(60):
        truth, seen = _problem(0.0, ())
        noisy = replace(seen, xy=seen.xy + np.random.default_rng(seed).normal(0, 0.3, seen.xy.shape))
        result = bundle.adjust(truth, noisy, free, 0.3)
        found.append(result.shift[2])
        said.append(bundle.spread(result, noisy, free, 0.3)[2, 3:6])
    ratio = np.std(found, axis=0) / np.mean(said, axis=0)
    assert (ratio > 0.7).all()
    assert (ratio < 1.35).all()  # a standard deviation of 60 values is itself known to 9 %


def test_a_few_wrong_corners_hardly_count() -> None:
    truth, seen = _problem(0.1, ())
    free = np.zeros((3, CAMERA), bool)
    free[1:, :6] = True
    wrong = seen.xy.copy()
    wrong[::40] += 60
    spoilt = bundle.adjust(truth, replace(seen, xy=wrong), free, 0.1)
    np.testing.assert_allclose(spoilt.shift, truth.shift, atol=0.5)
