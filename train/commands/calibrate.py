"""``poseloop calibrate FOLDER --board board.toml``: camera models from pictures of a printed board."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from poseloop.live.errors import CalibrationError, ConfigError
from poseloop.live.output import report as reports
from poseloop.train.calibrate import (
    advice,
    detect,
    findings,
    formats,
    live,
    page,
    sheet,
    solve,
    sources,
    timing,
    world,
)
from poseloop.train.calibrate import board as boards
from poseloop.train.calibrate.board import Board
from poseloop.train.calibrate.detect import Sightings
from poseloop.train.calibrate.findings import Verdict
from poseloop.train.calibrate.lenses import Lens
from poseloop.train.calibrate.sources import Source
from poseloop.train.commands import repairing
from poseloop.train.progress import Progress

__all__ = ["HELP", "add_arguments", "run"]

HELP = "make camera models from pictures or videos of a printed board"

_SEARCHED = 300
"""Pictures of a camera that are searched, unless --every says otherwise."""
_WHOLE = 0.9
"""Share of a video's frames that have to be there."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "source",
        nargs="*",
        help="a folder with a folder of pictures (or a video) for each camera, or with files named after cameras; or "
        "NAME=PATH for each camera; or a calibration file, to write it in another format",
    )
    parser.add_argument("--board", type=Path, metavar="board.toml", help="what was printed")
    parser.add_argument(
        "--print-board",
        type=Path,
        metavar="FILE.pdf",
        help="draw the board of --board in its true size (.pdf, .svg or .png), and do nothing else; without --board "
        "one for A4 or Letter, and its board file beside it",
    )
    filming = parser.add_argument_group("filming now, with a rig's cameras instead of a source")
    filming.add_argument("--live", type=Path, metavar="RIG.toml", help="its cameras; Ctrl-C: it is enough")
    filming.add_argument("--seconds", type=float, metavar="S", help="the longest time (default: until it is enough)")
    filming.add_argument(
        "--pictures", type=Path, metavar="DIR", help="where what was chosen is kept (default: beside --out)"
    )
    parser.add_argument("--out", type=Path, default=Path("calibration.toml"), help="default: calibration.toml")
    parser.add_argument("--format", choices=formats.FORMATS, help="default: poseloop; opencv if --out ends in .yaml")
    parser.add_argument(
        "--unit", choices=tuple(formats.UNITS_MM), help="of the lengths in anipose's file that is read (default: mm)"
    )
    parser.add_argument(
        "--fisheye", action="append", default=[], metavar="CAMERA", help="has a fisheye lens; 'all' for every camera"
    )
    parser.add_argument(
        "--given", type=Path, metavar="FILE", help="a calibration whose lenses are kept for the cameras in it"
    )
    parser.add_argument(
        "--lenses", type=Path, metavar="FOLDER", help="pictures for the lenses alone, each camera by itself"
    )
    parser.add_argument(
        "--world",
        default="camera",
        help="origin: camera (the first one), board, board:MOMENT, floor:MOMENT,… or points:FILE.toml",
    )
    parser.add_argument(
        "--offset",
        action="append",
        default=[],
        metavar="CAMERA=N",
        help="this camera's video runs N frames late; may be given several times",
    )
    parser.add_argument(
        "--repair",
        type=Path,
        metavar="calibration.toml",
        help="place cameras anew that were moved, from keypoints: give CAMERA=TRACKS.h5 for each camera, no --board",
    )
    parser.add_argument("--animal", help="for --repair: which one, by its name in the files, where there are several")
    parser.add_argument("--every", type=int, metavar="N", help=f"search each Nth picture (default: about {_SEARCHED})")
    parser.add_argument("--moments", type=int, default=150, help="of the board, used for the result (default: 150)")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="the report for people (default: beside --out)")
    parser.add_argument("--report", type=Path, metavar="FILE.json", help="write all numbers here")


