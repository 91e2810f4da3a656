"""``poseloop replay VIDEO``: what protocols would have commanded on a recording, as a table that can be compared.

Nothing is switched, nothing waits. The same recording, model and settings give the same bytes, as long as the same
computer runs the network on its CPU with one thread.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from poseloop.live import config
from poseloop.live.config import Rig, build_rig, read_text
from poseloop.live.errors import ConfigError, DataError
from poseloop.live.output import report as reports
from poseloop.live.types import Colour, CommandKind, InputEvent
from poseloop.live.vision import Network
from poseloop.protocols.commands.compare import Score, differences, read_truth, score
from poseloop.protocols.commands.offline import START_NS, Decision, VideoSource, rehearse
from poseloop.protocols.tables import number_in, read_table

__all__ = ["HELP", "add_arguments", "run"]

HELP = "see what a protocol would have commanded on a recording"

COLUMNS = ("frame", "time_s", "protocol", "output", "command", "on_ms", "period_ms", "count", "delay_ms", "outcome")
_SHOWN = 20
"""Differences that are printed; all of them are counted."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("recording", type=Path, nargs="+", help="a video, or a folder of pictures, for each camera")
    parser.add_argument("--rig", type=Path, help="the rig file whose model, gates and protocols to use")
    parser.add_argument("--model", help="a name in the zoo or an .onnx file; default: the rig's")
    parser.add_argument(
        "--protocol", help="with --rig: only the protocol of this name; else which, such as region or file.py:Class"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="without --rig: an option of the protocol"
    )
    parser.add_argument("--fps", type=float, help="frames a second; needed for pictures, overrides a video's own times")
    parser.add_argument(
        "--inputs", type=Path, metavar="FILE.csv", help="licks and pokes: time_s, input, value (0 or 1)"
    )
    parser.add_argument("--frames", type=int, help="only so many, from the beginning; default: all")
    parser.add_argument("--latency-ms", type=float, default=0.0, help="from exposure to decision; default: 0")
    parser.add_argument("--out", type=Path, metavar="FILE.csv", help="the table; default: RECORDING.commands.csv, here")
    parser.add_argument("--notes", type=Path, metavar="FILE.jsonl", help="write what the protocols noted here")
    parser.add_argument("--against", type=Path, metavar="FILE.csv", help="show what differs from this earlier table")
    parser.add_argument("--truth", type=Path, metavar="FILE.csv", help="labelled times, as time_s or frame")
    parser.add_argument("--tolerance-ms", type=float, default=50.0, help="how far from a label is on time; default: 50")
    parser.add_argument("--late-ms", type=float, default=1000.0, help="how long after it is late, not missed")
    parser.add_argument("--report", type=Path, metavar="FILE.json", help="write the counts here, too")


def run(arguments: argparse.Namespace) -> int:
    """Replay, write the table, compare; 1 if a protocol failed or the earlier table differs."""
    out = arguments.out or Path(f"{arguments.recording[0].stem}.commands.csv")
    for target in (out, arguments.notes, arguments.report):
        if target is not None:
            reports.check_target(target)
    # Read first: the earlier table may be the very file that is about to be written.
    before = None if arguments.against is None else read_table(arguments.against, *COLUMNS)
    rig = _rig(arguments)
    inputs = [] if arguments.inputs is None else _inputs(arguments.inputs)
    source = VideoSource(rig, round(arguments.latency_ms * 1e6), arguments.frames)
    decisions, times_ns, failures = rehearse(rig, source, inputs, _progress)
    if not times_ns:
        raise DataError(f"{arguments.recording[0]}: expected a recording, but it has no frames")
    rows = [_row(decision) for decision in decisions if decision.command is not None]
    _write(out, _as_csv(rows))
    if arguments.notes is not None:
        notes = (decision for decision in decisions if decision.command is None)
        _write(arguments.notes, "".join(json.dumps(_note(note)) + "\n" for note in notes))
    sent = [row for row in rows if row["outcome"] == "sent" and row["command"] != CommandKind.OFF]
    held = [row for row in rows if row["outcome"] != "sent"]
    print(
        f"{len(times_ns)} frames, {times_ns[-1] / 1e9:.2f} s: {len(sent)} on-commands, {len(held)} held back by gates"
    )
    print(f"table      {out}")
    report: dict[str, Any] = {"frames": len(times_ns), "sent": len(sent), "held": len(held), "failures": failures}
    for name, why in failures.items():
        print(f"protocol   {name} failed: {why}")
    if arguments.truth is not None:
        report["truth"] = _judge(arguments, sent, times_ns)
    found = [] if before is None else differences(before, rows)
    if before is not None:
        report["differences"] = len(found)
        print(f"\n{len(found) or 'no'} differences from {arguments.against}")
        for sign, row in found[:_SHOWN]:
            print(f"  {sign} " + ",".join(row[column] for column in COLUMNS))
    if arguments.report is not None:
        reports.write({**report, "versions": reports.versions()}, arguments.report)
    return 1 if failures or found else 0


