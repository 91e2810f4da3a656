"""Poses for tests that do not care where they come from."""

import numpy as np

from poseloop.live.types import Keypoints, Pose, Trace


def make_pose(cameras: int = 1, individuals: int = 1, keypoints: int = 4, world: bool = False, ahead: int = 0) -> Pose:
    """Numbers that differ from each other, one keypoint unseen."""
    random = np.random.default_rng(cameras * 100 + individuals * 10 + keypoints)
    numbers = lambda *shape: random.random(shape, np.float32)  # noqa: E731
    xy = numbers(cameras, individuals, keypoints, 2)
    xy[0, 0, 0] = np.nan
    xyz = numbers(individuals, keypoints, 3) if world else None
    measured = xy if xyz is None else xyz
    return Pose(
        sequence=5,
        index=7,
        keypoints=Keypoints(xy, numbers(cameras, individuals, keypoints)),
        xyz=xyz,
        score=numbers(individuals, keypoints),
        residual_px=np.full((individuals, keypoints), np.nan, np.float32),
        views=np.full((individuals, keypoints), cameras, np.uint8),
        predicted=measured + 1 if ahead else measured,
        predicted_for_ns=ahead,
        missing=0,
        skew_ns=12,
        trace=Trace(1, 2, 3, 4, 5, 6, 0, 8),
    )
