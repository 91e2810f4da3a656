"""The board to print: what is drawn is found again, in its true size."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from poseloop.live import cli
from poseloop.train.calibrate import board as boards
from poseloop.train.calibrate import sheet
from poseloop.train.calibrate.board import Board, Detector

PX_PER_MM = 300 / 25.4


def _command(*words: object) -> int:
    return cli.main(["calibrate", *map(str, words)])


@pytest.mark.parametrize(
    "board",
    [
        Board(type="charuco", squares=(5, 7), square_mm=23.5, marker_mm=17, dictionary="5X5_50"),
        Board(type="charuco", squares=(5, 4), square_mm=30, marker_mm=22.5, inverted=True),
        Board(type="charuco", squares=(6, 4), square_mm=30, marker_mm=20, legacy=True),
        Board(type="chessboard", squares=(7, 6), square_mm=25.4),
    ],
    ids=["charuco", "inverted", "legacy", "chessboard"],
)
def test_what_is_drawn_is_found_in_its_true_size(board: Board, tmp_path: Path) -> None:
    sheet.draw(board, tmp_path / "board.png")
    picture = cv2.imread(str(tmp_path / "board.png"), cv2.IMREAD_GRAYSCALE)
    assert picture is not None
    found = Detector(board)(picture)
    assert found is not None
    numbers, xy = found
    assert len(numbers) == len(board.points)
    # The sheet is the board's plane: the same places, shifted and enlarged, neither turned nor mirrored.
    places = board.points[numbers, :2]
    moved = (xy - xy.mean(axis=0)) / PX_PER_MM - (places - places.mean(axis=0))
    assert np.abs(moved).max() < 0.05  # mm; a dot is 0.08 mm


def test_whoever_has_no_board_gets_one_with_its_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _command("--print-board", tmp_path / "board.pdf") == 0
    board = boards.load(tmp_path / "board.toml")
    assert board.words in capsys.readouterr().out
    width, height = (float(word) / 72 * 25.4 for word in _media_box(tmp_path / "board.pdf"))
    assert (width, height) == pytest.approx((210, 297), abs=0.1)
    assert board.square_mm * board.squares[1] + 20 < 279  # US Letter
    (tmp_path / "board.toml").write_text("mine")
    assert _command("--print-board", tmp_path / "board.pdf") == 1
    assert "is there already" in capsys.readouterr().err
    assert (tmp_path / "board.toml").read_text() == "mine"


def test_a_large_board_gets_a_larger_sheet_and_a_vector_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.toml").write_text('type = "chessboard"\nsquares = [10, 7]\nsquare_mm = 37')
    assert _command("--print-board", tmp_path / "b.svg", "--board", tmp_path / "mine.toml") == 0
    assert "on A3" in capsys.readouterr().out
    width = re.search(r'width="([\d.]+)pt"', (tmp_path / "b.svg").read_text())
    assert width is not None
    assert float(width[1]) / 72 * 25.4 == pytest.approx(420, abs=0.1)
    (tmp_path / "mine.toml").write_text('type = "chessboard"\nsquares = [21, 12]\nsquare_mm = 100')
    assert _command("--print-board", tmp_path / "b.pdf", "--board", tmp_path / "mine.toml") == 0
    assert "a sheet of 2120 x 1236 mm" in capsys.readouterr().out


def test_what_cannot_be_drawn_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _command("--print-board", tmp_path / "board.doc") == 1
    assert "ends in .pdf, .svg or .png" in capsys.readouterr().err
    assert not (tmp_path / "board.toml").exists()
    assert _command("--print-board", tmp_path / "board.pdf", tmp_path) == 1
    assert "leave out what is to be calibrated" in capsys.readouterr().err
    assert _command("--print-board", tmp_path / "none" / "board.pdf") == 1
    assert "cannot be written" in capsys.readouterr().err


def _media_box(file: Path) -> tuple[str, str]:
    box = re.search(rb"/MediaBox \[ *0 0 ([\d.]+) ([\d.]+) *\]", file.read_bytes())
    assert box is not None
    return box[1].decode(), box[2].decode()
