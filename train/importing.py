"""Labels of DeepLabCut, Lightning Pose and SLEAP → a Poseloop project, with everything that they hold.

DeepLabCut's folders are copied as they are, since the layout is the same. Lightning Pose's table is parted into
recordings. SLEAP's labelled frames are taken from their videos; its coordinates are taken as they are, as everywhere in
Poseloop.
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml
from pydantic import ValidationError

from poseloop.live.errors import DataError
from poseloop.train import frames, labels, projects, videos
from poseloop.train.labelfiles import read_table
from poseloop.train.labels import Labels
from poseloop.train.labelwriter import write_labels
from poseloop.train.projects import PICTURES, Project

__all__ = ["Imported", "import_project"]

_Float64 = npt.NDArray[np.float64]
_DRAWN = "_labeled"
"""Ending of DeepLabCut's folders of pictures with the labels drawn in."""


@dataclass(frozen=True, slots=True, eq=False)
class Imported:
    """What became of it."""

    labels: Labels
    """As they are read from the new project."""
    notes: tuple[str, ...]
    """What the user should know."""


def import_project(
    source: Path,
    folder: Path,
    look_in: Path | None = None,
    predictions: bool = False,
    every: int = 1,
    done: Callable[[], object] = lambda: None,
) -> Imported:
    """Make a new project of labels that another program wrote.

    Args:
        source: a DeepLabCut project, Lightning Pose's data folder or CSV, or a ``.slp`` file.
        folder: the new project.
        look_in: SLEAP: where videos are, if not where the file says.
        predictions: SLEAP: take predicted animals, too, where no labelled one replaces them.
        every: SLEAP: of the labelled frames, take each n-th.
        done: called for every recording.

    Raises:
        DataError: it cannot be read, something is in the new folder already, or a picture is missing.
    """
    projects.check_new(folder)
    with _fresh(folder) as made:
        known: dict[str, Path] = {}
        if source.suffix.lower() == ".slp":
            notes, known = _sleap(source, made, look_in, predictions, every, done)
        elif (source / "config.yaml").is_file():
            notes = _deeplabcut(source, made, done)
        else:
            notes, known = _lightning_pose(source, made, done)
    projects.root(folder)  # its configuration holds its place
    for name, video in known.items():
        try:
            projects.add_recording(folder, video, name)
        except DataError as error:  # the labels have come, and need no video
            notes.append(f"not listed in config.yaml: {error}")
    return Imported(labels.read(folder), tuple(notes))


