"""One way through the network: pictures of one size that are run together, and the decoding of what comes out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from poseloop.live.errors import ModelError
from poseloop.live.interfaces import Runtime
from poseloop.live.types import Float32, Image
from poseloop.live.vision import peaks
from poseloop.live.vision.coords import Placement, Writer, cells_to_image
from poseloop.live.vision.crop import Follower
from poseloop.live.vision.metadata import ModelInfo

__all__ = ["Feed", "FollowingFeed", "Model", "Pass"]


@dataclass(frozen=True, slots=True)
class Model:
    """What is to be found, and by which file."""

    file: Path
    info: ModelInfo
    individuals: int
    gate: float
    """Points with a lower score become NaN; 0 = none."""


@dataclass(slots=True)
class Pass:
    """Pictures of one size on their way through the network together."""

    runtime: Runtime
    model: Model
    cameras: npt.NDArray[np.intp]
    """(B,) camera of each picture."""
    images: Image
    """(B, H, W, c), the network's input."""
    cells: Float32
    """(I, B, K, 2)."""
    score: Float32
    """(I, B, K)."""
    lines: npt.NDArray[np.float64]
    """(B, 2, 2), from cells to the raw images."""
    shown: npt.NDArray[np.bool_]
    """(C,) cameras whose picture is in `images` now."""
    stride: int
    """Network pixels of one cell."""
    at_once: bool
    """Decode before the runtime runs for another pass: they share its outputs."""
    loaded: int = 0
    """How many pictures are in `images` now; 0 = nothing is run."""
    decoder: Callable[[Mapping[str, Float32]], None] = lambda _: None
    outputs: Mapping[str, Float32] | None = None
    """Of the last run, until they are decoded."""
    elsewhere: Image | None = None
    """A picture that the runtime reads where it lies, in place of `images`."""

    @classmethod
    def of(
        cls,
        runtime: Runtime,
        images: Image,
        cameras: Sequence[int],
        count: int,
        placements: Sequence[Placement],
        model: Model,
        at_once: bool = False,
    ) -> Pass:
        """Run once, look at what comes out, and prepare to decode it.

        Args:
            runtime: open for these images.
            images: (B, H, W, c), the runtime's own array unless several passes share the runtime.
            cameras: (B,) camera of each picture.
            count: cameras of the rig.
            placements: (B,) of each picture.
            model: what is to be found.
            at_once: whether passes share the runtime.

        Raises:
            ModelError: the outputs are not what the description says.
        """
        info, individuals = model.info, model.individuals
        batch, points = len(cameras), len(info.keypoints)
        stride = 1 if info.decoding.method == "keypoints" else info.stride
        made = cls(
            runtime=runtime,
            model=model,
            cameras=np.array(cameras, np.intp),
            images=images,
            cells=np.full((individuals, batch, points, 2), np.nan, np.float32),
            score=np.full((individuals, batch, points), np.nan, np.float32),
            lines=np.array([placement.cells_to_image(stride) for placement in placements], np.float64),
            shown=np.zeros(count, np.bool_),
            stride=stride,
            at_once=at_once,
        )
        searched = placements[0].cells(stride)
        made.decoder = _decoder(model, runtime.run(images), images.shape, searched, made.cells, made.score)
        return made

    def clear(self) -> None:
        """Forget which pictures were loaded."""
        self.shown[:] = False
        self.loaded = 0
        self.elsewhere = None

    def show(self, number: int) -> None:
        """Note that a camera's picture has been written into `images`."""
        self.shown[self.cameras[number]] = True
        self.loaded += 1

    def move(self, number: int, placement: Placement) -> None:
        """Note that a picture now shows another part of its camera's."""
        self.lines[number] = placement.cells_to_image(self.stride)

    def run(self) -> None:
        """Run the network, if there is anything to see."""
        if self.loaded:
            self.outputs = self.runtime.run(self.images if self.elsewhere is None else self.elsewhere)
            if self.at_once:
                self.decode()

    def decode(self) -> None:
        """Outputs to `cells` and `score`; nothing if that was done."""
        if self.outputs is not None:
            self.decoder(self.outputs)
            self.outputs = None

    def write(self, xy: Float32, score: Float32) -> None:
        """Write the points of the cameras shown, in pixels of their raw images: xy (C, I, K, 2), score (C, I, K)."""
        if self.loaded:
            cells_to_image(self.cells, self.score, self.cameras, self.lines, self.shown, self.model.gate, xy, score)


