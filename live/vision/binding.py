"""The input and outputs of one ONNX Runtime session, bound to memory that is allocated once.

On a CPU the session reads and writes NumPy's own memory. On a GPU it has fixed places on the device, as a CUDA graph
needs them; pictures go there and score maps come back by one copy each, and the host's side is page-locked where the
CUDA runtime agrees, which lets the device fetch it without a copy in between. The part for GPUs follows ONNX Runtime's
documentation ("I/O Binding", "CUDA Graphs") and has not been run on one by this project yet.
"""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from poseloop.live.types import Float32, Image

__all__ = ["Binding"]

_NO_CAPTURE = ("gpu_graph_id", "-1")
"""Run option: this run is not to become the CUDA graph."""


class Binding:
    """Memory of one session of fixed shape.

    Args:
        ort: the module ``onnxruntime``.
        session: loaded.
        shape: (B, H, W, c) of the input.
        gpu: whether the session runs on an NVIDIA GPU.
    """

    def __init__(self, ort: Any, session: Any, shape: tuple[int, int, int, int], gpu: bool) -> None:
        self.images: Image = np.zeros(shape, np.uint8)
        """(B, H, W, c): write pictures here, then `run` it."""
        self._ort = ort
        self._session = session
        self._input = session.get_inputs()[0].name
        self._pins = _Pins() if gpu else None
        names = [output.name for output in session.get_outputs()]
        plain = ort.RunOptions()
        if gpu:
            plain.add_run_config_entry(*_NO_CAPTURE)
        first = session.run(names, {self._input: self.images}, plain)
        # Outputs that are no plain numbers are for `Network` to refuse, so that they are bound as they are.
        self.outputs: Mapping[str, Float32] = {
            name: np.zeros_like(value, order="C") for name, value in zip(names, first, strict=True)
        }
        """Of the last run, by name; the same arrays every time."""
        memory: list[npt.NDArray[Any]] = [self.images, *self.outputs.values()]
        self._hosts = [ort.OrtValue.ortvalue_from_numpy(array) for array in memory]
        self._bound = self._hosts
        if self._pins is not None:
            for array in memory:
                self._pins.lock(array)
            self._bound = [ort.OrtValue.ortvalue_from_numpy(array, "cuda", 0) for array in memory]
        self._binding = self._bind(self._bound[0])
        self._others: dict[int, tuple[Image, Any]] = {}
        """Of each further array, by its identity: the array itself, which keeps that, and its binding."""

    @property
    def page_locked(self) -> bool:
        """Whether a GPU fetches the pictures without a copy in between; False on a CPU."""
        return self._pins is not None and self._pins.all

    def bind(self, images: Image) -> bool:
        """Let `run` read another array where it lies; False on a GPU, whose pictures travel from `images`."""
        if self._pins is not None:
            return False
        self._others[id(images)] = images, self._bind(self._ort.OrtValue.ortvalue_from_numpy(images))
        return True

    def reads(self, images: Image) -> bool:
        """Can `run` read this array without a copy?"""
        return images is self.images or id(images) in self._others

    def _bind(self, images: Any) -> Any:
        """All outputs, and this input, both as ONNX Runtime's values."""
        binding = self._session.io_binding()
        binding.bind_ortvalue_input(self._input, images)
        for name, value in zip(self.outputs, self._bound[1:], strict=True):
            binding.bind_ortvalue_output(name, value)
        return binding

    def run(self, images: Image) -> Mapping[str, Float32]:
        """Run on an array that it `reads`, and return `outputs`."""
        if self._pins is None:
            other = self._others.get(id(images))
            self._session.run_with_iobinding(self._binding if other is None else other[1])
            return self.outputs
        self._bound[0].update_inplace(self.images)
        self._session.run_with_iobinding(self._binding)
        self._ort.copy_tensors(self._bound[1:], self._hosts[1:])
        return self.outputs

    def close(self) -> None:
        """Unlock what was page-locked; idempotent. The session must not run afterwards."""
        if self._pins is not None:
            self._pins.unlock()


class _Pins:
    """Page-locks arrays with the CUDA runtime (``cudaHostRegister``); where it does not agree, copies are slower."""

    def __init__(self) -> None:
        self._runtime = _cuda_runtime()
        self._locked: list[npt.NDArray[Any]] = []
        self.all = self._runtime is not None

    def lock(self, array: npt.NDArray[Any]) -> None:
        pointer, size = ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(array.nbytes)
        if self._runtime is None or self._runtime.cudaHostRegister(pointer, size, ctypes.c_uint(0)) != 0:
            self.all = False
        else:
            self._locked.append(array)

    def unlock(self) -> None:
        while self._locked:
            self._runtime.cudaHostUnregister(ctypes.c_void_p(self._locked.pop().ctypes.data))


def _cuda_runtime() -> Any:
    """Return the CUDA runtime that ONNX Runtime has loaded, or None."""
    windows = sys.platform == "win32"
    for version in ("13", "12"):
        name = f"cudart64_{version}.dll" if windows else f"libcudart.so.{version}"
        with contextlib.suppress(OSError):
            return ctypes.CDLL(name)
    return None
