"""The settings that providers are given. A GPU is faked only as far as options and calls go: nothing is computed."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
from tinymodels import Tiny

from poseloop.live.errors import ModelError
from poseloop.live.vision import binding
from poseloop.live.vision.binding import Binding
from poseloop.live.vision.ort import OnnxRuntime
from poseloop.live.vision.providers import PROVIDERS, engine_folder, settings

SHAPE = (1, 32, 48, 1)


def test_every_name_gets_its_own_options_as_text() -> None:
    for name, provider in PROVIDERS.items():
        given = settings(name, 1, graph=True, engines=Path("engines"))
        assert len(given) == len(provider.names)
        for options in given:
            assert all(isinstance(value, str) for value in options.values())


def test_openvino_is_told_in_words_and_not_by_a_file() -> None:
    (options,) = settings("openvino", 2)
    assert options["device_type"] == "CPU"
    assert json.loads(options["load_config"])["CPU"] == {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": "1",
        "INFERENCE_NUM_THREADS": "2",
        "INFERENCE_PRECISION_HINT": "f32",
    }


@pytest.mark.parametrize("graph", [False, True])
def test_gpus_keep_full_precision_and_make_a_graph_where_they_can(graph: bool) -> None:
    (cuda,) = settings("cuda", 1, graph)
    assert cuda["use_tf32"] == "0"
    assert cuda["enable_cuda_graph"] == str(int(graph))
    tensorrt, rest = settings("tensorrt", 1, graph, Path("engines"))
    assert tensorrt["trt_cuda_graph_enable"] == str(int(graph))
    assert tensorrt["trt_fp16_enable"] == "0"
    assert (tensorrt["trt_engine_cache_enable"], tensorrt["trt_engine_cache_path"]) == ("1", "engines")
    assert "enable_cuda_graph" not in rest


def test_engines_of_another_file_or_version_lie_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSELOOP_CACHE", str(tmp_path / "cache"))
    one = Tiny().save(tmp_path, "one.onnx")
    other = Tiny(keypoints=("other",)).save(tmp_path, "other.onnx")
    folders = {engine_folder(one, "1.0"), engine_folder(one, "1.1"), engine_folder(other, "1.0")}
    assert len(folders) == 3
    assert all(folder.is_dir() and folder.is_relative_to(tmp_path / "cache" / "tensorrt") for folder in folders)
    assert engine_folder(one, "1.0") in folders


def test_a_cache_that_cannot_be_made_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("not a folder")
    monkeypatch.setenv("POSELOOP_CACHE", str(blocked))
    with pytest.raises(ModelError, match=r"blocked.*cannot be made: .*POSELOOP_CACHE"):
        engine_folder(Tiny().save(tmp_path), "1.0")


class Device:
    """Stands for ONNX Runtime's values on a device: notes what is asked of it, and computes on the CPU."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, graphs: bool = True) -> None:
        self.calls: list[str] = []
        self.options: list[list[dict[str, str]]] = []
        self.graphs = graphs
        self._value = onnxruntime.OrtValue
        self._session = onnxruntime.InferenceSession
        everything = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: everything)
        monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None)
        monkeypatch.setattr(onnxruntime, "InferenceSession", self.session)
        monkeypatch.setattr(onnxruntime, "OrtValue", SimpleNamespace(ortvalue_from_numpy=self.value))
        monkeypatch.setattr(onnxruntime, "copy_tensors", self.copy)

    def session(
        self, path: str, _: Any, providers: list[str], provider_options: list[dict[str, str]], **rest: Any
    ) -> Any:
        self.options.append(provider_options)
        if not self.graphs and "1" in (
            provider_options[0].get("enable_cuda_graph"),
            provider_options[0].get("trt_cuda_graph_enable"),
        ):
            raise RuntimeError("this model cannot be captured")
        real = self._session(path, onnxruntime.SessionOptions(), providers=["CPUExecutionProvider"])
        monkeypatched = SimpleNamespace(
            get_providers=lambda: providers,
            get_inputs=real.get_inputs,
            get_outputs=real.get_outputs,
            io_binding=real.io_binding,
            run=lambda names, feed, options: (
                self.calls.append(f"plain {options.get_run_config_entry('gpu_graph_id')}"),
                real.run(names, feed),
            )[1],
            run_with_iobinding=lambda bound: (self.calls.append("run"), real.run_with_iobinding(bound)),
        )
        return monkeypatched

    def value(self, array: np.ndarray, device: str = "cpu", number: int = 0) -> Any:
        if device == "cpu":
            return self._value.ortvalue_from_numpy(array)
        assert (device, number) == ("cuda", 0)
        made = self._value.ortvalue_from_numpy(array.copy())
        update = made.update_inplace
        made.update_inplace = lambda data: (self.calls.append("upload"), update(data))
        return made

    def copy(self, source: list[Any], target: list[Any]) -> None:
        self.calls.append("download")
        for one, other in zip(source, target, strict=True):
            other.update_inplace(one.numpy())


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_gpu_gets_one_copy_in_and_one_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, provider: str) -> None:
    monkeypatch.setenv("POSELOOP_CACHE", str(tmp_path / "cache"))
    device = Device(monkeypatch)
    runtime = OnnxRuntime(Tiny().save(tmp_path), provider, 1)
    images = runtime.open(SHAPE)
    assert runtime.provider == provider
    # The run that finds the outputs' shapes must not be the one that is captured.
    assert device.calls[0] == "plain -1"
    assert device.calls[1:4] == ["upload", "run", "download"]
    device.calls.clear()
    images[:] = 255
    outputs = runtime.run(images)
    assert device.calls == ["upload", "run", "download"]
    np.testing.assert_allclose(outputs["scoremap"], 1, atol=1e-6)
    runtime.close()


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_model_that_makes_no_cuda_graph_runs_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, provider: str
) -> None:
    monkeypatch.setenv("POSELOOP_CACHE", str(tmp_path / "cache"))
    device = Device(monkeypatch, graphs=False)
    runtime = OnnxRuntime(Tiny().save(tmp_path), provider, 1)
    runtime.open(SHAPE)
    key = "enable_cuda_graph" if provider == "cuda" else "trt_cuda_graph_enable"
    assert [options[0][key] for options in device.options] == ["1", "0"]


