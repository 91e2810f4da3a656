"""A model file, its runtime and its decoding: pictures in, keypoints out.

Pictures of one size go through the network in one run. Cameras of different sizes get one run for each size, every one
with its own loaded copy of the model: nothing is rescaled behind the user's back, and the points of a camera do not
depend on what other cameras look like.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from poseloop.live import plugins
from poseloop.live.errors import ModelError
from poseloop.live.interfaces import Runtime
from poseloop.live.types import Colour, Float32, Image, Keypoints
from poseloop.live.vision import peaks
from poseloop.live.vision.coords import Placement, View, cells_to_image, place
from poseloop.live.vision.metadata import ModelInfo, info_from_metadata
from poseloop.live.vision.onnxfile import read_head

__all__ = ["Network", "View", "find_model", "zoo"]

_ZOO = Path(__file__).parent.parent / "zoo"


def zoo() -> list[str]:
    """Names of the models that come with Poseloop."""
    return sorted(file.stem for file in _ZOO.glob("*.onnx"))


def find_model(model: str | Path, folder: Path | None = None) -> Path:
    """Return the file that a model's name means: a name in the zoo, or a path that ends in ``.onnx``.

    Args:
        model: ``blob``, or ``models/mouse.onnx``.
        folder: where a relative path starts; None = the current folder.

    Raises:
        ModelError: there is no such file, or no such name in the zoo.
    """
    path = Path(model).expanduser()
    if path.suffix == "" and len(path.parts) == 1:
        file = _ZOO / f"{path}.onnx"
        if not file.is_file():
            known = ", ".join(zoo()) or "nothing"
            raise ModelError(f"no model is called {str(model)!r}; the zoo holds: {known}. A file is named by its path")
        return file
    file = (folder or Path()) / path
    if not file.is_file():
        raise ModelError(f"{file}: there is no such model file")
    return file


@dataclass(slots=True)
class _Run:
    """Pictures of one size on their way through the network together."""

    runtime: Runtime
    cameras: npt.NDArray[np.intp]
    """(B,) camera of each picture."""
    images: Image
    """(B, H, W, c), the network's input."""
    decode: Callable[[Mapping[str, Float32]], None]
    """Outputs → ``cells`` and ``score``."""
    cells: Float32
    """(B, K, 2)."""
    score: Float32
    """(B, K)."""
    lines: npt.NDArray[np.float64]
    """(B, 2, 2), from cells to the raw images."""
    outputs: Mapping[str, Float32] | None = None
    """Of the last run; None when no camera had a picture."""


