"""Pictures of the board from a rig's own cameras, until they say enough.

The rig's camera drivers deliver frame sets as they do in a run. Those that show the board somewhere new, sharp and
still, are kept as ``FOLDER/CAMERA/CAMERA-0007.png``: pictures of one moment carry one number, so that the folder is one
that ``poseloop calibrate`` reads, now or again.
"""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Self, TextIO

import cv2
import numpy as np

from poseloop.live.capture.feed import Feed
from poseloop.live.capture.ring import Ring
from poseloop.live.capture.sync import Synchroniser
from poseloop.live.capture.tolerance import Tolerance
from poseloop.live.config import Rig, parse_rig, read_text
from poseloop.live.errors import DataError, DeviceTimeout, PoseloopError, RigError
from poseloop.live.interfaces import Camera
from poseloop.live.types import Colour, Frame, FrameSet, Image
from poseloop.train.calibrate.board import Board, Detector, Float64
from poseloop.train.calibrate.coverage import Coverage
from poseloop.train.calibrate.detect import View, sharpness

__all__ = ["collect"]

_SLOTS = 8
_TAKE_S = 0.1
_SILENT_S = 10.0
"""Without any picture for so long, something is wrong with the rig."""
_APART_S = 0.4
"""Between two moments that are kept: somebody has to move the board."""
_SHARP = 0.6
"""Of the sharpest view of its camera so far; a view with less is blurred by movement."""
_STEP_PX = 0.5
"""How far the board may move between the exposures of one set."""
_SHOW_S, _TELL_S, _DRAW_S = 0.25, 10.0, 2.0
"""How often the line on a terminal, a line of a file and the picture are renewed."""
_NONE_SEEN = 6
"""Pictures that are kept of a camera which never saw the board, so that the calibration can say why."""


def collect(file: Path, board: Board, folder: Path, plots: Path, seconds: float | None = None) -> Path:
    """Film the board until its pictures cover every camera and link them, until ``seconds`` are over or Ctrl-C.

    Args:
        file: the rig file; of it only cameras and ``[sync]`` are used.
        board: what is shown.
        folder: where the pictures go; empty, or not there yet.
        plots: a folder for ``live_coverage.png``, which is drawn anew while the board is filmed.
        seconds: the longest time; None = none.

    Returns:
        The folder.

    Raises:
        DataError: the folder is not empty or cannot be written.
        RigError: cameras could not be opened or started.
        DeviceTimeout: a camera delivers no pictures.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder}: expected an empty folder, or none, for the pictures of the board; choose another")
    rig = parse_rig(read_text(file), file, ["cameras"])
    try:
        plots.mkdir(parents=True, exist_ok=True)
        with _Cameras(rig) as cameras:
            film = _Film(cameras, board, folder, plots / "live_coverage.png")
            try:
                film.run(seconds)
            except KeyboardInterrupt:
                film.say("stopped")
            film.finish()
    except OSError as error:
        raise DataError(f"{folder}: the pictures cannot be written: {error}") from error
    return folder


class _Cameras:
    """The rig's cameras and their threads; a context manager."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.cameras: list[Camera] = [table.build(name) for name, table in rig.cameras.items()]
        self.error: Exception | None = None
        self._feeds: list[Feed] = []
        self._threads: list[threading.Thread] = []
        self._opened = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            opened.callback(self._stop)
            faults: list[PoseloopError] = []
            for camera in self.cameras:
                try:
                    camera.open()
                    opened.callback(camera.close)
                except PoseloopError as error:
                    faults.append(error)
            if faults:
                raise RigError("cameras that could not be opened", faults)
            self._start()
            self._opened = opened.pop_all()
        return self

    def _start(self) -> None:
        names, sync = [camera.name for camera in self.cameras], self.rig.sync
        rings = {camera.name: Ring(camera.format.shape, _SLOTS) for camera in self.cameras}
        self.sync = Synchroniser(
            names,
            lambda frame: rings[frame.camera].release(frame.slot),
            every=sync.frames == "every",
            by_time=sync.by_time,
            tolerance_ns=Tolerance.of(self.rig, {camera.name: camera.format for camera in self.cameras}).ns,
            wait_ns=int(sync.wait_ms * 1e6),
        )
        faults: list[PoseloopError] = []
        for number, camera in enumerate(self.cameras):
            self._feeds.append(Feed(number, camera, rings[camera.name], self.sync, sync.trigger))
            try:
                self._feeds[-1].start()
            except PoseloopError as error:
                faults.append(error)
        if faults:
            raise RigError("cameras that could not be started", faults)
        for feed in self._feeds:
            thread = threading.Thread(target=self._guard, args=(feed,), name=f"camera-{feed.camera.name}")
            self._threads.append(thread)
            thread.start()

    def _guard(self, feed: Feed) -> None:
        try:
            feed.run()
        except Exception as error:  # noqa: BLE001 - it belongs to the thread that films, which raises it
            self.error = self.error or error

    def take(self) -> FrameSet | None:
        """The next set; None if none came for a moment.

        Raises:
            PoseloopError: a camera was lost.
        """
        if self.error is not None:
            raise self.error
        return self.sync.take(_TAKE_S)

    def _stop(self) -> None:
        for feed in self._feeds:
            feed.stop()
        for thread in self._threads:
            thread.join()

    def __exit__(self, *_: object) -> None:
        # The threads end before the cameras are closed, and these before their slots go.
        self._stop()
        self._opened.close()


