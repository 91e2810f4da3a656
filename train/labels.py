"""A project's labels: read, checked, and told apart from what is wrong with them.

Coordinates are px in the full picture, x right, y down, **pixel centres at integers**, and DeepLabCut's and Lightning
Pose's are taken as they are, without a shift of half a pixel: people click on pictures that napari (today) or
matplotlib (DeepLabCut's older tool) draws, and both put the centre of pixel i at i. DeepLabCut's ``x = cell * stride +
stride / 2`` belongs to its score maps, whose training targets are made with the same line, so that what comes out is
where the label was. The line that Poseloop uses instead stands in `poseloop.live.vision.coords`.

Nothing is dropped silently: whatever is not used, or looks wrong, is a `Problem` with file and row.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from poseloop.live.errors import DataError
from poseloop.live.types import Colour
from poseloop.train import pictures
from poseloop.train.labelfiles import Problem, Row, Severity, Table, read_table

__all__ = ["LabelledFrame", "Labels", "Problem", "Severity", "half", "ranked", "read", "split"]

_PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
_FOLDER = "labeled-data"
_SHOWN = 5
"""How many names a message lists before it says "and more"."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelledFrame:
    """One picture and its labels."""

    name: str
    """Path of the picture relative to the project, with forward slashes: what tells frames apart."""
    path: Path
    video: str
    """Folder of the picture, which is named after the video that it was taken from."""
    width: int
    """Pixels."""
    height: int
    """Pixels."""
    xy: npt.NDArray[np.float64] = field(repr=False)
    """(I, K, 2) px in the picture, pixel centres at integers; NaN = unlabelled. Read-only."""
    file: str
    """Where the label stands, relative to the project."""
    row: int
    """Its line there."""


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """The labels of a project, or a part of them."""

    project: Path
    keypoints: tuple[str, ...]
    skeleton: tuple[tuple[str, str], ...]
    individuals: tuple[str, ...]
    """One name where animals are not told apart; ``single`` holds parts that belong to no animal."""
    frames: tuple[LabelledFrame, ...]
    """In the order of their names; each has at least one labelled point."""
    problems: tuple[Problem, ...]
    digest: str
    """SHA-256 over names, labels (to 0.001 px) and picture files of the whole project, whatever part this is."""

    @property
    def xy(self) -> npt.NDArray[np.float64]:
        """(N, I, K, 2) px: the labels of all frames."""
        shape = (0, len(self.individuals), len(self.keypoints), 2)
        return np.stack([frame.xy for frame in self.frames]) if self.frames else np.zeros(shape)

    def only(self, names: Collection[str]) -> Labels:
        """Keep the frames of these names.

        Raises:
            DataError: a name is not there.
        """
        wanted = set(names)
        missing = sorted(wanted - {frame.name for frame in self.frames})
        if missing:
            raise DataError(f"{self.project}: expected a labelled frame {_some(missing)}, but there is none")
        return replace(self, frames=tuple(frame for frame in self.frames if frame.name in wanted))


def split(labels: Labels, share: float, seed: int = 0) -> tuple[Labels, Labels]:
    """Part the frames at random into those for training and those held out.

    Frames are ranked by a hash of seed and name, so that the split depends on nothing else: not on the order of rows,
    the computer or the version of a library, and a project that grows keeps most of its old split.

    Args:
        labels: what to part.
        share: of the frames that is held out, 0..1; at least one frame stays on each side.
        seed: another one gives another split.

    Returns:
        Labels for training, labels held out.

    Raises:
        DataError: there are fewer than two frames, or the share is not between 0 and 1.
    """
    if not 0 < share < 1 or len(labels.frames) < 2:
        raise DataError(
            f"{labels.project}: expected a share between 0 and 1 and at least two frames to part, but got {share} of "
            f"{len(labels.frames)}"
        )
    names = ranked([frame.name for frame in labels.frames], seed)
    count = min(max(round(share * len(names)), 1), len(names) - 1)
    return labels.only(names[count:]), labels.only(names[:count])


