"""A session's video with what the loop made of it: poses, what protocols noted, stimuli while they were on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.stream import VideoStream

from poseloop.live.errors import ConfigError, DataError
from poseloop.live.output.draw import Canvas
from poseloop.live.output.footage import pictures
from poseloop.live.output.session import Event, Session
from poseloop.live.output.wire import Header
from poseloop.live.types import Colour, CommandKind, OutcomeKind, Pose

__all__ = ["write_overlay"]

_FLASH_NS = 60_000_000
"""A stimulus is shown for at least so long: one of 2 ms would be on no picture."""
_MS = Fraction(1, 1000)


@dataclass(frozen=True, slots=True)
class _Lit:
    """A stimulus that was on."""

    from_ns: int
    until_ns: int
    text: str


def write_overlay(session: Session, camera: str, file: Path) -> int:
    """Write the video; returns how many pictures it has.

    Args:
        session: opened.
        camera: whose video.
        file: ends in ``.mp4`` or ``.mkv``.

    Raises:
        ConfigError: there is no such camera.
        DataError: its video cannot be read, or the file cannot be written, or is one of the session's own.
    """
    if camera not in session.footage:
        raise ConfigError(f"expected a camera with a video ({', '.join(session.footage)}), but got {camera!r}")
    if file.exists() and any(its.file.exists() and its.file.samefile(file) for its in session.footage.values()):
        raise DataError(f"{file}: is a recording of this session, which is not written over; choose another name")
    number, footage = session.cameras.index(camera), session.footage[camera]
    model = next(iter(session.models.values())).name if session.models else ""
    header = Header(session.rig, model, session.cameras, session.keypoints, session.skeleton, session.gate)
    frames, lit = session.frames(camera), _lit(session)
    poses, notes = _ByRow(session, number), _Latest(session.events("note"))
    count = 0
    try:
        with av.open(str(file), "w") as container:
            stream: VideoStream | None = None
            for row, picture in enumerate(pictures(footage, Colour.BGR)):
                if row == len(frames.index):
                    break
                at_ns = int(frames.exposed_ns[row])
                canvas = Canvas(picture)
                pose = poses.at(row)
                if pose is not None:
                    for xy, score in zip(pose.keypoints.xy[number], pose.keypoints.score[number], strict=True):
                        canvas.animal(header, xy, score, session.gate)
                seconds = (at_ns - session.started_ns) / 1e9
                canvas.text(f"{seconds:9.3f} s   trigger {frames.index[row]}", (16, 28))
                if pose is None:
                    canvas.text("the loop passed this picture over", (16, 56))
                _write_words(
                    canvas, notes.until(at_ns), [item for item in lit if item.from_ns <= at_ns < item.until_ns]
                )
                image = canvas.image[: canvas.image.shape[0] // 2 * 2, : canvas.image.shape[1] // 2 * 2]
                if stream is None:
                    stream = container.add_stream("libx264", rate=Fraction(footage.fps or 30).limit_denominator(1000))
                    stream.height, stream.width = image.shape[:2]
                    stream.pix_fmt, stream.codec_context.time_base = "yuv420p", _MS
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="bgr24")
                frame.pts, frame.time_base = round((at_ns - int(frames.exposed_ns[0])) / 1e6), _MS
                container.mux(stream.encode(frame))
                count += 1
            if stream is not None:
                container.mux(stream.encode(None))
    except (av.FFmpegError, OSError) as error:
        raise DataError(f"{file}: the video cannot be written: {error.strerror}") from error
    return count


def _write_words(canvas: Canvas, notes: dict[str, Event], lit: list[_Lit]) -> None:
    height = canvas.image.shape[0]
    for line, (protocol, note) in enumerate(notes.items()):
        values = ", ".join(f"{key} = {value}" for key, value in (note.values.get("values") or {}).items())
        text = f"{protocol}: {note.values.get('name', '')}" + (f" ({values})" if values else "")
        canvas.text(text[:90], (16, height - 20 - 28 * line))
    for line, item in enumerate(lit):
        canvas.text(item.text, (16, 84 + 28 * line), strong=True)
    if lit:
        canvas.border()


def _lit(session: Session) -> list[_Lit]:
    """Stimuli that went out and were not refused, with the time that they were on."""
    found = []
    offs = [
        (decision.decided_ns, asked.command)
        for decision in session.decisions(eventful=True)
        for asked in decision.asked
        if asked.command.kind is CommandKind.OFF
    ]
    for trigger in session.triggers():
        if trigger.outcome is not OutcomeKind.ACKNOWLEDGED:
            continue
        command, trace = trigger.command, trigger.trace
        start = trace.pin_ns or trace.written_ns + command.delay_us * 1000
        if command.kind is CommandKind.LEVEL:
            ends = (at for at, off in offs if at > start and off.device == command.device)
            stop = next(ends, start + _FLASH_NS)
        else:
            stop = start + (command.period_us * max(command.count - 1, 0) + command.on_us) * 1000
        text = f"{command.device}.{command.line} {command.kind}"
        found.append(_Lit(start, max(stop, start + _FLASH_NS), text))
    return found


class _ByRow:
    """The poses that were made of one camera's pictures, asked for in order."""

    def __init__(self, session: Session, camera: int) -> None:
        name = session.cameras[camera]
        row_of = {int(index): row for row, index in enumerate(session.frames(name).index)}
        self._poses = self._rows(session, camera, row_of)
        self._next = next(self._poses, None)

    @staticmethod
    def _rows(session: Session, camera: int, row_of: dict[int, int]) -> Iterator[tuple[int, Pose]]:
        for pose, made_of, _ in session.history():
            index = made_of[camera]
            if index is not None and index in row_of:
                yield row_of[index], pose

    def at(self, row: int) -> Pose | None:
        while self._next is not None and self._next[0] < row:
            self._next = next(self._poses, None)
        return self._next[1] if self._next is not None and self._next[0] == row else None


class _Latest:
    """The last note of each protocol, up to a moment that only goes on."""

    def __init__(self, notes: Iterator[Event]) -> None:
        self._notes = notes
        self._next = next(notes, None)
        self._latest: dict[str, Event] = {}

    def until(self, at_ns: int) -> dict[str, Event]:
        while self._next is not None and self._next.at_ns <= at_ns:
            self._latest[str(self._next.values.get("protocol", ""))] = self._next
            self._next = next(self._notes, None)
        return self._latest
