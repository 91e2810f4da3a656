"""What a calibration is worth, in numbers and in plain words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from poseloop.live.errors import CalibrationError
from poseloop.train.calibrate import choose, graph, timing
from poseloop.train.calibrate.board import Board, Float64
from poseloop.train.calibrate.detect import Sightings
from poseloop.train.calibrate.geometry import compose, inverse, normalise, skew
from poseloop.train.calibrate.lenses import Lens
from poseloop.train.calibrate.solve import Rig

__all__ = [
    "Verdict",
    "cameras",
    "coverage",
    "epipolar",
    "of_board",
    "out_of_step",
    "refuse_nonsense",
    "tilts",
    "verdicts",
    "worst",
]

_GOOD_PX = 0.5
_BAD_PX = 2.0
_COVERED = 0.6
_SHARED = 10
_FOCAL = 0.02
_OUT = 0.05
_MANY = 0.3
_WHOLE = 0.25
"""Frames by which a time may miss a whole number of them and still be called one."""
_NONSENSE = 0.02
"""Of the picture's longer side."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One sentence for a person."""

    level: str
    """``good``, ``warning`` or ``bad``."""
    text: str


def coverage(camera: Sightings) -> Float64:
    """(rows, columns) of `choose.GRID`: in how many views the board's corners are in each cell of the picture."""
    counts = np.zeros(choose.GRID[0] * choose.GRID[1])
    for view in camera.views.values():
        counts[list(choose.covered(view, camera.size))] += 1
    return counts.reshape(choose.GRID[1], choose.GRID[0])


def tilts(scene_poses: graph.Poses) -> Float64:
    """(n,) degrees between the board's face and the camera's picture plane."""
    return np.array(
        [np.degrees(np.arccos(np.clip(abs(answers[0][0][0][2, 2]), 0, 1))) for answers in scene_poses.values()]
    )


def cameras(rig: Rig) -> dict[str, dict[str, Any]]:
    """Each camera's numbers, for the report."""
    out = {}
    for c, name in enumerate(rig.scene.names):
        camera, lens = rig.scene.sightings[c], rig.scene.lenses[c]
        error = rig.error[rig.seen.camera == c]
        size = np.linalg.norm(error, axis=1)
        angle = tilts(rig.scene.poses[c])
        gone = sum(one.corners for one in rig.removed if one.camera == name)
        out[name] = {
            "size": list(camera.size),
            "searched": camera.looked,
            "views": len(camera.views),
            "views_used": len(np.unique(rig.seen.block[rig.seen.camera == c])),
            "corners": len(error),
            "corners_removed": gone,
            "rms_px": _rounded(np.sqrt((size**2).mean()) if len(size) else None),
            "median_px": _rounded(np.median(size) if len(size) else None),
            "median_abs_px": _rounded(np.median(np.abs(error)) if len(size) else None),
            "coverage": _rounded((coverage(camera) > 0).mean()),
            "tilt_deg": [_rounded(angle.min(), 1), _rounded(angle.max(), 1)] if len(angle) else None,
            "lens": "given" if lens.given else "fisheye" if lens.fisheye else "pinhole",
            "focal_px": [_rounded(value, 2) for value in rig.state.lens[c][:2]],
            "focal_spread_px": _rounded(rig.spread[c, 6] or lens.focal_spread * rig.state.lens[c][0]),
        }
    return out


def _rounded(value: Any, digits: int = 4) -> float | None:
    return None if value is None or not np.isfinite(value) else round(float(value), digits)


def epipolar(rig: Rig) -> list[dict[str, Any]]:
    """For each two cameras: how far corners are from the line on which the other camera says they must be.

    The distance is that of undistorted points in units of the second camera's focal length: px near the middle.
    """
    out = []
    state = rig.state
    count = len(rig.scene.board.points)
    for a in range(len(rig.scene.names)):
        for b in range(a + 1, len(rig.scene.names)):
            rows = [np.flatnonzero(rig.seen.camera == c) for c in (a, b)]
            keys = [rig.seen.block[r] * count + rig.corner[r] for r in rows]
            _, i, j = np.intersect1d(keys[0], keys[1], return_indices=True)
            entry: dict[str, Any] = {"cameras": [rig.scene.names[a], rig.scene.names[b]], "corners": len(i)}
            if len(i):
                rays = [
                    np.column_stack([normalise(state.lens[c], state.fisheye[c], rig.seen.xy[r[k]]), np.ones(len(k))])
                    for c, r, k in ((a, rows[0], i), (b, rows[1], j))
                ]
                turn, shift = compose((state.turn[b], state.shift[b]), inverse((state.turn[a], state.shift[a])))
                lines = rays[0] @ (skew(shift) @ turn).T
                distance = np.abs((lines * rays[1]).sum(axis=1)) / np.linalg.norm(lines[:, :2], axis=1)
                entry["median_px"] = _rounded(np.median(distance) * state.lens[b][0])
                entry["moments"] = len(np.unique(rig.seen.block[rows[0][i]]))
            out.append(entry)
    return out


