"""How fast the trainer is: steps a second and waiting for data, beside a bare Keras step on tensors in memory.

``python -m poseloop.bench.train --report FILE.json``, on pictures of the simulated animal, or with ``--project FOLDER``

Three kinds of steps take turns, block by block, in one run: the trainer on batches that its threads make (read,
augment, paint targets), the trainer on one batch that is in memory, and ``train_on_batch`` of Keras on the same batch,
network, loss and optimiser. The first beside the second is what the data cost, the second beside the third what the
trainer itself adds: it keeps an average of all weights. Of each block those steps do not count that find batches which
were made in the block before. Each batch size and crop is measured in a process of its own, whose largest memory is
that of the first kind. Weights are random, which changes no speed. Needs the extra train.
"""

from __future__ import annotations

import itertools
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from poseloop.bench.measuring import peak_memory_mb, ratio, summary
from poseloop.bench.options import make_parser, save
from poseloop.drivers.sim import projects
from poseloop.drivers.sim.camera import SimulatedCamera
from poseloop.drivers.sim.world import KEYPOINTS

__all__ = ["KINDS", "main", "measure"]

KINDS = ("trainer", "trainer, data in memory", "bare Keras, data in memory")

_AHEAD = 4
"""Batches that lie ready after a block in which none was taken."""


class _Blocks:
    """Gives the trainer its batches, kind by kind, and times every step.

    The trainer asks for the next batch when a step is over: so a step lasts from one question to the next.
    """

    def __init__(self, made: Iterator[Any], bare: Any, rounds: int, steps: int) -> None:
        self._made, self._bare, self._rounds, self._steps = made, bare, rounds, steps
        self.taken_ms: dict[str, list[float]] = {kind: [] for kind in KINDS}
        self.waited_ms: list[float] = []
        self.memory_mb: float | None = None

    def __iter__(self) -> Iterator[Any]:
        held = next(self._made)
        # The first round compiles.
        for turn in range(self._rounds + 1):
            for kind in KINDS:
                skipped = _AHEAD if kind == KINDS[0] else 1
                for step in range(-skipped, self._steps):
                    began = time.perf_counter_ns()
                    if kind == KINDS[0]:
                        batch = next(self._made)
                        waited = time.perf_counter_ns() - began
                        yield batch
                        if turn and step >= 0:
                            self.waited_ms.append(waited / 1e6)
                    elif kind == KINDS[1]:
                        yield held
                    else:
                        self._bare(held)
                    if turn and step >= 0:
                        self.taken_ms[kind].append((time.perf_counter_ns() - began) / 1e6)
                if turn == 0 and kind == KINDS[0]:
                    self.memory_mb = peak_memory_mb()
        yield held  # ends the training


def measure(project: Path, batch: int, size: int, rounds: int, steps: int, workers: int = 1) -> dict[str, Any]:
    """Train for a while; in this process.

    Args:
        project: folder with labels.
        batch: samples of a step.
        size: side of the crops, px.
        rounds: blocks of each kind that count.
        steps: of each block.
        workers: threads that make batches.

    Returns:
        ``ms``: kind → summary of its steps; ``steps_per_s``; ``waited_share`` of the time; ``data_cost`` and
        ``trainer_cost``: ratios with their intervals; ``peak_memory_mb``.
    """
    from poseloop.train import labels, survey
    from poseloop.train.augment import Augmentation
    from poseloop.train.batches import Batches
    from poseloop.train.fit import Plan, Trainer
    from poseloop.train.model import Architecture

    read = labels.read(project)
    settings = Augmentation.preset(survey.view(read), read.keypoints)
    architecture, points = Architecture(), len(read.keypoints)
    blocks: list[_Blocks] = []
    # Steps that the trainer makes: the first two kinds, and one that ends it.
    most = (rounds + 1) * (2 * steps + _AHEAD + 1) + 1
    trainer = Trainer(
        architecture, points, Plan(steps=most, batch=batch, size=size, evaluations=0), None, {}, file=None
    )
    bare = _bare_step(architecture, points)

    @contextmanager
    def source(start: int) -> Iterator[Iterator[Any]]:
        made = Batches(read, settings, batch, size, architecture.stride, start_step=start, workers=workers)
        with made:
            blocks.append(_Blocks(made, bare, rounds, steps))
            yield iter(blocks[0])

    trainer.run(source)
    taken = {kind: np.array(values) for kind, values in blocks[0].taken_ms.items()}
    whole, fed, keras = (taken[kind] for kind in KINDS)
    return {
        "batch": batch,
        "size": size,
        "workers": workers,
        "keypoints": points,
        "ms": {kind: summary(values) for kind, values in taken.items()},
        "steps_per_s": round(1e3 * len(whole) / float(whole.sum()), 3),
        "waited_share": round(float(np.sum(blocks[0].waited_ms) / whole.sum()), 4),
        "data_cost": ratio(whole, fed),
        "trainer_cost": ratio(fed, keras),
        "peak_memory_mb": blocks[0].memory_mb,
    }