def run(arguments: argparse.Namespace) -> int:
    """Calibrate, or convert; print the verdicts, write calibration and reports."""
    if arguments.print_board is not None:
        return _print_board(arguments)
    kind: str = arguments.format or ("opencv" if arguments.out.suffix in (".yaml", ".yml") else "poseloop")
    if bool(arguments.source) == (arguments.live is not None):
        raise ConfigError("expected pictures or videos of the board, or --live RIG.toml: one of the two")
    for file in (arguments.out, arguments.report):
        if file is not None:
            reports.check_target(file)  # before the work, not after it
    if arguments.repair is not None:
        return repairing.run(arguments, kind)
    if len(arguments.source) == 1 and Path(arguments.source[0]).is_file():
        cameras = formats.read(Path(arguments.source[0]), arguments.unit)
        formats.write(cameras, arguments.out, kind)
        print(f"{arguments.out}: {len(cameras.names)} cameras, {', '.join(cameras.names)} ({kind})")
        return 0
    if arguments.board is None:
        raise ConfigError(
            "--board is missing: the TOML file that says what was printed; for a board to print, and its file: "
            "poseloop calibrate --print-board board.pdf"
        )
    if arguments.live is not None:
        arguments.source = [str(_film(arguments))]
    return _Calibrate(arguments, kind).run()


def _print_board(arguments: argparse.Namespace) -> int:
    sheet_file: Path = arguments.print_board
    if arguments.source or arguments.live is not None or arguments.repair is not None:
        raise ConfigError("--print-board draws a board to print: leave out what is to be calibrated")
    sheet.check_name(sheet_file)
    board_file: Path | None = arguments.board
    if board_file is None:
        board_file = sheet_file.with_suffix(".toml")
        sheet.describe_standard(board_file)
    print(sheet.draw(boards.load(board_file), sheet_file))
    print(f"{board_file}: says what it is, for --board; correct square_mm by what you measure on the print")
    return 0


def _film(arguments: argparse.Namespace) -> Path:
    """Collect pictures with a rig's cameras; returns their folder."""
    folder = arguments.pictures or arguments.out.with_name(f"{arguments.out.stem}_pictures")
    plots = arguments.plots or arguments.out.with_name(f"{arguments.out.stem}_report")
    return live.collect(arguments.live, boards.load(arguments.board), folder, plots, arguments.seconds)


