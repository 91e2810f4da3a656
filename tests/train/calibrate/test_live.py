"""``poseloop calibrate --live``: a rig's cameras film the board; recordings of a simulated one stand in for cameras."""

from dataclasses import replace
from pathlib import Path

import calibrating
import cv2
import numpy as np
import pytest

from poseloop.live import cli
from poseloop.live.geometry import Calibration
from poseloop.live.types import FrameSet
from poseloop.train.calibrate import coverage, live, sources
from poseloop.train.calibrate.coverage import Coverage
from poseloop.train.calibrate.detect import View

PLACES = {"left": -35.0, "mid": 0.0, "right": 35.0}
CAMERAS = Calibration([replace(calibrating.camera(n, at), distortion=np.zeros(0)) for n, at in PLACES.items()])
MOMENTS = 70
BOARD = """
type = "charuco"
squares = [6, 5]
square_mm = 30
marker_mm = 22
"""
RIG = """
[model]
file = "blob"
[sync]
trigger = "hardware"
frames = "every"
"""
CAMERA = """
[cameras.{name}]
use = "replay"
path = "{path}"
fps = 10
pace = "none"
colour = "{colour}"
"""


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each camera's pictures of one board that is carried about; lenses without distortion are drawn in no time."""
    folder = tmp_path_factory.mktemp("films")
    board, side = calibrating.CHARUCO, 40
    dictionary = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_4X4_1000)
    pattern = cv2.aruco.CharucoBoard(board.squares, board.square_mm, board.marker_mm, dictionary)
    print_ = pattern.generateImage((board.squares[0] * side, board.squares[1] * side))
    print_ = cv2.GaussianBlur(np.pad(print_, side, constant_values=255), (0, 0), 1.0)
    # Pixel of the print → mm on the board, from its first inner corner.
    scale = board.square_mm / side
    on_board = np.array([[scale, 0, (0.5 - 2 * side) * scale], [0, scale, (0.5 - 2 * side) * scale], [0, 0, 1]])
    random = np.random.default_rng(3)
    for camera in CAMERAS.cameras:
        (folder / camera.name).mkdir()
    for number, place in enumerate(calibrating.moments(MOMENTS, seed=3)):
        place = replace(place, shift=place.shift + random.uniform([-120, -90, 0], [120, 90, 0]))
        for camera in CAMERAS.cameras:
            turn, shift = camera.rotation @ place.turn, camera.rotation @ place.shift + camera.translation
            to_picture = camera.matrix @ np.column_stack([turn[:, :2], shift]) @ on_board
            picture = cv2.warpPerspective(print_, to_picture, calibrating.SIZE, borderValue=110)
            _, coded = cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 1])
            (folder / camera.name / f"{number}.png").write_bytes(coded.tobytes())
    return folder


def write_rig(folder: Path, films: Path, names: tuple[str, ...] = CAMERAS.names) -> Path:
    (folder / "board.toml").write_text(BOARD, encoding="utf-8")
    rig = folder / "rig.toml"
    colours = ["grey", "rgb", "grey"]
    tables = [CAMERA.format(name=n, path=films / n, colour=c) for n, c in zip(names, colours, strict=False)]
    rig.write_text(RIG + "".join(tables), encoding="utf-8")
    return rig


def film(folder: Path, rig: Path, *more: str) -> int:
    words = [
        "calibrate",
        "--live",
        rig,
        "--board",
        folder / "board.toml",
        "--out",
        folder / "c.toml",
        "--moments",
        "30",
        *more,
    ]
    return cli.main([str(word) for word in words])


def check(file: Path) -> None:
    """It is the rig that filmed: in its lenses, and in how its cameras stand to each other."""
    found = Calibration.load(file).select(CAMERAS.names)
    for camera, true in zip(found.cameras, CAMERAS.cameras, strict=True):
        assert camera.matrix[0, 0] == pytest.approx(true.matrix[0, 0], rel=0.01)
    centres = [np.array([camera.centre for camera in one.cameras]) for one in (found, CAMERAS)]
    far, true_far = (np.linalg.norm(one - np.roll(one, 1, axis=0), axis=1) for one in centres)
    np.testing.assert_allclose(far, true_far, rtol=0.01)


