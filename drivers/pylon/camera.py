"""A Basler camera: GigE, USB, or one that pylon emulates.

A frame waits in pylon's buffers until it is fetched; when nobody does, pylon keeps the newest ones. Whatever is lost on
the way, a failed buffer included, is seen as a gap in the index, which comes from the camera's own frame numbers.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from poseloop.drivers.blocks import BlockCounter
from poseloop.drivers.named import NamedCamera
from poseloop.drivers.pixels import COLOURS, fill
from poseloop.drivers.pylon import sdk, setup
from poseloop.drivers.pylon.clock import CameraClock
from poseloop.drivers.pylon.sdk import Features
from poseloop.live import config
from poseloop.live.clock import Pacer, now_ns
from poseloop.live.errors import ConnectError, DeviceLost
from poseloop.live.types import CameraFormat, Image, Stamp

__all__ = ["BaslerCamera"]

_FIRST_BLOCK = {"BaslerGigE": 1, "BaslerUsb": 0, "BaslerCamEmu": 0}
"""Class of device → number of an acquisition's first frame."""

_GIGE_BLOCKS = 65_535
"""Frame numbers of a GigE camera before they begin again at 1."""

_NO_BLOCK = (1 << 64) - 1
"""What pylon gives for a frame number where the transport has none."""

_SLICE_MS = 100
"""A grab that waits looks this often whether the camera is still there: pylon does not end its wait for that."""

_GIVE_UP_NS = 1_000_000_000
"""A software trigger that has brought no frame for this long never will."""


