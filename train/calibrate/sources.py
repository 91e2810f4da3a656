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
from dataclasses import dataclass, replace
from pathlib import Path

import av
import numpy as np

from poseloop.live.errors import DataError
from poseloop.live.types import Colour, Image
from poseloop.train import pictures

__all__ = ["Source", "check_numbers", "find", "late", "parse", "unlike_rates"]

_PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"}
_VIDEOS = {".mp4", ".avi", ".mov", ".mkv", ".m4v", ".mpg", ".mpeg", ".wmv", ".webm"}
_RATES = 1.02
"""Frame rates that differ by a larger factor are told."""
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

    def rate(self) -> float | None:
        """Frames a second that a video says it has; None where moments are known otherwise.

        Raises:
            DataError: the video cannot be read.
        """
        if self.video is None or self.moments is not None:
            return None
        with _opened(self.video) as container:
            rate = container.streams.video[0].average_rate
            return float(rate) if rate else None

    def frames(self, every: int = 1) -> Iterator[tuple[int, Image]]:
        """Give (moment, grey picture (H, W)): each ``every``-th picture, or a video's moments that ``every`` divides.

        Raises:
            DataError: a picture or the video cannot be read.
        """
        if self.video is None:
            for place, (moment, file) in enumerate(sorted(self.files.items())):
                if place % every == 0:
                    yield moment, _read(file)
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
            return _read(self.files[moment])
        return next(picture for number, picture in self.frames() if number == moment)

    def name_of(self, moment: int) -> str:
        """What to call that picture in a message."""
        if self.video is None:
            return self.files[moment].name
        numbers = {} if self.moments is None else {when: number for number, when in self.moments.items()}
        return f"{self.video.name}, frame {numbers.get(moment, moment)}"


def late(source: Source, frames: int) -> Source:
    """The same pictures, each at the moment that was so many frames earlier.

    Raises:
        DataError: the video cannot be read.
    """
    if source.video is None:
        return replace(source, files={moment - frames: file for moment, file in source.files.items()})
    moments = dict(enumerate(range(source.length()))) if source.moments is None else source.moments
    return replace(source, moments={number: moment - frames for number, moment in moments.items()})


def check_numbers(found: Sequence[Source]) -> None:
    """See that cameras' pictures have numbers in common, where all are pictures.

    Raises:
        DataError: names a camera that has none of the others' numbers, and both ranges.
    """
    numbers = {source.camera: set(source.files) for source in found if source.files}
    for name, own in numbers.items():
        others = set().union(*(other for key, other in numbers.items() if key != name))
        if others and own.isdisjoint(others) and len(numbers) == len(found):
            raise DataError(
                f"camera {name!r}: none of its pictures (numbers {min(own)} to {max(own)}) has the number of a picture "
                f"of another camera ({min(others)} to {max(others)}): pictures of one moment need the same number at "
                "the end of their names, and cameras have to see the board at the same moments. --offset moves a "
                "camera's numbers"
            )


def unlike_rates(found: Sequence[Source]) -> str | None:
    """Say if videos whose frames belong together by their place have different frame rates."""
    rates = {source.camera: rate for source in found if (rate := source.rate())}
    if not rates or max(rates.values()) <= _RATES * min(rates.values()):
        return None
    listed = ", ".join(f"{name} {rate:g}" for name, rate in rates.items())
    return (
        f"the videos have different frame rates ({listed} a second), but the n-th frame of each is taken for one "
        "moment: record with one rate, or make videos that hold one frame for each moment"
    )


def _read(file: Path) -> Image:
    try:
        return pictures.read(file, Colour.GREY)
    except DataError as error:
        raise DataError(f"{error}; copy it again, or take it out of the folder") from error


def _opened(file: Path) -> av.container.InputContainer:
    try:
        container = av.open(str(file))
    except (av.FFmpegError, OSError) as error:
        raise DataError(
            f"{file}: expected a video, but it cannot be opened ({error}): was it cut off, or not closed? Copy or "
            "record it again"
        ) from error
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
