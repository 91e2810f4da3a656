"""Does a session hold what it says? Picture i = row i = a trigger that the camera counted, and nothing lost in silence.

What is missing and told (dropped frames, a crash) is a warning; what contradicts itself, or is missing and told by
nobody, is a failure.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from poseloop.live.errors import DataError
from poseloop.live.output import footage
from poseloop.live.output.columns import frame_counts
from poseloop.live.output.session import Frames, Session
from poseloop.live.types import Finding, Level

__all__ = ["verify"]

_TICK_NS = 2_000_000
"""A container rounds times to its own ticks, Matroska's are 1 ms; two rounded times differ by less than two."""

_NAMED = 5
"""Numbers that a text names; a report has all of them."""

_CHUNK = 1 << 20

_Int64 = npt.NDArray[np.int64]


def verify(
    session: Session, decode: bool = True, done: Callable[[int], object] = lambda count: None
) -> tuple[list[Finding], dict[str, Any]]:
    """Examine a session.

    Args:
        session: opened.
        decode: decode every picture; otherwise they are only counted, which takes a moment and proves less.
        done: called with 1 for each picture that was looked at.

    Returns:
        What was found, and the numbers behind it: ``cameras`` (pictures, rows, dropped, gaps), ``streams`` (rows,
        gaps), ``files`` (hashes).
    """
    check = _Check(session, decode, done)
    return check.findings, check.numbers