def test_memory_is_page_locked_once_and_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(monkeypatch)
    locked: list[int] = []
    runtime = SimpleNamespace(
        cudaHostRegister=lambda pointer, size, flags: locked.append(pointer.value) or 0,
        cudaHostUnregister=lambda pointer: locked.remove(pointer.value),
    )
    monkeypatch.setattr(binding, "_cuda_runtime", lambda: runtime)
    session = device.session(str(Tiny().save(tmp_path)), None, ["CUDAExecutionProvider"], [{}])
    bound = Binding(onnxruntime, session, SHAPE, gpu=True)
    assert locked == [bound.images.ctypes.data, bound.outputs["scoremap"].ctypes.data]
    assert bound.page_locked
    for _ in range(3):
        bound.run(bound.images)
    assert len(locked) == 2
    bound.close()
    bound.close()
    assert locked == []


@pytest.mark.parametrize("runtime", [None, SimpleNamespace(cudaHostRegister=lambda *_: 2)])
def test_without_page_locking_it_runs_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: Any
) -> None:
    device = Device(monkeypatch)
    monkeypatch.setattr(binding, "_cuda_runtime", lambda: runtime)
    session = device.session(str(Tiny().save(tmp_path)), None, ["CUDAExecutionProvider"], [{}])
    bound = Binding(onnxruntime, session, SHAPE, gpu=True)
    assert not bound.page_locked
    assert set(bound.run(bound.images)) == {"scoremap"}
    bound.close()


@pytest.mark.skipif(sys.platform == "win32", reason="looks at the names on Linux")
def test_a_missing_cuda_runtime_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def missing(name: str) -> None:
        asked.append(name)
        raise OSError

    monkeypatch.setattr(binding.ctypes, "CDLL", missing)
    assert binding._cuda_runtime() is None
    assert asked == ["libcudart.so.13", "libcudart.so.12"]
