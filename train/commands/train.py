"""``poseloop train PROJECT``: from labelled frames to one model file, proven and measured."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import ValidationError

from poseloop.live.errors import ConfigError
from poseloop.live.output import report as reports
from poseloop.live.types import Colour
from poseloop.train import evaluate
from poseloop.train.fit import Plan, Point
from poseloop.train.model import BACKBONES, Architecture

if TYPE_CHECKING:
    from poseloop.train.recipe import Recipe

__all__ = ["HELP", "add_arguments", "run"]

HELP = "train a network on labelled frames and write it to one .onnx file"

_MINUTES = 10.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("project", type=Path, help="a folder with labels: DeepLabCut's or Lightning Pose's")
    parser.add_argument("--out", type=Path, metavar="MODEL.onnx", required=True, help="the file to write")
    length = parser.add_argument_group("length; what is reached first ends the training")
    length.add_argument("--minutes", type=float, help=f"default: {_MINUTES:g}, unless --steps is given")
    length.add_argument("--steps", type=int, help="batches")
    length.add_argument(
        "--patience", type=int, default=0, metavar="N", help="stop after N evaluations without progress"
    )
    length.add_argument("--resume", action="store_true", help="go on where a training with these settings was killed")
    network = parser.add_argument_group("network")
    network.add_argument("--backbone", choices=tuple(BACKBONES), default="mobilenet_v2")
    network.add_argument("--alpha", type=float, default=None, help="its width (default: 0.35; MobileNetV3: 1)")
    network.add_argument("--stride", type=int, choices=(4, 8, 16), default=8, help="pixels a cell of the score maps")
    network.add_argument("--width", type=int, default=64, help="channels of the decoder")
    network.add_argument("--grey", action="store_true", help="one input channel, for mono cameras")
    network.add_argument(
        "--weights",
        default="imagenet",
        metavar="FILE",
        help="trunk of keras.applications; imagenet: have Keras download it; none: random",
    )
    data = parser.add_argument_group("data")
    data.add_argument(
        "--view",
        choices=("top", "side"),
        help="may an animal be any way up (top), or is it always upright (side)? default: as the labels say",
    )
    data.add_argument(
        "--test-share",
        type=float,
        metavar="SHARE",
        help="of the frames that is held out (default: 0.2; a project's later trainings hold out what the first did)",
    )
    data.add_argument(
        "--trial",
        action="store_true",
        help="hold out other frames for each --seed, and do not enter the model into the project's history",
    )
    data.add_argument("--seed", type=int, default=0)
    data.add_argument("--batch", type=int, default=8)
    data.add_argument("--size", type=int, metavar="PX", help="side of the crops (default: 1.5 animals, but 256 to 512)")
    machine = parser.add_argument_group("machine")
    machine.add_argument("--precision", choices=("float32", "mixed_float16", "mixed_bfloat16"), default="float32")
    machine.add_argument("--devices", type=int, default=1, metavar="N", help="GPUs to share a batch; 0: all")
    machine.add_argument("--threads", type=int, default=0, metavar="N", help="of TensorFlow; 0: as it likes")
    machine.add_argument("--workers", type=int, default=1, metavar="N", help="threads that make batches")
    machine.add_argument("--checkpoint-s", type=float, default=30.0, metavar="S", help="seconds between checkpoints")
    parser.add_argument("--tensorboard", type=Path, metavar="DIR", help="write loss and error for TensorBoard")
    parser.add_argument("--report", type=Path, metavar="FILE.json", help="write all numbers here")


def run(arguments: argparse.Namespace) -> int:
    """Train, export, prove, measure, report."""
    # What it has to say of processors hides the training's own lines; errors are still shown.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # It needs the extra `train`, and the list of all commands must not.
    from poseloop.train import recipe

    wanted = _recipe(arguments)
    _threads(arguments.threads)
    with _tensorboard(arguments.tensorboard) as board, _Bar(wanted.plan) as bar:

        def listen(point: Point) -> None:
            bar(point)
            board(point)

        report = recipe.train(wanted, listen, bar.say)
    found = report["proof"]
    print(evaluate.table(report["held_out"]))
    print(
        f"{wanted.out}: same points as the trained network in {found['pictures']} pictures "
        f"(worst {found['score']:.1e} in score, {found['position_px']:.1e} px)"
    )
    if arguments.report is not None:
        parts = {"memory_mb": _peak_memory_mb(), "versions": reports.versions(), "machine": reports.machine()}
        reports.write({**report, **parts}, arguments.report)
    return 0


def _peak_memory_mb() -> float | None:
    """The most memory that this process has had; None where the system (Windows) keeps no such count."""
    if find_spec("resource") is None:
        return None
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6, 1)


def _recipe(arguments: argparse.Namespace) -> Recipe:
    from poseloop.train.recipe import Recipe

    weights = arguments.weights
    small = arguments.backbone.startswith("mobilenet_v3")
    minutes = arguments.minutes
    if minutes is None and arguments.steps is None:
        minutes = _MINUTES
    try:
        plan = Plan(
            minutes=minutes,
            steps=arguments.steps,
            batch=arguments.batch,
            size=arguments.size,
            seed=arguments.seed,
            patience=arguments.patience,
            checkpoint_s=arguments.checkpoint_s,
            precision=arguments.precision,
            devices=arguments.devices,
        )
        architecture = Architecture(
            backbone=arguments.backbone,
            alpha=arguments.alpha or (1.0 if small else 0.35),
            stride=arguments.stride,
            width=arguments.width,
            colour=Colour.GREY if arguments.grey else Colour.RGB,
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"--{key.replace('_', '-')}: {first['msg']}, but got {first['input']!r}") from error
    if arguments.out.suffix != ".onnx":
        raise ConfigError(f"--out: expected a file that ends in .onnx, but got {arguments.out}")
    return Recipe(
        arguments.project,
        arguments.out,
        plan,
        architecture,
        None if weights == "none" else weights if weights == "imagenet" else Path(weights),
        arguments.view,
        arguments.test_share,
        arguments.trial,
        arguments.resume,
        arguments.workers,
    )


def _threads(count: int) -> None:
    """Limit TensorFlow, which has to be told before it computes anything."""
    if count:
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(count)
        tf.config.threading.set_inter_op_parallelism_threads(1)


class _Listener(Protocol):
    def __call__(self, point: Point) -> None: ...


@contextmanager
def _tensorboard(folder: Path | None) -> Iterator[_Listener]:
    if folder is None:
        yield lambda point: None
        return
    if find_spec("tensorboard") is None:
        raise ConfigError("--tensorboard: expected TensorBoard to be installed: pip install tensorboard")
    import tensorflow as tf

    writer = tf.summary.create_file_writer(str(folder))

    def write(point: Point) -> None:
        with writer.as_default(step=point.step):
            tf.summary.scalar("loss", point.loss)
            if point.error_px is not None:
                tf.summary.scalar("held_out_error_px", point.error_px)

    try:
        yield write
    finally:
        writer.close()


class _Bar:
    """A progress bar with loss, error on the held-out frames, and time left; on a file, a line for each evaluation."""

    def __init__(self, plan: Plan) -> None:
        from tqdm import tqdm

        self._plan = plan
        self._terminal = sys.stderr.isatty()
        self._error = ""
        tqdm.monitor_interval = 0  # no thread of its own
        self._bar: Any = tqdm(
            total=100.0,
            disable=not self._terminal,
            bar_format="{percentage:3.0f}% |{bar}| {postfix}",
            file=sys.stderr,
        )

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def say(self, text: str) -> None:
        """Show a line that stays."""
        self._bar.write(text, file=sys.stderr)

    def __call__(self, point: Point) -> None:
        """Show where the training is."""
        if point.error_px is not None:
            self._error = f"  held out {point.error_px:.2f} px"
            if not self._terminal:
                self.say(
                    f"step {point.step}  {point.elapsed_s:.0f} s  loss {point.loss:.2f}{self._error}  "
                    f"{point.left_s:.0f} s left"
                )
        self._bar.n = 100 * self._plan.progress(point.step, point.elapsed_s)
        self._bar.set_postfix_str(
            f"step {point.step}  loss {point.loss:.2f}{self._error}  {point.left_s:.0f} s left", refresh=False
        )
        self._bar.update(0)