class _Check:
    """One examination; it is done when it is made."""

    def __init__(self, session: Session, decode: bool, done: Callable[[int], object]) -> None:
        self.findings: list[Finding] = []
        self.numbers: dict[str, Any] = {"cameras": {}, "streams": {}, "files": {}, "crashed": session.crashed}
        self._session = session
        self._done = done
        self._end()
        if self._log():
            self.numbers["lost"] = [
                {"source": source, "first": first, "last": last} for source, first, last in session.lost()
            ]
            for camera in session.cameras:
                self._camera(camera, decode)
            self._streams()
        self._files()

    def _say(self, subject: str, level: Level, text: str, advice: str = "") -> None:
        self.findings.append(Finding(subject, level, text, advice))

    def _end(self) -> None:
        if self._session.crashed:
            text = "it was broken off, or is still being recorded: there is no report; what was written is there"
            self._say("end", Level.WARN, text)
            return
        assert self._session.report is not None
        if self._fault:
            self._say("end", Level.WARN, f"the recording ended before the run: {self._fault}")
        else:
            ended = self._session.report.get("ended", "")
            self._say("end", Level.OK, f"it ended because {ended}" if ended else "it ended properly")

    def _log(self) -> bool:
        """False = it cannot be read."""
        try:
            faults = [text for (text,) in self._session.rows("PRAGMA quick_check")]
        except DataError as error:
            faults = [str(error)]
        if faults == ["ok"]:
            self._say("log", Level.OK, "it is whole")
            return True
        self._say("log", Level.FAIL, f"it is damaged: {faults[0]}", "sqlite3 log.sqlite .recover saves what can be")
        return False

    def _camera(self, camera: str, decode: bool) -> None:
        session = self._session
        frames = session.frames(camera)
        unrecorded = list(session.unrecorded(camera))
        reasons = {index: why for index, _, why in unrecorded}
        dropped = {index: reason for name, index, reason in session.dropped() if name == camera}
        seen = np.unique(np.concatenate([frames.index[frames.index >= 0], np.array(list(reasons), np.int64)]))
        absent = _gaps(seen)
        numbers: dict[str, Any] = {
            "rows": len(frames.index),
            "unrecorded": [{"index": index, "reason": why} for index, why in reasons.items()],
            "dropped": [{"index": index, "reason": reason} for index, reason in dropped.items()],
            "absent": [number for first, last in absent for number in range(first, last + 1)],
        }
        self.numbers["cameras"][camera] = numbers
        self._rows(camera, frames, len(seen) + int((frames.index < 0).sum()) - len(reasons))
        if camera in session.footage:
            numbers |= self._video(camera, frames, decode)
        elif len(frames.index):
            self._say(camera, Level.FAIL, f"{_number(len(frames.index), 'row')} of pictures, but there is no video")
        if reasons:
            text = f"{_number(len(reasons), 'picture')} not in the video ({_counted(reasons.values())})"
            self._say(camera, Level.WARN, text)
        if dropped:
            text = f"the loop dropped {_number(len(dropped), 'picture')} ({_counted(dropped.values())})"
            self._say(camera, Level.WARN, text)
        if absent:
            text = f"{_number(len(numbers['absent']), 'trigger')} without a picture: {_named(absent)}"
            told = all(index in dropped for index in numbers["absent"])
            self._say(camera, Level.WARN, text, "" if told else "the camera never delivered them: cable, bandwidth")

    def _rows(self, camera: str, frames: Frames, expected: int) -> None:
        missing = np.flatnonzero(frames.index < 0)
        if len(missing):
            text = f"rows of {_number(len(missing), 'picture')} missing from the log, from row {missing[0]} on"
            self._say(camera, self._loss, text)
        index, exposed = frames.index[frames.index >= 0], frames.exposed_ns[frames.index >= 0]
        back = np.flatnonzero(np.diff(index) <= 0)
        if len(back):
            row = back[0] + 1
            text = f"row {row}: expected a trigger after {index[row - 1]}, but found {index[row]}"
            self._say(camera, Level.FAIL, text)
        late = np.flatnonzero(np.diff(exposed) < 0)
        if len(late):
            self._say(camera, Level.FAIL, f"row {late[0] + 1}: it was exposed before the row before it")

    def _video(self, camera: str, frames: Frames, decode: bool) -> dict[str, Any]:
        try:
            found = footage.scan(self._session.footage[camera].file, decode, self._done)
        except DataError as error:
            # A crash in the first moments leaves not even the head of a video.
            if len(frames.index):
                self._say(camera, self._loss, str(error))
            else:
                # The run ended before the first one; a video's head is written with its first pictures.
                self._say(camera, Level.WARN, "no picture was recorded")
            return {"pictures": 0, "decoded": decode}
        pictures, rows = len(found.times_ns), len(frames.index)
        both = min(pictures, rows)
        word = "decoded" if decode else "counted"
        if pictures == rows:
            span = f", triggers {frames.index[0]} to {frames.index[-1]}" if rows else ""
            self._say(camera, Level.OK, f"{pictures} pictures {word} = {rows} rows{span}")
        elif self._session.crashed or self._fault:
            which = "have no picture" if rows > pictures else "have no row"
            noun = "row" if rows > pictures else "picture"
            text = f"{pictures} pictures {word}, {rows} rows: the last {_number(abs(rows - pictures), noun)} {which}"
            self._say(camera, Level.WARN, text, f"use the first {both}")
        else:
            text = f"{pictures} pictures {word}, but {rows} rows"
            why = f" ({found.broken})" if found.broken else ""
            self._say(camera, Level.FAIL, text + why, "pictures and times do not belong together from there on")
        known = np.flatnonzero(frames.index[:both] >= 0)
        off = _off(found.times_ns[known], frames.exposed_ns[known])
        wrong = np.flatnonzero(off > _TICK_NS)
        if len(wrong):
            ms = off[wrong[0]] / 1e6
            text = f"picture {known[wrong[0]]}: the video says it was taken {ms:.0f} ms from when its row says"
            self._say(camera, Level.FAIL, text, "the video is not this log's, or pictures are missing inside it")
        return {"pictures": pictures, "decoded": decode, "broken": found.broken, "out_of_step": len(wrong)}

    def _streams(self) -> None:
        session = self._session
        for source, first, last in session.lost():
            text = f"the recorder never got messages {first} to {last} of the {source}"
            self._say("recorder", Level.WARN, text, "what they told is missing below")
        for table, column in (("pose", "sequence"), ("decision", "number")):
            gaps = self._table_gaps(table, column)
            rows = session.count(table)
            self.numbers["streams"][table] = {"rows": rows, "gaps": [list(gap) for gap in gaps]}
            if not gaps:
                self._say(f"{table}s", Level.OK, f"{rows}, none missing")
                continue
            count = sum(last - first + 1 for first, last in gaps)
            self._say(f"{table}s", self._loss, f"{rows}, {count} missing: {_named(gaps)}")
        self._tail()
        for table in ("trigger", "event"):
            self.numbers["streams"][table] = {"rows": session.count(table)}
        self._belongs("decision", "sequence", "pose", "sequence")
        self._belongs("trigger", "idx", "pose", "idx")
        self._poses_belong()

    def _tail(self) -> None:
        """Poses after the last one of the log: only the run's report knows of them."""
        published = (self._session.report or {}).get("poses", {}).get("published")
        last = next(self._session.rows("SELECT max(sequence) FROM pose"))[0]
        there = 0 if last is None else last + 1
        if published is not None and published > there:
            text = f"the engine published {published}, but the log ends with number {there - 1}"
            self._say("poses", self._loss, text)

    @property
    def _loss(self) -> Level:
        """How bad it is that something is missing: where a loss was told, that is a warning."""
        told = self.numbers.get("lost") or self._session.crashed or self._fault
        return Level.WARN if told else Level.FAIL

    @property
    def _fault(self) -> str:
        """Why the recording ended before the run, as its report tells; empty: it did not."""
        return str((self._session.report or {}).get("record", {}).get("fault", ""))

    def _table_gaps(self, table: str, column: str) -> list[tuple[int, int]]:
        """First and last number of every gap; they count from 0."""
        query = (
            f"SELECT before + 1, {column} - 1 FROM (SELECT {column}, lag({column}, 1, -1) OVER (ORDER BY {column}) "
            f"AS before FROM {table}) WHERE {column} <> before + 1"
        )
        return list(self._session.rows(query))

    def _belongs(self, table: str, column: str, other: str, key: str) -> None:
        query = f"SELECT count(*), min({column}) FROM {table} WHERE {column} NOT IN (SELECT {key} FROM {other})"
        count, first = next(self._session.rows(query))
        if count:
            word = "trigger" if column == "idx" else column
            text = f"{count} belong to a {other} that is not there, the first to {word} {first}"
            self._say(f"{table}s", self._loss, text)

    def _poses_belong(self) -> None:
        """Every frame that a pose was made of is in the log."""
        session = self._session
        known = [
            np.array(
                [index for (index,) in session.rows("SELECT idx FROM frame WHERE camera = ?", (number,))], np.int64
            )
            for number in range(len(session.cameras))
        ]
        odd: list[int] = []
        for rows in session.blocks("SELECT sequence, frames FROM pose ORDER BY sequence"):
            frames = frame_counts([packed for _, packed in rows], len(known))
            there = [(frames[:, c] < 0) | np.isin(frames[:, c], indices) for c, indices in enumerate(known)]
            odd += [rows[n][0] for n in np.flatnonzero(~np.all(there, axis=0))]
        if odd:
            text = (
                f"{_number(len(odd), 'pose')} made of a frame that is not in the log, the first with sequence {odd[0]}"
            )
            self._say("poses", self._loss, text)

    def _files(self) -> None:
        session = self._session
        parts = dict(session.models)
        if session.calibration:
            parts["calibration"] = session.calibration
        for name, part in parts.items():
            found = _hash(part.file)
            self.numbers["files"][name] = {"file": part.file.name, "sha256": found, "unchanged": found == part.sha256}
            if not found:
                self._say(name, Level.FAIL, f"{part.file.name} is missing")
            elif found != part.sha256:
                text = f"{part.file.name} is not the file that the session was run with: its hash differs"
                self._say(name, Level.FAIL, text)
            else:
                self._say(name, Level.OK, f"{part.file.name} is the file that was run")


