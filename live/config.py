"""rig.toml → frozen models: the one place where a rig file is validated.

Unknown keys are refused and nothing is coerced: ``fps = "30"`` is an error, not 30. Every message names the file, the
key, what was expected and what was found; all faults of a file are reported together.

A table with ``use`` (a camera, a board, a protocol) holds the keys that all plugins of that kind share, declared here,
and the plugin's own, declared in its ``Settings``.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, model_validator

from poseloop.live import plugins
from poseloop.live.errors import ConfigError
from poseloop.live.types import Command, CommandKind, LineSettings

__all__ = [
    "PLUGIN_TABLES",
    "BoardTable",
    "CameraModelTable",
    "CameraTable",
    "CameraTriggerTable",
    "Crop",
    "Fault",
    "FilterTable",
    "Gates",
    "LineTable",
    "ModelTable",
    "PluginTable",
    "ProtocolTable",
    "Publish",
    "Realtime",
    "Rig",
    "RigPath",
    "Settings",
    "Sync",
    "SyncTable",
    "build_rig",
    "explain",
    "load_rig",
    "parse_rig",
    "read_text",
    "validate",
]


class Settings(BaseModel):
    """Base of every group of options: frozen, and strict about keys and types."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


def _resolve(path: Path, info: ValidationInfo) -> Path:
    text = os.path.expandvars(str(path))
    left = re.search(r"\$\{?(\w+)", text)
    if left:
        raise ValueError(f"the environment variable {left[1]} is not set; set it, or write the path out")
    folder = (info.context or {}).get("folder", Path())
    return Path(folder, Path(text).expanduser())


RigPath = Annotated[Path, AfterValidator(_resolve)]
"""A path in a rig file: relative to the file's folder; ``${NAME}`` and ``~`` are expanded."""


def _resolve_model(name: str, info: ValidationInfo) -> str:
    is_path = name.endswith(".onnx") or "/" in name or "\\" in name
    return str(_resolve(Path(name), info)) if is_path else name


_ModelFile = Annotated[str, AfterValidator(_resolve_model)]


_Loopback = Annotated[str, Field(pattern=r"^tcp://(127\.0\.0\.1|localhost|\[::1\]):(\d+|\*)$")]
"""Sockets stay on this machine; ``*`` lets the system choose a free port."""

_Name = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_-]*$")


_Pixels = Annotated[int, Field(ge=1)]
_Place = Annotated[int, Field(ge=0)]
_Size = tuple[_Pixels, _Pixels]
_Part = tuple[_Place, _Place, _Pixels, _Pixels]


class PluginTable(Settings):
    """A table with ``use``: the keys that all plugins of a kind share, and the plugin with its own options."""

    use: str
    """Which plugin: see ``poseloop devices``, or ``file.py:Class`` beside the rig file."""
    plugin: Any = None
    """The class that ``use`` names; not a key of the file."""
    options: Any = None
    """Its ``Settings``, made of the table's other keys; not a key of the file."""

    def build(self, name: str) -> Any:
        """Construct the plugin under its name in the rig file."""
        return self.plugin(name, self.options)


class CameraTable(PluginTable):
    """``[cameras.NAME]``: one camera, and its driver's settings."""


class Sync(Settings):
    """``[sync]``: how frames become sets."""

    trigger: Literal["free", "hardware", "software"] = "free"
    """What starts an exposure."""
    frames: Literal["newest", "every"] = "newest"
    """``newest``: the loop takes the newest set and counts the ones it skips. ``every``: cameras wait for the loop, so
    none is skipped; only recordings and simulated cameras can wait."""
    wait_ms: float = Field(20.0, gt=0)
    """How long a set waits for a missing camera before it goes on with a gap."""
    match: Literal["auto", "count", "time"] = "auto"
    """How frames find their set. ``count``: by trigger count, checked with the exposure times. ``time``: by exposure
    times alone. ``auto``: by time where cameras run freely (trigger = "free") and frames may be skipped, else by
    count."""
    tolerance_ms: float | None = Field(None, gt=0)
    """How far the exposures of one set may lie apart; not given: half of the fastest camera's period, or 5 ms where no
    camera knows its rate. Has to be less than the time between two triggers."""
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
    gate: float | None = Field(None, ge=0, le=1)
    """Points with a lower score count as not seen (NaN); the model's own gate if it is not given, 0 = none."""
    individuals: int = Field(1, ge=1, le=64)
    """How many animals to look for; the same for all models of a rig."""
    roi: dict[str, _Part] = {}
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
    health: _Loopback = "tcp://127.0.0.1:5571"
    previews: _Loopback = "tcp://127.0.0.1:5572"
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


