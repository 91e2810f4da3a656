"""What a project's models learned from, and how well: kept beside the labels, so that no round of labelling is lost.

    refine/history.json            models, versions of the labels, rounds, in order of time
    refine/models/                 a copy of every model that was entered
    refine/labels-<digest>/        the label files that were there when a model was entered
    refine/curve.png               error against labelled frames

A model is known by its file's SHA-256 and names the digest of the labels that it learned from
(`poseloop.train.labels.Labels.digest`), so that both can be found again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from poseloop.live.errors import DataError
from poseloop.live.output import report as reports
from poseloop.live.vision.metadata import ModelInfo
from poseloop.train import labels
from poseloop.train.projects import PICTURES
from poseloop.train.trackfiles import whole

__all__ = ["FOLDER", "History"]

FOLDER = "refine"
_FILE = "history.json"
_DIGITS = 12
"""Of a digest in a folder's name."""


class History:
    """The history of one project; every change is on disk at once."""

    def __init__(self, project: Path) -> None:
        """Read what there is.

        Raises:
            DataError: the file is there, but cannot be read as a history.
        """
        self._project = project
        self.folder = project / FOLDER
        self._file = self.folder / _FILE
        self._parts: dict[str, list[dict[str, Any]]] = {"models": [], "labels": [], "rounds": []}
        if self._file.is_file():
            try:
                found = json.loads(self._file.read_text(encoding="utf-8"))
                self._parts = {key: [dict(entry) for entry in found[key]] for key in self._parts}
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise DataError(f"{self._file}: cannot be read as a project's history: {error!r}") from error

    @property
    def models(self) -> Sequence[Mapping[str, Any]]:
        """``name, sha256, file, added, data_digest, learned, held_out, error_px`` of each."""
        return self._parts["models"]

    @property
    def rounds(self) -> Sequence[Mapping[str, Any]]:
        """``added, model`` (SHA-256) and ``frames``: recording → numbers, of each."""
        return self._parts["rounds"]

    @property
    def versions(self) -> Sequence[Mapping[str, Any]]:
        """``digest, added, folder, frames, points`` of each version of the labels that is kept."""
        return self._parts["labels"]

    def enter(self, model: Path, info: ModelInfo) -> bool:
        """Keep a model and the labels as they are now; False: both are there already.

        Raises:
            DataError: a file cannot be read or written.
        """
        new = self._keep_labels()
        content = _read(model)
        sha256 = hashlib.sha256(content).hexdigest()
        if all(one["sha256"] != sha256 for one in self.models):
            copy = self.folder / "models" / f"{model.stem}_{sha256[:8]}.onnx"
            with whole(copy) as part:
                part.write_bytes(content)
            training = info.training
            error = info.error.get("held_out") if info.error else None
            self._parts["models"].append(
                {
                    "name": info.name,
                    "sha256": sha256,
                    "file": copy.relative_to(self.folder).as_posix(),
                    "added": _now(),
                    "data_digest": training.get("data_digest"),
                    "learned": len(training.get("learned", ())) or None,
                    "held_out": len(training.get("held_out", ())) or None,
                    "error_px": error.get("rmse_px") if isinstance(error, Mapping) else None,
                }
            )
            new = True
        if new:
            self._write()
        return new

    def asked(self, model: Path, frames: Mapping[str, Sequence[int]]) -> None:
        """Note which frames are to be labelled.

        Args:
            model: whose doubts they are.
            frames: recording → numbers.

        Raises:
            DataError: a file cannot be read or written.
        """
        sha256 = hashlib.sha256(_read(model)).hexdigest()
        chosen = {name: list(numbers) for name, numbers in frames.items()}
        self._parts["rounds"].append({"added": _now(), "model": sha256, "frames": chosen})
        self._write()

    def table(self) -> str:
        """Write the learning curve for a terminal: a line for each model, in order of time."""
        rows = [("model", "labelled", "held out", "mean px", "labels kept")]
        kept = {version["digest"]: version["folder"] for version in self.versions}
        for one in self.models:
            labelled = (one["learned"] or 0) + (one["held_out"] or 0)
            error = "-" if one["error_px"] is None else f"{one['error_px']:.2f}"
            place = kept.get(one["data_digest"], "-")
            rows.append(
                (
                    f"{one['name']} ({one['sha256'][:8]})",
                    str(labelled or "-"),
                    str(one["held_out"] or "-"),
                    error,
                    place,
                )
            )
        widths = [max(len(row[column]) for row in rows) for column in range(5)]
        return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)

    def draw(self) -> Path | None:
        """Draw the learning curve; None: there is nothing to draw yet, or nothing to draw with (matplotlib).

        Raises:
            DataError: it cannot be written.
        """
        known = [one for one in self.models if one["error_px"] is not None and one["learned"]]
        if not known or find_spec("matplotlib") is None:
            return None
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6, 4), layout="constrained")
        axes = figure.subplots()
        frames = [one["learned"] + (one["held_out"] or 0) for one in known]
        axes.plot(frames, [one["error_px"] for one in known], "o-")
        for count, one in zip(frames, known, strict=True):
            axes.annotate(one["name"], (count, one["error_px"]), (4, 4), textcoords="offset points", fontsize=8)
        axes.set_xlabel("labelled frames")
        axes.set_ylabel("mean error of each model's held-out frames, px")
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        file = self.folder / "curve.png"
        with whole(file) as part:
            figure.savefig(part, dpi=120, format="png")
        return file

    def _keep_labels(self) -> bool:
        """Copy the label files, if they have changed."""
        if not any((self._project / PICTURES).glob("*/CollectedData_*")):
            return False
        now = labels.read(self._project)
        if any(version["digest"] == now.digest for version in self.versions):
            return False
        folder = self.folder / f"labels-{now.digest[:_DIGITS]}"
        for file in sorted((self._project / PICTURES).glob("*/CollectedData_*")):
            with whole(folder / file.parent.name / file.name) as part:
                shutil.copyfile(file, part)
        points = int(sum((frame.xy == frame.xy).all(axis=-1).sum() for frame in now.frames))
        self._parts["labels"].append(
            {"digest": now.digest, "added": _now(), "folder": folder.name, "frames": len(now.frames), "points": points}
        )
        return True

    def _write(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        reports.write(self._parts, self._file)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror or error}") from error


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
