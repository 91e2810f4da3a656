"""How near each part of the way comes to what this computer can do at all: the part and its physical limit, in turn.

``python -m poseloop.bench.limits --report FILE.json``, and with ``--port`` for a connected board

1. network: picture in memory to keypoints, beside a bare ``session.run`` of the same model and size;
2. socket: a pose to another process and back, beside the same bytes through bare ZeroMQ sockets;
3. decoding: the search of a network's maps, beside a copy of their bytes (memory bandwidth);
4. serial: a question to the board and its answer, beside their bytes at the baud rate (ten bits a byte); no output is
   switched. Without a board only the limit of a command is told;
5. triangulation: there is no limit but the arithmetic itself.

A part's share of its limit is limit / part: 1 is as fast as can be.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np

from poseloop.bench import peaks, triangulation, wire
from poseloop.bench.inference import bare_session
from poseloop.bench.measuring import in_turn, summary
from poseloop.bench.options import make_parser
from poseloop.drivers.arduino.board import ArduinoBoard
from poseloop.drivers.arduino.framing import encode
from poseloop.drivers.arduino.tables import BAUD, LAYOUTS, ToBoard, ToHost
from poseloop.live.output import report as reports
from poseloop.live.vision import Network
from poseloop.live.vision.network import View, find_model

__all__ = ["Row", "main", "network", "serial"]

_PAUSE_S = 0.005
"""Before each run of network and socket: the rest that a camera of 100 frames a second leaves."""

_CAMERAS, _POINTS = 4, 12
_ROWS, _COLUMNS = 60, 80
_BITS = 10
"""Of a byte on the wire: start, eight, stop."""

Row = dict[str, Any]
"""``part``, ``limit``: what they are; ``part_us``, ``limit_us``: medians, None = not measured; ``share``."""


def _row(part: str, part_us: float | None, limit: str, limit_us: float | None) -> Row:
    share = round(limit_us / part_us, 3) if part_us and limit_us else None
    return {"part": part, "part_us": part_us, "limit": limit, "limit_us": limit_us, "share": share}


def network(model: str, width: int, height: int, rounds: int) -> Row:
    """Picture to keypoints beside a bare run, on one thread."""
    info = Network.describe(model)
    shape = (1, height, width, info.colour.channels)
    images = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    picture = images[0] if info.colour.channels == 3 else images[0, :, :, 0]
    session, name = bare_session(find_model(model), shape, 1)
    with Network.open(model, threads=1) as ours:
        ours.prepare([View(height, width, info.colour)])

        def whole() -> None:
            ours.load([picture])
            ours.run()
            ours.decode()

        runs = {"whole": whole, "bare": lambda: session.run(None, {name: images})}
        times = in_turn(runs, rounds, pause_s=_PAUSE_S)
    medians = {key: round(summary(taken)["p50"] * 1e3, 1) for key, taken in times.items()}
    title = f"network, {model} {width} x {height}: picture to keypoints"
    return _row(title, medians["whole"], "bare session.run", medians["bare"])


def socket(rounds: int) -> Row:
    """A pose there and back beside its bytes."""
    (found,) = wire.measure(rounds, _PAUSE_S, [(_CAMERAS, _POINTS)])
    there, bare = (round(found["ms"][f"{what} there and back"]["p50"] * 1e3, 1) for what in ("pose", "bytes"))
    title = f"socket, {_POINTS} keypoints of {_CAMERAS} cameras: there and back"
    return _row(title, there, f"{found['bytes']} bytes through bare ZeroMQ", bare)


def decoding(rounds: int) -> Row:
    """The search for the highest cells beside a copy."""
    us = peaks.measure(_POINTS, _ROWS, _COLUMNS, 1, rounds)["us"]
    rate = 4 * _POINTS * _ROWS * _COLUMNS / us[peaks.COPY]["p50"] / 1e3
    title = f"decoding, {_POINTS} maps of {_COLUMNS} x {_ROWS}: arg max"
    return _row(title, us["argmax"]["p50"], f"{peaks.COPY} ({rate:.0f} GB/s)", us[peaks.COPY]["p50"])


def serial(port: str | None, baud: int, rounds: int) -> Row:
    """A question and its answer beside their bytes at the baud rate; without a board, those of a command."""
    if port is None:
        board = ArduinoBoard("box", ArduinoBoard.Settings(port="COM1", baud=baud))
        return _row(f"serial, one pulse at {baud:,} baud", None, "its bytes", round(board.command_us, 1))
    sizes = len(encode(ToBoard.PING, 1)), len(encode(ToHost.PONG, 1, bytes(LAYOUTS[ToHost.PONG].size)))
    board = ArduinoBoard("box", ArduinoBoard.Settings(port=port, baud=baud))
    taken = []
    try:
        board.open()
        for _ in range(rounds):
            time.sleep(_PAUSE_S)
            taken.append(board.ping_ns() / 1e3)
    finally:
        board.close()
    limit = f"{sum(sizes)} bytes at {baud:,} baud"
    return _row(
        "serial, question and answer", round(float(np.median(taken)), 1), limit, sum(sizes) * _BITS * 1e6 / baud
    )


def main() -> int:
    """Measure, print a table, write JSON."""
    parser = make_parser(__doc__)
    parser.add_argument("--models", default="blob,openfield", help="zoo names or .onnx files, with commas")
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--port", help="of a board with Poseloop's firmware")
    parser.add_argument("--baud", type=int, default=BAUD)
    arguments = parser.parse_args()
    rounds = arguments.rounds
    rows = [network(model, arguments.width, arguments.height, rounds) for model in arguments.models.split(",")]
    rows += [socket(rounds), decoding(rounds), serial(arguments.port, arguments.baud, rounds)]
    points = triangulation.speed(rounds)["us"][triangulation.CLEAN]["p50"]
    rows.append(_row(f"triangulation, {_POINTS} points, {_CAMERAS} views", points, "none", None))
    print(f"{'medians, us':<58}{'part':>10}{'limit':>10}{'share':>8}")
    for row in rows:
        numbers = [f"{'–':>10}" if row[key] is None else f"{row[key]:>10.1f}" for key in ("part_us", "limit_us")]
        share = f"{'–':>8}" if row["share"] is None else f"{row['share']:>8.0%}"
        print(f"  {row['part']:<56}{''.join(numbers)}{share}  {row['limit']}")
    if arguments.report is not None:
        result = {"rows": rows, "rounds": rounds, "versions": reports.versions(), "machine": reports.machine()}
        reports.write(result, arguments.report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