class Realtime(Settings):
    """``[realtime]``: what engine and host ask of the operating system (`poseloop.live.realtime`); nothing by default.

    ``poseloop doctor`` tells what this computer permits.
    """

    priority: Literal["normal", "high", "realtime"] = "normal"
    """``high``: before other programs (Linux: nice -10). ``realtime``: before everything (Linux: SCHED_FIFO)."""
    engine_cores: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """Processor cores for cameras and network, counted from 0; none = all."""
    host_cores: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """Processor cores for protocols and boards; none = all."""
    lock_memory: bool = False
    """Keep all memory from being paged out. Linux only."""
    refused: Literal["stop", "warn"] = "stop"
    """When the system refuses any of it: do not start, or say so and go on."""


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


class LineTable(Settings):
    """``[boards.NAME.lines.LINE]``: one pin."""

    pin: int | None = Field(None, ge=2, le=255)
    """Number of the pin; 0 and 1 are the serial port's. Required where the board has pins."""
    direction: Literal["output", "input"] = "output"
    active: Literal["high", "low"] = "high"
    """The level that means on."""
    kinds: tuple[Literal["pulse", "train", "level"], ...] = ("pulse",)
    """Commands the line obeys, besides off."""
    max_on_ms: float = Field(0.0, ge=0, le=3_600_000)
    """Outputs: the longest time on without a pause. Required."""
    max_duty: float = Field(1.0, gt=0, le=1)
    """Outputs: the largest share of ``window_ms`` that the line may be on."""
    window_ms: float = Field(1000.0, gt=0, le=600_000)
    pull_up: bool = False
    """Inputs: use the board's pull-up resistor."""

    @model_validator(mode="after")
    def _complete(self) -> LineTable:
        if self.direction == "output" and self.max_on_ms <= 0:
            raise ValueError("an output needs max_on_ms > 0: the longest time it may ever stay on")
        if self.direction == "output" and not self.kinds:
            raise ValueError("an output needs kinds: the commands that it obeys")
        foreign = {"pull_up"} if self.direction == "output" else {"kinds", "max_on_ms", "max_duty", "window_ms"}
        if given := foreign & self.model_fields_set:
            raise ValueError(f"{', '.join(sorted(given))} cannot be set for an {self.direction}")
        return self

    def settings(self, name: str) -> LineSettings:
        """The same in the board's words."""
        output = self.direction == "output"
        return LineSettings(
            name=name,
            pin=self.pin or 0,
            direction=self.direction,
            active_high=self.active == "high",
            kinds=tuple(CommandKind(kind) for kind in self.kinds) if output else (),
            max_on_us=round(self.max_on_ms * 1000) if output else 0,
            max_duty=self.max_duty,
            window_us=round(self.window_ms * 1000),
            pull_up=self.pull_up,
        )


class SignalTable(Settings):
    """What ``camera_trigger`` and ``sync`` of a board have in common."""

    pin: int = Field(ge=2, le=255)
    active: Literal["high", "low"] = "high"
    """The level of a trigger, a pulse or a 1."""
    width_us: int = Field(1000, ge=50, le=1_000_000)
    """How long one trigger, pulse or bit lasts."""

    def _line(self, name: str, kind: CommandKind, longest_us: int) -> LineSettings:
        high = self.active == "high"
        return LineSettings(name, self.pin, active_high=high, kinds=(kind,), max_on_us=longest_us)


class CameraTriggerTable(SignalTable):
    """``[boards.NAME.camera_trigger]``: the pin that starts every exposure of the rig's cameras. It is not leased."""

    NAME: ClassVar[str] = "camera_trigger"
    """The line's name in commands and events."""

    fps: float = Field(gt=0, le=2000)
    """Triggers a second."""

    @property
    def period_us(self) -> int:
        """Trigger to trigger, as the board counts it."""
        return round(1e6 / self.fps)

    @model_validator(mode="after")
    def _has_a_pause(self) -> CameraTriggerTable:
        if self.period_us - self.width_us < 50:
            raise ValueError(f"width_us must leave a pause of 50 us between triggers, one every {self.period_us} us")
        return self

    def line(self) -> LineSettings:
        """The same in the board's words."""
        return self._line(self.NAME, CommandKind.CAMERA, self.width_us)

    def command(self, board: str) -> Command:
        """Trigger until off."""
        return Command(board, self.NAME, CommandKind.CAMERA, on_us=self.width_us, period_us=self.period_us)


