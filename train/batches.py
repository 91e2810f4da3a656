"""Batches for a trainer, made ahead of it by threads of their own.

OpenCV leaves the interpreter free while it works, so threads are enough. What is in a batch depends on the seed and the
number of its step alone: not on how many threads make batches, and not on where a run was interrupted.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from types import TracebackType
from typing import Self

import numpy as np

from poseloop.live.errors import ConfigError, DataError
from poseloop.live.types import Colour, Float32, Image
from poseloop.train import targets
from poseloop.train.absent import empty_scenes
from poseloop.train.augment import Augmentation, Augmenter, Sample
from poseloop.train.labels import LabelledFrame, Labels
from poseloop.train.pictures import Pictures

__all__ = ["Batch", "Batches"]

Batch = tuple[Image, Float32, Float32]
"""images (B, S, S, c) uint8, targets (B, S / stride, S / stride, K) in 0..1, weights (B, K) 0 or 1."""


class Batches:
    """Endless batches of augmented samples, one a step; a context manager.

    ::

        with Batches(labels, Augmentation.top(), batch=8, size=256, stride=8, seed=0) as batches:
            for step, (images, targets, weights) in zip(range(1000), batches):
                ...

    Every epoch shows each frame once, in an order of its own. ``ahead`` batches are made before they are asked for;
    then the threads wait. Memory: the pictures (up to ``memory_bytes``; beyond that they are read again each time).
    """

    def __init__(
        self,
        labels: Labels,
        settings: Augmentation,
        batch: int = 8,
        size: int = 256,
        stride: int = 8,
        seed: int = 0,
        start_step: int = 0,
        colour: Colour | str = "rgb",
        workers: int = 1,
        ahead: int = 4,
        memory_bytes: int = 1 << 30,
    ) -> None:
        """Prepare; the threads start with the first batch that is asked for.

        Args:
            labels: what to learn from.
            settings: how samples are made of it.
            batch: samples of one batch.
            size: side of a sample, px.
            stride: px of a cell of the targets.
            seed: of all chance.
            start_step: number of the first batch: where an interrupted run goes on.
            colour: ``rgb`` or ``grey``.
            workers: threads.
            ahead: batches that are ready or in the making.
            memory_bytes: for decoded pictures.

        Raises:
            ConfigError: values that contradict each other.
            DataError: there is nothing to learn from.
        """
        if size % stride or min(batch, size, stride, workers, ahead) < 1 or min(seed, start_step) < 0:
            raise ConfigError(
                f"expected a size that is a multiple of the stride, counts >= 1, and a seed and start >= 0, but got "
                f"size {size}, stride {stride}, batch {batch}, workers {workers}, ahead {ahead}, seed {seed}, start "
                f"{start_step}"
            )
        if not labels.frames:
            raise DataError(f"{labels.project}: expected labelled frames to learn from, but there are none")
        self._labels = labels
        self._settings = settings
        self._batch, self._size, self._stride, self._seed = batch, size, stride, seed
        self._next = start_step
        self._ahead = max(ahead, workers)
        self._workers = workers
        self._augment = Augmenter(labels.keypoints, settings, size)
        self._pictures = Pictures(Colour(colour), memory_bytes)
        # Threads may be on either side of an epoch's end.
        self._order = lru_cache(maxsize=4)(self._permutation)
        self._scenes: dict[str, Image] | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._coming: deque[Future[Batch]] = deque()
        self._closed = False
        self._taken = 0
        self.waited_s = 0.0
        """How long the caller has waited for batches, the first left out: 0 where the threads keep up."""

    @property
    def step(self) -> int:
        """Number of the batch that comes next."""
        return self._next - len(self._coming)

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        """Return the next batch; waits only where the threads are slower than the caller.

        Raises:
            DataError: a picture cannot be read any more.
            StopIteration: it is closed.
        """
        if self._closed:
            raise StopIteration
        if self._pool is None:
            self._find_scenes()
            self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="batches")
        while len(self._coming) < self._ahead:
            self._coming.append(self._pool.submit(self.make, self._next))
            self._next += 1
        start = time.perf_counter_ns()
        batch = self._coming.popleft().result()
        if self._taken:
            self.waited_s += (time.perf_counter_ns() - start) / 1e9
        self._taken += 1
        return batch

    def make(self, step: int) -> Batch:
        """Make the batch of one step, here and now."""
        samples = [self.sample(step * self._batch + n) for n in range(self._batch)]
        size, stride = self._size, self._stride
        maps = [
            targets.score_maps(sample.xy, sample.visible, size, size, stride, self._settings.sigma)
            for sample in samples
        ]
        weights = [targets.weights(sample.known, sample.doubtful) for sample in samples]
        return np.stack([sample.image for sample in samples]), np.stack(maps), np.stack(weights)

    def sample(self, number: int) -> Sample:
        """Make one sample: number ``step * batch + place in the batch``."""
        frame = self.frame(number)
        scene = self._find_scenes().get(frame.video)
        return self._augment(self._pictures(frame), frame.xy, _generator(self._seed, 1, number), scene)

    def frame(self, number: int) -> LabelledFrame:
        """Which labelled frame a sample is made of."""
        frames = self._labels.frames
        epoch, place = divmod(number, len(frames))
        return frames[self._order(epoch)[place]]

    def _permutation(self, epoch: int) -> Sequence[int]:
        return tuple(_generator(self._seed, 0, epoch).permutation(len(self._labels.frames)).tolist())

    def close(self) -> None:
        """Stop the threads; idempotent."""
        self._closed = True
        self._coming.clear()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _find_scenes(self) -> dict[str, Image]:
        if self._scenes is None:
            wanted = self._settings.absent.painted > 0
            self._scenes = empty_scenes(self._labels, self._pictures) if wanted else {}
        return self._scenes


def _generator(*seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(seed)))
