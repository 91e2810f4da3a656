"""Play active learning on labels that are known: what `poseloop refine` would choose, against chance.

``python -m poseloop.bench.refine PROJECT --weights FILE --seeds 5 --report FILE.json``; needs the extra ``train``.

A third of the labelled frames is the test, which nothing learns from. Training starts from a few others; then, round by
round, frames are added whose labels were there all along: chosen by the last model's doubt, as `poseloop refine`
chooses, or at random. Both begin with the same model. The frames are single pictures, not a film, so of all doubts only
the score counts, and the pictures' diversity.

A network that only has to choose may be trained for less long than those that are compared (``--last-steps``). Five
seeds of 1,000 steps take hours on two cores; the last rounds come first. The report is written after every training,
and a run that is repeated with the same report goes on from there.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from poseloop.bench.options import make_parser, save
from poseloop.live.types import Colour, Float32
from poseloop.live.vision import Network
from poseloop.train import doubt, evaluate, labels, pictures
from poseloop.train.labels import LabelledFrame, Labels
from poseloop.train.labelwriter import write_labels
from poseloop.train.recipe import Recipe, train

__all__ = ["WAYS", "by_chance", "by_doubt", "main", "play", "subset", "summary"]

WAYS = ("refine", "random")
_SMALL = (32, 24)
"""Width and height of the pictures that are told apart by k-means, about as `poseloop.train.frames` has them."""
_TEST = 1 / 3
_HELD_OUT = 0.1


def by_chance(pool: Labels, count: int, seed: int) -> list[str]:
    """Choose names of frames at random."""
    names = [frame.name for frame in pool.frames]
    return [str(name) for name in np.random.default_rng(seed).permutation(names)[:count]]


def by_doubt(model: Path, pool: Labels, count: int, seed: int) -> list[str]:
    """Choose names of frames as `poseloop refine` does."""
    with Network.open(model) as network:
        found = evaluate.predict(network, pool)
        poses: Float32 = np.concatenate([found.xy, found.score[..., None]], axis=-1).astype(np.float32)[:, None]
        total = doubt.doubts(poses, network.info.gate)["score"]
    small = [
        cv2.resize(pictures.read(frame.path, Colour.GREY), _SMALL, interpolation=cv2.INTER_AREA).ravel()
        for frame in found.frames
    ]
    return [found.frames[place].name for place in doubt.pick(total, np.stack(small), count, seed)]


def subset(project: Labels, names: Sequence[str], folder: Path) -> Path:
    """Write a project of some of the frames; returns its folder."""
    columns = [
        (who if len(project.individuals) > 1 else "", name) for who in project.individuals for name in project.keypoints
    ]
    byvideo: dict[str, list[LabelledFrame]] = {}
    for frame in project.only(names).frames:
        byvideo.setdefault(frame.video, []).append(frame)
    for video, frames in byvideo.items():
        here = folder / "labeled-data" / video
        here.mkdir(parents=True)
        for frame in frames:
            shutil.copyfile(frame.path, here / frame.path.name)
        write_labels(here, "known", columns, {frame.path.name: frame.xy.reshape(-1, 2) for frame in frames})
    return folder


def play(
    project: Labels,
    learn: Callable[[Path, Path, int, bool], object],
    seed: int,
    start: int,
    rounds: int,
    count: int,
    known: dict[str, dict[str, Any]],
    done: Callable[[], object] = lambda: None,
    between: bool = True,
) -> None:
    """Play one seed, both ways.

    Args:
        project: all labels.
        learn: (project, model to write, seed, whether it is the last round) trains a network.
        seed: of test, start and training.
        start: frames at first.
        rounds: that follow.
        count: frames of each.
        known: ``seed way round`` → frames and error; what is there is not done again, what is new is added.
        done: called after every training.
        between: also train on what chance has chosen before the last round, which only the curve needs.
    """
    rest, test = labels.split(project, _TEST, seed)
    order = np.random.default_rng(seed).permutation([frame.name for frame in rest.frames])

    def left(names: Sequence[str]) -> Labels:
        return rest.only({frame.name for frame in rest.frames} - set(names))

    def trained(way: str, turn: int, names: Sequence[str]) -> list[str]:
        """Train on these, if that was not done, and return what the model would have labelled next."""
        # Both ways begin with the same frames, so the first model is the same.
        key = f"{seed} {way if turn else 'start'} {turn}"
        if key not in known:
            with tempfile.TemporaryDirectory() as place:
                model = Path(place) / "model.onnx"
                learn(subset(project, names, Path(place) / "project"), model, seed, turn == rounds)
                with Network.open(model) as network:
                    found = evaluate.measure(evaluate.predict(network, test), network.info.gate)
                asks = way == "refine" and turn < rounds
                asked = by_doubt(model, left(names), count, seed) if asks else []
            error = {"error_px": found["rmse_px"], "median_px": found["median_px"]}
            known[key] = {"frames": len(names), **error, "next": asked}
            done()
        return list(known[key]["next"])

    refined, random = [[str(name) for name in order[:start]]], [[str(name) for name in order[:start]]]
    for turn in range(rounds):
        refined.append(refined[turn] + trained("refine", turn, refined[turn]))
        random.append(random[turn] + by_chance(left(random[turn]), count, seed))
    for turn in (rounds, *(range(1, rounds) if between else ())):
        trained("refine", turn, refined[turn])
        trained("random", turn, random[turn])


def summary(known: dict[str, dict[str, Any]]) -> list[tuple[int, str, list[float]]]:
    """Collect errors of all seeds: (frames, way, errors)."""
    found: dict[tuple[int, str], list[float]] = {}
    for key, value in known.items():
        _, way, turn = key.split()
        found.setdefault((int(turn), way), []).append(value["error_px"])
    frames = {int(key.split()[2]): value["frames"] for key, value in known.items()}
    return [(frames[turn], way, errors) for (turn, way), errors in sorted(found.items())]


def draw(known: dict[str, dict[str, Any]], file: Path) -> None:
    """Draw mean and spread of the error against labelled frames."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    rows = summary(known)
    for way in WAYS:
        mine = [(frames, errors) for frames, one, errors in rows if one in (way, "start")]
        x, means = [frames for frames, _ in mine], [float(np.mean(errors)) for _, errors in mine]
        axes.plot(x, means, "o-", label=way)
        axes.fill_between(x, [min(errors) for _, errors in mine], [max(errors) for _, errors in mine], alpha=0.2, lw=0)
    axes.set_xlabel("labelled frames")
    axes.set_ylabel("mean error of the test frames, px")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(file, dpi=110)


