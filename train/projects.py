"""Projects as folders that people can read, and that DeepLabCut's tools open.

    project.toml        what is labelled: names, skeleton, animals, where the recordings are; yours to edit
    config.yaml         the same for DeepLabCut and napari-deeplabcut, made from project.toml
    labeled-data/       a folder for each recording: pictures, and CollectedData_<scorer>.csv and .h5

A folder with ``config.yaml`` and without ``project.toml`` is a DeepLabCut project: it is read, and its configuration is
left alone.
"""

from __future__ import annotations

import contextlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from poseloop.live.errors import ConfigError, DataError
from poseloop.live.output.session import is_session
from poseloop.train import videos
from poseloop.train.trackfiles import whole

__all__ = [
    "PICTURES",
    "Project",
    "add_recording",
    "check_new",
    "check_recording",
    "claim",
    "create",
    "described",
    "guesses",
    "is_one",
    "is_own",
    "load",
    "pairs",
    "recording",
    "recordings",
    "root",
]

PICTURES = "labeled-data"
"""Folder with a folder for each recording."""
_FILE = "project.toml"
_CONFIG = "config.yaml"

_HEAD = """\
# A Poseloop project: `poseloop frames` fills labeled-data/, napari-deeplabcut labels it, `poseloop train` learns.
# config.yaml is made from this file, for DeepLabCut's tools.
"""
_NOTES = {
    "keypoints": "In this order in every file.",
    "skeleton": "Pairs that are drawn as lines.",
    "symmetries": "Left and right of the same.",
    "individuals": "Empty: one animal.",
    "unique": "Keypoints that belong to no animal, such as corners of the arena.",
    "scorer": "Who labels: part of the names of label files.",
    "videos": "Files, folders or patterns, from this folder on; `poseloop frames` takes them when it is given none.",
}

_DEFAULTS: Mapping[str, Any] = {
    "date": "",
    "identity": False,
    "engine": "pytorch",
    "start": 0,
    "stop": 1,
    "numframes2pick": 20,
    "skeleton_color": "black",
    "pcutoff": 0.6,
    "dotsize": 8,
    "alphavalue": 0.7,
    "colormap": "rainbow",
    "TrainingFraction": [0.95],
    "iteration": 0,
    "default_net_type": "resnet_50",
    "default_augmenter": "default",
    "snapshotindex": -1,
    "batch_size": 8,
    "cropping": False,
}
"""What DeepLabCut's tools want to find, and Poseloop has no use for."""


class Project(BaseModel):
    """What ``project.toml`` holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = Field(1, ge=1, le=1)
    name: str = Field(min_length=1)
    scorer: str = Field(min_length=1, pattern=r"^[\w .-]+$")
    keypoints: tuple[str, ...] = Field(min_length=1)
    skeleton: tuple[tuple[str, str], ...] = ()
    symmetries: tuple[tuple[str, str], ...] = ()
    individuals: tuple[str, ...] = ()
    unique: tuple[str, ...] = ()
    videos: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Project:
        for key, names in (("keypoints", self.keypoints), ("individuals", self.individuals)):
            if len(set(names)) != len(names) or not all(names):
                raise ValueError(f"expected names in {key} that differ, but got {', '.join(names)}")
        for key, pairs in (("skeleton", self.skeleton), ("symmetries", self.symmetries)):
            strangers = {name for pair in pairs for name in pair} - set(self.keypoints)
            if strangers:
                raise ValueError(f"{key} names {', '.join(sorted(strangers))}, which are no keypoints")
        if set(self.unique) - set(self.keypoints) or (self.unique and not self.individuals):
            raise ValueError("expected unique to name some of the keypoints, beside those of several individuals")
        return self


def check_new(folder: Path) -> None:
    """Make sure that nothing is written over.

    Raises:
        DataError: there is something in the folder.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder}: expected a new or empty folder for a project, but there is something in it")


def create(folder: Path, project: Project) -> None:
    """Write ``project.toml`` and ``config.yaml``; other keys of a ``config.yaml`` that is there are kept.

    Raises:
        DataError: they cannot be written.
    """
    lines = [_HEAD]
    for key, value in project.model_dump(mode="json").items():
        note = f"  # {_NOTES[key]}" if key in _NOTES else ""
        # JSON's text and lists of texts are TOML's, too.
        lines.append(f"{key} = {json.dumps(value, ensure_ascii=False)}{note}\n")
    with whole(folder / _FILE) as part:
        part.write_text("".join(lines), encoding="utf-8")
    _write_config(folder, project, _config(folder).get("video_sets"))
    (folder / PICTURES).mkdir(exist_ok=True)


