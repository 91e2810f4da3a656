"""Which USB cameras there are: asked of the operating system where it tells, else tried out."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import cv2

__all__ = ["cameras"]

_MOST = 8
"""Numbers that are tried out where the system gives no list."""


def cameras(sysfs: Path = Path("/sys/class/video4linux")) -> Sequence[str]:
    """One line for each camera: its number, and model and serial number where they are known."""
    return _listed(sysfs) if sys.platform == "linux" else _tried()


def _listed(sysfs: Path) -> list[str]:
    """Ask Linux: every video device has a folder there, with its number in the name."""
    lines = []
    for folder in sorted(sysfs.glob("video*"), key=lambda folder: int(folder.name.removeprefix("video"))):
        # A camera has a second device for its metadata, which gives no pictures.
        if _text(folder / "index") not in ("", "0"):
            continue
        # The USB device is the parent of the interface that `device` links to.
        usb = (folder / "device").resolve().parent
        serial = _text(usb / "serial")
        model = _text(usb / "product") or _text(folder / "name") or "camera"
        number = folder.name.removeprefix("video")
        lines.append(f"device = {number}: {model}{f', serial {serial}' if serial else ''}")
    return lines


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _tried() -> list[str]:
    """Open one after the other until there is none; each camera's light goes on for a moment."""
    lines = []
    for number in range(_MOST):
        capture = cv2.VideoCapture(number)
        opened, backend = capture.isOpened(), ""
        if opened:
            backend = capture.getBackendName()
        capture.release()
        if not opened:
            break
        lines.append(f"device = {number}: camera ({backend})")
    return lines
