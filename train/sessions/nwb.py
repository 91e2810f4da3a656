"""A session as NWB (Neurodata Without Borders), with ndx-pose: poses at their real times, videos linked, events.

All times are seconds since the session's start. Poses, as what the animal does, are in ``processing/behavior``; videos,
as what was measured, in ``acquisition`` (linked by their path from the NWB file, not copied); triggers, inputs and all
else that has a time are tables in ``events``.
"""

from __future__ import annotations

import functools
import os
import tomllib
import uuid
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from poseloop.live.errors import ConfigError, DataError
from poseloop.live.output.session import Session
from poseloop.live.types import Float32
from poseloop.train.sessions.tracks import individuals, scratch
from poseloop.train.trackfiles import whole

__all__ = ["to_nwb"]

_Float64 = npt.NDArray[np.float64]

_ABOUT = (
    "experimenter",
    "experiment_description",
    "institution",
    "lab",
    "protocol",
    "pharmacology",
    "surgery",
    "virus",
)
"""Fields of an NWB file that only the lab can tell."""
_SUBJECT = ("subject_id", "species", "sex", "age", "strain", "genotype", "weight", "description")
"""As NWB asks for them: species in Latin, sex M, F, O or U, age such as P90D."""
_TAKEN = ("timestamp", "duration", "annotation", "id", "name")
"""Columns that have a meaning of their own in NWB."""

_SCORE = "The network's score, 0 to 1"
_WORLD = "World coordinates of the calibration (mm)"
_PIXELS = "(0, 0) is the centre of the top left pixel; x points right, y down"


def to_nwb(session: Session, file: Path, about: Path | None = None) -> list[Path]:
    """Write one NWB file.

    Args:
        session: opened; its folder has to stay where it is, seen from the file, for the videos to be found.
        file: ends in ``.nwb``.
        about: what a rig does not know, as a TOML file: `_ABOUT`, and a table ``subject`` with `_SUBJECT`.

    Raises:
        DataError: pynwb or ndx-pose is missing, the session is damaged, or the file cannot be written.
        ConfigError: ``about`` has other keys or values.
    """
    if file.suffix.lower() != ".nwb":
        raise DataError(f"{file}: expected a name that ends in .nwb")
    try:
        import ndx_pose  # noqa: F401  (asked for here, so that nothing is begun without it)
        import pynwb
    except ImportError as error:
        raise DataError("NWB needs pynwb and ndx-pose: pip install 'poseloop[sessions]'") from error
    words = {} if about is None else _read_about(about)
    with scratch() as floats, whole(file) as part, warnings.catch_warnings():
        # It gets its own name when it is whole.
        warnings.filterwarnings("ignore", "The file path provided", UserWarning)
        with pynwb.NWBHDF5IO(str(part), "w") as target:
            target.write(_Writer(session, file, floats, words).content())
    return [file]