@contextmanager
def _fresh(folder: Path) -> Iterator[Path]:
    """A folder of the same name elsewhere, which takes its place when it is whole."""
    folder = folder.resolve()
    # A name that nobody else has: what is removed in the end is ours.
    scratch = folder.with_name(f"{folder.name}.{os.getpid()}.part")
    made = scratch / folder.name
    try:
        scratch.mkdir(parents=True)
        try:
            made.mkdir()
            yield made
            if folder.is_dir():
                # Empty; it may be the one that the user is in, which cannot be replaced.
                for item in made.iterdir():
                    item.rename(folder / item.name)
            else:
                made.rename(folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        raise DataError(f"{folder}: cannot be written: {error}") from error


def _project(file: Path, values: Mapping[str, Any]) -> Project:
    try:
        return Project.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise DataError(f"{file}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def _deeplabcut(source: Path, folder: Path, done: Callable[[], object]) -> list[str]:
    found = labels.read(source)
    # As text, so that a body part called `no` stays one.
    config = yaml.load((source / "config.yaml").read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    several = str(config.get("multianimalproject", "")).lower() == "true"
    unique = config.get("uniquebodyparts") if several else ()
    listed = config.get("video_sets")
    project = _project(
        source / "config.yaml",
        {
            "name": config.get("Task") or source.resolve().name,
            "scorer": config.get("scorer") or "unknown",
            "keypoints": found.keypoints,
            "skeleton": found.skeleton,
            "individuals": tuple(config.get("individuals") or ()) if several else (),
            "unique": tuple(unique or ()),
            "videos": tuple(name for name in (listed if isinstance(listed, dict) else ()) if Path(name).is_file()),
        },
    )
    for recording in sorted(path for path in (source / PICTURES).iterdir() if path.is_dir()):
        if not recording.name.endswith(_DRAWN):
            _copy(sorted(path for path in recording.iterdir() if path.is_file()), folder / PICTURES / recording.name)
            done()
    _copy([source / "config.yaml"], folder)
    projects.create(folder, project)
    return [str(problem) for problem in found.problems]


def _copy(files: Iterable[Path], folder: Path) -> None:
    """Copy what is in files, and not that they may only be read: the new project is there to be edited."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        shutil.copyfile(file, folder / file.name)


def _lightning_pose(source: Path, folder: Path, done: Callable[[], object]) -> tuple[list[str], dict[str, Path]]:
    """Give notes, and recording → its video where that is there."""
    found = labels.read(source)  # says what is wrong with it
    root = found.project
    recordings: dict[str, dict[str, _Float64]] = defaultdict(dict)
    columns: dict[str, list[tuple[str, str]]] = {}
    names: dict[Path, str] = {}
    for table_file in sorted({frame.file for frame in found.frames}):
        table = read_table(root / table_file, table_file)
        for row in table.rows:
            picture = root / row.picture
            if picture.parent not in names:
                # Where all pictures share one folder, the data's name is the recording's.
                stem = picture.parent.name
                stem = root.resolve().name if stem in (PICTURES, "") else stem
                names[picture.parent] = _unlike(stem, names.values())
            name = names[picture.parent]
            points = row.xy.reshape(-1, 2)
            # Of two rows that contradict each other none is a label, as `labels.read` says above.
            if not np.array_equal(recordings[name].get(picture.name, points), points, equal_nan=True):
                points = np.full_like(points, np.nan)
            recordings[name][picture.name] = points
            if not picture.is_file():
                raise DataError(f"{table.name}:{row.number}: expected a picture {picture}, but it is missing")
            _copy([picture], folder / PICTURES / name)
            columns[name] = [("", keypoint) for keypoint in table.keypoints]
    videos_there = root / "videos"
    scorer = _scorer(root / table_file)
    project = {
        "name": root.resolve().name,
        "scorer": scorer,
        "keypoints": found.keypoints,
        "videos": (str(videos_there.resolve()),) if videos_there.is_dir() else (),
    }
    for name, rows in recordings.items():
        write_labels(folder / PICTURES / name, scorer, columns[name], rows)
        done()
    projects.create(folder, _project(root / table_file, project))
    there = videos_there.iterdir() if videos_there.is_dir() else ()
    known = {
        file.stem: file for file in sorted(there) if file.suffix.lower() in videos.ENDINGS and file.stem in recordings
    }
    return [str(problem) for problem in found.problems], known


def _unlike(stem: str, names: Collection[str]) -> str:
    """A name like ``stem`` that is none of ``names``, not even on Windows: ``stem``, ``stem-2`` and so on."""
    more = (f"{stem}-{number}" for number in itertools.count(2))
    taken = {name.casefold() for name in names}
    return next(name for name in itertools.chain([stem], more) if name.casefold() not in taken)


def _scorer(file: Path) -> str:
    """Who labelled, says a CSV of labels."""
    first = file.read_text(encoding="utf-8-sig").split("\n", 1)[0].split(",")
    return next((word.strip() for word in first[1:] if word.strip()), "unknown")


def _sleap(
    file: Path, folder: Path, look_in: Path | None, predictions: bool, every: int, done: Callable[[], object]
) -> tuple[list[str], dict[str, Path]]:
    """Give notes, and recording → its video."""
    try:
        import sleap_io
    except ImportError as error:
        raise DataError(f"{file}: SLEAP's files need sleap-io: pip install 'poseloop[sleap]'") from error
    try:
        content = sleap_io.load_slp(str(file), open_videos=True)
    except (OSError, KeyError, ValueError, IndexError) as error:
        raise DataError(f"{file}: cannot be read as SLEAP's labels: {error}") from error
    if len(content.skeletons) != 1:
        raise DataError(f"{file}: expected labels with one skeleton, but it has {len(content.skeletons)}")
    skeleton = content.skeletons[0]
    chosen = [(one, _instances(one, predictions)) for one in content.labeled_frames]
    chosen = [(one, animals) for one, animals in chosen if animals][::every]
    if not chosen:
        hint = "" if predictions else "; --predictions takes what a model found, too"
        raise DataError(f"{file}: expected labelled frames, but there are none{hint}")
    tracks = [track.name for track in content.tracks]
    if len(set(tracks)) != len(tracks):
        tracks = [f"{name} {number}" for number, name in enumerate(tracks)]
    most = max(len(animals) for _, animals in chosen)
    loose = max(sum(animal.track is None for animal in animals) for _, animals in chosen)
    several = most > 1 or len({id(animal.track) for _, animals in chosen for animal in animals}) > 1
    names = [*tracks, *(f"individual{number + 1}" for number in range(loose))] if several else [""]
    keypoints = [node.name for node in skeleton.nodes]
    hidden = 0
    recordings: dict[int, dict[int, _Float64]] = defaultdict(dict)
    for one, animals in chosen:
        xy = np.full((len(names), len(keypoints), 2), np.nan)
        free = len(tracks)
        for animal in animals:
            place = 0
            if several and animal.track is None:
                place, free = free, free + 1
            elif several:
                place = next(number for number, track in enumerate(content.tracks) if track is animal.track)
            xy[place] = animal.numpy()
            hidden += int((~animal.points["visible"] & np.isfinite(animal.points["xy"]).all(axis=-1)).sum())
        recordings[content.videos.index(one.video)][int(one.frame_idx)] = xy.reshape(-1, 2)
    asked = _suggested(content, recordings)
    columns = [(name, keypoint) for name in names for keypoint in keypoints]
    found: dict[str, Path | None] = {}
    for number, labelled in recordings.items():
        video = content.videos[number]
        path = _video(file, video, look_in)
        # Pictures inside SLEAP's file were taken from a video, too.
        source = getattr(video, "source_video", None) if path is None else None
        stem = Path(_text((source or video).filename).replace("\\", "/")).stem if path is None else path.stem
        name = _unlike(stem.removesuffix(".pkg"), found)
        found[name] = path
        wanted = sorted({*labelled, *asked.get(number, ())})
        files = _pictures(file, folder / PICTURES / name, video, path, wanted)
        write_labels(folder / PICTURES / name, "sleap", columns, {files[index]: xy for index, xy in labelled.items()})
        done()
    project = {
        "name": folder.name,
        "scorer": "sleap",
        "keypoints": keypoints,
        "skeleton": [(edge.source.name, edge.destination.name) for edge in skeleton.edges],
        "symmetries": [tuple(sorted(node.name for node in pair.nodes)) for pair in skeleton.symmetries],
        "individuals": names if several else (),
        "videos": [str(path.resolve()) for path in found.values() if path is not None],
    }
    projects.create(folder, _project(file, project))
    left = len(content.labeled_frames) - len(chosen)
    extra = sum(len(numbers) for numbers in asked.values())
    counts = {
        "points that are marked as not visible count as unlabelled": hidden,
        "labelled frames were left out": left,
        "suggested frames came along, to be labelled": extra,
        "suggested frames were left out: no frame of their videos is labelled": len(content.suggestions)
        - sum(one.video in [content.videos[number] for number in recordings] for one in content.suggestions),
    }
    notes = [f"{count} {what}" for what, count in counts.items() if count]
    return notes, {name: path for name, path in found.items() if path is not None}


def _suggested(content: Any, labelled: Mapping[int, Collection[int]]) -> dict[int, list[int]]:
    """Video → frames that SLEAP suggests to label, and that nobody has; of videos with labelled frames."""
    asked: dict[int, list[int]] = defaultdict(list)
    for one in content.suggestions:
        number, frame = content.videos.index(one.video), int(one.frame_idx)
        inside = getattr(one.video.backend, "embedded_frame_inds", None)
        if number in labelled and frame not in labelled[number] and (inside is None or frame in inside):
            asked[number].append(frame)
    return asked


def _instances(frame: Any, predictions: bool) -> list[Any]:
    """A frame's labelled animals; predicted ones where nobody corrected them, if they are wanted."""
    animals = [*frame.user_instances, *(frame.unused_predictions if predictions else ())]
    return [animal for animal in animals if np.isfinite(animal.numpy()).any()]


def _text(name: Any) -> str:
    return str(name[0] if isinstance(name, list) else name)


def _video(file: Path, video: Any, look_in: Path | None) -> Path | None:
    """Where a video is; None where its pictures are inside SLEAP's file."""
    name = _text(video.filename).replace("\\", "/")
    if Path(name).suffix.lower() not in videos.ENDINGS:
        return None
    for path in (look_in / Path(name).name if look_in is not None else Path(name), file.parent / Path(name).name):
        if path.is_file():
            return path
    raise DataError(f"{file}: its video {name} is not there, nor beside it: say where it is with --videos DIR")


def _pictures(file: Path, folder: Path, video: Any, path: Path | None, wanted: Sequence[int]) -> dict[int, str]:
    """Write frames of a recording; gives number → name."""
    if path is not None:
        with videos.opened(path) as opened:
            written = frames.save(opened, wanted, folder, opened.length)
        return dict(zip(wanted, (picture.name for picture in written), strict=True))
    names = {}
    for number in wanted:
        names[number] = f"img{number:04d}.png"
        try:
            picture = np.asarray(video[number], np.uint8)
        except (IndexError, KeyError, OSError, ValueError) as error:
            raise DataError(
                f"{file}: frame {number} of {_text(video.filename)} is labelled, but its picture is not there: save it "
                f"with pictures of all labelled frames, or give the .slp file and --videos DIR"
            ) from error
        frames.save_picture(folder / names[number], picture)
    return names