class BaslerCamera(NamedCamera):
    """Delivers a Basler camera's frames; see `poseloop.live.interfaces.Camera`."""

    class Settings(config.Settings):
        """``use = "pylon"``. What is not given stays as the ``pfs`` file or the camera's factory settings have it."""

        EXCLUSIVE = ("serial",)

        serial: str | None = Field(None, min_length=1)
        """Serial number, as printed on the camera; may be left out where only one is connected."""
        pfs: config.RigPath | None = None
        """Settings saved by the pylon Viewer, loaded first; without it the camera's factory settings are."""
        pixel_format: Literal["Mono8", "Bayer8", "RGB8", "BGR8"] | None = None
        """``Bayer8``: the sensor's own pattern, sent raw and turned into RGB here: a third of RGB8's data."""
        width: int | None = Field(None, ge=1)
        """Region of interest on the sensor, px. Keypoints are in pixels of this region."""
        height: int | None = Field(None, ge=1)
        offset_x: int | None = Field(None, ge=0)
        """Left edge of the region, px; 0 if another key of the region is given and this one is not."""
        offset_y: int | None = Field(None, ge=0)
        exposure_us: float | Literal["auto"] | None = Field(None)
        """Exposure time; the camera adjusts it by itself with ``auto``."""
        gain: float | Literal["auto"] | None = None
        """dB; raw steps on older GigE cameras."""
        fps: config.Fps | None = None
        """Frames a second: the camera's rate when it runs free, the host's with a software trigger, and the pulses'
        with a hardware trigger. A camera that cannot keep up with it is refused."""
        line: str = "Line1"
        """Input that a hardware trigger comes in at."""
        edge: Literal["rising", "falling"] = "rising"
        """The pulse's edge that starts an exposure."""
        buffers: int = Field(32, ge=1, le=1000)
        """Frames that wait in pylon while nobody fetches them; the oldest are dropped for newer ones. They bridge
        moments in which the computer does something else, and cost a picture's memory each."""

    def __init__(self, name: str, settings: Any) -> None:
        super().__init__(name)
        self._settings: BaslerCamera.Settings = settings
        self._lock = threading.Lock()
        """Held while a frame is grabbed: whoever has it after ``stop`` knows that no grab is under way."""
        self._stopped = threading.Event()
        self._stopped.set()
        self._pylon: Any = None
        self._genicam: Any = None
        self._camera: Any = None
        self._trigger = "free"
        self.failed = 0
        """Buffers that came incomplete since ``start``; each is a gap in the index, too."""

    @property
    def device(self) -> Any:
        """Pypylon's ``InstantCamera`` while open, else None: for what has no key in the rig file."""
        return self._camera

    def open(self) -> None:
        """Connect, set everything, read it back; again: does nothing.

        Raises:
            ConnectError: pypylon is missing, there is no such camera, or another program has it.
            SettingRefused: the camera does not take a value.
        """
        with self._lock:
            if self._camera is not None:
                return
            self._pylon, self._genicam = sdk.load(self._name)
            camera = self._connect()
            try:
                self._configure(camera)
            except self._genicam.GenericException as error:
                self._release(camera)
                raise ConnectError(
                    self._name, f"the camera failed while it was set up: {_first_line(error)}"
                ) from error
            except BaseException:
                self._release(camera)
                raise
            self._camera = camera

    def start(self, trigger: str) -> None:
        """Set the trigger and begin to grab.

        Raises:
            ConnectError: the camera is not open, or gone.
            SettingRefused: it cannot be triggered like this, or not as fast as ``fps``.
        """
        with self._lock:
            if self._camera is None:
                raise ConnectError(self._name, "expected open() before start()")
            camera, pylon = self._camera, self._pylon
            try:
                camera.StopGrabbing()
                setup.set_trigger(self._name, self._settings, self._features, trigger)
                self._trigger = trigger
                self._clock.start()
                kind = camera.GetDeviceInfo().GetDeviceClass()
                first = _FIRST_BLOCK.get(kind)
                self._counter = BlockCounter(first, _GIGE_BLOCKS if kind == "BaslerGigE" else 0)
                self._last_block = (first or 0) - 1
                self.failed = 0
                camera.StartGrabbing(pylon.GrabStrategy_LatestImages)
            except self._genicam.GenericException as error:
                raise ConnectError(self._name, f"the camera cannot be started: {_first_line(error)}") from error
            self._stopped.clear()
            self._pacer = Pacer(now_ns(), stop=self._stopped)
            self._next_ns = 0
            self._fired_ns = 0

    def grab(self, into: Image, timeout_s: float) -> Stamp | None:
        """Copy the next good frame.

        Raises:
            DeviceLost: the camera was unplugged, or pylon has given it up.
        """
        with self._lock:
            if self._camera is None or self._stopped.is_set():
                return None
            try:
                return self._grab(into, now_ns() + round(timeout_s * 1e9))
            except self._genicam.GenericException as error:
                if self._stopped.is_set():
                    return None
                raise DeviceLost(self._name, f"the camera is gone: {_first_line(error)}") from error

    def stop(self) -> None:
        """Unblock ``grab``; from any thread, and twice."""
        self._stopped.set()
        camera = self._camera
        if camera is not None:
            # A camera that is gone cannot be told to stop.
            with contextlib.suppress(self._genicam.GenericException):
                camera.StopGrabbing()

    def close(self) -> None:
        """Give the camera back; idempotent."""
        self.stop()
        with self._lock:
            if self._camera is not None:
                self._release(self._camera)
            self._camera = self._format = None

    @classmethod
    def discover(cls) -> Sequence[str]:
        """Model, serial number and connection of every camera that pylon finds."""
        pylon, _ = sdk.load("pylon")
        return [
            f"{info.GetModelName()}, serial {info.GetSerialNumber()} ({info.GetDeviceClass().removeprefix('Basler')})"
            for info in pylon.TlFactory.GetInstance().EnumerateDevices()
        ]

    def _connect(self) -> Any:
        pylon, serial = self._pylon, self._settings.serial
        factory = pylon.TlFactory.GetInstance()
        found = {info.GetSerialNumber(): info for info in factory.EnumerateDevices()}
        listed = ", ".join(found) or "none"
        if serial is None and len(found) != 1:
            raise ConnectError(
                self._name, f"expected one camera, or its serial number in the rig file; found: {listed}"
            )
        if serial is not None and serial not in found:
            raise ConnectError(self._name, f"expected the camera with serial number {serial}, but found: {listed}")
        info = found[serial or next(iter(found))]
        try:
            camera = pylon.InstantCamera(factory.CreateDevice(info))
        except self._genicam.GenericException as error:
            raise ConnectError(self._name, f"{_described(info)} cannot be reached: {_first_line(error)}") from error
        try:
            # Events cost a thread and a callback each; only the emulated cameras have no time stamps without.
            camera.GrabCameraEvents.Value = info.GetDeviceClass() == "BaslerCamEmu"
            camera.Open()
        except self._genicam.GenericException as error:
            self._release(camera)
            raise ConnectError(
                self._name,
                f"{_described(info)} cannot be opened; perhaps another program has it (the pylon Viewer?): "
                f"{_first_line(error)}",
            ) from error
        return camera

    def _configure(self, camera: Any) -> None:
        s = self._settings
        features = self._features = Features(self._name, self._genicam, camera.GetNodeMap())
        if s.pfs is not None:
            self._load(camera)
        else:
            setup.load_factory_settings(features)
        setup.set_picture(self._name, s, features)
        camera.OutputQueueSize.Value = s.buffers
        # Beside those that wait: one is being filled, one is being copied, and one more keeps pylon from running dry.
        camera.MaxNumBuffer.Value = s.buffers + 3
        self._clock = CameraClock(features)
        self._pixels = str(features.get("PixelFormat"))
        fps = s.fps or setup.rate(features)
        self._format = CameraFormat(
            int(features.get("Width") or 0),
            int(features.get("Height") or 0),
            COLOURS[self._pixels],
            fps,
            setup.region(features),
            # An emulated camera gives its own rate for its limit; one that cannot keep up is refused by `start`.
            max(fps, setup.possible_rate(features)),
        )

    def _load(self, camera: Any) -> None:
        file = self._settings.pfs
        try:
            # Read here, since pylon opens no path with letters beyond ASCII on Windows. A text of one line it takes
            # for an empty one, whatever it says.
            text = file.read_text(encoding="utf-8-sig") + "\n"  # type: ignore[union-attr]
            self._pylon.FeaturePersistence.LoadFromString(text, camera.GetNodeMap(), True)
        except OSError as error:
            raise ConnectError(self._name, f"pfs: {file} cannot be read: {error.strerror}") from error
        except (self._genicam.GenericException, UnicodeDecodeError) as error:
            raise ConnectError(self._name, f"pfs: {file} does not fit this camera: {_first_line(error)}") from error

    def _grab(self, into: Image, ends_ns: int) -> Stamp | None:
        camera = self._camera
        self._clock.refresh()
        while not self._stopped.is_set():
            left_ns = ends_ns - now_ns()
            if self._trigger == "software" and not self._fire(left_ns):
                return None
            wait_ms = min(max(math.ceil(left_ns / 1e6), 0), _SLICE_MS)
            result = camera.RetrieveResult(wait_ms, self._pylon.TimeoutHandling_Return)
            arrived_ns = now_ns()
            if not result.IsValid():
                self._check_presence()
                if arrived_ns >= ends_ns:
                    return None
                continue
            try:
                self._fired_ns = 0
                if not result.GrabSucceeded():
                    # Its number cannot be trusted; the next good frame's shows the gap.
                    self.failed += 1
                    self._last_block += 1 + int(result.GetNumberOfSkippedImages())
                    continue
                block = self._block(result)
                index = self._counter.index(block)
                self._copy(result, into)
                exposed_ns, device_ns = self._clock.exposed_ns(int(result.TimeStamp), block)
                # A mapped time may err by more than the way of a frame took.
                return Stamp(index, min(exposed_ns or arrived_ns, arrived_ns), arrived_ns, device_ns)
            finally:
                result.Release()
        return None

    def _block(self, result: Any) -> int:
        block = int(result.BlockID)
        if block == _NO_BLOCK:
            # Then what pylon itself left out is all that can be known to be lost.
            block = self._last_block + 1 + int(result.GetNumberOfSkippedImages())
        self._last_block = block
        return block

    def _copy(self, result: Any, into: Image) -> None:
        with result.GetArrayZeroCopy() as pixels:
            fill(into, pixels, self._pixels)

    def _fire(self, left_ns: int) -> bool:
        """Trigger by software when it is time, unless a frame is on its way; False when it is not time yet."""
        if self._fired_ns and now_ns() - self._fired_ns < _GIVE_UP_NS:
            return True
        if not self._pacer.wait_until(self._next_ns, max(left_ns, 0) / 1e9):
            return False
        if not self._camera.WaitForFrameTriggerReady(_SLICE_MS, self._pylon.TimeoutHandling_Return):
            return True
        self._camera.TriggerSoftware.Execute()
        self._fired_ns = now_ns()
        period_ns = round(1e9 / (self._settings.fps or 1.0))
        # Behind by more than a period: the missed ones are left out, not caught up.
        behind = (self._fired_ns - self._pacer.start_ns) // period_ns
        self._next_ns = max(self._next_ns + period_ns, behind * period_ns)
        return True

    def _check_presence(self) -> None:
        if self._stopped.is_set():
            return
        if self._camera.IsCameraDeviceRemoved():
            raise DeviceLost(self._name, "the camera was unplugged, or its network connection is broken")
        if not self._camera.IsGrabbing() and not self._stopped.is_set():
            raise DeviceLost(self._name, "pylon has stopped the camera by itself")

    def _release(self, camera: Any) -> None:
        for end in (camera.StopGrabbing, camera.Close, camera.DestroyDevice):
            with contextlib.suppress(self._genicam.GenericException):
                end()


def _described(info: Any) -> str:
    return f"{info.GetModelName()} {info.GetSerialNumber()}"


def _first_line(error: Exception) -> str:
    """What pylon says, without the place in its source."""
    return str(error).splitlines()[0].partition(" : ")[0] if str(error) else type(error).__name__
