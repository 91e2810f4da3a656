"""Does a rig that runs for long stay as it began: memory, and latency beside a bare run of the network?

``python -m poseloop.bench.soak --report FILE.json``, with the recordings in ``POSELOOP_DATA``, or
``python -m poseloop.bench.soak --video mine.mp4 --minutes 30``

The true engine replays a video over and over at its own pace. As in `poseloop.bench.pipeline`, the inference thread
makes one bare ``session.run`` in the idle time after each pose, so that whatever else the machine does meets both. Each
part of the run gives one row; the first one is warm-up.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from poseloop.bench.options import make_parser, save
from poseloop.bench.pipeline import Milliseconds, Probe
from poseloop.live.config import parse_rig
from poseloop.live.engine import Engine
from poseloop.live.errors import DataError

__all__ = ["main", "memory_mb", "soak"]

_RIG = """
name = "soak"
[cameras.camera]
use = "replay"
path = '{video}'
colour = "{colour}"
loop = true
[model]
file = "{model}"
threads = {threads}
[publish]
poses = "tcp://127.0.0.1:*"
health = "tcp://127.0.0.1:*"
previews = "tcp://127.0.0.1:*"
"""

_PARTS = 30
_FPS = 30.0
"""Where the video does not tell its rate."""


def memory_mb() -> float | None:
    """Memory of this process that lies in RAM; None where the system does not tell it (only Linux does)."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def soak(video: Path, model: str, colour: str, threads: int, minutes: float, parts: int = _PARTS) -> dict[str, Any]:
    """Run the engine so long and compare its parts.

    Args:
        video: replayed over and over.
        model: name or file.
        colour: ``grey`` or ``rgb``.
        threads: of a run.
        minutes: how long.
        parts: rows; the first is warm-up.

    Returns:
        ``rows``; ``memory_grown_mb``, the most of any row beyond the first; ``p99_ratio``, frame to socket over the
        bare run, the median of the first and of the last third of the rows after warm-up.

    Raises:
        DataError: a part was too short for a single pose.
    """
    text = _RIG.format(video=video.absolute(), colour=colour, model=model, threads=threads)
    engine = Engine(parse_rig(text, Path(__file__)))
    engine.open()
    rows: list[dict[str, Any]] = []
    try:
        probe = Probe(engine, threads, idle_s=0.2 / (engine.cameras[0].format.fps or _FPS))
        engine.publisher.send_pose = probe.send_pose  # type: ignore[method-assign]
        engine.start()
        began = time.monotonic()
        for part in range(parts):
            engine.failed.wait(max(began + (part + 1) * minutes * 60 / parts - time.monotonic(), 0))
            if engine.failed.is_set():
                break
            total, bare = probe.take()
            if not len(bare):
                raise DataError(f"{video}: no pose in part {part + 1} of {parts}; let it run for longer")
            rows.append(
                {
                    "poses": len(total),
                    "memory_mb": memory_mb(),
                    "frame_to_socket_ms": _percentiles(total),
                    "bare_run_ms": _percentiles(bare),
                    "p99_ratio": round(float(np.percentile(total, 99) / np.percentile(bare, 99)), 3),
                }
            )
            _show(part + 1, rows[-1])
        engine.stop()
        if engine.error is not None:
            raise engine.error
    finally:
        engine.close()
    memory = [row["memory_mb"] for row in rows if row["memory_mb"] is not None]
    ratios = [row["p99_ratio"] for row in rows[1:]] or [rows[0]["p99_ratio"]]
    third = max(len(ratios) // 3, 1)
    return {
        "video": video.name,
        "model": model,
        "threads": threads,
        "minutes": minutes,
        "frames": engine.report()["frames"],
        "rows": rows,
        "memory_grown_mb": round(max(memory) - memory[0], 2) if memory else None,
        "p99_ratio": {
            "first_third": round(float(np.median(ratios[:third])), 3),
            "last_third": round(float(np.median(ratios[-third:])), 3),
        },
    }


def _percentiles(values: Milliseconds) -> dict[str, float]:
    return {f"p{at}": round(float(np.percentile(values, at)), 4) for at in (50, 99)}


def _show(part: int, row: dict[str, Any]) -> None:
    if part == 1:
        print(f"{'part':>4}{'poses':>8}{'memory, MB':>12}{'p50, ms':>10}{'p99, ms':>10}{'bare p99':>10}{'ratio':>8}")
    memory = "-" if row["memory_mb"] is None else f"{row['memory_mb']:.1f}"
    engine, bare = row["frame_to_socket_ms"], row["bare_run_ms"]
    text = f"{part:>4}{row['poses']:>8}{memory:>12}{engine['p50']:>10.3f}{engine['p99']:>10.3f}{bare['p99']:>10.3f}"
    print(f"{text}{row['p99_ratio']:>8.2f}", flush=True)


def main() -> int:
    """Measure, print a table, write JSON."""
    parser = make_parser(__doc__)
    data = Path(os.environ.get("POSELOOP_DATA", "."))
    parser.add_argument("--video", type=Path, default=data / "tracktor_mouse" / "mouse_video.mp4")
    parser.add_argument("--model", default="blob")
    parser.add_argument("--colour", choices=("grey", "rgb"), default="grey")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--parts", type=int, default=_PARTS, help="rows; the first one is warm-up")
    arguments = parser.parse_args()
    result = soak(
        arguments.video, arguments.model, arguments.colour, arguments.threads, arguments.minutes, arguments.parts
    )
    grown, ratio = result["memory_grown_mb"], result["p99_ratio"]
    if grown is not None:
        print(f"memory grew by {grown} MB after the first part")
    print(f"p99 beside the bare run's: {ratio['first_third']} at first, {ratio['last_third']} at last")
    save(result, arguments.report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
