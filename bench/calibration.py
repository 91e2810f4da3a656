"""Calibration: three public recordings of boards, what ``poseloop calibrate`` makes of them, and what it should.

``poseloop bench calibration --report FILE.json`` runs the command as a user does and puts each number beside its bar:

1. *stereo*: 14 pairs of a chessboard, against the results of Bouguet's toolbox.
2. *mouse*: 21 moments of a ChArUco board in four cameras, and a mouse whose points people have set in each picture.
3. *caliscope*: videos of a moving, inverted ChArUco board that four cameras see in a part of the frames, against the
   camera array that came with them; with its lenses, and without.

``--only stereo`` (or mouse, caliscope; may be given several times) runs one of them. The exit code is 0 if every bar
holds. POSELOOP_DATA is the folder that holds `stereo_chessboard/`, `sleap_anipose_mouse4cam/` and
`caliscope_charuco_4cam_A/`.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from poseloop.bench import mouse4cam
from poseloop.bench.options import make_parser, save
from poseloop.live import cli
from poseloop.live.errors import DataError
from poseloop.live.geometry import Calibration
from poseloop.live.geometry.triangulation import Triangulator
from poseloop.train.calibrate import formats

__all__ = ["Row", "main"]

_Float64 = npt.NDArray[np.float64]

_GATE_PX = 30.0
"""That of the rig ``docs/rigs/mouse4cam.toml``."""


@dataclass(frozen=True, slots=True)
class Row:
    """One number; without a bar it is told for comparison and judges nothing."""

    what: str
    measured: str
    bar: str = ""
    holds: bool | None = None


@dataclass(frozen=True, slots=True)
class _Done:
    """What one run of the command left."""

    code: int
    report: dict[str, Any]
    file: Path
    wall_s: float
    cpu_s: float

    def cameras(self) -> Calibration:
        if self.code:
            raise DataError(f"poseloop calibrate ended with {self.code}: {self.report.get('verdicts')}")
        return Calibration.load(self.file)

    def time(self, limit_s: float | None = None) -> Row:
        bar, holds = ("", None) if limit_s is None else (f"< {limit_s:g} s", self.wall_s < limit_s)
        return Row("time of the command", f"{self.wall_s:.0f} s ({self.cpu_s:.0f} s of CPU)", bar, holds)


def stereo(data: Path, scratch: Path) -> Iterator[Row]:
    """A chessboard, two cameras."""
    from scipy.io import loadmat

    folder = data / _FOLDERS["stereo"]
    board = scratch / "board.toml"
    board.write_text('type = "chessboard"\ncorners = [9, 6]\nsquare_mm = 30\n', encoding="utf-8")
    done = _calibrate(scratch, folder, "--board", board)
    cameras = done.cameras()
    each = np.array([row["rms_px"] for row in done.report["cameras"].values()])
    rms = float(np.sqrt((each**2).mean()))
    yield Row("RMS of both cameras", f"{rms:.3f} px", "<= 0.23 px", rms <= 0.23)
    for name, camera in zip(cameras.names, cameras.cameras, strict=True):
        reference = loadmat(folder / f"Calib_Results_{name}.mat")["fc"].reshape(-1)
        off = np.diag(camera.matrix)[:2] / reference - 1
        words = f"{off[0]:+.2%} and {off[1]:+.2%}"
        yield Row(f"focal lengths of {name}, x and y", words, "within 0.3 %", bool((np.abs(off) <= 0.003).all()))
    yield done.time()


def mouse(data: Path, scratch: Path) -> Iterator[Row]:
    """A ChArUco board and a mouse, four cameras."""
    folder = data / _FOLDERS["mouse"] / "minimal_session"
    done = _calibrate(scratch, folder, "--board", folder / "board.toml", "--world", "floor:0")
    cameras = done.cameras()
    misses = {name: float(row["median_abs_px"]) for name, row in done.report["cameras"].items()}
    yield Row("median absolute residual", _each(misses, 3), "<= 0.2 px", max(misses.values()) <= 0.2)
    names, labels = mouse4cam.corrected(cameras.names)
    flat = labels.reshape(len(cameras.names), -1, 2)
    linear = Triangulator(cameras, flat.shape[1], robust=False).run(flat, None)[0]
    # A label that is 8 px from another camera's is no lie, and all count alike: the calibration is what is judged.
    missed = _missed(cameras, linear, flat)
    yield Row("labels, linear from all views", _each(missed), "<= 9 px", max(missed.values()) <= 9)
    triangulator = Triangulator(cameras, flat.shape[1], _GATE_PX)
    robust, _, _ = triangulator.run(flat, None)
    yield Row(f"the same, by a rig's kernel (gate {_GATE_PX:g} px)", _each(_missed(cameras, robust, flat)))
    used = np.where((triangulator.errors_px <= _GATE_PX)[..., np.newaxis], flat, np.nan)
    yield Row("the same, of the views that it uses", _each(_missed(cameras, robust, used)))
    for how, xyz in (("linear", linear), ("a rig's kernel", robust)):
        body = xyz.reshape(-1, len(names), 3)
        length = np.linalg.norm(body[:, names.index("Nose")] - body[:, names.index("TTI")], axis=1)
        middle = float(np.nanmedian(length))
        bar, holds = ("75 +- 1 mm", abs(middle - 75) <= 1) if how == "linear" else ("", None)
        words = f"{middle:.2f} mm (standard deviation {np.nanstd(length):.2f})"
        yield Row(f"nose to base of the tail, {how}", words, bar, holds)
    yield done.time()


def caliscope(data: Path, scratch: Path) -> Iterator[Row]:
    """Videos of a moving board, four cameras."""
    folder = data / _FOLDERS["caliscope"]
    videos = folder / "charuco_calibration" / "calibration" / "extrinsic"
    board = folder / "charuco_calibration" / "charuco.toml"
    array = folder / "charuco_calibration" / "camera_array.toml"
    reference = formats.read(array)
    given = _calibrate(scratch, videos, "--board", board, "--given", array)
    off = _off(given.cameras(), reference)
    words = f"{off.min():+.2%} to {off.max():+.2%}"
    yield Row("distances of cameras, lenses given", words, "within 1 %", bool((np.abs(off) <= 0.01).all()))
    yield given.time(180)
    alone = folder / "prerecorded_calibration" / "calibration" / "intrinsic"
    done = _calibrate(scratch, videos, "--board", board, "--lenses", alone)
    told = [one["text"] for one in done.report["verdicts"]]
    bar = "estimated, or the camera named"
    if done.code:
        named = [name for name in reference.names if any(f"'{name}'" in text for text in told)]
        yield Row("lenses not given", f"refused: {', '.join(named) or 'nobody named'}", bar, bool(named))
    else:
        off = _off(done.cameras(), reference)
        yield Row("lenses not given", f"estimated: {off.min():+.2%} to {off.max():+.2%}", bar, True)
        focal = {
            name: float(row["focal_px"][0] / camera.matrix[0, 0] - 1) * 100
            for (name, row), camera in zip(done.report["cameras"].items(), reference.cameras, strict=True)
        }
        yield Row("their focal lengths, % off the reference", _each(focal, 1))
    yield done.time()


_FOLDERS = {
    "stereo": "stereo_chessboard",
    "mouse": "sleap_anipose_mouse4cam",
    "caliscope": "caliscope_charuco_4cam_A",
}
_SETS: dict[str, Callable[[Path, Path], Iterator[Row]]] = {"stereo": stereo, "mouse": mouse, "caliscope": caliscope}


def _calibrate(scratch: Path, *words: object) -> _Done:
    """Run the command, without what it prints."""
    folder = Path(tempfile.mkdtemp(dir=scratch))
    file, report = folder / "calibration.toml", folder / "report.json"
    wall, cpu = time.perf_counter(), time.process_time()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as said:
        code = cli.main(["calibrate", *map(str, words), "--out", str(file), "--report", str(report)])
    if not report.is_file():
        raise DataError(f"poseloop calibrate ended with {code} and left no report: {said.getvalue().strip()}")
    found = json.loads(report.read_text(encoding="utf-8"))
    return _Done(code, found, file, time.perf_counter() - wall, time.process_time() - cpu)


def _each(values: dict[str, float], digits: int = 1) -> str:
    return ", ".join(f"{name} {value:.{digits}f}" for name, value in values.items())


def _missed(cameras: Calibration, xyz: _Float64, xy: _Float64) -> dict[str, float]:
    """Each camera's median distance, px, between points (N, 3) and where its picture has them (C, N, 2)."""
    medians = np.nanmedian(np.linalg.norm(cameras.project(xyz) - xy, axis=-1), axis=1)
    return dict(zip(cameras.names, medians.tolist(), strict=True))


