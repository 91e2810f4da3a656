"""Whole calibrations of simulated rigs: what is found, what is left out, and what is said."""

import calibrating
import cv2
import numpy as np
import pytest

from poseloop.live.errors import CalibrationError
from poseloop.live.geometry import Calibration, triangulate
from poseloop.live.geometry.calibration import CameraModel
from poseloop.train.calibrate import choose, detect, findings, formats, graph, lenses, solve, sources, timing, world
from poseloop.train.calibrate.board import Board
from poseloop.train.calibrate.detect import View
from poseloop.train.calibrate.solve import Rig, Scene

FISHEYE = ("mid",)


def _scene(seen: list, fisheye: tuple[str, ...] = (), board: Board = calibrating.CHARUCO) -> Scene:
    wide = [one.camera in fisheye for one in seen]
    return solve.relate(seen, board, solve.lenses_of(seen, board, wide, {}))


def _solved(seen: list, fisheye: tuple[str, ...] = ()) -> Rig:
    return solve.solve(_scene(seen, fisheye), 60)


def _first(rig: Rig) -> Calibration:
    return world.calibration(rig, world.frame(rig, "camera")[0])


def _distances(calibration: Calibration) -> np.ndarray:
    centres = np.array([camera.centre for camera in calibration.cameras])
    return np.linalg.norm(centres[:, None] - centres[None], axis=-1)


@pytest.mark.parametrize("fisheye", [(), FISHEYE])
def test_finds_the_cameras(fisheye: tuple[str, ...]) -> None:
    truth = calibrating.rig(fisheye)
    seen = calibrating.sightings(truth, calibrating.moments(40))
    rig = _solved(seen, fisheye)
    found = _first(rig)
    np.testing.assert_allclose(_distances(found), _distances(truth), atol=0.5)  # mm, of 360 and more
    for c, (one, other) in enumerate(zip(found.cameras, truth.cameras, strict=True)):
        assert one.fisheye == other.fisheye
        difference = rig.state.lens[c, :4] - [*np.diag(other.matrix)[:2], *other.matrix[:2, 2]]
        assert (np.abs(difference) < 4 * rig.spread[c, 6:10]).all()
        assert (rig.spread[c, 6:10] < 2).all()
    points = np.random.default_rng(0).uniform(-100, 100, (50, 3))
    xyz, residual_px, _ = triangulate(found, truth.project(points), None)
    assert residual_px.max() < 0.5
    lengths = [np.linalg.norm(x[:, None] - x[None], axis=-1) for x in (xyz, points)]
    np.testing.assert_allclose(lengths[0], lengths[1], atol=0.5)  # mm, of up to 300


def test_wrong_corners_and_a_wrong_view_are_left_out_and_listed() -> None:
    truth = calibrating.rig()
    seen = calibrating.sightings(truth, calibrating.moments(30))
    view = seen[1].views[4]
    bent = view.xy.copy()
    bent[0] += 25
    seen[1].views[4] = View(view.numbers, bent, view.sharpness)
    view = seen[2].views[7]
    seen[2].views[7] = View(view.numbers, view.xy + np.array([30, -10]), view.sharpness)
    rig = _solved(seen)
    removed = {(one.camera, one.moment): one for one in rig.removed}
    assert not removed["mid", 4].whole
    assert removed["right", 7].whole
    np.testing.assert_allclose(_distances(_first(rig)), _distances(truth), atol=0.6)


def test_a_camera_that_never_shares_the_board_is_named_with_what_to_film() -> None:
    seen = calibrating.sightings(calibrating.rig(), calibrating.moments(30))
    for c, one in enumerate(seen):
        one.views = {moment: view for moment, view in one.views.items() if (moment < 12) == (c == 2)}
    scene = _scene(seen)
    assert scene.groups == ((0, 1), (2,))
    with pytest.raises(
        CalibrationError, match=r"'right' never shares the board.*film the board between right and (left|mid)"
    ):
        solve.solve(scene, 60)


