"""What an .onnx file says about itself: the description that travels inside it.

It is one JSON text under the key ``poseloop`` of the file's ``metadata_props``. Without it a file cannot be run,
because nothing else tells which score map is which body part, or where a cell lies in the picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from poseloop.live.config import Settings
from poseloop.live.errors import ModelError
from poseloop.live.types import Colour

__all__ = ["FORMAT", "KEY", "Decoding", "ModelInfo", "info_from_metadata"]

KEY = "poseloop"
"""Name of the entry in ``metadata_props``."""

FORMAT = 1
"""Version of the file format; raised when an older reader would misread a newer file."""


class Decoding(Settings):
    """How score maps become points. The centre of cell i lies at (i + 0.5) * stride - 0.5 px."""

    method: Literal["centroid", "argmax", "locref", "keypoints"]
    """``centroid``: score-weighted mean of the window around the highest cell. ``argmax``: the highest cell's centre.
    ``locref``: that plus the offset head. ``keypoints``: the graph itself gives (b, K, 3) x, y, score."""
    window: int = Field(5, ge=1)
    """Side of the centroid's window in cells; odd. A Gaussian of sigma 1 cell needs 7, a narrower one 5."""
    locref_std: float = Field(0.0, ge=0)
    """Pixels by which the offset head's output is multiplied; 0 = no such head."""

    @model_validator(mode="after")
    def _has_a_middle(self) -> Decoding:
        if self.window % 2 == 0:
            raise ValueError(f"expected a window with an odd side, but got {self.window}")
        return self


class ModelInfo(Settings):
    """Everything about a model that its tensors do not say."""

    format: Literal[1] = 1
    name: str
    description: str = ""
    keypoints: tuple[str, ...] = Field(min_length=1)
    """In the order of the score map's channels."""
    skeleton: tuple[tuple[str, str], ...] = ()
    """Pairs of keypoints to be joined in drawings."""
    colour: Colour
    """Order of the input's channels."""
    stride: int = Field(ge=1)
    """Input pixels per score-map cell."""
    size_multiple: int = Field(1, ge=1)
    """Height and width of the input must be multiples of this."""
    decoding: Decoding
    gate: float = Field(0.5, ge=0, le=1)
    """The score under which a keypoint should not be trusted."""
    licence: str = ""
    training: Mapping[str, Any] = {}
    """Data, settings and seeds; for a graph that was not trained, how it was built."""
    error: Mapping[str, Any] = {}
    """What was measured, and on what."""
    versions: Mapping[str, str] = {}

    @model_validator(mode="after")
    def _consistent(self) -> ModelInfo:
        if len(set(self.keypoints)) != len(self.keypoints):
            raise ValueError(f"expected keypoint names that differ, but got {', '.join(self.keypoints)}")
        strangers = {name for pair in self.skeleton for name in pair} - set(self.keypoints)
        if strangers:
            raise ValueError(f"the skeleton names {', '.join(sorted(strangers))}, which are no keypoints")
        return self


def info_from_metadata(metadata: Mapping[str, str], file: str) -> ModelInfo:
    """Read the description out of an .onnx file's ``metadata_props``.

    Raises:
        ModelError: there is none, or it is of a newer format, or it is damaged.
    """
    text = metadata.get(KEY)
    if text is None:
        raise ModelError(
            f"{file}: expected a model with a {KEY!r} entry in its metadata (keypoint names, stride, decoding), but "
            f"found {', '.join(sorted(metadata)) or 'no metadata'}. Export it with `poseloop export`"
        )
    try:
        return ModelInfo.model_validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        if key == "format":
            raise ModelError(
                f"{file}: expected model format {FORMAT}, but it is {first['input']!r}. Update Poseloop to use it"
            ) from error
        raise ModelError(f"{file}: its metadata is damaged at {key or 'the start'}: {first['msg']}") from error