def worst(rig: Rig, most: int, of_one: int) -> list[tuple[str, int, float]]:
    """Views with the largest median error, at most ``of_one`` of a camera: camera, moment, px."""
    size = np.linalg.norm(rig.error, axis=1)
    found = [
        (rig.scene.names[c], rig.moments[b], float(np.median(size[(rig.seen.camera == c) & (rig.seen.block == b)])))
        for c, b in sorted({(int(c), int(b)) for c, b in zip(rig.seen.camera, rig.seen.block, strict=True)})
    ]
    found.sort(key=lambda view: -view[2])
    some = [view for k, view in enumerate(found) if sum(other[0] == view[0] for other in found[:k]) < of_one]
    return some[:most]


def of_board(names: Sequence[str], found: Mapping[str, tuple[int, int]], board: Board) -> list[Verdict]:
    """Cameras that never saw the board."""
    return [
        Verdict("bad", f"camera {name!r} never saw the board ({board.words}; {found[name][1]} pictures searched)")
        for name in names
        if not found[name][0]
    ]


def _where_empty(camera: Sightings) -> str:
    counts = coverage(camera) > 0
    rows, columns = counts.shape
    parts = {
        "left": counts[:, : columns // 4],
        "right": counts[:, -(columns // 4) :],
        "top": counts[: rows // 3],
        "bottom": counts[-(rows // 3) :],
    }
    bare = [name for name, part in parts.items() if part.mean() < 0.34]
    return f", above all its {' and '.join(bare)} part" if len(bare) in (1, 2) else ""


def _of_lens(camera: Sightings, lens: Lens, angle: Float64, focal_spread: float) -> list[Verdict]:
    """What is wrong with the views that a lens comes from; the spread is that after the adjustment, in shares."""
    name = camera.camera
    out: list[Verdict] = []
    if lens.given:
        return out
    share = float((coverage(camera) > 0).mean())
    if share < _COVERED:
        out.append(
            Verdict(
                "warning",
                f"camera {name!r}: the board covered {100 * share:.0f} % of its picture: film the rest of it, too"
                + _where_empty(camera),
            )
        )
    if focal_spread > _FOCAL:
        out.append(
            Verdict(
                "warning",
                f"camera {name!r}: its focal length is only known to ±{100 * focal_spread:.1f} % (board tilted by "
                f"{angle.min():.0f} to {angle.max():.0f}°): film the board nearer and tilted to all sides",
            )
        )
    return out


def out_of_step(names: Sequence[str], steps: Sequence[Mapping[str, Any]]) -> list[Verdict]:
    """Cameras whose pictures fit the others' better at another moment; ``steps`` from `timing.offsets`."""
    out = []
    lost = timing.lost(steps)
    for name, changes in lost.items():
        where = ", ".join(
            f"from its frame {frame} on it is {_frames(by)} {'later' if by > 0 else 'earlier'} than before"
            for frame, by in changes
        )
        out.append(
            Verdict(
                "bad",
                f"camera {name!r} loses its step: {where}. Frames were lost there (in this video if it is earlier, in "
                "the others if it is later): film again, or give only the part before it",
            )
        )
    for name, shift in timing.late(names, steps).items():
        fits = [entry["fit_px"] for entry in steps if name in entry["cameras"] and entry["behind"]]
        if name in lost or not fits:
            continue
        before, after = np.median(fits, axis=0)
        whole = round(shift)
        text = (
            f"camera {name!r} is out of step: it is {_frames(shift)} {'late' if shift > 0 else 'early'} (its picture "
            f"that much {'later' if shift > 0 else 'earlier'} fits the others by {after:.2f} px instead of "
            f"{before:.2f} px). "
        )
        if abs(shift - whole) <= _WHOLE:
            text += f"Trigger the cameras together, or calibrate with --offset {name}={whole}"
        else:
            text += (
                "No --offset in whole frames mends it: trigger the cameras together, or hold the board still for a "
                "moment wherever you show it, and give pictures of these moments alone"
            )
        out.append(Verdict("bad" if before > _BAD_PX or abs(shift) > 0.5 else "warning", text))
    return out


def _frames(count: float) -> str:
    """A number of frames in words, without its sign."""
    count = abs(count)
    number = f"{round(count)}" if abs(count - round(count)) <= _WHOLE else f"{count:.1f}"
    return f"{number} {'frame' if number == '1' else 'frames'}"


def refuse_nonsense(
    names: Sequence[str], numbers: Mapping[str, Mapping[str, Any]], steps: Sequence[Mapping[str, Any]]
) -> None:
    """Stop where the cameras contradict each other so much that no place of theirs means anything.

    Args:
        names: of the cameras.
        numbers: from `cameras`.
        steps: from `timing.offsets`.

    Raises:
        CalibrationError: names those cameras, and by how much they miss the corners.
    """
    missed = {
        name: "all corners" if row["rms_px"] is None else f"the corners by {row['rms_px']:.0f} px (RMS)"
        for name, row in numbers.items()
        if row["rms_px"] is None or row["rms_px"] > _NONSENSE * max(row["size"])
    }
    if missed:
        words = ", ".join(f"camera {name!r} misses {what}" for name, what in missed.items())
        why = [verdict.text for verdict in out_of_step(names, steps)]
        words = (
            f"the cameras contradict each other wherever they are placed: {words}. Is one of them mirrored (by a "
            "mirror or a setting), or do the pictures show different moments? Every camera by itself can be explained"
        )
        raise CalibrationError("\n".join([words, *why]))


def verdicts(
    rig: Rig,
    numbers: Mapping[str, Mapping[str, Any]],
    steps: Sequence[Mapping[str, Any]],
    before: Sequence[Verdict] = (),
) -> list[Verdict]:
    """All that a person should know, the worst first, with what was known ``before``."""
    out = list(before)
    scene = rig.scene
    for c, name in enumerate(scene.names):
        row = numbers[name]
        rms = row["rms_px"]
        if rms is None or rms > _BAD_PX:
            text = "has no corners left" if rms is None else f"misses the corners by {rms:.2f} px (RMS)"
            out.append(Verdict("bad", f"camera {name!r} {text}: do not use this calibration for 3D"))
        elif rms > _GOOD_PX:
            out.append(
                Verdict(
                    "warning",
                    f"camera {name!r} misses the corners by {rms:.2f} px (RMS); {_GOOD_PX} px is usual: was the board "
                    "flat, in focus, held still, and are the cameras triggered together?",
                )
            )
        lens = scene.lenses[c]
        if not lens.given and lens.sigma_px > _GOOD_PX:
            other = "without --fisheye" if lens.fisheye else f"with --fisheye {name}"
            out.append(
                Verdict(
                    "warning",
                    f"camera {name!r}: even alone with the board its lens misses the corners by {lens.sigma_px:.2f} "
                    f"px: try {other}, and look whether the board is flat and sharp",
                )
            )
        used = row["corners"] + row["corners_removed"]
        if used and row["corners_removed"] > _OUT * used:
            out.append(
                Verdict(
                    "bad" if row["corners_removed"] > _MANY * used else "warning",
                    f"camera {name!r}: {row['corners_removed']} of {used} corners did not fit and were left out",
                )
            )
        after = (row["focal_spread_px"] or 0) / row["focal_px"][0]
        out.extend(_of_lens(scene.sightings[c], lens, tilts(scene.poses[c]), max(after, lens.focal_spread)))
        shared = {
            scene.names[pair.second if pair.first == c else pair.first]: len(pair.moments)
            for pair in scene.pairs
            if c in (pair.first, pair.second)
        }
        if len(scene.names) > 1 and shared and max(shared.values()) < _SHARED:
            partner = max(shared, key=lambda other: shared[other])
            out.append(
                Verdict(
                    "warning",
                    f"camera {name!r} shares the board with others at {max(shared.values())} moments only: film more "
                    f"between {name} and {partner}",
                )
            )
    out.extend(out_of_step(scene.names, steps))
    if not rig.rigid:
        out.append(
            Verdict(
                "warning",
                "the cameras disagree about where the board was, by more than each of them errs alone: they were "
                "placed by the corners that several see, and only the board's size was used. Hold the board still, "
                "trigger the cameras together, or check the given lenses",
            )
        )
    if scene.board.symmetric:
        out.append(
            Verdict(
                "warning",
                "this chessboard looks the same upside down: cameras that see it from different sides may disagree; "
                "print one with an odd number of columns and an even number of rows, or a ChArUco board",
            )
        )
    if not out:
        largest = max(row["rms_px"] for row in numbers.values())
        out.append(Verdict("good", f"all cameras agree: no RMS above {largest:.2f} px, nothing to improve"))
    return sorted(out, key=lambda verdict: ("bad", "warning", "good").index(verdict.level))
