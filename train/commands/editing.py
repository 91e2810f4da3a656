"""``poseloop labels PROJECT rename|merge|drop|swap|take``: labels that are there, changed, and kept as they were."""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from poseloop.live.errors import ConfigError, DataError
from poseloop.train import editing, labels, mirror, projects, suspicious, trackfiles
from poseloop.train.editing import Conflict, Sheet
from poseloop.train.labelfiles import label_files
from poseloop.train.projects import PICTURES, Project

__all__ = ["add_actions", "run"]

_SHOWN = 20
"""Conflicts that are listed."""


def add_actions(parser: argparse.ArgumentParser) -> None:
    """Declare what can be done to labels; without an action they are only looked at."""
    actions = parser.add_subparsers(
        dest="action", metavar="ACTION", title="change labels; what was there is copied to PROJECT/backups first"
    )
    rename = actions.add_parser("rename", help="give keypoints other names")
    rename.add_argument("names", nargs="+", metavar="OLD=NEW")
    merge = actions.add_parser("merge", help="make one keypoint of two: the first fills in where the other is missing")
    merge.add_argument("names", nargs="+", metavar="FROM=INTO")
    drop = actions.add_parser("drop", help="leave keypoints out")
    drop.add_argument("names", nargs="+", metavar="KEYPOINT")
    swap = actions.add_parser("swap", help="exchange left and right")
    swap.add_argument(
        "frames",
        nargs="*",
        metavar="FRAME",
        help="m1/img0001.png, or its picture's path (default: those in which the sides look swapped)",
    )
    swap.add_argument(
        "--pairs", nargs="+", metavar="LEFT:RIGHT", help="only these (default: the project's symmetries, or by names)"
    )
    take = actions.add_parser("take", help="add other labels: another project's, or a corrected file of these")
    take.add_argument("other", type=Path, metavar="PROJECT|FILE")
    take.add_argument(
        "--no-new", action="store_true", help="only labels of pictures that are here already: no picture is added"
    )
    for action in (merge, take):
        action.add_argument(
            "--prefer",
            choices=("ours", "theirs"),
            default="",
            help="which label stays where two differ; theirs: the one that is added (default: list them, change "
            "nothing)",
        )
    for action in (rename, merge, drop, swap, take):
        action.add_argument("--dry-run", action="store_true", help="say what would change, and change nothing")


def run(arguments: argparse.Namespace) -> int:
    """Change, show, write."""
    trackfiles.needs("deeplabcut")
    root = projects.root(arguments.project)
    project = projects.described(root)
    if arguments.action in ("rename", "merge", "drop") and not projects.is_own(root):
        raise ConfigError(
            f"{root}: a DeepLabCut project's configuration is not changed by Poseloop: make a project of it with "
            f"`poseloop import {root} NEW`, and edit that"
        )
    if arguments.action == "take":
        return _take(arguments, root, project)
    labelled = editing.sheets(root, project.scorer)
    guessed = editing.guesses(root) if arguments.action != "swap" else []
    if arguments.action == "swap" and not labelled:
        raise DataError(
            f"{root}: expected labels in {PICTURES}/*/CollectedData_*.csv or .h5; `poseloop import` makes a project of "
            f"others"
        )
    _say_left_alone(labelled)
    there = [*labelled, *guessed]
    conflicts: list[Conflict] = []
    new: Project | None = None
    match arguments.action:
        case "rename":
            names = _pairs(arguments.names, project)
            made = [editing.rename(sheet, names) for sheet in there]
            new = _renamed(project, names)
        case "merge":
            names = _pairs(arguments.names, project)
            made = there
            for source, into in names.items():
                _known([into], project)
                both = [editing.merge(sheet, source, into, arguments.prefer) for sheet in made]
                made = [sheet for sheet, _ in both]
                conflicts += [conflict for _, found in both for conflict in found]
            new = _renamed(project, names)
        case "drop":
            _known(arguments.names, project)
            made = [editing.drop(sheet, arguments.names) for sheet in there]
            new = _renamed(project, dict.fromkeys(arguments.names, ""))
        case _:
            made = _swapped(arguments, root, project, there)
    changed = [after for before, after in zip(there, made, strict=True) if after is not before]
    return _finish(arguments, root, there, changed, conflicts, new, {})