class SyncTable(SignalTable):
    """``[boards.NAME.sync]``: a pin that tells a recording system which frame set was decided on. It is not leased."""

    NAME: ClassVar[str] = "sync"
    """The line's name in commands and events."""
    _BITS: ClassVar[int] = 33

    mode: Literal["pulse", "code"] = "code"
    """``pulse``: one pulse a frame set. ``code``: a start bit and the 32 bits of its index, lowest first."""
    width_us: int = Field(200, ge=125, le=100_000)
    """How long the pulse, or each of the 33 bits, lasts."""
    every: int = Field(1, ge=1)
    """Every how many frame sets; a code has to end before the next one begins."""

    def line(self) -> LineSettings:
        """The same in the board's words."""
        if self.mode == "pulse":
            return self._line(self.NAME, CommandKind.CAMERA, self.width_us)
        return self._line(self.NAME, CommandKind.SYNC, self._BITS * self.width_us)

    def command(self, board: str, index: int) -> Command:
        """Tell of one frame set."""
        if self.mode == "code":
            return Command(board, self.NAME, CommandKind.SYNC, on_us=self.width_us, code=index & 0xFFFFFFFF)
        return Command(board, self.NAME, CommandKind.CAMERA, on_us=self.width_us, period_us=2 * self.width_us, count=1)


class BoardTable(PluginTable):
    """``[boards.NAME]``: one output board, and its driver's settings."""

    lease_ms: int = Field(100, ge=10, le=10_000)
    """Outputs go off by themselves when no fresh pose was decided on for this long."""
    rearm_after_ms: float | None = Field(1000.0, ge=0)
    """After the lease has lapsed: how long poses must have been fresh again before the host arms the board again."""
    lines: dict[str, LineTable] = {}
    camera_trigger: CameraTriggerTable | None = None
    sync: SyncTable | None = None

    @model_validator(mode="after")
    def _names_differ(self) -> BoardTable:
        if not self.lines and not self._signals:
            raise ValueError("a board needs lines: expected at least one table [boards.NAME.lines.LINE]")
        for signal in (CameraTriggerTable, SyncTable):
            if signal.NAME in self.lines:
                raise ValueError(f"no line can be called {signal.NAME!r}: that is [boards.NAME.{signal.NAME}]")
        return self

    @model_validator(mode="after")
    def _pins_differ(self) -> BoardTable:
        pins = [line.pin for line in (*self.lines.values(), *self._signals) if line.pin is not None]
        twice = {pin for pin in pins if pins.count(pin) > 1}
        if twice:
            raise ValueError(f"every line needs a pin of its own, but pin {min(twice)} is used twice")
        return self

    def line_settings(self) -> list[LineSettings]:
        """All lines in the board's words, in file order; camera trigger and sync are the last."""
        lines = [line.settings(name) for name, line in self.lines.items()]
        return [*lines, *(signal.line() for signal in self._signals)]

    @property
    def _signals(self) -> list[CameraTriggerTable | SyncTable]:
        return [signal for signal in (self.camera_trigger, self.sync) if signal is not None]


class ProtocolTable(PluginTable):
    """``[protocols.NAME]``: one experiment, and its parameters."""


