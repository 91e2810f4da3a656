"""What a project's models learned from, and how well: kept beside the labels, so that no round of labelling is lost.

    refine/history.json            models, versions of the labels, rounds, in order of time; and the test frames
    refine/models/                 a copy of every model that was entered
    refine/labels-<digest>/        the label files that were there when a model was entered
    refine/curve.png               error against labelled frames

A model is known by its file's SHA-256 and names the digest of the labels that it learned from
(`poseloop.train.labels.Labels.digest`), so that both can be found again.

Models of several rounds can only be compared on frames that none of them learned from. So the frames that the first
training held out are the project's test frames from then on: later trainings hold them out again, and learn from all
that is new. `poseloop.train.curve` measures every kept model on them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from poseloop.live.errors import DataError, ModelError
from poseloop.live.output import report as reports
from poseloop.live.vision import Network
from poseloop.live.vision.metadata import ModelInfo
from poseloop.train import labels, projects
from poseloop.train.labels import Labels
from poseloop.train.projects import PICTURES
from poseloop.train.trackfiles import whole

__all__ = ["FOLDER", "SHARE", "History"]

FOLDER = "refine"
_FILE = "history.json"
_DIGITS = 12
"""Of a digest in a folder's name."""
SHARE = 0.2
"""Of the labelled frames that a training holds out, where nobody says otherwise."""


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
        self._test: list[str] = []
        if self._file.is_file():
            try:
                found = json.loads(self._file.read_text(encoding="utf-8"))
                self._parts = {key: [dict(entry) for entry in found[key]] for key in self._parts}
                self._test = [str(name) for name in found.get("test", ())]
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise DataError(f"{self._file}: cannot be read as a project's history: {error!r}") from error

    @classmethod
    def kept(cls, project: Path) -> History | None:
        """Read the history of a project that keeps one: Poseloop's own, or one in which `poseloop refine` was used."""
        used = projects.is_own(project) or (project / FOLDER / _FILE).is_file()
        return cls(project) if used else None

    @property
    def models(self) -> Sequence[Mapping[str, Any]]:
        """``name, sha256, file, added, data_digest, learned, held_out, error_px, test`` of each.

        ``learned`` and ``held_out`` are counts of frames; ``error_px`` is that of its own held-out frames; ``test``,
        where it was measured, ``{of, error_px}``: its error on the project's test frames, and a digest of those.
        """
        return self._parts["models"]

    @property
    def test(self) -> Sequence[str]:
        """Names of the frames that the project's trainings do not learn from; empty: it has had none yet."""
        return self._test

    @property
    def rounds(self) -> Sequence[Mapping[str, Any]]:
        """``added, model`` (SHA-256) and ``frames``: recording → numbers, of each."""
        return self._parts["rounds"]

    @property
    def versions(self) -> Sequence[Mapping[str, Any]]:
        """``digest, added, folder, frames, points`` of each version of the labels that is kept."""
        return self._parts["labels"]

    def now(self) -> Labels:
        """Read the project's labels; none where nobody has labelled yet.

        Raises:
            DataError: a file cannot be read.
        """
        if any((self._project / PICTURES).glob("*/CollectedData_*")):
            return labels.read(self._project, some=False)
        return Labels(self._project, (), (), (), (), (), "")

    def split(self, now: Labels, share: float | None, seed: int) -> tuple[Labels, Labels]:
        """Part labels into those for training and those held out: the test frames, from the first training on.

        Args:
            now: all labels of the project.
            share: of the frames that is to be held out, 0..1; frames that no model has learned from are added to the
                test frames until there are so many. None: those that there are, or `SHARE` of a project without.
            seed: of the choice.

        Returns:
            Labels for training, labels held out.

        Raises:
            DataError: there are fewer than two frames, the share is not between 0 and 1, or no frame to learn from is
                left.
        """
        names = {frame.name for frame in now.frames}
        test = names.intersection(self._test)
        if not test or (share is not None and not 0 < share < 1):
            return labels.split(now, SHARE if share is None else share, seed)
        if share is not None:
            free = [name for name in labels.ranked(names - test, seed) if name not in self._learned()]
            test.update(free[: max(round(share * len(names)) - len(test), 0)])
        if test == names:
            raise DataError(
                f"{now.project}: expected labelled frames to learn from, but all {len(names)} are test frames (see "
                f"{self._file}): label more"
            )
        return now.only(names - test), now.only(test)

    def keep(self, now: Labels) -> bool:
        """Copy the label files, if they have changed; False: there is such a copy already.

        Args:
            now: the labels as they were just read.

        Raises:
            DataError: a file cannot be read or written.
        """
        if not now.frames or any(version["digest"] == now.digest for version in self.versions):
            return False
        folder = self.folder / f"labels-{now.digest[:_DIGITS]}"
        for file in sorted((self._project / PICTURES).glob("*/CollectedData_*")):
            with whole(folder / file.parent.name / file.name) as part:
                shutil.copyfile(file, part)
        points = int(sum((frame.xy == frame.xy).all(axis=-1).sum() for frame in now.frames))
        self._parts["labels"].append(
            {"digest": now.digest, "added": _now(), "folder": folder.name, "frames": len(now.frames), "points": points}
        )
        self._write()
        return True

    def enter(self, model: Path, info: ModelInfo, now: Labels) -> bool:
        """Keep a model; False: it is there already.

        The frames that it held out are test frames of the project from now on, if it has learned these labels, holds
        out what is a test frame already, and no model has learned from what is new among them.

        Args:
            model: its file.
            info: what it says about itself.
            now: labels of the project: those that it learned from, where it is new.

        Raises:
            DataError: a file cannot be read or written.
        """
        content = _read(model)
        sha256 = hashlib.sha256(content).hexdigest()
        if any(one["sha256"] == sha256 for one in self.models):
            return False
        copy = self.folder / "models" / f"{model.stem}_{sha256[:8]}.onnx"
        with whole(copy) as part:
            part.write_bytes(content)
        training = info.training
        error = info.error.get("held_out") if info.error else None
        held_out = {str(name) for name in training.get("held_out", ())}
        known = set(self._test)
        still = known & {frame.name for frame in now.frames}
        if training.get("data_digest") == now.digest and held_out >= still and not (held_out - known) & self._learned():
            # A test frame that has no label at the moment stays one: it may have one again.
            self._test = sorted(known | held_out)
        self._parts["models"].append(
            {
                "name": info.name,
                "sha256": sha256,
                "file": copy.relative_to(self.folder).as_posix(),
                "added": _now(),
                "data_digest": training.get("data_digest"),
                "learned": len(training.get("learned", ())) or None,
                "held_out": len(held_out) or None,
                "error_px": error.get("rmse_px") if isinstance(error, Mapping) else None,
            }
        )
        self._write()
        return True

    def tested(self, sha256: str, of: str, error_px: float | None) -> None:
        """Note a model's error on the test frames; ``of`` is a digest of those, with their labels."""
        for one in self._parts["models"]:
            if one["sha256"] == sha256:
                one["test"] = {"of": of, "error_px": error_px}
        self._write()

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

    def _learned(self) -> set[str]:
        """Names of the frames that any of the models says to have learned from."""
        found: set[str] = set()
        for one in self.models:
            with contextlib.suppress(ModelError):  # its copy was removed
                found.update(Network.describe(self.folder / one["file"]).training.get("learned", ()))
        return found

    def _write(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        reports.write({**self._parts, "test": self._test}, self._file)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror or error}") from error


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