def _off(told_ns: _Int64, exposed_ns: _Int64) -> _Int64:
    """How far pictures' own times are from their rows'; both count from the first picture."""
    if not len(told_ns):
        return told_ns
    # As the writer tells them: whole milliseconds that rise, whatever the camera's rate.
    number = np.arange(len(told_ns))
    wanted_ms = np.maximum.accumulate(np.round((exposed_ns - exposed_ns[0]) / 1e6) - number) + number
    off: _Int64 = np.abs((told_ns - told_ns[0]) - (wanted_ms * 1e6).astype(np.int64))
    return off


def _gaps(numbers: _Int64) -> list[tuple[int, int]]:
    """First and last number of every gap between ascending numbers."""
    after = np.flatnonzero(np.diff(numbers) > 1)
    return [(int(numbers[i]) + 1, int(numbers[i + 1]) - 1) for i in after]


def _named(gaps: Sequence[tuple[int, int]]) -> str:
    named = ", ".join(str(first) if first == last else f"{first} to {last}" for first, last in gaps[:_NAMED])
    return named + (f" and {len(gaps) - _NAMED} more gaps" if len(gaps) > _NAMED else "")


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _counted(reasons: Any) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in Counter(reasons).most_common())


def _hash(file: Path) -> str:
    """SHA-256 in hexadecimal; empty = there is no such file."""
    if not file.is_file():
        return ""
    digest = hashlib.sha256()
    for chunk in _chunks(file):
        digest.update(chunk)
    return digest.hexdigest()


def _chunks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as opened:
        while chunk := opened.read(_CHUNK):
            yield chunk
