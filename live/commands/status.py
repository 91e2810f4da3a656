"""The status line of a run: written over on a terminal; on a file, a line now and then."""

from __future__ import annotations

import shutil
from typing import TextIO

from poseloop.live.output import report as reports
from poseloop.live.process import Message

__all__ = ["Status"]

_EVERY = 20
"""On a file: one line for this many updates (5 s)."""

_CAMERA = {
    "ok": "delivers again",
    "lost": "is gone ({}); it is opened again as soon as it is back",
    "silent": "delivers nothing; is it triggered?",
    "hung": "hangs in its driver and was left behind; unplug it before the next run",
}
"""State of a camera → what a person should know of it; {} = the reason."""


class Status:
    """Shows what the processes tell; a context manager that leaves the cursor on a line of its own."""

    def __init__(self, stream: TextIO, quiet: bool, debug: bool = False) -> None:
        """Keep where to write.

        Args:
            stream: a terminal or a file.
            quiet: show nothing but what goes wrong.
            debug: show where in a protocol an error happened.
        """
        self._stream = stream
        self._quiet = quiet
        self._debug = debug
        self._terminal = stream.isatty()
        self._width = 0
        self._updates = 0
        self._last: Message | None = None
        self._triggers: dict[str, int] = {}
        self._boards: dict[str, str] = {}
        self._failed = 0
        self._fps = 0.0

    def __enter__(self) -> Status:
        return self

    def __exit__(self, *_: object) -> None:
        self._clear()

    def say(self, text: str, important: bool = False) -> None:
        """Show a line that stays."""
        if not self._quiet or important:
            self._clear()
            self._stream.write(f"{text}\n")
            self._stream.flush()

    def hear(self, process: str, message: Message) -> None:
        """Update from what a process told."""
        match message["event"]:
            case "ready":
                if sync := message.get("sync"):
                    self.say(f"sets by {sync['match']}: exposures within {reports.as_tolerance(sync)}")
            case "health":
                self._health(message)
            case "status":
                self._triggers = message["triggers"]
                self._boards = {name: "armed" if armed else "safe" for name, armed in message["armed"].items()}
            case "board":
                detail = f": {message['detail']}" if message["detail"] else ""
                self.say(f"board {message['board']}: {message['state'].replace('_', ' ')}{detail}")
            case "camera":
                self.say(f"camera {message['camera']}: {_CAMERA[message['state']].format(message['detail'])}", True)
            case "notice":
                self.say(message["text"], important=True)
            case "protocol_failed":
                self._failed += 1
                self.say(f"protocol {message['protocol']} failed and is disabled: {message['error']}", important=True)
                if self._debug:
                    self.say(message["trace"], important=True)
            case "silent":
                self._boards = dict.fromkeys(self._boards, "?")
                self.say(
                    f"the host has not answered for {message['seconds']:g} s: a protocol hangs. Outputs go off when "
                    f"their lease lapses",
                    important=True,
                )
            case "recording":
                self.say(f"recording to {message['folder']}; the disk has room for about {message['left']}")
            case "unrecorded":
                self.say(f"THE RECORDING HAS ENDED: {message['text']}", important=True)
                self.say(f"what was recorded until now is in {message['folder']}", important=True)
            case "checking":
                self.say("checking that the session is whole … (Ctrl-C twice leaves it unchecked)")
            case "stopping":
                self.say("stopping …")

    def _health(self, health: Message) -> None:
        last, self._last = self._last, health
        if last is None or self._quiet:
            return
        rate = (health["processed"] - last["processed"]) / max((health["at_ns"] - last["at_ns"]) / 1e9, 1e-3)
        self._fps = rate if self._fps == 0 else 0.7 * self._fps + 0.3 * rate
        self._updates += 1
        if not self._terminal and self._updates % _EVERY != 1:
            return
        self._show(self._line(health))

    def _line(self, health: Message) -> str:
        parts = [f"{health['processed']} sets", f"{self._fps:.1f}/s"]
        parts.append(
            "no pose" if health["p50_ms"] is None else f"{health['p50_ms']:.1f} ms (p99 {health['p99_ms']:.1f})"
        )
        parts.append(f"dropped {sum(health['dropped'].values())}")
        parts += [f"{name} {camera['state']}" for name, camera in health["cameras"].items() if camera["state"] != "ok"]
        if self._boards:
            parts.append(f"triggers {self._triggers.get('acknowledged', 0)}/{self._triggers.get('sent', 0)}")
            parts += [f"{name} {state}" for name, state in self._boards.items()]
        if self._failed:
            parts.append(f"{self._failed} protocol(s) failed")
        return "  ".join(parts)

    def _show(self, line: str) -> None:
        if self._terminal:
            # A line that wraps could not be written over.
            line = line[: shutil.get_terminal_size().columns - 1]
            self._stream.write("\r" + line.ljust(self._width))
            self._width = len(line)
        else:
            self._stream.write(line + "\n")
        self._stream.flush()

    def _clear(self) -> None:
        if self._width:
            self._stream.write("\r" + " " * self._width + "\r")
            self._width = 0
