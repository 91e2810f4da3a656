"""Cameras that run behind others: by whole frames, by parts of one, and by more from some frame on."""

from collections.abc import Callable

import calibrating
import numpy as np
import pytest

from poseloop.train.calibrate import findings, formats, solve, timing
from poseloop.train.calibrate.detect import Sightings
from poseloop.train.calibrate.solve import Scene

FPS, FRAMES = 10, 80
Times = Callable[[np.ndarray], np.ndarray]


def _scene(times: dict[str, Times], every: int = 1, fps: int = FPS) -> Scene:
    """A board on its way; a camera's frames show it at other times (in frames) than their numbers."""
    truth = calibrating.rig()
    at = calibrating.walk(FRAMES / fps + 2)
    numbers = np.arange(0, FRAMES, every)
    seen = []
    for c, name in enumerate(truth.names):
        boards = [at(1 + time / fps) for time in times.get(name, lambda n: n)(numbers)]
        mine = calibrating.sightings(truth, boards, seed=c)[c]
        views = {int(numbers[row]): view for row, view in mine.views.items()}
        seen.append(Sightings(name, mine.size, mine.looked, views))
    return solve.relate(seen, calibrating.CHARUCO, [formats.lens_of(camera) for camera in truth.cameras])


def test_cameras_in_step_are_not_blamed() -> None:
    scene = _scene({})
    found = timing.offsets(scene, 1)
    assert len(found) == 3
    assert timing.late(scene.names, found) == {}
    assert timing.lost(found) == {}
    assert findings.out_of_step(scene.names, found) == []


@pytest.mark.parametrize(("name", "frames"), [("right", 0.5), ("left", -2.3)])
def test_parts_of_a_frame_are_found_and_told(name: str, frames: float) -> None:
    scene = _scene({name: lambda n: n - frames})
    found = timing.offsets(scene, 1)
    late = timing.late(scene.names, found)
    assert list(late) == [name]
    assert late[name] == pytest.approx(frames, abs=0.03)  # a tenth of a frame is the board's 2 px here
    (verdict,) = findings.out_of_step(scene.names, found)
    assert f"camera '{name}' is out of step: it is {abs(frames)} frames {'late' if frames > 0 else 'early'}" in (
        verdict.text
    )
    assert "No --offset in whole frames" in verdict.text


def test_whole_frames_are_found_where_only_some_frames_were_searched() -> None:
    scene = _scene({"mid": lambda n: n - 2}, every=4, fps=40)
    found = timing.offsets(scene, 4)
    assert timing.late(scene.names, found)["mid"] == pytest.approx(2, abs=0.15)
    (verdict,) = findings.out_of_step(scene.names, found)
    assert "it is 2 frames late" in verdict.text
    assert "--offset mid=2" in verdict.text


@pytest.mark.parametrize(("name", "frames"), [("right", -3), ("left", 2)])
def test_frames_that_were_lost_in_the_middle_are_found_with_their_place(name: str, frames: int) -> None:
    scene = _scene({name: lambda n: n - frames * (n >= 40)})
    found = timing.offsets(scene, 1)
    assert timing.lost(found) == {name: [(40, frames)]}
    (verdict,) = findings.out_of_step(scene.names, found)
    words = "3 frames earlier" if frames < 0 else "2 frames later"
    assert f"camera '{name}' loses its step: from its frame 40 on it is {words} than before" in verdict.text


@pytest.mark.parametrize("noisy", ["mid", "right"])
def test_noise_of_a_board_held_still_is_not_taken_for_a_part_of_a_frame(noisy: str) -> None:
    """Where it moves it is blurred, and not found: only stretches are left in which it stands."""
    truth = calibrating.rig()
    boards = [place for place in calibrating.moments(4, seed=3) for _ in range(20)]
    seen = []
    for c, name in enumerate(truth.names):
        mine = calibrating.sightings(truth, boards, noise_px=0.5 if name == noisy else 0.05, seed=c)[c]
        seen.append(Sightings(name, mine.size, mine.looked, {n: view for n, view in mine.views.items() if n % 20}))
    scene = solve.relate(seen, calibrating.CHARUCO, [formats.lens_of(camera) for camera in truth.cameras])
    found = timing.offsets(scene, 1)
    assert timing.late(scene.names, found) == {}
    assert findings.out_of_step(scene.names, found) == []


def test_a_board_held_still_for_each_picture_says_nothing_about_time() -> None:
    seen = calibrating.sightings(calibrating.rig(), calibrating.moments(30))
    lenses = [formats.lens_of(camera) for camera in calibrating.rig().cameras]
    scene = solve.relate(seen, calibrating.CHARUCO, lenses)
    found = timing.offsets(scene, 1)
    assert timing.late(scene.names, found) == {}
    assert timing.lost(found) == {}
