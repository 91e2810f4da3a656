"""The tables of a rig file, but for its boards': what can be said, and what it means."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, model_validator

from poseloop.live.config.settings import PluginTable, RigPath, Settings, resolve

__all__ = [
    "CameraModelTable",
    "CameraTable",
    "Crop",
    "FilterTable",
    "Gates",
    "Geometry",
    "ModelTable",
    "ProtocolTable",
    "Publish",
    "Realtime",
    "Record",
    "Sync",
]


def _resolve_model(name: str, info: ValidationInfo) -> str:
    is_path = name.endswith(".onnx") or "/" in name or "\\" in name
    return str(resolve(Path(name), info)) if is_path else name


_ModelFile = Annotated[str, AfterValidator(_resolve_model)]

_Loopback = Annotated[str, Field(pattern=r"^tcp://(127\.0\.0\.1|localhost|\[::1\]):(\d+|\*)$")]
"""Sockets stay on this machine; ``*`` lets the system choose a free port."""

_PLAIN = r"^[A-Za-z0-9_-]*$"


def _file_name(word: Any) -> Any:
    if isinstance(word, str) and not re.match(_PLAIN, word):
        raise ValueError(
            f"expected letters without accents, digits, _ and -, since a folder is named by it; found {word!r}"
        )
    return word


_Pixels = Annotated[int, Field(ge=1)]
_Place = Annotated[int, Field(ge=0)]
_Size = tuple[_Pixels, _Pixels]
_Part = tuple[_Place, _Place, _Pixels, _Pixels]


class CameraTable(PluginTable):
    """``[cameras.NAME]``: one camera, and its driver's settings."""


class Sync(Settings):
    """``[sync]``: how frames become sets."""

    trigger: Literal["free", "hardware", "software"] = "free"
    """What starts an exposure."""
    frames: Literal["newest", "every"] = "newest"
    """``newest``: the loop takes the newest set and counts the ones it skips. ``every``: cameras wait for the loop, so
    none is skipped; only recordings and simulated cameras can wait, and others are refused."""
    wait_ms: float = Field(20.0, gt=0)
    """How long a set waits for a missing camera before it goes on with a gap."""
    match: Literal["auto", "count", "time"] = "auto"
    """How frames find their set. ``count``: by trigger count, checked with the exposure times. ``time``: by exposure
    times alone. ``auto``: by time where cameras run freely (trigger = "free") and frames may be skipped, else by
    count."""
    tolerance_ms: float | None = Field(None, gt=0)
    """How far the exposures of one set may lie apart; not given: half of the shortest time between two frames, which is
    that of the pulses where a board of the rig makes them, what the fastest camera can follow where others do, and the
    fastest camera's period without a trigger; 5 ms where no camera tells. Has to be less than the time between two
    frames. Every run tells it at its start."""
    lost_camera: Literal["reopen", "stop"] = "reopen"
    """When a camera is unplugged while others go on: ``reopen`` goes on with gaps and opens it again as soon as it is
    back, ``stop`` ends the run. Without any camera left the run ends."""

    @property
    def by_time(self) -> bool:
        """Are sets made by time alone?"""
        if self.match == "auto":
            return self.trigger == "free" and self.frames == "newest"
        return self.match == "time"

    @model_validator(mode="after")
    def _agree(self) -> Sync:
        if self.match == "time" and self.frames == "every":
            raise ValueError('frames = "every" needs match = "count": cameras that wait for the loop have no times')
        return self


class Crop(Settings):
    """``[model.crop]``: show the network a small part of the picture, which follows the animal."""

    size: _Size
    """Width and height of what the network is shown, px."""
    search: _Size | None = None
    """Width and height to which the whole picture is resized while the animal is searched for, px; the model's ``size``
    if it is not given."""
    seen: float = Field(0.5, gt=0, le=1)
    """Share of the keypoints that must be over the gate for the animal to count as seen."""
    lost_after: int = Field(1, ge=1)
    """Pictures in a row without the animal, missing ones included, after which it is searched for."""


class ModelTable(Settings):
    """``[model]``: the network, for every camera that no ``[models.NAME]`` lists."""

    file: _ModelFile
    """A name in the zoo (``blob``) or the path of an .onnx file."""
    provider: Literal["cpu", "cuda", "tensorrt", "openvino"] = "cpu"
    """What runs it; if it is not available the rig does not start."""
    threads: int = Field(1, ge=1)
    """Threads inside one run; 1 is the steady choice on a CPU."""
    runtime: str = "onnx"
    """What reads the model's file; ``onnx`` is the only one that is shipped."""
    gate: float | None = Field(None, ge=0, le=1)
    """Points with a lower score count as not seen (NaN); the model's own gate if it is not given, 0 = none."""
    individuals: int = Field(1, ge=1, le=64)
    """How many animals to look for; the same for all models of a rig."""
    roi: dict[str, _Part] = Field(default_factory=dict)
    """Camera = [x, y, width, height]: the part of its pictures that is looked at, px; all of it if it is not given."""
    size: _Size | None = None
    """Width and height that pictures (or their roi) are resized to, px; not resized if it is not given."""
    crop: Crop | None = None
    """Follow the animal with a small crop; the whole picture is looked at if it is not given."""

    @model_validator(mode="after")
    def _one_to_follow(self) -> ModelTable:
        if self.crop is not None and self.individuals > 1:
            raise ValueError("crop follows one animal: leave it out, or set individuals = 1")
        return self


