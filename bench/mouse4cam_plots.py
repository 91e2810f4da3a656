"""Pictures of what the rig of `docs/rigs/mouse4cam.toml` sees: a pose back in the four pictures, its way in 3D."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from poseloop.live.geometry import Calibration
from poseloop.live.types import Image

__all__ = ["reprojected", "trajectory"]

_CHAINS = (
    ("Nose", "Head", "Neck", "Trunk", "TTI", "Tail_0", "Tail_1", "Tail_2", "TailTip"),
    ("Ear_L", "Head", "Ear_R"),
    ("Shoulder_left", "Neck", "Shoulder_right"),
    ("Haunch_left", "TTI", "Haunch_right"),
)
"""What is drawn as a line, for people to see a mouse in it."""
_BONE, _POINT, _INK = (60, 190, 255), (255, 160, 60), (245, 245, 245)
"""BGR: the pose in the world; the networks' points; letters."""
_SIDE = 320
"""Pixels of the full picture around the animal, to each side of its middle."""

_Float64 = npt.NDArray[np.float64]


def reprojected(
    pictures: Sequence[Image],
    calibration: Calibration,
    keypoints: Sequence[str],
    xy: _Float64,
    xyz: _Float64,
    file: Path,
) -> None:
    """Draw a pose in the world back into the pictures that it came from, beside the points of each picture.

    Args:
        pictures: (H, W) of each camera, in the calibration's order.
        calibration: C cameras.
        keypoints: K names.
        xy: (C, K, 2) px that the network found, NaN = not seen.
        xyz: (K, 3) mm.
        file: JPEG to write.
    """
    back = calibration.project(xyz)
    tiles = []
    for c, (picture, name) in enumerate(zip(pictures, calibration.names, strict=True)):
        middle = np.nanmean(back[c], axis=0).round().astype(int)
        left, top = np.clip(middle - _SIDE, 0, np.subtract(picture.shape[::-1], 2 * _SIDE))
        part = picture[top : top + 2 * _SIDE, left : left + 2 * _SIDE]
        # Dark pictures: what is visible to people is a small part of the range.
        light = cv2.convertScaleAbs(part, alpha=255 / max(float(np.percentile(part, 99.7)), 1.0))
        tile = cv2.cvtColor(light, cv2.COLOR_GRAY2BGR)
        for chain in _CHAINS:
            ends = [back[c, list(keypoints).index(one)] - (left, top) for one in chain]
            for one, other in pairwise(ends):
                if np.isfinite([one, other]).all():
                    cv2.line(tile, _pixel(one), _pixel(other), _BONE, 2, cv2.LINE_AA)
        for point, own in zip(back[c] - (left, top), xy[c] - (left, top), strict=True):
            if np.isfinite(point).all():
                cv2.circle(tile, _pixel(point), 4, _BONE, -1, cv2.LINE_AA)
            if np.isfinite(own).all():
                cv2.circle(tile, _pixel(own), 7, _POINT, 2, cv2.LINE_AA)
        cv2.putText(tile, name, (14, 34), cv2.FONT_HERSHEY_SIMPLEX, 1.0, _INK, 2, cv2.LINE_AA)
        tiles.append(tile)
    rows = [np.hstack(tiles[i : i + 2]) for i in range(0, len(tiles), 2)]
    cv2.imwrite(str(file), np.vstack(rows), (cv2.IMWRITE_JPEG_QUALITY, 80))


def _pixel(point: _Float64) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))


def trajectory(
    keypoints: Sequence[str],
    xyz: _Float64,
    truth: _Float64,
    learned: int,
    keypoint: str,
    box: Sequence[Sequence[float]],
    file: Path,
) -> None:
    """Draw the body, and one keypoint's way through space and time.

    Args:
        keypoints: K names.
        xyz: (F, K, 3) mm, as the rig found them.
        truth: the same of the corrected points.
        learned: frames before this one were trained on.
        keypoint: the one that a protocol looks at.
        box: (2, 3) mm, two corners of the protocol's region.
        file: PNG to write.
    """
    from matplotlib.figure import Figure

    names = list(keypoints)
    k = names.index(keypoint)
    figure = Figure(figsize=(11, 5), layout="constrained")
    grid = figure.add_gridspec(3, 2, width_ratios=[1, 1.1])
    space: Any = figure.add_subplot(grid[:, 0], projection="3d")
    for frame, colour, label in ((0, "tab:grey", "first frame"), (len(xyz) - 1, "tab:orange", "last frame")):
        for number, chain in enumerate(_CHAINS):
            bones = xyz[frame, [names.index(one) for one in chain]]
            bones = bones[np.isfinite(bones).all(axis=1)]
            space.plot(*bones.T, color=colour, marker="o", markersize=3, label=None if number else label)
    space.plot(*xyz[:, k].T, color="tab:blue", linewidth=1, label=f"{keypoint}: its way")
    space.set_box_aspect(None, zoom=0.85)
    space.set(xlabel="x, mm", ylabel="y, mm", zlabel="z, mm", aspect="equal")
    space.view_init(elev=25, azim=-55)
    space.legend(loc="upper left", fontsize="small")
    rows = [figure.add_subplot(grid[axis, 1]) for axis in range(3)]
    for axis, row in enumerate(rows):
        row.axvspan(learned - 0.5, len(xyz) - 0.5, color="tab:green", alpha=0.1, label="not trained on")
        row.plot(truth[:, k, axis], color="tab:grey", linewidth=3, alpha=0.6, label="corrected by people")
        row.plot(xyz[:, k, axis], color="tab:blue", linewidth=1, label="rig")
        low, high = row.get_ylim()
        for corner in box:
            if low < corner[axis] < high:
                row.axhline(corner[axis], color="tab:red", linestyle="--", linewidth=1, label="border of the region")
        row.set_ylabel(f"{keypoint}, {'xyz'[axis]}, mm")
        row.grid(alpha=0.3)
    found = {text: handle for row in rows for handle, text in zip(*row.get_legend_handles_labels(), strict=True)}
    figure.legend(found.values(), found.keys(), loc="outside upper right", ncols=4, fontsize="small")
    rows[-1].set_xlabel("frame, 30 a second")
    figure.savefig(file, dpi=110)
