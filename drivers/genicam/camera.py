"""A GigE Vision or USB3 Vision camera of any maker, through Aravis.

Less is known of such a camera than of one with a driver of its own: its clock is not mapped, so a frame's time is that
of its arrival, and the first frame that comes has index 0, whatever came before it.
"""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from pydantic import Field

from poseloop.drivers.blocks import BlockCounter
from poseloop.drivers.genicam.aravis import SUCCESS, Aravis, AravisError, Found
from poseloop.drivers.named import NamedCamera
from poseloop.drivers.pixels import COLOURS, PIXELS, fill
from poseloop.live import config
from poseloop.live.clock import now_ns
from poseloop.live.errors import ConnectError, DeviceLost, SettingRefused
from poseloop.live.types import CameraFormat, Image, Region, Stamp

__all__ = ["GenicamCamera"]

_GIGE_BLOCKS = 65_535
"""Frame numbers of a GigE camera before they begin again at 1."""

_SOCKET_BYTES = 4 << 20
_SLICE_NS = 100_000_000
"""A grab that waits looks this often whether it was stopped and whether the camera is still there."""

_EDGES = {"rising": b"RisingEdge", "falling": b"FallingEdge"}
_NEAR = 1e-3
"""Cameras hold times and gains as fixed-point numbers: a relative difference below this is the same value."""