@dataclass(slots=True)
class Feed:
    """Where the pictures of one camera go."""

    shape: tuple[int, ...]
    """Of a raw image."""
    into: Pass
    number: int
    """Which picture of that pass is this camera's."""
    write: Writer
    bound: dict[int, tuple[Image, Image]] = field(default_factory=dict)
    """By a picture's identity, which it keeps while it stands here: the picture, and the same memory as an input."""

    def load(self, image: Image) -> None:
        """Copy the part of a picture that is to be seen into the network's input, unless it can be read in place."""
        bound = self.bound.get(id(image))
        if bound is None:
            self.write(image)
        else:
            self.into.elsewhere = bound[1]
        self.into.show(self.number)


@dataclass(slots=True)
class FollowingFeed(Feed):
    """The same where a crop follows the animal."""

    follower: Follower = field(kw_only=True)
    search: Pass = field(kw_only=True)
    """Of the whole picture."""
    write_search: Writer = field(kw_only=True)

    def load(self, image: Image) -> None:
        """Copy the crop, or the whole picture while the animal is lost."""
        placement = self.follower.placement
        if placement is None:
            self.follower.searched += 1
            self.write_search(image)
            self.search.show(0)
        else:
            self.into.move(self.number, placement)
            self.write(image, placement.x, placement.y)
            self.into.show(self.number)


def _decoder(
    model: Model,
    outputs: Mapping[str, Float32],
    shape: tuple[int, ...],
    searched: tuple[int, int],
    cells: Float32,
    score: Float32,
) -> Callable[[Mapping[str, Float32]], None]:
    """Choose the kernels for a model's way of decoding, after a look at what it really puts out.

    Raises:
        ModelError: the outputs are not what the description says.
    """
    info, file = model.info, model.file
    batch, height, width, _ = shape
    points, stride, method = len(info.keypoints), info.stride, info.decoding.method
    found = ", ".join(f"{name} {list(value.shape)} {value.dtype}" for name, value in outputs.items())

    def wants(name: str, *sizes: int) -> None:
        got = outputs.get(name)
        if got is None or got.shape != sizes or got.dtype != np.float32 or not got.flags.c_contiguous:
            raise ModelError(f"{file}: expected an output {name} {list(sizes)} float32, but it gives {found}")

    if method == "keypoints":
        wants("keypoints", batch, points, 3)
        return lambda values: peaks.passthrough(values["keypoints"], cells[0], score[0])
    rows, columns = outputs["scoremap"].shape[1:3] if "scoremap" in outputs else (0, 0)
    wants("scoremap", batch, rows, columns, points)
    if not rows * columns or abs(rows * stride - height) >= stride or abs(columns * stride - width) >= stride:
        raise ModelError(
            f"{file}: its description says {stride} pixels a cell, but a {width}x{height} picture gives "
            f"{columns}x{rows} cells"
        )
    rows, columns = min(rows, searched[0]), min(columns, searched[1])
    if method == "locref":
        wants("locref", *outputs["scoremap"].shape[:3], 2 * points)
    window = info.decoding.window
    scale = info.decoding.locref_std / stride
    if len(cells) == 1:
        one, its = cells[0], score[0]
        if method == "argmax":
            return lambda values: peaks.argmax(values["scoremap"], rows, columns, one, its)
        if method == "centroid":
            return lambda values: peaks.centroid(values["scoremap"], rows, columns, window, one, its)
        return lambda values: peaks.locref(values["scoremap"], values["locref"], rows, columns, scale, one, its)
    # Two peaks within one window would share it.
    apart = max(window // 2, 1)

    def several(values: Mapping[str, Float32]) -> None:
        maps = values["scoremap"]
        peaks.strongest(maps, rows, columns, apart, model.gate, cells, score)
        for individual, its_score in zip(cells, score, strict=True):
            if method == "centroid":
                peaks.weigh(maps, rows, columns, window, individual)
            elif method == "locref":
                peaks.shift(values["locref"], scale, individual, its_score)

    return several