class _Calibrate:
    """One calibration: what was found so far, so that a failure is reported with all that is known."""

    def __init__(self, arguments: argparse.Namespace, kind: str) -> None:
        self._arguments = arguments
        self._kind = kind
        self._start = time.perf_counter()
        world.check(arguments.world)
        self._board: Board = boards.load(arguments.board)
        self._sources: list[Source] = sources.parse(arguments.source)
        self._names = [source.camera for source in self._sources]
        self._sightings: list[Sightings] = []
        self._verdicts: list[Verdict] = []
        self._plots = arguments.plots or arguments.out.with_name(f"{arguments.out.stem}_report")
        self._title = f"Calibration of {', '.join(self._names)}"
        shifts = self._shifts()
        self._sources = [
            sources.late(source, shifts[source.camera]) if source.camera in shifts else source
            for source in self._sources
        ]
        unknown = set(arguments.fisheye) - {*self._names, "all"}
        if unknown:
            raise ConfigError(f"--fisheye: there is no camera {min(unknown)!r}; there are {', '.join(self._names)}")

    def run(self) -> int:
        """Do all of it."""
        arguments = self._arguments
        print(f"{self._board.words}; cameras {', '.join(self._names)}")
        sources.check_numbers(self._sources)
        try:
            if (words := sources.unlike_rates(self._sources)) is not None:
                self._verdicts.append(Verdict("warning", words))
            self._sightings, every = self._look(self._sources)
            self._need_board()
            known = self._lenses()
            scene = solve.relate(self._sightings, self._board, known)
            if len(scene.groups) > 1:
                self._verdicts += [Verdict("bad", words) for words in solve.lonely(scene)]
                self._fail_if_bad()
            # Pictures that are left out, one of so many, would leave nothing to move them by.
            movable = every == 1 or all(source.video for source in self._sources)
            steps = timing.offsets(scene, every) if movable else []
            with Progress("adjustment", solve.STEPS) as progress:
                rig = solve.solve(scene, arguments.moments, progress.step)
            numbers = findings.cameras(rig)
            findings.refuse_nonsense(scene.names, numbers, steps)
            frame = world.frame(rig, arguments.world)
        except CalibrationError as error:
            if not any(verdict.level == "bad" for verdict in self._verdicts):
                self._verdicts += [Verdict("bad", line) for line in str(error).splitlines()]
            for verdict in self._verdicts:
                if verdict.level == "warning":
                    print(f"warning: {verdict.text}", file=sys.stderr)
            self._reports({})
            raise
        cameras = world.calibration(rig, frame[0])
        pairs = findings.epipolar(rig)
        self._verdicts = findings.verdicts(rig, numbers, steps, self._verdicts)
        formats.write(cameras, arguments.out, self._kind)
        self._print(numbers)
        self._reports(
            {
                "cameras": numbers,
                "pairs": pairs,
                "in_step": steps,
                "moments": list(rig.moments),
                "world": frame[1],
                "removed": [
                    {
                        "camera": one.camera,
                        "moment": one.moment,
                        "corners": one.corners,
                        "error_px": round(one.error_px, 3),
                    }
                    for one in rig.removed
                ],
                "worst": [
                    {"camera": name, "moment": moment, "median_px": round(error, 3)}
                    for name, moment, error in findings.worst(rig, 10, 10)
                ],
            },
            rig=rig,
            numbers=numbers,
            pairs=pairs,
            cameras=cameras,
            world=frame,
        )
        print(
            f"{arguments.out}: written in {time.perf_counter() - self._start:.0f} s; look at {self._plots}/index.html"
        )
        return 0

    def _look(self, found: Sequence[Source]) -> tuple[list[Sightings], int]:
        """Search pictures for the board; gives what was seen, and that each so many-th picture was searched."""
        lengths = [source.length() for source in found]
        every: int = self._arguments.every or max(1, max(lengths) // _SEARCHED)
        if every < 1:
            raise ConfigError(f"--every: expected at least 1, but got {every}")
        # Where cameras have not the same pictures, each Nth of their own would be other moments.
        wanted = set(sorted({moment for source in found for moment in source.files})[::every])
        out = []
        with Progress("board", sum(-(-length // every) for length in lengths)) as progress:
            for source, length in zip(found, lengths, strict=True):
                some = replace(source, files={m: file for m, file in source.files.items() if m in wanted})
                sightings = detect.look(some, self._board, every if source.video else 1, progress.step)
                read = sightings.looked * every
                if source.video and read + every < _WHOLE * (len(source.moments) if source.moments else length):
                    self._verdicts.append(
                        Verdict(
                            "warning",
                            f"camera {source.camera!r}: about {read} of {length} frames of {source.video} could be "
                            "read: it is damaged, or was cut off; copy or record it again",
                        )
                    )
                out.append(sightings)
        return out, every

    def _shifts(self) -> dict[str, int]:
        shifts = {}
        for word in self._arguments.offset:
            name, _, number = word.partition("=")
            if name not in self._names or not number.removeprefix("-").isdigit():
                raise ConfigError(
                    f"--offset: expected CAMERA=N with one of {', '.join(self._names)}, such as {self._names[0]}=1, "
                    f"but got {word!r}"
                )
            shifts[name] = int(number)
        return shifts

    def _need_board(self) -> None:
        found = {camera.camera: (len(camera.views), camera.looked) for camera in self._sightings}
        self._verdicts += findings.of_board(self._names, found, self._board)
        blind = [k for k, camera in enumerate(self._sightings) if not camera.views]
        if len(blind) == len(self._names):
            some = [picture for _, picture in _evenly(self._sources[0], advice.MOST)]
            self._verdicts.append(Verdict("bad", advice.why_not_found(some, self._board)))
        else:
            # Any camera's will do; the first that saw it.
            seen = next(k for k, camera in enumerate(self._sightings) if camera.views)
            some = [picture for _, picture in _evenly(self._sources[seen], advice.MOST)]
            if (words := advice.too_small(some, self._board)) is not None:
                self._verdicts.append(Verdict("bad", words))
            if (words := advice.other_sides(some, self._board)) is not None:
                self._verdicts.append(Verdict("warning", words))
            for k in blind:
                some = [picture for _, picture in _evenly(self._sources[k], advice.MOST)]
                words = advice.why_not_found(some, self._board, others_see=True)
                self._verdicts.append(Verdict("bad", f"camera {self._names[k]!r}: {words}"))
        self._fail_if_bad()

    def _fail_if_bad(self) -> None:
        if any(verdict.level == "bad" for verdict in self._verdicts):
            raise CalibrationError("\n".join(one.text for one in self._verdicts if one.level == "bad"))

    def _lenses(self) -> list[Lens]:
        arguments = self._arguments
        fisheye = ["all" in arguments.fisheye or name in arguments.fisheye for name in self._names]
        given = {}
        if arguments.given is not None:
            known = formats.read(arguments.given, places=False)
            for camera, sightings in ((c, s) for c in known.cameras for s in self._sightings if s.camera == c.name):
                if camera.size != sightings.size:
                    raise CalibrationError(
                        f"camera {camera.name!r}: {arguments.given} holds for {camera.size[0]} x {camera.size[1]} px, "
                        f"but its pictures have {sightings.size[0]} x {sightings.size[1]}"
                    )
                given[camera.name] = formats.lens_of(camera)
            if not given:
                raise CalibrationError(
                    f"{arguments.given}: has lenses of {', '.join(known.names)}, but the pictures are of "
                    f"{', '.join(self._names)}: no name is the same. Rename the folders or videos, or the cameras in "
                    "the file, or leave out --given"
                )
            left = [name for name in self._names if name not in given]
            print(f"lenses of {arguments.given}: {', '.join(given)}", file=sys.stderr)
            if left:
                print(f"estimated: {', '.join(left)}", file=sys.stderr)
        more = None
        if arguments.lenses is not None:
            found = sources.find(arguments.lenses)
            alone = [source for source in found if source.camera in self._names]
            if not alone:
                raise CalibrationError(
                    f"--lenses: {arguments.lenses} has pictures of {', '.join(source.camera for source in found)}, but "
                    f"the others are of {', '.join(self._names)}: no name is the same"
                )
            more = {camera.camera: camera for camera in self._look(alone)[0] if camera.views}
        with Progress("lenses", len(self._names)) as progress:
            return solve.lenses_of(self._sightings, self._board, fisheye, given, more, progress.step)

    def _print(self, numbers: dict[str, dict[str, Any]]) -> None:
        print(f"{'camera':16} {'RMS px':>8} {'median':>8} {'views':>7} {'covered':>8}  focal length px")
        for name, row in numbers.items():
            known = "given" if row["lens"] == "given" else f"± {row['focal_spread_px']:.2f}"
            print(
                f"{name[:16]:16} {row['rms_px'] or float('nan'):8.3f} {row['median_px'] or float('nan'):8.3f} "
                f"{row['views_used']:7} {100 * row['coverage']:6.0f} %  {row['focal_px'][0]:.1f} {known}"
            )
        for verdict in self._verdicts:
            print(f"{verdict.level}: {verdict.text}", file=sys.stdout if verdict.level == "good" else sys.stderr)

    def _reports(self, result: dict[str, Any], **shown: Any) -> None:
        if self._sightings:
            page.write(self._plots, self._title, self._verdicts, self._sightings, self._sources, **shown)
        if self._arguments.report is not None:
            reports.write(
                {
                    "board": self._board.words,
                    "verdicts": [{"level": verdict.level, "text": verdict.text} for verdict in self._verdicts],
                    **result,
                    "seconds": round(time.perf_counter() - self._start, 1),
                    "versions": reports.versions(),
                    "machine": reports.machine(),
                },
                self._arguments.report,
            )


def _evenly(source: Source, count: int) -> list[tuple[int, Any]]:
    every = max(1, source.length() // count)
    return [item for item, _ in zip(source.frames(every), range(count), strict=False)]
