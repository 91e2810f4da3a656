"""Why no board was found: the same pictures searched for boards that differ in one way from the file's."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from poseloop.live.types import Image
from poseloop.train.calibrate.board import Board, Detector, markers

__all__ = ["MOST", "other_sides", "too_small", "why_not_found"]

MOST = 12
"""Pictures that are tried."""
_LARGER = 5
_SIDES = 0.08
"""Of the share that a marker has of its square: what a print may differ from its file by, and a picture from both."""
_COLUMNS = range(3, 21)
_CONTRAST = 25
"""Of 255: between the dark and the bright parts of a picture in which nothing can be found."""


def why_not_found(pictures: Sequence[Image], board: Board, others_see: bool = False) -> str:
    """Say what the board in the pictures seems to be, or that none was seen.

    Args:
        pictures: (H, W) grey, in which `board` was not found.
        board: what the board file says.
        others_see: other cameras see it, so the board file is right.
    """
    tried = list(pictures)[:MOST]
    # First, since a part of a chessboard passes for an inverted one.
    if board.type == "chessboard" and (words := _other_size(tried, board)) is not None:
        return words
    mirrored = "once they are mirrored back: switch off the mirroring of the camera, and film no mirror"
    variants: list[tuple[str, Board, bool]] = []
    if not others_see:
        inverted, squares = not board.inverted, board.squares[::-1]
        variants = [
            (f"with inverted = {str(inverted).lower()} in the board file", _but(board, inverted=inverted), False),
            (
                f"with columns and rows exchanged, squares = [{squares[0]}, {squares[1]}]",
                _but(board, squares=squares),
                False,
            ),
        ]
        if board.type == "charuco":
            legacy = not board.legacy
            words = f"with legacy = {str(legacy).lower()} in the board file"
            variants.insert(1, (words, _but(board, legacy=legacy), False))
    for words, other, flipped in [*variants, (mirrored, board, True)]:
        if other == board and not flipped:
            continue
        detector = Detector(other)
        found = sum(detector(_flipped(picture) if flipped else picture) is not None for picture in tried)
        if found:
            return f"the board is found in {found} of {len(tried)} pictures {words}"
    low, high = np.median([np.percentile(picture, [5, 95]) for picture in tried], axis=0)
    if high - low < _CONTRAST:
        return (
            f"the pictures show next to nothing (grey values from {low:.0f} to {high:.0f} of 255): more light, or focus"
        )
    if board.type == "charuco":
        return _other_markers(tried, board, others_see)
    return _blank("chessboard", tried)


def other_sides(pictures: Sequence[Image], board: Board) -> str | None:
    """Say if a ChArUco's markers are larger or smaller against its squares than the board file has them."""
    if board.type != "charuco":
        return None
    detector = Detector(board)
    seen = [share for picture in pictures[:_LARGER] if (share := detector.marker_share(picture)) is not None]
    said = board.marker_mm / board.square_mm
    if not seen or abs(np.median(seen) / said - 1) < _SIDES:
        return None
    return (
        f"a marker's side is {np.median(seen):.2f} of a square's in the pictures, but {board.marker_mm:g} / "
        f"{board.square_mm:g} = {said:.2f} in the board file: measure both on the print. All lengths hang on square_mm"
    )


def too_small(pictures: Sequence[Image], board: Board) -> str | None:
    """Say if a chessboard goes on beyond the size in its file: each picture may then show another part of it."""
    if board.type != "chessboard":
        return None
    columns, rows = board.corners
    for size in ((columns + 1, rows), (columns, rows + 1), (columns + 1, rows + 1)):
        found = sum(_has(255 - picture if board.inverted else picture, size) for picture in pictures[:_LARGER])
        if found > 1:
            return (
                f"the chessboard is larger than the board file says: {size[0]} x {size[1]} inner corners are found, "
                f"not {columns} x {rows}. Count the inner corners, and correct squares or corners"
            )
    return None


def _has(picture: Image, size: tuple[int, int]) -> bool:
    flags = cv2.CALIB_CB_ADAPTIVE_THRESH | cv2.CALIB_CB_NORMALIZE_IMAGE | cv2.CALIB_CB_FAST_CHECK
    return bool(cv2.findChessboardCorners(picture, size, flags=flags)[0])


