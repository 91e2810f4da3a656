"""The reader of file heads against the onnx package, and against files that are none."""

import contextlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from tinymodels import Tiny, rename_input

from poseloop.live.errors import ModelError
from poseloop.live.vision.onnxfile import UINT8, Head, Input, read_head


def test_head_is_what_the_onnx_package_reads(tmp_path: Path) -> None:
    path = Tiny(keypoints=("spot",), method="locref").save(tmp_path)
    model = onnx.load(path)
    head = read_head(path)
    assert dict(head.metadata) == {entry.key: entry.value for entry in model.metadata_props}
    assert head.inputs == (Input("image", UINT8, ("batch", "height", "width", 1)),)
    assert head.outputs == tuple(output.name for output in model.graph.output) == ("scoremap", "locref")


def test_fixed_anonymous_and_large_sizes_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "sizes.onnx"
    path.write_bytes(rename_input(Tiny().graph(), (None, 480, "unk__7", 1)).SerializeToString())
    assert read_head(path).inputs[0].shape == (None, 480, "unk__7", 1)


def test_weights_listed_as_inputs_are_none(tmp_path: Path) -> None:
    weights = numpy_helper.from_array(np.ones(3, np.float32), "weights")
    inputs = [helper.make_tensor_value_info(name, 1, [3]) for name in ("x", "weights")]
    output = helper.make_tensor_value_info("y", 1, [3])
    graph = helper.make_graph([helper.make_node("Add", ["x", "weights"], ["y"])], "g", inputs, [output], [weights])
    path = tmp_path / "old.onnx"
    onnx.save(helper.make_model(graph), path)
    assert read_head(path) == Head({}, (Input("x", 1, (3,)),), ("y",))


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nowhere\.onnx: there is no such model file"):
        read_head(tmp_path / "nowhere.onnx")


def test_a_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        read_head(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello, I am a model\n",
        b"version https://git-lfs.github.com/spec/v1\n",
        b"PK\x03\x04" + bytes(99),
        bytes(64),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "text.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="expected an ONNX model"):
        read_head(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 0.999), seed=st.integers(0, 9999), flips=st.integers(0, 20))
def test_damaged_files_raise_a_model_error_or_nothing(tmp_path: Path, share: float, seed: int, flips: int) -> None:
    path = Tiny().save(tmp_path)
    data = bytearray(path.read_bytes())
    del data[int(share * len(data)) + 1 :]
    rng = np.random.default_rng(seed)
    for at in rng.integers(0, len(data), flips):
        data[at] = rng.integers(0, 256)
    path.write_bytes(data)
    with contextlib.suppress(ModelError):
        read_head(path)
