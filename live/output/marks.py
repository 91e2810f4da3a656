"""Which poses are worth a person's look: marked while they are recorded, taken for labelling afterwards.

A mark is a row of the log's table ``mark``: a trigger count, and why. Nobody in the loop has to do anything for it: the
recorder sees poses, decisions and notes on their way into the log.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from poseloop.live.errors import DataError
from poseloop.live.output import wire
from poseloop.live.types import Float32

__all__ = ["ALARM", "HELD", "SCORE", "Marker", "counting", "lowest"]

SCORE = "score"
"""A keypoint's score is under the model's gate."""
HELD = "held"
"""A stimulus was held back because a keypoint's score was too low."""
ALARM = "alarm"
"""A protocol has noted ``alarm``."""

_GATE = 0.5
"""Where the model has none of its own."""


def counting(score: Float32) -> npt.NDArray[np.bool_]:
    """Animals whose points count, (N, I): those that are there, and all where nobody is.

    Args:
        score: (N, I, K), NaN or 0 where nothing was seen.
    """
    there = np.any(score > 0, axis=2)
    counted: npt.NDArray[np.bool_] = there | ~there.any(axis=1, keepdims=True)
    return counted


def lowest(score: Float32) -> npt.NDArray[np.float64]:
    """The least sure keypoint of each pose, (N,); 0 = one was not seen.

    Args:
        score: (N, I, K); see `counting`.
    """
    least: npt.NDArray[np.float64] = np.where(counting(score)[..., None], np.nan_to_num(score), np.inf).min(axis=(1, 2))
    return least


class Marker:
    """Finds what is to be marked in the rows of a session."""

    def __init__(self, gate: float) -> None:
        """Keep the model's gate; 0 = it has none."""
        self._gate = gate or _GATE

    def look(self, table: str, row: Sequence[Any]) -> tuple[int, str] | None:
        """The mark that a row gives, as a row of table ``mark``; None = it gives none.

        Args:
            table: any.
            row: values in the order of its columns.
        """
        match table:
            case "pose":
                _, index, _, _, message, _ = row
                try:
                    score = wire.unpack_pose(message).score
                except DataError:
                    # It goes into the log as it came; a recording does not end over a mark.
                    return None
                if lowest(score[None])[0] < self._gate:
                    return index, SCORE
            case "trigger" if row[9] == "held: low score":
                return row[0], HELD
            case "event" if row[2] == "note":
                values = json.loads(row[3])
                if values.get("name") == ALARM and isinstance(values.get("index"), int):
                    return values["index"], ALARM
        return None
