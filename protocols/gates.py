"""When an on-command must not go out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from poseloop.live import config
from poseloop.live.types import Command, LineSettings, Pose

__all__ = ["is_fresh", "is_whole", "reason_to_hold", "would_refuse"]

_AHEAD_NS = 20_000_000
"""A pose may seem to come from the future by as much as a camera's clock is mapped wrongly; not by more."""


def is_fresh(gates: config.Gates, pose: Pose, now: int) -> bool:
    """Is the pose young enough?"""
    return -_AHEAD_NS <= now - pose.trace.exposed_ns <= gates.age_ms * 1e6


def is_whole(gates: config.Gates, pose: Pose) -> bool:
    """Does the pose come of enough cameras, in step?"""
    return pose.missing <= gates.missing and pose.skew_ns <= gates.skew_ms * 1e6


def reason_to_hold(
    gates: config.Gates, pose: Pose, now: int, camera: int | None, individual: int, points: Sequence[int]
) -> str:
    """Why no on-command may come of this pose; empty if one may.

    Args:
        gates: the rig's.
        pose: what the command was decided on.
        now: time of the host.
        camera: whose picture the protocol looks at; None = points in the world.
        individual: place of the animal that it looks at.
        points: numbers of the keypoints that it needs.
    """
    if not is_fresh(gates, pose, now):
        return "stale pose"
    if pose.missing > gates.missing:
        return "incomplete set"
    if pose.skew_ns > gates.skew_ms * 1e6:
        return "cameras not in step"
    score = pose.score[individual] if camera is None else pose.keypoints.score[camera, individual]
    # A NaN score fails this comparison, as it must.
    return "" if np.all(score[points] >= gates.score) else "low score"


def would_refuse(line: LineSettings, command: Command) -> str:
    """Why a line would not obey, in words that follow its name; empty if it would."""
    if command.kind not in line.kinds:
        return f"would refuse a {command.kind}: its kinds are {', '.join(line.kinds)}"
    if command.on_us > line.max_on_us:
        return f"would refuse {command.on_us / 1000:g} ms: its max_on_ms is {line.max_on_us / 1000:g}"
    return ""