class CameraModelTable(ModelTable):
    """``[models.NAME]``: another network, for the cameras that it lists."""

    cameras: tuple[str, ...] = Field(min_length=1)
    """Names of cameras."""


class Publish(Settings):
    """``[publish]``: where poses, health and previews can be subscribed to."""

    poses: _Loopback = "tcp://127.0.0.1:5570"
    """Address of the socket for poses, on this computer; ``*`` as its port lets the system choose one."""
    health: _Loopback = "tcp://127.0.0.1:5571"
    """Counters and latencies, a few times a second."""
    previews: _Loopback = "tcp://127.0.0.1:5572"
    """Small pictures to look at."""
    preview_fps: float = Field(0.0, ge=0, le=200)
    """Pictures a second of each camera on the preview socket; 0 = none."""
    preview_width: int = Field(640, ge=16)
    """Widest preview, px; smaller pictures are sent as they are."""

    @model_validator(mode="after")
    def _apart(self) -> Publish:
        if 0 < self.preview_fps < 0.1:
            raise ValueError("preview_fps must be 0 (no previews) or at least 0.1")
        endpoints = [self.poses, self.health, self.previews]
        twice = [end for end in endpoints if endpoints.count(end) > 1 and not end.endswith("*")]
        if twice:
            raise ValueError(f"every socket needs an address of its own, but {twice[0]} is given twice")
        return self


_ONE_EURO = {"min_cutoff_hz", "beta", "derivative_cutoff_hz"}
_KALMAN = {"measurement_noise", "process_noise", "adapt_ms", "outlier_sigma", "caution_sigma"}
_FILTER_KEYS = {"none": set[str](), "one-euro": _ONE_EURO, "kalman-cv": _KALMAN, "kalman-ca": _KALMAN}


class FilterTable(Settings):
    """``[filter]``: what a pose's ``predicted`` holds. Units are the points': px on a 2D rig, mm on a 3D one.

    The defaults were chosen on tracks in px (docs/decisions/motion.md).
    """

    use: Literal["none", "one-euro", "kalman-cv", "kalman-ca"] = "none"
    """Kalman filters of constant velocity (``cv``) or acceleration (``ca``), or the One-Euro filter."""
    predict: bool = True
    """``predicted`` is for the time at which the board will act; false: filtered, for the middle of the exposure."""
    horizon_ms: float | None = Field(None, ge=0, le=1000)
    """A fixed time from mid-exposure to predict for, instead of the latency that is measured."""
    gap_ms: float = Field(100.0, gt=0, le=10_000)
    """A point that was not seen for longer starts anew; nothing is predicted further than this either."""
    fade_ms: float = Field(30.0, ge=0)
    """A predicted velocity fades out with this time constant: no movement lasts; 0 = it goes on for ever."""
    measurement_noise: float = Field(0.7, gt=0)
    """Kalman: by how much a point scatters that does not move (standard deviation), px or mm."""
    process_noise: float | None = Field(None, gt=0)
    """Kalman: root density of the white noise that moves a point: of its acceleration, in px/s^1.5 (``cv``: by how many
    px/s its velocity drifts within a second), or of its jerk, in px/s^2.5 (``ca``). None = the default of the kind."""
    adapt_ms: float = Field(200.0, ge=0)
    """Kalman: time constant with which each point's process noise follows its own movement; 0 = it stays."""
    outlier_sigma: float = Field(6.0, gt=0)
    """Kalman: a point further than so many standard deviations from where it was expected is not believed."""
    caution_sigma: float = Field(1.0, ge=0)
    """Kalman: a movement that stands out of its own noise by less is predicted only in part; 0 = always in full."""
    min_cutoff_hz: float = Field(5.0, gt=0)
    """One-Euro: cut-off for a point at rest; lower = smoother."""
    beta: float = Field(1.0, ge=0)
    """One-Euro: by how many Hz the cut-off rises for each px/s (mm/s) of speed; higher = less lag."""
    derivative_cutoff_hz: float = Field(10.0, gt=0)
    """One-Euro: cut-off for the speed."""

    @model_validator(mode="after")
    def _own_keys(self) -> FilterTable:
        foreign = (_ONE_EURO | _KALMAN) - _FILTER_KEYS[self.use]
        if given := foreign & self.model_fields_set:
            raise ValueError(f"{', '.join(sorted(given))} cannot be set with use = {self.use!r}")
        if self.horizon_ms is not None and not self.predict:
            raise ValueError("horizon_ms cannot be set with predict = false")
        if self.horizon_ms is not None and self.horizon_ms > self.gap_ms:
            raise ValueError(f"expected horizon_ms at most gap_ms ({self.gap_ms:g}), but got {self.horizon_ms:g}")
        return self