def _rig(arguments: argparse.Namespace) -> Rig:
    """The rig of the arguments, with recordings for cameras."""
    raw, file = _tables(arguments)
    if arguments.model is not None:
        # Paths in a rig file start at its folder, those of a command where it was given.
        is_file = Path(arguments.model).suffix == ".onnx"
        model = str(Path(arguments.model).absolute()) if is_file else arguments.model
        raw["model"] = {**raw.get("model", {}), "file": model}
    if "file" not in raw.get("model", {}):
        raise ConfigError("expected --model, or a --rig that names one")
    # Only to know what the network wants; the path is the rig file's.
    model_table = config.validate(config.ModelTable, raw["model"], file.parent)
    grey = Network.describe(model_table.file).colour is Colour.GREY
    names = list(raw.get("cameras", {})) or ["camera"]
    if len(names) != len(arguments.recording):
        raise ConfigError(
            f"expected a recording for each camera of the rig ({', '.join(names)}), but got {len(arguments.recording)}"
        )
    raw["cameras"] = {
        name: {
            "use": "replay",
            "path": str(path.absolute()),
            "pace": "none",
            "colour": "grey" if grey else "rgb",
            **({} if arguments.fps is None else {"fps": arguments.fps}),
        }
        for name, path in zip(names, arguments.recording, strict=True)
    }
    free = "tcp://127.0.0.1:*"
    raw["publish"] = {"poses": free, "health": free, "previews": free}
    return build_rig(raw, file, ("cameras", "protocols"))


def _tables(arguments: argparse.Namespace) -> tuple[dict[str, Any], Path]:
    if arguments.rig is not None:
        if arguments.set:
            raise ConfigError("--set is for a replay without --rig: change the rig file")
        text = read_text(arguments.rig)
        # Its faults are told in its own words before anything is exchanged.
        config.parse_rig(text, arguments.rig, ("protocols",))
        raw = tomllib.loads(text)
        known = raw.get("protocols", {})
        if arguments.protocol is not None:
            if arguments.protocol not in known:
                raise ConfigError(
                    f"expected --protocol to be one of {', '.join(known)}, but got {arguments.protocol!r}"
                )
            raw["protocols"] = {arguments.protocol: known[arguments.protocol]}
        return raw, arguments.rig
    if arguments.protocol is None:
        raise ConfigError("expected --rig FILE, or --model and --protocol")
    table = {"use": arguments.protocol, **_options(arguments.set)}
    raw = {"cameras": {"camera": {"use": "replay"}}, "protocols": {"protocol": table}}
    file = Path("replay.toml").absolute()
    raw["boards"] = _boards(raw, file)
    return raw, file


