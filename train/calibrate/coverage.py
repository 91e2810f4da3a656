"""How much of a rig the pictures of a board cover so far, and where the board should go next."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping

import cv2
import numpy as np

from poseloop.live.output.draw import Canvas
from poseloop.live.types import Image
from poseloop.train.calibrate.board import Board
from poseloop.train.calibrate.choose import GRID, covered, slant
from poseloop.train.calibrate.detect import View

__all__ = ["COVERED", "SHARED", "VIEWS", "Coverage"]

COVERED = 0.6
"""Share of a picture's cells in which corners have to be."""
VIEWS = 20
"""Views of each camera."""
SHARED = 12
"""Moments at which two cameras saw the board, for the two to be linked; each camera has to be linked to the others."""
_AGAIN = 3
"""Views of one cell after which another one adds nothing."""
_TILTED = 2
"""Likewise, of one tilt."""
_WIDTH = 480
_PLACES = (("upper left", "top", "upper right"), ("left", "middle", "right"), ("lower left", "bottom", "lower right"))


class Coverage:
    """Counts the views that were kept."""

    def __init__(self, sizes: Mapping[str, tuple[int, int]], board: Board) -> None:
        """Begin with none.

        Args:
            sizes: camera → width and height of its pictures, px.
            board: what is shown.
        """
        self._sizes, self._board = dict(sizes), board
        self._cells: dict[str, Counter[int]] = {name: Counter() for name in sizes}
        self._tilts: dict[str, Counter[tuple[int, int]]] = {name: Counter() for name in sizes}
        self._views: dict[str, list[View]] = {name: [] for name in sizes}
        self._pairs: Counter[tuple[str, str]] = Counter()

    def views(self, name: str) -> int:
        """How many of a camera were kept."""
        return len(self._views[name])

    def share(self, name: str) -> float:
        """Of a camera's picture: in how many of its cells corners were."""
        return len(self._cells[name]) / (GRID[0] * GRID[1])

    def adds(self, views: Mapping[str, View]) -> bool:
        """Does a moment show anything new: a place or a tilt in a picture, or a pair that is not linked yet?"""
        for name, view in views.items():
            if any(self._cells[name][cell] < _AGAIN for cell in covered(view, self._sizes[name])):
                return True
            if self._tilts[name][slant(view, self._board)] < _TILTED:
                return True
        return any(self._pairs[pair] < SHARED for pair in itertools.combinations(self._in_order(views), 2))

    def add(self, views: Mapping[str, View]) -> None:
        """Count one moment."""
        for name, view in views.items():
            self._cells[name].update(covered(view, self._sizes[name]))
            self._tilts[name][slant(view, self._board)] += 1
            self._views[name].append(view)
        self._pairs.update(itertools.combinations(self._in_order(views), 2))

    def _in_order(self, views: Mapping[str, View]) -> list[str]:
        return [name for name in self._sizes if name in views]

    @property
    def enough(self) -> bool:
        """Is every camera covered, and linked to all others, if only through others?"""
        return not any(self._missing(name) for name in self._sizes)

    def _linked(self) -> set[str]:
        """Cameras that are linked to the first one."""
        reached = set(list(self._sizes)[:1])
        for _ in self._sizes:
            for one, two in (pair for pair, count in self._pairs.items() if count >= SHARED):
                if reached & {one, two}:
                    reached |= {one, two}
        return reached

    def _missing(self, name: str) -> str:
        """What a camera lacks, for the person who holds the board; empty = nothing."""
        if self.share(name) < COVERED or self.views(name) < VIEWS:
            return f"show it to {name}, {self._emptiest(name)}"
        linked = self._linked()
        if name not in linked:
            return f"show it to {name} and {' or '.join(sorted(linked))} at once"
        return ""

    def _emptiest(self, name: str) -> str:
        counts = np.array([self._cells[name][cell] for cell in range(GRID[0] * GRID[1])]).reshape(GRID[::-1])
        parts = [[part.clip(0, _AGAIN).mean() for part in np.array_split(row, 3, axis=1)]
                 for row in np.array_split(counts, 3, axis=0)]  # fmt: skip
        row, column = np.unravel_index(int(np.argmin(parts)), (3, 3))
        return _PLACES[row][column]

    def words(self) -> str:
        """One line: each camera's coverage and views, each pair's moments, and what to do next."""
        cameras = [f"{name} {self.share(name):.0%} {self.views(name)}/{VIEWS}" for name in self._sizes]
        pairs = [f"{one}+{two} {count}/{SHARED}" for (one, two), count in sorted(self._pairs.items())]
        # The one that lacks most first: where somebody stands with a board, not in the order of a file.
        lacking = sorted(self._sizes, key=lambda name: (self.share(name), self.views(name)))
        advice = next((text for name in lacking if (text := self._missing(name))), "enough")
        return "  ".join([advice, *cameras, *pairs])

    def draw(self, pictures: Mapping[str, Image]) -> Image:
        """Draw every camera's last picture with the cells that are covered, and all corners so far.

        Args:
            pictures: camera → grey picture; a camera without one is left dark.
        """
        tiles = [self._tile(name, pictures.get(name)) for name in self._sizes]
        height = max(tile.shape[0] for tile in tiles)
        padded = [np.pad(tile, ((0, height - tile.shape[0]), (0, 0), (0, 0))) for tile in tiles]
        columns = min(len(padded), 2 if len(padded) <= 4 else 3)
        padded += [np.zeros_like(padded[0])] * (-len(padded) % columns)
        rows = [np.hstack(padded[start : start + columns]) for start in range(0, len(padded), columns)]
        whole: Image = np.vstack(rows)
        return whole

    def _tile(self, name: str, picture: Image | None) -> Image:
        width, height = self._sizes[name]
        scale = _WIDTH / width
        size = (_WIDTH, round(height * scale))
        grey = np.zeros(size[::-1], np.uint8) if picture is None else cv2.resize(picture, size)
        canvas = Canvas(np.asarray(cv2.cvtColor(np.asarray(grey, np.uint8), cv2.COLOR_GRAY2BGR) // 2, np.uint8), _WIDTH)
        edges = [np.linspace(0, side, count + 1).round().astype(int) for side, count in zip(size, GRID, strict=True)]
        for cell, count in self._cells[name].items():
            row, column = divmod(cell, GRID[0])
            part = canvas.image[edges[1][row] : edges[1][row + 1], edges[0][column] : edges[0][column + 1], 1]
            part += np.uint8(60 * min(count, _AGAIN) / _AGAIN)
        for view in self._views[name]:
            for x, y in np.rint((view.xy + 0.5) * scale - 0.5).astype(int):
                cv2.circle(canvas.image, (int(x), int(y)), 1, (0, 200, 255), -1, cv2.LINE_AA)
        canvas.text(f"{name}: {self.share(name):.0%} covered, {self.views(name)} of {VIEWS} views", (12, 26))
        return canvas.image
