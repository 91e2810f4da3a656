"""Pictures that a session's network was unsure of, with its guess, as a folder that DeepLabCut's tools open."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from poseloop.live.errors import DataError
from poseloop.live.output.footage import pictures
from poseloop.live.output.marks import SCORE, lowest
from poseloop.live.output.session import Session
from poseloop.live.types import Colour, Float32
from poseloop.train import chosen, frames, projects
from poseloop.train.labelwriter import write_guesses
from poseloop.train.projects import PICTURES, Project
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


def choose(session: Session, count: int, there: Mapping[str, Collection[int]] | None = None) -> list[Doubt]:
    """The poses of a session that were marked, at most ``count``, spread over its time.

    Those at which a stimulus was held back or an alarm was noted come first, then those whose score was low. Those of
    which no picture was recorded are left out.

    Args:
        session: opened.
        count: poses at most.
        there: camera → rows of its video that were chosen before; a pose needs another one.
    """
    taken = {camera: session.frames(camera).index for camera in session.footage}
    free = {}
    for camera, indices in taken.items():
        known = (there or {}).get(camera, ())
        free[camera] = indices[~np.isin(np.arange(len(indices)), np.fromiter(known, np.int64, len(known)))]
    marks: dict[int, str] = {}
    for index, why in session.marks():
        if why != SCORE or index not in marks:
            marks[index] = why
    urgent: list[Doubt] = []
    doubtful: list[Doubt] = []
    for block in session.pose_columns() if marks else ():
        shown = np.zeros(len(block), bool)
        for camera, indices in free.items():
            shown |= np.isin(block.frames[:, session.cameras.index(camera)], indices[indices >= 0])
        values = block.sequence.tolist(), block.index.tolist(), lowest(block.score).tolist(), shown.tolist()
        for sequence, index, score, is_shown in zip(*values, strict=True):
            if is_shown and index in marks:
                (doubtful if marks[index] == SCORE else urgent).append(Doubt(sequence, index, score, marks[index]))
    first = _spread(urgent, count)
    return sorted([*first, *_spread(doubtful, count - len(first))], key=lambda item: item.sequence)


def _spread(found: Sequence[Doubt], count: int) -> list[Doubt]:
    """The least sure one of each of ``count`` parts, in order of time; neighbours show the same picture."""
    if count <= 0 or not found:
        return []
    parts = min(count, len(found))
    edges = [round(part * len(found) / parts) for part in range(parts + 1)]
    return [min(found[start:stop], key=lambda item: item.score) for start, stop in itertools.pairwise(edges)]


def to_labelling(session: Session, out: Path, count: int) -> dict[Path, list[Path]]:
    """Write pictures and guesses to ``OUT/labeled-data/SESSION_CAMERA``, none that was chosen before.

    Args:
        session: opened.
        out: a project's folder, or a new one.
        count: poses at most; each gives a picture of every camera.

    Returns:
        Folder → its new pictures.

    Raises:
        DataError: nothing is doubtful, or all of that was chosen before; there is no video, a package is missing, or
            a file cannot be written.
    """
    needs("deeplabcut")
    if not session.footage:
        raise DataError(f"{session.folder}: expected videos, but no camera was recorded")
    recordings = {camera: projects.recording(footage.file) for camera, footage in session.footage.items()}
    there = {camera: chosen.taken(out, name) for camera, name in recordings.items()}
    doubts = {doubt.sequence for doubt in choose(session, count, there)}
    if not doubts:
        before = bool(choose(session, 1))
        what = (
            "all pictures of which the network was unsure were chosen before"
            if before
            else "the network was sure of every pose that was recorded"
        )
        raise DataError(f"{session.folder}: {what}; `poseloop frames PROJECT VIDEO` chooses by other means")
    poses: list[tuple[list[int], Float32, Float32]] = []
    for block in session.pose_columns():
        for row in np.flatnonzero([sequence in doubts for sequence in block.sequence.tolist()]):
            poses.append((block.frames[row].tolist(), block.xy[row].copy(), block.camera_score[row].copy()))
    made = {}
    for number, camera in enumerate(session.cameras):
        if camera not in session.footage:
            continue
        indices = session.frames(camera).index
        rows = pictures_of(indices, np.array([pose[0][number] for pose in poses], np.int64))
        guesses = {
            int(row): np.concatenate([xy[number], score[number][..., None]], axis=-1)
            for row, (_, xy, score) in zip(rows, poses, strict=True)
            if row >= 0 and row not in there[camera]
        }
        folder = out / PICTURES / recordings[camera]
        files = _write(session, camera, folder, guesses, projects.described(out) if projects.is_one(out) else None)
        if files:
            chosen.remember(out, recordings[camera], list(guesses))
            projects.add_recording(out, session.footage[camera].file, recordings[camera])
            made[folder] = files
    return made


def _write(
    session: Session, camera: str, folder: Path, guesses: Mapping[int, Float32], project: Project | None
) -> list[Path]:
    """Write pictures and guesses, all or none: row of the video → (I, K, 3)."""
    files: list[Path] = []
    length, stop = len(session.frames(camera).index), max(guesses, default=-1) + 1
    with frames.together(files):
        poses = {}
        for row, picture in enumerate(itertools.islice(pictures(session.footage[camera], Colour.RGB), stop)):
            if row in guesses:
                files.append(folder / frames.name(row, length))
                frames.save_picture(files[-1], picture)
                poses[files[-1].name] = guesses[row]
        if not files:
            return []
        if project is not None:
            columns, rows = projects.guesses(project, session.keypoints, poses)
        else:
            columns = [(who, point) for who in individuals(session) or ("",) for point in session.keypoints]
            rows = {name: np.asarray(pose, np.float64).reshape(-1, 3) for name, pose in poses.items()}
        write_guesses(folder, scorer(session), columns, rows)
    return files
