"""The way of everything into a session: lines from the other processes to the recorder, and the session's folder.

A line never waits: a message that finds its queue full, because the recorder hangs, is dropped, and the gap in its
source's numbers is what the recorder writes down when it goes on (table ``lost``).
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgpack
import zmq

from poseloop.live.clock import now_ns
from poseloop.live.config import Rig
from poseloop.live.errors import DataError
from poseloop.live.output.report import machine, versions

__all__ = ["END", "PICTURE", "Lines", "Outlet", "make_folder", "write_head"]

_QUEUED = 10_000
"""Messages of one source that wait for a recorder that hangs: a minute and a half at 100 Hz, and bounded."""

_LINGER_MS = 2000
"""How long the last messages may take to leave."""

PICTURE = "picture"
"""In a message, instead of a table: camera number, slot (-1: none was free), and the columns of ``frame`` from idx."""

END = "end"
"""The last of a source."""


class Lines:
    """All lines of one process to the recorder."""

    def __init__(self, endpoint: str) -> None:
        """Keep where the recorder listens."""
        self._endpoint = endpoint
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._outlets: list[Outlet] = []

    def outlet(self, source: str) -> Outlet:
        """A new line."""
        socket = self._context.socket(zmq.PUSH)
        socket.setsockopt(zmq.SNDHWM, _QUEUED)
        socket.connect(self._endpoint)
        self._outlets.append(Outlet(socket, source))
        return self._outlets[-1]

    def close(self, hurry: bool = False) -> None:
        """Say that nothing more will come and close; no thread may use an outlet any more. Idempotent.

        Args:
            hurry: the recorder is gone: do not wait until it has heard the last.
        """
        for outlet in self._outlets:
            outlet.end()
        self._outlets = []
        self._context.destroy(linger=0 if hurry else _LINGER_MS)


class Outlet:
    """One source's line to the recorder; for one thread."""

    def __init__(self, socket: zmq.Socket[bytes], source: str) -> None:
        """Keep the parts; use `Lines.outlet`."""
        self.source = source
        self._send = socket.send
        self._pack = msgpack.Packer().pack
        self._number = 0
        self._rows: list[tuple[str, Sequence[Any]]] = []

    def add(self, table: str, *row: Any) -> None:
        """Keep a row, in the order of its columns, for the next `send`."""
        self._rows.append((table, row))

    def event(self, source: str, kind: str, detail: Mapping[str, Any], at_ns: int = 0) -> None:
        """Keep a row of table ``event``; now, if no time is given."""
        self._rows.append(("event", (at_ns or now_ns(), source, kind, json.dumps(detail))))

    def send(self) -> bool:
        """Send what was kept, if anything was. False: the queue is full, and it is lost."""
        if not self._rows:
            return True
        body = self._pack((self.source, self._number, self._rows))
        self._rows = []
        self._number += 1
        try:
            self._send(body, zmq.DONTWAIT)
        except zmq.Again:
            return False
        return True

    def end(self) -> None:
        """Send what was kept, and that it was the last."""
        self.add(END)
        self.send()


def make_folder(rig: Rig, now: datetime) -> Path:
    """Make a new session's folder.

    Args:
        rig: with a table ``[record]``.
        now: wall-clock time, with its zone.

    Raises:
        DataError: it cannot be made.
    """
    assert rig.record is not None
    name = "_".join(part for part in (f"{now:%Y-%m-%d_%H-%M-%S}", rig.record.subject) if part)
    for again in range(1, 100):
        folder = rig.record.folder / (name if again == 1 else f"{name}-{again}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            text = f"the session's folder cannot be made: {error.strerror}; set record.folder to where there is room"
            raise DataError(f"{folder}: {text}") from error
        return folder
    raise DataError(f"{rig.record.folder / name}: there are a hundred sessions of this second")


def write_head(
    folder: Path,
    text: str,
    file: Path,
    rig: Rig,
    now: datetime,
    at_ns: int,
    models: Mapping[str, Path],
    cameras: Mapping[str, Mapping[str, Any]],
) -> None:
    """Write what a session begins with: ``rig.toml``, the files that it names, and ``session.toml``.

    Args:
        folder: the session's.
        text: of the rig file, as it is run.
        file: where it lies.
        rig: made of ``text``.
        now: wall-clock time.
        at_ns: the same moment on the host's clock.
        models: ``model``, or the NAME of ``[models.NAME]`` → its file.
        cameras: each with the keys of its table in ``session.toml``.

    Raises:
        DataError: a file cannot be copied or written.
    """
    tables: dict[str, Mapping[str, Any]] = {
        "": {
            "format": 1,
            "rig": rig.name,
            "rig_file": str(file),
            "subject": rig.record.subject if rig.record else "",
            "started": now.isoformat(),
            "started_ns": at_ns,
        },
        "versions": versions(),
        "machine": machine(),
    }
    try:
        (folder / "rig.toml").write_text(text, encoding="utf-8", newline="\n")
        for name, model in models.items():
            copy = folder / ("model.onnx" if name == "model" else f"model_{name}.onnx")
            shutil.copyfile(model, copy)
            tables[f"models.{name}"] = {"file": copy.name, "name": model.stem, "sha256": _sha256(copy)}
        if rig.geometry is not None:
            copy = folder / "calibration.toml"
            shutil.copyfile(rig.geometry.calibration, copy)
            tables["calibration"] = {"file": copy.name, "sha256": _sha256(copy)}
        _copy_code(rig, file.parent, folder)
        tables |= {f"cameras.{name}": table for name, table in cameras.items()}
        (folder / "session.toml").write_text(_toml(tables), encoding="utf-8", newline="\n")
    except OSError as error:
        raise DataError(f"{error.filename or folder}: the session cannot be begun: {error.strerror}") from error


def _copy_code(rig: Rig, source: Path, folder: Path) -> None:
    """Copy the user's own plugins, so that the session's rig file finds them beside it."""
    for table in (*rig.cameras.values(), *rig.boards.values(), *rig.protocols.values()):
        name, colon, _ = table.use.rpartition(":")
        path = Path(name)
        if colon and name.endswith(".py") and not path.is_absolute() and ".." not in path.parts:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / path, folder / path)


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _toml(tables: Mapping[str, Mapping[str, Any]]) -> str:
    """Tables of texts, numbers and truth values as TOML, whose simple values are written as JSON's are."""
    blocks = []
    for name, table in tables.items():
        lines = [f"[{name}]"] if name else []
        lines += [f"{_key(key)} = {json.dumps(value, ensure_ascii=False)}" for key, value in table.items()]
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


def _key(key: str) -> str:
    return key if key.replace("-", "").replace("_", "").isalnum() and key.isascii() else json.dumps(key)
