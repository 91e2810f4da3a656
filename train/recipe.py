"""From a project to a model file: split, train, put the score right, export, prove, measure."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from poseloop.live.errors import DataError
from poseloop.live.types import Colour, Float32, Image
from poseloop.live.vision import Network
from poseloop.live.vision.metadata import Decoding, ModelInfo
from poseloop.train import confidence, evaluate, export, labels, model, pictures, proof, survey, targets
from poseloop.train.augment import Augmentation
from poseloop.train.batches import Batches
from poseloop.train.fit import Fitted, Plan, Point, Trainer
from poseloop.train.history import SHARE, History
from poseloop.train.labels import Labels
from poseloop.train.model import Architecture

__all__ = ["GOLDEN", "Recipe", "golden_pictures", "train"]

GOLDEN = 24
"""Pictures of the golden-pose proof."""

_PACKAGES = ("poseloop", "tensorflow", "tensorflow-cpu", "keras", "tf2onnx", "onnx", "onnxruntime", "numpy")


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that the user may choose."""

    project: Path
    out: Path
    """The .onnx file."""
    plan: Plan
    architecture: Architecture
    weights: Path | Literal["imagenet"] | None
    view: str | None = None
    """``top``, ``side`` or ``none``: `Augmentation.preset`; None = what the labels say (`poseloop.train.survey`)."""
    test_share: float | None = None
    """Of the frames that is held out; None: a fifth, or the test frames that the project has (`History.split`)."""
    trial: bool = False
    """Leave the project's history alone: a split of its own, by share and seed."""
    resume: bool = False
    workers: int = 1
    """Threads that make batches."""

    @property
    def checkpoint(self) -> Path:
        """Where the training's state is kept: beside the model."""
        return self.out.with_suffix(".checkpoint.npz")


