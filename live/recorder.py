"""The recorder process: writes a session (docs/session.md) of what engine and host send it, and never holds them up.

One thread takes messages, one for each camera encodes, one writes the log. What waits is bounded by the slots that the
engine lends. Every frame gets a row in the log; one that could not be recorded has no picture there, and says why.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import queue
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgpack
import zmq

from poseloop.live import realtime
from poseloop.live.capture.ring import LentSlots
from poseloop.live.clock import now_ns
from poseloop.live.config import Rig, parse_rig
from poseloop.live.errors import DataError
from poseloop.live.output.log import LogWriter
from poseloop.live.output.marks import Marker
from poseloop.live.output.record import END, PICTURE, make_folder, write_head
from poseloop.live.output.room import Room, as_time, expected_rate
from poseloop.live.output.video import LOSSLESS, VideoWriter, find_encoder
from poseloop.live.process import STOP, Message, Parent
from poseloop.live.types import CameraFormat, Colour
from poseloop.live.vision.network import find_model

__all__ = ["Recorder", "main"]

_POLL_S = 0.05
_COMMIT_S = 0.2
"""How long a row waits at most until a crash cannot take it any more."""

_STATUS_S = 0.5
_QUIET_S = 0.5
"""At the end: so long after its last message a source that has not said goodbye is taken for dead."""

OVERRUN = "recorder_overrun"
"""Why there is no picture: no slot was free, because encoder or disk did not keep up."""


class Track:
    """One camera's video and the thread that encodes it."""

    def __init__(
        self,
        number: int,
        name: str,
        writer: VideoWriter,
        slots: LentSlots,
        log: Callable[[str, Sequence[Any]], None],
    ) -> None:
        """Keep the parts.

        Args:
            number: of the camera, in rig order.
            name: of the camera.
            writer: open.
            slots: the engine's.
            log: takes (table, row); from any thread.
        """
        self.name = name
        self.writer = writer
        self.slots = slots
        self.fault = ""
        """Why nothing more is encoded."""
        self.missed: Counter[str] = Counter()
        """Why → how many frames have no picture."""
        self._number = number
        self._log = log
        self._queue: queue.SimpleQueue[Sequence[int] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=f"video-{name}")

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def put(self, picture: Sequence[int]) -> None:
        """Take a frame: slot, idx, exposed_ns, arrived_ns, device_ns."""
        self._queue.put(picture)

    @property
    def waiting(self) -> int:
        """Frames that wait for the encoder, about now."""
        return self._queue.qsize()

    def stop(self) -> None:
        """Encode what waits, write the index, end the thread; idempotent."""
        self._queue.put(None)
        if self._thread.ident is not None:
            self._thread.join()
        try:
            self.writer.close()
        except DataError as error:
            self.fault = self.fault or str(error)

    def _run(self) -> None:
        while (picture := self._queue.get()) is not None:
            slot, *times = picture
            why = OVERRUN if slot < 0 else "" if not self.fault else "the recording has ended"
            try:
                if not why:
                    self.writer.write(self.slots.image(slot), times[1])
            except Exception as error:  # noqa: BLE001 - whatever it is, the slot goes back and the owner is told
                why = self.fault = str(error) if isinstance(error, DataError) else f"{type(error).__name__}: {error}"
            finally:
                if slot >= 0:
                    self.slots.give_back(slot)
            if why:
                self.missed[why] += 1
            self._log("frame", (self._number, None if why else self.writer.written - 1, *times, why))


