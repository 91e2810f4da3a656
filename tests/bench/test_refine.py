"""Active learning is played with revealed labels only, and goes on where it was."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import recordings
from projects import Project
from recordings import NAMES, dots
from tinymodels import Tiny

from poseloop.bench import refine
from poseloop.live import cli
from poseloop.live.types import Colour
from poseloop.train import labels
from poseloop.train.labels import Labels
from poseloop.train.recipe import Recipe


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Labels:
    """30 pictures; in the last ten, one dot is dim."""
    made = Project(tmp_path_factory.mktemp("play") / "p", keypoints=NAMES, size=recordings.SIZE)
    for n in range(30):
        points = [(12.0 + 2 * n, 12.0), (80.0 - 2 * n, 32.0), (12.0 + 2 * n, 50.0)]
        picture = dots(points)
        if n >= 20:
            picture[..., 2] //= 4
        made.picture(f"img{n:04d}.png", picture[..., ::-1].copy())
        made.row(f"img{n:04d}.png", dict(zip(NAMES, points, strict=True)))
    made.csv()
    return labels.read(made.folder)


def test_both_ways_begin_alike_and_learn_what_they_asked_for(project: Labels, tmp_path: Path) -> None:
    learned: list[set[str]] = []
    last: list[bool] = []

    def learn(folder: Path, model: Path, seed: int, is_last: bool) -> None:
        last.append(is_last)
        given = labels.read(folder)
        for frame in given.frames:
            (same,) = [one for one in project.frames if one.name == frame.name]
            np.testing.assert_array_equal(frame.xy, same.xy)
        learned.append({frame.name for frame in given.frames})
        Tiny(colour=Colour.RGB, keypoints=NAMES).save(model.parent, model.name)

    known: dict[str, dict[str, Any]] = {}
    refine.play(project, learn, 0, start=6, rounds=2, count=4, known=known, between=False)
    refine.play(project, learn, 0, start=6, rounds=2, count=4, known=known)
    assert [len(names) for names in learned] == [6, 10, 14, 14, 10]
    assert last == [False, False, True, True, False]
    test = {frame.name for frame in labels.split(project, 1 / 3, 0)[1].frames}
    assert not set().union(*learned) & test, "a test frame was learned"
    assert learned[0] < learned[1] < learned[2]
    assert learned[0] < learned[4] < learned[3]
    dim = {name for name in learned[1] - learned[0] if int(name[-8:-4]) >= 20}
    # Of the three that may be chosen.
    assert len(dim) >= 2
    assert [row[:2] for row in refine.summary(known)] == [
        (6, "start"),
        (10, "random"),
        (10, "refine"),
        (14, "random"),
        (14, "refine"),
    ]
    # What is known is not learned again.
    refine.play(project, learn, 0, start=6, rounds=2, count=4, known=known)
    assert len(learned) == 5
    refine.draw(known, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").stat().st_size > 1000


def test_the_command_plays_and_goes_on(project: Labels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a trainer that knows already: two steps teach no network points that its export could be proven by."""
    trained: list[Path] = []

    def train(recipe: Recipe) -> None:
        trained.append(recipe.out)
        Tiny(colour=Colour.RGB, keypoints=NAMES).save(recipe.out.parent, recipe.out.name)

    monkeypatch.setattr(refine, "train", train)
    report, picture = tmp_path / "r.json", tmp_path / "curve.png"
    words = ["bench", "refine", "--short", str(project.project), "--picture", str(picture), "--report", str(report)]
    assert cli.main(words) == 0
    assert json.loads(report.read_text(encoding="utf-8"))["results"]
    assert picture.stat().st_size > 1000
    once = len(trained)
    assert cli.main(words) == 0
    assert len(trained) == once > 0, "what is known is not learned again"