class GenicamCamera(NamedCamera):
    """Delivers a camera's frames; see `poseloop.live.interfaces.Camera`."""

    class Settings(config.Settings):
        """``use = "genicam"``. What is not given stays as the camera has it, but the region: the whole sensor."""

        EXCLUSIVE = ("serial",)

        serial: str | None = Field(None, min_length=1)
        """Serial number; may be left out where only one camera is connected."""
        pixel_format: Literal["Mono8", "Bayer8", "RGB8", "BGR8"] | None = None
        width: int | None = Field(None, ge=1)
        """Region of interest on the sensor, px. Keypoints are in pixels of this region."""
        height: int | None = Field(None, ge=1)
        offset_x: int = Field(0, ge=0)
        offset_y: int = Field(0, ge=0)
        exposure_us: float | None = Field(None, gt=0)
        gain: float | None = None
        fps: config.Fps | None = None
        """Frames a second when it runs free; with a hardware trigger the rate of the pulses."""
        line: str = "Line1"
        edge: Literal["rising", "falling"] = "rising"
        packet_size: int | None = Field(None, ge=500, le=16_000)
        """Bytes of a network packet; more than 1500 needs jumbo frames along the whole way. GigE cameras only."""
        buffers: int = Field(32, ge=1, le=1000)
        """Frames that wait while nobody fetches them; the oldest are dropped for newer ones."""

    def __init__(self, name: str, settings: Any) -> None:
        super().__init__(name)
        self._settings: GenicamCamera.Settings = settings
        self._lock = threading.Lock()
        """Held while a frame is grabbed: whoever has it after ``stop`` knows that no grab is under way."""
        self._stopped = threading.Event()
        self._stopped.set()
        self._camera: int | None = None
        self._stream: int | None = None
        self._pixels = ""
        self.failed = 0
        """Buffers that came incomplete since ``start``; each is a gap in the index, too."""

    def open(self) -> None:
        """Connect, set everything, read it back; again: does nothing.

        Raises:
            ConnectError: Aravis is missing, there is no such camera, or another program has it.
            SettingRefused: the camera does not take a value.
        """
        with self._lock:
            if self._camera is not None:
                return
            self._aravis = Aravis(self._name)
            found = self._choose(list(self._aravis.cameras()))
            try:
                self._camera = self._aravis.call("arv_camera_new", found.identity)
                self._configure()
            except AravisError as error:
                self._release()
                raise ConnectError(
                    self._name,
                    f"{found.model} {found.serial} cannot be opened; perhaps another program has it: {error}",
                ) from error
            except BaseException:
                self._release()
                raise

    def start(self, trigger: str) -> None:
        """Set the trigger and begin to grab.

        Raises:
            ConnectError: the camera is not open, or gone.
            SettingRefused: it cannot be triggered like this.
        """
        with self._lock:
            if self._camera is None:
                raise ConnectError(self._name, "expected open() before start()")
            if trigger == "software":
                raise SettingRefused(self._name, "sync.trigger", trigger, "free or hardware")
            self._end_stream()
            try:
                self._set_trigger(trigger)
                self._begin_stream()
            except AravisError as error:
                raise ConnectError(self._name, f"the camera cannot be started: {error}") from error
            self._counter = BlockCounter(None, _GIGE_BLOCKS if self._is_gige else 0)
            self.failed = 0
            self._stopped.clear()

    def grab(self, into: Image, timeout_s: float) -> Stamp | None:
        """Copy the next good frame.

        Raises:
            DeviceLost: a GigE camera does not answer any more.
        """
        with self._lock:
            if self._stream is None:
                return None
            ends_ns = now_ns() + round(timeout_s * 1e9)
            while not self._stopped.is_set():
                left_ns = ends_ns - now_ns()
                buffer = self._pop(max(min(left_ns, _SLICE_NS), 0))
                if buffer is None:
                    self._check_presence()
                    if left_ns <= _SLICE_NS:
                        return None
                    continue
                try:
                    if (stamp := self._take(buffer, into)) is not None:
                        return stamp
                finally:
                    self._aravis.call("arv_stream_push_buffer", self._stream, buffer)
            return None

    def stop(self) -> None:
        """Unblock ``grab``; from any thread, and twice."""
        if not self._stopped.is_set():
            self._stopped.set()
            camera = self._camera
            if camera is not None:
                # A camera that is gone cannot be told to stop.
                with contextlib.suppress(AravisError):
                    self._aravis.call("arv_camera_stop_acquisition", camera)

    def close(self) -> None:
        """Give the camera back; idempotent."""
        self.stop()
        with self._lock:
            self._release()

    @classmethod
    def discover(cls) -> Sequence[str]:
        """Maker, model, serial number and protocol of every camera that Aravis finds."""
        return [f"{found.model}, serial {found.serial} ({found.protocol})" for found in Aravis("genicam").cameras()]

    @property
    def _is_gige(self) -> bool:
        return bool(self._aravis.call("arv_camera_is_gv_device", self._camera))

    def _choose(self, found: list[Found]) -> Found:
        serial = self._settings.serial
        fitting = [one for one in found if serial in (None, one.serial)]
        if len(fitting) != 1:
            listed = ", ".join(one.serial for one in found) or "none"
            wanted = "one camera, or its serial number in the rig file" if serial is None else f"serial number {serial}"
            raise ConnectError(self._name, f"expected {wanted}; found: {listed}")
        return fitting[0]

    def _configure(self) -> None:
        s, call = self._settings, self._aravis.call
        self._set_pixels()
        width, height = self._aravis.numbers("arv_camera_get_sensor_size", self._some_camera, 2)
        wanted = (s.offset_x, s.offset_y, s.width or width - s.offset_x, s.height or height - s.offset_y)
        if wanted[0] + wanted[2] > width or wanted[1] + wanted[3] > height:
            raise SettingRefused(self._name, "region (x, y, width, height)", wanted, (0, 0, width, height))
        try:
            call("arv_camera_set_region", self._camera, *wanted)
        except AravisError as error:
            got = self._aravis.numbers("arv_camera_get_region", self._some_camera, 4)
            raise SettingRefused(self._name, "region (x, y, width, height)", wanted, tuple(got), str(error)) from error
        got = self._aravis.numbers("arv_camera_get_region", self._some_camera, 4)
        if tuple(got) != wanted:
            raise SettingRefused(self._name, "region (x, y, width, height)", wanted, tuple(got))
        for key, what in (("exposure_us", "exposure_time"), ("gain", "gain"), ("fps", "frame_rate")):
            self._set_number(key, what)
        if s.packet_size is not None and self._is_gige:
            call("arv_camera_gv_set_packet_size", self._camera, s.packet_size)
        region = Region(got[0], got[1], *self._binning())
        self._format = CameraFormat(got[2], got[3], COLOURS[self._pixels], self._rate(), region)

    @property
    def _some_camera(self) -> int:
        return self._camera or 0

    def _binning(self) -> tuple[int, int]:
        try:
            across, down = self._aravis.numbers("arv_camera_get_binning", self._some_camera, 2)
        except AravisError:  # it cannot bin
            return 1, 1
        return max(across, 1), max(down, 1)

    def _rate(self) -> float:
        try:
            return float(self._settings.fps or self._aravis.call("arv_camera_get_frame_rate", self._camera))
        except AravisError:
            return 0.0

    def _set_pixels(self) -> None:
        wanted = self._settings.pixel_format
        for name in PIXELS.get(wanted or "", ()):
            with contextlib.suppress(AravisError):
                self._aravis.call("arv_camera_set_pixel_format_from_string", self._camera, name.encode())
        self._pixels = self._aravis.call("arv_camera_get_pixel_format_as_string", self._camera).decode()
        if self._pixels not in (PIXELS[wanted] if wanted else COLOURS):
            raise SettingRefused(
                self._name,
                "pixel_format",
                wanted or "a format of 8 bits",
                self._pixels,
                f"Give one of {', '.join(PIXELS)}.",
            )

    def _set_number(self, key: str, what: str) -> None:
        wanted = getattr(self._settings, key)
        if wanted is None:
            return
        try:
            self._aravis.call(f"arv_camera_set_{what}", self._camera, wanted)
            got = self._aravis.call(f"arv_camera_get_{what}", self._camera)
        except AravisError as error:
            raise SettingRefused(self._name, key, wanted, "another value", str(error)) from error
        if abs(got - wanted) > _NEAR * abs(wanted):
            raise SettingRefused(self._name, key, wanted, got)

    def _set_trigger(self, trigger: str) -> None:
        s, call = self._settings, self._aravis.call
        if trigger == "free":
            call("arv_camera_clear_triggers", self._camera)
            return
        try:
            call("arv_camera_set_trigger", self._camera, s.line.encode())
            call("arv_camera_set_string", self._camera, b"TriggerActivation", _EDGES[s.edge])
        except AravisError as error:
            raise SettingRefused(
                self._name, "line, edge", f"{s.line}, {s.edge}", "another trigger", str(error)
            ) from error
        for key, feature, wanted in (
            ("line", b"TriggerSource", s.line.encode()),
            ("edge", b"TriggerActivation", _EDGES[s.edge]),
        ):
            got = call("arv_camera_get_string", self._camera, feature)
            if got != wanted:
                raise SettingRefused(self._name, key, wanted.decode(), (got or b"").decode())

    def _begin_stream(self) -> None:
        call = self._aravis.call
        if self._is_gige:
            # Reading raw packets would need an administrator's rights.
            call("arv_camera_gv_set_stream_options", self._camera, 1)
        self._stream = call("arv_camera_create_stream", self._camera, None, None)
        if self._is_gige:
            self._aravis.widen_socket(self._stream or 0, _SOCKET_BYTES)
        size = call("arv_camera_get_payload", self._camera)
        # Beside those that wait: one is being filled, one is being copied, and one more keeps it from running dry.
        for _ in range(self._settings.buffers + 3):
            call("arv_stream_push_buffer", self._stream, call("arv_buffer_new_allocate", size))
        call("arv_camera_start_acquisition", self._camera)

    def _pop(self, timeout_ns: int) -> int | None:
        """Take the oldest frame of those that may wait; older ones are dropped."""
        call = self._aravis.call
        buffer: int | None = call("arv_stream_timeout_pop_buffer", self._stream, timeout_ns // 1000)
        while buffer is not None and self._waiting() >= self._settings.buffers:
            newer: int | None = call("arv_stream_timeout_pop_buffer", self._stream, 0)
            if newer is None:
                break
            call("arv_stream_push_buffer", self._stream, buffer)
            buffer = newer
        return buffer

    def _waiting(self) -> int:
        return self._aravis.numbers("arv_stream_get_n_buffers", self._stream or 0, 2)[1]

    def _take(self, buffer: int, into: Image) -> Stamp | None:
        arrived_ns = now_ns()
        call = self._aravis.call
        index = self._counter.index(call("arv_buffer_get_frame_id", buffer))
        size = ctypes.c_size_t()
        address = call("arv_buffer_get_data", buffer, ctypes.byref(size))
        frame = self.format
        shape = (frame.height, frame.width) if self._pixels.startswith("Bayer") else frame.shape
        if call("arv_buffer_get_status", buffer) != SUCCESS or size.value < int(np.prod(shape)):
            self.failed += 1
            return None
        pixels = np.ctypeslib.as_array((ctypes.c_uint8 * int(np.prod(shape))).from_address(address)).reshape(shape)
        fill(into, pixels, self._pixels)
        return Stamp(index, arrived_ns, arrived_ns, call("arv_buffer_get_timestamp", buffer))

    def _check_presence(self) -> None:
        if self._stopped.is_set() or not self._is_gige:
            return
        device = self._aravis.call("arv_camera_get_device", self._camera)
        if not self._aravis.call("arv_gv_device_is_controller", device):
            raise DeviceLost(self._name, "the camera does not answer any more, or another program took it over")

    def _end_stream(self) -> None:
        if self._stream is not None:
            self._aravis.call("g_object_unref", self._stream)
            self._stream = None

    def _release(self) -> None:
        if self._camera is not None:
            self._end_stream()
            self._aravis.call("g_object_unref", self._camera)
        self._camera = self._format = None
