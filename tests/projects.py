"""Projects of labels, written small into a folder of the test's own."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

NAN = float("nan")
Points = Mapping[str, tuple[float, float]]


@dataclass
class Project:
    """A DeepLabCut project in the making."""

    folder: Path
    keypoints: Sequence[str] = ("snout", "leftear", "rightear")
    individuals: Sequence[str] = ()
    """Empty: the layout for one animal."""
    video: str = "m1"
    size: tuple[int, int] = (64, 48)
    """Width and height of its pictures."""
    new_index: bool = False
    rows: list[tuple[str, dict[tuple[str, str], tuple[float, float]]]] = field(default_factory=list)

    @property
    def labels(self) -> Path:
        return self.folder / "labeled-data" / self.video

    def picture(self, name: str, image: np.ndarray[Any, Any] | None = None) -> Path:
        """Write a picture; without one, a gradient of its own."""
        self.labels.mkdir(parents=True, exist_ok=True)
        if image is None:
            width, height = self.size
            ramp = np.add.outer(np.arange(height), np.arange(width)) + 7 * len(list(self.labels.iterdir()))
            image = np.repeat((ramp % 256).astype(np.uint8)[..., None], 3, axis=2)
        path = self.labels / name
        assert cv2.imwrite(str(path), image)
        return path

    def row(self, picture: str, points: Points, individual: str = "animal") -> None:
        """Label one animal of a picture."""
        self.rows.append((picture, {(individual, name): xy for name, xy in points.items()}))

    def both(self, picture: str, animals: Mapping[str, Points]) -> None:
        """Label several animals of a picture."""
        self.rows.append((picture, {(who, name): xy for who, points in animals.items() for name, xy in points.items()}))

    def config(self, **keys: str) -> None:
        lines = {"Task": "test", "scorer": "me", "bodyparts": "[" + ", ".join(self.keypoints) + "]", **keys}
        self.folder.mkdir(parents=True, exist_ok=True)
        text = "".join(f"{key}: {value}\n" for key, value in lines.items())
        (self.folder / "config.yaml").write_text(text, encoding="utf-8")

    def _columns(self) -> list[tuple[str, str]]:
        return [(who, name) for who in self.individuals or ("animal",) for name in self.keypoints]

    def csv(self, name: str = "CollectedData_me.csv", folder: Path | None = None) -> Path:
        columns = self._columns()
        blank = ["", ""] if self.new_index else []

        def header(level: str, words: Sequence[str]) -> list[str]:
            return [level, *blank, *(word for word in words for _ in "xy")]

        lines: list[list[str]] = [header("scorer", ["me"] * len(columns))]
        if self.individuals:
            lines.append(header("individuals", [who for who, _ in columns]))
        lines.append(header("bodyparts", [part for _, part in columns]))
        lines.append(["coords", *blank, *("x", "y") * len(columns)])
        for picture, points in self.rows:
            cells = [points.get(column, (NAN, NAN)) for column in columns]
            values = ["" if value != value else repr(float(value)) for xy in cells for value in xy]
            lines.append([*self._index(picture), *values])
        path = (folder or self.labels) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows(lines)
        return path

    def _index(self, picture: str) -> list[str]:
        if self.new_index:
            return ["labeled-data", self.video, picture]
        return [f"labeled-data/{self.video}/{picture}"]

    def h5(self, name: str = "CollectedData_me.h5") -> Path:
        import pandas

        columns = self._columns()
        levels = ["scorer", *(["individuals"] if self.individuals else []), "bodyparts", "coords"]
        names = [
            ("me", *([who] if self.individuals else []), part, coord) for who, part in columns for coord in ("x", "y")
        ]
        values = [[value for column in columns for value in points.get(column, (NAN, NAN))] for _, points in self.rows]
        parts = [self._index(picture) for picture, _ in self.rows]
        index = pandas.MultiIndex.from_tuples([tuple(p) for p in parts]) if self.new_index else [p[0] for p in parts]
        frame = pandas.DataFrame(values, index=index, columns=pandas.MultiIndex.from_tuples(names, names=levels))
        path = self.labels / name
        frame.to_hdf(path, key="df_with_missing", mode="w")
        return path
