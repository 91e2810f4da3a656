"""Bundle adjustment: lenses, cameras and what they see, all at once, so that the error in the pictures is least.

What is seen is either a flat board that has a pose in each frame, or single points. Both are blocks of unknowns
(6 or 3) that hang on the cameras alone, never on each other, so Levenberg and Marquardt's step is found with the
Schur complement: each block is eliminated exactly and a dense system of the cameras' unknowns is left (Triggs et al.,
"Bundle adjustment: a modern synthesis", 2000, section 6.1). Rotations are moved by small turns from the left.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from poseloop.train.calibrate.board import Float64
from poseloop.train.calibrate.geometry import LENS, exponential, project, skew

__all__ = ["CAMERA", "STEPS", "Observations", "Prior", "State", "adjust", "residuals", "spread", "usual"]

CAMERA = 6 + LENS
"""Unknowns of a camera: turn, shift, lens."""
STEPS = 60
_HUBER = 2.5
"""Sigmas beyond which an error counts linearly, since it is likely a fault of detection."""
_SMALLEST, _LARGEST = 0.03, 3.0
"""Bounds of sigma, px."""
_PART = 4096
"""Observations whose normal equations are summed at a time, for the sake of memory."""


@dataclass(frozen=True, slots=True)
class Observations:
    """M corners or points in pictures, sorted by camera and then by block."""

    camera: npt.NDArray[np.int64]  # (M,)
    block: npt.NDArray[np.int64]  # (M,) which pose of the board, or which point
    place: Float64 | None  # (M, 3) on the board; None: blocks are points
    xy: Float64  # (M, 2) px

    def __getitem__(self, keep: npt.NDArray[np.bool_]) -> Observations:
        place = None if self.place is None else self.place[keep]
        return Observations(self.camera[keep], self.block[keep], place, self.xy[keep])

    @staticmethod
    def sorted(
        camera: npt.NDArray[np.int64], block: npt.NDArray[np.int64], place: Float64 | None, xy: Float64
    ) -> Observations:
        """Put them into the order that is needed."""
        order = np.lexsort((block, camera))
        return Observations(camera[order], block[order], None if place is None else place[order], xy[order])


@dataclass(frozen=True, slots=True)
class State:
    """All unknowns."""

    lens: Float64  # (C, LENS)
    fisheye: tuple[bool, ...]
    turn: Float64  # (C, 3, 3) world to camera
    shift: Float64  # (C, 3)
    block_turn: Float64  # (S, 3, 3) board to world; not used for points
    block_shift: Float64  # (S, 3) the same, or the points


@dataclass(frozen=True, slots=True)
class Prior:
    """What is known of lenses beforehand, so that few pictures cannot bend them out of all reason.

    Each row says: ``row · lens = value`` within ``sigma``. Good pictures outweigh it a thousand times.
    """

    rows: Float64 = field(default_factory=lambda: np.zeros((0, LENS)))  # (Q, LENS)
    value: Float64 = field(default_factory=lambda: np.zeros((0,)))  # (C, Q) or (0,)
    sigma: Float64 = field(default_factory=lambda: np.zeros((0,)))  # (C, Q) or (0,)


def residuals(state: State, seen: Observations) -> Float64:
    """(M, 2) px: projected minus found."""
    out = np.empty((len(seen.xy), 2))
    for c in range(len(state.lens)):
        rows = seen.camera == c
        world = _in_world(state, seen, rows)
        uv, _, _ = project(state.lens[c], state.fisheye[c], world @ state.turn[c].T + state.shift[c])
        out[rows] = uv - seen.xy[rows]
    return out


def _in_world(state: State, seen: Observations, rows: npt.NDArray[np.bool_]) -> Float64:
    block = seen.block[rows]
    if seen.place is None:
        return state.block_shift[block]
    world: Float64 = np.einsum("nij,nj->ni", state.block_turn[block], seen.place[rows]) + state.block_shift[block]
    return world


def _jacobian(state: State, seen: Observations, c: int, rows: npt.NDArray[np.bool_]) -> tuple[Float64, Float64]:
    """One camera's residuals (m, 2), and their derivatives (m, 2, CAMERA + 6 or 3)."""
    block = seen.block[rows]
    if seen.place is None:
        turned = np.empty((0, 3))
        world = state.block_shift[block]
    else:
        turned = np.einsum("nij,nj->ni", state.block_turn[block], seen.place[rows])
        world = turned + state.block_shift[block]
    seen_from = world @ state.turn[c].T
    uv, by_point, by_lens = project(state.lens[c], state.fisheye[c], seen_from + state.shift[c])
    by_world = by_point @ state.turn[c]
    parts = [by_point @ -skew(seen_from), by_point, by_lens]
    if seen.place is not None:
        parts.append(by_world @ -skew(turned))
    parts.append(by_world)
    return uv - seen.xy[rows], np.concatenate(parts, axis=2)


