"""Training itself: loss, optimiser, schedule, moving average, checkpoints.

The loss is the cross entropy between the score maps' logits and Gaussian targets, summed over cells and divided by the
number of visible points in the batch. A map of all zeros (an animal that is not there, a point that is out of the
picture) counts in full: that is what teaches the score to fall. A point that nobody labelled has weight 0.

AdamW (Loshchilov & Hutter 2019) with warm-up and a cosine over whichever bound is reached first, steps or minutes; then
an exponential moving average of all weights, whose horizon grows with the training: a tenth of the steps so far.

A training that was killed goes on from its last checkpoint with the same weights, optimiser state, step, elapsed time
and data, since batches depend on seed and step only.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from poseloop.live.config import Settings
from poseloop.live.errors import DataError
from poseloop.live.types import Float32, Image
from poseloop.train import checkpoint, model
from poseloop.train.model import Architecture

__all__ = ["Batch", "Fitted", "Plan", "Point", "Source", "Trainer", "learning_rate"]

Batch = tuple[Image, Float32, Float32]
"""Images (B, S, S, c), targets (B, S/s, S/s, K), weights (B, K)."""

Source = Callable[[int], AbstractContextManager[Iterator[Batch]]]
"""The batches from a step number on."""

Predict = Callable[[Image], Float32]
"""Images (B, H, W, c) to score maps (B, H/s, W/s, K), with the averaged weights."""

_LONGEST_AVERAGE = 0.998
_HORIZON = 10.0
"""The average's decay is 1 - horizon / step: it forgets all but the last tenth of the training."""


class Plan(Settings):
    """Everything but data and architecture that decides what comes out of a training."""

    minutes: float | None = Field(None, gt=0)
    """End after this long; None = no such bound."""
    steps: int | None = Field(None, ge=1)
    batch: int = Field(8, ge=1)
    size: int | None = Field(None, ge=32, multiple_of=32)
    """Side of the crops in pixels; None = chosen by the animals' size (`poseloop.train.survey`)."""
    seed: int = Field(0, ge=0)
    learning_rate: float = Field(2e-3, gt=0)
    warm_up: int = Field(30, ge=0)
    """Steps until the full learning rate."""
    weight_decay: float = Field(1e-4, ge=0)
    clip: float = Field(5.0, gt=0)
    """Largest norm of all gradients together."""
    evaluations: int = Field(8, ge=0)
    """How often the held-out frames are looked at on the way; 0 = never."""
    patience: int = Field(0, ge=0)
    """End after this many evaluations without a better one, and keep the best; 0 = never."""
    checkpoint_s: float = Field(30.0, ge=0)
    """Seconds from checkpoint to checkpoint; 0 = after every step."""
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = "float32"
    devices: int = Field(1, ge=0)
    """GPUs; 0 = all."""

    @model_validator(mode="after")
    def _bounded(self) -> Plan:
        if self.minutes is None and self.steps is None:
            raise ValueError("expected minutes or steps, but got neither")
        return self

    def progress(self, step: int, elapsed_s: float) -> float:
        """How much of the training is done, by the bound that is nearer; 1 = all."""
        by_step = step / self.steps if self.steps else 0.0
        by_time = elapsed_s / (60 * self.minutes) if self.minutes else 0.0
        return min(max(by_step, by_time), 1.0)


def learning_rate(plan: Plan, step: int, progress: float) -> float:
    """Linear warm-up, then half a cosine down to zero (Loshchilov & Hutter 2017)."""
    warm = min((step + 1) / (plan.warm_up + 1), 1.0)
    return plan.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * progress))