def _pairs(words: Sequence[str], project: Project) -> dict[str, str]:
    found = {}
    for word in words:
        old, equals, name = word.partition("=")
        if not (old and equals and name) or old in found or old == name:
            raise ConfigError(f"expected two names joined by =, such as nose=snout, each once, but got {word!r}")
        found[old] = name
    _known(list(found), project)
    return found


def _known(names: Sequence[str], project: Project) -> None:
    unknown = [name for name in names if name not in project.keypoints]
    if unknown:
        raise ConfigError(f"expected some of {', '.join(project.keypoints)}, but got {', '.join(unknown)}")


def _renamed(project: Project, names: Mapping[str, str]) -> Project:
    """What project.toml says afterwards; a keypoint that is called nothing is gone, pairs with it, too."""

    def new(given: Sequence[str]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for one in given if (name := names.get(one, one))))

    def both(pairs: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
        made = [(names.get(a, a), names.get(b, b)) for a, b in pairs]
        return tuple(dict.fromkeys(pair for pair in made if all(pair) and pair[0] != pair[1]))

    values = project.model_dump() | {
        "keypoints": new(project.keypoints),
        "unique": new(project.unique),
        "skeleton": both(project.skeleton),
        "symmetries": both(project.symmetries),
    }
    try:
        return Project.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ConfigError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def _swapped(arguments: argparse.Namespace, root: Path, project: Project, there: Sequence[Sheet]) -> list[Sheet]:
    names = project.keypoints
    known = projects.pairs(arguments.pairs) if arguments.pairs else project.symmetries
    pairs = known or tuple((names[k], names[p]) for k, p in enumerate(mirror.partners(names)) if k < p)
    _known([name for pair in pairs for name in pair], project)
    if not pairs:
        raise ConfigError("expected --pairs LEFT:RIGHT: neither names nor the project tell left from right")
    wanted: list[tuple[str, str, tuple[tuple[str, str], ...], str | None]] = []
    if arguments.frames:
        for word in arguments.frames:
            parts = Path(word).parts
            wanted.append((parts[-2] if len(parts) > 1 else "", parts[-1], tuple(pairs), None))
    else:
        given = labels.read(root)
        for one in suspicious.find(given):
            if one.kind == "sides" and frozenset(one.keypoints) in map(frozenset, pairs):
                who = given.individuals[one.individual] if len(given.individuals) > 1 else None
                wanted.append((one.frame.video, one.frame.path.name, ((one.keypoints[0], one.keypoints[1]),), who))
    made = list(there)
    for video, picture, sides, who in wanted:
        here = [
            number for number, sheet in enumerate(made) if picture in sheet.rows and video in ("", sheet.folder.name)
        ]
        if len(here) != 1:
            what = "is in several recordings: expected RECORDING/PICTURE" if here else "has no labels"
            raise DataError(f"{video}/{picture}".lstrip("/") + f" {what}")
        made[here[0]] = editing.exchange(made[here[0]], picture, sides, who)
    return made


def _take(arguments: argparse.Namespace, root: Path, project: Project) -> int:
    there = [*editing.sheets(root, project.scorer), *editing.guesses(root)]
    other = arguments.other
    theirs = [editing.sheet(other)] if other.is_file() else editing.sheets(other, projects.described(other).scorer)
    if any(sheet.guessed for sheet in theirs):
        raise DataError(
            f"{other}: expected labels, but these are a model's guesses: correct them in napari, and save them as "
            f"labels"
        )
    if not theirs:
        raise DataError(f"{other}: expected labels in {PICTURES}/*/CollectedData_*.csv or .h5, but there are none")
    if not other.is_file():
        _say_left_alone(theirs)
    ours = {sheet.folder.name: sheet for sheet in there if not sheet.guessed}
    changed, conflicts, added = [], [], {}
    for sheet in theirs:
        folder = root / PICTURES / sheet.folder.name
        mine = ours.get(sheet.folder.name)
        if arguments.no_new:
            here = {name: points for name, points in sheet.rows.items() if (folder / name).is_file()}
            left = len(sheet.rows) - len(here)
            if left:
                print(f"{sheet.folder.name}: {left} of {len(sheet.rows)} labelled pictures are not here: left out")
            if not here:
                continue
            sheet = replace(sheet, rows=here)
        made, found = editing.take(mine, sheet, folder, project.scorer, arguments.prefer)
        unknown = {point for _, point in made.columns} - set(project.keypoints)
        if unknown:
            raise DataError(
                f"{sheet.folder}: expected keypoints of the project, but got {', '.join(sorted(unknown))}: rename or "
                f"drop them first"
            )
        conflicts += found
        if mine is None or _cells(mine) != _cells(made):
            changed.append(made)
        for name in sheet.rows:
            source, picture = sheet.folder / name, folder / name
            if not picture.is_file():
                if not source.is_file():
                    raise DataError(f"{source}: expected the picture of these labels, but there is none")
                added[source] = picture
            elif source.is_file() and _digest(source) != _digest(picture):
                raise DataError(f"{source} and {picture} are different pictures of one name: rename a recording")
        # napari-deeplabcut would save guesses over the new labels.
        labelled = {name for name, points in made.rows.items() if not np.isnan(points).all()}
        for guess in (one for one in there if one.guessed and one.folder == folder):
            unlabelled = {name: points for name, points in guess.rows.items() if name not in labelled}
            if len(unlabelled) < len(guess.rows):
                changed.append(replace(guess, rows=unlabelled))
    return _finish(arguments, root, there, changed, conflicts, None, added)


def _say_left_alone(used: Sequence[Sheet]) -> None:
    """Name what other people have labelled in the same recordings: of several people's labels one's are used."""
    for sheet in used:
        others = sorted(label_files(sheet.folder, "CollectedData_*").keys() - {sheet.stem})
        if others:
            print(
                f"{sheet.folder.name}: {sheet.stem} is used; {', '.join(others)} is left alone: `take` adds such a "
                f"file to it",
                file=sys.stderr,
            )


def _digest(file: Path) -> bytes:
    return hashlib.sha256(file.read_bytes()).digest()


def _finish(
    arguments: argparse.Namespace,
    root: Path,
    there: Sequence[Sheet],
    changed: Sequence[Sheet],
    conflicts: Sequence[Conflict],
    new: Project | None,
    added: Mapping[Path, Path],
) -> int:
    """Show what changes, and write it unless there is an open question."""
    for conflict in conflicts[:_SHOWN]:
        print(conflict)
    if len(conflicts) > _SHOWN:
        print(f"… and {len(conflicts) - _SHOWN} more")
    if conflicts and not arguments.prefer:
        print(
            f"poseloop: error: {len(conflicts)} points have two labels, see above; nothing was changed. --prefer ours "
            f"or --prefer theirs decides",
            file=sys.stderr,
        )
        return 1
    before = {(sheet.folder, sheet.stem): sheet for sheet in there}
    for sheet in changed:
        what = "guesses: " if sheet.guessed else ""
        print(f"{sheet.folder.name}: {what}{_difference(before.get((sheet.folder, sheet.stem)), sheet)}")
    if not changed and new is None:
        print("nothing to change")
    elif arguments.dry_run:
        print("nothing was changed (--dry-run)")
    else:
        backup = editing.save(root, changed, new, added)
        print(f"what was there is in {backup}")
    return 0


def _cells(sheet: Sheet) -> dict[tuple[str, str, str], tuple[float, float]]:
    """(picture, individual, keypoint) → x, y of all that is labelled."""
    return {
        (name, *column): (float(point[0]), float(point[1]))
        for name, points in sheet.rows.items()
        for column, point in zip(sheet.columns, points, strict=True)
        if point[0] == point[0]
    }


def _difference(before: Sheet | None, after: Sheet) -> str:
    """Counts of pictures, and of points by keypoint, that are new, gone or elsewhere."""
    old, now = ({} if before is None else _cells(before)), _cells(after)
    counts: Counter[tuple[str, str]] = Counter()
    for key in old.keys() | now.keys():
        if old.get(key) != now.get(key):
            counts["new" if key not in old else "gone" if key not in now else "moved", key[2]] += 1
    parts = [f"{point}: {count} {what}" for (what, point), count in sorted(counts.items(), key=lambda one: one[0][1])]
    pictures = len(after.rows.keys() - (set() if before is None else before.rows.keys()))
    return "; ".join(([f"{pictures} more pictures labelled"] if pictures else []) + parts) or "names only"