class Network:
    """Finds body parts in the pictures of all cameras of a rig.

    ``infer`` is all that a script needs. A loop that stamps times calls the three parts of it: ``load`` → ``run`` →
    ``decode``. All calls come from one thread.
    """

    def __init__(self, file: Path, info: ModelInfo, runtime: Callable[[], Runtime], provider: str) -> None:
        """Use `open`; this only keeps what it is given."""
        self._file = file
        self._info = info
        self._new_runtime = runtime
        self._provider = provider
        self._views: tuple[View, ...] = ()
        self._fixed = False
        self._runs: list[_Run] = []
        self._writers: list[Callable[[Image], None]] = []
        self._shapes: list[tuple[int, ...]] = []
        self._missed = np.zeros(0, np.bool_)

    @classmethod
    def open(cls, model: str | Path, provider: str = "cpu", threads: int = 1, runtime: str = "onnx") -> Network:
        """Open a model of the zoo (``blob``) or a file (``mouse.onnx``).

        Args:
            model: name or path.
            provider: what runs it: ``cpu``, ``cuda``, ``tensorrt``, ``openvino``; never another one instead.
            threads: for one run; 1 is the steady choice on a CPU.
            runtime: an installed runtime.

        Raises:
            ModelError: no such model, no usable file, or the provider is not available.
            UnknownPlugin: no such runtime.
        """
        file = find_model(model)
        info = cls.describe(file)
        kind = plugins.load("runtime", runtime)

        def new_runtime() -> Runtime:
            made: Runtime = kind(file, provider, threads)
            return made

        new_runtime().check()
        return cls(file, info, new_runtime, provider)

    @classmethod
    def describe(cls, model: str | Path) -> ModelInfo:
        """Read what a model says about itself, without loading it.

        Raises:
            ModelError: no such model, no ONNX file, or one without a description.
        """
        file = find_model(model)
        return info_from_metadata(read_head(file).metadata, str(file))

    @property
    def info(self) -> ModelInfo:
        """The model's description of itself."""
        return self._info

    @property
    def keypoints(self) -> tuple[str, ...]:
        """Names, in the order of the results."""
        return self._info.keypoints

    @property
    def provider(self) -> str:
        """What runs the model, as read back from the runtime; before it is loaded, what was asked for and found."""
        return self._runs[0].runtime.provider if self._runs else self._provider

    @property
    def views(self) -> tuple[View, ...]:
        """What it is prepared for; empty before that."""
        return self._views

    def prepare(self, views: Sequence[View]) -> None:
        """Load and warm up for these cameras, in rig order; from then on only their pictures are accepted.

        Raises:
            ModelError: the model does not take such pictures, or it and its description contradict each other.
        """
        self._prepare(tuple(views))
        self._fixed = True

    def infer(self, images: Sequence[Image | None] | Image) -> Keypoints:
        """Find the keypoints in one picture of every camera.

        The first call prepares for the pictures' sizes, unless `prepare` was called; then later calls may also change
        the sizes, which loads the model again.

        Args:
            images: (H, W) or (H, W, 3) uint8 for each camera, as a list or as one array (C, H, W) or (C, H, W, 3); None
                for a camera that missed. Three channels are taken for RGB, unless `prepare` said otherwise.

        Returns:
            Points (C, 1, K, 2) in pixels of the full raw images and their scores (C, 1, K); NaN where no picture was.

        Raises:
            ModelError: the pictures are not of the kind that the network is prepared for.
        """
        if isinstance(images, np.ndarray) and (images.ndim not in (3, 4) or images.shape[2:] == (3,)):
            raise ModelError(
                f"expected one picture for each camera, as a list or as an array (C, H, W) or (C, H, W, 3), but got an "
                f"array {list(images.shape)}; a single picture is passed as [image]"
            )
        if not self._fixed:
            self._adapt(images)
        self.load(images)
        self.run()
        return self.decode()

    def load(self, images: Sequence[Image | None] | Image) -> None:
        """Copy the pictures into the network's input; they may be overwritten afterwards.

        Args:
            images: one for each view, in order; None = missed.

        Raises:
            ModelError: number, shape or dtype is not what the network was prepared for.
        """
        if len(images) != len(self._shapes):
            raise ModelError(f"expected pictures of {len(self._shapes)} cameras, but got {len(images)}")
        for camera, image in enumerate(images):
            self._missed[camera] = image is None
            if image is None:
                continue
            if image.shape != self._shapes[camera] or image.dtype != np.uint8:
                raise ModelError(
                    f"camera {camera}: expected a picture {list(self._shapes[camera])} uint8, but got "
                    f"{list(image.shape)} {image.dtype}"
                )
            self._writers[camera](image)

    def run(self) -> None:
        """Run the network on what was loaded."""
        for run in self._runs:
            if self._missed[run.cameras].all():
                run.outputs = None
            else:
                run.outputs = run.runtime.run(run.images)

    def decode(self) -> Keypoints:
        """Turn the outputs of the last run into fresh, read-only keypoints; shapes as in `infer`."""
        cameras, points = len(self._shapes), len(self._info.keypoints)
        xy = np.empty((cameras, 1, points, 2), np.float32)
        score = np.empty((cameras, 1, points), np.float32)
        for run in self._runs:
            if run.outputs is not None:
                run.decode(run.outputs)
            cells_to_image(run.cells, run.score, run.cameras, run.lines, self._missed, xy, score)
        xy.flags.writeable = False
        score.flags.writeable = False
        return Keypoints(xy, score)

    def close(self) -> None:
        """Free everything; idempotent. A later `infer` or `prepare` loads again."""
        for run in self._runs:
            run.runtime.close()
        self._runs, self._writers, self._shapes = [], [], []
        self._views, self._fixed = (), False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _adapt(self, images: Sequence[Image | None] | Image) -> None:
        known = self._views if len(self._views) == len(images) else (None,) * len(images)
        views = []
        for camera, (image, view) in enumerate(zip(images, known, strict=True)):
            if image is None and view is None:
                raise ModelError(f"camera {camera}: no picture in the first call; call prepare() to tell its size")
            if image is None or (view is not None and image.shape == view.shape):
                views.append(view)
            elif image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3):
                height, width = image.shape[:2]
                views.append(View(height, width, Colour.GREY if image.ndim == 2 else Colour.RGB))
            else:
                raise ModelError(
                    f"camera {camera}: expected a picture (H, W) or (H, W, 3), but got {list(image.shape)}"
                )
        self._prepare(tuple(view for view in views if view is not None))

    def _prepare(self, views: tuple[View, ...]) -> None:
        if views == self._views and self._runs:
            return
        self.close()
        if not views:
            raise ModelError("expected pictures of at least one camera, but got none")
        info = self._info
        placements = [Placement.of(view, info.size_multiple) for view in views]
        groups: dict[tuple[int, int], list[int]] = {}
        for camera, placement in enumerate(placements):
            groups.setdefault((placement.height, placement.width), []).append(camera)
        writers: dict[int, Callable[[Image], None]] = {}
        try:
            for cameras in groups.values():
                height, width = placements[cameras[0]].padded_height, placements[cameras[0]].padded_width
                images = np.zeros((len(cameras), height, width, info.colour.channels), np.uint8)
                for into, camera in zip(images, cameras, strict=True):
                    writers[camera] = place(views[camera], placements[camera], info.colour, into)
                runtime = self._new_runtime()
                runtime.open((len(cameras), height, width, info.colour.channels))
                self._runs.append(self._new_run(runtime, images, cameras, placements))
        except ModelError:
            self.close()
            raise
        self._views = views
        self._shapes = [view.shape for view in views]
        self._writers = [writers[camera] for camera in range(len(views))]
        self._missed = np.zeros(len(views), np.bool_)
        # Compiles the decoding, or fetches it from numba's cache, before the first frame comes.
        self.run()
        self.decode()

    def _new_run(
        self, runtime: Runtime, images: Image, cameras: Sequence[int], placements: Sequence[Placement]
    ) -> _Run:
        batch, points = len(cameras), len(self._info.keypoints)
        cells = np.full((batch, points, 2), np.nan, np.float32)
        score = np.full((batch, points), np.nan, np.float32)
        outputs = runtime.run(images)
        stride = 1 if self._info.decoding.method == "keypoints" else self._info.stride
        searched = placements[cameras[0]].cells(stride)
        decode = _decoder(self._info, self._file, outputs, images.shape, searched, cells, score)
        lines = np.array([placements[camera].cells_to_image(stride) for camera in cameras], np.float64)
        return _Run(runtime, np.array(cameras, np.intp), images, decode, cells, score, lines)