def _options(settings: Sequence[str]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        try:
            options |= tomllib.loads(f"{key} = {value}")
        except tomllib.TOMLDecodeError:
            # A word without quotes: they are lost in every shell.
            options[key.strip()] = value.strip()
        if not equals:
            raise ConfigError(f"expected --set KEY=VALUE, such as --set pulse_ms=20, but got {setting!r}")
    return options


def _boards(raw: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """Boards on which the protocol's lines do all that it can ask for."""
    rig = build_rig({**raw, "model": {"file": "blob"}}, file, ("protocols",))
    boards: dict[str, Any] = {}
    for name, table in rig.protocols.items():
        for pin, output in enumerate(table.build(name).outputs, 2):
            board, _, line = output.partition(".")
            lines = boards.setdefault(board, {"use": "paper", "lines": {}})["lines"]
            lines[line] = {"pin": pin, "kinds": ["pulse", "train", "level"], "max_on_ms": 3_600_000}
    return boards


def _inputs(file: Path) -> Sequence[InputEvent]:
    events = []
    for line, row in enumerate(read_table(file, "time_s", "input", "value"), 2):
        board, dot, name = row["input"].partition(".")
        if not dot or row["value"] not in ("0", "1"):
            raise DataError(f"{file}, line {line}: expected board.line as input, and 0 or 1 as value")
        at_ns = START_NS + round(number_in(file, line, row, "time_s") * 1e9)
        events.append(InputEvent(board, name, row["value"] == "1", at_ns))
    return sorted(events, key=lambda event: event.at_ns)


def _row(decision: Decision) -> dict[str, str]:
    command = decision.command
    assert command is not None
    return {
        "frame": str(decision.index),
        "time_s": _seconds(decision.at_ns),
        "protocol": decision.protocol,
        "output": f"{command.device}.{command.line}",
        "command": command.kind.value,
        "on_ms": _milliseconds(command.on_us),
        "period_ms": _milliseconds(command.period_us),
        "count": str(command.count),
        "delay_ms": _milliseconds(command.delay_us),
        "outcome": decision.outcome,
    }


def _note(decision: Decision) -> dict[str, Any]:
    return {
        "frame": decision.index,
        "time_s": decision.at_ns / 1e9,
        "protocol": decision.protocol,
        "note": decision.outcome,
        **decision.values,
    }


def _seconds(at_ns: int) -> str:
    # Whole numbers all the way: a float's last digit is no part of a time.
    return f"{at_ns // 1_000_000_000}.{at_ns % 1_000_000_000:09d}"


def _milliseconds(us: int) -> str:
    return f"{us // 1000}.{us % 1000:03d}"


def _as_csv(rows: Sequence[Mapping[str, str]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _write(file: Path, text: str) -> None:
    try:
        file.write_bytes(text.encode())
    except OSError as error:
        raise DataError(f"{file}: cannot be written: {error.strerror}") from error


def _judge(
    arguments: argparse.Namespace, sent: Sequence[Mapping[str, str]], times_ns: Sequence[int]
) -> dict[str, dict[str, Any]]:
    """Print one line for each protocol, beside the labels; returns the counts."""
    truth = read_truth(arguments.truth, [at / 1e9 for at in times_ns])
    names = list(dict.fromkeys(row["protocol"] for row in sent)) or ["none"]
    print(f"\n{len(truth)} labelled times{'on time':>14}{'late':>8}{'missed':>8}{'extra':>8}{'median delay, ms':>18}")
    counts = {}
    for name in names:
        # A delay that the board times is part of when the trigger comes.
        triggers = [float(row["time_s"]) + float(row["delay_ms"]) / 1e3 for row in sent if row["protocol"] == name]
        result = score(triggers, truth, arguments.tolerance_ms / 1e3, arguments.late_ms / 1e3)
        counts[name] = _counts(result)
        delay = counts[name]["median_delay_ms"]
        cells = "".join(f"{counts[name][key]:>8}" for key in ("late", "missed", "extra"))
        print(f"  {name:<16}{counts[name]['on_time']:>13}{cells}{'–' if delay is None else f'{delay:.1f}':>18}")
        for what, times in (("missed", result.missed), ("extra", result.extra), ("late", [t for _, t in result.late])):
            if times:
                print(f"    {what}: " + ", ".join(f"{at:.3f} s" for at in times[:_SHOWN]))
    return counts


def _counts(result: Score) -> dict[str, Any]:
    delays = sorted(at - label for label, at in (*result.on_time, *result.late))
    return {
        "on_time": len(result.on_time),
        "late": len(result.late),
        "missed": len(result.missed),
        "extra": len(result.extra),
        "median_delay_ms": round(delays[len(delays) // 2] * 1e3, 3) if delays else None,
    }


def _progress(frames: int) -> None:
    if frames % 50 == 0 and sys.stderr.isatty():
        sys.stderr.write(f"\r{frames} frames")