def _weights(size: Float64) -> Float64:
    """Huber's weights of errors' sizes in units of sigma."""
    return np.where(size > _HUBER, _HUBER / np.maximum(size, 1e-12), 1.0)


def _cost(error: Float64, sigma: float) -> float:
    size = np.linalg.norm(error, axis=1) / sigma
    inside = size <= _HUBER
    return float(0.5 * (size[inside] ** 2).sum() + (_HUBER * (size[~inside] - 0.5 * _HUBER)).sum())


def usual(error: Float64) -> float:
    """The usual error along one axis, px, from the median of (M, 2), so that outliers do not count."""
    if not len(error):
        return _LARGEST
    # The median length of a circular normal distribution is 1.1774 times its sigma.
    return float(np.clip(np.median(np.linalg.norm(error, axis=1)) / 1.1774, _SMALLEST, _LARGEST))


def _prior_cost(state: State, prior: Prior) -> float:
    if not len(prior.rows):
        return 0.0
    return float(0.5 * (((state.lens @ prior.rows.T - prior.value) / prior.sigma) ** 2).sum())


@dataclass(frozen=True, slots=True)
class _Normal:
    """Normal equations: cameras (C·CAMERA)², blocks (S, b, b), and between them (S, C·CAMERA, b)."""

    cameras: Float64
    blocks: Float64
    between: Float64
    camera_slope: Float64
    block_slope: Float64


def _normal(state: State, seen: Observations, sigma: float, prior: Prior) -> _Normal:
    count, blocks = len(state.lens), len(state.block_shift)
    width = 3 if seen.place is None else 6
    cameras = np.zeros((count * CAMERA, count * CAMERA))
    camera_slope = np.zeros(count * CAMERA)
    block_sum = np.zeros((blocks, width, width))
    block_slope = np.zeros((blocks, width))
    between = np.zeros((blocks, count * CAMERA, width))
    for c in range(count):
        mine = np.flatnonzero(seen.camera == c)
        own = slice(c * CAMERA, (c + 1) * CAMERA)
        for start in range(0, len(mine), _PART):
            rows = np.zeros(len(seen.camera), bool)
            rows[mine[start : start + _PART]] = True
            error, slope = _jacobian(state, seen, c, rows)
            size = np.linalg.norm(error, axis=1) / sigma
            root = np.sqrt(_weights(size))[:, None] / sigma
            error = error * root
            slope = slope * root[..., None]
            squares = np.einsum("nri,nrj->nij", slope, slope, optimize=True)
            pulls = np.einsum("nri,nr->ni", slope, error)
            block = seen.block[rows]
            first = np.flatnonzero(np.r_[True, block[1:] != block[:-1]])
            squares = np.add.reduceat(squares, first, axis=0)
            pulls = np.add.reduceat(pulls, first, axis=0)
            which = block[first]
            cameras[own, own] += squares[:, :CAMERA, :CAMERA].sum(axis=0)
            camera_slope[own] += pulls[:, :CAMERA].sum(axis=0)
            block_sum[which] += squares[:, CAMERA:, CAMERA:]
            block_slope[which] += pulls[:, CAMERA:]
            between[which, own] += squares[:, :CAMERA, CAMERA:]
        if len(prior.rows):
            lens = slice(c * CAMERA + 6, (c + 1) * CAMERA)
            scaled = prior.rows / prior.sigma[c][:, None]
            cameras[lens, lens] += scaled.T @ scaled
            camera_slope[lens] += scaled.T @ ((prior.rows @ state.lens[c] - prior.value[c]) / prior.sigma[c])
    return _Normal(cameras, block_sum, between, camera_slope, block_slope)