class _Writer:
    """Puts one file together."""

    def __init__(
        self, session: Session, file: Path, floats: Callable[[tuple[int, ...]], Float32], about: Mapping[str, Any]
    ) -> None:
        self._session = session
        self._file = file
        self._floats = floats
        self._about = about

    def content(self) -> Any:
        import ndx_pose
        from pynwb import NWBFile
        from pynwb.file import Subject

        session = self._session
        model = ", ".join(part.name for part in session.models.values())
        nwb = NWBFile(
            session_description=f"Closed-loop session of the rig {session.rig}: poses by {model}, stimuli by "
            f"{', '.join(session.protocols) or 'no protocol'}",
            identifier=str(uuid.uuid5(uuid.NAMESPACE_URL, f"{session.rig}/{session.started.isoformat()}")),
            session_start_time=session.started,
            session_id=session.folder.resolve().name,
            keywords=["pose estimation", "closed loop"],
            source_script="poseloop export",
            source_script_file_name="poseloop",
            **{key: value for key, value in self._about.items() if key != "subject"},
        )
        # A rig knows no more of an animal; NWB's "U" is "unknown".
        known = {"subject_id": session.subject or "unknown", "sex": "U"}
        nwb.subject = Subject(**{**known, **self._about.get("subject", {})})
        behavior = nwb.create_processing_module("behavior", "What the animal did, as the network saw it")
        nodes = list(session.keypoints)
        edges = [[nodes.index(a), nodes.index(b)] for a, b in session.skeleton]
        skeleton = ndx_pose.Skeleton(
            name="skeleton", nodes=nodes, edges=np.array(edges, np.uint8).reshape(-1, 2), subject=nwb.subject
        )
        behavior.add(ndx_pose.Skeletons(skeletons=[skeleton]))
        videos = {camera: self._video(nwb, camera) for camera in session.footage}
        for estimation in self._poses(nwb, skeleton, videos):
            behavior.add(estimation)
        for table in (self._triggers(), self._inputs(), *self._events()):
            if table is not None:
                nwb.add_events_table(table)
        return nwb

    def _video(self, nwb: Any, camera: str) -> Any:
        from pynwb.image import ImageSeries

        session, footage = self._session, self._session.footage[camera]
        device = nwb.create_device(name=f"camera_{camera}", description=f"{footage.width} x {footage.height} px")
        frames = session.frames(camera)
        series = ImageSeries(
            name=f"video_{camera}",
            description=f"Camera {camera}; picture i was taken at timestamp i, the middle of its exposure",
            external_file=[_relative(footage.file, self._file)],
            format="external",
            starting_frame=[0],
            dimension=[footage.width, footage.height],
            timestamps=_compressed(self._seconds(frames.exposed_ns)),
            unit="n.a.",
            device=device,
        )
        nwb.add_acquisition(series)
        return series

    def _poses(self, nwb: Any, skeleton: Any, videos: dict[str, Any]) -> Iterable[Any]:
        import ndx_pose

        session = self._session
        times, xy, score, xyz, world_score = self._arrays()
        names = individuals(session) or ("",)
        model = next(iter(session.models.values())).name if session.models else "unknown"
        common = {
            "scorer": model,
            "source_software": "Poseloop",
            "source_software_version": session.versions.get("poseloop", "unknown"),
            "skeleton": skeleton,
        }
        timeline: list[Any] = []

        def series(points: Any, scores: Any, unit: str, frame: str) -> list[Any]:
            made = []
            for k, keypoint in enumerate(session.keypoints):
                # The times are stored once; all others point there.
                when = timeline[0] if timeline else _compressed(times)
                made.append(
                    ndx_pose.PoseEstimationSeries(
                        name=keypoint,
                        description=f"Keypoint {keypoint}; NaN where it was not seen",
                        data=_compressed(points[:, k]),
                        unit=unit,
                        reference_frame=frame,
                        timestamps=when,
                        confidence=_compressed(scores[:, k]),
                        confidence_definition=_SCORE,
                    )
                )
                timeline.append(made[0])
            return made

        for i, animal in enumerate(names):
            views = []
            for c, camera in enumerate(session.cameras):
                footage = session.footage.get(camera)
                views.append(
                    ndx_pose.PoseEstimation(
                        name="_".join(part for part in ("pose", camera, animal) if part),
                        description=f"Keypoints in the pictures of camera {camera}",
                        pose_estimation_series=series(xy[:, c, i], score[:, c, i], "pixels", _PIXELS),
                        source_video=videos.get(camera),
                        device=videos[camera].device if camera in videos else None,
                        dimensions=np.array([[footage.width, footage.height]], np.uint32) if footage else None,
                        **common,
                    )
                )
            if xyz is None:
                yield from views
                continue
            yield ndx_pose.MultiCameraPoseEstimation(
                name="_".join(part for part in ("pose", animal) if part),
                description="Keypoints in the world, and in the pictures that they were triangulated from",
                pose_estimation_series=series(xyz[:, i], world_score[:, i], "millimeters", _WORLD),
                pose_estimations=views,
                **common,
            )

    def _arrays(self) -> tuple[_Float64, Float32, Float32, Float32 | None, Float32]:
        """Times (N,), xy (N, C, I, K, 2), scores (N, C, I, K), xyz (N, I, K, 3) or None, scores (N, I, K)."""
        session = self._session
        rows = session.count("pose")
        if not rows:
            raise DataError(f"{session.folder}: expected poses, but the session has none")
        points = (session.individuals, len(session.keypoints))
        views = (len(session.cameras), *points)
        times = np.zeros(rows, np.int64)
        xy, score = self._floats((rows, *views, 2)), self._floats((rows, *views))
        world_score = self._floats((rows, *points))
        xyz = self._floats((rows, *points, 3)) if session.calibration else None
        start = 0
        for block in session.pose_columns():
            piece = slice(start, start + len(block))
            times[piece] = block.time("exposed_ns")
            xy[piece], score[piece], world_score[piece] = block.xy, block.camera_score, block.score
            if xyz is not None and block.xyz is not None:
                xyz[piece] = block.xyz
            start = piece.stop
        return self._seconds(times), xy, score, xyz, world_score

    def _triggers(self) -> Any:
        rows = list(self._session.triggers())

        def when(trigger: Any) -> int:
            # The pin's own time where the board tells it; else the best that is known.
            trace = trigger.trace
            return int(trace.pin_ns or trace.written_ns or trace.decided_ns)

        return self._table(
            "triggers",
            "Stimulus commands; timestamp: the pin where its board told it, else when the command left",
            rows,
            {
                "timestamp": ("s", lambda row: when(row)),
                "output": ("Board and line", lambda row: f"{row.command.device}.{row.command.line}"),
                "command": ("pulse, train or level", lambda row: row.command.kind.value),
                "on_s": ("Length of one pulse, s; 0 = until switched off", lambda row: row.command.on_us / 1e6),
                "period_s": ("Start to start in a train, s", lambda row: row.command.period_us / 1e6),
                "pulses": ("Pulses in a train", lambda row: row.command.count),
                "outcome": ("acknowledged, refused or lost", lambda row: row.outcome.value),
                "reason": ("Why it was refused or lost", lambda row: row.reason),
                "frame_index": ("Trigger count of the frame that caused it", lambda row: row.index),
                "latency_s": (
                    "From the middle of that frame's exposure to the timestamp, s",
                    lambda row: (when(row) - row.trace.exposed_ns) / 1e9,
                ),
                "pin_told": ("True = the timestamp is the pin's own", lambda row: bool(row.trace.pin_ns)),
            },
        )

    def _inputs(self) -> Any:
        return self._table(
            "inputs",
            "Input lines of the boards that changed: licks, pokes, TTLs",
            [event for decision in self._session.decisions(eventful=True) for event in decision.inputs],
            {
                "timestamp": ("s", lambda row: row.at_ns),
                "input": ("Board and line", lambda row: f"{row.board}.{row.line}"),
                "active": ("True = it went to its active level", lambda row: row.value),
            },
        )

    def _events(self) -> Iterable[Any]:
        """A table for each kind of event; its columns are the events' values."""
        kinds: dict[str, list[tuple[int, str, dict[str, Any]]]] = {}
        for event in self._session.events():
            # Inputs have a table of their own; health is a counter's value every second.
            if event.kind not in ("input", "health"):
                kinds.setdefault(event.kind, []).append((event.at_ns, event.source, _flat(event.values)))
        for kind, rows in kinds.items():
            columns: dict[str, tuple[str, Callable[[Any], Any]]] = {
                "timestamp": ("s", lambda row: row[0]),
                "source": ("Process that told it", lambda row: row[1]),
            }
            for key in dict.fromkeys(key for _, _, values in rows for key in values):
                found = [values[key] for _, _, values in rows if key in values]
                numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in found)
                name = f"{key}_told" if key in _TAKEN else key
                columns[name] = (f"{key} of the event", functools.partial(_value, key=key, number=numbers))
            yield self._table(f"events_{kind}", f"What the session's log calls {kind}", rows, columns)

    def _table(
        self, name: str, description: str, rows: Sequence[Any], columns: dict[str, tuple[str, Callable[[Any], Any]]]
    ) -> Any:
        """An events table in order of its timestamps; None without rows."""
        from hdmf.common import VectorData
        from pynwb.event import EventsTable, TimestampVectorData

        if not rows:
            return None
        stamp = columns.pop("timestamp")[1]
        rows = sorted(rows, key=stamp)
        times = self._seconds(np.array([stamp(row) for row in rows], np.int64))
        made = [TimestampVectorData(name="timestamp", description="Seconds since the session's start", data=times)]
        for column, (text, value) in columns.items():
            made.append(VectorData(name=column, description=text, data=[value(row) for row in rows]))
        return EventsTable(name=name, description=description, columns=made)

    def _seconds(self, at_ns: npt.NDArray[np.int64]) -> _Float64:
        return np.asarray((at_ns - self._session.started_ns) / 1e9, np.float64)


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values as one level: ``{"values": {"x": 1}}`` → ``{"values_x": 1}``; null is left out."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}_")
        elif isinstance(value, list):
            flat[f"{prefix}{key}"] = ", ".join(map(str, value))
        elif value is not None:
            flat[f"{prefix}{key}"] = value
    return flat