@pytest.mark.slow
def test_a_video_out_of_step_is_found_and_its_offset_suggested() -> None:
    truth = calibrating.rig()
    boards = calibrating.moments(80, step=0.15)
    scene = _scene(calibrating.sightings(truth, boards, late={"right": 2}))
    found = timing.offsets(scene, 1)
    assert timing.late(scene.names, found) == {"right": 2}
    rig = solve.solve(scene, 60)
    words = [one.text for one in findings.verdicts(rig, findings.cameras(rig), found)]
    assert any("'right' is out of step" in text and "--offset right=2" in text for text in words)
    in_step = _scene(calibrating.sightings(truth, boards))
    assert timing.late(in_step.names, timing.offsets(in_step, 1)) == {}


def test_a_board_always_at_one_angle_is_refused_with_the_angle() -> None:
    known = calibrating.camera("top", 0)
    facing = CameraModel("top", known.size, known.matrix, known.distortion, np.eye(3), np.array([0, 0, 500.0]))
    seen = calibrating.sightings(Calibration([facing]), calibrating.moments(20, tilt_deg=0.5))
    with pytest.raises(CalibrationError, match=r"'top'.*always at one angle.*tilt it"):
        solve.lenses_of(seen, calibrating.CHARUCO, [False], {})


def test_too_few_views_are_refused_with_their_number() -> None:
    seen = calibrating.sightings(calibrating.rig(), calibrating.moments(3))
    with pytest.raises(CalibrationError, match=r"'left'.*3 views") as caught:
        solve.lenses_of(seen, calibrating.CHARUCO, [False] * 3, {})
    assert "'right'" in str(caught.value)  # all cameras are named at once


@pytest.mark.parametrize("fisheye", [False, True])
def test_a_given_lens_of_another_camera_is_refused_with_both_errors(fisheye: bool) -> None:
    seen = calibrating.sightings(calibrating.rig(), calibrating.moments(30))
    right = {c.name: formats.lens_of(c) for c in calibrating.rig().cameras}
    assert len(solve.lenses_of(seen, calibrating.CHARUCO, [False] * 3, right)) == 3
    other = formats.lens_of(calibrating.camera("mid", 0, fisheye, focal=1200.0))
    with pytest.raises(CalibrationError, match=r"'mid': the given lens .* misses the board by .* another camera's"):
        solve.lenses_of(seen, calibrating.CHARUCO, [False] * 3, {**right, "mid": other})


def test_a_good_rig_is_called_good_and_nothing_is_nan() -> None:
    rig = _solved(calibrating.sightings(calibrating.rig(), calibrating.moments(60)))
    numbers = findings.cameras(rig)
    assert [one.level for one in findings.verdicts(rig, numbers, [])] == ["good"]
    assert all(0.1 < row["rms_px"] < 0.2 for row in numbers.values())
    for pair in findings.epipolar(rig):
        assert pair["median_px"] < 0.2


@pytest.mark.slow
def test_boards_held_still_are_placed_rigidly_and_moving_ones_by_rays() -> None:
    truth = calibrating.rig()
    assert _solved(calibrating.sightings(truth, calibrating.moments(40))).rigid
    boards = calibrating.moments(60, step=0.1)
    assert not _solved(calibrating.sightings(truth, boards, noise_px=0.05, late={"right": 1})).rigid


def test_few_frames_are_chosen_and_they_show_all_places() -> None:
    seen = calibrating.sightings(calibrating.rig(), calibrating.moments(300))[1]
    chosen = choose.for_lens(seen, calibrating.CHARUCO, 20)
    assert len(chosen) == len(set(chosen)) == 20
    cells = frozenset.union(*(choose.covered(seen.views[moment], seen.size) for moment in chosen))
    everywhere = frozenset.union(*(choose.covered(view, seen.size) for view in seen.views.values()))
    assert len(cells) >= 0.95 * len(everywhere)
    lens = lenses.estimate(seen, chosen, calibrating.CHARUCO, False)
    assert abs(lens.values[0] / 560 - 1) < 4 * lens.focal_spread < 0.04


