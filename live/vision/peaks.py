"""Score maps to points: where is the highest cell of each map, and what lies around it.

Maps are (B, h, w, K) float32, as the network leaves them: the channels of one cell side by side. Points are written
in *cells*: 0 is the centre of the first cell. What a cell is in the picture is said in `poseloop.live.vision.coords`.

What every kernel keeps to:

- A map that holds a NaN, or whose highest value is infinite, gives NaN as point and as score: such a network saw
  nothing, and NaN passes no gate.
- A map whose highest value is not above 0 gives NaN as point and 0 as score.
- Of several equal highest cells the first counts, row by row (as in ``numpy.argmax``).
- Only the first ``rows`` × ``columns`` cells are looked at: what lies beyond is padding.

For one individual: `argmax`, `centroid`, `locref`. For several, `strongest` finds the cells, and `weigh` or `shift`
does for each individual what `centroid` and `locref` do after the search.
"""

from __future__ import annotations

import numpy as np

from poseloop.live.jit import kernel
from poseloop.live.types import Float32

__all__ = ["argmax", "centroid", "locref", "passthrough", "shift", "strongest", "weigh"]


@kernel
def argmax(maps: Float32, rows: int, columns: int, cells: Float32, score: Float32) -> None:
    """Write the highest cell of every map.

    Args:
        maps: (B, h, w, K), contiguous.
        rows: height of the part that is searched.
        columns: its width.
        cells: (B, K, 2), output: x and y.
        score: (B, K), output.
    """
    batch, _, _, channels = maps.shape
    width = columns * channels
    # Highest value and its row for each column and channel: neighbours in memory are independent of each other, so the
    # compiler can compare many at a time. A NaN, once there, stays.
    best = np.empty(width, np.float32)
    row = np.empty(width, np.int32)
    for b in range(batch):
        flat = maps[b].reshape(-1)
        stride = maps.shape[2] * channels
        for j in range(width):
            best[j] = flat[j]
            row[j] = 0
        for i in range(1, rows):
            line = flat[i * stride : i * stride + width]
            for j in range(width):
                value = line[j]
                top = best[j]
                higher = (value > top) | (value != value)
                best[j] = value if higher else top
                row[j] = i if higher else row[j]
        for k in range(channels):
            top = best[k]
            at_row = row[k]
            at_column = 0
            for j in range(1, columns):
                value = best[j * channels + k]
                i = row[j * channels + k]
                if value != value or value > top or (value == top and i < at_row):
                    top = value
                    at_row = i
                    at_column = j
                if top != top:
                    break
            if not np.isfinite(top):
                cells[b, k, 0] = np.nan
                cells[b, k, 1] = np.nan
                score[b, k] = np.nan
            elif top <= 0:
                cells[b, k, 0] = np.nan
                cells[b, k, 1] = np.nan
                score[b, k] = 0
            else:
                cells[b, k, 0] = at_column
                cells[b, k, 1] = at_row
                score[b, k] = top


@kernel
def strongest(maps: Float32, rows: int, columns: int, apart: int, floor: float, cells: Float32, score: Float32) -> None:
    """Write the highest peaks of every map, the highest first; places without a peak become NaN with score 0.

    A peak is the highest cell within ``apart`` cells on all sides, diagonals included (non-maximum suppression; Neubeck
    & Van Gool 2006): of two maxima closer than that only the higher one counts, of equal ones the first.

    Args:
        maps: (B, h, w, K), contiguous.
        rows: height of the part that is searched.
        columns: its width.
        apart: least distance of two peaks, in cells along x or y.
        floor: values under it, and values not above 0, are no peak.
        cells: (I, B, K, 2), output: x and y.
        score: (I, B, K), output.
    """
    individuals, batch, channels = score.shape
    for b in range(batch):
        for k in range(channels):
            for i in range(individuals):
                cells[i, b, k, 0] = np.nan
                cells[i, b, k, 1] = np.nan
                score[i, b, k] = 0
        for row in range(rows):
            for column in range(columns):
                for k in range(channels):
                    value = maps[b, row, column, k]
                    # Most cells end here; a NaN does not.
                    if value <= 0 or value < floor:
                        continue
                    if not np.isfinite(value):
                        score[0, b, k] = np.nan
                    if np.isnan(score[0, b, k]) or value <= score[individuals - 1, b, k]:
                        continue
                    if not _is_peak(maps, b, row, column, k, rows, columns, apart):
                        continue
                    at = individuals - 1
                    while at > 0 and value > score[at - 1, b, k]:
                        score[at, b, k] = score[at - 1, b, k]
                        cells[at, b, k, 0] = cells[at - 1, b, k, 0]
                        cells[at, b, k, 1] = cells[at - 1, b, k, 1]
                        at -= 1
                    score[at, b, k] = value
                    cells[at, b, k, 0] = column
                    cells[at, b, k, 1] = row
        for k in range(channels):
            if np.isnan(score[0, b, k]):
                for i in range(individuals):
                    cells[i, b, k, 0] = np.nan
                    cells[i, b, k, 1] = np.nan
                    score[i, b, k] = np.nan