class Book:
    """The log and the thread that writes it."""

    def __init__(self, folder: Path, meta: Mapping[str, Any]) -> None:
        """Keep what the log begins with."""
        self._folder = folder
        self._meta = meta
        self.fault = ""
        """Why nothing more is written."""
        self._queue: queue.SimpleQueue[tuple[str, Sequence[Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="log")
        self._opened: queue.SimpleQueue[DataError | None] = queue.SimpleQueue()

    def start(self) -> None:
        """Create the log.

        Raises:
            DataError: it cannot be written.
        """
        self._thread.start()
        if (error := self._opened.get()) is not None:
            self._thread.join()
            raise error

    def add(self, table: str, row: Sequence[Any]) -> None:
        """Take a row, from any thread."""
        self._queue.put((table, row))

    def stop(self) -> None:
        """Write what waits, close the log, end the thread; idempotent."""
        self._queue.put(None)
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            # SQLite wants one thread for all.
            log = LogWriter(self._folder, self._meta)
        except DataError as error:
            self._opened.put(error)
            return
        self._opened.put(None)
        try:
            while self._take(log):
                log.commit()
        except Exception as error:  # noqa: BLE001 - whatever it is, the owner is told
            self.fault = str(error) if isinstance(error, DataError) else f"{type(error).__name__}: {error}"
        finally:
            try:
                log.close()
            except DataError as error:
                self.fault = self.fault or str(error)

    def _take(self, log: LogWriter) -> bool:
        """Collect rows for `_COMMIT_S`; False = these were the last."""
        ends_s = time.monotonic() + _COMMIT_S
        with contextlib.suppress(queue.Empty):
            while (left_s := ends_s - time.monotonic()) > 0:
                item = self._queue.get(timeout=left_s)
                if item is None:
                    return False
                log.add(item[0], (item[1],))
        return True


class Recorder:
    """One session. Use: ``open`` → `take` for each message, `watch` now and then → ``close``."""

    def __init__(self, rig: Rig, folder: Path, request: Message, tell: Callable[..., None]) -> None:
        """Keep what is recorded.

        Args:
            rig: with a table ``[record]``.
            folder: the session's, made.
            request: what the engine tells of its cameras (`poseloop.live.engine.Engine.recordable`).
            tell: called with ``"notice"`` and ``text=`` for what a person should know.
        """
        assert rig.record is not None
        self._settings = rig.record
        self._folder = folder
        self._tell = tell
        self._request = request
        self._cameras = {
            camera["name"]: CameraFormat(camera["width"], camera["height"], Colour(camera["colour"]), camera["fps"])
            for camera in request["cameras"]
        }
        self.book = Book(folder, {**request["meta"], "cameras": list(self._cameras)})
        self.tracks: list[Track] = []
        self.lost: Counter[str] = Counter()
        """Source → messages of it that never came."""
        self.fault = ""
        """Why the recording ended before the run; empty = it did not."""
        self.ended: set[str] = set()
        """Sources that have said goodbye."""
        self.marked: Counter[str] = Counter()
        """Why → how many poses were marked for a person's look."""
        self._marker = Marker(request["meta"]["gate"])
        self._next: dict[str, int] = {}
        self._told: dict[str, int] = {}
        self._opened = contextlib.ExitStack()

    def open(self, head: Callable[[Mapping[str, Mapping[str, Any]]], None]) -> None:
        """Choose encoders, create all files, start the threads.

        Args:
            head: writes what the session begins with, given each camera's table of ``session.toml``.

        Raises:
            ConfigError: a camera's pictures cannot be encoded as the rig says.
            DataError: a file cannot be written, or the disk is full already.
        """
        record = self._settings
        self.room = Room(self._folder, record, expected_rate(record.codec, self._cameras))
        if self.room.is_over:
            text = f"expected more than {record.keep_free_gb:g} GB (record.keep_free_gb) to be free"
            raise DataError(f"{self._folder}: {text}, but there is less; make room, or set record.folder")
        encoders = {name: find_encoder(record, camera, name) for name, camera in self._cameras.items()}
        head({name: self._table(name, encoder.name) for name, encoder in encoders.items()})
        threads = max(1, (os.cpu_count() or 1) // (2 * len(encoders)))
        with contextlib.ExitStack() as opened:
            self.book.start()
            opened.callback(self.book.stop)
            for number, (name, encoder) in enumerate(encoders.items()):
                its = self._request["cameras"][number]
                writer = VideoWriter(
                    self._folder / f"{name}.mkv", self._cameras[name], encoder, record.quality, threads
                )
                opened.callback(writer.close)
                slots = LentSlots(its["address"], its["shape"], its["slots"])
                track = Track(number, name, writer, slots, self.book.add)
                opened.callback(track.stop)
                track.start()
                self.tracks.append(track)
            self._opened = opened.pop_all()

    def _table(self, name: str, encoder: str) -> dict[str, Any]:
        camera, codec = self._cameras[name], self._settings.codec
        return {
            "file": f"{name}.mkv",
            "codec": codec,
            "encoder": encoder,
            "lossless": codec in LOSSLESS,
            "width": camera.width,
            "height": camera.height,
            "colour": camera.colour.value,
            "fps": camera.fps,
        }

    def take(self, body: bytes) -> None:
        """Take one message of an `poseloop.live.output.record.Outlet`."""
        source, number, rows = msgpack.unpackb(body)
        expected = self._next.get(source, 0)
        if number > expected:
            self.lost[source] += number - expected
            self.book.add("lost", (source, expected, number - 1))
        self._next[source] = number + 1
        for table, row in rows:
            if table == PICTURE:
                self.tracks[row[0]].put(row[1:])
            elif table == END:
                self.ended.add(source)
            else:
                self.book.add(table, row)
                if (mark := self._marker.look(table, row)) is not None:
                    self.marked[mark[1]] += 1
                    self.book.add("mark", mark)

    def event(self, source: str, kind: str, detail: Mapping[str, Any]) -> None:
        """Write something down that happened now."""
        self.book.add("event", (now_ns(), source, kind, json.dumps(detail)))

    @property
    def size(self) -> int:
        """Bytes of the session on the disk."""
        with contextlib.suppress(OSError):
            return sum(file.stat().st_size for file in self._folder.iterdir() if file.is_file())
        return 0

    def watch(self) -> bool:
        """Look at encoders and disk, warn; False = the recording cannot go on, and `fault` says why."""
        self.fault = self.book.fault or next((track.fault for track in self.tracks if track.fault), "")
        if not self.fault and self.room.is_over:
            self.fault = f"the disk has less than {self._settings.keep_free_gb:g} GB left (record.keep_free_gb)"
        if self.fault:
            return False
        if warning := self.room.warning(self.size):
            self._notice(warning)
        for track, camera in zip(self.tracks, self._request["cameras"], strict=True):
            self._warn_of_backlog(track, camera["lendable"])
        for source, count in self.lost.items():
            self._tell_more(source, count, f"{count} messages of {source} never reached the recorder")
        return True

    def _warn_of_backlog(self, track: Track, lendable: int) -> None:
        key, waiting = f"backlog {track.name}", track.waiting
        if waiting > lendable / 2 and key not in self._told:
            self._told[key] = waiting
            self._notice(
                f"camera {track.name}: encoder or disk do not keep up: {waiting} pictures wait, and beyond {lendable} "
                f"some are lost. Use a faster codec or disk, fewer frames/s, or a longer record.buffer_ms"
            )
        elif waiting <= lendable / 8:
            self._told.pop(key, None)
        missed = sum(track.missed.values())
        self._tell_more(
            f"missed {track.name}", missed, f"camera {track.name}: {missed} pictures were not recorded so far"
        )

    def _tell_more(self, key: str, count: int, text: str) -> None:
        """Tell of the first, and then each time that there are twice as many."""
        if count >= 2 * self._told.get(key, 0) and count:
            self._told[key] = count
            self._notice(text)

    def _notice(self, text: str) -> None:
        self._tell("notice", text=f"recorder: {text}")
        self.event("recorder", "notice", {"text": text})

    def close(self) -> None:
        """Encode and write what waits, close all files; idempotent."""
        for track in self.tracks:
            track.stop()
        self.fault = self.fault or next((track.fault for track in self.tracks if track.fault), "")
        if self.fault:
            self.event("recorder", "recording_ended", {"why": self.fault})
        self._opened.close()
        self.fault = self.fault or self.book.fault

    def report(self) -> dict[str, Any]:
        """The ``record`` part of a run's report."""
        return {
            "folder": str(self._folder),
            "cameras": {
                track.name: {"recorded": track.writer.written, "missed": dict(track.missed)} for track in self.tracks
            },
            "messages_lost": dict(self.lost),
            "marked": dict(self.marked),
            "bytes": self.size,
            "fault": self.fault,
        }


def main(parent: Parent) -> None:
    """The recorder as a process: makes the folder, waits for the engine's cameras, records until it is told to end."""
    request = parent.receive()
    if request is None or request["event"] == STOP:
        return
    text, file = request["rig"], Path(request["file"])
    rig = parse_rig(text, file, ())
    if rig.realtime.recorder_cores:
        realtime.pin(rig.realtime.recorder_cores)
    with zmq.Context() as context, context.socket(zmq.PULL) as inlet:
        inlet.bind("tcp://127.0.0.1:*")
        parent.say("ready", endpoint=inlet.getsockopt_string(zmq.LAST_ENDPOINT))
        message = parent.receive()
        if message is None or message["event"] != "record":
            return
        now, at_ns = datetime.now().astimezone(), now_ns()
        folder = make_folder(rig, now)
        recorder = Recorder(rig, folder, message, parent.say)
        models = {"model": find_model(rig.model.file)}
        models |= {name: find_model(table.file) for name, table in rig.models.items()}
        try:
            recorder.open(lambda cameras: write_head(folder, text, file, rig, now, at_ns, models, cameras))
        except BaseException:
            # Nothing was recorded.
            shutil.rmtree(folder, ignore_errors=True)
            raise
        wanted = True
        try:
            parent.say("recording", folder=str(folder), left=as_time(recorder.room.left_s(0)))
            wanted = _serve(recorder, inlet, parent)
        finally:
            recorder.close()
            if wanted:
                parent.say("report", **recorder.report())
            else:
                shutil.rmtree(folder, ignore_errors=True)


def _serve(recorder: Recorder, inlet: zmq.Socket[bytes], parent: Parent) -> bool:
    """Take messages until the parent says finish and every source has ended, or until the recording cannot go on.

    False: no camera was ever started, and nobody wants what there is.
    """
    finishing, heard_s, next_watch_s = False, 0.0, 0.0
    while True:
        if inlet.poll(math.ceil(_POLL_S * 1000)):
            heard_s = time.monotonic()
            with contextlib.suppress(zmq.Again):
                for _ in range(1000):
                    recorder.take(inlet.recv(zmq.DONTWAIT))
        now_s = time.monotonic()
        if now_s >= next_watch_s:
            next_watch_s = now_s + _STATUS_S
            if not recorder.watch():
                return True
            parent.say("backlog", waiting={track.name: track.waiting for track in recorder.tracks})
        while (message := parent.receive(0)) is not None:
            if message["event"] == "log":
                recorder.event(message["source"], message["kind"], message["detail"])
            elif message["event"] == "discard":
                return False
            elif message["event"] in (STOP, "finish") and not finishing:
                finishing, heard_s = True, now_s
        if finishing and (recorder.ended >= {"engine", "host"} or now_s - heard_s > _QUIET_S):
            return True