def ranked(names: Collection[str], seed: int) -> list[str]:
    """Put names of frames into an order that depends on them and the seed alone."""
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())


def half(labels: Labels, seed: int = 0) -> tuple[Labels, Labels]:
    """Part the frames into two halves: the harder split that papers report."""
    return split(labels, 0.5, seed)


def read(project: Path, some: bool = True) -> Labels:
    """Read all labels of a project and look at every picture.

    Args:
        project: the folder of a DeepLabCut project (``labeled-data/*/CollectedData_*``, beside ``config.yaml``) or of
            Lightning Pose's data (``CollectedData.csv``), or such a CSV file itself. Where a CSV and an h5 file hold
            the same labels the CSV is read.
        some: that no frame can be used is an error; otherwise the labels are empty then.

    Raises:
        DataError: there is no such project, no file of labels in it, or no frame that can be used.
    """
    reader = _Reader(project)
    labels = reader.labels()
    if some and not labels.frames:
        problems = "".join(f"\n  {problem}" for problem in labels.problems[:20])
        raise DataError(f"{project}: expected labelled pictures, but none can be used:{problems or ' no rows at all'}")
    return labels


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


class _Reader:
    """One reading of one project; collects the problems on its way."""

    def __init__(self, project: Path) -> None:
        given = project.expanduser()
        self._root = given.parent if given.is_file() else given
        self._given = given
        self._problems: list[Problem] = []
        self._keypoints: tuple[str, ...] = ()

    def labels(self) -> Labels:
        config = self._config()
        files = self._files(config)
        tables = [read_table(file, self._relative(file)) for file in files]
        for table in tables:
            self._problems.extend(table.problems)
        self._keypoints, individuals = self._names(tables, config)
        keypoints = self._keypoints
        frames, hashes = self._frames(self._rows(tables, keypoints, individuals))
        digest = hashlib.sha256(repr((keypoints, individuals)).encode())
        for frame in frames:
            digest.update(frame.name.encode())
            digest.update((np.round(frame.xy, 3) + 0.0).tobytes())  # + 0.0: no negative zero
            digest.update(hashes[frame.name])
        skeleton = self._skeleton(config, keypoints)
        problems = tuple(sorted(self._problems, key=lambda problem: (problem.file, problem.row)))
        return Labels(self._root, keypoints, skeleton, individuals, tuple(frames), problems, digest.hexdigest())

    def _note(self, kind: str, severity: Severity, file: str, row: int, text: str) -> None:
        self._problems.append(Problem(kind, severity, file, row, text))

    def _relative(self, path: Path) -> str:
        return path.relative_to(self._root).as_posix() if path.is_relative_to(self._root) else str(path)

    def _config(self) -> Mapping[str, Any]:
        file = self._root / "config.yaml"
        if self._given.is_file() or not file.is_file():
            return {}
        try:
            # BaseLoader takes every scalar for text: a body part called `no` or `1` stays one.
            config = yaml.load(file.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise DataError(f"{file}: cannot be read as a project's configuration: {error}") from error
        if not isinstance(config, dict):
            raise DataError(f"{file}: expected keys and values, but got {type(config).__name__}")
        return config

    def _files(self, config: Mapping[str, Any]) -> list[Path]:
        if self._given.is_file():
            return [self._given]
        if not self._root.is_dir():
            raise DataError(f"{self._given}: there is no such project")
        files: list[Path] = []
        bare: list[Path] = []
        for folder in sorted(path for path in (self._root / _FOLDER).glob("*") if path.is_dir()):
            found = self._in_folder(folder, str(config.get("scorer", "")))
            files.extend(found)
            drawn = folder.name.endswith("_labeled")  # DeepLabCut's pictures with the labels drawn in
            if not found and not drawn and any(path.suffix.lower() in _PICTURES for path in folder.iterdir()):
                bare.append(folder)
        for folder in bare if files else ():
            count = sum(path.suffix.lower() in _PICTURES for path in folder.iterdir())
            text = f"{count} picture(s), none of them labelled yet; not used"
            self._note("no labels", Severity.WARNING, self._relative(folder), 0, text)
        if not files:
            files = sorted(self._root.glob("CollectedData*.csv"))
            if len(files) > 1:
                names = _some([file.name for file in files])
                raise DataError(
                    f"{self._root}: expected one CollectedData file, but found {names}; name the one to read"
                )
        if not files and bare:
            where = _some([self._relative(folder) for folder in bare])
            raise DataError(
                f"{self._root}: nothing is labelled yet: the pictures in {where} have no CollectedData_*.csv or .h5 "
                f"beside them; label them in napari, and save"
            )
        if not files:
            raise DataError(
                f"{self._root}: expected labels in {_FOLDER}/*/CollectedData_*.csv or .h5 (DeepLabCut), or in "
                f"CollectedData.csv (Lightning Pose), but found none"
            )
        return files

    def _in_folder(self, folder: Path, scorer: str) -> list[Path]:
        """Choose the file of labels in one video's folder: the project's scorer before others, CSV before h5."""
        found = {path.stem: path for path in sorted(folder.glob("CollectedData_*.h5"))}
        found.update({path.stem: path for path in sorted(folder.glob("CollectedData_*.csv"))})
        if not found:
            return []
        chosen = f"CollectedData_{scorer}" if f"CollectedData_{scorer}" in found else min(found)
        for stem, path in found.items():
            if stem != chosen:
                self._note("scorer", Severity.ERROR, self._relative(path), 0, f"not used: {chosen} is read instead")
        return [found[chosen]]

    def _names(self, tables: Sequence[Table], config: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Keypoints in the configuration's order where it has one, individuals in the files' order."""
        named: list[str] = []
        for key in ("bodyparts", "multianimalbodyparts", "uniquebodyparts"):
            value = config.get(key)
            named.extend(value if isinstance(value, list) else ())
        written = list(dict.fromkeys(name for table in tables for name in table.keypoints))
        keypoints = tuple(dict.fromkeys(named)) if named else tuple(written)
        for table in tables:
            for name in sorted(set(table.keypoints) - set(keypoints)):
                text = f"the keypoint {name!r} is not among the project's ({', '.join(keypoints)}); not used"
                self._note("names", Severity.ERROR, table.name, 0, text)
            for name in [name for name in keypoints if name not in table.keypoints]:
                text = f"the keypoint {name!r} has no column; it counts as unlabelled"
                self._note("names", Severity.WARNING, table.name, 0, text)
        return keypoints, tuple(dict.fromkeys(name for table in tables for name in table.individuals))

    def _skeleton(self, config: Mapping[str, Any], keypoints: Sequence[str]) -> tuple[tuple[str, str], ...]:
        pairs: list[tuple[str, str]] = []
        chains = config.get("skeleton")
        for chain in chains if isinstance(chains, list) else ():
            ends = chain if isinstance(chain, list) else []
            if len(ends) < 2 or any(name not in keypoints for name in ends):
                text = f"expected two or more keypoints, but got {chain!r}; not drawn"
                self._note("skeleton", Severity.WARNING, "config.yaml", 0, text)
                continue
            pairs.extend(pairwise(ends))
        return tuple(dict.fromkeys(pairs))

    def _rows(
        self, tables: Sequence[Table], keypoints: Sequence[str], individuals: Sequence[str]
    ) -> dict[str, tuple[Table, Row]]:
        """Picture → its row, points in the project's order; duplicates are settled here."""
        rows: dict[str, list[tuple[Table, Row]]] = defaultdict(list)
        for table in tables:
            columns = [table.keypoints.index(name) if name in table.keypoints else -1 for name in keypoints]
            lines = [table.individuals.index(name) if name in table.individuals else -1 for name in individuals]
            for row in table.rows:
                # One more, all NaN, at the end: what -1 stands for.
                wide = np.pad(row.xy, ((0, 1), (0, 1), (0, 0)), constant_values=np.nan)
                xy = wide[np.ix_(lines, columns)]
                rows[self._picture(table, row)].append((table, replace(row, xy=xy)))
        settled = {}
        for name, found in rows.items():
            table, row = found[0]
            same = all(np.array_equal(row.xy, other.xy, equal_nan=True) for _, other in found)
            for other_table, other in found[1:] if same else found:
                there = ", ".join(f"{t.name}:{r.number}" for t, r in found if r is not other)
                text = (
                    f"{name} was already labelled, with the same points, in {there}"
                    if same
                    else f"{name} has other points in {there}; none of them is used"
                )
                severity = Severity.WARNING if same else Severity.ERROR
                self._note("duplicate row", severity, other_table.name, other.number, text)
            if same:
                settled[name] = found[0]
        return settled

    def _picture(self, table: Table, row: Row) -> str:
        """Name of a row's picture relative to the project; where it is not, perhaps it lies beside the labels."""
        if not (self._root / row.picture).is_file():
            beside = table.file.parent / Path(row.picture).name
            if row.picture and beside.is_file():
                name = self._relative(beside)
                text = f"expected a picture {row.picture}, but found {name}, which is used"
                self._note("names", Severity.WARNING, table.name, row.number, text)
                return name
        return row.picture

    def _frames(self, rows: Mapping[str, tuple[Table, Row]]) -> tuple[list[LabelledFrame], dict[str, bytes]]:
        names = sorted(rows)
        frames: list[LabelledFrame] = []
        hashes: dict[str, bytes] = {}

        def look(number: int) -> tuple[str, tuple[int, int], bytes]:
            """What is wrong with a picture; its height and width; a hash of its file."""
            path = self._root / names[number]
            if not names[number] or not path.is_file():
                return "missing picture", (0, 0), b""
            try:
                content = path.read_bytes()
            except OSError:
                return "unreadable picture", (0, 0), b""
            picture = pictures.decode(content, Colour.BGR)
            if picture is None:
                return "unreadable picture", (0, 0), b""
            return "", (picture.shape[0], picture.shape[1]), hashlib.sha256(content).digest()

        for name, (wrong, size, content_hash) in zip(names, pictures.in_threads(look, len(names)), strict=True):
            table, row = rows[name]
            if wrong:
                self._note(wrong, Severity.ERROR, table.name, row.number, f"{name!r}; the row is not used")
                continue
            xy = self._inside(table, row, name, size)
            if np.isnan(xy).all():
                self._note("empty row", Severity.WARNING, table.name, row.number, f"{name} has no label; not used")
                continue
            xy.flags.writeable = False
            hashes[name] = content_hash
            path = self._root / name
            height, width = size
            frames.append(LabelledFrame(name, path, path.parent.name, width, height, xy, table.name, row.number))
        self._strays(rows)
        return frames, hashes

    def _inside(self, table: Table, row: Row, name: str, size: tuple[int, int]) -> npt.NDArray[np.float64]:
        """The row's points, NaN where they lie outside the picture: beyond the rim of its outermost pixels."""
        height, width = size
        xy = row.xy.copy()
        outside = ((xy < -0.5) | (xy > np.array([width, height]) - 0.5)).any(axis=-1)
        for i, k in np.argwhere(outside):
            x, y = xy[i, k]
            point = self._keypoints[k]
            text = f"{point} of {name} at ({x:.1f}, {y:.1f}) in a {width}x{height} picture; counts as unlabelled"
            self._note("outside", Severity.ERROR, table.name, row.number, text)
        xy[outside] = np.nan
        return xy

    def _strays(self, rows: Mapping[str, tuple[Table, Row]]) -> None:
        """Pictures beside labelled ones that no row speaks of."""
        folders = {(self._root / name).parent: table for name, (table, _) in rows.items()}
        for folder, table in folders.items():
            if folder.is_dir():
                there = sorted(self._relative(path) for path in folder.iterdir() if path.suffix.lower() in _PICTURES)
                strays = [name for name in there if name not in rows]
                if strays:
                    text = f"{len(strays)} picture(s) without a row: {_some(strays)}"
                    self._note("no row", Severity.WARNING, table.name, 0, text)
