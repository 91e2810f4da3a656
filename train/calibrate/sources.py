"""Where pictures of the board come from: a folder for each camera, files named after cameras, or videos.

``FOLDER`` may hold a folder for each camera (``back/…/back-07.jpg``, ``top/calibration.mp4``), or pictures and videos
named after their cameras (``left01.jpg``, ``cam_0.mp4``). Pictures of one moment carry the same number at the end of
their names; frames of videos belong together by their place in the file, or by caliscope's ``timestamps.csv``.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from poseloop.live.errors import DataError
from poseloop.live.types import Colour, Image
from poseloop.train import pictures

__all__ = ["Source", "find", "parse"]

_PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"}
_VIDEOS = {".mp4", ".avi", ".mov", ".mkv", ".m4v", ".mpg", ".mpeg", ".wmv", ".webm"}
_NUMBERED = re.compile(r"^(.*?)[-_ .]*(\d+)$")


@dataclass(frozen=True, slots=True)
class Source:
    """One camera's pictures, or its video."""

    camera: str
    files: Mapping[int, Path]
    """Moment → picture; empty for a video."""
    video: Path | None = None
    moments: Mapping[int, int] | None = None
    """Video: number of the frame → moment; None: they are the same."""

    def length(self) -> int:
        """How many frames there are.

        Raises:
            DataError: the video cannot be read.
        """
        if self.video is None:
            return len(self.files)
        with _opened(self.video) as container:
            stream = container.streams.video[0]
            if stream.frames:
                return int(stream.frames)
            return sum(1 for _ in container.demux(stream) if _.size)

    def frames(self, every: int = 1) -> Iterator[tuple[int, Image]]:
        """Give (moment, grey picture (H, W)) of all moments that ``every`` divides.

        Raises:
            DataError: a picture or the video cannot be read.
        """
        if self.video is None:
            for place, (moment, file) in enumerate(sorted(self.files.items())):
                if place % every == 0:
                    yield moment, pictures.read(file, Colour.GREY)
            return
        with _opened(self.video) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            try:
                for number, frame in enumerate(container.decode(stream)):
                    when = number if self.moments is None else self.moments.get(number)
                    if when is not None and when % every == 0:
                        yield when, np.ascontiguousarray(frame.to_ndarray(format="gray"), np.uint8)
            except av.FFmpegError as error:
                raise DataError(f"{self.video}: the video is damaged: {error}") from error

    def picture(self, moment: int) -> Image:
        """Read one moment's picture again, for a report."""
        if self.video is None:
            return pictures.read(self.files[moment], Colour.GREY)
        return next(picture for number, picture in self.frames() if number == moment)

    def name_of(self, moment: int) -> str:
        """What to call that picture in a message."""
        return f"{self.video.name}, frame {moment}" if self.video is not None else self.files[moment].name


def _opened(file: Path) -> av.container.InputContainer:
    try:
        container = av.open(str(file))
    except (av.FFmpegError, OSError) as error:
        raise DataError(f"{file}: expected a video, but it cannot be opened: {error}") from error
    if not container.streams.video:
        container.close()
        raise DataError(f"{file}: expected a video, but there are no pictures in it")
    return container


def parse(words: Sequence[str]) -> list[Source]:
    """Find the sources that a command line names: one folder, or ``NAME=PATH`` for each camera.

    Raises:
        DataError: nothing that can be used is there.
    """
    if all("=" in word and not Path(word).exists() for word in words):
        sources = []
        for word in words:
            name, _, path = word.partition("=")
            sources.append(_of_camera(name, Path(path)))
        return _checked(sources, "the command line")
    if len(words) == 1:
        return find(Path(words[0]))
    raise DataError(f"expected one folder, or NAME=PATH for each camera, but got {' '.join(words)}")


def find(folder: Path) -> list[Source]:
    """Find each camera's pictures or video in a folder.

    Raises:
        DataError: there are none, or they cannot be told apart.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder")
    inside = sorted(path for path in folder.iterdir() if path.is_dir() and _usable(path.rglob("*")))
    here = _usable(folder.iterdir())
    if inside and not here:
        return _checked([_of_camera(path.name, path) for path in inside], str(folder))
    videos = [file for file in here if file.suffix.lower() in _VIDEOS]
    if videos:
        table = _timestamps(folder / "timestamps.csv", videos)
        return _checked([Source(file.stem, {}, file, table.get(file.stem)) for file in videos], str(folder))
    cameras: dict[str, dict[int, Path]] = defaultdict(dict)
    for file in here:
        match = _NUMBERED.match(file.stem)
        if match is None or not match[1]:
            raise DataError(f"{file}: expected a name such as left07{file.suffix}: the camera, then a number")
        cameras[match[1]][int(match[2])] = file
    return _checked([Source(name, files) for name, files in sorted(cameras.items())], str(folder))


def _of_camera(name: str, path: Path) -> Source:
    if path.is_file():
        return Source(name, {}, path)
    files = _usable(path.rglob("*"))
    # Beside the pictures of the board there may be the experiment's videos.
    chosen = [file for file in files if "calib" in str(file.relative_to(path)).lower()] or files
    shots = [file for file in chosen if file.suffix.lower() in _PICTURES]
    if shots:
        numbers: dict[int, Path] = {}
        for file in shots:
            match = _NUMBERED.match(file.stem)
            if match is None:
                raise DataError(f"{file}: expected a number at the end of the name: which moment it shows")
            moment = int(match[2])
            if moment in numbers:
                raise DataError(f"{file}: {numbers[moment].name} has the same number; each moment needs one picture")
            numbers[moment] = file
        return Source(name, numbers)
    if len(chosen) != 1:
        raise DataError(
            f"{path}: expected pictures of the board or one video of camera {name!r}, but found {len(chosen)} videos"
        )
    return Source(name, {}, chosen[0])


def _usable(files: Iterable[Path]) -> list[Path]:
    kinds = _PICTURES | _VIDEOS
    return sorted(file for file in files if file.suffix.lower() in kinds and not file.name.startswith("."))


def _checked(sources: list[Source], where: str) -> list[Source]:
    if not sources:
        raise DataError(
            f"{where}: found no pictures or videos; expected a folder for each camera, or files named after cameras"
        )
    names = [source.camera for source in sources]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise DataError(f"{where}: camera {min(twice)!r} is there twice")
    return sources


def _timestamps(file: Path, videos: Sequence[Path]) -> dict[str, dict[int, int]]:
    """Read caliscope's table: which frames of the videos belong together."""
    if not file.is_file():
        return {}
    moments: dict[str, list[int]] = defaultdict(list)
    with file.open(encoding="utf-8-sig", newline="") as lines:
        try:
            for row in csv.DictReader(lines):
                moments[row["cam_id"]].append(int(row["sync_index"]))
        except (KeyError, ValueError) as error:
            raise DataError(f"{file}: expected the columns sync_index and cam_id, but got {error}") from error
    tables = {}
    for video in videos:
        match = re.search(r"(\d+)$", video.stem)
        if match is not None and match[1] in moments:
            # Videos hold a camera's frames in their order; the table's own numbers start with the session.
            tables[video.stem] = dict(enumerate(sorted(moments[match[1]])))
    return tables
