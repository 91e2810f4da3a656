"""A training learns, keeps its promises about loss and schedule, and survives kill -9."""

import os
import subprocess
import sys
from pathlib import Path

import blobs
import numpy as np
import pytest
from pydantic import ValidationError

from poseloop.live.errors import DataError
from poseloop.train import checkpoint
from poseloop.train.checkpoint import Checkpoint
from poseloop.train.fit import Plan, Trainer, learning_rate

SCRIPT = Path(__file__).with_name("training.py")
QUIET = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}


def tensorflow(test: object) -> object:
    for mark in blobs.NEEDS_TENSORFLOW:
        test = mark(test)
    return test


def lines(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if line.split()[:1] in (["start"], ["saved"], ["done"])]


@tensorflow
def test_a_killed_training_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    file, early = tmp_path / "state.npz", tmp_path / "early.npz"
    command = [sys.executable, str(SCRIPT)]
    known: dict[str, str] = {}
    with subprocess.Popen([*command, str(file), "new"], env=QUIET, stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout is not None
        for line in killed.stdout:
            for _, step, loss in lines(line):
                known[step] = loss
                if step == "4":
                    early.write_bytes(file.read_bytes())
            if "9" in known:
                killed.kill()
                break
        killed.stdout.close()
    assert killed.returncode != 0
    assert checkpoint.load(file).state["step"] >= 9
    # From the earlier state, so that steps are seen that the killed training made as well.
    resumed = subprocess.run([*command, str(early), "resume"], env=QUIET, capture_output=True, text=True, check=True)
    kind, first, loss = lines(resumed.stdout)[0]
    assert (kind, loss) == ("start", known[first])
    again = {step: loss for kind, step, loss in lines(resumed.stdout) if kind == "saved"}
    assert "8" in again
    assert {step: again[step] for step in again if step in known} == {
        step: known[step] for step in known if step in again
    }
    assert lines(resumed.stdout)[-1][:2] == ["done", "12"]
    assert checkpoint.load(early).state["resumed"] == 1


@tensorflow
def test_a_training_learns_and_stops_at_its_bound(tmp_path: Path) -> None:
    plan = Plan(steps=60, batch=4, size=64, evaluations=2, learning_rate=5e-3, warm_up=5)
    trainer = Trainer(blobs.TINY, 2, plan, None, {}, None)
    fixed = blobs.batch(1000)
    before = trainer.loss(fixed)
    errors = iter((7.0, 5.0))
    fitted = trainer.run(blobs.source, lambda predict: next(errors))
    assert fitted.steps == 60
    assert trainer.loss(fixed) < 0.8 * before
    assert [point.error_px for point in fitted.history] == [7.0, 5.0]
    maps = trainer.predict(fixed[0])
    assert maps.shape == (4, 8, 8, 2)
    assert 0 <= maps.min() <= maps.max() <= 1

    short = Trainer(blobs.TINY, 2, Plan(minutes=1e-4, batch=4, size=64), None, {}, None)
    assert short.run(blobs.source).steps == 1


@tensorflow
def test_early_stopping_keeps_the_best(tmp_path: Path) -> None:
    plan = Plan(steps=20, batch=4, size=64, evaluations=10, patience=2, warm_up=0)
    trainer = Trainer(blobs.TINY, 2, plan, None, {}, tmp_path / "state.npz")
    errors = iter((9.0, 5.0, 6.0, 6.0, 1.0))
    best = []

    def measure(predict: object) -> float:
        best.append(trainer.loss(blobs.batch(1000)))
        return next(errors)

    fitted = trainer.run(blobs.source, measure)
    assert fitted.stopped_early
    assert fitted.steps == 8
    assert trainer.loss(blobs.batch(1000)) == pytest.approx(best[1])


@tensorflow
def test_the_loss_masks_what_is_not_labelled_and_counts_what_is_absent() -> None:
    trainer = Trainer(blobs.TINY, 2, Plan(steps=1, batch=4, size=64), None, {}, None)
    images, targets, weights = blobs.batch(0)
    masked = weights.copy()
    masked[:, 1] = 0
    nonsense = targets.copy()
    nonsense[..., 1] = 0.5
    assert trainer.loss((images, targets, masked)) == pytest.approx(trainer.loss((images, nonsense, masked)))
    absent = targets.copy()
    absent[0] = 0
    gone = weights.copy()
    gone[0] = 0
    # The same visible points divide both losses; the empty maps' cells are added to the first.
    assert trainer.loss((images, absent, weights)) > trainer.loss((images, absent, gone))


@pytest.mark.slow
@tensorflow
def test_two_devices_and_half_precision_train_like_one() -> None:
    program = """
import sys
sys.path.insert(0, sys.argv[1])
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import blobs
from poseloop.train.fit import Plan, Trainer
for devices, precision in ((1, "float32"), (2, "float32"), (1, "mixed_bfloat16")):
    options = {"devices": devices, "precision": precision, "learning_rate": 1e-4}
    plan = Plan(steps=6, batch=4, size=64, evaluations=0, warm_up=0, **options)
    trainer = Trainer(blobs.TINY, 2, plan, None, {}, None)
    trainer.run(blobs.source)
    print("loss", trainer.loss(blobs.batch(1000)), trainer.average.dtype, flush=True)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(SCRIPT.parent.parent)],
        env=QUIET,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    losses = [line.split() for line in done.stdout.splitlines() if line.startswith("loss")]
    one, two, half = (float(line[1]) for line in losses)
    # Each device's decoder sees its own half of the batch, so its BatchNorm differs a little.
    assert two == pytest.approx(one, rel=0.05)
    assert half == pytest.approx(one, rel=0.05)
    assert {line[2] for line in losses} == {"float32"}


@tensorflow
def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "state.npz"
    plan = Plan(steps=1, batch=4, size=64)
    Trainer(blobs.TINY, 2, plan, None, {"data_digest": "a"}, file).save()
    with pytest.raises(DataError, match="its data_digest is a and not b"):
        Trainer(blobs.TINY, 2, plan, None, {"data_digest": "b"}, file, resume=True)
    with pytest.raises(DataError, match="no checkpoint"):
        Trainer(blobs.TINY, 2, plan, None, {}, tmp_path / "none.npz", resume=True)


def test_checkpoints_are_read_as_written(tmp_path: Path) -> None:
    file = tmp_path / "state.npz"
    arrays = [np.arange(6, dtype=np.float32).reshape(2, 3), np.array(3, np.int64)]
    checkpoint.save(Checkpoint({"step": 3}, {"network": arrays}), file)
    read = checkpoint.load(file)
    assert read.state == {"step": 3}
    for value, expected in zip(read.groups["network"], arrays, strict=True):
        np.testing.assert_array_equal(value, expected)
        assert value.dtype == expected.dtype
    assert [path.name for path in tmp_path.iterdir()] == ["state.npz"]


@pytest.mark.parametrize("content", [b"", b"nothing like it", None])
def test_damaged_checkpoints_are_errors(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "state.npz"
    checkpoint.save(Checkpoint({"step": 3}, {"network": [np.zeros(1000)]}), file)
    file.write_bytes(file.read_bytes()[:2000] if content is None else content)
    with pytest.raises(DataError, match="cannot be read"):
        checkpoint.load(file)


def test_plans_are_bounded_and_their_rate_rises_and_falls() -> None:
    with pytest.raises(ValidationError, match="neither"):
        Plan()
    plan = Plan(minutes=1, steps=100, warm_up=9)
    assert plan.progress(50, 6) == 0.5
    assert plan.progress(50, 54) == pytest.approx(0.9)
    assert plan.progress(50, 600) == 1
    rates = [learning_rate(plan, step, step / 100) for step in range(101)]
    assert rates[0] == pytest.approx(plan.learning_rate / 10)
    assert max(rates) == pytest.approx(plan.learning_rate, rel=0.05)
    assert rates[-1] == pytest.approx(0)
