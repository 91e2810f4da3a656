"""``poseloop firmware``: write the board's program out, and say how to flash it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from poseloop.live.errors import DataError

__all__ = ["HELP", "add_arguments", "run"]

HELP = "write the board's program into a folder, and say how to flash it"

SKETCH = Path(__file__).with_name("firmware") / "poseloop"

_KINDS = (".ino", ".h", ".cpp")

_ADVICE = """\
The sketch is in {folder}

With the Arduino IDE:
  1. File > Open: {ino}
  2. Tools > Board: Arduino Uno, Arduino Nano, or Arduino Mega 2560 (Leonardo and Micro: untested)
     An older Nano: Tools > Processor: ATmega328P (Old Bootloader)
  3. Tools > Port: the board's, then Sketch > Upload

With arduino-cli (arduino:avr:uno, arduino:avr:nano, arduino:avr:nano:cpu=atmega328old or arduino:avr:mega):
  arduino-cli core install arduino:avr
  arduino-cli compile --fqbn arduino:avr:uno "{folder}"
  arduino-cli upload --fqbn arduino:avr:uno --port PORT "{folder}"

`poseloop devices` lists the ports. Keep lasers and valves unplugged while you flash: pins float until the program runs.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="the sketch goes into DIR/poseloop")


def run(arguments: argparse.Namespace) -> int:
    """Write the sketch; files that somebody has changed are kept."""
    folder = arguments.folder / SKETCH.name
    files = {path.name: path.read_bytes() for path in sorted(SKETCH.iterdir()) if path.suffix in _KINDS}
    try:
        there = {path.name: path.read_bytes() for path in folder.iterdir()} if folder.is_dir() else {}
        changed = [name for name, content in files.items() if there.get(name, content) != content]
        if changed:
            raise DataError(
                f"{folder}: expected no other files than this version's, but {', '.join(changed)} differ: they were "
                f"changed, or come from another version. Move them away, or choose another folder"
            )
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
    except OSError as error:
        raise DataError(f"{folder}: the sketch cannot be written: {error}") from error
    sys.stdout.write(_ADVICE.format(folder=folder, ino=folder / "poseloop.ino"))
    return 0
