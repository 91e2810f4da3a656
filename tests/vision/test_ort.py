"""The right provider or none: what is said when it cannot be had."""

import importlib
import importlib.metadata
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from tinymodels import Tiny, rename_input

from poseloop.live.errors import ModelError
from poseloop.live.interfaces import Runtime
from poseloop.live.vision import Network
from poseloop.live.vision.ort import PROVIDERS, OnnxRuntime, available_providers
from poseloop.train.graph import Graph

SHAPE = (2, 32, 48, 1)
GPU = pytest.mark.gpu


def absent(provider: str) -> bool:
    return PROVIDERS[provider].names[0] not in onnxruntime.get_available_providers()


def test_runs_what_the_file_says(tmp_path: Path) -> None:
    runtime = OnnxRuntime(Tiny().save(tmp_path), "cpu", 1)
    assert isinstance(runtime, Runtime)
    runtime.check()
    runtime.open(SHAPE)
    images = np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)
    outputs = runtime.run(images)
    expected = images.reshape(2, 8, 4, 12, 4, 1).mean((2, 4)) / 255
    np.testing.assert_allclose(outputs["scoremap"], expected, atol=1e-6)
    assert runtime.provider == "cpu"
    runtime.close()
    runtime.close()


def test_memory_is_allocated_once(tmp_path: Path) -> None:
    runtime = OnnxRuntime(Tiny().save(tmp_path), "cpu", 1)
    images = runtime.open(SHAPE)
    assert (images.shape, images.dtype) == (SHAPE, np.uint8)
    first = runtime.run(images)["scoremap"]
    assert (first == 0).all()
    images[:] = 255
    second = runtime.run(images)["scoremap"]
    assert second is first
    np.testing.assert_allclose(second, 1, atol=1e-6)
    # Pictures that lie elsewhere are copied there.
    assert runtime.run(np.zeros(SHAPE, np.uint8))["scoremap"] is first
    assert (first == 0).all()
    assert (images == 0).all()


def test_a_closed_runtime_says_so(tmp_path: Path) -> None:
    runtime = OnnxRuntime(Tiny().save(tmp_path), "cpu", 1)
    with pytest.raises(ModelError, match="expected it to be open"):
        runtime.run(np.zeros(SHAPE, np.uint8))


@pytest.mark.parametrize("model", ["openfield", "blob", "simulated_animal"])
@pytest.mark.parametrize("provider", ["openvino", pytest.param("cuda", marks=GPU), pytest.param("tensorrt", marks=GPU)])
def test_an_accelerator_finds_the_cpus_points(provider: str, model: str) -> None:
    """Runs where such an onnxruntime is installed."""
    if absent(provider):
        pytest.skip(f"this onnxruntime was not built for {provider}")
    rng = np.random.default_rng(0)
    with Network.open(model, provider) as fast, Network.open(model, "cpu") as cpu:
        for _ in range(4):
            image = np.full((480, 640, 3), 200, np.uint8)
            x, y = rng.integers(100, (540, 380))
            image[y : y + 40, x : x + 60] = rng.integers(0, 60, (40, 60, 3))
            found, expected = fast.infer([image]), cpu.infer([image])
            assert fast.provider == provider
            np.testing.assert_allclose(found.score, expected.score, atol=1e-3)
            seen = expected.score > 0.05
            np.testing.assert_allclose(found.xy[seen], expected.xy[seen], atol=0.05)


def test_sizes_are_fixed_when_it_is_loaded(tmp_path: Path) -> None:
    runtime = OnnxRuntime(Tiny().save(tmp_path), "cpu", 1)
    runtime.open(SHAPE)
    with pytest.raises(ModelError, match=r"expected images \[2, 32, 48, 1\], but got \[1, 32, 48, 1\]"):
        runtime.run(np.zeros((1, 32, 48, 1), np.uint8))
    runtime.open((1, 16, 16, 1))
    assert runtime.run(np.zeros((1, 16, 16, 1), np.uint8))["scoremap"].shape == (1, 4, 4, 1)


@pytest.mark.parametrize("dims", [(None, None, None, 1), ("unk__1", "unk__2", "unk__3", 1), (2, 32, 48, 1)])
def test_inputs_with_anonymous_named_or_fixed_sizes_run(tmp_path: Path, dims: tuple[Any, ...]) -> None:
    path = tmp_path / "dims.onnx"
    path.write_bytes(rename_input(Tiny().graph(), dims).SerializeToString())
    runtime = OnnxRuntime(path, "cpu", 1)
    runtime.open(SHAPE)
    assert runtime.run(np.zeros(SHAPE, np.uint8))["scoremap"].shape == (2, 8, 12, 1)


