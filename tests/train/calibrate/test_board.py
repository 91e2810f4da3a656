"""Board files of all kinds, and boards in rendered pictures: found, or the reason said."""

from pathlib import Path

import calibrating
import numpy as np
import pytest

from poseloop.live.errors import ConfigError
from poseloop.train.calibrate import advice, board
from poseloop.train.calibrate.board import Board, Detector

CHESS = Board(type="chessboard", squares=(7, 6), square_mm=30)


def _file(folder: Path, text: str) -> Path:
    file = folder / "board.toml"
    file.write_text(text)
    return file


def test_our_file(tmp_path: Path) -> None:
    text = (
        'type = "charuco"\nsquares = [6, 5]\nsquare_mm = 30\nmarker_mm = 22\ndictionary = "5X5_50"\ninverted = true\n'
    )
    read = board.load(_file(tmp_path, text))
    assert read == Board(type="charuco", squares=(6, 5), square_mm=30, marker_mm=22, dictionary="5X5_50", inverted=True)
    assert board.load(_file(tmp_path, 'type="chessboard"\ncorners=[9, 6]\nsquare_mm=30')).squares == (10, 7)


def test_files_of_other_programs(tmp_path: Path) -> None:
    anipose = (
        "board_x = 8\nboard_y = 11\nsquare_length = 24.0\nmarker_length = 18.75\nmarker_bits = 4\ndict_size = 1000"
    )
    read = board.load(_file(tmp_path, anipose))
    assert (read.type, read.squares, read.marker_mm, read.dictionary) == ("charuco", (8, 11), 18.75, "4X4_1000")
    caliscope = (
        'columns = 4\nrows = 5\ndictionary = "DICT_4X4_1000"\naruco_scale = 0.75\n'
        "square_size_override_cm = 5.4\ninverted = true"
    )
    read = board.load(_file(tmp_path, caliscope))
    assert (read.squares, read.square_mm, read.inverted) == ((4, 5), 54, True)
    assert read.marker_mm == pytest.approx(40.5)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('type = "charuco"\nsquares = [6, 5]\nsquare_mm = 30', "marker_mm: expected more than 0"),
        ('type = "chessboard"\nsquares = [2, 5]\nsquare_mm = 30', "at least 3 columns"),
        ('type = "chessboard"\nsquares = [6, 5]\nsquare_mm = 0', "square_mm"),
        ('type = "chessboard"\nsquares = [6, 5]\nsquare_mm = 3\nsize = 4', "size"),
        ('type = "charuco"\nsquares = [6, 5]\nsquare_mm = 3\nmarker_mm = 2\ndictionary = "9X9_50"', "expected one of"),
        ('type = "charuco"\nsquares = [16, 15]\nsquare_mm = 3\nmarker_mm = 2\ndictionary = "4X4_50"', "120 markers"),
        ("type = ", "not valid TOML"),
    ],
)
def test_a_wrong_file_is_refused_by_key(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        board.load(_file(tmp_path, text))
    assert "board.toml" in str(caught.value)


@pytest.mark.parametrize(
    "printed",
    [
        calibrating.CHARUCO,
        calibrating.CHARUCO.model_copy(update={"inverted": True}),
        calibrating.CHARUCO.model_copy(update={"squares": (6, 6), "legacy": True}),
        CHESS,
    ],
    ids=["charuco", "inverted", "legacy", "chessboard"],
)
def test_corners_are_found_to_a_tenth_of_a_pixel(printed: Board) -> None:
    cameras = calibrating.rig()
    found_any = 0
    for place in calibrating.moments(4, seed=5, tilt_deg=25):
        expected = cameras.project(printed.points @ place.turn.T + place.shift)[1]
        if not ((expected > 40) & (expected < np.array(calibrating.SIZE) - 40)).all():
            continue
        found = Detector(printed)(calibrating.picture(cameras, 1, place, printed))
        assert found is not None
        numbers, xy = found
        found_any += 1
        assert len(numbers) >= 0.7 * len(printed.points)
        assert np.median(np.abs(xy - expected[numbers])) < 0.1
        assert np.abs(xy - expected[numbers]).max() < 1
    assert found_any >= 2


def test_a_chessboard_that_is_upside_down_keeps_its_first_corner() -> None:
    cameras = calibrating.rig()
    place = calibrating.Moment(np.eye(3), -CHESS.points.mean(axis=0))
    upright = Detector(CHESS)(calibrating.picture(cameras, 1, place, CHESS))
    half = np.diag([-1.0, -1.0, 1.0])
    turned = Detector(CHESS)(
        calibrating.picture(cameras, 1, calibrating.Moment(half, CHESS.points.mean(axis=0)), CHESS)
    )
    assert upright is not None
    assert turned is not None
    assert upright[1][0, 0] < upright[1][-1, 0]
    assert turned[1][0, 0] > turned[1][-1, 0]
    assert Board(type="chessboard", squares=(7, 7), square_mm=3).symmetric
    assert not CHESS.symmetric


def test_no_board_in_noise() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (480, 640)).astype(np.uint8)
    assert Detector(calibrating.CHARUCO)(noise) is None
    assert Detector(CHESS)(noise) is None