@dataclass(frozen=True, slots=True)
class Point:
    """One entry of a training's history."""

    step: int
    elapsed_s: float
    loss: float
    """Mean since the entry before."""
    error_px: float | None
    """Mean error of the held-out frames; None = not measured here."""
    left_s: float
    """Estimate."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """A finished training."""

    network: Any
    """``keras.Model`` to logits, float32, with the averaged weights."""
    steps: int
    elapsed_s: float
    waited_s: float
    """Time in which the trainer had nothing to do because no batch was ready."""
    history: tuple[Point, ...]
    stopped_early: bool
    resumed: int
    """How many times the training was taken up again."""


class Trainer:
    """One training: build, then `run`; a file of weights or a checkpoint is where it starts."""

    def __init__(
        self,
        architecture: Architecture,
        points: int,
        plan: Plan,
        weights: Path | Literal["imagenet"] | None,
        identity: Mapping[str, Any],
        file: Path | None,
        resume: bool = False,
    ) -> None:
        """Build the network, and load weights or the checkpoint.

        Args:
            architecture: of the network.
            points: K.
            plan: how to train.
            weights: of the trunk.
            identity: what else a checkpoint must have been made with: the data's digest, say. JSON.
            file: where checkpoints go; None = nowhere.
            resume: go on from ``file``.

        Raises:
            ModelError: the weights do not fit.
            DataError: no checkpoint, or one of another training.
        """
        import keras
        import tensorflow as tf

        self._tf = tf
        self._plan = plan
        self._file = file
        self._identity = _plain(
            {"plan": plan.model_dump(), "architecture": architecture.model_dump(), "points": points, **identity}
        )
        self.step = 0
        self.elapsed_s = 0.0
        self._waited_s = 0.0
        self._resumed = 0
        self._history: list[Point] = []
        self._best: tuple[float, list[Any]] | None = None
        self._since_best = 0
        self._stopped_early = False
        keras.utils.set_random_seed(plan.seed)
        self._strategy = _strategy(tf, plan)
        start, frozen = None if resume else weights, weights is not None
        with self._strategy.scope():
            if plan.precision != "float32":
                keras.mixed_precision.set_global_policy(plan.precision)
            try:
                self._network = model.build(architecture, points, start, frozen)
            finally:
                keras.mixed_precision.set_global_policy("float32")
            self.average = model.build(architecture, points, None, frozen)
            self.average.set_weights(self._network.get_weights())
            self._optimiser = _optimiser(keras, plan)
            self._optimiser.build(self._network.trainable_variables)
        self._fixed_loss = tf.function(self._evaluate)
        self._train = tf.function(self._train_step)
        self._infer = tf.function(lambda images: tf.sigmoid(self.average(images, training=False)))
        if resume:
            self._restore(checkpoint.load(_needed(file)))

    def predict(self, images: Image) -> Float32:
        """Score maps of the averaged weights."""
        return np.asarray(self._infer(self._tf.constant(images)))

    def loss(self, batch: Batch) -> float:
        """Loss of the averaged weights on a batch, without learning from it."""
        images, targets, weights = batch
        return float(self._fixed_loss(images, targets, weights, _visible(targets, weights)))

    def run(
        self,
        source: Source,
        measure: Callable[[Predict], float] | None = None,
        listen: Callable[[Point], None] = lambda point: None,
    ) -> Fitted:
        """Train until a bound is reached.

        Args:
            source: gives the batches.
            measure: mean error in px on the held-out frames.
            listen: called after every step.

        Returns:
            The training's result; interrupted by Ctrl-C, a checkpoint is written first.
        """
        plan = self._plan
        began = time.perf_counter() - self.elapsed_s
        saved = time.perf_counter()
        losses: list[float] = []
        evaluated = self._next_evaluation()
        with source(self.step) as batches:
            try:
                while (done := plan.progress(self.step, self.elapsed_s)) < 1:
                    asked = time.perf_counter()
                    batch = next(batches)
                    self._waited_s += time.perf_counter() - asked
                    losses.append(self._learn(batch, done))
                    self.step += 1
                    self.elapsed_s = time.perf_counter() - began
                    done = plan.progress(self.step, self.elapsed_s)
                    error = None
                    if measure is not None and (done >= evaluated or done >= 1) and plan.evaluations:
                        error = measure(self.predict)
                        self.elapsed_s = time.perf_counter() - began
                        evaluated += 1 / plan.evaluations
                    left = self.elapsed_s * (1 - done) / done if done else math.inf
                    point = Point(self.step, self.elapsed_s, float(np.mean(losses[-50:])), error, left)
                    listen(point)
                    if error is not None:
                        self._history.append(point)
                        if self._enough(error):
                            break
                    if self._file is not None and time.perf_counter() - saved >= plan.checkpoint_s:
                        self.save()
                        saved = time.perf_counter()
            except KeyboardInterrupt:
                if self._file is not None:
                    self.save()
                raise
        if self._best is not None:
            self.average.set_weights(self._best[1])
        if self._file is not None:
            self.save()
        return Fitted(
            self.average,
            self.step,
            self.elapsed_s,
            self._waited_s,
            tuple(self._history),
            self._stopped_early,
            self._resumed,
        )

    def save(self) -> None:
        """Write the checkpoint."""
        groups = {
            "network": [np.asarray(value) for value in self._network.get_weights()],
            "average": [np.asarray(value) for value in self.average.get_weights()],
            "optimiser": [np.asarray(variable) for variable in self._optimiser.variables],
        }
        if self._best is not None:
            groups["best"] = [np.asarray(value) for value in self._best[1]]
        state = {
            "identity": self._identity,
            "step": self.step,
            "elapsed_s": self.elapsed_s,
            "waited_s": self._waited_s,
            "resumed": self._resumed,
            "best_px": None if self._best is None else self._best[0],
            "since_best": self._since_best,
            "history": [asdict(point) for point in self._history],
        }
        checkpoint.save(checkpoint.Checkpoint(state, groups), _needed(self._file))

    def _restore(self, stored: checkpoint.Checkpoint) -> None:
        state, groups = stored.state, stored.groups
        for key, value in self._identity.items():
            if state["identity"].get(key) != value:
                raise DataError(
                    f"{self._file}: expected a checkpoint of this training, but its {key} is "
                    f"{state['identity'].get(key)} and not {value}. Resume with the settings it began with"
                )
        self._network.set_weights(groups["network"])
        self.average.set_weights(groups["average"])
        for variable, value in zip(self._optimiser.variables, groups["optimiser"], strict=True):
            variable.assign(value)
        self.step, self.elapsed_s = state["step"], state["elapsed_s"]
        self._waited_s, self._resumed = state["waited_s"], state["resumed"] + 1
        self._history = [Point(**point) for point in state["history"]]
        self._since_best = state["since_best"]
        if state["best_px"] is not None:
            self._best = state["best_px"], groups["best"]

    def _next_evaluation(self) -> float:
        """Progress at which the held-out frames are looked at next."""
        count = self._plan.evaluations
        done = self._plan.progress(self.step, self.elapsed_s)
        return (math.floor(done * count + 1e-9) + 1) / count if count else math.inf

    def _enough(self, error_px: float) -> bool:
        """Keep the best weights, where early stopping is wanted; True = it is time to stop."""
        if not self._plan.patience:
            return False
        if self._best is None or error_px < self._best[0]:
            self._best, self._since_best = (error_px, self.average.get_weights()), 0
            return False
        self._since_best += 1
        self._stopped_early = self._since_best >= self._plan.patience
        return self._stopped_early

    def _learn(self, batch: Batch, done: float) -> float:
        tf = self._tf
        images, targets, weights = batch
        self._optimiser.learning_rate = learning_rate(self._plan, self.step, done)
        decay = min(max(1 - _HORIZON / (self.step + 1), 0.0), _LONGEST_AVERAGE)
        replicas = self._strategy.num_replicas_in_sync
        if replicas > 1:
            if len(images) % replicas:
                raise DataError(f"expected a batch that {replicas} devices can share, but got {len(images)} pictures")
            parts = [np.split(values, replicas) for values in (images, targets, weights)]
            images, targets, weights = (
                self._strategy.experimental_distribute_values_from_function(
                    lambda context, part=part: tf.constant(part[context.replica_id_in_sync_group])
                )
                for part in parts
            )
        visible = tf.constant(_visible(batch[1], batch[2]))
        loss = float(self._train(images, targets, weights, visible, tf.constant(decay, tf.float32)))
        if not math.isfinite(loss):
            raise DataError(f"step {self.step}: expected a finite loss, but got {loss}. Lower the learning rate")
        return loss

    def _train_step(self, images: Any, targets: Any, weights: Any, visible: Any, decay: Any) -> Any:
        tf = self._tf

        def replica(images: Any, targets: Any, weights: Any) -> Any:
            with tf.GradientTape() as tape:
                loss = _loss(tf, self._network(images, training=True), targets, weights, visible)
                scaled = self._optimiser.scale_loss(loss)
            gradients = tape.gradient(scaled, self._network.trainable_variables)
            self._optimiser.apply(gradients, self._network.trainable_variables)
            return loss

        losses = self._strategy.run(replica, args=(images, targets, weights))
        for mean, value in zip(self.average.variables, self._network.variables, strict=True):
            if "float" in str(value.dtype):
                mean.assign(decay * mean + (1 - decay) * tf.cast(value, mean.dtype))
        return self._strategy.reduce(tf.distribute.ReduceOp.SUM, losses, axis=None)

    def _evaluate(self, images: Any, targets: Any, weights: Any, visible: Any) -> Any:
        return _loss(self._tf, self.average(images, training=False), targets, weights, visible)


def _loss(tf: Any, logits: Any, targets: Any, weights: Any, visible: Any) -> Any:
    cells = tf.nn.sigmoid_cross_entropy_with_logits(labels=targets, logits=tf.cast(logits, tf.float32))
    return tf.reduce_sum(tf.reduce_sum(cells, axis=(1, 2)) * weights) / visible


def _visible(targets: Float32, weights: Float32) -> np.float32:
    """Points that have a peak in their map and count; at least 1."""
    return np.float32(max(((targets.max(axis=(1, 2)) > 0) & (weights > 0)).sum(), 1))


def _optimiser(keras: Any, plan: Plan) -> Any:
    optimiser = keras.optimizers.AdamW(
        learning_rate=plan.learning_rate, weight_decay=plan.weight_decay, global_clipnorm=plan.clip
    )
    # Biases and BatchNorm's factors are not shrunk: there is nothing to regularise in them.
    optimiser.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    if plan.precision == "mixed_float16":
        return keras.optimizers.LossScaleOptimizer(optimiser)
    return optimiser


def _strategy(tf: Any, plan: Plan) -> Any:
    if plan.devices == 1:
        return tf.distribute.get_strategy()
    kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    found = [device.name for device in tf.config.list_logical_devices(kind)]
    if plan.devices > len(found):
        raise DataError(f"expected {plan.devices} devices to train on, but TensorFlow finds {', '.join(found)}")
    return tf.distribute.MirroredStrategy(found[: plan.devices or None])


def _needed(file: Path | None) -> Path:
    if file is None:
        raise DataError("expected a file for checkpoints, but none was named")
    return file


def _plain(value: Any) -> Any:
    """As it comes back from JSON."""
    return json.loads(json.dumps(value, default=str))