def test_blurred_frames_come_last() -> None:
    seen = calibrating.sightings(calibrating.rig(), calibrating.moments(40))[1]
    for moment in list(seen.views)[::2]:
        view = seen.views[moment]
        seen.views[moment] = View(view.numbers, view.xy, 0.02)
        seen.views[moment + 1000] = View(view.numbers, view.xy, 0.2)  # the same, sharp
    chosen = choose.for_lens(seen, calibrating.CHARUCO, 15)
    assert sum(seen.views[moment].sharpness < 0.1 for moment in chosen) <= 2


def test_world_by_board_floor_and_points(tmp_path) -> None:
    truth = calibrating.rig()
    rig = _solved(calibrating.sightings(truth, calibrating.moments(40)))
    block = 5
    on_board = world.calibration(rig, world.frame(rig, f"board:{rig.moments[block]}")[0])
    # The first inner corner is the origin, and y goes up.
    corners = calibrating.CHARUCO.points * [1, -1, 1]
    seen = on_board.project(corners)
    rows = rig.seen.block == block
    error = seen[rig.seen.camera[rows], rig.corner[rows]] - rig.seen.xy[rows]
    assert np.abs(error).max() < 1
    assert all(camera.centre[2] > 0 for camera in on_board.cameras)  # z comes out of the print
    floor = world.calibration(rig, world.frame(rig, f"floor:{rig.moments[block]}")[0])
    height = [camera.centre[2] for camera in floor.cameras]
    np.testing.assert_allclose(height, [camera.centre[2] for camera in on_board.cameras], atol=1e-6)

    lines = []
    for key, xyz in (("origin", [0, 0, 0]), ("x", [60, 0, 0]), ("y", [20, 50, 0])):
        places = on_board.project(np.array([xyz], float))[:, 0]
        lines += [f"[{key}]", *(f"{n} = [{x}, {y}]" for n, (x, y) in zip(on_board.names[:2], places, strict=False))]
    file = tmp_path / "points.toml"
    file.write_text("\n".join(lines))
    by_points = world.calibration(rig, world.frame(rig, f"points:{file}")[0])
    for one, other in zip(by_points.cameras, on_board.cameras, strict=True):
        np.testing.assert_allclose(one.centre, other.centre, atol=0.01)
    with pytest.raises(CalibrationError, match="not used at moment 999"):
        world.frame(rig, "board:999")
    with pytest.raises(CalibrationError, match="expected camera, board"):
        world.frame(rig, "moon")


def test_a_stereo_pair_as_opencv_has_it(data) -> None:
    board = Board(type="chessboard", squares=(10, 7), square_mm=30)
    seen = [detect.look(source, board) for source in sources.find(data / "stereo_chessboard")]
    moments = sorted(set(seen[0].views) & set(seen[1].views))
    xyz = [board.points.astype(np.float32)] * len(moments)
    xy = [[camera.views[moment].xy.astype(np.float32) for moment in moments] for camera in seen]
    lens = [cv2.calibrateCamera(xyz, one, seen[0].size, None, None)[1:3] for one in xy]
    flags = cv2.CALIB_USE_INTRINSIC_GUESS
    rms, left, _, right, _, _, shift, *_ = cv2.stereoCalibrate(xyz, *xy, *lens[0], *lens[1], seen[0].size, flags=flags)
    rig = solve.solve(_scene(seen, board=board), 60)
    ours = _first(rig)
    np.testing.assert_allclose(rig.state.lens[:, 0], [left[0, 0], right[0, 0]], rtol=0.003)
    assert _distances(ours)[0, 1] == pytest.approx(np.linalg.norm(shift), abs=0.2)  # mm, of 100
    assert np.sqrt((rig.error**2).sum(axis=1).mean()) < rms  # it keeps the corners that are wrong


def test_a_tree_goes_through_the_better_pairs() -> None:
    def edge(a: int, b: int, error: float, x: float) -> graph.Pair:
        return graph.Pair(a, b, tuple(range(20)), (np.eye(3), np.array([x, 0, 0])), error)

    placed = graph.tree([0, 1, 2], [edge(0, 1, 0.2, 1), edge(1, 2, 0.2, 1), edge(0, 2, 9.0, 50)])
    np.testing.assert_allclose(placed[2][1], [2, 0, 0])
