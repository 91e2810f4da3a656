"""Runs a model with ONNX Runtime: on the provider that was asked for, or not at all."""

from __future__ import annotations

import contextlib
import importlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from poseloop.live.errors import ModelError
from poseloop.live.types import Float32, Image
from poseloop.live.vision.binding import Binding
from poseloop.live.vision.onnxfile import UINT8, read_head
from poseloop.live.vision.providers import PROVIDERS, engine_folder, installed, settings

__all__ = ["PROVIDERS", "OnnxRuntime", "available_providers"]


_WARM_UP_RUNS = 3
"""The first run costs two to three times the median; the second still allocates."""

_ERRORS_ONLY = 3
"""ONNX Runtime's log level."""


class OnnxRuntime:
    """A `poseloop.live.interfaces.Runtime` on ONNX Runtime, loaded for one fixed shape of input.

    Args:
        model: an .onnx file with one input, (batch, height, width, channels) uint8.
        provider: a key of `PROVIDERS`.
        threads: for one run; more than 1 pays only on an otherwise idle machine.
    """

    def __init__(self, model: Path, provider: str, threads: int) -> None:
        self._model = model
        self._wanted = provider
        self._threads = threads
        self._binding: Binding | None = None
        self._provider = provider

    @property
    def provider(self) -> str:
        """The provider that runs the model, as read back from the session; before ``open`` the one asked for."""
        return self._provider

    def check(self) -> None:
        """Make sure that the provider can be had, without loading the model where that is the CPU.

        Raises:
            ModelError: it cannot.
        """
        if self._wanted == "cpu":
            self._names(_onnxruntime())
        else:
            # That a GPU build lists CUDA says nothing about this machine: only a session knows.
            self._load(None)

    def open(self, shape: tuple[int, int, int, int]) -> Image:
        """Load the model for images of exactly this (B, H, W, c) shape, and warm it up.

        Returns:
            The array that `run` reads without copying; zeros.

        Raises:
            ModelError: the file is no usable model or does not take this shape, or the provider is not available.
        """
        self.close()
        gpu = self._wanted in PROVIDERS and PROVIDERS[self._wanted].gpu
        try:
            self._binding = self._start(shape, gpu, graph=gpu)
        except ModelError:
            if not gpu:
                raise
            # Not every model can become a CUDA graph; without one it is slower, and the same.
            self._binding = self._start(shape, gpu, graph=False)
        self._provider = self._wanted
        return self._binding.images

    def run(self, images: Image) -> Mapping[str, Float32]:
        """Images (B, H, W, c) of the opened shape to the model's outputs by name, the same arrays every time.

        Args:
            images: the array that `open` returned, or one that was bound; another one is copied into the first.
        """
        binding = self._binding
        if binding is None:
            raise ModelError(f"{self._model}: expected it to be open, but it is closed")
        if not binding.reads(images):
            if images.shape != binding.images.shape:
                # NumPy would spread one picture over a batch.
                raise ModelError(
                    f"{self._model}: expected images {list(binding.images.shape)}, but got {list(images.shape)}"
                )
            np.copyto(binding.images, images)
            images = binding.images
        return binding.run(images)

    def bind(self, images: Image) -> bool:
        """Let `run` read this array, too, where it lies; see `poseloop.live.interfaces.Binds`."""
        return self._binding is not None and self._binding.bind(images)

    def close(self) -> None:
        """Free the session; idempotent."""
        if self._binding is not None:
            self._binding.close()
        self._binding = None

    def _start(self, shape: tuple[int, int, int, int], gpu: bool, graph: bool) -> Binding:
        session = self._load(shape, graph)
        binding = None
        try:
            binding = Binding(_onnxruntime(), session, shape, gpu)
            for _ in range(_WARM_UP_RUNS):
                binding.run(binding.images)
        except Exception as error:
            # Its exceptions have no root of their own, so that nothing narrower can be caught.
            if binding is not None:
                binding.close()
            raise ModelError(f"{self._model}: fails on {self._wanted} with images of {shape}: {error}") from error
        return binding

    def _names(self, ort: Any) -> tuple[str, ...]:
        provider = PROVIDERS.get(self._wanted)
        if provider is None:
            raise ModelError(f"expected a provider among {', '.join(PROVIDERS)}, but got {self._wanted!r}")
        offered = ort.get_available_providers()
        if provider.names[0] not in offered:
            raise self._unavailable(f"this onnxruntime {ort.__version__} offers {', '.join(offered)}")
        return provider.names

    def _unavailable(self, why: str) -> ModelError:
        provider = PROVIDERS[self._wanted]
        advice = f"Install it with `pip install 'poseloop[{provider.extra}]'`, or choose another provider"
        found = installed()
        if len(found) > 1:
            advice = (
                f"{' and '.join(found)} are both installed and overwrite each other's files: "
                f"`pip uninstall {' '.join(found)}`, then `pip install 'poseloop[{provider.extra}]'`"
            )
        elif provider.package in found:
            advice = f"{provider.package} is installed: check that its device, driver and libraries are there"
        return ModelError(f"provider {self._wanted!r} ({provider.names[0]}) is not available: {why}", advice)

    def _load(self, shape: tuple[int, int, int, int] | None, graph: bool = False) -> Any:
        ort = _onnxruntime()
        names = self._names(ort)
        engines = engine_folder(self._model, ort.__version__) if self._wanted == "tensorrt" else None
        chosen = settings(self._wanted, self._threads, graph, engines)
        sizes = _free_sizes(self._model, shape)
        accelerated = self._wanted != "cpu"
        options = ort.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        # Threads that go on spinning between two frames take a core from the cameras.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        for name, size in sizes.items():
            options.add_free_dimension_override_by_name(name, size)
        if accelerated and shape is not None:
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        said = io.StringIO()
        try:
            # Its loaders print what is missing, and would then go on with the CPU.
            with contextlib.redirect_stdout(said):
                if names[-1] == "CUDAExecutionProvider":
                    ort.preload_dlls()
                session = ort.InferenceSession(
                    str(self._model), options, providers=list(names), provider_options=chosen, enable_fallback=0
                )
        except Exception as error:
            # Its exceptions have no root of their own, so that nothing narrower can be caught.
            if accelerated:
                raise self._unavailable(f"it does not take {self._model}: {error}") from error
            raise ModelError(f"{self._model}: ONNX Runtime cannot load it: {error}") from error
        got = session.get_providers()[0]
        if got != names[0]:
            reason = said.getvalue().strip().partition("\n")[0] or "it gave no reason"
            raise self._unavailable(f"a session that asked for it came up on {got} ({reason})")
        return session


