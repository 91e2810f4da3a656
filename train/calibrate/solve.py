"""All cameras of a rig from their views of one board: lenses, graph of poses, bundle adjustment, outliers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from poseloop.live.errors import CalibrationError
from poseloop.train.calibrate import bundle, choose, graph, lenses, release
from poseloop.train.calibrate.board import Board, Float64
from poseloop.train.calibrate.bundle import CAMERA, Observations, State
from poseloop.train.calibrate.detect import Sightings
from poseloop.train.calibrate.geometry import Motion
from poseloop.train.calibrate.graph import Pair, Poses
from poseloop.train.calibrate.lenses import Lens

__all__ = ["STEPS", "Removed", "Rig", "Scene", "lenses_of", "lonely", "relate", "solve"]

_LENS_VIEWS = 40
_ROUNDS = 3
STEPS = 40 + (_ROUNDS + 1) * bundle.STEPS
"""The most steps that `solve` makes; it mostly needs far fewer."""
_OUTLIER = 6.0
"""Times the errors' scale: corners farther off are removed."""
_AGREE = 2.0
"""Times the error of a camera that is alone with the board: up to this the cameras agree."""
_LEAST_PX = 0.5
"""Errors below this are never outliers."""
_BAD_VIEW = 4.0
"""Times its camera's usual error, and more than `_BAD_PX`: a view whose median is above it is removed whole."""
_BAD_PX = 1.0
_GIVEN_PX = 0.4
"""A given lens that misses its camera's corners by less is not doubted."""
_GIVEN = 3.0
"""Times the error of an estimated one: a given lens that errs more is not this camera's."""


@dataclass(frozen=True, slots=True)
class Removed:
    """What was left out, and why."""

    camera: str
    moment: int
    corners: int
    error_px: float
    """Median of them."""
    whole: bool
    """The whole view, not only some corners."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What is known before the adjustment."""

    board: Board
    sightings: tuple[Sightings, ...]
    lenses: tuple[Lens, ...]
    poses: tuple[Poses, ...]
    pairs: tuple[Pair, ...]
    groups: tuple[tuple[int, ...], ...]
    """Cameras joined by shared views; more than one group means that some stand alone."""

    @property
    def names(self) -> tuple[str, ...]:
        """The cameras."""
        return tuple(camera.camera for camera in self.sightings)


@dataclass(frozen=True, slots=True)
class Rig:
    """A calibrated rig: the state's blocks are the board at ``moments``; the world is the first camera's frame."""

    scene: Scene
    state: State
    moments: tuple[int, ...]
    seen: Observations
    """Corners that were used."""
    error: Float64  # (M, 2) px
    removed: tuple[Removed, ...]
    spread: Float64  # (C, CAMERA) standard deviations
    corner: npt.NDArray[np.int64]
    """(M,) number of each corner on the board."""
    rigid: bool
    """Whether the cameras agree about the board's poses; else they were placed by rays alone (`release`)."""


def lenses_of(
    sightings: Sequence[Sightings],
    board: Board,
    fisheye: Sequence[bool],
    given: Mapping[str, Lens],
    more: Mapping[str, Sightings] | None = None,
    step: Callable[[], None] | None = None,
) -> list[Lens]:
    """Each camera's lens: the given one, or estimated from its views.

    Args:
        sightings: of the cameras.
        board: what they saw.
        fisheye: which cameras have a fisheye lens.
        given: lenses that are known.
        more: views taken for the lenses alone, used with those of ``sightings``.
        step: called after each camera.

    Raises:
        CalibrationError: names every camera whose lens cannot be estimated, or whose given lens is another one's.
    """
    out, faults = [], []
    for camera, wide in zip(sightings, fisheye, strict=True):
        lens = given.get(camera.camera)
        if lens is None:
            views = _together(camera, (more or {}).get(camera.camera))
            try:
                lens = lenses.estimate(views, choose.for_lens(views, board, _LENS_VIEWS), board, wide)
            except CalibrationError as error:
                faults.append(str(error))
        elif (words := _of_another(camera, board, lens, wide)) is not None:
            faults.append(words)
        if lens is not None:
            out.append(lens)
        if step is not None:
            step()
    if faults:
        raise CalibrationError("\n".join(faults))
    return out


