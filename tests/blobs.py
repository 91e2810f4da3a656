"""A task that a network learns in a few steps: bright and dark discs on noise."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import numpy as np
import pytest

from poseloop.live.types import Colour
from poseloop.live.vision.metadata import Decoding, ModelInfo
from poseloop.train.fit import Batch
from poseloop.train.model import SIZE_MULTIPLE, Architecture

NEEDS_TENSORFLOW = [
    pytest.mark.tensorflow,
    pytest.mark.skipif(
        find_spec("tensorflow") is None, reason="TensorFlow is not installed: pip install -e '.[train]'"
    ),
    # TensorFlow, Keras and the converters use each other's deprecated words.
    pytest.mark.filterwarnings("ignore"),
]

TINY = Architecture(backbone="mobilenet_v1", alpha=0.25, width=16)
KEYPOINTS = ("bright", "dark")
SIZE = 64


def picture(height: int, width: int, seed: int, channels: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """(height, width, channels) and the points (2, 2)."""
    rng = np.random.default_rng((seed, height, width))
    image = rng.integers(90, 160, (height, width, channels)).astype(np.float32)
    xy = rng.uniform(10, (width - 10, height - 10), (2, 2))
    rows, columns = np.mgrid[:height, :width]
    for (x, y), value in zip(xy, (255, 0), strict=True):
        near = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 50)[..., None]
        image += near * (value - image)
    return np.clip(image, 0, 255).astype(np.uint8), xy


def batch(seed: int, architecture: Architecture = TINY, size: int = SIZE, count: int = 4) -> Batch:
    made = [picture(size, size, seed * count + n, architecture.colour.channels) for n in range(count)]
    cells = (np.arange(size // architecture.stride) + 0.5) * architecture.stride - 0.5
    maps = [
        np.exp(
            -((cells[:, None, None] - xy[:, 1]) ** 2 + (cells[:, None] - xy[:, 0]) ** 2) / 2 / architecture.stride**2
        )
        for _, xy in made
    ]
    weights = np.ones((count, len(KEYPOINTS)), np.float32)
    return np.stack([image for image, _ in made]), np.stack(maps).astype(np.float32), weights


@contextmanager
def source(start: int) -> Iterator[Iterator[Batch]]:
    yield (batch(step) for step in range(start, 1_000_000))


def info(architecture: Architecture = TINY) -> ModelInfo:
    return ModelInfo(
        name="blobs",
        keypoints=KEYPOINTS,
        colour=Colour(architecture.colour),
        stride=architecture.stride,
        size_multiple=SIZE_MULTIPLE,
        decoding=Decoding(method="centroid", window=5),
    )
