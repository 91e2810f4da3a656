"""Changes to labels that are there: keypoints renamed, merged, dropped; sides exchanged; two sets made one.

Nothing is lost: what was there is copied to ``backups/<time>`` first, new files are written whole beside it, and only
then do they take the old ones' places. A file of which a cell cannot be understood is not edited, since that cell would
be gone. A model's guesses change with the labels: they are what the next labels start from.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from poseloop.live.errors import ConfigError, DataError
from poseloop.train import projects
from poseloop.train.labelfiles import ANIMAL, Severity, label_files, read_table
from poseloop.train.labelwriter import write_table
from poseloop.train.projects import PICTURES, Project

__all__ = ["Conflict", "Sheet", "drop", "exchange", "guesses", "merge", "rename", "save", "sheet", "sheets", "take"]

_Points = npt.NDArray[np.float64]
_SAME_PX = 1e-3
"""Labels that are this near to each other are the same."""
BACKUPS = "backups"
_GUESSED = "machinelabels-iter"
"""How names of files of guesses begin: Poseloop's and DeepLabCut's own, of any round."""


@dataclass(frozen=True, slots=True, eq=False)
class Sheet:
    """The labels of one recording, or a model's guesses."""

    folder: Path
    stem: str
    """Of the file's name."""
    scorer: str
    columns: tuple[tuple[str, str], ...]
    """(individual, keypoint); the layout of one animal calls no individual anything."""
    rows: Mapping[str, _Points] = field(repr=False)
    """Name of a picture → (columns, 2) px, guesses (columns, 3) with their likelihood; NaN = unlabelled."""

    @property
    def guessed(self) -> bool:
        """By a model?"""
        return self.stem.startswith(_GUESSED)


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two labels of the same point."""

    recording: str
    picture: str
    point: str
    ours: tuple[float, float]
    theirs: tuple[float, float]

    def __str__(self) -> str:
        far = float(np.hypot(self.ours[0] - self.theirs[0], self.ours[1] - self.theirs[1]))
        return (
            f"{self.recording}/{self.picture}: {self.point}: ({self.ours[0]:.1f}, {self.ours[1]:.1f}) or "
            f"({self.theirs[0]:.1f}, {self.theirs[1]:.1f}), {far:.1f} px apart"
        )


def sheets(root: Path, scorer: str) -> list[Sheet]:
    """Read the labels of a project, recording by recording; of several people's, those of ``scorer``.

    Raises:
        DataError: a cell cannot be understood.
    """
    found = []
    for folder in _folders(root):
        files = label_files(folder, "CollectedData_*")
        if files:
            found.append(sheet(files.get(f"CollectedData_{scorer}", files[min(files)])))
    return found


def guesses(root: Path) -> list[Sheet]:
    """Read what models guessed for pictures of a project.

    Raises:
        DataError: a cell cannot be understood.
    """
    return [sheet(file) for folder in _folders(root) for _, file in sorted(label_files(folder, f"{_GUESSED}*").items())]


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in (root / PICTURES).glob("*") if path.is_dir())


def sheet(file: Path) -> Sheet:
    """Read one file of labels or guesses; its folder is the recording's.

    Raises:
        DataError: it cannot be read, or a cell of it cannot be understood.
    """
    guessed = file.stem.startswith(_GUESSED)
    table = read_table(file, f"{file.parent.name}/{file.name}", guessed)
    wrong = [problem for problem in table.problems if problem.severity is Severity.ERROR]
    if wrong:
        raise DataError("expected labels that can be understood; mend them first:\n  " + "\n  ".join(map(str, wrong)))
    several = table.individuals != (ANIMAL,)
    places = [(table.individuals.index(who), table.keypoints.index(name)) for who, name in table.columns]
    columns = table.columns if several else tuple(("", name) for _, name in table.columns)
    rows: dict[str, _Points] = {}
    for row in table.rows:
        name = row.picture.rsplit("/", 1)[-1]
        values = np.concatenate([row.xy, row.likelihood[..., None]], axis=-1) if guessed else row.xy
        points = np.array([values[i, k] for i, k in places])
        if name in rows and not np.array_equal(rows[name], points, equal_nan=True):
            raise DataError(f"{file}: {name} is there twice, with other points: expected one row for each picture")
        rows[name] = points
    scorer = table.scorer if guessed else file.stem.removeprefix("CollectedData_")
    return Sheet(file.parent, file.stem, scorer, columns, rows)


def rename(sheet: Sheet, names: Mapping[str, str]) -> Sheet:
    """Give keypoints other names: old → new; the points stay.

    Raises:
        ConfigError: two keypoints would have one name.
    """
    columns = tuple((who, names.get(point, point)) for who, point in sheet.columns)
    if len(set(columns)) < len(columns):
        raise ConfigError(f"{sheet.folder}: two keypoints would have one name: `merge` makes one of two")
    return replace(sheet, columns=columns)


def drop(sheet: Sheet, names: Sequence[str]) -> Sheet:
    """Leave keypoints out."""
    kept = [place for place, (_, point) in enumerate(sheet.columns) if point not in names]
    rows = {name: points[kept] for name, points in sheet.rows.items()}
    return replace(sheet, columns=tuple(sheet.columns[place] for place in kept), rows=rows)


def merge(sheet: Sheet, source: str, into: str, prefer: str = "") -> tuple[Sheet, list[Conflict]]:
    """Make one keypoint of two.

    Args:
        sheet: the labels.
        source: fills in where ``into`` is not labelled, and is gone.
        into: stays.
        prefer: ``ours``: where both are labelled ``into`` stays; ``theirs``: ``source`` takes its place. Of two
            guesses, the likelier one stays.

    Returns:
        The labels, and where both were labelled in different places; guesses have no such conflicts.
    """
    rows = {name: points.copy() for name, points in sheet.rows.items()}
    conflicts = []
    for place, (who, point) in enumerate(sheet.columns):
        if point != source or (who, into) not in sheet.columns:
            continue
        goal = sheet.columns.index((who, into))
        for name, points in rows.items():
            if sheet.guessed:
                likelier = points[place, 2] > points[goal, 2]
                points[goal] = _one(points[goal], points[place], "theirs" if likelier else "ours")
                continue
            if _differ(points[goal], points[place]):
                conflicts.append(_conflict(sheet, name, f"{who} {into}".strip(), points[goal], points[place]))
            points[goal] = _one(points[goal], points[place], prefer)
    # Where an animal has no column of that name, the source's own gets it.
    columns = tuple(
        (who, into if point == source and (who, into) not in sheet.columns else point) for who, point in sheet.columns
    )
    return drop(replace(sheet, columns=columns, rows=rows), [source]), conflicts


def exchange(sheet: Sheet, picture: str, pairs: Sequence[tuple[str, str]], individual: str | None = None) -> Sheet:
    """Exchange left and right of one picture.

    Args:
        sheet: the labels.
        picture: its name.
        pairs: keypoints that change places.
        individual: whose; None: of all.
    """
    points = sheet.rows[picture].copy()
    for left, right in pairs:
        for place, (who, point) in enumerate(sheet.columns):
            if point == left and (who, right) in sheet.columns and individual in (None, who):
                other = sheet.columns.index((who, right))
                points[[place, other]] = points[[other, place]]
    return replace(sheet, rows={**sheet.rows, picture: points})


def take(
    ours: Sheet | None, theirs: Sheet, folder: Path, scorer: str, prefer: str = ""
) -> tuple[Sheet, list[Conflict]]:
    """Add other labels of a recording to ours.

    Args:
        ours: None: we have none of this recording.
        theirs: to be added; they may lack columns, but have no others.
        folder: of the recording, in our project.
        scorer: whose the labels are from now on, if we have none.
        prefer: ``ours`` or ``theirs``, where both labelled a point in different places.

    Returns:
        All labels, and where both labelled a point in different places.

    Raises:
        DataError: they have keypoints or individuals that we have not.
    """
    if ours is None:
        return Sheet(folder, f"CollectedData_{scorer}", scorer, theirs.columns, theirs.rows), []
    strangers = [" ".join(column).strip() for column in theirs.columns if column not in ours.columns]
    if strangers:
        raise DataError(
            f"{theirs.folder}: expected keypoints that {ours.folder} has, too, but got {', '.join(strangers)}: rename "
            f"or drop them first"
        )
    places = [ours.columns.index(column) for column in theirs.columns]
    rows = {name: points.copy() for name, points in ours.rows.items()}
    conflicts = []
    for name, other in theirs.rows.items():
        points = rows.setdefault(name, np.full((len(ours.columns), 2), np.nan))
        for place, point in zip(places, other, strict=True):
            if _differ(points[place], point):
                words = " ".join(ours.columns[place]).strip()
                conflicts.append(_conflict(ours, name, words, points[place], point))
            points[place] = _one(points[place], point, prefer)
    return replace(ours, rows=rows), conflicts


def _differ(ours: _Points, theirs: _Points) -> bool:
    return bool(np.isfinite(ours).all() and np.isfinite(theirs).all() and np.abs(ours - theirs).max() > _SAME_PX)


def _one(ours: _Points, theirs: _Points, prefer: str) -> _Points:
    if np.isnan(theirs[:2]).any():
        return ours
    return theirs if np.isnan(ours[:2]).any() or prefer == "theirs" else ours


def _conflict(sheet: Sheet, picture: str, point: str, ours: _Points, theirs: _Points) -> Conflict:
    places = [(float(xy[0]), float(xy[1])) for xy in (ours, theirs)]
    return Conflict(sheet.folder.name, picture, point, places[0], places[1])


def save(
    root: Path, made: Sequence[Sheet], project: Project | None = None, added: Mapping[Path, Path] | None = None
) -> Path:
    """Write labels, after a copy of what was there. What fails or is ended half-way is undone.

    Args:
        root: the project's folder.
        made: what has changed.
        project: what ``project.toml`` says from now on; None: as before.
        added: pictures: where from → where to, none of them there yet.

    Returns:
        The folder with the copies.

    Raises:
        DataError: a file cannot be written; then the project is as it was, or the copies are named.
    """
    backup = _fresh(root / BACKUPS)
    draft = backup / "new"
    pictures = dict(added or {})
    configs = () if project is None else ("project.toml", "config.yaml")
    old = [root / name for name in configs if (root / name).is_file()]
    for folder in {sheet.folder for sheet in made}:
        old += [file for kind in ("CollectedData_*", "machinelabels*") for file in folder.glob(kind)]
    new = [*pictures.values()]
    changed: list[Path] = []
    try:
        for file in old:
            copy = backup / file.relative_to(root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
        for sheet in made:
            write_table(draft / sheet.folder.name, sheet.stem, sheet.scorer, sheet.columns, sheet.rows)
        for source, picture in pictures.items():
            picture.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, picture)
        for sheet in made:
            sheet.folder.mkdir(parents=True, exist_ok=True)
            for file in sorted((draft / sheet.folder.name).iterdir()):
                place = sheet.folder / file.name
                (changed if place in old else new).append(place)
                file.replace(place)
        changed += [root / name for name in configs if root / name in old]
        if project is not None:
            projects.create(root, project)
    except BaseException as error:
        _undo(root, backup, changed, new, error)
        if isinstance(error, (OSError, DataError)):
            raise DataError(f"{root}: cannot be written: {error}; the labels are as they were") from error
        raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return backup


def _undo(root: Path, backup: Path, changed: Sequence[Path], new: Sequence[Path], cause: BaseException) -> None:
    """Put back the copies of what was changed, all of them whole by then, and take away what is new."""
    try:
        for file in new:
            file.unlink(missing_ok=True)
        for file in changed:
            shutil.copyfile(backup / file.relative_to(root), file)
    except OSError as error:
        raise DataError(
            f"{root}: {cause}, and then: {error}; some labels are changed, and all are in {backup} as they were"
        ) from error
    shutil.rmtree(backup, ignore_errors=True)


def _fresh(folder: Path) -> Path:
    name = time.strftime("%Y-%m-%d_%H%M%S")
    for number in range(1, 1000):
        made = folder / (name if number == 1 else f"{name}-{number}")
        try:
            made.mkdir(parents=True)
        except FileExistsError:
            continue
        return made
    raise DataError(f"{folder}: expected a place for another copy, but there is none")
