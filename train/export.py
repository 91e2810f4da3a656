"""From a trained network to the file that a rig runs, and from that file to smaller and faster ones.

Every file is proven before anybody can use it: `to_file` against the network in TensorFlow, `variant` against the
file it was made from. What is float32 must find the same points (`poseloop.train.proof.EXACT`); what computes with
fewer bits is measured on labelled frames and may lose no more than `BOUNDS` says. A file that fails is deleted.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import logging
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from poseloop.live.errors import ModelError
from poseloop.live.types import Colour, Float32, Image
from poseloop.live.vision import Network
from poseloop.live.vision.coords import Placement, View, place
from poseloop.live.vision.metadata import Decoding, ModelInfo
from poseloop.live.vision.ort import OnnxRuntime
from poseloop.train import decoding, modelfile, proof, tidy
from poseloop.train.graph import OPSET
from poseloop.train.proof import EXACT, Bound

if TYPE_CHECKING:
    import onnx

__all__ = ["BOUNDS", "Loss", "Precision", "Variant", "latency", "to_file", "to_onnx", "variant", "versions"]

Precision = Literal["fp32", "fp16", "int8"]

_IR_VERSION = 8
"""Goes with opset 17; see `poseloop.train.graph`."""
_CALIBRATION_PICTURES = 48


@dataclass(frozen=True, slots=True)
class Loss:
    """How much worse than the file it was made from a variant may be, on labelled frames."""

    error_px: float
    """Mean error."""
    score: float
    """Mean change of the scores."""


BOUNDS: Mapping[Precision, Loss] = {"fp16": Loss(0.05, 0.01), "int8": Loss(0.2, 0.05)}


@dataclass(frozen=True, slots=True)
class Variant:
    """What to make of a file."""

    precision: Precision = "fp32"
    decoded: bool = False
    """The graph gives points instead of score maps: less leaves a GPU."""
    grey: bool = False
    """The graph takes one channel."""


def to_onnx(network: Any, channels: int) -> onnx.ModelProto:
    """Convert a Keras network with output ``scoremap`` (b, h, w, K).

    Raises:
        ModelError: it cannot be converted.
    """
    import tensorflow as tf

    points = int(network.output.shape[-1])
    signature = (tf.TensorSpec((None, None, None, channels), tf.uint8, name="image"),)
    with _quiet():
        import tf2onnx

        try:
            model, _ = tf2onnx.convert.from_keras(network, input_signature=signature, opset=OPSET)
        except Exception as error:  # it raises whatever it likes
            raise ModelError(f"the network cannot be converted to ONNX: {error}") from error
    tidy.one_node_doubling(model)
    tidy.name_dims(model, channels, {"scoremap": ("batch", "rows", "columns", points)})
    model = tidy.fold_constants(model)
    tidy.planar_pixels(model)
    tidy.fold_scale(model)
    tidy.pad_channels(model)
    tidy.name_dims(model, channels, {"scoremap": ("batch", "rows", "columns", points)})
    model.ir_version = _IR_VERSION
    model.producer_name = "poseloop"
    model.graph.name = network.name
    return model


def to_file(
    network: Any,
    predict: Callable[[Image], Float32],
    info: ModelInfo,
    pictures: Sequence[Image],
    file: Path,
) -> ModelInfo:
    """Convert a trained network, prove the file, and write the proof into it.

    Args:
        network: Keras, from ``image`` to ``scoremap``.
        predict: the same network, as it was trained: images (B, H, W, c) to score maps.
        info: all that the file should say of itself, but for the proof.
        pictures: golden ones: (H, W) or (H, W, 3) each; those of one size neighbours.
        file: to be written; it appears once it is proven.

    Returns:
        What the file says of itself.

    Raises:
        ModelError: the file does not find what the network finds.
    """
    model = to_onnx(network, info.colour.channels)
    with proof.as_network(predict, info) as trained:
        reference = proof.poses(trained, pictures)
    return _proven(model, info, reference, pictures, EXACT, file)


def variant(
    source: Path,
    file: Path,
    wanted: Variant,
    pictures: Sequence[Image],
    calibration: Sequence[Image],
    measure: Callable[[Network], Mapping[str, Any]],
) -> Mapping[str, Any]:
    """Make another file of a model file: fewer bits, points instead of maps, grey instead of colours.

    Args:
        source: float32, with score maps.
        file: to be written; it appears once it has passed.
        wanted: what to make.
        pictures: golden ones, as in `to_file`.
        calibration: pictures of the training, for int8: they tell how large each layer's values are.
        measure: mean errors of a network on labelled frames: at least ``rmse_px``.

    Returns:
        ``difference`` to the source, ``error`` of both where bits were saved, ``latency_ms`` of both.

    Raises:
        ModelError: the source is not such a file, or what was made is worse than it may be.
    """
    import onnx

    info = Network.describe(source)
    if info.decoding.method not in ("centroid", "argmax"):
        raise ModelError(f"{source}: expected a model with score maps, but it is decoded by {info.decoding.method}")
    if info.training.get("export", {}).get("precision", "fp32") != "fp32":
        raise ModelError(f"{source}: expected a float32 model; make the variant of the file that training wrote")
    model = onnx.load(source)
    colour = info.colour
    if wanted.grey:
        tidy.to_grey(model)
        colour = Colour.GREY
        # Equal on grey pictures only, so it is on those that it is proven and measured.
        pictures, calibration = ([_grey(one) for one in some] for some in (pictures, calibration))
    if wanted.precision == "int8":
        model = _int8(model, calibration, info, colour)
    elif wanted.precision == "fp16":
        model = _fp16(model)
    decode = info.decoding
    if wanted.decoded:
        model = decoding.append(model, info.stride, decode.window if decode.method == "centroid" else 1)
        decode = Decoding(method="keypoints")
    export = {"precision": wanted.precision, "grey": wanted.grey, "decoded": wanted.decoded, "source": info.name}
    training = {key: value for key, value in info.training.items() if key != "proof"} | {"export": export}
    made = info.model_copy(update={"colour": colour, "decoding": decode, "training": training})
    with Network.open(source) as network:
        reference = proof.poses(network, pictures)
        before = dict(measure(network))
    bound = EXACT if wanted.precision == "fp32" else Bound(np.inf, np.inf)
    size = (int(pictures[0].shape[0]), int(pictures[0].shape[1]))
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / "draft.onnx"
        modelfile.save(model, made, draft)
        with Network.open(draft) as network:
            after = dict(measure(network))
            change = float(np.nanmean(np.abs(proof.poses(network, pictures).score - reference.score)))
        height, width = (-(-side // info.size_multiple) * info.size_multiple for side in size)
        inputs = [(path, (1, height, width, c.channels)) for path, c in ((source, info.colour), (draft, colour))]
        times = latency(inputs)
    allowed = BOUNDS.get(wanted.precision)
    if allowed and not (after["rmse_px"] - before["rmse_px"] <= allowed.error_px and change <= allowed.score):
        raise ModelError(
            f"{file}: expected {wanted.precision} to be at most {allowed.error_px:g} px worse, with scores that change "
            f"by at most {allowed.score:g}, but the error went from {before['rmse_px']:.2f} to {after['rmse_px']:.2f} "
            f"px and scores changed by {change:.3f}. The file was not written"
        )
    measured = {
        "held_out": after,
        "source_held_out": before,
        "score_change": change,
        "latency_ms": {"size": list(size), "threads": 1, "source": times[0], "this": times[1]},
    }
    made = made.model_copy(update={"error": {**made.error, **measured}})
    final = _proven(model, made, reference, pictures, bound, file)
    stored = final.training["proof"]
    return {
        "difference": {key: stored[key] for key in ("score", "position_px", "points", "pictures")},
        "error": {"source": before, "this": after, "score_change": change},
        "latency_ms": measured["latency_ms"],
        "bytes": {"source": source.stat().st_size, "this": file.stat().st_size},
    }


def latency(models: Sequence[tuple[Path, tuple[int, int, int, int]]], runs: int = 40) -> list[float]:
    """Median time of one run on one CPU thread, in ms; the models take turns, so that all see the same machine.

    Args:
        models: files, and the (B, H, W, c) of their input.
        runs: of each.
    """
    runtimes = []
    times: list[list[float]] = [[] for _ in models]
    rng = np.random.default_rng(0)
    try:
        for path, shape in models:
            runtimes.append((OnnxRuntime(path, "cpu", 1), rng.integers(0, 256, shape, np.uint8)))
            runtimes[-1][0].open(shape)
        for _ in range(runs):
            for (runtime, images), spent in zip(runtimes, times, strict=True):
                began = time.perf_counter_ns()
                runtime.run(images)
                spent.append((time.perf_counter_ns() - began) / 1e6)
    finally:
        for runtime, _ in runtimes:
            runtime.close()
    return [float(np.median(spent)) for spent in times]


def versions(*packages: str) -> dict[str, str]:
    """Versions of those packages that are installed."""
    found = {}
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def _proven(
    model: onnx.ModelProto,
    info: ModelInfo,
    reference: proof.Poses,
    pictures: Sequence[Image],
    bound: Bound,
    file: Path,
) -> ModelInfo:
    """Write under another name, prove, write what was proven into it, look again, and give it its name."""
    draft = file.with_name(f".{file.name}.unproven.onnx")
    try:
        modelfile.save(model, info, draft)
        stored = proof.prove(reference, draft, pictures, bound)
        info = info.model_copy(update={"training": {**info.training, "proof": stored}})
        modelfile.save(model, info, draft)
        proof.recheck(draft, pictures)
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)
    return info


def _fp16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Halve all floats inside; what goes in and out stays as it is."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    half: onnx.ModelProto = convert_float_to_float16(model, keep_io_types=True)
    return half


def _int8(model: onnx.ModelProto, pictures: Sequence[Image], info: ModelInfo, colour: Colour) -> onnx.ModelProto:
    """Static quantisation (QDQ): u8 activations, s8 weights for each channel.

    Both ends stay float32. Few channels on a large picture, up to the first 1 × 1 convolution, are slower in int8; and
    a score map in steps of 1/255 would have flat peaks.
    """
    import onnx
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    if not pictures:
        raise ModelError("expected pictures to calibrate int8 with, but got none")
    some = pictures[:: -(-len(pictures) // _CALIBRATION_PICTURES)]

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        """Hands out the pictures one by one."""

        def __init__(self) -> None:
            self._left = iter(some)

        def get_next(self) -> dict[str, Image] | None:
            picture = next(self._left, None)
            return None if picture is None else {"image": _input(picture, info.size_multiple, colour)}

    nodes = model.graph.node
    convolutions = [number for number, node in enumerate(nodes) if node.op_type == "Conv"]
    pointwise = [number for number in convolutions if _kernel(nodes[number]) == [1, 1]]
    kept = [node.name for node in (*nodes[: pointwise[0]], *nodes[convolutions[-1] :])]
    with tempfile.TemporaryDirectory() as folder, _quiet():
        before, after = (Path(folder) / name for name in ("before.onnx", "after.onnx"))
        onnx.save(model, before)
        quantize_static(
            before,
            after,
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            nodes_to_exclude=kept,
        )
        quantised = onnx.load(after)
    del quantised.graph.value_info[:]
    quantised.ir_version = _IR_VERSION
    return quantised


def _kernel(node: onnx.NodeProto) -> list[int]:
    return next((list(one.ints) for one in node.attribute if one.name == "kernel_shape"), [])


def _grey(picture: Image) -> Image:
    """Luma, as the runtime makes it of colours."""
    import cv2

    return picture if picture.ndim == 2 else np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8)


def _input(picture: Image, multiple: int, colour: Colour) -> Image:
    """(1, H, W, c), padded as the runtime does it."""
    view = View(picture.shape[0], picture.shape[1], Colour.GREY if picture.ndim == 2 else Colour.RGB)
    placement = Placement.of(view, multiple)
    images = np.zeros((1, placement.padded_height, placement.padded_width, colour.channels), np.uint8)
    place(view, placement, colour, images[0])(picture)
    return images


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep converters from telling of their own deprecations and of every step."""
    before = logging.root.manager.disable
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)
