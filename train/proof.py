"""The golden-pose proof: do a file and what it was made from find the same points in the same pictures?

Both sides run through the runtime's own `Network`: the same padding, the same decoding, the same coordinates. What a
file answered on its golden pictures is kept inside it, so that a copy can be checked years later, with nothing but the
pictures.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from poseloop.live.errors import ModelError
from poseloop.live.types import Float32, Image
from poseloop.live.vision import Network
from poseloop.live.vision.metadata import ModelInfo

__all__ = ["EXACT", "Bound", "Difference", "Poses", "as_network", "compare", "digest", "poses", "prove", "recheck"]

_UNSEEN = 0.01
"""Under this score a point's place says nothing: every cell is as good as another."""


@dataclass(frozen=True, slots=True)
class Bound:
    """The largest differences that count as equal."""

    score: float
    position_px: float


EXACT = Bound(score=1e-4, position_px=0.01)
"""Between float32 networks that should be the same one."""


@dataclass(frozen=True, slots=True)
class Poses:
    """What a network found in N pictures."""

    xy: Float32
    """(N, K, 2) px."""
    score: Float32
    """(N, K)."""


@dataclass(frozen=True, slots=True)
class Difference:
    """The worst that was found between two networks."""

    score: float
    position_px: float
    """Among points that both see."""
    points: int
    """How many positions were compared."""


class _Trained:
    """A `poseloop.live.interfaces.Runtime` over a network that is still in TensorFlow's hands."""

    provider = "tensorflow"

    def __init__(self, predict: Callable[[Image], Float32]) -> None:
        self._predict = predict

    def check(self) -> None:
        """Nothing can be missing."""

    def open(self, shape: tuple[int, int, int, int]) -> Image:
        """Any shape will do."""
        return np.zeros(shape, np.uint8)

    def run(self, images: Image) -> Mapping[str, Float32]:
        """Images (B, H, W, c) to score maps."""
        return {"scoremap": np.ascontiguousarray(self._predict(images), np.float32)}

    def close(self) -> None:
        """Nothing is held."""


def as_network(predict: Callable[[Image], Float32], info: ModelInfo) -> Network:
    """Wrap a trained network, so that it is used exactly as its file will be.

    Args:
        predict: images (B, H, W, c) to score maps (B, h, w, K).
        info: what the file will say.
    """
    return Network(Path("the trained network"), info, lambda: _Trained(predict), "tensorflow")


def poses(network: Network, pictures: Sequence[Image]) -> Poses:
    """Find the points in each picture alone; pictures of one size should be neighbours."""
    found = [network.infer([picture]) for picture in pictures]
    return Poses(np.stack([one.xy[0, 0] for one in found]), np.stack([one.score[0, 0] for one in found]))


def compare(one: Poses, other: Poses) -> Difference:
    """Find the worst differences; a score that only one side has is infinitely different."""
    nan = np.isnan(one.score), np.isnan(other.score)
    if (nan[0] != nan[1]).any():
        return Difference(np.inf, np.inf, 0)
    score = float(np.nanmax(np.abs(one.score - other.score), initial=0.0))
    seen = np.fmax(one.score, other.score) >= _UNSEEN
    distance = np.linalg.norm(one.xy - other.xy, axis=-1)[seen]
    if np.isnan(distance).any():
        return Difference(score, np.inf, int(seen.sum()))
    return Difference(score, float(distance.max(initial=0.0)), int(seen.sum()))


def digest(pictures: Sequence[Image]) -> str:
    """SHA-256 over shapes and pixels."""
    total = hashlib.sha256()
    for picture in pictures:
        total.update(repr(picture.shape).encode())
        total.update(np.ascontiguousarray(picture).tobytes())
    return total.hexdigest()


def prove(reference: Poses, file: Path, pictures: Sequence[Image], bound: Bound = EXACT) -> Mapping[str, Any]:
    """Run a file as it will be deployed, and compare.

    Args:
        reference: what should be found in the pictures.
        file: the model.
        pictures: (H, W) or (H, W, 3) each.
        bound: the largest differences that count as equal.

    Returns:
        What the file should say of its proof: pictures, their digest, worst differences, bound, the golden poses.

    Raises:
        ModelError: the file cannot be run, or differs by more than the bound, or no point could be compared.
    """
    with Network.open(file) as network:
        got = poses(network, pictures)
    difference = compare(reference, got)
    if not (difference.score <= bound.score and difference.position_px <= bound.position_px):
        raise ModelError(
            f"{file}: expected the same points as before the export, within {bound.score:g} in score and "
            f"{bound.position_px:g} px, but the worst differences are {difference.score:.3g} and "
            f"{difference.position_px:.3g} px in {len(pictures)} pictures. The file is not usable"
        )
    if not difference.points:
        raise ModelError(
            f"{file}: expected points to compare in {len(pictures)} golden pictures, but every score is under "
            f"{_UNSEEN:g}; such a network has learned nothing"
        )
    return {
        "pictures": len(pictures),
        "pictures_sha256": digest(pictures),
        "score": difference.score,
        "position_px": difference.position_px,
        "points": difference.points,
        "bound": {"score": bound.score, "position_px": bound.position_px},
        "golden": {"xy": _rounded(got.xy), "score": _rounded(got.score)},
    }


def recheck(file: Path, pictures: Sequence[Image]) -> Difference:
    """Compare what a file finds now with what it says it found when it was exported.

    Raises:
        ModelError: it has no proof, or one over other pictures, or it finds other points now.
    """
    stored = Network.describe(file).training.get("proof")
    if stored is None:
        raise ModelError(f"{file}: expected a golden-pose proof in its metadata, but it has none. Export it anew")
    if stored["pictures_sha256"] != digest(pictures):
        raise ModelError(f"{file}: expected the pictures that its proof was made with, but these are others")
    golden = Poses(
        np.array(stored["golden"]["xy"], np.float32), np.array(stored["golden"]["score"], np.float32)
    )  # None, for NaN, becomes NaN again
    with Network.open(file) as network:
        difference = compare(golden, poses(network, pictures))
    if not (difference.score <= EXACT.score and difference.position_px <= EXACT.position_px):
        raise ModelError(
            f"{file}: expected the points that its metadata promises, but the worst differences are "
            f"{difference.score:.3g} in score and {difference.position_px:.3g} px: the file is damaged, or this "
            f"onnxruntime computes something else"
        )
    return difference


def _rounded(values: Float32) -> list[Any]:
    rounded = np.round(values.astype(np.float64), 6).astype(object)
    rounded[np.isnan(values)] = None
    plain: list[Any] = rounded.tolist()
    return plain
