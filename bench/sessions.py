"""How long it takes to open, prove and export the log of a long session, and in how much memory.

The session is made first: poses, frames and decisions of one camera in simulated time, without pictures. ``read`` is
the bare work that nothing can be faster than: every row of the log by SQLite alone.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import numpy as np

from poseloop.bench.measuring import peak_memory_mb
from poseloop.bench.options import make_parser, save
from poseloop.live.output.log import LOG_FILE, LogWriter, packed
from poseloop.live.output.session import Session
from poseloop.live.output.verify import verify
from poseloop.live.output.wire import Wire
from poseloop.live.types import Keypoints, Pose, Trace

_HEAD = """format = 1
rig = "bench"
subject = ""
started = "2026-05-04T09:30:12+02:00"
started_ns = 1000000000
[versions]
[machine]
[models]
[cameras]
"""
_STARTED_NS = 1_000_000_000


def make(folder: Path, poses: int, fps: float, keypoints: int) -> None:
    """Write the session."""
    folder.mkdir()
    (folder / "session.toml").write_text(_HEAD, encoding="utf-8")
    names = [f"point{number}" for number in range(keypoints)]
    log, wire, random = LogWriter(folder, {"cameras": ["top"], "keypoints": names}), Wire(), np.random.default_rng(0)
    noise = np.full((1, keypoints), np.nan, np.float32)
    views = np.ones((1, keypoints), np.uint8)
    for n in range(poses):
        at = _STARTED_NS + round(n * 1e9 / fps)
        xy, score = random.random((1, 1, keypoints, 2), np.float32) * 640, random.random((1, 1, keypoints), np.float32)
        arrived, inferred, published = (at + step * 1_000_000 for step in (1, 4, 6))
        trace = Trace(at, arrived, arrived, arrived, inferred, inferred, 0, published)
        pose = Pose(n, n, Keypoints(xy, score), None, score[0], noise, views, xy, 0, 0, 0, trace)
        log.add("frame", [(0, n, n, at, at + 1_000_000, 0, "")])
        log.add("pose", [(n, n, at, at + 6_000_000, wire.pose(pose), msgpack.packb([n]))])
        log.add("decision", [(n, n, 1, at + 7_000_000, at + 7_100_000, packed([]), packed([]))])
        if n % 10_000 == 0:
            log.commit()
    log.close()


def read(folder: Path) -> None:
    """Every row, by SQLite alone."""
    log = sqlite3.connect(folder / LOG_FILE)
    for table in ("frame", "pose", "decision"):
        cursor = log.execute(f"SELECT * FROM {table}")
        while cursor.fetchmany(1024):
            pass
    log.close()


def check(folder: Path) -> None:
    """As ``poseloop check``, without pictures."""
    with Session.open(folder) as session:
        verify(session)


def poses(folder: Path) -> None:
    """Every pose as columns."""
    with Session.open(folder) as session:
        for _ in session.pose_columns():
            pass


def export(to: str) -> Callable[[Path], None]:
    """As ``poseloop export``."""

    def work(folder: Path) -> None:
        from poseloop.train.commands import export as command

        parser = argparse.ArgumentParser()
        command.add_arguments(parser)
        out = folder.parent / ("out.nwb" if to == "nwb" else f"out_{to}")
        command.run(parser.parse_args([str(folder), "--to", to, "--out", str(out)]))

    return work


WORK: dict[str, Callable[[Path], None]] = {"read": read, "poses": poses, "check": check}
WORK |= {f"export {to}": export(to) for to in ("parquet", "csv", "dlc", "sleap", "nwb")}


def measured(name: str, folder: Path) -> dict[str, Any]:
    """Do one thing in a process of its own; its time with all imports, and its largest memory."""
    code = f"from poseloop.bench.sessions import one; one({name!r}, {str(folder)!r})"
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    whole_s = time.perf_counter() - started
    return {**json.loads(done.stdout.splitlines()[-1]), "process_s": round(whole_s, 2)}


def one(name: str, folder: str) -> None:
    """In the process: do it, and tell time and memory."""
    started = time.perf_counter()
    WORK[name](Path(folder))
    print(json.dumps({"seconds": round(time.perf_counter() - started, 2), "peak_mb": peak_memory_mb()}))


def main() -> int:
    """Make the session, do everything once, print a table."""
    parser = make_parser(__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="length of the session; default: 60")
    parser.add_argument("--fps", type=float, default=100.0)
    parser.add_argument("--keypoints", type=int, default=4)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "session"
        make(folder, round(arguments.minutes * 60 * arguments.fps), arguments.fps, arguments.keypoints)
        size = (folder / LOG_FILE).stat().st_size / 1e6
        print(f"{arguments.minutes:g} minutes at {arguments.fps:g} Hz: a log of {size:.0f} MB\n")
        print(f"{'':<16}{'s':>8}{'x read':>8}{'peak MB':>9}")
        results: dict[str, dict[str, Any]] = {}
        for name in WORK:
            results[name] = measured(name, folder)
            ratio = results[name]["seconds"] / max(results["read"]["seconds"], 1e-3)
            print(
                f"{name:<16}{results[name]['seconds']:>8.2f}{ratio:>8.1f}{results[name]['peak_mb'] or 0:>9.0f}",
                flush=True,
            )
    save({"minutes": arguments.minutes, "fps": arguments.fps, "log_mb": size, "results": results}, arguments.report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