class _Film:
    """Looks for the board in set after set, keeps what adds something, and shows how far it has come."""

    def __init__(self, cameras: _Cameras, board: Board, folder: Path, picture: Path) -> None:
        self._source = cameras
        self._folder, self._picture = folder, picture
        formats = {camera.name: camera.format for camera in cameras.cameras}
        self._colours = {name: its.colour for name, its in formats.items()}
        self._coverage = Coverage({name: (its.width, its.height) for name, its in formats.items()}, board)
        self._detectors = {name: Detector(board) for name in formats}
        self._last: dict[str, Image] = {}
        self._before: dict[str, tuple[int, View]] = {}
        self._sharpest = dict.fromkeys(formats, 0.0)
        self._unseen: dict[str, list[tuple[int, Image]]] = {name: [] for name in formats}
        self._line = _Line(sys.stderr)
        self.moments = 0

    def say(self, text: str) -> None:
        """Show a line that stays."""
        self._line.say(text)

    def run(self, seconds: float | None) -> None:
        """Film until it is enough, the time is over, or recordings have ended."""
        started = heard = time.monotonic()
        kept = drawn = shown = -np.inf
        with ThreadPoolExecutor(len(self._detectors), "board") as pool:
            while not self._coverage.enough and (seconds is None or time.monotonic() - started < seconds):
                frames = self._source.take()
                now = time.monotonic()
                if frames is None:
                    if self._source.sync.finished:
                        self.say("the recordings have ended")
                        return
                    if now - heard > _SILENT_S:
                        self._silent(list(self._detectors))
                    continue
                heard = now
                views = self._look(frames, pool)
                # A recording that waits for us has its own time.
                if (now - kept >= _APART_S or self._source.rig.sync.frames == "every") and self._coverage.adds(views):
                    self._keep(views)
                    kept = now
                if now - drawn >= _DRAW_S:
                    self._draw()
                    drawn = now
                if now - shown >= (_SHOW_S if self._line.over else _TELL_S):
                    self._line.show(self._coverage.words())
                    shown = now

    def _look(self, frames: FrameSet, pool: ThreadPoolExecutor) -> dict[str, View]:
        """Find the board in all pictures of a set; those views that are sharp, and taken while it was still."""
        try:
            there = [frame for frame in frames.frames if frame is not None]
            greys = dict(zip([frame.camera for frame in there], map(self._grey, there), strict=True))
            self._source.sync.count(frames)
        finally:
            self._source.sync.release(frames)
        self._last.update(greys)
        found = dict(zip(greys, pool.map(self._search, greys, greys.values()), strict=True))
        views = {}
        for name, view in found.items():
            if view is None:
                self._remember(name, frames.index, greys[name])
                continue
            self._sharpest[name] = max(self._sharpest[name], view.sharpness)
            still = _moved_px(self._before.get(name), frames, view) <= _STEP_PX
            self._before[name] = (frames.exposed_ns, view)
            if still and view.sharpness >= _SHARP * self._sharpest[name]:
                views[name] = view
        return views

    def _grey(self, frame: Frame) -> Image:
        match self._colours[frame.camera]:
            case Colour.GREY:
                return frame.image.copy()
            case Colour.RGB:
                return np.asarray(cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY), np.uint8)
            case Colour.BGR:
                return np.asarray(cv2.cvtColor(frame.image, cv2.COLOR_BGR2GRAY), np.uint8)

    def _search(self, name: str, picture: Image) -> View | None:
        found = self._detectors[name](picture)
        return None if found is None else View(*found, sharpness(picture, found[1]))

    def _remember(self, name: str, index: int, picture: Image) -> None:
        """Of a camera that has not seen the board yet: a few pictures, further and further apart."""
        unseen = self._unseen[name]
        if not self._coverage.views(name) and (not unseen or index >= 2 * unseen[-1][0]) and len(unseen) < _NONE_SEEN:
            unseen.append((index, picture))

    def _keep(self, views: Mapping[str, View]) -> None:
        self._coverage.add(views)
        for name in views:
            self._write(name, self.moments, self._last[name])
        self.moments += 1

    def _write(self, name: str, moment: int, picture: Image) -> None:
        file = self._folder / name / f"{name}-{moment:04d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        _, coded = cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 1])
        file.write_bytes(coded.tobytes())

    def _draw(self) -> None:
        _, coded = cv2.imencode(".png", self._coverage.draw(self._last))
        part = self._picture.with_name(self._picture.name + ".part")
        part.write_bytes(coded.tobytes())
        part.replace(self._picture)

    def _silent(self, names: Sequence[str]) -> None:
        text = f"expected pictures of the board, but none came for {_SILENT_S:g} s"
        if self._source.rig.sync.trigger == "hardware":
            text += (
                '. The rig file says trigger = "hardware": let the trigger run, or give a copy of the file with '
                'trigger = "free", and hold the board still for a moment at each place'
            )
        raise DeviceTimeout(", ".join(names), text)

    def finish(self) -> None:
        """Show where things stand, and keep something of cameras that never saw the board.

        Raises:
            DeviceTimeout: a camera delivered nothing at all.
        """
        if not self._last:
            return
        if nothing := [name for name in self._detectors if name not in self._last]:
            self._silent(nothing)
        for name, pictures in self._unseen.items():
            if not self._coverage.views(name):
                for number, (_, picture) in enumerate(pictures):
                    self._write(name, self.moments + number, picture)
        self._draw()
        self.say(self._coverage.words())
        self.say(f"{self.moments} moments are in {self._folder}; where the board was: {self._picture}")


def _moved_px(before: tuple[int, View] | None, frames: FrameSet, view: View) -> float:
    """How far the board moved in the picture between the first and the last exposure of the set, px."""
    if frames.skew_ns == 0:
        return 0.0
    if before is None or before[0] == frames.exposed_ns:
        return np.inf
    common, here, there = np.intersect1d(view.numbers, before[1].numbers, assume_unique=True, return_indices=True)
    if not len(common):
        return np.inf
    shift: Float64 = np.linalg.norm(view.xy[here] - before[1].xy[there], axis=1)
    return float(np.median(shift)) * frames.skew_ns / abs(frames.exposed_ns - before[0])


class _Line:
    """A line that is written over on a terminal; on a file one now and then."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.over = stream.isatty()
        self._width = 0

    def show(self, text: str) -> None:
        if not self.over:
            self.say(text)
            return
        text = text[: shutil.get_terminal_size().columns - 1]
        self._stream.write("\r" + text.ljust(self._width))
        self._stream.flush()
        self._width = len(text)

    def say(self, text: str) -> None:
        if self._width:
            self._stream.write("\r" + " " * self._width + "\r")
            self._width = 0
        self._stream.write(text + "\n")
        self._stream.flush()