def _off(cameras: Calibration, reference: Calibration) -> _Float64:
    """Of every two cameras: their distance, as a share off the reference's."""

    def distances(one: Calibration) -> _Float64:
        centres = np.array([camera.centre for camera in one.select(reference.names).cameras])
        found: _Float64 = np.linalg.norm(centres[:, None] - centres[None], axis=-1)[np.triu_indices(len(centres), 1)]
        return found

    return distances(cameras) / distances(reference) - 1


def main() -> int:
    """Calibrate, print a table for each recording, write JSON; 0 if every bar holds."""
    parser = make_parser(__doc__)
    parser.add_argument("--only", action="append", choices=tuple(_SETS), help="this recording; default: all three")
    arguments = parser.parse_args()
    data = Path(os.environ.get("POSELOOP_DATA", "."))
    found: dict[str, list[Row]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in arguments.only or _SETS:
            folder = data / _FOLDERS.get(name, "")
            if not folder.is_dir():
                raise DataError(f"{folder}: expected the recordings here; POSELOOP_DATA is the folder they are in")
            print(f"{name}:")
            found[name] = []
            for row in _SETS[name](data, Path(scratch)):
                found[name].append(row)
                verdict = {True: "holds", False: "DOES NOT HOLD", None: ""}[row.holds]
                print(f"  {row.what:<44} {row.measured:<46} {row.bar:<15} {verdict}".rstrip(), flush=True)
    save({"recordings": {name: [asdict(row) for row in rows] for name, rows in found.items()}}, arguments.report)
    return int(any(row.holds is False for rows in found.values() for row in rows))


if __name__ == "__main__":
    sys.exit(main())