class Rig(Settings):
    """A whole rig file."""

    name: str = "rig"
    """Stands in reports and messages; the file's own name if it is not given."""
    seed: int = Field(0, ge=0)
    """Given to every protocol's ``reset``."""
    cameras: dict[str, CameraTable] = Field(min_length=1)
    sync: Sync = Sync()
    model: ModelTable
    models: dict[str, CameraModelTable] = {}
    filter: FilterTable = FilterTable()
    publish: Publish = Publish()
    realtime: Realtime = Realtime()
    gates: Gates = Gates()
    boards: dict[str, BoardTable] = {}
    protocols: dict[str, ProtocolTable] = {}

    def networks(self) -> list[tuple[ModelTable, tuple[int, ...]]]:
        """Return each model and the numbers of its cameras, in rig order."""
        names = list(self.cameras)
        others = [(table, tuple(names.index(camera) for camera in table.cameras)) for table in self.models.values()]
        taken = {number for _, numbers in others for number in numbers}
        rest = tuple(number for number in range(len(names)) if number not in taken)
        return [(self.model, rest), *((table, tuple(sorted(numbers))) for table, numbers in others)]


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with one key."""

    key: str
    text: str


_SettingsT = TypeVar("_SettingsT", bound=Settings)

PLUGIN_TABLES: Mapping[str, tuple[str, type[PluginTable]]] = {
    "cameras": ("camera", CameraTable),
    "boards": ("board", BoardTable),
    "protocols": ("protocol", ProtocolTable),
}
"""Section of a rig file whose tables name plugins → their kind, and the keys that they share."""


def load_rig(file: Path) -> Rig:
    """Read and validate a rig file.

    Raises:
        ConfigError: the file is missing, is no TOML, or holds wrong keys or values (all are listed).
    """
    return parse_rig(read_text(file), file)


def read_text(file: Path) -> str:
    """Read a rig file as text.

    Raises:
        ConfigError: it is missing or not UTF-8.
    """
    try:
        # Windows' Notepad may put a mark before the first letter.
        return file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"{file}: there is no such rig file") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{file}: expected a rig file (TOML, saved as UTF-8), but it is no such text") from None
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read as a rig file: {error.strerror}") from error


def parse_rig(text: str, file: Path, plugin_tables: Sequence[str] = tuple(PLUGIN_TABLES)) -> Rig:
    """Validate the text of a rig file.

    Args:
        text: TOML.
        file: where it came from: named in errors, and relative paths start at its folder.
        plugin_tables: which of ``cameras``, ``boards`` and ``protocols`` to load plugins for; the plugins of the
            others stay None. The engine has no need to import a user's protocol.

    Raises:
        ConfigError: lists every fault.
    """
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        hint = "; in a Windows path write / or put it in 'single quotes'" if "\\" in text else ""
        raise ConfigError(f"{file}: is not valid TOML: {error}{hint}") from error
    return build_rig(raw, file, plugin_tables)


def build_rig(raw: Mapping[str, Any], file: Path, plugin_tables: Sequence[str] = tuple(PLUGIN_TABLES)) -> Rig:
    """Validate the tables of a rig file; arguments and errors are those of `parse_rig`."""
    folder = file.parent
    faults: list[Fault] = []
    built: dict[tuple[str, str], Mapping[str, Any]] = {}
    common: dict[str, Any] = {"name": file.stem, **raw}
    for section, (kind, table_type) in PLUGIN_TABLES.items():
        tables = raw.get(section)
        if not isinstance(tables, dict):
            continue
        common[section] = {}
        for name, table in tables.items():
            key = f"{section}.{name}"
            if not _Name.match(name):
                faults.append(Fault(key, "expected a name of letters, digits, _ and -"))
            if not isinstance(table, dict):
                common[section][name] = table
                continue
            shared = set(table_type.model_fields) - {"plugin", "options"}
            common[section][name] = {k: v for k, v in table.items() if k in shared}
            if section not in plugin_tables or not isinstance(table.get("use"), str):
                continue
            own = {k: v for k, v in table.items() if k not in shared}
            try:
                plugin = plugins.load(kind, table["use"], folder)
                options = validate(plugin.Settings, own, folder)
                built[section, name] = {"plugin": plugin, "options": options}
                if section == "boards":
                    faults.extend(_pin_faults(key, table, getattr(plugin, "uses_pins", True)))
            except ConfigError as error:
                faults.append(Fault(f"{key}.use", str(error)))
            except ValidationError as error:
                faults.extend(explain(error, key, [*shared, *plugin.Settings.model_fields]))
    rig: Rig | None = None
    try:
        rig = validate(Rig, common, folder)
    except ValidationError as error:
        faults.extend(explain(error, "", list(Rig.model_fields)))
    if rig is not None:
        faults.extend(_contradictions(rig))
    if faults or rig is None:
        lines = [f"  {fault.key}: {fault.text}" if fault.key else f"  {fault.text}" for fault in faults]
        count = "one fault" if len(faults) == 1 else f"{len(faults)} faults"
        raise ConfigError(f"{file}: {count}:\n" + "\n".join(lines))
    return rig.model_copy(
        update={
            section: {
                name: table.model_copy(update=built.get((section, name), {}))
                for name, table in getattr(rig, section).items()
            }
            for section in PLUGIN_TABLES
        }
    )


def validate(model: type[_SettingsT], table: Mapping[str, Any], folder: Path) -> _SettingsT:
    """Validate one table strictly; going through JSON keeps lists-for-tuples and words-for-enums, and nothing else.

    Raises:
        pydantic.ValidationError: keys or values are wrong.
    """
    text = json.dumps(table, default=str)
    return model.model_validate_json(text, strict=True, context={"folder": folder})


def _contradictions(rig: Rig) -> list[Fault]:
    faults = [
        Fault(f"boards.{name}.lines.{line}", "expected a name of letters, digits, _ and -")
        for name, board in rig.boards.items()
        for line in board.lines
        if not _Name.match(line)
    ]
    triggers = [f"boards.{name}.camera_trigger" for name, board in rig.boards.items() if board.camera_trigger]
    if triggers and rig.sync.trigger != "hardware":
        found = f"but found {rig.sync.trigger!r}: no camera would obey it"
        faults.append(Fault(triggers[0], f'expected [sync] trigger = "hardware" beside it, {found}'))
    if len(triggers) > 1:
        faults.append(Fault(triggers[1], f"one pin triggers all cameras of a rig, but {triggers[0]} is there too"))
    return [*faults, *_model_contradictions(rig)]


def _model_contradictions(rig: Rig) -> list[Fault]:
    faults = []
    owner: dict[str, str] = {}
    for name, table in rig.models.items():
        for camera in table.cameras:
            if camera not in rig.cameras:
                text = f"expected cameras of this rig ({', '.join(rig.cameras)}), but got {camera!r}"
                faults.append(Fault(f"models.{name}.cameras", text))
            elif camera in owner:
                text = f"expected one model for each camera, but {camera} is listed twice, in {owner[camera]} too"
                faults.append(Fault(f"models.{name}.cameras", text))
            owner[camera] = f"models.{name}"
        if table.individuals != rig.model.individuals:
            text = f"expected {rig.model.individuals}, as in [model], but got {table.individuals}"
            faults.append(Fault(f"models.{name}.individuals", text))
    if set(rig.cameras) <= set(owner):
        text = "no camera is left for it: give one of [models] as [model], without its cameras"
        faults.append(Fault("model", text))
    tables: dict[str, ModelTable] = {"model": rig.model}
    tables |= {f"models.{name}": table for name, table in rig.models.items()}
    for key, its in tables.items():
        for camera in its.roi:
            if camera not in rig.cameras or owner.get(camera, "model") != key:
                faults.append(Fault(f"{key}.roi.{camera}", "is no camera of this model"))
    return faults


def _pin_faults(key: str, table: Mapping[str, Any], uses_pins: bool) -> list[Fault]:
    lines = table.get("lines")
    wrong = [
        f"{key}.lines.{name}.pin"
        for name, line in (lines.items() if isinstance(lines, dict) else ())
        if isinstance(line, dict) and ("pin" in line) != uses_pins
    ]
    return [Fault(key, "is missing" if uses_pins else "the lines of this board have no pins") for key in wrong]


def explain(error: ValidationError, prefix: str, known: Sequence[str]) -> list[Fault]:
    """The faults that pydantic found, in words for people.

    Args:
        error: what `validate` raised.
        prefix: the key of the table that was validated.
        known: the keys that this table may have.
    """
    faults = []
    for item in error.errors(include_url=False):
        key = ".".join(str(part) for part in (prefix, *item["loc"]) if part != "")
        match item["type"]:
            case "extra_forbidden":
                own = known if len(item["loc"]) == 1 else ()
                hint = f"; known here: {', '.join(sorted(own))}" if own else ""
                text = f"unknown key{hint}"
            case "missing":
                text = "is missing"
            case "value_error":
                text = str(item["ctx"]["error"]) if "ctx" in item else item["msg"]
            case _:
                message = item["msg"][0].lower() + item["msg"][1:]
                text = f"expected: {message.removeprefix('input should be ')}; found {item['input']!r}"
        faults.append(Fault(key, text))
    return faults