def test_the_rigs_cameras_are_calibrated_as_soon_as_it_is_enough(
    films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert film(tmp_path, write_rig(tmp_path, films)) == 0, capsys.readouterr().err
    told = capsys.readouterr().err
    check(tmp_path / "c.toml")
    kept = {name: sorted((tmp_path / "c_pictures" / name).iterdir()) for name in CAMERAS.names}
    for name, files in kept.items():
        assert len(files) >= coverage.VIEWS
        assert files[0].name.startswith(f"{name}-00")
    # It had enough before the films were over, and said so.
    assert max(len(files) for files in kept.values()) < MOMENTS
    assert "enough  left" in told
    assert "recordings have ended" not in told
    # Every kept picture is the camera's, to the last grey, and pictures of one number are of one moment.
    of_left = {cv2.imread(str(file), 0).tobytes(): int(file.stem) for file in (films / "left").iterdir()}
    of_right = {cv2.imread(str(file), 0).tobytes(): int(file.stem) for file in (films / "right").iterdir()}
    numbers = {file.stem[-4:]: of_left[cv2.imread(str(file), 0).tobytes()] for file in kept["left"]}
    both = [file for file in kept["right"] if file.stem[-4:] in numbers]
    assert len(both) >= 5
    for file in both:
        assert of_right[cv2.imread(str(file), 0).tobytes()] == numbers[file.stem[-4:]]
    picture = cv2.imread(str(tmp_path / "c_report" / "live_coverage.png"))
    assert picture.shape == (720, 960, 3)
    # The folder is one that can be calibrated from again.
    again = {source.camera: len(source.files) for source in sources.find(tmp_path / "c_pictures")}
    assert again == {name: len(files) for name, files in kept.items()}


def test_ctrl_c_means_that_it_is_enough(
    films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    take, taken = live._Cameras.take, []

    def interrupted(cameras: live._Cameras) -> FrameSet | None:
        taken.append(0)
        if len(taken) > 18:
            raise KeyboardInterrupt
        return take(cameras)

    monkeypatch.setattr(live._Cameras, "take", interrupted)
    film(tmp_path, write_rig(tmp_path, films))
    told = capsys.readouterr().err
    assert "stopped" in told
    assert "show it to " in told
    assert Calibration.load(tmp_path / "c.toml").names == CAMERAS.names


def test_a_camera_that_never_sees_the_board_is_named(
    films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "dark").mkdir()
    for number in range(12):
        picture = np.random.default_rng(number).integers(0, 60, (480, 640), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / "dark" / f"{number}.png"), picture)
    rig = write_rig(tmp_path, films, ("left",))
    table = CAMERA.format(name="dark", path=tmp_path / "dark", colour="grey") + "loop = true\n"
    rig.write_text(rig.read_text(encoding="utf-8") + table, encoding="utf-8")
    assert film(tmp_path, rig, "--seconds", "3") == 1
    assert "dark" in capsys.readouterr().err.split("poseloop: error:")[1]
    assert 2 <= len(list((tmp_path / "c_pictures" / "dark").iterdir())) <= 6


def test_what_cannot_work_is_said_before_anything_is_filmed(
    films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rig = write_rig(tmp_path, films)
    assert film(tmp_path, rig, str(films)) == 1
    assert "one of the two" in capsys.readouterr().err
    assert cli.main(["calibrate", "--board", str(tmp_path / "board.toml")]) == 1
    assert "--live RIG.toml" in capsys.readouterr().err
    assert film(tmp_path, rig, "--pictures", str(films)) == 1
    assert "empty folder" in capsys.readouterr().err
    absent = write_rig(tmp_path, films, ("left", "nowhere"))
    assert film(tmp_path, absent) == 1
    assert "nowhere" in capsys.readouterr().err
    assert not (tmp_path / "c_pictures").exists()


def test_cameras_that_deliver_nothing_are_told_with_the_reason(
    films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_SILENT_S", 0.3)
    monkeypatch.setattr(live._Cameras, "take", lambda cameras: None)
    monkeypatch.setattr(live.Synchroniser, "finished", False)
    assert film(tmp_path, write_rig(tmp_path, films)) == 1
    told = capsys.readouterr().err
    assert "left, mid, right" in told
    assert 'trigger = "hardware"' in told


# What counts as covered


def views(count: int) -> list[dict[str, View]]:
    moments = calibrating.moments(count, seed=5)
    seen = calibrating.sightings(CAMERAS, moments)
    return [{one.camera: one.views[m] for one in seen if m in one.views} for m in range(count)]


def test_what_was_seen_often_adds_nothing_and_enough_needs_every_camera_and_links() -> None:
    sizes = dict.fromkeys(CAMERAS.names, calibrating.SIZE)
    one_by_one, together = Coverage(sizes, calibrating.CHARUCO), Coverage(sizes, calibrating.CHARUCO)
    first = views(1)[0]
    assert together.adds(first)
    for _ in range(coverage.SHARED):
        together.add(first)
    assert not together.adds(first)
    assert "show it to" in together.words()
    for moment in views(90):
        together.add(moment)
        for name, view in moment.items():
            one_by_one.add({name: view})
    assert together.enough
    assert together.words().startswith("enough")
    # As well covered, but nothing tells how the cameras stand to each other.
    assert one_by_one.share("mid") == together.share("mid") > coverage.COVERED
    assert not one_by_one.enough
    assert "at once" in one_by_one.words()
    assert not together.adds(first)


def test_it_says_where_the_board_has_not_been() -> None:
    cover = Coverage({"left": calibrating.SIZE}, calibrating.CHARUCO)
    grid = np.stack(np.meshgrid(np.arange(20, 640, 40), np.arange(20, 480, 40)), axis=-1).reshape(-1, 2).astype(float)
    for _ in range(3):
        beside = grid[(grid[:, 0] < 400) | (grid[:, 1] > 170)]
        cover.add({"left": View(np.arange(20), beside[:: len(beside) // 19][:20], 0.2)})
        for start in range(0, len(beside) - 20, 20):
            cover.add({"left": View(np.arange(20), beside[start : start + 20], 0.2)})
    if cover.views("left") >= coverage.VIEWS:
        assert cover.share("left") > coverage.COVERED
    assert cover._emptiest("left") == "upper right"


def test_cameras_without_one_trigger_need_a_board_that_is_held_still() -> None:
    xy = np.random.default_rng(0).uniform(0, 400, (12, 2))
    before = (1_000_000_000, View(np.arange(12), xy, 0.2))
    now = View(np.arange(4, 12), xy[4:] + np.array([30, 40]), 0.2)

    def frames(skew_ns: int) -> FrameSet:
        return FrameSet(1, 1_100_000_000, (None, None), skew_ns, 0)

    # 50 px in 100 ms, and the pictures were taken 2 ms apart.
    assert live._moved_px(before, frames(2_000_000), now) == pytest.approx(1.0)
    assert live._moved_px(before, frames(0), now) == 0
    assert live._moved_px(None, frames(2_000_000), now) == np.inf