def _reduced(normal: _Normal, free: npt.NDArray[np.int64], damping: float) -> tuple[Float64, Float64, Float64]:
    """Eliminate the blocks: the cameras' system, its right side, and the blocks' inverses."""
    width = normal.blocks.shape[1]
    blocks = normal.blocks.copy()
    diagonal = np.arange(width)
    own = blocks[:, diagonal, diagonal]
    blocks[:, diagonal, diagonal] += damping * own + 1e-12 * (1 + own.max(initial=0))
    turned: Float64 = np.asarray(np.linalg.inv(blocks), np.float64)
    between = normal.between[:, free]
    carried = between @ turned
    system = normal.cameras[np.ix_(free, free)].copy()
    system[np.diag_indices_from(system)] *= 1 + damping
    system -= np.tensordot(carried, between, axes=([0, 2], [0, 2]))
    right = -normal.camera_slope[free] + np.einsum("sib,sb->i", carried, normal.block_slope)
    return system, right, turned


def _solve(system: Float64, right: Float64) -> Float64:
    if not len(right):
        return right
    # Unknowns of very different size (px, radians, 1/rad⁶): scaled to a unit diagonal first.
    scale = 1 / np.sqrt(np.maximum(np.abs(np.diag(system)), 1e-30))
    scaled = system * scale[:, None] * scale
    answer, *_ = np.linalg.lstsq(scaled, right * scale, rcond=1e-13)
    return np.asarray(answer * scale, np.float64)


def _moved(state: State, cameras: Float64, blocks: Float64) -> State:
    turn = exponential(cameras[:, :3]) @ state.turn
    # The turn is of what is seen before the shift, so the shift is only added to.
    shift = state.shift + cameras[:, 3:6]
    block_turn = state.block_turn
    if blocks.shape[1] == 6:
        block_turn = exponential(blocks[:, :3]) @ block_turn
    return replace(
        state,
        lens=state.lens + cameras[:, 6:],
        turn=turn,
        shift=shift,
        block_turn=block_turn,
        block_shift=state.block_shift + blocks[:, -3:],
    )


def adjust(
    state: State,
    seen: Observations,
    free: npt.NDArray[np.bool_],
    sigma: float,
    prior: Prior | None = None,
    on_step: Callable[[], None] | None = None,
    steps: int = STEPS,
) -> State:
    """Find the unknowns with the least error.

    Args:
        state: where to start.
        seen: what was found.
        free: (C, CAMERA) which unknowns of the cameras may move; the blocks always may.
        sigma: the usual error, px. One for all cameras: were each weighted by its own, the one that fits best would
            be fitted ever better, at the others' cost.
        prior: of the lenses.
        on_step: called at each step.
        steps: the most that are made.
    """
    prior = Prior() if prior is None else prior
    unknown = np.flatnonzero(free.reshape(-1))
    damping = 1e-3
    cost = _cost(residuals(state, seen), sigma) + _prior_cost(state, prior)
    for _ in range(steps):
        if on_step is not None:
            on_step()
        normal = _normal(state, seen, sigma, prior)
        while True:
            system, right, turned = _reduced(normal, unknown, damping)
            cameras = np.zeros(free.size)
            cameras[unknown] = _solve(system, right)
            pull = normal.block_slope + np.einsum("sib,i->sb", normal.between, cameras)
            blocks = -np.einsum("sbc,sc->sb", turned, pull)
            tried = _moved(state, cameras.reshape(free.shape), blocks)
            new = _cost(residuals(tried, seen), sigma) + _prior_cost(tried, prior)
            if np.isfinite(new) and new <= cost:
                break
            damping *= 8
            if damping > 1e10:
                return state
        gain = (cost - new) / max(cost, 1e-300)
        state, cost, damping = tried, new, max(damping / 8, 1e-12)
        if gain < 1e-8:
            break
    return state


def spread(
    state: State, seen: Observations, free: npt.NDArray[np.bool_], sigma: float, prior: Prior | None = None
) -> Float64:
    """Standard deviation of the cameras' unknowns (C, CAMERA); 0 where not free."""
    prior = Prior() if prior is None else prior
    unknown = np.flatnonzero(free.reshape(-1))
    system, _, _ = _reduced(_normal(state, seen, sigma, prior), unknown, 0.0)
    scale = 1 / np.sqrt(np.maximum(np.abs(np.diag(system)), 1e-30))
    variance = np.diag(np.linalg.pinv(system * scale[:, None] * scale, hermitian=True)) * scale**2
    out = np.zeros(free.size)
    out[unknown] = np.sqrt(np.maximum(variance, 0))
    return out.reshape(free.shape)