@pytest.mark.parametrize(
    ("dims", "kind", "says"),
    [
        ((1, 480, 640, 1), 2, r"expected images of \[1, 480, 640, 1\], but they are \[2, 32, 48, 1\]"),
        (("n", "n", "w", 1), 2, "expected images of"),
        (("b", "h", "w", 1), 1, "expected one input"),
        (("b", "h", "w"), 2, "expected one input"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(tmp_path: Path, dims: tuple[Any, ...], kind: int, says: str) -> None:
    path = tmp_path / "dims.onnx"
    path.write_bytes(rename_input(Tiny().graph(), dims, kind).SerializeToString())
    with pytest.raises(ModelError, match=says):
        OnnxRuntime(path, "cpu", 1).open(SHAPE)


def test_a_graph_that_onnxruntime_refuses_is_a_model_error(tmp_path: Path) -> None:
    model = Tiny().graph()
    model.graph.node[0].op_type = "Squeezle"
    path = tmp_path / "odd.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=r"odd\.onnx: ONNX Runtime cannot load it: .*Squeezle"):
        OnnxRuntime(path, "cpu", 1).open(SHAPE)


def test_a_graph_that_fails_when_it_runs_is_a_model_error(tmp_path: Path) -> None:
    graph = Graph("odd", 1)
    sevenths = graph.op("Reshape", graph.scaled(graph.image), graph.integers(-1, 7))
    path = tmp_path / "odd.onnx"
    path.write_bytes(graph.model({"scoremap": (sevenths, ("rows", 7))}).SerializeToString())
    with pytest.raises(ModelError, match=r"odd\.onnx: "):
        OnnxRuntime(path, "cpu", 1).open(SHAPE)


@pytest.mark.parametrize("provider", [name for name in PROVIDERS if name != "cpu"])
def test_a_provider_that_is_absent_is_named_with_its_extra(tmp_path: Path, provider: str) -> None:
    if not absent(provider):
        pytest.skip(f"this onnxruntime was built for {provider}")
    runtime = OnnxRuntime(Tiny().save(tmp_path), provider, 1)
    says = rf"provider '{provider}' .* is not available.*offers .*CPUExecutionProvider.*{PROVIDERS[provider].extra}"
    for call in (runtime.check, lambda: runtime.open(SHAPE)):
        with pytest.raises(ModelError, match=says):
            call()


def test_an_unknown_provider_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="expected a provider among cpu, cuda, tensorrt, openvino, but got 'gpu'"):
        OnnxRuntime(Tiny().save(tmp_path), "gpu", 1).check()


def test_a_session_that_fell_back_to_the_cpu_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU build on a computer without GPU lists CUDA, prints what it misses, and comes up on the CPU."""
    real = onnxruntime.InferenceSession

    def session(path: str, options: Any, providers: list[str], **rest: Any) -> Any:
        assert providers == ["CUDAExecutionProvider"]
        return real(path, onnxruntime.SessionOptions(), providers=["CPUExecutionProvider"])

    everything = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: everything)
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: sys.stdout.write("Failed to load libcublas\n"))
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    assert available_providers() == ["cpu", "cuda"]
    runtime = OnnxRuntime(Tiny().save(tmp_path), "cuda", 1)
    for call in (runtime.check, lambda: runtime.open(SHAPE)):
        with pytest.raises(ModelError, match=r"came up on CPUExecutionProvider \(Failed to load libcublas\)"):
            call()


def test_two_packages_in_one_folder_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: "1.0" if name.startswith("onnxruntime-gpu") else real(name)
    )
    if not absent("cuda"):
        pytest.skip("this onnxruntime was built for CUDA")
    with pytest.raises(
        ModelError, match=r"onnxruntime\S* and onnxruntime\S* are both installed and overwrite each other"
    ):
        OnnxRuntime(Tiny().save(tmp_path), "cuda", 1).check()


def test_a_missing_onnxruntime_names_the_extras(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModelError, match=r"poseloop\[cpu\].*poseloop\[gpu\]"):
        OnnxRuntime(Tiny().save(tmp_path), "cpu", 1).check()
    assert available_providers() == []


def test_the_providers_listed_are_ours_by_name() -> None:
    assert "cpu" in available_providers()
    assert set(available_providers()) <= set(PROVIDERS)