class Geometry(Settings):
    """``[geometry]``: points in the world, from several calibrated cameras."""

    calibration: RigPath
    """File that ``poseloop calibrate`` wrote; its cameras are found by their names."""
    gate_px: float = Field(15.0, gt=0, le=1000)
    """A view further than this from where the other cameras put a point does not count."""


class Realtime(Settings):
    """``[realtime]``: what the processes ask of the operating system (`poseloop.live.realtime`); nothing by default.

    ``poseloop doctor`` tells what this computer permits.
    """

    priority: Literal["normal", "high", "realtime"] = "normal"
    """``high``: before other programs (Linux: nice -10). ``realtime``: before everything (Linux: SCHED_FIFO)."""
    engine_cores: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """Processor cores for cameras and network, counted from 0; none = all."""
    host_cores: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """Processor cores for protocols and boards; none = all."""
    recorder_cores: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """Processor cores for encoding; none = all. The recorder's priority stays normal."""
    lock_memory: bool = False
    """Keep all memory from being paged out. Linux only."""
    awake: bool = False
    """Keep processors from falling asleep between frames, for more power: 0.03 to 0.3 ms sooner. Linux only."""
    refused: Literal["stop", "warn"] = "stop"
    """When the system refuses any of it: do not start, or say so and go on."""


class Record(Settings):
    """``[record]``: every run leaves a session's folder (docs/session.md). Nothing is recorded without this table."""

    folder: RigPath = Field("sessions", validate_default=True)
    """Where sessions lie; each gets a folder of its own in it, named by date, time and subject."""
    subject: Annotated[str, BeforeValidator(_file_name)] = Field("", pattern=_PLAIN)
    """Whose session it is; part of the folder's name."""
    codec: Literal["h264", "hevc", "ffv1", "raw"] = "h264"
    """``h264``: small, quick, read everywhere. ``hevc``: smaller, slower. ``ffv1``: lossless, a third to a half of raw.
    ``raw``: lossless, needs no time but a fast disk. Only from a lossless video can poses be had again bit by bit."""
    quality: int = Field(18, ge=1, le=51)
    """Of ``h264`` and ``hevc``: 1 = nearly lossless and large, 51 = worst; 6 more is about half the size."""
    encoder: Literal["auto", "software", "hardware"] = "auto"
    """What encodes ``h264`` and ``hevc``. ``auto``: the graphics card if it can, else the processor. ``hardware``: do
    not start if it cannot."""
    buffer_ms: float = Field(500.0, ge=50, le=10_000)
    """Pictures of so much time may wait for the encoder; when more do, the newest is not recorded, and is counted."""
    keep_free_gb: float = Field(1.0, ge=0.1)
    """The recording ends cleanly when the disk has less left."""
    warn_minutes: float = Field(10.0, ge=0)
    """Warn when the disk will be full in less than this."""
    on_fault: Literal["continue", "stop"] = "continue"
    """When the recording ends before the run does (full disk, recorder crashed or hung): ``continue`` runs the loop on
    and says so, ``stop`` ends the run with outputs off. The boards are never touched by the recorder itself."""

    @model_validator(mode="after")
    def _own_keys(self) -> Record:
        foreign = {"quality", "encoder"} & self.model_fields_set
        if foreign and self.codec in ("ffv1", "raw"):
            raise ValueError(f"{', '.join(sorted(foreign))} cannot be set with codec = {self.codec!r}: it is lossless")
        return self


class Gates(Settings):
    """``[gates]``: when an on-command of a protocol is held back. ``off`` always passes."""

    score: float = Field(0.5, ge=0, le=1)
    """Least score of every keypoint that the protocol needs."""
    age_ms: float = Field(100.0, gt=0, le=10_000)
    """Greatest age of the pose, from mid-exposure to decision."""
    missing: int = Field(0, ge=0)
    """How many cameras may be missing from the set."""
    skew_ms: float = Field(10.0, ge=0)
    """Greatest time between the exposures of one set."""


class ProtocolTable(PluginTable):
    """``[protocols.NAME]``: one experiment, and its parameters."""
