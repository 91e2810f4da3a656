"""Reads what stands at the head of an .onnx file, its metadata and its input, without any runtime.

An .onnx file is one protobuf message. Only the few fields named below are looked at; weights are jumped over, so this
takes well under a millisecond where loading the model would take a hundred. Field numbers: ``onnx.proto3`` of the ONNX
project; encoding: the protobuf documentation, "Encoding".
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from poseloop.live.errors import ModelError

__all__ = ["Head", "Input", "read_head"]

_MODEL_IR_VERSION, _MODEL_GRAPH, _MODEL_METADATA = 1, 7, 14
_ENTRY_KEY, _ENTRY_VALUE = 1, 2
_GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT = 5, 11, 12
_TENSOR_NAME = 8
_VALUE_NAME, _VALUE_TYPE = 1, 2
_TYPE_TENSOR = 1
_TENSOR_TYPE_ELEMENT, _TENSOR_TYPE_SHAPE = 1, 2
_SHAPE_DIM = 1
_DIM_VALUE, _DIM_PARAM = 1, 2

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

UINT8 = 2
"""``TensorProto.DataType.UINT8``."""


@dataclass(frozen=True, slots=True)
class Input:
    """One input of a graph."""

    name: str
    element: int
    """``TensorProto.DataType``."""
    shape: tuple[int | str | None, ...]
    """A number where fixed, a word where named, None where anonymous."""


@dataclass(frozen=True, slots=True)
class Head:
    """What a model file says before it is loaded."""

    metadata: Mapping[str, str]
    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]


class _NotOnnx(Exception):
    """The bytes are no such message."""


def read_head(file: Path) -> Head:
    """Read metadata, inputs and names of outputs.

    Raises:
        ModelError: there is no such file, or it is no ONNX model.
    """
    try:
        with file.open("rb") as stream:
            if file.stat().st_size == 0:
                raise _NotOnnx
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _model(data)
    except FileNotFoundError:
        raise ModelError(f"{file}: there is no such model file") from None
    except OSError as error:
        raise ModelError(f"{file}: cannot be read as a model: {error.strerror or error}") from error
    except (_NotOnnx, UnicodeDecodeError):
        raise ModelError(
            f"{file}: expected an ONNX model, but its bytes are none; it may be cut off, or another kind of file"
        ) from None


_Data = mmap.mmap
_Span = tuple[int, int]


def _model(data: _Data) -> Head:
    metadata: dict[str, str] = {}
    graph: _Span | None = None
    version = False
    for field, value in _fields(data, (0, len(data))):
        if field == _MODEL_IR_VERSION and isinstance(value, int):
            version = True
        elif field == _MODEL_GRAPH:
            graph = _span(value)
        elif field == _MODEL_METADATA:
            entry = dict(_fields(data, _span(value)))
            metadata[_text(data, entry.get(_ENTRY_KEY))] = _text(data, entry.get(_ENTRY_VALUE))
    if graph is None or not version:
        raise _NotOnnx
    inputs, outputs, constants = [], [], set()
    for field, value in _fields(data, graph):
        if field == _GRAPH_INPUT:
            inputs.append(_input(data, _span(value)))
        elif field == _GRAPH_OUTPUT:
            outputs.append(_text(data, dict(_fields(data, _span(value))).get(_VALUE_NAME)))
        elif field == _GRAPH_INITIALIZER:
            # Old exporters list the weights among the inputs as well.
            constants.add(_text(data, dict(_fields(data, _span(value))).get(_TENSOR_NAME)))
    return Head(metadata, tuple(one for one in inputs if one.name not in constants), tuple(outputs))


def _input(data: _Data, span: _Span) -> Input:
    value = dict(_fields(data, span))
    kind = dict(_fields(data, _span(value.get(_VALUE_TYPE))))
    tensor = dict(_fields(data, _span(kind.get(_TYPE_TENSOR))))
    element = tensor.get(_TENSOR_TYPE_ELEMENT, 0)
    shape: list[int | str | None] = []
    if _TENSOR_TYPE_SHAPE in tensor:
        for field, dim in _fields(data, _span(tensor[_TENSOR_TYPE_SHAPE])):
            if field == _SHAPE_DIM:
                shape.append(_dim(data, _span(dim)))
    return Input(_text(data, value.get(_VALUE_NAME)), element if isinstance(element, int) else 0, tuple(shape))


def _dim(data: _Data, span: _Span) -> int | str | None:
    dim = dict(_fields(data, span))
    if isinstance(dim.get(_DIM_VALUE), int):
        return dim[_DIM_VALUE]  # type: ignore[return-value]
    return _text(data, dim.get(_DIM_PARAM)) or None


def _fields(data: _Data, span: _Span) -> Iterator[tuple[int, int | _Span]]:
    """Field number, and the number or the span of bytes that it holds."""
    at, end = span
    while at < end:
        tag, at = _varint(data, at, end)
        field, wire = tag >> 3, tag & 7
        value: int | _Span
        if wire == _VARINT:
            value, at = _varint(data, at, end)
        elif wire == _BYTES:
            length, at = _varint(data, at, end)
            value, at = (at, at + length), at + length
        elif wire in (_FIXED32, _FIXED64):
            size = 4 if wire == _FIXED32 else 8
            value, at = (at, at + size), at + size
        else:
            raise _NotOnnx
        if at > end or field == 0:
            raise _NotOnnx
        yield field, value


def _varint(data: _Data, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise _NotOnnx


def _span(value: int | _Span | None) -> _Span:
    if isinstance(value, tuple):
        return value
    if value is None:
        return 0, 0
    raise _NotOnnx


def _text(data: _Data, value: int | _Span | None) -> str:
    start, end = _span(value)
    return data[start:end].decode("utf-8")