def train(
    recipe: Recipe,
    listen: Callable[[Point], None] = lambda point: None,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Train a network for a project and write it to a file that has been proven and measured.

    Args:
        recipe: what to do.
        listen: called after every step of the training.
        say: called with a line for people at every stage.

    Returns:
        A report: training, proof, error on the held-out frames.

    Raises:
        DataError: labels, pictures or checkpoint.
        ModelError: weights that do not fit, or a proof that fails; then no file is written.
    """
    architecture = recipe.architecture
    recipe.out.parent.mkdir(parents=True, exist_ok=True)
    project = labels.read(recipe.project)
    for problem in project.problems:
        say(str(problem))
    history = None if recipe.trial else History.kept(recipe.project)
    if history is None:
        share = SHARE if recipe.test_share is None else recipe.test_share
        learned, held_out = labels.split(project, share, recipe.plan.seed)
    else:
        learned, held_out = history.split(project, recipe.test_share, recipe.plan.seed)
        history.keep(project)
    # From here on the recipe says what was chosen for the user, too: it goes into checkpoint and model.
    size = recipe.plan.size or survey.crop_size(project)
    view = recipe.view or survey.view(project)
    plan = recipe.plan.model_copy(update={"size": size})
    recipe = replace(recipe, plan=plan, view=view)
    settings = Augmentation.preset(view, project.keypoints)
    which = "held out, as before" if history is not None and history.test else "held out"
    say(
        f"{len(learned.frames)} frames to learn from, {len(held_out.frames)} {which}, "
        f"{len(project.keypoints)} keypoints: {', '.join(project.keypoints)}"
    )
    turned = {"top": "any way up", "side": "always upright", "none": "as they are"}[view]
    say(f"crops of {size} px, view {view}: animals of {survey.length_px(project):.0f} px, learned {turned}")
    identity = {
        "data_digest": project.digest,
        "held_out": hashlib.sha256(repr([frame.name for frame in held_out.frames]).encode()).hexdigest(),
        "augmentation": settings.model_dump(mode="json"),
    }
    trainer = Trainer(
        architecture, len(project.keypoints), plan, recipe.weights, identity, recipe.checkpoint, recipe.resume
    )
    if recipe.resume:
        say(f"resumed at step {trainer.step}, {trainer.elapsed_s:.0f} s into the training")

    def source(start: int) -> AbstractContextManager[Any]:
        return Batches(
            learned,
            settings,
            batch=plan.batch,
            size=size,
            stride=architecture.stride,
            seed=plan.seed,
            start_step=start,
            colour=architecture.colour,
            workers=recipe.workers,
        )

    info = _describe(recipe, project, settings)
    fitted = trainer.run(source, _Measure(info, held_out), listen)
    with proof.as_network(trainer.predict, info) as network:
        shifts = confidence.shifts(*confidence.scores(network, learned, plan.seed))
    confidence.shift_logits(fitted.network, shifts)
    training = {
        **info.training,
        "held_out": [frame.name for frame in held_out.frames],
        "learned": [frame.name for frame in learned.frames],
        "score_shift": [round(float(shift), 4) for shift in shifts],
        **_course(fitted),
    }
    info = info.model_copy(update={"training": training})
    say(f"trained {fitted.steps} steps in {fitted.elapsed_s:.0f} s; exporting")
    golden = golden_pictures(project, training)
    draft = recipe.out.with_name(f".{recipe.out.name}.unmeasured.onnx")
    exported = model.scored(fitted.network)
    try:
        info = export.to_file(exported, trainer.predict, info, golden, draft)
        with Network.open(draft) as deployed:
            predictions = evaluate.predict(deployed, held_out)
        measured = evaluate.measure(predictions, info.gate)
        info = info.model_copy(update={"error": {"held_out": measured, "frames": len(held_out.frames)}})
        info = export.to_file(exported, trainer.predict, info, golden, recipe.out)
    finally:
        draft.unlink(missing_ok=True)
    if history is not None:
        history.enter(recipe.out, info, project)
        say(f"a copy is in {history.folder}; `poseloop refine {recipe.out} {recipe.project}` says what to label next")
    stored = info.training["proof"]
    return {
        "model": str(recipe.out),
        "training": _course(fitted),
        "proof": {key: stored[key] for key in ("pictures", "points", "score", "position_px")},
        "held_out": measured,
        "empty_score": _empty_score(recipe.out, learned),
    }


def golden_pictures(project: Labels, training: Mapping[str, Any]) -> list[Image]:
    """Choose the pictures of the proof: held-out frames first, then others, those of one size neighbours.

    Args:
        project: all labels of the project that a model was trained on.
        training: the model's own; names the held-out frames.
    """
    held_out = set(training.get("held_out", ()))
    ranked = sorted(project.frames, key=lambda frame: (frame.name not in held_out, _rank(frame.name)))
    chosen = sorted(ranked[:GOLDEN], key=lambda frame: (frame.height, frame.width, frame.name))
    return [pictures.read(frame.path, Colour.RGB) for frame in chosen]


def _rank(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


class _Measure:
    """Mean error on held-out frames by the runtime's own decoding, for the progress bar."""

    _MOST = 24
    """Frames; more would take the training's time."""

    def __init__(self, info: ModelInfo, held_out: Labels) -> None:
        self._info = info
        ranked = sorted(held_out.frames, key=lambda frame: _rank(frame.name))[: self._MOST]
        self._labels = held_out.only({frame.name for frame in ranked})

    def __call__(self, predict: Callable[[Image], Float32]) -> float:
        with proof.as_network(predict, self._info) as network:
            return float(np.nanmean(evaluate.predict(network, self._labels).error_px))


def _describe(recipe: Recipe, project: Labels, settings: Augmentation) -> ModelInfo:
    architecture = recipe.architecture
    weights = recipe.weights
    return ModelInfo(
        name=recipe.out.stem,
        description=f"{architecture.backbone} {architecture.alpha:g}, stride {architecture.stride}",
        keypoints=project.keypoints,
        skeleton=project.skeleton,
        colour=architecture.colour,
        stride=architecture.stride,
        size_multiple=model.SIZE_MULTIPLE,
        decoding=Decoding(method="centroid", window=targets.window(settings.sigma)),
        training={
            "data_digest": project.digest,
            "project": project.project.resolve().name,
            "view": recipe.view,
            "plan": recipe.plan.model_dump(mode="json"),
            "architecture": architecture.model_dump(mode="json"),
            "augmentation": settings.model_dump(mode="json"),
            "weights": {"name": weights.name, "sha256": _sha256(weights)} if isinstance(weights, Path) else weights,
            "written_utc": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        },
        versions=export.versions(*_PACKAGES),
    )


def _course(fitted: Fitted) -> dict[str, Any]:
    return {
        "steps": fitted.steps,
        "elapsed_s": round(fitted.elapsed_s, 2),
        "steps_per_s": round(fitted.steps / max(fitted.elapsed_s, 1e-9), 3),
        "waited_for_data_s": round(fitted.waited_s, 3),
        "stopped_early": fitted.stopped_early,
        "resumed": fitted.resumed,
        "history": [
            {key: value for key, value in asdict(point).items() if key != "left_s"} for point in fitted.history
        ],
    }


def _empty_score(file: Path, learned: Labels) -> list[float] | None:
    """Scores on the learned frames' median picture, nearly always a place without animal; None: sizes differ."""
    if len({(frame.width, frame.height) for frame in learned.frames}) > 1:
        return None
    shots = np.stack([pictures.read(frame.path, Colour.RGB) for frame in learned.frames[:31]])
    with Network.open(file) as network:
        scores = network.infer([np.median(shots, axis=0).astype(np.uint8)]).score[0, 0]
    return [round(float(score), 4) for score in np.nan_to_num(scores)]


def _sha256(file: Path) -> str:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror or error}") from error