def _decoder(
    info: ModelInfo,
    file: Path,
    outputs: Mapping[str, Float32],
    shape: tuple[int, ...],
    searched: tuple[int, int],
    cells: Float32,
    score: Float32,
) -> Callable[[Mapping[str, Float32]], None]:
    """Choose the kernel for a model's way of decoding, after a look at what it really puts out.

    Raises:
        ModelError: the outputs are not what the description says.
    """
    batch, height, width, _ = shape
    points, stride, method = len(info.keypoints), info.stride, info.decoding.method
    found = ", ".join(f"{name} {list(value.shape)} {value.dtype}" for name, value in outputs.items())

    def wants(name: str, *sizes: int) -> None:
        got = outputs.get(name)
        if got is None or got.shape != sizes or got.dtype != np.float32 or not got.flags.c_contiguous:
            raise ModelError(f"{file}: expected an output {name} {list(sizes)} float32, but it gives {found}")

    if method == "keypoints":
        wants("keypoints", batch, points, 3)
        return lambda values: peaks.passthrough(values["keypoints"], cells, score)
    rows, columns = outputs["scoremap"].shape[1:3] if "scoremap" in outputs else (0, 0)
    wants("scoremap", batch, rows, columns, points)
    if not rows * columns or abs(rows * stride - height) >= stride or abs(columns * stride - width) >= stride:
        raise ModelError(
            f"{file}: its description says {stride} pixels a cell, but a {width}x{height} picture gives "
            f"{columns}x{rows} cells"
        )
    rows, columns = min(rows, searched[0]), min(columns, searched[1])
    if method == "argmax":
        return lambda values: peaks.argmax(values["scoremap"], rows, columns, cells, score)
    if method == "centroid":
        window = info.decoding.window
        return lambda values: peaks.centroid(values["scoremap"], rows, columns, window, cells, score)
    wants("locref", *outputs["scoremap"].shape[:3], 2 * points)
    scale = info.decoding.locref_std / stride
    return lambda values: peaks.locref(values["scoremap"], values["locref"], rows, columns, scale, cells, score)
