"""What a run amounted to: counters and latencies, in the keys that other people's scripts read."""

from __future__ import annotations

import json
import math
import os
import platform
import time
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from poseloop.live.errors import DataError
from poseloop.live.types import Trace

__all__ = ["Histogram", "Latencies", "as_text", "as_tolerance", "as_world", "machine", "versions", "write"]

_PER_OCTAVE = 64
_OCTAVES = 30
"""1 us … 1074 s."""


class Histogram:
    """Latencies in logarithmic buckets 1.1 % wide: constant memory however long a session lasts.

    Percentiles are the upper edge of their bucket, so they are never told too small by more than rounding; the maximum
    is exact.
    """

    def __init__(self) -> None:
        self._counts = [0] * (_PER_OCTAVE * _OCTAVES)
        self._max_ns = 0
        self.n = 0

    def add(self, latency_ns: int) -> None:
        """Count one latency; a negative one (clock mapping) counts as 0."""
        self.n += 1
        if latency_ns > self._max_ns:
            self._max_ns = latency_ns
        bucket = int(math.log2(latency_ns / 1000) * _PER_OCTAVE) if latency_ns > 1000 else 0
        self._counts[min(bucket, len(self._counts) - 1)] += 1

    def percentile_ms(self, share: float) -> float:
        """The latency that a ``share`` (0..1) of all does not exceed; NaN without any."""
        if self.n == 0:
            return math.nan
        wanted, seen = share * self.n, 0
        for bucket, count in enumerate(self._counts):
            seen += count
            if seen >= wanted and count:
                return min(2 ** ((bucket + 1) / _PER_OCTAVE) / 1000, self._max_ns / 1e6)
        return self._max_ns / 1e6

    def as_report(self) -> dict[str, float]:
        """n, p50, p90, p99, p999 and max, in ms."""
        shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}
        return {
            "n": self.n,
            **{name: round(self.percentile_ms(share), 4) for name, share in shares.items()},
            "max": round(self._max_ns / 1e6, 4),
        }


class Latencies:
    """One histogram for each stage: a stage is the difference of two of a trace's times."""

    ENGINE: Mapping[str, tuple[str, str]] = {
        "arrival": ("exposed_ns", "arrived_ns"),
        "set": ("arrived_ns", "complete_ns"),
        "queue": ("complete_ns", "infer_start_ns"),
        "inference": ("infer_start_ns", "infer_end_ns"),
        "decode": ("infer_end_ns", "decoded_ns"),
        "triangulate": ("decoded_ns", "triangulated_ns"),
        "pose": ("decoded_ns", "published_ns"),
        "frame_to_pose": ("arrived_ns", "published_ns"),
    }
    HOST: Mapping[str, tuple[str, str]] = {
        "socket": ("published_ns", "received_ns"),
        "decide": ("received_ns", "decided_ns"),
        "frame_to_decision": ("arrived_ns", "decided_ns"),
    }
    TRIGGER: Mapping[str, tuple[str, str]] = {
        "write": ("decided_ns", "written_ns"),
        "acknowledge": ("written_ns", "acknowledged_ns"),
        "pin": ("written_ns", "pin_ns"),
        "frame_to_pin": ("arrived_ns", "pin_ns"),
        "exposure_to_pin": ("exposed_ns", "pin_ns"),
        "camera_trigger_to_pin": ("triggered_ns", "pin_ns"),
    }

    def __init__(self, stages: Mapping[str, tuple[str, str]]) -> None:
        self._stages = [(Histogram(), start, end) for start, end in stages.values()]
        self._names = list(stages)

    def add(self, trace: Trace) -> None:
        """Count every stage that both ends of have happened."""
        for histogram, start, end in self._stages:
            began, ended = getattr(trace, start), getattr(trace, end)
            if began and ended:
                histogram.add(ended - began)

    def __getitem__(self, stage: str) -> Histogram:
        return self._stages[self._names.index(stage)][0]

    def as_report(self) -> dict[str, dict[str, float]]:
        """Stage → its histogram's report; stages that never happened are left out."""
        return {
            name: histogram.as_report()
            for name, (histogram, _, _) in zip(self._names, self._stages, strict=True)
            if histogram.n
        }


_PARTS = ("poseloop", "numpy", "numba", "opencv-python-headless", "av", "pyzmq", "msgpack", "pyserial", "pydantic")
_RUNTIMES = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino")