def main() -> int:
    """Play, print, draw, write JSON."""
    parser = make_parser(__doc__)
    parser.add_argument("project", type=Path, help="a folder with labels")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="of the trunk; without it random")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1000, help="of each training (default: 1000)")
    parser.add_argument("--last-steps", type=int, help="of those of the last round (default: the same)")
    parser.add_argument("--start", type=int, default=15, help="frames at first (default: 15)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=10, help="frames of each round (default: 10)")
    parser.add_argument("--picture", type=Path, metavar="FILE.png", help="draw the curves here")
    arguments = parser.parse_args()
    from poseloop.train.fit import Plan
    from poseloop.train.model import Architecture

    def learn(folder: Path, out: Path, seed: int, last: bool) -> None:
        steps = arguments.last_steps if last else arguments.steps
        plan = Plan(steps=steps, seed=seed, evaluations=0)
        train(Recipe(folder, out, plan, Architecture(), arguments.weights, test_share=_HELD_OUT))

    arguments.last_steps = arguments.last_steps or arguments.steps
    project = labels.read(arguments.project)
    named = ("steps", "last_steps", "start", "rounds", "count")
    settings = {key: getattr(arguments, key) for key in named} | {"data": project.digest}
    known: dict[str, dict[str, Any]] = {}
    file: Path | None = arguments.report
    if file is not None and file.is_file():
        before = json.loads(file.read_text(encoding="utf-8"))
        known = before["results"] if before.get("settings") == settings else {}

    def keep() -> None:
        key, value = list(known.items())[-1]
        error = f"mean {value['error_px']:.2f}, median {value['median_px']:.2f} px"
        print(f"seed, way, round {key}: {value['frames']} frames, {error}", flush=True)
        save({"settings": settings, "results": known}, file)

    for between in (False, True):
        for seed in range(arguments.seeds):
            rounds = arguments.start, arguments.rounds, arguments.count
            play(project, learn, seed, *rounds, known, keep, between)
    print(f"\n{'frames':>6}  {'way':<7}  {'mean px':>8}  {'spread':>8}  {'seeds':>5}")
    for frames, way, errors in summary(known):
        spread = f"{np.std(errors, ddof=1):.2f}" if len(errors) > 1 else "-"
        print(f"{frames:>6}  {way:<7}  {np.mean(errors):>8.2f}  {spread:>8}  {len(errors):>5}")
    if arguments.picture is not None:
        draw(known, arguments.picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