def _value(row: tuple[int, str, Mapping[str, Any]], key: str, number: bool) -> str | float:
    value = row[2].get(key)
    if number:
        return np.nan if value is None else float(value)
    return "" if value is None else str(value)


def _read_about(file: Path) -> dict[str, Any]:
    try:
        words = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file}: expected a TOML file about the experiment, but: {error}") from error
    subject = words.get("subject", {})
    if not isinstance(subject, dict):
        raise ConfigError(f"{file}: subject: expected a table, but found {subject!r}")
    for where, table, known in (("", words, (*_ABOUT, "subject")), ("subject.", subject, _SUBJECT)):
        for key, value in table.items():
            if key not in known:
                raise ConfigError(f"{file}: {where}{key}: unknown key; known here: {', '.join(known)}")
            if key == "experimenter" and isinstance(value, list):
                continue
            if key != "subject" and not isinstance(value, str):
                raise ConfigError(f"{file}: {where}{key}: expected a text, but found {value!r}")
    return words


def _compressed(values: Any) -> Any:
    from pynwb import H5DataIO

    return H5DataIO(values, compression="gzip", compression_opts=1, shuffle=True)


def _relative(video: Path, file: Path) -> str:
    try:
        return Path(os.path.relpath(video, file.parent)).as_posix()
    except ValueError:
        # Another drive of Windows'.
        return video.absolute().as_posix()