def versions(parts: Iterable[str] = (*_PARTS, *_RUNTIMES)) -> dict[str, str]:
    """Python's version and those of the installed packages that a result depends on."""
    found = {"python": platform.python_version()}
    for part in parts:
        try:
            found[part] = version(part)
        except PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, Any]:
    """The computer, as far as it matters for a latency."""
    return {
        "system": platform.system(),
        "release": platform.release(),
        "architecture": platform.machine(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "clock_resolution_ns": max(1, round(_clock_resolution_s() * 1e9)),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(errors="replace").splitlines():
            if line.lower().startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def _clock_resolution_s() -> float:
    return time.get_clock_info("perf_counter").resolution


def check_target(file: Path) -> None:
    """Make sure, before a session, that a file can be written after it.

    Raises:
        DataError: its folder is missing or cannot be written, or it is a folder itself.
    """
    if file.is_dir():
        raise DataError(f"{file}: expected the name of a file, but it is a folder")
    if not file.parent.is_dir():
        raise DataError(f"{file}: there is no folder {file.parent}")
    if not os.access(file.parent, os.W_OK):
        raise DataError(f"{file}: the folder {file.parent} cannot be written")


def write(report: Mapping[str, Any], file: Path) -> None:
    """Write a report as JSON, whole or not at all.

    Raises:
        DataError: the file cannot be written.
    """
    part = file.with_name(file.name + ".part")
    try:
        part.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        part.replace(file)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise DataError(f"{file}: the report cannot be written: {error.strerror}") from error


def as_text(report: Mapping[str, Any]) -> str:
    """A report for people: what it was, counters, then a table of latencies."""
    lines = [f"{report['rig']}: {report['seconds']:.1f} s; it ended because {report['ended']}", ""]
    frames = report["frames"]
    incomplete = f", {frames['incomplete']} incomplete" if frames["incomplete"] else ""
    lines.append(f"frame sets {_counts(frames)}{incomplete}")
    for name, counts in report["cameras"].items():
        odd = "".join(
            f", {counts[what]} {what}" for what in ("missing", "lost", "restarts", "realigned") if counts.get(what)
        )
        state = counts.get("state", "ok")
        lines.append(f"camera     {name}: {_counts(counts)}{odd}{'' if state == 'ok' else f'; at the end: {state}'}")
    if skew := report.get("skew_ms"):
        lines.append(f"skew       p50 {skew['p50']:.3f} ms, p99 {skew['p99']:.3f} ms, max {skew['max']:.3f} ms")
    if sync := report.get("sync"):
        lines.append(f"           sets by {sync['match']}: exposures within {as_tolerance(sync)}")
    if world := report.get("world"):
        lines += as_world(world)
    poses = report["poses"]
    if "decided" in poses:
        stale = f", {poses['stale']} stale" if poses["stale"] else ""
        lost = f", {poses['lost']} lost" if poses["lost"] else ""
        lines.append(
            f"poses      {poses['published']} published, {poses['decided']} decided on, "
            f"{poses['skipped']} passed over for newer ones{stale}{lost}"
        )
    if report["protocols"]:
        lines.append("triggers   " + ", ".join(f"{count} {what}" for what, count in report["triggers"].items()))
        lines.extend(f"           {count} x {reason}" for reason, count in report["refusals"].items())
    for name, counts in report["boards"].items():
        if "camera_triggers" in counts:
            lines.append(f"board      {name}: it triggered the cameras {counts['camera_triggers']} x")
        if counts["lapses"]:
            lines.append(f"board      {name}: its lease lapsed {counts['lapses']} x, all outputs off each time")
    for name, state in report["protocols"].items():
        if state != "ok":
            lines.append(f"protocol   {name} was disabled: {state}")
    if record := report.get("record"):
        lines += as_record(record)
    lines += [f"provider   {report['provider']}", ""]
    lines.append(f"latency, ms{'n':>14}{'p50':>10}{'p90':>10}{'p99':>10}{'p99.9':>10}{'max':>10}")
    for stage, row in report["latency_ms"].items():
        numbers = "".join(
            f"{row[key]:>10.3f}" if row["n"] >= least else f"{'–':>10}"
            for key, least in (("p50", 1), ("p90", 10), ("p99", 100), ("p999", 1000), ("max", 1))
        )
        lines.append(f"  {stage:<17}{row['n']:>6}{numbers}")
    return "\n".join(lines)


def as_record(record: Mapping[str, Any]) -> list[str]:
    """Lines about the session's folder: where it is, and what is in it."""
    lines = [f"session    {record['folder']} ({record['bytes'] / 1e6:.1f} MB)"]
    for name, counts in record["cameras"].items():
        missed = "".join(f", {count} not ({why})" for why, count in counts["missed"].items())
        lines.append(
            f"           {name}: {counts['recorded']} frames recorded, {sum(counts['missed'].values())} lost{missed}"
        )
    lines += [f"           {count} messages of {source} were lost" for source, count in record["messages_lost"].items()]
    if marked := record["marked"]:
        whys = ", ".join(f"{count} {why}" for why, count in marked.items())
        lines.append(f"           poses marked to be looked at: {whys}")
    if record["fault"]:
        lines.append(f"           it ended before the run: {record['fault']}")
    if check := record.get("check"):
        whole = "every picture has its time" if check["whole"] else "IT IS NOT WHOLE"
        lines.append(f"           checked: {whole}")
        lines += [f"           {finding['subject']}: {finding['text']}" for finding in check["found"]]
    return lines


def as_tolerance(sync: Mapping[str, Any]) -> str:
    """How far the exposures of one set may lie apart, and why."""
    return f"{sync['tolerance_ms']:.3g} ms ({sync['tolerance_from']})"


def as_world(world: Mapping[str, Any]) -> list[str]:
    """Lines about points in the world: how many views agreed on, and how far cameras were off."""
    found = "no point was seen by two cameras" if world["found"] is None else f"{world['found']:.1%} of points found"
    cameras = [
        f"{name} {'–' if residual is None else f'{residual:.2f}'}" for name, residual in world["residual_px"].items()
    ]
    lines = [f"world      {found}; median residual, px: {', '.join(cameras)}"]
    lines += [f"           {text}" for text in world["moved"].values()]
    return lines


def _counts(counts: Mapping[str, Any]) -> str:
    dropped = counts["dropped"]
    reasons = ", ".join(f"{count} {reason}" for reason, count in dropped.items())
    return f"{counts['captured']} captured = {counts['processed']} processed + {sum(dropped.values())} dropped" + (
        f" ({reasons})" if reasons else ""
    )