@kernel
def _is_peak(maps: Float32, b: int, row: int, column: int, k: int, rows: int, columns: int, apart: int) -> bool:
    value = maps[b, row, column, k]
    for i in range(max(row - apart, 0), min(row + apart + 1, rows)):
        for j in range(max(column - apart, 0), min(column + apart + 1, columns)):
            other = maps[b, i, j, k]
            before = i < row or (i == row and j < column)
            if other > value or (before and other == value):
                return False
    return True


@kernel
def centroid(maps: Float32, rows: int, columns: int, window: int, cells: Float32, score: Float32) -> None:
    """Write the score-weighted mean of the window around the highest cell of every map.

    Args:
        maps: (B, h, w, K), contiguous.
        rows: height of the part that is searched.
        columns: its width.
        window: side of the window in cells, odd.
        cells: (B, K, 2), output: x and y.
        score: (B, K), output: the highest value.
    """
    argmax(maps, rows, columns, cells, score)
    weigh(maps, rows, columns, window, cells)


@kernel
def weigh(maps: Float32, rows: int, columns: int, window: int, cells: Float32) -> None:
    """Move points from their cells to the score-weighted mean of the window around.

    Negative values weigh nothing. At the border the window shrinks on both sides of the peak: a window cut on one side
    only would pull every point inwards.

    Args:
        maps: (B, h, w, K), contiguous.
        rows: height of the part that is searched.
        columns: its width.
        window: side of the window in cells, odd.
        cells: (B, K, 2), whole cells in, points out; NaN stays.
    """
    half = window // 2
    for b in range(maps.shape[0]):
        for k in range(maps.shape[3]):
            if np.isnan(cells[b, k, 0]):
                continue
            column = int(cells[b, k, 0])
            row = int(cells[b, k, 1])
            across = min(half, column, columns - 1 - column)
            down = min(half, row, rows - 1 - row)
            total = 0.0
            right = 0.0
            below = 0.0
            for i in range(-down, down + 1):
                for j in range(-across, across + 1):
                    weight = max(maps[b, row + i, column + j, k], np.float32(0))
                    total += weight
                    right += weight * j
                    below += weight * i
            cells[b, k, 0] += right / total
            cells[b, k, 1] += below / total


@kernel
def locref(
    maps: Float32, offsets: Float32, rows: int, columns: int, scale: float, cells: Float32, score: Float32
) -> None:
    """Write the highest cell of every map plus what the offset head says there.

    Args:
        maps: (B, h, w, K), contiguous.
        offsets: (B, h, w, 2K): x, y of the first map, x, y of the second…
        rows: height of the part that is searched.
        columns: its width.
        scale: cells for one unit of the offset head (``locref_std / stride``).
        cells: (B, K, 2), output: x and y; NaN where the offset is not finite, with a NaN score.
        score: (B, K), output.
    """
    argmax(maps, rows, columns, cells, score)
    shift(offsets, scale, cells, score)


@kernel
def shift(offsets: Float32, scale: float, cells: Float32, score: Float32) -> None:
    """Move points from their cells by what the offset head says there.

    Args:
        offsets: (B, h, w, 2K): x, y of the first map, x, y of the second…
        scale: cells for one unit of the offset head.
        cells: (B, K, 2), whole cells in, points out; NaN stays.
        score: (B, K), becomes NaN with the point where the offset is not finite.
    """
    for b in range(cells.shape[0]):
        for k in range(cells.shape[1]):
            if np.isnan(cells[b, k, 0]):
                continue
            column = int(cells[b, k, 0])
            row = int(cells[b, k, 1])
            right = offsets[b, row, column, 2 * k]
            below = offsets[b, row, column, 2 * k + 1]
            if np.isfinite(right) and np.isfinite(below):
                cells[b, k, 0] += right * scale
                cells[b, k, 1] += below * scale
            else:
                cells[b, k, 0] = np.nan
                cells[b, k, 1] = np.nan
                score[b, k] = np.nan


@kernel
def passthrough(points: Float32, cells: Float32, score: Float32) -> None:
    """Take points that the graph has decoded itself.

    Args:
        points: (B, K, 3): x, y in network pixels (a "cell" is one pixel here), score.
        cells: (B, K, 2), output; NaN where anything of the point is not finite or its score is not above 0.
        score: (B, K), output; NaN where anything of the point is not finite.
    """
    for b in range(points.shape[0]):
        for k in range(points.shape[1]):
            x = points[b, k, 0]
            y = points[b, k, 1]
            value = points[b, k, 2]
            finite = np.isfinite(x) and np.isfinite(y) and np.isfinite(value)
            seen = finite and value > 0
            cells[b, k, 0] = x if seen else np.nan
            cells[b, k, 1] = y if seen else np.nan
            score[b, k] = max(value, np.float32(0)) if finite else np.nan