def _of_another(camera: Sightings, board: Board, given: Lens, wide: bool) -> str | None:
    """Say if a given lens cannot be this camera's: one that is estimated explains its views many times better."""
    error = lenses.miss(camera, board, given) if camera.views else 0.0
    if error < _GIVEN_PX:
        return None
    try:
        own = lenses.estimate(camera, choose.for_lens(camera, board, _LENS_VIEWS), board, wide)
    except CalibrationError:
        return None
    better = lenses.miss(camera, board, own)
    if better * _GIVEN > error:
        return None
    return (
        f"camera {camera.camera!r}: the given lens (focal length {given.values[0]:.0f} px"
        f"{', fisheye' if given.fisheye else ''}) misses the board by {error:.2f} px in this camera's own pictures; "
        f"one estimated from them ({own.values[0]:.0f} px{', fisheye' if wide else ''}) by {better:.2f} px: it is "
        "another camera's, of another model, or zoom or focus were changed. Leave this camera out of the --given file"
    )


def _together(camera: Sightings, more: Sightings | None) -> Sightings:
    if more is None:
        return camera
    if more.size != camera.size:
        raise CalibrationError(
            f"camera {camera.camera!r}: the pictures for its lens have {more.size[0]} x {more.size[1]} px, the others "
            f"{camera.size[0]} x {camera.size[1]}: they need one size"
        )
    after = max([*camera.views, -1]) - min([*more.views, 0]) + 1
    views = camera.views | {moment + after: view for moment, view in more.views.items()}
    return replace(camera, looked=camera.looked + more.looked, views=views)


def relate(sightings: Sequence[Sightings], board: Board, known: Sequence[Lens]) -> Scene:
    """Find which cameras share views of the board, and how they stand to each other."""
    lens = np.array([one.values for one in known])
    fisheye = [one.fisheye for one in known]
    found = [
        graph.poses(camera, board, values, wide) for camera, values, wide in zip(sightings, lens, fisheye, strict=True)
    ]
    edges = graph.pairs(sightings, found, board, lens, fisheye)
    joined = tuple(tuple(group) for group in graph.groups(len(sightings), edges))
    return Scene(board, tuple(sightings), tuple(known), tuple(found), tuple(edges), joined)


def solve(scene: Scene, most: int, on_step: Callable[[], None] | None = None) -> Rig:
    """Adjust all cameras together.

    Args:
        scene: from `relate`; all its cameras must be joined.
        most: moments of the board that are used.
        on_step: called at each step of the adjustment.

    Raises:
        CalibrationError: cameras stand alone.
    """
    if len(scene.groups) > 1:
        raise CalibrationError("; ".join(lonely(scene)))
    placed = graph.tree(scene.groups[0], scene.pairs)
    state, seen, corner, moments = _start(scene, placed, most)
    free = np.zeros((len(scene.names), CAMERA), bool)
    free[1:, :6] = True
    fisheye = [lens.fisheye for lens in scene.lenses]
    about = lenses.prior([camera.size for camera in scene.sightings], fisheye)
    # Cameras first: lenses are good already, and poses from the tree are not.
    state = bundle.adjust(state, seen, free, 2.0, on_step=on_step, steps=20)
    sigma = bundle.usual(bundle.residuals(state, seen))
    state = bundle.adjust(state, seen, free, sigma, on_step=on_step, steps=20)
    agree = _agree(scene, bundle.residuals(state, seen), seen)
    for c, lens in enumerate(scene.lenses):
        # Where cameras agree, the others' views help a lens. Where they do not (out of step, a board that moves), they
        # would bend it: it stays as its own camera's views say.
        if not lens.given and agree[c]:
            free[c, 6:] = lenses.free_lens(lens.fisheye)
    removed: list[Removed] = []
    for _ in range(_ROUNDS):
        state = bundle.adjust(state, seen, free, sigma, about, on_step)
        error = bundle.residuals(state, seen)
        sigma = bundle.usual(error)
        keep, gone = _judge(scene, seen, error, moments)
        removed.extend(gone)
        if keep.all():
            break
        seen, corner = seen[keep], corner[keep]
        state, seen, moments = _without_empty(state, seen, moments)
    state = bundle.adjust(state, seen, free, sigma, about, on_step)
    if not all(agree):
        state = release.place(state, seen, corner, scene.board, free)
    error = bundle.residuals(state, seen)
    known = bundle.spread(state, seen, free, sigma, about)
    return Rig(scene, state, tuple(moments), seen, error, tuple(removed), known, corner, all(agree))