def _bare_step(architecture: Any, points: int) -> Any:
    """What Keras itself makes of the same network, loss and optimiser."""
    import keras

    from poseloop.train import model

    network = model.build(architecture, points, None)
    network.compile(
        optimizer=keras.optimizers.AdamW(2e-3, weight_decay=1e-4, global_clipnorm=5.0),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
    )
    return lambda batch: network.train_on_batch(batch[0], batch[1])


def _simulate(project: Path) -> None:
    """Write 64 pictures of the simulated animal, so far apart that no two are alike."""
    settings = SimulatedCamera.Settings(fps=0.7, frames=64, width=640, height=480, pace="none")
    projects.write_video(project, "truth", "simulated", KEYPOINTS, projects.animal(settings))
    projects.write_config(project, "simulated", "truth", KEYPOINTS)


def _alone(*arguments: Any) -> dict[str, Any]:
    """Measure in a process of its own."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(measure, *arguments).result()


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def main() -> int:
    """Measure, print a table, write JSON."""
    parser = make_parser(__doc__)
    parser.add_argument("--project", type=Path, help="a folder with labels; default: 64 pictures of a simulated animal")
    parser.add_argument("--batches", type=_numbers, default=[8, 16], help="samples a step, with commas")
    parser.add_argument("--sizes", type=_numbers, default=[256, 384], help="sides of the crops, px, with commas")
    parser.add_argument("--workers", type=int, default=1, help="threads that make batches")
    parser.add_argument("--rounds", type=int, default=4, help="blocks of each kind")
    parser.add_argument("--steps", type=int, default=20, help="of a block")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as made:
        project = arguments.project
        if project is None:
            project = Path(made)
            _simulate(project)
        print(
            f"{'batch':>5}{'crop':>6}{'steps/s':>9}{'waited':>8}{'ms a step':>11}{'in memory':>11}{'Keras':>9}", end=""
        )
        print(f"{'data cost':>11}{'trainer':>9}{'peak MB':>9}")
        for batch, size in itertools.product(arguments.batches, arguments.sizes):
            row = _alone(project, batch, size, arguments.rounds, arguments.steps, arguments.workers)
            rows.append(row)
            whole, fed, keras = (row["ms"][kind]["p50"] for kind in KINDS)
            print(f"{batch:>5}{size:>6}{row['steps_per_s']:>9.2f}{row['waited_share']:>8.1%}", end="")
            print(f"{whole:>11.1f}{fed:>11.1f}{keras:>9.1f}{row['data_cost']['ratio']:>11.2f}", end="")
            print(f"{row['trainer_cost']['ratio']:>9.2f}{row['peak_memory_mb'] or 0:>9.0f}", flush=True)
    about = str(arguments.project.name) if arguments.project else "simulated animal, 64 pictures of 640 x 480"
    save({"project": about, "rows": rows}, arguments.report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