def _but(board: Board, **changes: object) -> Board:
    return board.model_copy(update=changes)


def _flipped(picture: Image) -> Image:
    return np.ascontiguousarray(picture[:, ::-1])


def _blank(what: str, pictures: Sequence[Image]) -> str:
    return (
        f"no {what} is seen at all in {len(pictures)} pictures that were tried: is the board whole in the picture, in "
        "focus, flat, with a white margin around it, and lit evenly?"
    )


def _other_markers(pictures: Sequence[Image], board: Board, others_see: bool) -> str:
    """Markers that are seen although the board is not: another size, or another dictionary."""
    if others_see:
        counts = [len(markers(255 - picture if board.inverted else picture, board.dictionary)) for picture in pictures]
        if max(counts):
            return (
                f"at most {max(counts)} markers are seen at a time, too few: show more of the board, nearer, and hold "
                "it still, so that it is sharp"
            )
        return _blank("marker", pictures)
    for name in dict.fromkeys([board.dictionary, "4X4_1000", "5X5_1000", "6X6_1000", "7X7_1000", "ARUCO_ORIGINAL"]):
        for inverted in (board.inverted, not board.inverted):
            seen = [markers(255 - picture if inverted else picture, name) for picture in pictures]
            most = max(seen, key=len)
            if len(most) < 4:
                continue
            numbers = np.unique(np.concatenate(seen))
            if name == board.dictionary:
                if (squares := _squares(pictures, _but(board, inverted=inverted), int(numbers.max()))) is not None:
                    return (
                        f"the board is found with squares = [{squares[0]}, {squares[1]}], not [{board.squares[0]}, "
                        f"{board.squares[1]}]: count its columns and rows, and correct the board file"
                        + (f"; inverted = {str(inverted).lower()}" if inverted != board.inverted else "")
                    )
                return (
                    f"markers {numbers.min()} to {numbers.max()} of {name} are seen, but no board of "
                    f"{board.squares[0]} x {board.squares[1]} squares, which has markers 0 to {board.markers - 1}: are "
                    "columns and rows (squares) right?"
                    + (" Write inverted = " + str(inverted).lower() if inverted != board.inverted else "")
                )
            return f"markers of the dictionary {name} are seen, not of {board.dictionary}: correct the board file"
    return _blank("marker", pictures)


def _squares(pictures: Sequence[Image], board: Board, last: int) -> tuple[int, int] | None:
    """Columns and rows with which a ChArUco is found, given the largest number of its markers."""
    best, most = None, 0
    for columns in sorted(_COLUMNS, key=lambda count: abs(count - board.squares[0])):
        # As many rows as the markers need.
        rows = -(-2 * (last + 1) // columns)
        try:
            other = Board(**{**board.model_dump(), "squares": (columns, rows)})
        except ValueError:  # too few rows, or too many markers for the dictionary
            continue
        detector = Detector(other)
        corners = sum(len(found[0]) for picture in pictures[:_LARGER] if (found := detector(picture)) is not None)
        if corners > most:
            best, most = other.squares, corners
    return best


def _other_size(pictures: Sequence[Image], board: Board) -> str | None:
    """Say if a chessboard of another size is in most of the pictures."""
    columns, rows = board.corners
    some = [255 - picture if board.inverted else picture for picture in pictures[:4]]
    near = sorted(
        ((c, r) for c in range(3, 13) for r in range(3, c + 1) if {c, r} != {columns, rows}),
        key=lambda size: abs(size[0] - max(columns, rows)) + abs(size[1] - min(columns, rows)),
    )[:24]

    def in_most(size: tuple[int, int]) -> bool:
        return sum(_has(picture, size) for picture in some) > len(some) / 2

    size = next(filter(in_most, near), None)
    if size is None:
        return None
    # A part of a board is found, too, now and then: the board is what does not grow any more.
    while larger := next(filter(in_most, ((size[0] + c, size[1] + r) for c, r in ((1, 1), (1, 0), (0, 1)))), None):
        size = larger
    return (
        f"a chessboard of {size[0]} x {size[1]} inner corners is found, not {columns} x {rows}: count its inner "
        "corners, and correct squares or corners in the board file (it has one square more than corners each way)"
    )
