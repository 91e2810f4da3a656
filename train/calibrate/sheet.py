"""The board as a sheet to print, in its true size.

Squares and markers are drawn from the numbers of the board file, in millimetres of the sheet; only a printer can then
get them wrong, and the scale bar under the board shows it.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from poseloop.live.errors import ConfigError
from poseloop.train.calibrate import board as boards
from poseloop.train.calibrate.board import Board, Float64

__all__ = ["check_name", "describe_standard", "draw"]

_STANDARD = """# The board on the sheet of the same name.
type = "charuco"
squares = [8, 11]             # columns, rows
square_mm = 22.0              # measure the print over many squares, and write here what one of them has
marker_mm = 16.5              # the same for the side of a marker
dictionary = "4X4_50"
"""
"""A board file for who has none: fits on A4 and on US Letter, and has an odd number of rows, which every version of
OpenCV draws alike."""

_SHEETS_MM = {"A4": (210, 297), "A3": (297, 420), "A2": (420, 594), "A1": (594, 841), "A0": (841, 1189)}
_MARGIN_MM = 10.0
"""Around the board: what printers leave white, and what the outer markers need."""
_FOOT_MM = 16.0
"""Under it: words and scale bar."""
_BAR_MM = 100.0
_MM_PER_INCH = 25.4
_POINTS_PER_INCH = 72.0
_DPI, _LARGE_DPI = 300, 150
"""Of a PNG up to A3, and of a larger one."""


def check_name(file: Path) -> None:
    """Refuse a file that a sheet cannot be drawn into, before anything is written.

    Raises:
        ConfigError: its ending is another one.
    """
    if file.suffix.lower() not in (".pdf", ".svg", ".png"):
        raise ConfigError(f"--print-board: expected a file that ends in .pdf, .svg or .png, but got {file}")


def describe_standard(file: Path) -> None:
    """Write the board file of the standard board.

    Raises:
        ConfigError: there is such a file already, or it cannot be written.
    """
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(_STANDARD)
    except FileExistsError:
        raise ConfigError(f"{file}: is there already: give it as --board {file}, or choose another name") from None
    except OSError as error:
        raise ConfigError(f"{file}: cannot be written: {error.strerror}") from error


def draw(board: Board, file: Path) -> str:
    """Draw the board in its true size, with what it is and a scale bar under it.

    Args:
        board: what to draw.
        file: ends in ``.pdf``, ``.svg`` or ``.png`` (300 dots an inch).

    Returns:
        The sheet in words.

    Raises:
        ConfigError: it cannot be written.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import PathPatch, Rectangle
    from matplotlib.path import Path as Outline

    size = board.square_mm * np.array(board.squares)
    sheet, page = _sheet(size)
    left, top = (page[0] - size[0]) / 2, (page[1] - size[1] - _FOOT_MM) / 2
    figure = Figure(figsize=(page[0] / _MM_PER_INCH, page[1] / _MM_PER_INCH), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, page[0]), ylim=(page[1], 0))
    axes.axis("off")
    if board.inverted:
        around = _MARGIN_MM
        axes.add_patch(
            Rectangle(
                (left - around, top - around), size[0] + 2 * around, size[1] + 2 * around, color="black", linewidth=0
            )
        )
    boxes = _black(board)
    boxes[:, :2] += left, top
    black = [[(x, y), (x + w, y), (x + w, y + h), (x, y + h), (x, y)] for x, y, w, h in boxes.tolist()]
    # One shape, so that no hairlines are left between the parts of a marker.
    shape = Outline.make_compound_path(*(Outline(corners, closed=True) for corners in black))
    axes.add_patch(PathPatch(shape, facecolor="white" if board.inverted else "black", linewidth=0))
    below = top + size[1] + (_MARGIN_MM if board.inverted else 0)
    end = left + min(_BAR_MM, float(size[0]))
    axes.plot([left, left, left, end, end, end], below + np.array([5, 9, 7, 7, 5, 9]), "k", linewidth=0.8)
    words = f'{end - left:g} mm: print at 100 % ("actual size"), then measure'
    font = 3.2 / _MM_PER_INCH * _POINTS_PER_INCH
    axes.text((left + end) / 2, below + 6.3, words, fontsize=font, ha="center", va="bottom")
    markers = f", markers of {board.marker_mm:g} mm" if board.type == "charuco" else ""
    axes.text(left, below + 13.5, f"{board.words}{markers}", fontsize=font, va="bottom")
    try:
        figure.savefig(file, dpi=_DPI if sheet in ("A4", "A3") else _LARGE_DPI)
    except OSError as error:
        raise ConfigError(f"{file}: the board cannot be drawn: {error.strerror or error}") from error
    return f"{file}: {board.words}, on {sheet}; print it at 100 %, glue it onto something flat, measure it"


def _sheet(size: Float64) -> tuple[str, tuple[float, float]]:
    """The smallest sheet (name, width and height in mm) that holds a board of this size; its own, if none does."""
    need = size[0] + 2 * _MARGIN_MM, size[1] + 2 * _MARGIN_MM + _FOOT_MM
    for name, sides in _SHEETS_MM.items():
        for width, height in (sides, sides[::-1]):
            if need[0] <= width and need[1] <= height:
                return name, (width, height)
    return f"a sheet of {need[0]:.0f} x {need[1]:.0f} mm", need


def _black(board: Board) -> Float64:
    """What is printed black: rectangles (n, 4) of x, y, width, height, mm from the board's upper left corner."""
    side = board.square_mm
    rows, columns = np.mgrid[: board.squares[1], : board.squares[0]].reshape(2, -1)
    if board.type == "chessboard":
        dark = (rows + columns) % 2 == 0
        squares: Float64 = np.column_stack([columns * side, rows * side, *np.full((2, len(rows)), side)])[dark]
        return squares
    pattern = boards.pattern(board)
    corners = np.asarray(pattern.getObjPoints(), np.float64)[:, 0, :2]  # upper left ones of the markers
    with_marker = {(int(x // side), int(y // side)) for x, y in corners}
    found = [
        (column * side, row * side, side, side)
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
        if (column, row) not in with_marker
    ]
    dictionary = pattern.getDictionary()
    modules = dictionary.markerSize + 2  # a black border of one module
    cell = board.marker_mm / modules
    for number, (x, y) in zip(np.asarray(pattern.getIds()).reshape(-1).tolist(), corners, strict=True):
        bits = cv2.aruco.generateImageMarker(dictionary, number, modules)
        for j, i in np.argwhere(bits == 0).tolist():
            found.append((x + i * cell, y + j * cell, cell, cell))
    return np.array(found)