@pytest.mark.parametrize(
    ("printed", "said", "words"),
    [
        ({"inverted": True}, {}, "inverted = true"),
        ({"squares": (6, 6), "legacy": True}, {"squares": (6, 6)}, "legacy = true"),
        ({"dictionary": "5X5_1000"}, {}, "5X5_1000"),
        ({"squares": (5, 6)}, {}, r"squares = \[5, 6\]"),
        ({}, {"squares": (9, 8)}, r"squares = \[6, 5\], not \[9, 8\]"),
        (CHESS.model_dump(), {**CHESS.model_dump(), "squares": (6, 5)}, "6 x 5 inner corners is found, not 5 x 4"),
        pytest.param(
            CHESS.model_dump(),
            {**CHESS.model_dump(), "squares": (9, 8)},
            "6 x 5 inner corners is found, not 8 x 7",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_why_a_board_is_not_found(printed: dict, said: dict, words: str) -> None:
    import re

    cameras = calibrating.rig()
    real, file = (calibrating.CHARUCO.model_copy(update=part) for part in (printed, said))
    shots = [calibrating.picture(cameras, 1, place, real) for place in calibrating.moments(3, seed=5, tilt_deg=15)]
    if all(Detector(file)(shot) is None for shot in shots):
        assert re.search(words, advice.why_not_found(shots, file))
    else:
        pytest.fail("the wrong board was found")


def test_mirrored_and_absent_boards() -> None:
    cameras = calibrating.rig()
    shots = [calibrating.picture(cameras, 1, place) for place in calibrating.moments(2, seed=5, tilt_deg=15)]
    mirrored = [np.ascontiguousarray(shot[:, ::-1]) for shot in shots]
    assert all(Detector(calibrating.CHARUCO)(shot) is None for shot in mirrored)
    assert "mirrored" in advice.why_not_found(mirrored, calibrating.CHARUCO)
    dark = [np.full((480, 640), 3, np.uint8)]
    assert "(grey values from 3 to 3 of 255)" in advice.why_not_found(dark, CHESS)
    empty = [np.tile(np.linspace(60, 180, 640), (480, 1)).astype(np.uint8)]
    assert "no marker is seen" in advice.why_not_found(empty, calibrating.CHARUCO)
    assert "no chessboard is seen" in advice.why_not_found(empty, CHESS)


@pytest.mark.parametrize(("marker_mm", "told"), [(22.0, False), (21.2, False), (17.0, True), (27.0, True)])
def test_markers_that_do_not_fit_their_squares_are_told_with_both_shares(marker_mm: float, told: bool) -> None:
    cameras = calibrating.rig()
    shots = [calibrating.picture(cameras, 1, place) for place in calibrating.moments(2, seed=5, tilt_deg=15)]
    words = advice.other_sides(shots, calibrating.CHARUCO.model_copy(update={"marker_mm": marker_mm}))
    assert (words is not None) == told
    if words is not None:
        assert f"{marker_mm:g} / 30 = {marker_mm / 30:.2f} in the board file" in words
    assert advice.other_sides(shots, CHESS) is None