def load(folder: Path) -> Project:
    """Read ``project.toml``.

    Raises:
        ConfigError: it is missing, or something in it is not as it should be.
    """
    file = folder / _FILE
    try:
        return Project.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ConfigError(f"{file}: {key}: {first['msg']}") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read as a project: {error}") from error


def described(folder: Path) -> Project:
    """Say what is labelled in a project, Poseloop's or DeepLabCut's.

    Raises:
        ConfigError: it is neither, or something in it is not as it should be.
    """
    if (root(folder) / _FILE).is_file():
        return load(folder)
    file = folder / _CONFIG
    # As text, so that a body part called `no` stays one.
    config = _config(folder, yaml.BaseLoader)
    several = str(config.get("multianimalproject", "")).lower() == "true"
    unique = tuple(config.get("uniquebodyparts") or ()) if several else ()
    named = config.get("multianimalbodyparts" if several else "bodyparts") or ()
    try:
        return Project(
            name=config.get("Task") or folder.resolve().name,
            scorer=config.get("scorer") or "unknown",
            keypoints=(*named, *unique),
            individuals=tuple(config.get("individuals") or ()) if several else (),
            unique=unique,
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ConfigError(f"{file}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def is_one(folder: Path) -> bool:
    """Is it a project, Poseloop's or DeepLabCut's?"""
    return (folder / _FILE).is_file() or (folder / _CONFIG).is_file()


def is_own(folder: Path) -> bool:
    """Is it a project of Poseloop's own, whose configuration Poseloop may change?"""
    return (folder / _FILE).is_file()


def root(folder: Path) -> Path:
    """Return a project's folder: Poseloop's or DeepLabCut's; brings ``config.yaml`` up to date.

    Raises:
        ConfigError: it is neither, or its ``project.toml`` is wrong.
    """
    if (folder / _FILE).is_file():
        _write_config(folder, load(folder), _config(folder).get("video_sets"))
    elif not (folder / _CONFIG).is_file():
        raise ConfigError(
            f"{folder}: expected a project ({_FILE}, or DeepLabCut's {_CONFIG}), but it has neither: make one with "
            f"`poseloop new project {folder} --keypoints ...`"
        )
    return folder


def recordings(folder: Path) -> list[Path]:
    """Find the videos that a project names.

    Raises:
        ConfigError: it is no project.
        DataError: it names none, or one that is not there.
    """
    if (folder / _FILE).is_file():
        words = [str(folder / word) for word in load(folder).videos]
    else:
        words = [name for name in _config(root(folder)).get("video_sets") or () if (folder / name).is_file()]
    if not words:
        raise DataError(f"{folder}: the project names no videos: give some, or list them in {_FILE} as videos = [...]")
    return videos.find(words)


def recording(video: Path) -> str:
    """Name the folder of a recording: as the video, which is where DeepLabCut looks; a session's before that."""
    real = video.resolve()  # `add_recording` links videos of sessions
    return f"{real.parent.name}_{real.stem}" if is_session(real.parent) else video.stem


def claim(owners: dict[str, Path], name: str, video: Path) -> None:
    """Note whose the folder of a recording is, among videos that are given together.

    Args:
        owners: what was noted before.
        name: of the folder; names that differ by capitals only are one folder on Windows and macOS.
        video: whose it is.

    Raises:
        DataError: it is another one's already.
    """
    other = owners.setdefault(name.casefold(), video)
    if other is not video:
        raise DataError(
            f"expected videos whose names differ by more than capitals, but {other} and {video} would share a folder"
        )


def check_recording(folder: Path, video: Path, name: str) -> None:
    """Make sure that pictures of different videos do not come into one folder.

    Raises:
        DataError: the project has a recording of this name of another video.
    """
    for listed in _config(folder).get("video_sets") or ():
        other = Path(str(listed))
        same = other.stem.casefold() == name.casefold()
        if same and other.is_file() and videos.fingerprint(other) != videos.fingerprint(video):
            raise DataError(
                f"{video}: expected a video of another name, since {folder / PICTURES / name} holds pictures of {other}"
            )


def add_recording(folder: Path, video: Path, name: str | None = None) -> None:
    """List a video in ``config.yaml`` of a Poseloop project: DeepLabCut's tools see no labels of others.

    They look into the folder that is called as the video. A session's video is not: it is listed as a link of that name
    in ``videos/``, or as what this would be, where a disk knows no links (the name is all that they need).

    Args:
        folder: the project's.
        video: its pictures are in the project.
        name: of their folder; None: the video's.
    """
    if not is_own(folder):
        return
    listed = _config(folder).get("video_sets") or {}
    place = video.resolve()
    if name not in (None, video.stem):
        place = folder.resolve() / "videos" / f"{name}{video.suffix}"
        with contextlib.suppress(OSError):
            place.parent.mkdir(exist_ok=True)
            place.symlink_to(video.resolve())
    if str(place) not in listed:
        with videos.opened(video) as opened:
            crop = f"0, {opened.width}, 0, {opened.height}"
        _write_config(folder, load(folder), {**listed, str(place): {"crop": crop}})


def _config(folder: Path, loader: Any = yaml.SafeLoader) -> dict[str, Any]:
    """What ``config.yaml`` holds; nothing where there is none."""
    file = folder / _CONFIG
    if not file.is_file():
        return {}
    try:
        config = yaml.load(file.read_text(encoding="utf-8"), Loader=loader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(f"{file}: cannot be read as a project's configuration: {error}") from error
    if not isinstance(config, dict):
        raise DataError(f"{file}: expected keys and values, but got {type(config).__name__}")
    return config


def _write_config(folder: Path, project: Project, listed: object) -> None:
    """Bring ``config.yaml`` up to date; what project.toml says nothing of stays as it is there."""
    config = {
        **_DEFAULTS,
        **_config(folder),
        **_parts(project),
        "Task": project.name,
        "scorer": project.scorer,
        "project_path": str(folder.resolve()),
        "video_sets": dict(listed) if isinstance(listed, dict) else {},
        "skeleton": [list(pair) for pair in project.skeleton],
    }
    text = f"# Made by Poseloop: names, skeleton and animals come from {_FILE}.\n" + yaml.safe_dump(
        config, sort_keys=False, allow_unicode=True
    )
    file = folder / _CONFIG
    if not file.is_file() or file.read_text(encoding="utf-8") != text:
        with whole(file) as part:
            part.write_text(text, encoding="utf-8")


def _parts(project: Project) -> dict[str, Any]:
    if not project.individuals:
        return {"multianimalproject": False, "bodyparts": list(project.keypoints)}
    return {
        "multianimalproject": True,
        "bodyparts": "MULTI!",
        "multianimalbodyparts": [name for name in project.keypoints if name not in project.unique],
        "individuals": list(project.individuals),
        "uniquebodyparts": list(project.unique),
    }


def guesses(
    project: Project, keypoints: Sequence[str], poses: Mapping[str, npt.NDArray[np.floating[Any]]]
) -> tuple[list[tuple[str, str]], dict[str, npt.NDArray[np.float64]]]:
    """Put what a model found into the columns of a project's labels.

    Args:
        project: what is labelled there; what the model does not know stays empty.
        keypoints: the model's, K.
        poses: name of a picture → (I, K, 3): x, y px, likelihood.

    Returns:
        (individual, keypoint) of each column; name of a picture → (columns, 3).
    """
    found = max((len(pose) for pose in poses.values()), default=0)
    columns = [
        (name, i, point)
        for i, name in enumerate(project.individuals[:found])
        for point in project.keypoints
        if point not in project.unique
    ]
    columns += [("single", 0, point) for point in project.unique]
    columns = columns or [("", 0, point) for point in project.keypoints]
    rows = {}
    for picture, pose in poses.items():
        rows[picture] = np.full((len(columns), 3), np.nan)
        for place, (_, i, point) in enumerate(columns):
            if point in keypoints:
                rows[picture][place] = pose[i, keypoints.index(point)]
    return [(name, point) for name, _, point in columns], rows


def pairs(words: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Read pairs of keypoints, ``snout:tailbase``, of a command line.

    Raises:
        ConfigError: a word is no pair.
    """
    made = []
    for word in words:
        ends = word.split(":")
        if len(ends) != 2:
            raise ConfigError(f"expected two keypoints joined by a colon, such as snout:tailbase, but got {word!r}")
        made.append((ends[0], ends[1]))
    return tuple(made)