def _agree(scene: Scene, error: Float64, seen: Observations) -> list[bool]:
    """Whether each camera's error is about what it is when the camera is alone with the board."""
    out = []
    for c, found in enumerate(scene.poses):
        # The median of two coordinates' length, as in `bundle.usual`.
        alone = float(np.median([answers[0][1] for answers in found.values()])) / 1.1774
        out.append(bundle.usual(error[seen.camera == c]) <= _AGREE * alone)
    return out


def lonely(scene: Scene) -> list[str]:
    """Say which cameras share no view of the board with the others, and what to film."""
    main = scene.groups[0]
    views = [len(camera.views) for camera in scene.sightings]
    words = []
    for group in scene.groups[1:]:
        for c in group:
            partner = max(main, key=lambda other: views[other])
            words.append(
                f"camera {scene.names[c]!r} never shares the board with another camera"
                + (f" than {', '.join(repr(scene.names[o]) for o in group if o != c)}" if len(group) > 1 else "")
                + f" (it saw the board in {views[c]} pictures): film the board between {scene.names[c]} and "
                f"{scene.names[partner]}"
            )
    return words


def _start(
    scene: Scene, placed: Mapping[int, Motion], most: int
) -> tuple[State, Observations, npt.NDArray[np.int64], list[int]]:
    lens = np.array([one.values for one in scene.lenses])
    fisheye = tuple(one.fisheye for one in scene.lenses)
    moments: list[int] = []
    turns, shifts = [], []
    cameras, blocks, corners, pixels = [], [], [], []
    for moment in choose.for_rig(scene.sightings, scene.board, most):
        found = graph.board_in_world(moment, placed, scene.sightings, scene.poses, scene.board, lens, fisheye)
        if found is None:
            continue
        for c, sightings in enumerate(scene.sightings):
            view = sightings.views.get(moment)
            if view is not None:
                cameras.append(np.full(len(view.numbers), c))
                blocks.append(np.full(len(view.numbers), len(moments)))
                corners.append(view.numbers)
                pixels.append(view.xy)
        (turn, shift), _ = found
        moments.append(moment)
        turns.append(turn)
        shifts.append(shift)
    camera, block, corner = (np.concatenate(parts).astype(np.int64) for parts in (cameras, blocks, corners))
    order = np.lexsort((block, camera))
    corner = corner[order]
    seen = Observations(camera[order], block[order], scene.board.points[corner], np.concatenate(pixels)[order])
    state = State(
        lens,
        fisheye,
        np.array([placed[c][0] for c in range(len(lens))]),
        np.array([placed[c][1] for c in range(len(lens))]),
        np.array(turns),
        np.array(shifts),
    )
    return state, seen, corner, moments


def _judge(
    scene: Scene, seen: Observations, error: Float64, moments: Sequence[int]
) -> tuple[npt.NDArray[np.bool_], list[Removed]]:
    """Which corners stay: none far off its camera's usual error, no view that is bad as a whole."""
    size = np.linalg.norm(error, axis=1)
    keep = np.ones(len(size), bool)
    removed = []
    for c, name in enumerate(scene.names):
        mine = seen.camera == c
        if not mine.any():
            continue
        usual = float(np.median(size[mine]))
        limit = max(_OUTLIER * usual, _LEAST_PX)
        bad_view = max(_BAD_VIEW * usual, _BAD_PX)
        for b in np.unique(seen.block[mine]):
            rows = np.flatnonzero(mine & (seen.block == b))
            median = float(np.median(size[rows]))
            far = rows[size[rows] > limit]
            whole = median > bad_view or len(rows) - len(far) < 4
            gone = rows if whole else far
            if len(gone):
                keep[gone] = False
                removed.append(Removed(name, moments[b], len(gone), float(np.median(size[gone])), whole))
    return keep, removed


def _without_empty(state: State, seen: Observations, moments: list[int]) -> tuple[State, Observations, list[int]]:
    """Drop moments of which no view is left."""
    left, block = np.unique(seen.block, return_inverse=True)
    state = replace(state, block_turn=state.block_turn[left], block_shift=state.block_shift[left])
    return state, replace(seen, block=block), [moments[b] for b in left]