def available_providers() -> list[str]:
    """Providers that the installed onnxruntime was built for; none where it is missing.

    Whether this computer has the device and its libraries is only known when a model is opened.
    """
    try:
        offered = _onnxruntime().get_available_providers()
    except ModelError:
        return []
    return [name for name, provider in PROVIDERS.items() if provider.names[0] in offered]


def _onnxruntime() -> Any:
    try:
        ort = importlib.import_module("onnxruntime")
    except ImportError as error:
        raise ModelError(
            f"expected ONNX Runtime to be installed, but importing it says: {error}",
            "Install one of `pip install 'poseloop[cpu]'`, `'poseloop[gpu]'` or `'poseloop[openvino]'`",
        ) from error
    # Some of its builds report to their maker; nothing about an experiment leaves the lab.
    if hasattr(ort, "disable_telemetry_events"):
        ort.disable_telemetry_events()
    return ort


def _free_sizes(model: Path, shape: tuple[int, int, int, int] | None) -> Mapping[str, int]:
    """Named free dimensions of the input, and what they become; anonymous ones stay free.

    Raises:
        ModelError: the file is no model, or its input does not take this shape.
    """
    head = read_head(model)
    if len(head.inputs) != 1 or head.inputs[0].element != UINT8 or len(head.inputs[0].shape) != 4:
        found = ", ".join(f"{one.name} {list(one.shape)} of type {one.element}" for one in head.inputs) or "none"
        raise ModelError(f"{model}: expected one input (batch, height, width, channels) of uint8, but it has {found}")
    sizes: dict[str, int] = {}
    if shape is None:
        return sizes
    declared = head.inputs[0].shape
    for size, wanted in zip(declared, shape, strict=True):
        fits = size == wanted if isinstance(size, int) else size is None or sizes.setdefault(size, wanted) == wanted
        if not fits:
            raise ModelError(f"{model}: expected images of {list(declared)}, but they are {list(shape)}")
    return sizes
