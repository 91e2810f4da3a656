"""Writes the one file that a model is: an .onnx graph with its description inside."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from poseloop.live.vision.metadata import KEY, ModelInfo

if TYPE_CHECKING:
    import onnx

__all__ = ["save"]


def save(model: onnx.ModelProto, info: ModelInfo, path: Path) -> None:
    """Check the graph, put ``info`` into its metadata and write it.

    Raises:
        onnx.checker.ValidationError: the graph is not valid.
    """
    import onnx

    del model.metadata_props[:]
    entry = model.metadata_props.add()
    entry.key, entry.value = KEY, info.model_dump_json()
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())
