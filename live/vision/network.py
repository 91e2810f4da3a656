"""A model file, its runtime and its decoding: pictures in, keypoints out.

Pictures of one size go through the network in one run. Cameras of different sizes get one run for each size, every one
with its own loaded copy of the model: nothing is rescaled behind the user's back, and the points of a camera do not
depend on what other cameras look like.

Where crops follow the animals (`Follow`), all crops go through in one run; a camera whose animal is lost gets a run of
its own, of its whole picture, with a copy of the model that cameras of equal size share.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from poseloop.live import plugins
from poseloop.live.errors import ModelError
from poseloop.live.interfaces import Binds, Runtime
from poseloop.live.types import Colour, Float32, Image, Keypoints
from poseloop.live.vision.coords import Placement, Track, View, place
from poseloop.live.vision.crop import Follow, Follower
from poseloop.live.vision.individuals import keep_places
from poseloop.live.vision.metadata import ModelInfo, info_from_metadata
from poseloop.live.vision.onnxfile import read_head
from poseloop.live.vision.passes import Feed, FollowingFeed, Model, Pass

__all__ = ["Follow", "Network", "View", "find_model", "zoo"]

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


class Network:
    """Finds body parts in the pictures of all cameras of a rig.

    ``infer`` is all that a script needs. A loop that stamps times calls the three parts of it: ``load`` → ``run`` →
    ``decode``. All calls come from one thread.
    """

    def __init__(
        self,
        file: Path,
        info: ModelInfo,
        runtime: Callable[[], Runtime],
        provider: str,
        individuals: int = 1,
        gate: float = 0.0,
    ) -> None:
        """Use `open`; this only keeps what it is given."""
        self._info = info
        self._model = Model(file, info, individuals, gate)
        self._new_runtime = runtime
        self._provider = provider
        self._individuals = individuals
        self._views: tuple[View, ...] = ()
        self._follow: Follow | None = None
        self._fixed = False
        self._runtimes: list[Runtime] = []
        self._passes: list[Pass] = []
        self._cameras: list[Feed] = []
        self._followers: list[Follower] = []
        self._unseen_xy: Float32 = np.zeros((0, individuals, 0, 2), np.float32)
        self._unseen_score: Float32 = np.zeros((0, individuals, 0), np.float32)
        self._last = self._unseen_xy
        self._fresh = np.zeros((0, individuals, 0), np.bool_)

    @classmethod
    def open(
        cls,
        model: str | Path,
        provider: str = "cpu",
        threads: int = 1,
        runtime: str = "onnx",
        individuals: int = 1,
        gate: float = 0.0,
    ) -> Network:
        """Open a model of the zoo (``blob``) or a file (``mouse.onnx``).

        Args:
            model: name or path.
            provider: what runs it: ``cpu``, ``cuda``, ``tensorrt``, ``openvino``; never another one instead.
            threads: for one run; 1 is the steady choice on a CPU.
            runtime: an installed runtime.
            individuals: how many animals to look for; `poseloop.live.vision.individuals` says what that gives.
            gate: points with a lower score become NaN (their score stays); 0 = none.

        Raises:
            ModelError: no such model, no usable file, or the provider is not available.
            UnknownPlugin: no such runtime.
        """
        file = find_model(model)
        info = cls.describe(file)
        if individuals < 1 or (individuals > 1 and info.decoding.method == "keypoints"):
            raise ModelError(
                f"{file}: expected 1 individual, since this model decodes one itself, but got {individuals}"
                if individuals > 1
                else f"expected at least 1 individual, but got {individuals}"
            )
        kind = plugins.load("runtime", runtime)

        def new_runtime() -> Runtime:
            made: Runtime = kind(file, provider, threads)
            return made

        new_runtime().check()
        return cls(file, info, new_runtime, provider, individuals, gate)

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
        return self._runtimes[0].provider if self._runtimes else self._provider

    @property
    def individuals(self) -> int:
        """How many animals every result has room for."""
        return self._individuals

    @property
    def inputs(self) -> list[dict[str, Any]]:
        """For a report: what every loaded copy of the model is shown, ``shape`` (B, H, W, c) and ``cameras``."""
        return [{"shape": list(p.images.shape), "cameras": p.cameras.tolist()} for p in self._passes]

    @property
    def views(self) -> tuple[View, ...]:
        """What it is prepared for; empty before that."""
        return self._views

    @property
    def searching(self) -> tuple[bool, ...]:
        """For each camera: will the next picture be searched as a whole because the crop has lost the animal?"""
        if not self._followers:
            return (False,) * len(self._cameras)
        return tuple(follower.placement is None for follower in self._followers)

    @property
    def searched(self) -> dict[int, int]:
        """For each camera whose crop follows an animal: how many pictures were searched as a whole."""
        return {number: follower.searched for number, follower in enumerate(self._followers)}

    def prepare(self, views: Sequence[View], follow: Follow | None = None) -> None:
        """Load and warm up for these cameras, in rig order; from then on only their pictures are accepted.

        Args:
            views: one for each camera.
            follow: let a crop follow the animal in every camera; then what a picture gives depends on those before.

        Raises:
            ModelError: the model does not take such pictures, or it and its description contradict each other.
        """
        if follow is not None and self._individuals > 1:
            raise ModelError(
                f"expected 1 individual where a crop follows it, but got {self._individuals}; animals that part would "
                f"leave the crop: show the whole picture instead"
            )
        self._prepare(tuple(views), follow)
        self._fixed = True

    def bind(self, camera: int, pictures: Sequence[Image]) -> bool:
        """Read a camera's pictures where they lie, if they come in these arrays; call it after `prepare`.

        That spares the copy into the network's input. It is possible where the network is shown one camera's whole
        pictures as they are, and the runtime can do it; everything else is copied as before.

        Args:
            camera: number, in the order of the views.
            pictures: contiguous uint8 like the view; they stay where they are until `close`, and none is written to
                from `load` until `run` is done.

        Returns:
            Whether they are read in place.
        """
        feed, view = self._cameras[camera], self._views[camera]
        whole = Placement.of(view, self._info.size_multiple).shows_all_of(view) and view.colour is self._info.colour
        runtime = feed.into.runtime
        if self._follow is not None or not whole or len(feed.into.images) > 1 or not isinstance(runtime, Binds):
            return False
        for picture in pictures:
            # Of any other memory reshape() would make a copy, which stays as it is while the picture changes.
            images = picture.reshape(feed.into.images.shape)
            if not picture.flags.c_contiguous or not runtime.bind(images):
                return False
            feed.bound[id(picture)] = picture, images
        return True

    def infer(self, images: Sequence[Image | None] | Image) -> Keypoints:
        """Find the keypoints in one picture of every camera.

        The first call prepares for the pictures' sizes, unless `prepare` was called; then later calls may also change
        the sizes, which loads the model again.

        Args:
            images: (H, W) or (H, W, 3) uint8 for each camera, as a list or as one array (C, H, W) or (C, H, W, 3); None
                for a camera that missed. Three channels are taken for RGB, unless `prepare` said otherwise.

        Returns:
            Points (C, I, K, 2) in pixels of the full raw images and their scores (C, I, K); NaN where no picture was.

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
        """Copy the pictures into the network's input; they may be overwritten afterwards, but for those of `bind`.

        Args:
            images: one for each view, in order; None = missed.

        Raises:
            ModelError: number, shape or dtype is not what the network was prepared for.
        """
        if len(images) != len(self._cameras):
            raise ModelError(f"expected pictures of {len(self._cameras)} cameras, but got {len(images)}")
        for one in self._passes:
            one.clear()
        for number, (image, camera) in enumerate(zip(images, self._cameras, strict=True)):
            if image is None:
                continue
            if image.shape != camera.shape or image.dtype != np.uint8:
                raise ModelError(
                    f"camera {number}: expected a picture {list(camera.shape)} uint8, but got "
                    f"{list(image.shape)} {image.dtype}"
                )
            camera.load(image)

    def run(self) -> None:
        """Run the network on what was loaded."""
        for one in self._passes:
            one.run()

    def decode(self) -> Keypoints:
        """Turn the outputs of the last run into fresh, read-only keypoints; shapes as in `infer`."""
        xy, score = self._unseen_xy.copy(), self._unseen_score.copy()
        for one in self._passes:
            one.decode()
            one.write(xy, score)
        if self._individuals > 1:
            for number in range(len(self._cameras)):
                keep_places(xy[number], score[number], self._last[number], self._fresh[number])
        for number, follower in enumerate(self._followers):
            follower.update(xy[number, 0], score[number, 0])
        xy.flags.writeable = False
        score.flags.writeable = False
        return Keypoints(xy, score)

    def close(self) -> None:
        """Free everything; idempotent. A later `infer` or `prepare` loads again."""
        for runtime in self._runtimes:
            runtime.close()
        self._runtimes, self._passes, self._cameras, self._followers = [], [], [], []
        self._views, self._follow, self._fixed = (), None, False

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
        self._prepare(tuple(view for view in views if view is not None), None)

    def _prepare(self, views: tuple[View, ...], follow: Follow | None) -> None:
        if (views, follow) == (self._views, self._follow) and self._passes:
            return
        self.close()
        if not views:
            raise ModelError("expected pictures of at least one camera, but got none")
        try:
            if follow is None:
                self._load_fixed(views)
            else:
                self._load_following(views, follow)
        except ModelError:
            self.close()
            raise
        self._views, self._follow = views, follow
        points = len(self._info.keypoints)
        # Copied for every pose: that is quicker than np.full.
        self._unseen_xy = np.full((len(views), self._individuals, points, 2), np.nan, np.float32)
        self._unseen_score = self._unseen_xy[..., 0].copy()
        self._last = self._unseen_xy.copy()
        self._fresh = np.zeros((len(views), self._individuals, points), np.bool_)
        # Compiles everything, or fetches it from numba's cache, before the first frame comes.
        for one in self._passes:
            one.clear()
            one.loaded = 1
        self.run()
        self.decode()

    def _load_fixed(self, views: Sequence[View]) -> None:
        """One pass for each size of input."""
        placements = [Placement.of(view, self._info.size_multiple) for view in views]
        cameras: dict[int, Feed] = {}
        for group in _by_size(placements):
            its = [placements[number] for number in group]
            one = self._new_pass(self._new_runtime(), group, len(views), its)
            for number, camera in enumerate(group):
                write = place(views[camera], placements[camera], self._info.colour, one.images[number])
                cameras[camera] = Feed(views[camera].shape, one, number, write)
        self._cameras = [cameras[camera] for camera in range(len(views))]

    def _load_following(self, views: Sequence[View], follow: Follow) -> None:
        """One pass for the crops of all cameras; and one for each camera's whole picture, with a shared model."""
        info, everyone = self._info, range(len(views))
        tracks = [Track.of(view, follow.size, info.size_multiple) for view in views]
        crops = self._new_pass(self._new_runtime(), everyone, len(views), [track.part for track in tracks])
        gate = self._model.gate or info.gate
        self._followers = [Follower(track, follow, len(info.keypoints), gate) for track in tracks]
        whole = [replace(view, size=follow.search or view.size) for view in views]
        placements = [Placement.of(view, info.size_multiple) for view in whole]
        feeds: dict[int, Feed] = {}
        for group in _by_size(placements):
            shared = self._new_runtime()
            for camera in group:
                search = self._new_pass(shared, [camera], len(views), [placements[camera]], at_once=True)
                feeds[camera] = FollowingFeed(
                    views[camera].shape,
                    crops,
                    camera,
                    place(views[camera], tracks[camera].part, info.colour, crops.images[camera]),
                    follower=self._followers[camera],
                    search=search,
                    write_search=place(whole[camera], placements[camera], info.colour, search.images[0]),
                )
        self._cameras = [feeds[camera] for camera in everyone]

    def _new_pass(
        self,
        runtime: Runtime,
        cameras: Sequence[int],
        count: int,
        placements: Sequence[Placement],
        at_once: bool = False,
    ) -> Pass:
        shape = (len(cameras), placements[0].padded_height, placements[0].padded_width, self._info.colour.channels)
        if runtime in self._runtimes:
            images = np.zeros(shape, np.uint8)
        else:
            images = runtime.open(shape)
            self._runtimes.append(runtime)
        one = Pass.of(runtime, images, cameras, count, placements, self._model, at_once)
        self._passes.append(one)
        return one


def _by_size(placements: Sequence[Placement]) -> list[list[int]]:
    """Cameras whose pictures have the same size in the network's input."""
    groups: dict[tuple[int, int], list[int]] = {}
    for camera, placement in enumerate(placements):
        groups.setdefault((placement.height, placement.width), []).append(camera)
    return list(groups.values())
