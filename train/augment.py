"""One labelled picture → one training sample, different every time, with its points moved exactly.

A sample is cut out of the picture by *one* affine map, so that it is resampled once, and only then changed in light,
focus, noise and compression. With pixel centres at integers everywhere, the map that OpenCV warps with is the map of
the points::

    crop = shift(middle of the crop) · rotation · shear · zoom · flip · shift(-place in the picture)

What is known of a keypoint in a sample is one of four:

- *visible*: it is in the crop, and its map has a Gaussian;
- *absent*: it was labelled, but the crop does not hold it (or the animal was painted over): the map is empty, and the
  network learns to say so;
- *doubtful*: it was labelled, but lies just outside the rim, or behind an occluder: its map is masked;
- *unlabelled*: nobody said where it is: masked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field

from poseloop.live.config import Settings
from poseloop.live.errors import ConfigError
from poseloop.live.types import Float32, Image
from poseloop.train import mirror
from poseloop.train.absent import Absent, free_shift, paint_over
from poseloop.train.photometric import Blur, Compression, Light, Noise, blur, compress, relight, roughen
from poseloop.train.textures import decoys, texture

__all__ = ["Augmentation", "Augmenter", "Geometry", "Occluders", "Sample"]

Matrix = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
_Warp = Callable[[Image, Matrix], Image]


class Geometry(Settings):
    """Where a sample is cut out, and how it is turned."""

    rotation_deg: float = Field(180.0, ge=0, le=180)
    """Greatest angle to either side."""
    zoom: tuple[float, float] = (0.8, 1.25)
    """Crop pixels for one of the picture; drawn evenly on a logarithmic scale. Much below 0.7 fine texture aliases."""
    shear_deg: float = Field(5.0, ge=0, lt=45)
    translation: float = Field(0.3, ge=0)
    """How far the animal's middle may lie from the crop's, in sides of the crop."""
    flip_horizontal: float = Field(0.5, ge=0, le=1)
    """Share of pictures; left and right keypoints change places, as `poseloop.train.mirror` tells from their names."""
    flip_vertical: float = Field(0.0, ge=0, le=1)
    around: float = Field(0.8, ge=0, le=1)
    """Share of crops around an animal; the others are cut out anywhere."""
    rim_px: float = Field(8.0, ge=0)
    """A point outside the crop by less than this is masked: part of its Gaussian would be inside."""


class Occluders(Settings):
    """Things between camera and animal: cables, feeders, a bar of the cage."""

    share: float = Field(0.25, ge=0, le=1)
    """Of the pictures that have any."""
    most: int = Field(3, ge=1)
    """How many at once."""
    size: tuple[float, float] = (0.03, 0.2)
    """In sides of the crop."""
    hidden: Literal["masked", "absent", "kept"] = "masked"
    """What becomes of a point behind one: not learned from; taught to be absent; or taught to be guessed."""


class Augmentation(Settings):
    """Everything about how training samples are made."""

    geometry: Geometry = Geometry()
    light: Light = Light()
    blur: Blur = Blur()
    noise: Noise = Noise()
    compression: Compression = Compression()
    occluders: Occluders = Occluders()
    absent: Absent = Absent()
    sigma: float = Field(1.0, gt=0)
    """Of the targets' Gaussian, in cells of the score map."""

    @classmethod
    def top(cls) -> Augmentation:
        """For a camera above: an animal may face anywhere."""
        return cls()

    @classmethod
    def side(cls) -> Augmentation:
        """For a camera beside, or a scene with mirrors: up is up, and left is left."""
        return cls(geometry=Geometry(rotation_deg=15, shear_deg=3, flip_horizontal=0))

    @classmethod
    def none(cls) -> Augmentation:
        """Cut out around the animal, and nothing else."""
        return cls(
            geometry=Geometry(
                rotation_deg=0, zoom=(1, 1), shear_deg=0, translation=0, flip_horizontal=0, around=1, rim_px=0
            ),
            light=Light(share=0),
            blur=Blur(share=0, motion_share=0),
            noise=Noise(share=0),
            compression=Compression(share=0),
            occluders=Occluders(share=0),
            absent=Absent(painted=0, other=0),
        )

    @classmethod
    def preset(cls, view: str, keypoints: Sequence[str] = ()) -> Augmentation:
        """The settings for a view: ``top``, ``side`` or ``none``.

        Args:
            view: the name of one of the methods above.
            keypoints: names; without a partner for each that has a side, pictures are not flipped.

        Raises:
            ConfigError: there is no such view.
        """
        presets = {"top": cls.top, "side": cls.side, "none": cls.none}
        if view not in presets:
            raise ConfigError(f"expected a view out of {', '.join(presets)}, but got {view!r}")
        settings = presets[view]()
        if not mirror.unpaired(keypoints):
            return settings
        straight = settings.geometry.model_copy(update={"flip_horizontal": 0.0, "flip_vertical": 0.0})
        return settings.model_copy(update={"geometry": straight})


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One picture to learn from."""

    image: Image = field(repr=False)
    """(S, S, c)."""
    xy: Float32 = field(repr=False)
    """(I, K, 2) px in the crop, pixel centres at integers; NaN where not visible."""
    moved: Float32 = field(repr=False)
    """(I, K, 2) px in the crop of all labelled points, seen or not; NaN where unlabelled."""
    visible: Mask = field(repr=False)
    """(I, K): the point is in the crop and may be learned."""
    known: Mask = field(repr=False)
    """(I, K): where the point is, or that it is absent, is known; False = masked."""
    doubtful: Mask = field(repr=False)
    """(I, K): masked although it was labelled."""
    matrix: Matrix = field(repr=False)
    """(2, 3): from the picture to the crop."""
    kind: Literal["animal", "painted", "empty", "other"]
    """As it was taken; with the animal painted over; the empty scene; something else altogether."""


def _labelled(xy: npt.NDArray[np.float64]) -> Mask:
    return np.asarray(~np.isnan(xy).any(axis=-1))


def _colours(picture: Image, xy: npt.NDArray[np.float64], rng: np.random.Generator) -> Image:
    """Colours of the animals, (n,) or (n, 3): from places between two of their points; without any, of the picture."""
    height, width = picture.shape[:2]
    places = [rng.uniform(0, 1, (8, 2)) * (width - 1, height - 1)]
    for points in xy:
        points = points[_labelled(points)]
        if len(points):
            one, other = points[rng.integers(len(points), size=(2, 8))]
            places.append(one + rng.random((8, 1)) * (other - one))
    columns, rows = np.clip(places[-1].round().astype(int), 0, (width - 1, height - 1)).T
    return np.asarray(picture[rows, columns])


class Augmenter:
    """Makes samples of one size for one set of keypoints. Holds no state: calls may come from many threads."""

    def __init__(self, keypoints: Sequence[str], settings: Augmentation, size: int) -> None:
        """Prepare for crops of ``size`` px a side.

        Raises:
            ConfigError: pictures are to be flipped, but a keypoint has a side and no partner on the other one.
        """
        self._settings = settings
        self._size = size
        self._partners = np.array(mirror.partners(keypoints))
        geometry = settings.geometry
        alone = mirror.unpaired(keypoints)
        if alone and max(geometry.flip_horizontal, geometry.flip_vertical) > 0:
            raise ConfigError(
                f"pictures are to be flipped, but the other side's partner of {', '.join(alone)} is not among the "
                f"keypoints: set flip_horizontal and flip_vertical to 0"
            )
        # What a body reaches beyond its keypoints at least, px of the crop.
        self._least_px = max(12.0, 0.06 * size)

    def __call__(
        self, picture: Image, xy: npt.NDArray[np.float64], rng: np.random.Generator, scene: Image | None = None
    ) -> Sample:
        """Make a sample.

        Args:
            picture: (H, W) or (H, W, 3); not changed.
            xy: (I, K, 2) px in it; NaN = unlabelled.
            rng: all chance comes from here: the same generator gives the same sample.
            scene: the same place without animals, if it is known.
        """
        settings, size = self._settings, self._size
        matrix, flipped = self._matrix(picture, xy, rng)
        labelled: Mask = _labelled(xy)
        moved = xy @ matrix[:, :2].T + matrix[:, 2]
        if flipped:
            moved, labelled = moved[:, self._partners], labelled[:, self._partners]
        fill, colour = self._border(picture, rng)

        def warp(source: Image, by: Matrix) -> Image:
            warped = cv2.warpAffine(
                source, by, (size, size), flags=cv2.INTER_LINEAR, borderMode=fill, borderValue=colour
            )
            return np.asarray(warped, np.uint8)

        visible, doubtful = self._inside(moved, labelled)
        known = labelled & ~doubtful
        kind: Literal["animal", "painted", "empty", "other"] = "animal"
        chance = rng.random() - settings.absent.other
        if chance < 0:
            kind, image = "other", texture((size, size, *picture.shape[2:]), rng, rich=0.6)
        elif chance < settings.absent.painted:
            if scene is not None and rng.random() < 0.5:
                kind, image = "empty", warp(scene, matrix)
            else:
                kind, image = "painted", self._painted(picture, scene, xy, moved, matrix, rng, warp)
        else:
            image = warp(picture, matrix)
        if kind != "animal":
            if rng.random() < settings.absent.decoys:
                image = decoys(image, _colours(picture, xy, rng), rng)
            visible, doubtful = np.zeros_like(visible), np.zeros_like(doubtful)
            # Of a body that is only painted over, what was not labelled may still be seen.
            known = labelled if kind == "painted" else np.ones_like(known)
        if rng.random() < settings.occluders.share:
            image, hidden = self._occlude(image, moved, rng)
            visible, known, doubtful = self._hide(visible & hidden, visible, known, doubtful)
        image = relight(image, settings.light, rng)
        image = blur(image, settings.blur, rng)
        image = roughen(image, settings.noise, rng)
        image = compress(image, settings.compression, rng)
        points = np.where(visible[..., None], moved, np.nan).astype(np.float32)
        return Sample(
            image.reshape(size, size, -1), points, moved.astype(np.float32), visible, known, doubtful, matrix, kind
        )

    def _matrix(self, picture: Image, xy: npt.NDArray[np.float64], rng: np.random.Generator) -> tuple[Matrix, bool]:
        """The map from the picture to the crop (2, 3), and whether it is a mirror's."""
        geometry, size = self._settings.geometry, self._size
        angle = math.radians(rng.uniform(-1, 1) * geometry.rotation_deg)
        shear = math.tan(math.radians(rng.uniform(-1, 1) * geometry.shear_deg))
        zoom = math.exp(rng.uniform(math.log(geometry.zoom[0]), math.log(geometry.zoom[1])))
        flip_x, flip_y = rng.random() < geometry.flip_horizontal, rng.random() < geometry.flip_vertical
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        linear = turn @ np.array([[1, shear], [0, 1]]) @ np.diag([-zoom if flip_x else zoom, -zoom if flip_y else zoom])
        place = self._place(picture, xy, zoom, rng)
        offset = (size - 1) / 2 - linear @ place
        return np.column_stack([linear, offset]), bool(flip_x != flip_y)

    def _place(
        self, picture: Image, xy: npt.NDArray[np.float64], zoom: float, rng: np.random.Generator
    ) -> npt.NDArray[np.float64]:
        """The point of the picture that becomes the crop's middle.

        So far inside that the crop, unturned, shows nothing beyond the picture; where the crop is larger than the
        picture, the crop holds all of it.
        """
        geometry = self._settings.geometry
        half_px = self._size / zoom / 2
        sides = np.array([picture.shape[1], picture.shape[0]], np.float64)
        low, high = np.sort([np.full(2, half_px - 0.5), sides - half_px - 0.5], axis=0)
        animals = [points[_labelled(points)] for points in xy]
        animals = [points for points in animals if len(points)]
        anywhere, shift = rng.random(2), rng.uniform(-1, 1, 2)
        which = rng.random()
        if not animals or rng.random() >= geometry.around:
            return np.asarray(low + anywhere * (high - low))
        points = animals[int(which * len(animals))]
        around = (points.min(axis=0) + points.max(axis=0)) / 2 + shift * geometry.translation * self._size / zoom
        return np.asarray(np.clip(around, low, high)) if geometry.translation else np.asarray(around)

    def _border(self, picture: Image, rng: np.random.Generator) -> tuple[int, tuple[float, ...]]:
        """What is seen beyond the picture: its rim, as at run time, or one colour. Never its reflection: an animal."""
        grey = float(rng.integers(0, 256))
        chance = rng.random()
        if chance < 0.5:
            return cv2.BORDER_REPLICATE, (0.0,)
        return cv2.BORDER_CONSTANT, (grey,) * (1 if picture.ndim == 2 else 3)

    def _inside(self, moved: npt.NDArray[np.float64], labelled: Mask) -> tuple[Mask, Mask]:
        """Points in the crop, and those outside that are too near to its rim to be absent."""
        rim = self._settings.geometry.rim_px
        with np.errstate(invalid="ignore"):
            beyond = np.maximum(-0.5 - moved, moved - (self._size - 0.5)).max(axis=-1)
            return labelled & (beyond <= 0), labelled & (beyond > 0) & (beyond < rim)

    def _painted(
        self,
        picture: Image,
        scene: Image | None,
        xy: npt.NDArray[np.float64],
        moved: npt.NDArray[np.float64],
        matrix: Matrix,
        rng: np.random.Generator,
        warp: _Warp,
    ) -> Image:
        """The crop, its animals covered by the empty scene, by another part of the picture, or by something else."""
        cover = None
        if scene is not None:
            cover = warp(scene, matrix)
        elif rng.random() < 0.7:
            height, width = picture.shape[:2]
            shift = free_shift(xy, width, height, self._least_px, rng)
            if shift is not None:
                there = matrix.copy()
                there[:, 2] -= matrix[:, :2] @ np.array(shift)
                cover = warp(picture, there)
        return paint_over(warp(picture, matrix), moved, cover, rng, self._least_px)

    def _occlude(self, image: Image, moved: npt.NDArray[np.float64], rng: np.random.Generator) -> tuple[Image, Mask]:
        """Put things before the animal; returns the picture and which points (I, K) are behind one."""
        size, settings = self._size, self._settings.occluders
        covered = np.zeros((size, size), np.uint8)
        near = moved[_labelled(moved)]
        for _ in range(int(rng.integers(1, settings.most + 1))):
            mask = np.zeros((size, size), np.uint8)
            at = rng.uniform(0, size, 2)
            if len(near) and rng.random() < 0.6:
                at = near[int(rng.integers(len(near)))] + rng.normal(0, 0.08 * size, 2)
            self._thing(mask, np.clip(at, 0, size - 1), rng)
            image = np.asarray(cv2.copyTo(self._stuff(image, mask, moved, rng), mask, image.copy()), np.uint8)
            covered |= mask
        return image, self._behind(covered, moved)

    def _thing(self, mask: Image, at: npt.NDArray[np.float64], rng: np.random.Generator) -> None:
        low, high = self._settings.occluders.size
        sides = [float(side) for side in self._size * rng.uniform(low, high, 2)]
        angle = float(rng.uniform(0, 180))
        kind = rng.random()
        if kind < 0.35:
            corners = cv2.boxPoints(((float(at[0]), float(at[1])), (sides[0], sides[1]), angle))
            cv2.fillPoly(mask, [np.round(corners).astype(np.int32)], 255)
        elif kind < 0.7:
            axes = (round(sides[0] / 2), round(sides[1] / 2))
            cv2.ellipse(mask, (round(float(at[0])), round(float(at[1]))), axes, angle, 0, 360, 255, -1)
        else:  # a cable across the picture
            along = self._size * np.array([math.cos(math.radians(angle)), math.sin(math.radians(angle))])
            ends = np.array([at - along, at + rng.normal(0, 0.1 * self._size, 2), at + along])
            cv2.polylines(mask, [np.round(ends).astype(np.int32)], False, 255, int(rng.integers(1, 6)))

    def _stuff(self, image: Image, mask: Image, moved: npt.NDArray[np.float64], rng: np.random.Generator) -> Image:
        """What an occluder is made of: another part of the picture, a texture, or one colour."""
        kind = rng.random()
        if kind < 0.2:
            return texture(image.shape, rng)
        if kind < 0.5:
            shift = rng.integers(0, self._size, 2)
            # A second snout in the picture would be taught to be none.
            if not self._behind(mask, np.mod(moved + shift[::-1], self._size)).any():
                return np.roll(image, (int(shift[0]), int(shift[1])), axis=(0, 1))
        stuff = np.empty_like(image)
        grey = rng.integers(0, 256)
        stuff[:] = grey if image.ndim == 2 else np.clip(grey + rng.normal(0, 15, 3), 0, 255)
        return stuff

    def _behind(self, mask: Image, moved: npt.NDArray[np.float64]) -> Mask:
        """Which points (I, K) lie where a mask is set."""
        with np.errstate(invalid="ignore"):
            inside: Mask = np.asarray(((moved >= -0.5) & (moved <= self._size - 0.5)).all(axis=-1))
        pixels = np.clip(np.where(inside[..., None], moved, 0).round().astype(int), 0, self._size - 1)
        return np.asarray(inside & (mask[pixels[..., 1], pixels[..., 0]] > 0))

    def _hide(self, hidden: Mask, visible: Mask, known: Mask, doubtful: Mask) -> tuple[Mask, Mask, Mask]:
        match self._settings.occluders.hidden:
            case "masked":
                return visible & ~hidden, known & ~hidden, doubtful | hidden
            case "absent":
                return visible & ~hidden, known, doubtful
            case "kept":
                return visible, known, doubtful
