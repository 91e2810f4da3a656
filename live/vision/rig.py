"""All networks of a rig behind one face: each looks at its cameras, and their keypoints become one array.

One model for all cameras is the usual case and costs nothing here. Where ``[models.NAME]`` gives some cameras a model
of their own, all of them must find the same keypoints, in any order: a pose has one list of names.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from poseloop.live.config import ModelTable, Rig
from poseloop.live.errors import ModelError
from poseloop.live.types import CameraFormat, Float32, Image, Keypoints
from poseloop.live.vision.coords import View
from poseloop.live.vision.crop import Follow
from poseloop.live.vision.metadata import ModelInfo
from poseloop.live.vision.network import Network

__all__ = ["RigNetwork"]


class RigNetwork:
    """The networks of a rig. Order of calls: ``open`` → (``load`` → ``run`` → ``decode``)… → ``close``."""

    def __init__(self, rig: Rig) -> None:
        """Keep the rig; nothing is opened."""
        self._rig = rig
        self._names = tuple(rig.cameras)
        self._parts: list[tuple[Network, ModelTable, list[int], list[int]]] = []
        self._opened = ExitStack()

    def open(self, formats: Sequence[CameraFormat]) -> None:
        """Load every model for its cameras, and warm up.

        Args:
            formats: of all cameras, in rig order.

        Raises:
            ModelError: a file is missing or of no use, a provider is not available, models find different keypoints, or
                a region or size does not fit a camera.
        """
        self._parts = []
        with ExitStack() as opened:
            for table, numbers in self._rig.networks():
                info = Network.describe(table.file)
                gate = info.gate if table.gate is None else table.gate
                network = opened.enter_context(
                    Network.open(table.file, table.provider, table.threads, table.runtime, table.individuals, gate)
                )
                order = self._order(network)
                views = [_view(self._names[number], formats[number], table) for number in numbers]
                crop = table.crop
                follow = None if crop is None else Follow(crop.size, crop.search, crop.seen, crop.lost_after)
                network.prepare(views, follow)
                self._parts.append((network, table, list(numbers), order))
            self._opened = opened.pop_all()

    @property
    def info(self) -> ModelInfo:
        """The description of ``[model]``: names and skeleton are the rig's."""
        return self._parts[0][0].info

    @property
    def keypoints(self) -> tuple[str, ...]:
        """Names, in the order of the results."""
        return self.info.keypoints

    @property
    def gate(self) -> float:
        """Score under which the points of ``[model]`` are NaN."""
        return self.info.gate if self._rig.model.gate is None else self._rig.model.gate

    @property
    def individuals(self) -> int:
        """How many animals every result has room for."""
        return self._rig.model.individuals

    @property
    def provider(self) -> str:
        """What runs the models, as read back; several are joined by ``+``."""
        return "+".join(dict.fromkeys(network.provider for network, *_ in self._parts))

    @property
    def searching(self) -> tuple[bool, ...]:
        """For each camera: has its crop lost the animal?"""
        found = [False] * len(self._names)
        for network, _, numbers, _ in self._parts:
            for number, searching in zip(numbers, network.searching, strict=True):
                found[number] = searching
        return tuple(found)

    def report(self) -> list[dict[str, Any]]:
        """What runs where: each model's provider, threads, cameras, and the shapes (B, H, W, c) that it is shown.

        ``searched`` counts, for each camera whose crop follows an animal, the pictures that were searched as a whole.
        """
        return [
            {
                "model": network.info.name,
                "provider": network.provider,
                "threads": table.threads,
                "cameras": [self._names[number] for number in numbers],
                "inputs": [one["shape"] for one in network.inputs],
                "searched": {self._names[numbers[camera]]: count for camera, count in network.searched.items()},
            }
            for network, table, numbers, _ in self._parts
        ]

    def bind(self, camera: int, pictures: Sequence[Image]) -> bool:
        """Read a camera's pictures where they lie, if they come in these arrays; see `Network.bind`.

        Args:
            camera: number, in rig order.
            pictures: like those that it delivers.

        Returns:
            Whether they are read in place.
        """
        return any(
            network.bind(numbers.index(camera), pictures) for network, _, numbers, _ in self._parts if camera in numbers
        )

    def load(self, images: Sequence[Image | None]) -> None:
        """Let the networks see these pictures: one for each camera, None = missed; see `Network.load`.

        Raises:
            ModelError: number, shape or dtype is not what was opened for.
        """
        if len(self._parts) == 1:
            self._parts[0][0].load(images)
            return
        for network, _, numbers, _ in self._parts:
            network.load([images[number] for number in numbers])

    def run(self) -> None:
        """Run the networks, one after the other, on what was loaded."""
        for network, *_ in self._parts:
            network.run()

    def decode(self) -> Keypoints:
        """Turn the outputs of the last run into fresh, read-only keypoints of all cameras."""
        if len(self._parts) == 1:
            return self._parts[0][0].decode()
        shape = (len(self._names), self.individuals, len(self.keypoints))
        xy: Float32 = np.empty((*shape, 2), np.float32)
        score: Float32 = np.empty(shape, np.float32)
        for network, _, numbers, order in self._parts:
            found = network.decode()
            xy[numbers] = found.xy[:, :, order]
            score[numbers] = found.score[:, :, order]
        xy.flags.writeable = False
        score.flags.writeable = False
        return Keypoints(xy, score)

    def close(self) -> None:
        """Free everything; idempotent. Names and providers stay."""
        self._opened.close()

    def _order(self, network: Network) -> list[int]:
        """Where each of the rig's keypoints stands in a network's results."""
        wanted = self.keypoints if self._parts else network.keypoints
        if set(wanted) != set(network.keypoints):
            first = self.info.name
            raise ModelError(
                f"expected models that find the same keypoints, but {first} finds {', '.join(wanted)}, and "
                f"{network.info.name} finds {', '.join(network.keypoints)}: a pose has one list of names"
            )
        return [network.keypoints.index(name) for name in wanted]


def _view(name: str, camera: CameraFormat, table: ModelTable) -> View:
    try:
        return View(camera.height, camera.width, camera.colour, table.roi.get(name), table.size)
    except ModelError as error:
        raise ModelError(f"camera {name}: {error}") from error
