"""ONNX Runtime's execution providers: what each is called, what installs it, and the settings that it runs with.

Settings are chosen for a loop: the same points as on the CPU before the last bit of speed (no reduced precision), and
nothing that is worked out anew while frames come. Their names are those of ONNX Runtime's documentation, "Execution
Providers". Those of ``cuda`` and ``tensorrt`` have not been run on a GPU by this project yet.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from poseloop.live.errors import ModelError

__all__ = ["PROVIDERS", "Provider", "engine_folder", "installed", "settings"]


@dataclass(frozen=True, slots=True)
class Provider:
    """What stands behind one provider's name in a rig file."""

    names: tuple[str, ...]
    """ONNX Runtime's own name, and what it may hand nodes to that it does not know."""
    extra: str
    """The extra of this project that installs it."""
    package: str
    gpu: bool = False
    """An NVIDIA GPU: input and output have to travel, and a run can be captured as one CUDA graph."""


PROVIDERS: Mapping[str, Provider] = {
    "cpu": Provider(("CPUExecutionProvider",), "cpu", "onnxruntime"),
    "cuda": Provider(("CUDAExecutionProvider",), "gpu", "onnxruntime-gpu", gpu=True),
    "tensorrt": Provider(("TensorrtExecutionProvider", "CUDAExecutionProvider"), "gpu", "onnxruntime-gpu", gpu=True),
    "openvino": Provider(("OpenVINOExecutionProvider",), "openvino", "onnxruntime-openvino"),
}

_PACKAGES = (
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-openvino",
    "onnxruntime-directml",
    "onnxruntime-qnn",
    "onnxruntime-training",
)
"""All of them install into the folder ``onnxruntime``; the last one installed overwrites the others without a word."""

_CUDA: Mapping[str, str] = {
    # TensorFloat-32 would round the inputs of convolutions to 10 bits.
    "use_tf32": "0",
    # Tries all algorithms once, at the first run of a shape; ours has one shape.
    "cudnn_conv_algo_search": "EXHAUSTIVE",
}


def settings(provider: str, threads: int, graph: bool = False, engines: Path | None = None) -> list[dict[str, str]]:
    """Return the options of each of a provider's names, in their order.

    Args:
        provider: a key of `PROVIDERS`.
        threads: for one run on a CPU.
        graph: capture a run as a CUDA graph, which saves launching every kernel anew.
        engines: folder for TensorRT's engines; None = they are not kept.
    """
    if provider == "cuda":
        return [{**_CUDA, "enable_cuda_graph": str(int(graph))}]
    if provider == "tensorrt":
        keep = {"trt_fp16_enable": "0", "trt_cuda_graph_enable": str(int(graph))}
        if engines is not None:
            keep |= {
                "trt_engine_cache_enable": "1",
                "trt_engine_cache_path": str(engines),
                "trt_timing_cache_enable": "1",
                "trt_timing_cache_path": str(engines),
            }
        return [keep, dict(_CUDA)]
    if provider == "openvino":
        properties = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            "INFERENCE_NUM_THREADS": str(threads),
            # It would take bfloat16 by itself where the CPU has it.
            "INFERENCE_PRECISION_HINT": "f32",
        }
        # The text itself: given a file's path it would fall back to the CPU provider.
        return [{"device_type": "CPU", "load_config": json.dumps({"CPU": properties})}]
    return [{}]


def engine_folder(model: Path, version: str) -> Path:
    """Make and return the folder for the TensorRT engines of one model file.

    Engines take minutes to build and fit only the file, the versions and the GPU that they were built for; ONNX Runtime
    looks at the GPU, the rest is in the folder's name. It lies in the user's cache, or in ``POSELOOP_CACHE``.

    Args:
        model: the .onnx file.
        version: of ONNX Runtime.

    Raises:
        ModelError: it cannot be made.
    """
    digest = hashlib.sha256(model.read_bytes()).hexdigest()[:16]
    folder = _cache() / "tensorrt" / f"{model.stem}-{digest}-{version}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelError(
            f"{folder}: expected a folder to keep TensorRT's engines in, but it cannot be made: {error.strerror}. Name "
            f"another one in the environment variable POSELOOP_CACHE"
        ) from error
    return folder


def _cache() -> Path:
    if named := os.environ.get("POSELOOP_CACHE"):
        return Path(named)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "poseloop" / "cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "poseloop"


def installed() -> Sequence[str]:
    """Packages here that provide the folder ``onnxruntime``; more than one is a fault."""
    found = []
    for package in _PACKAGES:
        try:
            importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
        found.append(package)
    return found
