"""Score maps to points: where is the highest cell of each map, and what lies around it.

Maps are (B, h, w, K) float32, as the network leaves them: the channels of one cell side by side. Points are written
in *cells*: 0 is the centre of the first cell. What a cell is in the picture is said in `poseloop.live.vision.coords`.

What every kernel keeps to:

- A map that holds a NaN, or whose highest value is infinite, gives NaN as point and as score: such a network saw
  nothing, and NaN passes no gate.
- A map whose highest value is not above 0 gives NaN as point and 0 as score.
- Of several equal highest cells the first counts, row by row (as in ``numpy.argmax``).
- Only the first ``rows`` × ``columns`` cells are looked at: what lies beyond is padding.
"""

from __future__ import annotations

import numpy as np

from poseloop.live.jit import kernel
from poseloop.live.types import Float32

__all__ = ["argmax", "centroid", "locref", "passthrough"]


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
def centroid(maps: Float32, rows: int, columns: int, window: int, cells: Float32, score: Float32) -> None:
    """Write the score-weighted mean of the window around the highest cell of every map.

    Negative values weigh nothing. At the border the window shrinks on both sides of the peak: a window cut on one side
    only would pull every point inwards.

    Args:
        maps: (B, h, w, K), contiguous.
        rows: height of the part that is searched.
        columns: its width.
        window: side of the window in cells, odd.
        cells: (B, K, 2), output: x and y.
        score: (B, K), output: the highest value.
    """
    argmax(maps, rows, columns, cells, score)
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
    for b in range(maps.shape[0]):
        for k in range(maps.shape[3]):
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
