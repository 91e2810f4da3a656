"""Pictures that a session's network was unsure of, with its guess, as a folder that DeepLabCut's tools open."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from poseloop.live.errors import DataError
from poseloop.live.output.footage import pictures
from poseloop.live.output.marks import SCORE, lowest
from poseloop.live.output.session import Session
from poseloop.live.types import Colour, Float32
from poseloop.train import frames
from poseloop.train.labelwriter import write_guesses
from poseloop.train.sessions.tracks import individuals, pictures_of, scorer
from poseloop.train.trackfiles import needs

__all__ = ["Doubt", "choose", "to_labelling"]


@dataclass(frozen=True, slots=True)
class Doubt:
    """One pose that is worth a look."""

    sequence: int
    index: int
    score: float
    """The lowest of its keypoints; 0 = not seen."""
    why: str
    """As in `poseloop.live.output.marks`."""


def choose(session: Session, count: int) -> list[Doubt]:
    """The poses of a session that were marked, at most ``count``, spread over its time.

    Those at which a stimulus was held back or an alarm was noted come first, then those whose score was low. Those of
    which no picture was recorded are left out.
    """
    taken = {camera: session.frames(camera).index for camera in session.footage}
    marks: dict[int, str] = {}
    for index, why in session.marks():
        if why != SCORE or index not in marks:
            marks[index] = why
    urgent: list[Doubt] = []
    doubtful: list[Doubt] = []
    for block in session.pose_columns() if marks else ():
        shown = np.zeros(len(block), bool)
        for camera, indices in taken.items():
            shown |= np.isin(block.frames[:, session.cameras.index(camera)], indices[indices >= 0])
        values = block.sequence.tolist(), block.index.tolist(), lowest(block.score).tolist(), shown.tolist()
        for sequence, index, score, is_shown in zip(*values, strict=True):
            if is_shown and index in marks:
                (doubtful if marks[index] == SCORE else urgent).append(Doubt(sequence, index, score, marks[index]))
    chosen = _spread(urgent, count)
    return sorted([*chosen, *_spread(doubtful, count - len(chosen))], key=lambda item: item.sequence)


def _spread(found: Sequence[Doubt], count: int) -> list[Doubt]:
    """The least sure one of each of ``count`` parts, in order of time; neighbours show the same picture."""
    if count <= 0 or not found:
        return []
    parts = min(count, len(found))
    edges = [round(part * len(found) / parts) for part in range(parts + 1)]
    return [min(found[start:stop], key=lambda item: item.score) for start, stop in itertools.pairwise(edges)]


def to_labelling(session: Session, out: Path, count: int) -> list[Path]:
    """Write pictures and guesses to ``OUT/labeled-data/SESSION_CAMERA``; returns the folders.

    Args:
        session: opened.
        out: a project's folder, or a new one.
        count: poses at most; each gives a picture of every camera.

    Raises:
        DataError: nothing is doubtful, there is no video, a package is missing, or a file cannot be written.
    """
    needs("deeplabcut")
    if not session.footage:
        raise DataError(f"{session.folder}: expected videos, but no camera was recorded")
    doubts = {doubt.sequence for doubt in choose(session, count)}
    if not doubts:
        raise DataError(
            f"{session.folder}: the network was sure of every pose that was recorded; `poseloop frames PROJECT VIDEO` "
            f"chooses by other means"
        )
    poses: list[tuple[list[int], Float32, Float32]] = []
    for block in session.pose_columns():
        for row in np.flatnonzero([sequence in doubts for sequence in block.sequence.tolist()]):
            poses.append((block.frames[row].tolist(), block.xy[row].copy(), block.camera_score[row].copy()))
    folders = []
    for number, camera in enumerate(session.cameras):
        if camera not in session.footage:
            continue
        indices = session.frames(camera).index
        rows = pictures_of(indices, np.array([frames[number] for frames, _, _ in poses], np.int64))
        guesses = {
            int(row): (xy[number], score[number]) for row, (_, xy, score) in zip(rows, poses, strict=True) if row >= 0
        }
        if not guesses:
            continue
        folder = out / "labeled-data" / f"{session.folder.resolve().name}_{camera}"
        names = _pictures(session, camera, folder, sorted(guesses), len(indices))
        columns = [(who, point) for who in individuals(session) or ("",) for point in session.keypoints]
        found = {
            name: np.concatenate([xy, score[..., None]], axis=-1).reshape(-1, 3)
            for name, (xy, score) in ((names[row], guesses[row]) for row in names)
        }
        write_guesses(folder, scorer(session), columns, found)
        folders.append(folder)
    return folders


def _pictures(session: Session, camera: str, folder: Path, rows: Sequence[int], length: int) -> dict[int, str]:
    """Write the pictures of a video's rows; returns the name of each."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder}: the folder cannot be made: {error.strerror}") from error
    names, wanted = {}, set(rows)
    stop = max(wanted, default=-1) + 1
    for row, picture in enumerate(itertools.islice(pictures(session.footage[camera], Colour.BGR), stop)):
        if row in wanted:
            names[row] = frames.name(row, length)
            if not cv2.imwrite(str(folder / names[row]), picture):
                raise DataError(f"{folder / names[row]}: cannot be written")
    return names
